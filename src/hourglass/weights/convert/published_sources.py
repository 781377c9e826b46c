"""What each project's weights expect of a picture, and where they put a heatmap's peak."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hourglass.core.skeleton import COCO17, FLIC11, MPII16, Skeleton
from hourglass.core.structs import Decoding

Colours: TypeAlias = tuple[float, float, float]

_NONE: Colours = (0.0, 0.0, 0.0)
_ONE: Colours = (1.0, 1.0, 1.0)
_IMAGENET_MEAN: Colours = (0.485, 0.456, 0.406)
_IMAGENET_STD: Colours = (0.229, 0.224, 0.225)
_BEARPAW_MEANS: Mapping[str, Colours] = {
    "mpii": (0.4404, 0.4440, 0.4327),
    "lsp": (0.4442, 0.4302, 0.4039),
    "coco": (0.4566, 0.4369, 0.4061),
}


@dataclass(frozen=True)
class TrainedOn:
    """A data set as these projects use it.

    Args:
        skeleton: the joints in the heatmaps' order.
        box_margin: side of the projects' crop over the longer side of the box around the joints. Measured:
            MPII, the median of the 2,017 validation people with all joints labelled; FLIC, of all people;
            COCO, of the 40 people with 10 joints or more in a sample of train2017. LSP's is MPII's times
            1.15, as its crops are 1.4375 instead of 1.25 times the person's size.
        called: for the facts beside the weights.
    """

    skeleton: Skeleton
    box_margin: float
    called: str


DATA: dict[str, TrainedOn] = {
    "mpii": TrainedOn(MPII16, 1.43, "MPII Human Pose"),
    "lsp": TrainedOn(MPII16, 1.64, "LSP and LSP-Extended, with MPII's joints"),
    "coco": TrainedOn(COCO17, 1.53, "COCO keypoints"),
    "flic": TrainedOn(FLIC11, 2.09, "FLIC"),
}


@dataclass(frozen=True)
class PublishedSource:
    """One project.

    Args:
        project: its repository.
        licence: of the project's code; what holds for its weights none of them says.
        means: by data set, what is subtracted from RGB in 0..1; the first one is taken where two fit.
        std: what RGB is divided by.
        sigma_hm: of its Gaussian targets, in cells.
        offset_hm: from its heatmap cells to ours. Targets centred on the cell that a joint falls into need
            none on average; those of cell = round(pixel / 4) lie 0.375 cells beside ours.
        layout: name of its keys in `key_maps.LAYOUTS`, None for Torch7.
        decoding: how it reads a heatmap.
    """

    project: str
    licence: str
    means: Mapping[str, Colours]
    std: Colours
    sigma_hm: float
    offset_hm: float
    layout: str | None
    decoding: Decoding = "quarter"


SOURCES: dict[str, PublishedSource] = {
    "bearpaw": PublishedSource("bearpaw/pytorch-pose", "GPL-3.0", _BEARPAW_MEANS, _ONE, 1.0, 0.0, "bearpaw"),
    "anibali": PublishedSource(
        "anibali/pytorch-stacked-hourglass",
        "see there; it came from bearpaw/pytorch-pose, which is GPL-3.0",
        {"mpii": _BEARPAW_MEANS["mpii"]},
        _ONE,
        1.0,
        0.0,
        "bearpaw",
    ),
    "princeton": PublishedSource(
        "princeton-vl/pytorch_stacked_hourglass", "BSD-3-Clause", {"mpii": _NONE}, _ONE, 1.0, 0.0, "princeton"
    ),
    "mmpose": PublishedSource(
        "open-mmlab/mmpose",
        "Apache-2.0",
        {"mpii": _IMAGENET_MEAN, "coco": _IMAGENET_MEAN},
        _IMAGENET_STD,
        2.0,
        -0.375,
        "mmpose",
    ),
    "torch7": PublishedSource(
        "princeton-vl/pose-hg-demo and pose-hg-train",
        "BSD-3-Clause (pose-hg-train)",
        {"mpii": _NONE, "flic": _NONE},
        _ONE,
        1.75,
        0.0,
        None,
    ),
}
"""By the word after `--from`. All of them take RGB."""


def source_of(origin: str) -> PublishedSource | None:
    """The project that `WeightFacts.source` names, None where the weights are not converted ones."""
    return next((kind for kind in SOURCES.values() if origin.startswith(f"{kind.project}: ")), None)


def choose_data(source: str, joints: int, asked: str = "") -> str:
    """The data set that weights with so many heatmaps were trained on, or the one that was asked for.

    Raises ValueError, naming the possible ones, when none fits.
    """
    known = {name: len(DATA[name].skeleton) for name in SOURCES[source].means}
    told = ", ".join(f"{name} ({count} joints)" for name, count in known.items())
    if asked and asked not in known:
        raise ValueError(f"--data {asked!r} is no data set of {source}; known are {told}")
    fitting = [name for name, count in known.items() if count == joints and asked in ("", name)]
    if not fitting:
        raise ValueError(
            f"the weights have {joints} heatmaps, which is not {asked or source}'s number; known are {told}"
        )
    return fitting[0]
