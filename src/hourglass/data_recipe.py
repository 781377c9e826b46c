"""The part of a recipe that says which people are seen, and how."""

import math
from dataclasses import dataclass

from hourglass.network_recipe import check, one_of

DATASETS = ("lspet", "lsp", "lsp_lspet", "mpii", "flic", "coco", "pack", "synthetic")

_LEEDS = ("lspet", "lsp", "lsp_lspet")
CROPS = {"box": DATASETS, "limbs": (*_LEEDS, "coco")}
"""Words of `data.crop`, and the kinds of data that know them."""

SIDES = {"": DATASETS, "observer": (*_LEEDS, "mpii", "flic", "coco"), "person": ("flic",)}
"""Words of `data.sides`, and the kinds of data that know them."""


@dataclass(frozen=True)
class DataRecipe:
    """Which people, and what the network sees of them."""

    name: str = "lspet"
    """kind of data: `lspet`, `lsp`, `lsp_lspet` (both), `mpii`, `flic`, `coco`, `pack` or `synthetic`"""
    root: str = ""
    """dataset folder (`lspet`: joints.mat and images/; `lsp_lspet`: lsp/ and lspet/), pack file, or COCO
    images ({split} is replaced)"""
    annotations: str = ""
    """`coco`: the training JSON file; `{split}` in it is replaced by the split"""
    category: str = ""
    """`coco`: which category, where several have keypoints"""
    train_split: str = "train"
    val_split: str = "val"
    crop: str = "box"
    """a person's crop: `box` as the kind of data has it, `limbs` with a side told by the limbs' lengths
    (`lspet`, `lsp`, `lsp_lspet`, `coco`)"""
    sides: str = ""
    """left and right: empty as the file has them, `observer` for those of who looks at the picture, `person`
    for the person's own (`flic` only, which comes with both)"""
    stream: bool = False
    """`pack`: read training people shard by shard as they are needed, not all at the start; root may be an
    address"""
    buffer: int = 4096
    """`stream`: people who are mixed at a time"""
    skeleton: str = "lsp14"
    """`synthetic`: which built-in skeleton to render"""
    people: int = 0
    """use only the first so many training people; 0 means all (`synthetic`: how many to render)"""
    val_people: int = 0
    """validate on only the first so many people while training; 0 means all"""
    input_px: int = 256
    """side of the network's crop"""
    mean: tuple[float, float, float] = (0.4442, 0.4302, 0.4039)
    """of RGB in 0..1"""
    std: tuple[float, float, float] = (0.2376, 0.2296, 0.2356)
    workers: int = 2
    """threads that prepare crops"""
    cache_gb: float = 4.0
    """keep decoded pictures in memory while they fit in so many gigabytes; 0 decodes every time"""

    def __post_init__(self) -> None:
        one_of("data.name", self.name, DATASETS)
        one_of("data.crop", self.crop, tuple(CROPS))
        words = ", ".join(word for word in SIDES if word)
        check(self.sides in SIDES, "data.sides", f"{self.sides!r} is not one of {words}, or empty")
        for option, value, owners in (("crop", self.crop, CROPS), ("sides", self.sides, SIDES)):
            why = "; choose it when packing" if self.name == "pack" else ""
            if value == "person":
                why = "; observer-centric sides don't tell who was swapped, so there is no way back from them"
            check(
                self.name in owners[value],
                f"data.{option}",
                f"{value} is no option of {self.name}, but of {', '.join(owners[value])}{why}",
            )
        check(self.input_px >= 1, "data.input_px", f"must be positive, not {self.input_px}")
        check(self.buffer >= 1, "data.buffer", f"must be at least 1, not {self.buffer}")
        if self.stream:
            check(self.name == "pack", "data.stream", f"is for data.name=pack, not for {self.name}")
            check(not self.people, "data.people", "must be 0 with data.stream, which reads whole shards")
        check(self.workers >= 1, "data.workers", f"must be at least 1, not {self.workers}")
        for name in ("people", "val_people", "cache_gb"):
            check(getattr(self, name) >= 0, f"data.{name}", "can't be negative")
        check(all(map(math.isfinite, self.mean)), "data.mean", "must be finite")
        check(all(0 < s < math.inf for s in self.std), "data.std", "must be positive and finite")
