"""Weight files: safetensors with every fact that prediction needs, and checkpoints of training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hourglass.core.files import write_atomically
from hourglass.weights.facts import WeightFacts, WeightsError

FORMAT = "hourglass-1"


def save_weights(path: Path, state: Mapping[str, Tensor], facts: WeightFacts, half: bool = True) -> None:
    """Write a network's state as safetensors, atomically; `half` stores convolutions in fp16.

    Batch-norm statistics stay in fp32: they are small and fp16 would flush the smallest variances.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    def stored(name: str, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu().contiguous()
        keep = not half or not tensor.is_floating_point() or "running_" in name
        return tensor if keep else tensor.half()

    tensors = {name: stored(name, tensor) for name, tensor in state.items()}
    metadata = {"format": FORMAT, "facts": facts.to_json()}
    write_atomically(path, lambda part: save_file(tensors, part, metadata), (SafetensorError,))


def load_weights(path: Path) -> tuple[dict[str, Tensor], WeightFacts]:
    """Read a file that `save_weights` wrote: fp32 tensors on the CPU, and the facts.

    Raises WeightsError, naming the file, for one that is missing, cut, foreign, or no safetensors.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({error}); pickled weights are not read: "
            "train with `hourglass train` or convert them first"
        ) from error
    if metadata.get("format") != FORMAT or "facts" not in metadata:
        raise WeightsError(f"{path} holds tensors but not the facts that hourglass writes beside them")
    try:
        facts = WeightFacts.from_json(metadata["facts"])
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: the facts beside the weights can't be read: {error}") from error
    floats = {n: t.float() if t.is_floating_point() else t for n, t in tensors.items()}
    return floats, facts


def replace_facts(source: Path, target: Path, facts: WeightFacts) -> None:
    """Write the weights of `source` to `target`, which may be the same, with other facts, atomically.

    Not a bit of the tensors changes. Raises WeightsError as `load_weights`, OSError when `target` can't be
    written.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    load_weights(source)
    with safe_open(source, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    metadata = {"format": FORMAT, "facts": facts.to_json()}
    write_atomically(target, lambda part: save_file(tensors, part, metadata), (SafetensorError,))


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a training state (plain tensors, numbers, strings, lists, dicts), atomically."""

    def write(part: Path) -> None:
        # Through a file of ours, so that the system's reason (a full disk) is known.
        with open(part, "wb") as file:
            torch.save(dict(state), file)

    write_atomically(path, write)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote; nothing but plain tensors and values is ever unpickled.

    Raises WeightsError, naming the file, for one that is missing, cut in half, or holds anything else.
    """
    import pickle
    import warnings

    if not path.is_file():
        raise WeightsError(f"there is no checkpoint {path}")
    try:
        with warnings.catch_warnings():
            # torch remarks on a pickle's protocol before it refuses the file.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is no plain checkpoint of tensors and values, and may run code when read"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # Damaged bytes make the unpickler stumble in any of these ways.
        raise WeightsError(f"{path} is cut off or damaged and can't be read") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} does not hold a training state")
    return state
