"""Typed recipes: everything that one training run depends on, read from one YAML file.

A recipe is frozen dataclasses. A YAML file and `key=value` overrides fill them; an unknown key, a
wrong type or two durations for one thing is an error that names the key. Recipes don't inherit.
"""

import logging
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from hourglass.core.files import reason
from hourglass.core.structs import DECODINGS
from hourglass.recipe.data import DATASETS as DATASETS
from hourglass.recipe.data import LOADER_ONLY as LOADER_ONLY
from hourglass.recipe.data import AugmentRecipe as AugmentRecipe
from hourglass.recipe.data import DataRecipe as DataRecipe
from hourglass.recipe.data import SourceRecipe as SourceRecipe
from hourglass.recipe.network import HOURGLASSES, check, one_of
from hourglass.recipe.network import NetworkRecipe as NetworkRecipe
from hourglass.recipe.network import RecipeError as RecipeError

OPTIMISERS = ("rmsprop", "adamw", "adagrad")
SCHEDULES = ("constant", "step", "cosine")
PRECISIONS = ("fp32", "bf16")
LOSSES = ("mse", "cross_entropy", "coordinates", "centers")
DISTANCES = ("l2", "l1", "smooth_l1", "rle")
OCCLUDED = ("visible", "negative")
ADAPTIVE = ("none", "linear", "half_linear", "square", "exponential", "literal")
CELLS = ("mean", "sum")
AUGMENT_ON = ("auto", "loader", "device")

log = logging.getLogger(__name__)


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
            check(value >= 0, name, f"must be 0 or more, got {value}")

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
class TargetRecipe:
    """What a heatmap should be, and how it is read."""

    sigma_hm: float = 1.0
    """standard deviation of the target Gaussian in heatmap cells"""
    sigmas: tuple[float, ...] = ()
    """`mse`: one for each stage, in its own cells; the last is `sigma_hm`, and empty is `sigma_hm` for all"""
    sigma_start: float = 0.0
    """`mse`: the last stage's targets start as wide as this, the others' in proportion; 0 is no change"""
    sigma_share: float = 0.5
    """the first share of the run, over which `sigma_start` falls in a straight line to `sigma_hm`"""
    decoding: str = "dark"
    """how validation and the finished weights read a heatmap"""
    peak_weight: float = 0.0
    """squared error counts 1 + peak_weight x target; 0 is the papers' plain mean squared error"""
    cells: str = "mean"
    """`mse`: squared errors are the `mean` over a map's cells, or their `sum` (MSSH, equation 2)"""
    loss: str = "mse"
    """`mse` of heatmaps, `cross_entropy` of a spatial softmax (`chained`), `coordinates` (`deeppose`),
    `centers` and sizes of people in whole photos (`people_finder`)"""
    distance: str = "l2"
    """`coordinates`: how far a joint is off, `l2` squared as DeepPose has it, `l1`, `smooth_l1`, or `rle`,
    how unlikely it is (with `network.spread`)"""
    occluded: str = "visible"
    """an occluded joint's target is a Gaussian as for a `visible` one, or a `negative` one (MSSH)"""
    adaptive: str = "none"
    """MSSH: joints weigh by the stage before; how a loss is brought into 0..1 (ADAPTIVE), `literal` for the
    equations with losses as they are, or `none`"""
    truth_share: float = 0.0
    """`chained`: over this first share of the run truth is fed back with a probability falling from 1 to 0"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigmas", tuple(self.sigmas))
        one_of("target.loss", self.loss, LOSSES)
        one_of("target.cells", self.cells, CELLS)
        one_of("target.distance", self.distance, DISTANCES)
        check(
            self.loss == "coordinates" or self.distance == "l2",
            "target.distance",
            f"is an option of target.loss=coordinates, not of {self.loss}",
        )
        one_of("target.occluded", self.occluded, OCCLUDED)
        one_of("target.adaptive", self.adaptive, ADAPTIVE)
        check(0 <= self.truth_share <= 1, "target.truth_share", f"must lie in 0..1, got {self.truth_share:g}")
        for name in ("occluded", "adaptive", "peak_weight", "cells", "sigmas", "sigma_start"):
            check(
                self.loss == "mse" or getattr(self, name) == getattr(TargetRecipe, name),
                f"target.{name}",
                f"is an option of target.loss=mse, not of {self.loss}",
            )
        check(self.sigma_hm > 0, "target.sigma_hm", f"must be positive, not {self.sigma_hm}")
        check(all(0 < s < math.inf for s in self.sigmas), "target.sigmas", "must be positive and finite")
        check(
            not self.sigmas or self.sigmas[-1] == self.sigma_hm,
            "target.sigmas",
            f"ends with {self.sigmas[-1] if self.sigmas else 0:g}, but the answering stage is read with "
            f"target.sigma_hm={self.sigma_hm:g}: give the same",
        )
        check(
            self.sigma_start == 0 or self.sigma_hm <= self.sigma_start < math.inf,
            "target.sigma_start",
            f"{self.sigma_start:g} can't fall to target.sigma_hm={self.sigma_hm:g}: give more, or 0 for none",
        )
        check(
            0 < self.sigma_share <= 1,
            "target.sigma_share",
            f"must lie above 0 and up to 1, got {self.sigma_share:g}",
        )
        check(
            self.sigma_start > 0 or self.sigma_share == TargetRecipe.sigma_share,
            "target.sigma_share",
            "belongs to target.sigma_start, which is 0",
        )
        one_of("target.decoding", self.decoding, DECODINGS)
        check(self.peak_weight >= 0, "target.peak_weight", f"must be 0 or more, got {self.peak_weight:g}")


@dataclass(frozen=True)
class OptimiserRecipe:
    """How weights move; the defaults are the papers'."""

    name: str = "rmsprop"
    """`rmsprop`, `adamw`, or `adagrad` (DeepPose's)"""
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
        check(
            self.name != "adagrad" or self.alpha == OptimiserRecipe.alpha,
            "optimiser.alpha",
            "is no option of adagrad, which sums squared gradients without forgetting",
        )
        for name in ("weight_decay", "clip_norm"):
            check(
                getattr(self, name) >= 0,
                f"optimiser.{name}",
                f"must be 0 or more, got {getattr(self, name):g}",
            )
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
    """start from these weights, a file or a bundled name; a network of fewer `features` is widened"""
    encoder: str = ""
    """`deeppose`, `chained`: start residual encoders from this file of torchvision's, such as ImageNet's"""

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
            len(target.sigmas) in (0, network.stages),
            "target.sigmas",
            f"has {len(target.sigmas)} entries, but network.build={network.build} has {network.stages} "
            "stages here: give one for each",
        )
        check(
            (target.distance == "rle") == network.spread,
            "target.distance",
            "rle needs network.spread=true, and network.spread=true needs target.distance=rle",
        )
        check(
            network.norm == "batch" or not self.train.sync_batch_norm,
            "train.sync_batch_norm",
            f"needs batch-norms, and network.norm={network.norm} has none",
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
        residual = network.build in ("deeppose", "chained") and network.backbone != "alexnet"
        check(
            residual or not self.train.encoder,
            "train.encoder",
            f"is for residual encoders, which network.build={network.build} has none of"
            + (" with network.backbone=alexnet" if network.build == "deeppose" else ""),
        )
        check(
            not (self.train.encoder and self.train.init),
            "train.encoder",
            "and train.init can't both be given: weights start from one file",
        )
        self._check_photos()
        multiple = network.input_multiple
        check(
            self.data.input_px % multiple == 0,
            "data.input_px",
            f"{self.data.input_px} px does not fit this {network.build} network: give a multiple of "
            f"{multiple}",
        )

    def _check_photos(self) -> None:
        """A finder learns from whole photos, whose boxes stay upright and whole."""
        finder, augment = self.target.loss == "centers", self.augment
        for name in ("zoom", "mosaic"):
            given = getattr(augment, name) != getattr(AugmentRecipe, name)
            check(finder or not given, f"augment.{name}", "is an option of target.loss=centers")
        for source in self.data.sources:
            given = bool(source.sure_score or source.sure_joints or source.partial)
            check(
                finder or not given,
                f"data.sources: {source.title}",
                "sure_score, sure_joints and partial are options of target.loss=centers",
            )
            check(
                not finder or source.name == "coco",
                f"data.sources: {source.title}",
                f"target.loss=centers needs boxes in COCO's form (name: coco), not {source.name}",
            )
        if not finder:
            return
        check(bool(self.data.sources), "data.sources", "is needed by target.loss=centers")
        for name in ("scale", "shift", "rotate_probability", "half_body", "cut", "cover", "absent"):
            problem = "must be 0 with target.loss=centers: whole photos vary by zoom and mosaic"
            check(not getattr(augment, name), f"augment.{name}", problem)
        problem = "must be auto or loader with target.loss=centers"
        check(self.train.augment_on != "device", "train.augment_on", problem)


_FOLDER = Path(str(resources.files("hourglass.recipe")))


def bundled_recipes() -> dict[str, Path]:
    """Name to file of the recipes that come with the package."""
    return {path.stem: path for path in sorted((_FOLDER / "yaml").glob("*.yaml"))}


def bundled_presets() -> dict[str, Path]:
    """Name to file of what `+data=NAME` puts over a recipe: another data set, and what follows from it."""
    return {path.stem: path for path in sorted((_FOLDER / "yaml" / "data").glob("*.yaml"))}


@cache
def old_names() -> dict[str, list[str]]:
    """Names that recipes had, to the recipe and the overrides that are the same now."""
    written = yaml.safe_load((_FOLDER / "aliases.yaml").read_text(encoding="utf-8"))
    return {name: shlex.split(words) for name, words in written.items()}


def find_recipe(name: str) -> Path:
    """A recipe for `load_recipe`, by bundled name, older name or path.

    An older name is a path that only `load_recipe` knows; a warning says how it is spelt now. Raises
    RecipeError with the known names.
    """
    known = bundled_recipes()
    if name in known:
        return known[name]
    path = Path(name)
    if path.is_file():
        return path
    if name in old_names():
        log.warning("recipe %s is now spelt: %s", name, shlex.join(old_names()[name]))
        return _FOLDER / "yaml" / f"{name}.yaml"
    raise RecipeError(f"there is no recipe {name!r}: give a YAML file or one of {', '.join(known)}")


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML recipe, put presets over it (`+data=lspet`), then `section.key=value` overrides.

    Raises RecipeError naming file and key.
    """
    layers: list[Any] = []
    if path.parent == _FOLDER / "yaml" and path.stem in old_names():
        name, *more = old_names()[path.stem]
        return load_recipe(bundled_recipes()[name], [*more, *overrides])
    for override in overrides:
        if "=" not in override:
            raise RecipeError(f"{override!r} is not of the form section.key=value")
    presets = [_preset(override) for override in overrides if override.startswith("+")]
    plain_overrides = [override for override in overrides if not override.startswith("+")]
    files = [_written(file) for file in (path, *presets)]
    try:
        base = OmegaConf.structured(Recipe)
        OmegaConf.set_readonly(base, False)
        layers = [_layer(written) for written in (*files, _dotted(plain_overrides))]
        aside: dict[str, str] = {}
        merged = OmegaConf.merge(base, *(_masked(layer, aside) for layer in layers))
        return _unmasked(OmegaConf.to_object(merged), aside)  # type: ignore[no-any-return]
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise RecipeError(f"{path.name}: {error}") from error
        key = getattr(error, "full_key", None)
        why = str(getattr(error, "msg", None) or error).splitlines()[0]
        if not key or "." not in key:  # inside a list the error has lost its place
            key, value = _culprit(layers) or (key, None)
            why = why if value is None else f"{value!r} is not of the right kind or length"
        raise RecipeError(f"{path.name}: {key}: {why}" if key else f"{path.name}: {why}") from error


def _preset(override: str) -> Path:
    """The file of `+data=NAME`."""
    group, _, name = override.partition("=")
    known = bundled_presets()
    if group != "+data" or name not in known:
        raise RecipeError(f"there is no preset {override!r}: +data is one of {', '.join(known)}")
    return known[name]


def _written(path: Path) -> Any:
    """What a YAML file says; raises RecipeError naming a file that can't be read."""
    try:
        written = OmegaConf.to_container(OmegaConf.load(path))
        plain: Any = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)  # text alone
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a readable YAML recipe: {reason(error)}") from error
    return _texts_as_written(written, plain)


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
    texts: dict[str, dict[str, str]] = {}
    for override in overrides:
        key, _, value = override.partition("=")
        try:
            if _is_text(key):
                # As it stands: a folder may be called 007, {set} or 12:30, and YAML would read numbers there.
                section, _, name = key.partition(".")
                texts.setdefault(section, {})[name] = value
            else:
                given.merge_with_dotlist([override])
        except yaml.YAMLError as error:
            raise RecipeError(f"{override!r} has no readable value") from error
    plain = OmegaConf.to_container(given)
    assert isinstance(plain, dict)
    for section, values in texts.items():
        plain[section] = {**(plain.get(section) or {}), **values}
    return plain


def _is_text(key: str) -> bool:
    """Whether `section.key` is a field that holds text."""
    kind: Any = Recipe
    for part in key.split("."):
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        kind = hints.get(part)
    return kind is str


def _texts_as_written(written: Any, plain: Any, kind: Any = Recipe) -> Any:
    """The values of a YAML file, those of text fields as they are written instead of numbers or dates.

    Args:
        written: as YAML reads them; plain: the same with every value as text.
    """
    if is_dataclass(kind) and isinstance(written, dict) and isinstance(plain, dict):
        hints = get_type_hints(kind)
        return {
            key: _texts_as_written(value, plain.get(key), hints.get(key)) for key, value in written.items()
        }
    if get_origin(kind) is tuple and isinstance(written, list) and isinstance(plain, list):
        inner = get_args(kind)[0]
        return [_texts_as_written(a, b, inner) for a, b in zip(written, plain, strict=True)]
    return plain if kind is str and isinstance(written, int | float) and isinstance(plain, str) else written


def _masked(layer: Any, aside: dict[str, str]) -> Any:
    """The layer with marks instead of texts that mean something to OmegaConf; `aside` gets the texts."""
    if isinstance(layer, dict):
        return {key: _masked(value, aside) for key, value in layer.items()}
    if isinstance(layer, list):
        return [_masked(value, aside) for value in layer]
    if isinstance(layer, str) and ("${" in layer or layer == "???"):
        mark = f"\ue000{len(aside)}\ue001"
        aside[mark] = layer
        return mark
    return layer


def _unmasked(value: Any, aside: dict[str, str]) -> Any:
    """A recipe or part of one with the texts instead of their marks."""
    if not aside:
        return value
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: getattr(value, part.name) for part in fields(value)}
        changed = {name: _unmasked(part, aside) for name, part in parts.items()}
        return replace(value, **{name: part for name, part in changed.items() if part is not parts[name]})
    if isinstance(value, tuple):
        return tuple(_unmasked(part, aside) for part in value)
    return aside.get(value, value) if isinstance(value, str) else value


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
