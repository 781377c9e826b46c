"""Checkpoints of other projects, built key by key, and forwards of their own.

Nothing here is taken from the package's converters: keys, shapes and order of computation are written down a
second time, and a mistake would have to be made twice to go unnoticed.
"""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
Make = Callable[..., Tensor]


class Writer:
    """Collects keys; numbers are such that features and heatmaps are of about 1."""

    def __init__(self, counters: bool = True, device: str = "cpu", seed: int = 0) -> None:
        self.state: State = {}
        self.counters = counters
        self.device = device
        self.random = torch.Generator().manual_seed(seed)

    def put(self, key: str, *shape: int, scale: float = 1.0, centre: float = 0.0) -> None:
        if self.device == "meta":
            self.state[key] = torch.empty(shape, device="meta")
        else:
            self.state[key] = centre + scale * torch.randn(shape, generator=self.random)

    def conv(self, key: str, inputs: int, outputs: int, kernel: int = 1, bias: bool = True) -> None:
        self.put(f"{key}.weight", outputs, inputs, kernel, kernel, scale=0.5 * (inputs * kernel**2) ** -0.5)
        if bias:
            self.put(f"{key}.bias", outputs, scale=0.2)

    def norm(self, key: str, features: int) -> None:
        """Variances from 0.01 to 1, so that another eps shows; weights that make up for their size."""
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            self.put(f"{key}.{leaf}", features, scale=0.2, centre=0.8 if leaf == "weight" else 0.0)
        if self.device != "meta":
            variance = 10 ** (-2 * torch.rand(features, generator=self.random))
            self.state[f"{key}.running_var"] = variance
            self.state[f"{key}.weight"] *= variance.sqrt()
        if self.counters:
            self.state[f"{key}.num_batches_tracked"] = torch.tensor(1234)


def convolve(s: State, key: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = s[f"{key}.weight"]
    return F.conv2d(x, weight, s.get(f"{key}.bias"), stride, weight.shape[-1] // 2)


def normalise(s: State, key: str, x: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        s[f"{key}.{leaf}"].view(1, -1, 1, 1) for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * weight + bias


def halve(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 2, 2)


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


# bearpaw/pytorch-pose, anibali/pytorch-stacked-hourglass


def bearpaw(
    w: Writer, joints: int = 16, stacks: int = 2, f: int = 16, depth: int = 4, blocks: int = 1
) -> State:
    def block(key: str, inputs: int, outputs: int) -> None:
        w.norm(f"{key}.bn1", inputs)
        w.conv(f"{key}.conv1", inputs, outputs // 2)
        w.norm(f"{key}.bn2", outputs // 2)
        w.conv(f"{key}.conv2", outputs // 2, outputs // 2, 3)
        w.norm(f"{key}.bn3", outputs // 2)
        w.conv(f"{key}.conv3", outputs // 2, outputs)
        if inputs != outputs:
            w.conv(f"{key}.downsample.0", inputs, outputs)

    w.conv("conv1", 3, f // 4, 7)
    w.norm("bn1", f // 4)
    block("layer1.0", f // 4, f // 2)
    block("layer2.0", f // 2, f)
    block("layer3.0", f, f)
    for s in range(stacks):
        for level in range(depth):
            for branch in range(4 if level == 0 else 3):
                for m in range(blocks):
                    block(f"hg.{s}.hg.{level}.{branch}.{m}", f, f)
    for s in range(stacks):
        for m in range(blocks):
            block(f"res.{s}.{m}", f, f)
    for s in range(stacks):
        w.conv(f"fc.{s}.0", f, f)
        w.norm(f"fc.{s}.1", f)
        w.conv(f"score.{s}", f, joints)
    for s in range(stacks - 1):
        w.conv(f"fc_.{s}", f, f)
        w.conv(f"score_.{s}", joints, f)
    return w.state


def bearpaw_forward(s: State, x: Tensor, stacks: int = 2, depth: int = 4, blocks: int = 1) -> list[Tensor]:
    def block(key: str, x: Tensor) -> Tensor:
        y = x
        for i in (1, 2, 3):
            y = convolve(s, f"{key}.conv{i}", F.relu(normalise(s, f"{key}.bn{i}", y)))
        return y + (convolve(s, f"{key}.downsample.0", x) if f"{key}.downsample.0.weight" in s else x)

    def row(key: str, x: Tensor) -> Tensor:
        for m in range(blocks):
            x = block(f"{key}.{m}", x)
        return x

    def hourglass(key: str, n: int, x: Tensor) -> Tensor:
        low = row(f"{key}.{n - 1}.1", halve(x))
        low = hourglass(key, n - 1, low) if n > 1 else row(f"{key}.{n - 1}.3", low)
        return row(f"{key}.{n - 1}.0", x) + double(row(f"{key}.{n - 1}.2", low))

    x = F.relu(normalise(s, "bn1", convolve(s, "conv1", x, stride=2)))
    x = block("layer3.0", block("layer2.0", halve(block("layer1.0", x))))
    answers = []
    for i in range(stacks):
        y = row(f"res.{i}", hourglass(f"hg.{i}.hg", depth, x))
        y = F.relu(normalise(s, f"fc.{i}.1", convolve(s, f"fc.{i}.0", y)))
        answers.append(convolve(s, f"score.{i}", y))
        if i < stacks - 1:
            x = x + convolve(s, f"fc_.{i}", y) + convolve(s, f"score_.{i}", answers[-1])
    return answers


# princeton-vl/pytorch_stacked_hourglass


def princeton(w: Writer, joints: int = 16, stacks: int = 2, f: int = 16, depth: int = 4) -> State:
    def block(key: str, inputs: int, outputs: int) -> None:
        w.norm(f"{key}.bn1", inputs)
        w.conv(f"{key}.conv1.conv", inputs, outputs // 2)
        w.norm(f"{key}.bn2", outputs // 2)
        w.conv(f"{key}.conv2.conv", outputs // 2, outputs // 2, 3)
        w.norm(f"{key}.bn3", outputs // 2)
        w.conv(f"{key}.conv3.conv", outputs // 2, outputs)
        w.conv(f"{key}.skip_layer.conv", inputs, outputs)

    def hourglass(key: str, n: int) -> None:
        block(f"{key}.up1", f, f)
        block(f"{key}.low1", f, f)
        if n > 1:
            hourglass(f"{key}.low2", n - 1)
        else:
            block(f"{key}.low2", f, f)
        block(f"{key}.low3", f, f)

    w.conv("pre.0.conv", 3, f // 4, 7)
    w.norm("pre.0.bn", f // 4)
    block("pre.1", f // 4, f // 2)
    block("pre.3", f // 2, f // 2)
    block("pre.4", f // 2, f)
    for s in range(stacks):
        hourglass(f"hgs.{s}.0", depth)
    for s in range(stacks):
        block(f"features.{s}.0", f, f)
        w.conv(f"features.{s}.1.conv", f, f)
        w.norm(f"features.{s}.1.bn", f)
    for s in range(stacks):
        w.conv(f"outs.{s}.conv", f, joints)
    for s in range(stacks - 1):
        w.conv(f"merge_features.{s}.conv.conv", f, f)
        w.conv(f"merge_preds.{s}.conv.conv", joints, f)
    return w.state


def princeton_forward(s: State, x: Tensor, stacks: int = 2, depth: int = 4) -> list[Tensor]:
    def block(key: str, x: Tensor) -> Tensor:
        y = x
        for i in (1, 2, 3):
            y = convolve(s, f"{key}.conv{i}.conv", F.relu(normalise(s, f"{key}.bn{i}", y)))
        changes = y.shape[1] != x.shape[1]
        return y + (convolve(s, f"{key}.skip_layer.conv", x) if changes else x)

    def hourglass(key: str, n: int, x: Tensor) -> Tensor:
        low = block(f"{key}.low1", halve(x))
        low = hourglass(f"{key}.low2", n - 1, low) if n > 1 else block(f"{key}.low2", low)
        return block(f"{key}.up1", x) + double(block(f"{key}.low3", low))

    x = F.relu(normalise(s, "pre.0.bn", convolve(s, "pre.0.conv", x, stride=2)))
    x = block("pre.4", block("pre.3", halve(block("pre.1", x))))
    answers = []
    for i in range(stacks):
        y = block(f"features.{i}.0", hourglass(f"hgs.{i}.0", depth, x))
        y = F.relu(normalise(s, f"features.{i}.1.bn", convolve(s, f"features.{i}.1.conv", y)))
        answers.append(convolve(s, f"outs.{i}.conv", y))
        if i < stacks - 1:
            heatmaps = convolve(s, f"merge_preds.{i}.conv.conv", answers[-1])
            x = x + heatmaps + convolve(s, f"merge_features.{i}.conv.conv", y)
    return answers


# open-mmlab/mmpose, HourglassNet


def mmpose(
    w: Writer, joints: int = 16, stacks: int = 1, f: int = 8, head: str = "keypoint_head", dead: bool = True
) -> State:
    widths = [f, f, f * 3 // 2, f * 3 // 2, f * 3 // 2, 2 * f]

    def block(key: str, inputs: int, outputs: int, stride: int = 1) -> None:
        w.conv(f"{key}.conv1", inputs, outputs, 3, bias=False)
        w.norm(f"{key}.bn1", outputs)
        w.conv(f"{key}.conv2", outputs, outputs, 3, bias=False)
        w.norm(f"{key}.bn2", outputs)
        if stride != 1 or inputs != outputs:
            w.conv(f"{key}.downsample.0", inputs, outputs, bias=False)
            w.norm(f"{key}.downsample.1", outputs)

    def module(key: str, inputs: int, outputs: int, kernel: int = 1) -> None:
        w.conv(f"{key}.conv", inputs, outputs, kernel, bias=False)
        w.norm(f"{key}.bn", outputs)

    def hourglass(key: str, n: int) -> None:
        here, below = widths[5 - n], widths[6 - n]
        for m in (0, 1):
            block(f"{key}.up1.{m}", here, here)
        block(f"{key}.low1.0", here, below, 2)
        block(f"{key}.low1.1", below, below)
        if n > 1:
            hourglass(f"{key}.low2", n - 1)
        else:
            for m in range(4):
                block(f"{key}.low2.{m}", below, below)
        block(f"{key}.low3.0", below, below)
        block(f"{key}.low3.1", below, here)

    module("backbone.stem.0", 3, f // 2, 7)
    block("backbone.stem.1.0", f // 2, f, 2)
    for s in range(stacks):
        hourglass(f"backbone.hourglass_modules.{s}", 5)
        module(f"backbone.out_convs.{s}", f, f, 3)
    for s in range(max(stacks - 1, 1 if dead else 0)):
        block(f"backbone.inters.{s}", f, f)
    for s in range(stacks - 1):
        module(f"backbone.conv1x1s.{s}", f, f)
        module(f"backbone.remap_convs.{s}", f, f)
    for s in range(stacks):
        w.conv(f"{head}.multi_final_layers.{s}", f, joints)
    return w.state


def mmpose_forward(s: State, x: Tensor, stacks: int = 1, head: str = "keypoint_head") -> list[Tensor]:
    def block(key: str, x: Tensor, stride: int = 1) -> Tensor:
        y = F.relu(normalise(s, f"{key}.bn1", convolve(s, f"{key}.conv1", x, stride)))
        y = normalise(s, f"{key}.bn2", convolve(s, f"{key}.conv2", y))
        if f"{key}.downsample.0.weight" in s:
            x = normalise(s, f"{key}.downsample.1", convolve(s, f"{key}.downsample.0", x, stride))
        return F.relu(y + x)

    def module(key: str, x: Tensor, stride: int = 1) -> Tensor:
        return normalise(s, f"{key}.bn", convolve(s, f"{key}.conv", x, stride))

    def hourglass(key: str, n: int, x: Tensor) -> Tensor:
        low = block(f"{key}.low1.1", block(f"{key}.low1.0", x, 2))
        if n > 1:
            low = hourglass(f"{key}.low2", n - 1, low)
        else:
            for m in range(4):
                low = block(f"{key}.low2.{m}", low)
        low = block(f"{key}.low3.1", block(f"{key}.low3.0", low))
        return block(f"{key}.up1.1", block(f"{key}.up1.0", x)) + double(low)

    x = block("backbone.stem.1.0", F.relu(module("backbone.stem.0", x, 2)), 2)
    answers = []
    for i in range(stacks):
        y = F.relu(module(f"backbone.out_convs.{i}", hourglass(f"backbone.hourglass_modules.{i}", 5, x)))
        answers.append(convolve(s, f"{head}.multi_final_layers.{i}", y))
        if i < stacks - 1:
            x = F.relu(module(f"backbone.conv1x1s.{i}", x) + module(f"backbone.remap_convs.{i}", y))
            x = block(f"backbone.inters.{i}", x)
    return answers


@pytest.fixture(scope="session")
def others() -> SimpleNamespace:
    """What other projects write and compute."""
    return SimpleNamespace(
        Writer=Writer,
        bearpaw=bearpaw,
        bearpaw_forward=bearpaw_forward,
        princeton=princeton,
        princeton_forward=princeton_forward,
        mmpose=mmpose,
        mmpose_forward=mmpose_forward,
        convolve=convolve,
        normalise=normalise,
        halve=halve,
        double=double,
    )
