"""Weight files: safetensors with every fact that prediction needs, and atomic writing of any file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hourglass.core.files import write_atomically
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import DECODINGS, Decoding
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.calibration import Calibration

FORMAT = "hourglass-1"


class WeightsError(ValueError):
    """A weight file or checkpoint that can't be used; the message names it."""


@dataclass(frozen=True)
class WeightFacts:
    """What must travel with weights so that a photo becomes joints without another file.

    Args:
        name: what to call these weights.
        network: how to build the network.
        skeleton: names the heatmaps.
        input_px: side of the square crop the network was trained on.
        mean, std: of RGB in 0..1.
        sigma_hm: standard deviation of the target Gaussian in cells.
        decoding: how to read a heatmap.
        box_margin: side of the training crop over the longer side of the box around the joints.
        licence, data, recipe: terms, training data, and the complete recipe as YAML.
        signed: an occluded joint is a negative Gaussian.
        offset_hm: added to both coordinates of a decoded cell to get to this package's frame. 0 unless the
            weights were trained elsewhere in another one, such as cell = pixel / 4, which needs -0.375.
        source: project and file that converted weights come from.
        metrics: measured scores, `{"PCK@0.2": ...}`, with `on` saying on what.
        calibration: how the scores of these weights, all stacks and with a flip test, become confidences;
            None where that was not measured (`hourglass calibrate`).

    Raises ValueError when the calibration is of another number of joints than the skeleton.
    """

    name: str
    network: NetworkRecipe
    skeleton: Skeleton
    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    sigma_hm: float = 1.0
    decoding: Decoding = "dark"
    box_margin: float = 1.25
    licence: str = ""
    data: str = ""
    recipe: str = ""
    signed: bool = False
    offset_hm: float = 0.0
    source: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.calibration is not None and len(self.calibration.temperatures) != len(self.skeleton):
            raise ValueError(
                f"the calibration is of {len(self.calibration.temperatures)} joints, but the skeleton "
                f"{self.skeleton.name!r} has {len(self.skeleton)}"
            )

    def to_json(self) -> str:
        raw = {**asdict(self), "skeleton": self.skeleton.to_dict(), "metrics": dict(self.metrics)}
        if self.calibration is None:
            del raw["calibration"]
        return json.dumps(raw)

    @classmethod
    def from_json(cls, text: str) -> "WeightFacts":
        """The inverse of `to_json`; raises ValueError, TypeError or KeyError when it is not one."""
        raw = json.loads(text)
        if raw["decoding"] not in DECODINGS:
            raise ValueError(f"unknown decoding {raw['decoding']!r}")
        if not isinstance(raw.get("signed", False), bool):
            raise ValueError(f"signed is {raw['signed']!r}, neither true nor false")
        offset_hm = raw.get("offset_hm", 0.0)
        if not isinstance(offset_hm, int | float) or not isfinite(offset_hm):
            raise ValueError(f"offset_hm is {offset_hm!r}, no number of cells")
        calibration = raw.get("calibration")
        return cls(
            **{
                **raw,
                "calibration": None if calibration is None else Calibration.from_dict(calibration),
                "network": NetworkRecipe(**raw["network"]),
                "skeleton": Skeleton.from_dict(raw["skeleton"]),
                "mean": tuple(raw["mean"]),
                "std": tuple(raw["std"]),
            }
        )


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
