"""The part of a recipe that says how training crops vary."""

import math
from dataclasses import dataclass

from hourglass.recipe.network import check, one_of

SCALE_LAWS = ("log2_normal", "normal", "uniform")
ROTATE_LAWS = ("normal", "uniform")
LOADER_ONLY = ("half_body", "cut", "cover", "blur", "jpeg", "grey")
"""Augmentations that are made by the loader's threads, not in batch on the device."""


@dataclass(frozen=True)
class AugmentRecipe:
    """How training crops vary; the defaults are the final law of the ECCV 2016 authors' training code."""

    scale: float = 0.25
    """spread of the person's size: standard deviation of a normal, or half-width of a uniform law"""
    scale_law: str = "log2_normal"
    """`log2_normal`: 2^N clipped at 2 sd; `normal`: 1 + N clipped at 1 sd; `uniform`: 1 +- scale"""
    rotate_deg: float = 30.0
    """standard deviation (normal, clipped at 2 sd) or half-width (uniform) of the rotation"""
    rotate_law: str = "normal"
    rotate_probability: float = 0.4
    shift: float = 0.0
    """half-width of a uniform shift on each axis, as a share of the crop"""
    flip_probability: float = 0.5
    gain: float = 0.4
    """half-width of a uniform gain around 1, drawn for each colour channel"""
    brightness: float = 0.0
    """half-width of a uniform offset of all channels, in 0..1"""
    noise: float = 0.0
    """standard deviation of Gaussian pixel noise, in 0..1; each crop draws its share between 0 and this"""
    erase: float = 0.0
    """probability of covering a random rectangle with its own flat colour"""
    half_body: float = 0.0
    """probability of looking at the upper or lower half of the body alone, where enough of it is labelled"""
    cut: float = 0.0
    """probability of blackening all beyond a line at one side, as where a person is cut off by the picture"""
    cover: float = 0.0
    """probability of covering a patch with another piece of the same crop"""
    blur: float = 0.0
    """probability of a blur, Gaussian or of motion"""
    jpeg: float = 0.0
    """probability of JPEG's artefacts, at a quality of 10 to 60"""
    grey: float = 0.0
    """probability of losing all colour"""
    absent: float = 0.0
    """weight with which a labelled joint that is out of view is learnt to be nowhere; 0 leaves it out"""
    zoom: tuple[float, float] = (1.0, 1.0)
    """`target.loss=centers`: range of a photo's longer side over the view's, log-uniform"""
    mosaic: float = 0.0
    """`target.loss=centers`: probability of a view that shows four photos"""

    def __post_init__(self) -> None:
        one_of("augment.scale_law", self.scale_law, SCALE_LAWS)
        one_of("augment.rotate_law", self.rotate_law, ROTATE_LAWS)
        shares = ("rotate_probability", "flip_probability", "erase", *LOADER_ONLY, "absent", "mosaic")
        for name in shares:
            check(0 <= getattr(self, name) <= 1, f"augment.{name}", "must lie between 0 and 1")
        for name in ("scale", "rotate_deg", "shift", "gain", "brightness", "noise"):
            check(getattr(self, name) >= 0, f"augment.{name}", "can't be negative")
        check(
            self.scale_law == "log2_normal" or self.scale < 1,
            "augment.scale",
            "must be below 1 under this law",
        )
        check(self.gain <= 1, "augment.gain", "can't be above 1")
        object.__setattr__(self, "zoom", tuple(self.zoom))
        check(
            len(self.zoom) == 2 and 0 < self.zoom[0] <= self.zoom[1] < math.inf,
            "augment.zoom",
            f"{list(self.zoom)} is not a lowest and a highest zoom, both above 0",
        )
