"""Other projects' checkpoints to our tensors and the facts that go with them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hourglass.core.skeleton import Skeleton
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, WeightsError, save_weights
from hourglass.weights.convert.key_maps import (
    LAYOUTS,
    LayoutError,
    check_depth,
    read_layout,
    recognise,
    some,
    translate,
)
from hourglass.weights.convert.published_sources import DATA, SOURCES, choose_data
from hourglass.weights.convert.safe_load import is_torch7, read_tensors
from hourglass.weights.convert.torch7 import read_torch7
from hourglass.weights.convert.torch7_graph import unfold
from hourglass.weights.convert.torch7_networks import match_network

AUTO = "auto"


@dataclass(frozen=True)
class Imported:
    """A converted network.

    Args:
        state: its complete state dict by our names, float32.
        facts: what goes beside it.
        source: the word of `SOURCES`.
        data: the word of `DATA`; `data_assumed` tells that another one of the source fits as well.
        unused: how many tensors of the file no picture ever passes, and were left out.
    """

    state: dict[str, Tensor]
    facts: WeightFacts
    source: str
    data: str
    data_assumed: bool
    unused: int


@dataclass(frozen=True)
class _Found:
    """A checkpoint's tensors by our names, and what they were called; not checked yet."""

    network: NetworkRecipe
    joints: int
    shapes: dict[str, torch.Size]
    tensors: dict[str, Tensor]
    theirs: dict[str, str]
    unused: int


def import_checkpoint(
    path: Path,
    source: str = AUTO,
    data: str = "",
    input_px: int = 256,
    name: str = "",
    licence: str = "",
) -> Imported:
    """Read another project's checkpoint.

    Args:
        path: .pth, .pth.tar, .pt, .safetensors, or .t7.
        source: a word of `SOURCES`, or `auto` to tell by the file's keys.
        data: what it was trained on, a word of `DATA`; by default the source's first with that many joints.
        input_px: side of the crops it was trained on; no checkpoint says.
        name: what to call the weights; by default after the file.
        licence: the terms of the weights; no checkpoint says.

    Raises WeightsError (a ValueError), naming the file, for one that can't be read safely, is damaged or
    foreign, with what was found and what was expected; ValueError for an option that doesn't fit.
    """
    if source != AUTO and source not in SOURCES:
        raise ValueError(f"--from {source!r} is not one of {', '.join((AUTO, *SOURCES))}")
    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    try:
        chosen, found = _read(path, source)
        data_name = choose_data(chosen, found.joints, data)
    except ValueError as error:
        said = str(error)
        raise WeightsError(said if said.startswith(str(path)) else f"{path}: {said}") from error
    except RecursionError as error:
        raise WeightsError(f"{path} holds hourglasses that lie too deep in one another") from error
    _check_side(input_px, found.network)
    kind, trained = SOURCES[chosen], DATA[data_name]
    facts = WeightFacts(
        name=name or path.name.split(".")[0],
        network=found.network,
        skeleton=trained.skeleton,
        input_px=input_px,
        mean=kind.means[data_name],
        std=kind.std,
        sigma_hm=kind.sigma_hm,
        decoding=kind.decoding,
        box_margin=trained.box_margin,
        licence=licence,
        data=trained.called,
        offset_hm=kind.offset_hm,
        source=f"{kind.project}: {path.name}",
    )
    others = [n for n in kind.means if len(DATA[n].skeleton) == found.joints]
    state = _complete(path, found, facts)
    return Imported(state, facts, chosen, data_name, not data and len(others) > 1, found.unused)


def convert_file(
    path: Path,
    out: Path,
    source: str = AUTO,
    data: str = "",
    input_px: int = 256,
    name: str = "",
    licence: str = "",
    half: bool = False,
) -> Imported:
    """`import_checkpoint`, written to the file `out` as safetensors; `half` stores convolutions in fp16.

    Raises what `import_checkpoint` raises, ValueError for an `out` of another ending, OSError naming `out`.
    """
    if out.suffix != ".safetensors":
        raise ValueError(f"{out} must end in .safetensors, which is what is written")
    imported = import_checkpoint(path, source, data, input_px, name, licence)
    if out.exists() and out.samefile(path):
        raise ValueError(f"{out} is the checkpoint itself; give another file")
    if half:
        _check_half(imported.state)
    save_weights(out, imported.state, imported.facts, half)
    return imported


def _check_half(state: dict[str, Tensor]) -> None:
    for name, tensor in state.items():
        if "running_" not in name and not bool(torch.isfinite(tensor.half()).all()):
            raise ValueError(f"--half: {name} has numbers beyond fp16's 65504; leave the option out")


def _read(path: Path, source: str) -> tuple[str, _Found]:
    """The source, told by the file where it is `auto`, and what the file holds."""
    torch7 = is_torch7(path)
    if source == "torch7" or (source == AUTO and torch7):
        network, tensors = match_network(unfold(read_torch7(path)))
        check_depth(network.depth)
        joints = tensors[f"heads.{network.stacks - 1}.weight"].shape[0]
        return "torch7", _Found(network, joints, _shapes(network, joints), tensors, {}, 0)
    if torch7:
        raise WeightsError(f"{path} is a file of Torch7, not of {source}; use --from torch7")
    state = read_tensors(path)
    if source == AUTO:
        # anibali's layout, preparation and joints are bearpaw's, so bearpaw stands for both.
        known = recognise(state)
        keys = "; ".join(
            f"{name} has {key}" for name, (key, _) in LAYOUTS.items() if name in known or not known
        )
        if len(known) > 1:
            raise LayoutError(f"has keys of several layouts: {keys}")
        if not known:
            raise LayoutError(f"is of no known layout: it has {some(state)}, but {keys}")
        source = known[0]
    layout = read_layout(state, SOURCES[source].layout or "")
    shapes = _shapes(layout.network, layout.joints)
    theirs = translate(state, layout, shapes)
    tensors = {ours: state[key] for ours, key in theirs.items()}
    unused = len(state) - len(theirs)
    return source, _Found(layout.network, layout.joints, shapes, tensors, theirs, unused)


def _shapes(network: NetworkRecipe, joints: int) -> dict[str, torch.Size]:
    """Names and shapes of a network's tensors, of which none is made."""
    skeleton = Skeleton("any", tuple(f"joint_{j}" for j in range(min(joints, 10_000))))
    with torch.device("meta"):
        state = build_network(network, skeleton).state_dict()
    return {name: tensor.shape for name, tensor in state.items()}


def _complete(path: Path, found: _Found, facts: WeightFacts) -> dict[str, Tensor]:
    """The network's whole state, each tensor checked."""
    state = {}
    for name, shape in found.shapes.items():
        called = found.theirs.get(name, name)
        if name.startswith("normalise."):
            state[name] = torch.tensor(getattr(facts, name.partition(".")[2])).view(shape)
        elif name in found.tensors:
            state[name] = _checked(path, called, found.tensors[name], shape)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        else:
            raise WeightsError(f"{path} has nothing for our {name}")
    return state


def _checked(path: Path, key: str, tensor: Tensor, shape: torch.Size) -> Tensor:
    if tensor.shape != shape:
        raise WeightsError(f"{path}: {key} has the shape {_size(tensor.shape)}, expected was {_size(shape)}")
    if key.endswith("num_batches_tracked"):
        return tensor.detach().long().clone()
    if not tensor.is_floating_point():
        raise WeightsError(f"{path}: {key} holds {tensor.dtype}, not floating-point numbers")
    plain = tensor.detach().float().clone(memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(plain).all()):
        raise WeightsError(f"{path}: {key} holds numbers that are not finite; the file is damaged")
    # Variances may lie below 0 by what another eps was larger; below -1e-5 there is no square root.
    if key.endswith("running_var") and bool((plain <= -nn.BatchNorm2d(1).eps).any()):
        raise WeightsError(f"{path}: {key} holds a negative variance; the file is damaged")
    return plain


def _size(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "a single number"


def _check_side(input_px: int, network: NetworkRecipe) -> None:
    multiple = network.input_multiple
    if input_px < multiple or input_px % multiple:
        raise ValueError(f"--input-px {input_px} must be a multiple of {multiple} for this network")
