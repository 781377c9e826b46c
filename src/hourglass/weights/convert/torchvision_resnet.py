"""Torchvision's classifiers of ImageNet as the start of our residual encoders.

The code behind the slides' DeepPose and Chained Prediction starts from such weights. Nothing is downloaded
here: the user gives a state dict of torchvision's, such as `resnet34-b627a593.pth`. Its last layer, which
tells the thousand classes apart, is left out. It was trained on RGB in 0..1 less the mean 0.485, 0.456, 0.406
over the deviation 0.229, 0.224, 0.225, which `data.mean` and `data.std` should then say.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from hourglass.models.layers import DEPTHS, ResNetEncoder
from hourglass.weights.convert.safe_load import read_tensors
from hourglass.weights.facts import WeightsError

_KNOWN: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}
"""Depth by the blocks of each stage and whether they are bottlenecks (He et al. 2016, table 1)."""

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def depth_of(state: Mapping[str, Tensor]) -> int | None:
    """How many layers the classifier has whose state dict this is; None where it is none of torchvision's."""
    blocks = []
    for stage in range(1, 5):
        found = [re.fullmatch(rf"layer{stage}\.(\d{{1,3}})\.conv1\.weight", key) for key in state]
        blocks.append(len({match[1] for match in found if match}))
    return _KNOWN.get((tuple(blocks), "layer1.0.conv3.weight" in state))


def encoder_state(path: Path, depth: int, width: int = 64) -> dict[str, Tensor]:
    """State of a `ResNetEncoder(depth, width)`, float32, out of a file with torchvision's ResNet.

    Raises WeightsError, naming the file, for one that can't be read safely, that is no such network, that is
    one of another depth (naming both) or width, or that lacks a tensor.
    """
    state = read_tensors(path)
    found = depth_of(state)
    if found is None:
        raise WeightsError(
            f"{path} holds no ResNet of torchvision's: expected are keys such as conv1.weight and "
            "layer1.0.conv1.weight"
        )
    if found != depth:
        raise WeightsError(f"{path} holds a ResNet-{found}, but the network's encoder is a ResNet-{depth}")
    with torch.device("meta"):
        wanted = ResNetEncoder(depth, width).state_dict()
    result: dict[str, Tensor] = {}
    for ours, theirs in _layers(depth):
        names = _BATCH_NORM if f"{ours}.running_mean" in wanted else ("weight",)
        for name in names:
            result[f"{ours}.{name}"] = _tensor(
                path, state, f"{theirs}.{name}", wanted[f"{ours}.{name}"].shape
            )
        if len(names) > 1:
            result[f"{ours}.num_batches_tracked"] = torch.tensor(0)
    return result


def _tensor(path: Path, state: Mapping[str, Tensor], key: str, shape: torch.Size) -> Tensor:
    if key not in state:
        raise WeightsError(f"{path} has no {key}, which a ResNet of torchvision's has")
    tensor = state[key]
    if tensor.shape != shape:
        sizes = (" x ".join(map(str, size)) for size in (tensor.shape, shape))
        raise WeightsError(f"{path}: {key} has the shape {next(sizes)}, expected was {next(sizes)}")
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise WeightsError(f"{path}: {key} holds numbers that are not finite; the file is damaged")
    return tensor.contiguous()


def _layers(depth: int) -> Iterator[tuple[str, str]]:
    """Our layers of a `ResNetEncoder` and torchvision's."""
    yield from (("layers.0.0", "conv1"), ("layers.0.1", "bn1"))
    place, bottleneck = 3, depth > 34
    for stage, count in enumerate(DEPTHS[depth]):
        for block in range(count):
            ours, theirs = f"layers.{place}", f"layer{stage + 1}.{block}"
            for step in range(3 if bottleneck else 2):
                yield f"{ours}.body.{2 * step}.0", f"{theirs}.conv{step + 1}"
                yield f"{ours}.body.{2 * step}.1", f"{theirs}.bn{step + 1}"
            if not block and (stage or bottleneck):
                yield f"{ours}.skip.0", f"{theirs}.downsample.0"
                yield f"{ours}.skip.1", f"{theirs}.downsample.1"
            place += 1
