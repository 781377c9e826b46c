"""Typed recipes: everything that one training run depends on, read from one YAML file.

A recipe is frozen dataclasses. A YAML file and `key=value` overrides fill them; an unknown key, a
wrong type or two durations for one thing is an error that names the key. Recipes don't inherit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hourglass.core.files import reason
from hourglass.core.structs import DECODINGS
from hourglass.recipe.data import DATASETS as DATASETS
from hourglass.recipe.data import DataRecipe as DataRecipe
from hourglass.recipe.data import SourceRecipe as SourceRecipe
from hourglass.recipe.network import HOURGLASSES, check, one_of
from hourglass.recipe.network import NetworkRecipe as NetworkRecipe
from hourglass.recipe.network import RecipeError as RecipeError

OPTIMISERS = ("rmsprop", "adamw")
SCHEDULES = ("constant", "step", "cosine")
PRECISIONS = ("fp32", "bf16")
LOSSES = ("mse", "cross_entropy", "coordinates")
OCCLUDED = ("visible", "negative")
ADAPTIVE = ("none", "linear", "half_linear", "square", "exponential")
SCALE_LAWS = ("log2_normal", "normal", "uniform")
ROTATE_LAWS = ("normal", "uniform")
AUGMENT_ON = ("auto", "loader", "device")
LOADER_ONLY = ("half_body", "cut", "cover", "blur", "jpeg", "grey")
"""Augmentations that are made by the loader's threads, not in batch on the device."""


@dataclass(frozen=True)
class Duration:
    """A length of training in one of three units; exactly one is set."""

    steps: int | None = None
    """optimiser steps"""
    epochs: float | None = None
    """passes over the training people"""
    examples: int | None = None
    """crops seen"""

    def __post_init__(self) -> None:
        given = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        check(len(given) <= 1, " and ".join(given), "only one unit may be given for one duration")
        for name in given:
            value = getattr(self, name)
            check(isinstance(value, int | float), name, f"a duration is a number, not {value!r}")
            check(value >= 0, name, "a duration can't be negative")

    def in_steps(self, steps_per_epoch: int, batch_size: int) -> int:
        """Whole optimiser steps, rounded; 0 when nothing is set."""
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return round(self.epochs * steps_per_epoch)
        if self.examples is not None:
            return round(self.examples / batch_size)
        return 0


def _duration(key: str, value: Any) -> Duration:
    """A duration inside a list, which arrives from YAML as a plain mapping."""
    if isinstance(value, Duration):
        return value
    units = {f.name for f in fields(Duration)}
    check(
        isinstance(value, dict) and value.keys() <= units, key, f"{value!r} is not one of {{steps: N}}, ..."
    )
    return Duration(**value)


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

    def __post_init__(self) -> None:
        one_of("augment.scale_law", self.scale_law, SCALE_LAWS)
        one_of("augment.rotate_law", self.rotate_law, ROTATE_LAWS)
        shares = ("rotate_probability", "flip_probability", "erase", *LOADER_ONLY, "absent")
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


@dataclass(frozen=True)
class TargetRecipe:
    """What a heatmap should be, and how it is read."""

    sigma_hm: float = 1.0
    """standard deviation of the target Gaussian in heatmap cells"""
    decoding: str = "dark"
    """how validation and the finished weights read a heatmap"""
    peak_weight: float = 0.0
    """squared error counts 1 + peak_weight x target; 0 is the papers' plain mean squared error"""
    loss: str = "mse"
    """`mse` of heatmaps, `cross_entropy` of a spatial softmax (`chained`), `coordinates` (`deeppose`)"""
    occluded: str = "visible"
    """an occluded joint's target is a Gaussian as for a `visible` one, or a `negative` one (MSSH)"""
    adaptive: str = "none"
    """MSSH: joints weigh by the stage before; how a loss is brought into 0..1 (ADAPTIVE), or `none`"""
    truth_share: float = 0.0
    """`chained`: over this first share of the run truth is fed back with a probability falling from 1 to 0"""

    def __post_init__(self) -> None:
        one_of("target.loss", self.loss, LOSSES)
        one_of("target.occluded", self.occluded, OCCLUDED)
        one_of("target.adaptive", self.adaptive, ADAPTIVE)
        check(0 <= self.truth_share <= 1, "target.truth_share", "is a share, between 0 and 1")
        for name, default in (("occluded", "visible"), ("adaptive", "none"), ("peak_weight", 0.0)):
            check(
                self.loss == "mse" or getattr(self, name) == default,
                f"target.{name}",
                f"is an option of target.loss=mse, not of {self.loss}",
            )
        check(self.sigma_hm > 0, "target.sigma_hm", f"must be positive, not {self.sigma_hm}")
        one_of("target.decoding", self.decoding, DECODINGS)
        check(self.peak_weight >= 0, "target.peak_weight", "can't be negative")


@dataclass(frozen=True)
class OptimiserRecipe:
    """How weights move; the defaults are the papers'."""

    name: str = "rmsprop"
    lr: float = 2.5e-4
    """peak learning rate"""
    weight_decay: float = 0.0
    """decoupled decay of convolution weights (`adamw`)"""
    alpha: float = 0.99
    """smoothing of squared gradients (`rmsprop`), second beta (`adamw`)"""
    clip_norm: float = 0.0
    """largest gradient norm; 0 leaves gradients alone"""

    def __post_init__(self) -> None:
        one_of("optimiser.name", self.name, OPTIMISERS)
        check(0 < self.lr < math.inf, "optimiser.lr", f"must be positive and finite, not {self.lr}")
        check(0 <= self.alpha < 1, "optimiser.alpha", "must lie in 0..1")
        for name in ("weight_decay", "clip_norm"):
            check(getattr(self, name) >= 0, f"optimiser.{name}", "can't be negative")
        check(
            self.name == "adamw" or self.weight_decay == 0,
            "optimiser.weight_decay",
            "is an option of adamw only",
        )


@dataclass(frozen=True)
class ScheduleRecipe:
    """How the learning rate goes from step to step."""

    name: str = "step"
    """`constant`, `step` (times `factor` at each of `drops`) or `cosine` (down to `factor` at the end)"""
    warmup: Duration = field(default_factory=Duration)
    """linear rise from a tenth of the peak"""
    drops: tuple[Duration, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "drops", tuple(_duration("schedule.drops", d) for d in self.drops))
        one_of("schedule.name", self.name, SCHEDULES)
        check(0 <= self.factor <= 1, "schedule.factor", "must lie in 0..1")
        check(self.name == "step" or not self.drops, "schedule.drops", f"a {self.name} schedule has no drops")


@dataclass(frozen=True)
class TrainRecipe:
    """How long, how exactly, and how often to look."""

    length: Duration = field(default_factory=lambda: Duration(epochs=100))
    batch_size: int = 8
    """crops per optimiser step, over all devices and micro-batches"""
    accumulate: int = 1
    """micro-batches that make one optimiser step, one after another: less memory, the same gradient; only
    batch-norm sees one micro-batch at a time"""
    precision: str = "bf16"
    """of the network, where the device computes in it, else fp32; loss and decoding are always fp32"""
    channels_last: bool = True
    checkpoint_hourglasses: bool = False
    """compute each hourglass again in the backward pass instead of keeping its insides: it saves memory"""
    sync_batch_norm: bool = False
    """with several processes: batch-norm sees the crops of all of them, not of its own process alone"""
    compile: bool = False
    """let torch.compile fuse the parts of an hourglass network; where it can't, training goes on without"""
    cuda_graphs: bool = False
    """with `compile`, on CUDA: replay each part as one recorded graph"""
    augment_on: str = "auto"
    """crops are made by the `loader`'s threads, in batch on the `device`, or there if CUDA (`auto`)"""
    ema: float = 0.0
    """decay of the weights' moving average, which is validated and kept; 0 keeps the weights themselves"""
    validate_every: Duration = field(default_factory=lambda: Duration(epochs=1))
    checkpoint_every: Duration = field(default_factory=lambda: Duration(epochs=1))
    log_every: int = 50
    """steps between two log lines; values are read from the device only then"""
    seed: int = 0
    init: str = ""
    """start from these weights (a file or a bundled name) instead of random ones"""

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "log_every"):
            value = getattr(self, name)
            check(value >= 1, f"train.{name}", f"must be at least 1, not {value}")
        check(
            self.batch_size % self.accumulate == 0,
            "train.batch_size",
            f"{self.batch_size} is no multiple of the {self.accumulate} micro-batches of train.accumulate",
        )
        made = self.compile or not self.cuda_graphs
        check(made, "train.cuda_graphs", "records what train.compile made: set that too")
        check(
            not (self.compile and self.sync_batch_norm),
            "train.compile",
            "can't be used with train.sync_batch_norm, at whose every layer processes wait for one another",
        )
        one_of("train.augment_on", self.augment_on, AUGMENT_ON)
        one_of("train.precision", self.precision, PRECISIONS)
        check(0 <= self.ema < 1, "train.ema", "must lie in 0..1")
        for name in ("length", "validate_every", "checkpoint_every"):
            duration = getattr(self, name)
            check(
                any(getattr(duration, unit) for unit in ("steps", "epochs", "examples")),
                f"train.{name}",
                "needs one positive duration: steps, epochs or examples",
            )


@dataclass(frozen=True)
class Recipe:
    """One training run."""

    network: NetworkRecipe = field(default_factory=NetworkRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    augment: AugmentRecipe = field(default_factory=AugmentRecipe)
    target: TargetRecipe = field(default_factory=TargetRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    train: TrainRecipe = field(default_factory=TrainRecipe)

    def __post_init__(self) -> None:
        network, target = self.network, self.target
        check(
            target.loss in network.loss,
            "target.loss",
            f"{target.loss} does not fit network.build={network.build}, which answers for {network.loss[0]}",
        )
        check(
            target.adaptive == "none" or network.stages > 1,
            "target.adaptive",
            f"weights go from stage to stage, and network.build={network.build} has one stage here",
        )
        check(
            self.augment.absent == 0 or target.loss == "mse",
            "augment.absent",
            f"is an option of target.loss=mse, whose heatmaps can be empty, not of {target.loss}",
        )
        check(
            target.truth_share == 0 or network.build == "chained",
            "target.truth_share",
            f"is an option of the chained build, not of {network.build}",
        )
        used = [name for name in LOADER_ONLY if getattr(self.augment, name)]
        check(
            self.train.augment_on != "device" or not used,
            "train.augment_on",
            f"must be loader or auto with {', '.join(f'augment.{name}' for name in used)}",
        )
        check(
            target.adaptive == "none" or self.train.accumulate == 1,
            "train.accumulate",
            "must be 1 with target.adaptive, whose weights are those of a whole batch",
        )
        for option in ("checkpoint_hourglasses", "compile"):
            check(
                network.build in HOURGLASSES or not getattr(self.train, option),
                f"train.{option}",
                f"is made for networks of hourglasses, not for network.build={network.build}",
            )
        multiple = network.input_multiple
        check(
            self.data.input_px % multiple == 0,
            "data.input_px",
            f"{self.data.input_px} px does not fit this {network.build} network: give a multiple of "
            f"{multiple}",
        )


def bundled_recipes() -> dict[str, Path]:
    """Name to file of the recipes that come with the package."""
    folder = Path(str(resources.files("hourglass.recipe"))) / "yaml"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """A recipe file by bundled name or path; raises RecipeError with the known names."""
    known = bundled_recipes()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_file():
        return path
    raise RecipeError(f"there is no recipe {name!r}: give a YAML file or one of {', '.join(known)}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides; raises RecipeError naming file and key."""
    layers: list[Any] = []
    try:
        written: Any = OmegaConf.load(path)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a readable YAML recipe: {reason(error)}") from error
    for override in overrides:
        if "=" not in override:
            raise RecipeError(f"{override!r} is not of the form section.key=value")
    try:
        base = OmegaConf.structured(Recipe)
        OmegaConf.set_readonly(base, False)
        layers = [_layer(OmegaConf.to_container(written)), _layer(_dotted(overrides))]
        merged = OmegaConf.merge(base, *layers)
        return OmegaConf.to_object(merged)  # type: ignore[return-value]
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise RecipeError(f"{path.name}: {error}") from error
        key = getattr(error, "full_key", None)
        why = str(getattr(error, "msg", None) or error).splitlines()[0]
        if not key or "." not in key:  # inside a list the error has lost its place
            key, value = _culprit(layers) or (key, None)
            why = why if value is None else f"{value!r} is not of the right kind or length"
        raise RecipeError(f"{path.name}: {key}: {why}" if key else f"{path.name}: {why}") from error


def _culprit(layers: Sequence[Any]) -> tuple[str, Any] | None:
    """The first key, with its value, that can't be set by itself; None when each of them can."""
    for layer in layers:
        for section, values in layer.items():
            for key, value in values.items():
                try:
                    one = OmegaConf.create({section: {key: value}})
                    OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Recipe), one))
                except (OmegaConfBaseException, TypeError):
                    return f"{section}.{key}", value
                except ValueError:
                    continue  # a value that only fits together with others
    return None


def _dotted(overrides: Sequence[str]) -> Any:
    given = OmegaConf.create()
    for override in overrides:
        try:
            given.merge_with_dotlist([override])
        except yaml.YAMLError as error:
            raise RecipeError(f"{override!r} has no readable value") from error
    return OmegaConf.to_container(given)


def _layer(written: Any) -> Any:
    """One source of a recipe's values, ready to be merged; raises RecipeError naming a malformed section."""
    if not isinstance(written, dict):
        raise RecipeError(f"a recipe is a mapping of sections, not a {type(written).__name__}")
    sections = {f.name for f in fields(Recipe)}
    for section, values in written.items():
        if section in sections and not isinstance(values, dict):
            raise RecipeError(f"{section}: is a group of keys, not {values!r}")
    return _whole_durations(written)


def _whole_durations(layer: Any) -> Any:
    """The layer with each duration's unnamed units set to null, so that it replaces an earlier unit."""
    if not isinstance(layer, dict):
        return layer
    units = {f.name for f in fields(Duration)}
    if layer and layer.keys() <= units:
        return {**dict.fromkeys(units), **layer}
    return {key: _whole_durations(value) for key, value in layer.items()}


def recipe_to_yaml(recipe: Recipe) -> str:
    """The complete recipe, defaults included, as YAML that `load_recipe` reads back."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe))
