"""The `network` section of a recipe: which network, with which numbers. It also travels in weight files."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf

HOURGLASSES = (
    "eccv",
    "workshop",
    "hg",
    "hg_int",
    "hg_stacked",
    "hg_stacked_int",
    "hg_stacked_add",
    "mssh",
    "residual_stacked",
    "cornernet",
    "people_finder",
)
BUILDS = (*HOURGLASSES, "deeppose", "chained")
STEMS = ("eccv", "wide")
UNITS = ("residual", "inception_a", "inception_b")
FUSIONS = ("add", "concat")
DISPATCHES = ("every", "first")
HIGHWAYS = ("input", "merged", "output", "none")
BACKBONES = ("alexnet", "resnet34", "resnet50", "resnet101")
FEEDBACKS = ("softmax", "raw")
POOLS = ("mean", "windows")
NORMS = ("batch", "group")

_OPTION_OF = {
    "stacks": ("eccv", "workshop", "mssh", "residual_stacked", "cornernet", "people_finder", "deeppose"),
    "features": HOURGLASSES,
    "depth": HOURGLASSES,
    "blocks": ("eccv", "residual_stacked", "people_finder"),
    "stem": ("eccv",),
    "norm": ("eccv",),
    "strides": ("mssh",),
    "unit": ("mssh",),
    "lateral": ("mssh",),
    "fusion": ("mssh",),
    "dispatch": ("mssh",),
    "highways": ("residual_stacked",),
    "backbone": ("deeppose", "chained"),
    "width": ("deeppose", "chained"),
    "view_px": ("deeppose",),
    "box_sigma": ("deeppose",),
    "dropout": ("deeppose",),
    "batch_norm": ("deeppose",),
    "pool": ("deeppose",),
    "spread": ("deeppose",),
    "order": ("chained",),
    "hidden": ("chained",),
    "hidden_kernel": ("chained",),
    "output_kernel": ("chained",),
    "feedback": ("chained",),
}


class RecipeError(ValueError):
    """A recipe that can't be used; the message is one sentence that names the key."""


def check(ok: bool, key: str, problem: str) -> None:
    """Raise RecipeError unless `ok`."""
    if not ok:
        raise RecipeError(f"{key}: {problem}")


def one_of(key: str, value: str, allowed: Sequence[str]) -> None:
    """Raise RecipeError unless the value is an allowed word."""
    check(value in allowed, key, f"{value!r} is not one of {', '.join(allowed)}")


@dataclass(frozen=True)
class NetworkRecipe:
    """Which network. An option of another build than the chosen one is an error, not ignored."""

    build: str = "eccv"
    """`eccv`, `workshop`, the five ablations `hg` `hg_int` `hg_stacked` `hg_stacked_int` `hg_stacked_add`,
    `mssh`, `residual_stacked`, `cornernet` (MMPose's hourglass52), `people_finder`, `deeppose`, `chained`"""
    stacks: int = 2
    """hourglasses (`eccv`, `workshop`, `residual_stacked`, `cornernet`, `people_finder`), stages (`mssh`) or
    cascade stages (`deeppose`)"""
    features: int = 256
    """width of an hourglass network"""
    depth: int = 4
    """poolings in one hourglass; in `mssh` of one at a quarter of the input's resolution"""
    blocks: int = 1
    """residuals at each position of an hourglass (`eccv`, `residual_stacked`, `people_finder`)"""
    stem: str = "eccv"
    """`eccv`, or `wide` as in later ports (`eccv` only)"""
    norm: str = "batch"
    """`eccv`: `batch`-norms as published, or `group`-norms, which don't depend on the other crops"""
    strides: tuple[int, ...] = ()
    """`mssh`: each stage's input pixels per heatmap cell, 8, 4 or 2, never rising; empty shares them out"""
    unit: str = "residual"
    """`mssh`: building block, `residual`, `inception_a` or `inception_b`"""
    lateral: bool = False
    """`mssh`: horizontal connections in the pre-processing network"""
    fusion: str = "add"
    """`mssh`: how a stage's input meets the dispatched map, `add` or `concat`"""
    dispatch: str = "every"
    """`mssh`: a scale's map goes to `every` stage of that scale or only to the `first`"""
    highways: str = "input"
    """`residual_stacked`: where identity connections start and end, `input`, `merged`, `output` or `none`"""
    backbone: str = "resnet34"
    """encoder: `resnet34`, `resnet50`, `resnet101`; for `deeppose` also `alexnet`"""
    width: int = 64
    """channels of the encoder's first stage (`deeppose`, `chained`)"""
    view_px: int = 220
    """`deeppose`: side of what each stage's regressor sees, cut out of the crop"""
    box_sigma: float = 2.0
    """`deeppose`: side of a joint's box in torso diameters"""
    dropout: float = 0.6
    """`deeppose`: share of dropped features in `alexnet`'s wide layers"""
    batch_norm: bool = False
    """`deeppose`: batch-norms in `alexnet` in place of its response norms; the paper's has none"""
    pool: str = "mean"
    """`deeppose`, residual encoders: `mean` of all cells, or of `windows` of 7 x 7 cells, of which views of
    256 px have 2 x 2, as in the code behind the slides"""
    spread: bool = False
    """`deeppose`: learn the width of the doubt in each coordinate too, for `target.distance=rle`"""
    order: tuple[str, ...] = ()
    """`chained`: joint names from first to last; empty goes from head to ankles"""
    hidden: int = 64
    """`chained`: channels of the hidden state"""
    hidden_kernel: int = 1
    """`chained`: kernel from one hidden state to the next"""
    output_kernel: int = 1
    """`chained`: kernel of the strided convolutions that read earlier predictions"""
    feedback: str = "softmax"
    """`chained`: feed predictions back as a spatial `softmax` or `raw`"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", tuple(self.strides))
        object.__setattr__(self, "order", tuple(self.order))
        one_of("network.build", self.build, BUILDS)
        for option in fields(self):
            owners = _OPTION_OF.get(option.name, BUILDS)
            check(
                self.build in owners or getattr(self, option.name) == option.default,
                f"network.{option.name}",
                f"the {self.build} build has no such option; it belongs to {', '.join(owners)}",
            )
        for name in ("stacks", "features", "depth", "blocks", "width", "view_px", "hidden"):
            check(
                getattr(self, name) >= 1, f"network.{name}", f"must be at least 1, not {getattr(self, name)}"
            )
        for name, words in (
            ("stem", STEMS),
            ("unit", UNITS),
            ("fusion", FUSIONS),
            ("dispatch", DISPATCHES),
            ("highways", HIGHWAYS),
            ("feedback", FEEDBACKS),
            ("pool", POOLS),
            ("norm", NORMS),
            ("backbone", BACKBONES if self.build == "deeppose" else BACKBONES[1:]),
        ):
            one_of(f"network.{name}", getattr(self, name), words)
        for name in ("hidden_kernel", "output_kernel"):
            value = getattr(self, name)
            check(
                value >= 1 and value % 2 == 1,
                f"network.{name}",
                f"must be a positive odd number, not {value}",
            )
        check(0 < self.box_sigma < inf, "network.box_sigma", f"must be positive, not {self.box_sigma}")
        check(0 <= self.dropout < 1, "network.dropout", f"must lie in 0..1 and below 1, not {self.dropout}")
        self._check_backbone_options()
        check(
            self.build != "workshop" or self.stacks <= 2,
            "network.stacks",
            f"the workshop build has 1 or 2 stacks, not {self.stacks}",
        )
        check(
            self.build != "mssh" or self.features % 8 == 0,
            "network.features",
            f"{self.features} can't be shared by a block's concatenated branches: give a multiple of 8",
        )
        for build, least, why in (
            ("hg_int", 3, "for losses at three resolutions"),
            ("mssh", 2, "for an hourglass at an eighth of the input's resolution"),
        ):
            check(
                self.build != build or self.depth >= least,
                "network.depth",
                f"must be at least {least} {why}, not {self.depth}",
            )
        self._check_strides()

    def _check_backbone_options(self) -> None:
        alexnet = self.build == "deeppose" and self.backbone == "alexnet"
        check(
            alexnet or not self.batch_norm,
            "network.batch_norm",
            f"is for network.backbone=alexnet; {self.backbone} has batch-norms anyway",
        )
        check(
            self.pool == "mean" or not alexnet,
            "network.pool",
            f"{self.pool} is for residual encoders, not for alexnet",
        )

    def _check_strides(self) -> None:
        if not self.strides:
            return
        check(
            len(self.strides) == self.stacks,
            "network.strides",
            f"has {len(self.strides)} entries for network.stacks={self.stacks}: give one for each stage",
        )
        check(
            all(s in (2, 4, 8) for s in self.strides),
            "network.strides",
            f"{list(self.strides)} may hold 8, 4 and 2 only",
        )
        check(
            list(self.strides) == sorted(self.strides, reverse=True),
            "network.strides",
            f"{list(self.strides)} goes back to a smaller scale: small scales (8) come first",
        )

    @property
    def input_multiple(self) -> int:
        """Both sides of the network's input must be multiples of this."""
        if self.build in HOURGLASSES:
            return int(4 * 2**self.depth)
        return 32 if self.build == "chained" else 1

    @property
    def stages(self) -> int:
        """How many answers the network is supervised on."""
        if self.build in ("hg", "hg_stacked", "hg_stacked_add", "chained"):
            return 1
        return {"hg_int": 3, "hg_stacked_int": 2}.get(self.build, self.stacks)

    @property
    def loss(self) -> tuple[str, ...]:
        """Losses that fit this network's answer, as `target.loss` names them."""
        if self.build == "deeppose":
            return ("coordinates",)
        if self.build == "people_finder":
            return ("centers",)
        return ("cross_entropy",) if self.build == "chained" and self.feedback == "softmax" else ("mse",)
