"""Every published network that can be built here, with what its source says and what is measured.

`PUBLISHED` is a plain tuple; `find` looks a name up and `measure` counts parameters and FLOPs.
Nothing here computes a picture: networks are built on torch's meta device.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from hourglass.models import ablations, stacked_hourglass, workshop
from hourglass.models.chained import ChainedPrediction, chained
from hourglass.models.deeppose import deeppose, deeppose_resnet, deeppose_slides
from hourglass.models.multi_scale import mssh
from hourglass.models.parts import ShapesOnly, trainable_parameters
from hourglass.models.residual_stacked import residual_stacked
from hourglass.recipe.network import NetworkRecipe


@dataclass(frozen=True)
class Published:
    """One network of a paper."""

    name: str
    make: Callable[[], nn.Module]
    """The function of `models/` that builds it, on the joints it was published with."""
    network: NetworkRecipe
    """The same network as a recipe's words."""
    joints: int
    input_px: int
    source: str
    """Paper, year, and where in it."""
    scores: str
    """Metric, data and split as published; empty where there is no number."""
    counts_published: str | None
    """What the source, or its authors' code where that is said, has for parameters and multiply-adds."""
    why: str
    """One sentence on why the measured count differs from the published one, or that it does not."""
    recipe: str
    """Bundled recipe that trains it, and what to override in it."""

    @property
    def options(self) -> tuple[str, ...]:
        """`network.key=value` for everything that a recipe has to say to get this network."""
        default = NetworkRecipe()
        values = ((f.name, getattr(self.network, f.name), getattr(default, f.name)) for f in fields(default))
        return tuple(f"network.{name}={value}" for name, value, usual in values if value != usual)


@dataclass(frozen=True)
class ModelSize:
    """How large a network is."""

    parameters: int
    """Trainable ones."""
    gflops: float
    """Of one crop, forward, with two FLOPs for a multiply-add."""


ECCV = "Stacked Hourglass Networks, ECCV 2016 (arXiv 1603.06937)"
WORKSHOP = "Stacked Hourglass workshop paper, 2016"
MSSH = "Multi-Scale Stacked Hourglass, ICLR 2019 submission"
DEEPPOSE = "DeepPose, CVPR 2014 (arXiv 1312.4659)"
CHAINED = "Chained Predictions, ECCV 2016 (arXiv 1605.02346)"
SLIDES = "Residual Stacked Hourglass slides, 2019"
PORT = "bearpaw/pytorch-pose, a later port of ECCV 2016"


def _eccv(
    make: Callable[[int], nn.Module],
    counted: str,
    scores: str = "",
    where: str = "",
    recipe: str | None = None,
    **network: Any,
) -> Published:
    """A member of the ECCV family; its counts are those of a public code's layer list."""
    recipe_network = NetworkRecipe(**network)
    wide = recipe_network.stem == "wide"
    if recipe is None:
        stem = " network.stem=wide" if wide else ""
        stacks = "" if recipe_network.stacks == 2 else f" network.stacks={recipe_network.stacks}"
        recipe = f"mpii_hg2{stacks}{stem}"
    whose = "that code" if wide else "the authors' Torch code"
    return Published(
        make.__name__,
        partial(make, 16),
        recipe_network,
        16,
        256,
        PORT if wide else ECCV + where,
        scores,
        f"{counted} by the layers of {whose}",
        "Equal: the paper prints no count, and these are that code's layers one by one.",
        recipe,
    )


def _design(make: Callable[[int], nn.Module], counted: str | None, why: str, scores: str = "") -> Published:
    """One of the workshop paper's five designs."""
    name = make.__name__
    return Published(
        name,
        partial(make, 16),
        NetworkRecipe(build=name),
        16,
        256,
        f"{WORKSHOP}, section 3 and figure 4",
        scores or "figure 4 shows a curve, without a number",
        counted,
        why,
        f"mpii_{name}",
    )


def _mssh(name: str, scores: str, unit: str = "inception_a", **options: Any) -> Published:
    changed = {**({} if unit == "inception_a" else {"unit": unit}), **options}
    recipe = " ".join(["mpii_mssh", *(f"network.{k}={str(v).lower()}" for k, v in changed.items())])
    return Published(
        name,
        partial(mssh, 16, unit, **options),
        NetworkRecipe(build="mssh", stacks=8, unit=unit, **options),
        16,
        256,
        f"{MSSH}, section 5.2",
        scores,
        None,
        "Nothing to compare with: the paper prints no count, no widths and no code was published.",
        recipe,
    )


def _resnet_pose(depth: int, scores: str) -> Published:
    options = f"network.backbone=resnet{depth} network.stacks=1 network.view_px=224 network.dropout=0"
    return Published(
        f"deeppose_resnet{depth}",
        partial(deeppose_resnet, depth, 17),
        NetworkRecipe(build="deeppose", stacks=1, backbone=f"resnet{depth}", view_px=224, dropout=0.0),
        17,
        224,
        f"{SLIDES}, DeepPose row, with the mean of all cells in place of a grid of 2 x 2",
        scores,
        "40 M (slides)",
        "The slides' 40 M is the DeepPose paper's own figure; of residual encoders 101 layers come closest.",
        f"coco_deeppose {options}",
    )


def _chained(name: str, kernel: int, recipe: str) -> Published:
    return Published(
        name,
        partial(_chained_network, kernel),
        NetworkRecipe(build="chained", hidden_kernel=kernel),
        17,
        256,
        f"{CHAINED}; layers of the code behind the slides' row",
        "PCKh@0.5 86.1 MPII test; PCK 82.0 COCO (slides)",
        "26.5 M (slides); 24.718 M in the code behind them"
        + ("" if kernel == 1 else ", 26.389 M with 5 x 5 kernels"),
        "That code also holds a transition and 17 embeddings after the last joint that its forward never "
        f"calls, {0.152 if kernel == 1 else 0.25} M; no reading of it gives 26.5 M.",
        recipe,
    )


def _chained_network(kernel: int) -> nn.Module:
    return chained(17) if kernel == 1 else ChainedPrediction(17, hidden_kernel=kernel)


_COUNTERPART = (
    "The paper only says that it has as many layers and about as many parameters as its stacked twin."
)
_ORIGINAL = (
    "Equal: these are the layers of the authors' released network, post-activation residuals included."
)

PUBLISHED: tuple[Published, ...] = (
    _eccv(stacked_hourglass.hg1, "3.426 M, 5.15 GMAC", stacks=1),
    _eccv(
        stacked_hourglass.hg2,
        "6.570 M, 8.33 GMAC",
        "PCKh@0.5 88.3 MPII val, 16 joints pooled (authors' PyTorch release)",
        recipe="mpii_hg2",
    ),
    _eccv(stacked_hourglass.hg4, "12.858 M, 14.70 GMAC", stacks=4),
    _eccv(
        stacked_hourglass.hg8,
        "25.434 M, 27.44 GMAC",
        "PCKh@0.5 90.9 MPII test, 88.1 val",
        ", the network of its results",
        "mpii_hg8",
        stacks=8,
    ),
    _eccv(
        stacked_hourglass.hg_4x2,
        "24.872 M, 25.16 GMAC",
        "PCKh@0.5 87.8 MPII val",
        ", ablations, figure 9",
        "mpii_4x2",
        stacks=4,
        blocks=2,
    ),
    _eccv(
        stacked_hourglass.hg_2x4,
        "24.591 M, 24.02 GMAC",
        "PCKh@0.5 87.4 MPII val",
        ", ablations, figure 9",
        "mpii_2x4",
        blocks=4,
    ),
    _eccv(
        stacked_hourglass.hg_1x8,
        "24.450 M, 23.45 GMAC",
        "figure 8 shows a curve, without a number",
        ", ablations, figure 8",
        "mpii_1x8",
        stacks=1,
        blocks=8,
    ),
    _eccv(stacked_hourglass.hg1_wide, "3.587 M, 5.80 GMAC", stacks=1, stem="wide"),
    _eccv(
        stacked_hourglass.hg2_wide,
        "6.731 M, 8.99 GMAC",
        "PCKh@0.5 86.95 MPII val, mean of 14 joints",
        stem="wide",
    ),
    _eccv(stacked_hourglass.hg4_wide, "13.019 M, 15.36 GMAC", stacks=4, stem="wide"),
    _eccv(
        stacked_hourglass.hg8_wide,
        "25.595 M, 28.09 GMAC",
        "PCKh@0.5 88.78 MPII val, mean of 14 joints",
        stacks=8,
        stem="wide",
    ),
    Published(
        "hg2_workshop",
        partial(workshop.hg2_workshop, 16),
        NetworkRecipe(build="workshop"),
        16,
        256,
        f"{WORKSHOP}, figures 1, 3 and 5",
        "PCKh@0.5 elbow 90, wrist 85.2 MPII test; elbow 88.5, wrist 83.3 val",
        "26.371 M, 26.20 GMAC by the layers of the released network",
        _ORIGINAL,
        "mpii_workshop",
    ),
    Published(
        "hg1_flic",
        partial(workshop.hg1_flic, 11),
        NetworkRecipe(build="workshop", stacks=1),
        11,
        256,
        f"{WORKSHOP}, section 3, FLIC, figure 2",
        "PCK@0.2 wrist 95.2 FLIC, observer-centric",
        "13.265 M, 14.0 GMAC for 16 joints by the layers of the released network",
        "Equal but for the last layer, which has 11 heatmaps here.",
        "flic_hg1",
    ),
    _design(ablations.hg, None, _COUNTERPART),
    _design(ablations.hg_int, None, _COUNTERPART),
    _design(
        ablations.hg_stacked,
        "26.212 M, 25.55 GMAC by the layers of the authors' Torch code, with the released network's residual",
        "Equal; with that code's own pre-activation residual it would be 26.195 M.",
    ),
    _design(
        ablations.hg_stacked_int,
        "26.371 M, 26.20 GMAC by the layers of the released network",
        _ORIGINAL,
        "those of hg2_workshop, the same network",
    ),
    _design(
        ablations.hg_stacked_add,
        "26.371 M, 26.20 GMAC by the layers of the released network",
        "Equal: only the loss, on the sum of both heatmaps, differs from hg_stacked_int.",
    ),
    _mssh("mssh", "PCKh@0.5 91.2 MPII test, 89.91 val; PCK@0.2 91.4 LSP"),
    _mssh("mssh_residual", "PCKh@0.5 89.19 MPII val", "residual"),
    _mssh("mssh_inception_b", "PCKh@0.5 82.95 MPII val", "inception_b"),
    _mssh("mssh_lateral", "PCKh@0.5 88.66 MPII val", lateral=True),
    _mssh("mssh_concat", "PCKh@0.5 89.36 MPII val", fusion="concat"),
    Published(
        "deeppose",
        partial(deeppose, 17),
        NetworkRecipe(build="deeppose", stacks=3, backbone="alexnet"),
        17,
        220,
        DEEPPOSE,
        "PCK 70.4 COCO (slides, with a residual encoder from ImageNet weights)",
        "40 M a stage (the paper's own figure, repeated in the slides)",
        "The layers the paper lists hold 58.4 M a stage, most of it in the first fully connected one "
        "(9216 x 4096); 40 M would need a smaller last map. Three stages hold three times that.",
        "coco_deeppose",
    ),
    Published(
        "deeppose_slides",
        partial(deeppose_slides, 17),
        NetworkRecipe(
            build="deeppose", stacks=1, backbone="resnet34", view_px=256, dropout=0.0, pool="windows"
        ),
        17,
        256,
        f"{SLIDES}, DeepPose row, in the layers of the code that row comes from",
        "PCK 70.4 COCO (slides), from ImageNet weights",
        "40 M (slides); 21.354 M in the code behind them",
        "Equal to that code's; the slides' 40 M is the DeepPose paper's own figure.",
        "coco_deeppose network.backbone=resnet34 network.stacks=1 network.view_px=256 network.dropout=0 "
        "network.pool=windows data.input_px=256",
    ),
    _resnet_pose(34, ""),
    _resnet_pose(50, ""),
    _resnet_pose(101, ""),
    _chained("chained", 1, "coco_chained"),
    _chained("chained_5x5", 5, "coco_chained network.hidden_kernel=5"),
    Published(
        "hg_slides",
        partial(stacked_hourglass.hg_slides, 17),
        NetworkRecipe(blocks=2),
        17,
        256,
        f"{SLIDES}, Stacked Hourglass row",
        "PCK 84.7 COCO",
        "12.6 M (slides); 12.648 M in the code behind them",
        "That code keeps two merge convolutions after the last stack that nothing reads, 0.070 M.",
        "coco_stacked",
    ),
    Published(
        "residual_stacked",
        partial(residual_stacked, 17),
        NetworkRecipe(build="residual_stacked", stacks=5, blocks=2),
        17,
        256,
        f"{SLIDES}, figure 4 and results",
        "PCK 81.1 COCO",
        "31.1 M (slides); 31.092 M in the code that fits them",
        "That code keeps two merge convolutions after the last stack that nothing reads, 0.070 M.",
        "coco_residual_stacked",
    ),
)
"""By paper, each from small to large or from the preferred to its variants."""


def find(name: str) -> Published:
    """The entry of that name; raises ValueError with the known names."""
    for entry in PUBLISHED:
        if entry.name == name:
            return entry
    raise ValueError(
        f"there is no published network {name!r}; known are {', '.join(e.name for e in PUBLISHED)}"
    )


def on_meta(entry: Published) -> nn.Module:
    """The network without memory for its weights: shapes only, in evaluation mode."""
    with torch.device("meta"):
        return entry.make().eval()


@cache
def measure(entry: Published) -> ModelSize:
    """Trainable parameters, and FLOPs of one crop of `input_px`."""
    network = on_meta(entry)
    with ShapesOnly() as counter, torch.no_grad():
        network(torch.zeros(1, 3, entry.input_px, entry.input_px, device="meta"))
    return ModelSize(trainable_parameters(network), counter.flops / 1e9)
