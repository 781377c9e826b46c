"""The part of a recipe that says which people are seen, and how."""

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

from hourglass.core.skeleton import SKELETONS
from hourglass.recipe.network import check, one_of

DATASETS = ("lspet", "lsp", "lsp_lspet", "mpii", "flic", "coco", "file", "pack", "synthetic")

_LEEDS = ("lspet", "lsp", "lsp_lspet")
CROPS = {"box": DATASETS, "limbs": (*_LEEDS, "coco", "file")}
"""Words of `data.crop`, and the kinds of data that know them."""

SIDES = {"": DATASETS, "observer": (*_LEEDS, "mpii", "flic", "coco", "file"), "person": ("flic",)}
"""Words of `data.sides`, and the kinds of data that know them."""


@dataclass(frozen=True)
class SourceRecipe:
    """One of several data sets that a network is trained on together."""

    name: str = "lspet"
    """kind of data, as `data.name`"""
    label: str = ""
    """what the log calls it; the kind's name where it is empty, so two of one kind need one"""
    root: str = ""
    """its folder or pack, below `data.root` unless it is absolute"""
    annotations: str = ""
    """`coco`, `file`: the file, below `data.root` unless it is absolute; `{split}` in it is replaced"""
    category: str = ""
    """`coco`, `file`: which category, where several have keypoints that differ"""
    train_split: str = "train"
    """empty: not trained on"""
    val_split: str = "val"
    """empty: not validated on"""
    test_split: str = ""
    """what `hourglass accuracy` reports on; training never looks at it. Empty: it reports on `val_split`"""
    crop: str = "box"
    sides: str = ""
    stream: bool = False
    """`pack`: as `data.stream`"""
    share: float | None = None
    """of the draws, in 0..1; given for all that are trained on, or for none: then people count alike"""
    weight: float = 1.0
    """how much its labels count, in 0..1, times those of the labels themselves where the file has any"""
    min_joints: int = 1
    """people with fewer labelled joints, among those that the common skeleton knows, are left out"""
    sure_score: float = 0.0
    """finding people: boxes whose `score` is lower may show somebody or not, so nothing is learnt there"""
    sure_joints: float = 0.0
    """finding people: likewise of the mean over the better half of a box's `keypoint_scores`"""
    partial: bool = False
    """finding people: only some are boxed; away from the boxes nothing is learnt"""

    def __post_init__(self) -> None:
        _check_words("data.sources", self)
        where = f"data.sources: {self.title}"
        check(
            bool(self.train_split or self.val_split or self.test_split),
            where,
            "needs a train_split, a val_split or a test_split",
        )
        check(0 <= self.weight <= 1, where, f"the weight {self.weight:g} of its labels must lie in 0..1")
        share = self.share
        check(share is None or 0 < share <= 1, where, f"the share {share} must lie in 0..1, and above 0")
        check(self.min_joints >= 1, where, f"min_joints must be at least 1, not {self.min_joints}")
        check(not self.stream or self.name == "pack", where, "stream is for packs")
        for name in ("sure_score", "sure_joints"):
            check(0 <= getattr(self, name) <= 1, where, f"{name} must lie in 0..1")

    @property
    def title(self) -> str:
        return self.label or self.name


@dataclass(frozen=True)
class DataRecipe:
    """Which people, and what the network sees of them."""

    name: str = "lspet"
    """kind of data: `lspet`, `lsp`, `lsp_lspet` (both), `mpii`, `flic`, `coco`, `file` (any file of
    annotations, a labelling tool's too), `pack` or `synthetic`"""
    root: str = ""
    """dataset folder (`lspet`: joints.mat and images/; `lsp_lspet`: lsp/ and lspet/), pack file, or the
    folder of the pictures of `coco` and `file` ({split} is replaced); empty with `file` looks near that"""
    annotations: str = ""
    """`coco`: the training JSON file; `file`: any file of annotations, or a labelling tool's folder;
    `{split}` in it is replaced by the split"""
    category: str = ""
    """`coco`, `file`: which category, where several have keypoints that differ"""
    train_split: str = "train"
    val_split: str = "val"
    crop: str = "box"
    """a person's crop: `box` as the kind of data has it, `limbs` with a side told by the limbs' lengths
    (`lspet`, `lsp`, `lsp_lspet`, `coco`, `file`)"""
    sides: str = ""
    """left and right: empty as the file has them, `observer` for those of who looks at the picture, `person`
    for the person's own (`flic` only, which comes with both)"""
    stream: bool = False
    """`pack`: read training people shard by shard as they are needed, not all at the start; root may be an
    address"""
    buffer: int = 4096
    """`stream`: people who are mixed at a time"""
    skeleton: str = "lsp14"
    """`synthetic`: which built-in skeleton to render; with `sources`: the built-in skeleton of all"""
    sources: tuple[SourceRecipe, ...] = ()
    """train on these together instead of on `name`; joints are matched by name, and one that a source doesn't
    know weighs nothing there. `root` is then the folder that theirs start from"""
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
        _check_words("data", self)
        object.__setattr__(self, "sources", tuple(_source(s) for s in self.sources))
        self._check_sources()
        check(self.input_px >= 1, "data.input_px", f"must be positive, not {self.input_px}")
        check(self.buffer >= 1, "data.buffer", f"must be at least 1, not {self.buffer}")
        if self.stream:
            check(self.name == "pack", "data.stream", f"is for data.name=pack, not for {self.name}")
            check(not self.people, "data.people", "must be 0 with data.stream, which reads whole shards")
        check(self.workers >= 1, "data.workers", f"must be at least 1, not {self.workers}")
        for name in ("people", "val_people", "cache_gb"):
            check(getattr(self, name) >= 0, f"data.{name}", f"must be 0 or more, got {getattr(self, name):g}")
        check(all(map(math.isfinite, self.mean)), "data.mean", "must be finite")
        check(all(0 < s < math.inf for s in self.std), "data.std", "must be positive and finite")

    def _check_sources(self) -> None:
        if not self.sources:
            return
        titles = [source.title for source in self.sources]
        twice = next((title for title in titles if titles.count(title) > 1), "")
        check(not twice, "data.sources", f"two are called {twice!r}: give each a label of its own")
        trained = [source for source in self.sources if source.train_split]
        check(bool(trained), "data.sources", "none is trained on: give one a train_split")
        check(
            any(source.val_split for source in self.sources),
            "data.sources",
            "none is validated on: give one a val_split",
        )
        shares = [source.share for source in trained if source.share is not None]
        check(
            len(shares) in (0, len(trained)),
            "data.sources",
            "some sources that are trained on have a share and others don't: give it to all or to none",
        )
        check(
            not shares or abs(sum(shares) - 1) < 1e-6,
            "data.sources",
            f"the shares add up to {sum(shares):g}, not to 1",
        )
        check(
            self.name == DataRecipe.name, "data.name", "must be left out with data.sources, which name theirs"
        )
        one_of("data.skeleton", self.skeleton, tuple(SKELETONS))

    def of_source(self, source: SourceRecipe) -> "DataRecipe":
        """One of the sources as data by itself."""

        def below(place: str) -> str:
            return place if not place or "://" in place else str(Path(self.root) / place)

        return replace(
            self,
            sources=(),
            name=source.name,
            root=below(source.root or "."),
            annotations=below(source.annotations),
            category=source.category,
            train_split=source.train_split,
            val_split=source.val_split,
            crop=source.crop,
            sides=source.sides,
            stream=source.stream,
            people=self.people if source.name == "synthetic" else 0,
            val_people=0,
        )


def _source(value: object) -> SourceRecipe:
    """A source inside the list, which arrives from YAML as a plain mapping."""
    if isinstance(value, SourceRecipe):
        return value
    check(isinstance(value, dict), "data.sources", f"{value!r} is not a source: {{name: ..., root: ...}}")
    assert isinstance(value, dict)
    known = {f.name for f in fields(SourceRecipe)}
    odd = sorted(str(key) for key in value.keys() - known)
    check(not odd, "data.sources", f"a source has no {', '.join(odd)}; it has {', '.join(sorted(known))}")
    return SourceRecipe(**value)


def _check_words(where: str, data: "SourceRecipe | DataRecipe") -> None:
    """The kind of data, and the options that it knows."""
    one_of(f"{where}.name", data.name, DATASETS)
    one_of(f"{where}.crop", data.crop, tuple(CROPS))
    words = ", ".join(word for word in SIDES if word)
    check(data.sides in SIDES, f"{where}.sides", f"{data.sides!r} is not one of {words}, or empty")
    for option, value, owners in (("crop", data.crop, CROPS), ("sides", data.sides, SIDES)):
        why = "; choose it when packing" if data.name == "pack" else ""
        if value == "person":
            why = "; observer-centric sides don't tell who was swapped, so there is no way back from them"
        check(
            data.name in owners[value],
            f"{where}.{option}",
            f"{value} is no option of {data.name}, but of {', '.join(owners[value])}{why}",
        )


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
            check(
                getattr(self, name) >= 0, f"augment.{name}", f"must be 0 or more, got {getattr(self, name):g}"
            )
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
