"""The part of a recipe that says which people are seen, and how."""

import math
from dataclasses import dataclass

from hourglass.network_recipe import check, one_of

DATASETS = ("lspet", "lsp", "mpii", "flic", "coco", "pack", "synthetic")


@dataclass(frozen=True)
class DataRecipe:
    """Which people, and what the network sees of them."""

    name: str = "lspet"
    """kind of data: `lspet`, `lsp`, `mpii`, `flic`, `coco`, `pack` or `synthetic`"""
    root: str = ""
    """dataset folder (`lspet`: joints.mat and images/), pack file, or COCO images ({split} is replaced)"""
    annotations: str = ""
    """`coco`: the training JSON file; `{split}` in it is replaced by the split"""
    category: str = ""
    """`coco`: which category, where several have keypoints"""
    train_split: str = "train"
    val_split: str = "val"
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
        check(self.input_px >= 1, "data.input_px", f"must be positive, not {self.input_px}")
        check(self.workers >= 1, "data.workers", f"must be at least 1, not {self.workers}")
        for name in ("people", "val_people", "cache_gb"):
            check(getattr(self, name) >= 0, f"data.{name}", "can't be negative")
        check(all(map(math.isfinite, self.mean)), "data.mean", "must be finite")
        check(all(0 < s < math.inf for s in self.std), "data.std", "must be positive and finite")
