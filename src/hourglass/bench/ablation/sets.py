"""What an ablation compares: designs that differ in a few recipe keys, under one budget."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from hourglass.core.files import reason
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, find_recipe, load_recipe


@dataclass(frozen=True)
class Design:
    """One row of the comparison.

    Args:
        name: what to call it.
        overrides: `key=value` on top of the set's.
        about: what is special about it, one line.
        published: what its paper says of it, if anything.
    """

    name: str
    overrides: tuple[str, ...] = ()
    about: str = ""
    published: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", tuple(self.overrides))

    @property
    def folder(self) -> str:
        """The name as part of a path."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


@dataclass(frozen=True)
class Claim:
    """What a source says of two designs: that one answers better than the other.

    Args:
        better, worse: names of designs.
        joints: of which joints it is said, `all` or the `hidden` ones.
        source: who says so, such as "MSSH, 5.2.4".

    Raises RecipeError for another word in `joints`.
    """

    better: str
    worse: str
    joints: Literal["all", "hidden"] = "all"
    source: str = ""

    def __post_init__(self) -> None:
        if self.joints not in ("all", "hidden"):
            raise RecipeError(f"claims: joints: {self.joints!r} is not one of all, hidden")


@dataclass(frozen=True)
class AblationSet:
    """Designs, the recipe they share, and the seeds each is trained with.

    Args:
        name: of the set; its file's stem.
        title: heading of the report.
        recipe: bundled recipe or YAML file that all designs start from.
        seeds: one run of each design for each of them.
        overrides: `key=value` for every design.
        designs: the rows of the comparison.
        claim: what the sources say about the order of the designs, in words.
        claims: the same as pairs, which the report tests.
        thresholds: of PCK, in reference lengths, at which they are tested.

    Raises RecipeError when designs share a name, there is no seed, or a claim is about no design of the set.
    """

    name: str
    title: str
    recipe: str
    designs: tuple[Design, ...]
    seeds: tuple[int, ...] = (0,)
    overrides: tuple[str, ...] = ()
    claim: str = field(default="")
    claims: tuple[Claim, ...] = ()
    thresholds: tuple[float, ...] = (0.2,)

    def __post_init__(self) -> None:
        names = [design.name for design in self.designs]
        for claim in self.claims:
            for name in (claim.better, claim.worse):
                if name not in names:
                    raise RecipeError(
                        f"{self.name}: claims: there is no design {name!r} among {', '.join(names)}"
                    )
        if not self.thresholds or not all(0 < t < float("inf") for t in self.thresholds):
            raise RecipeError(f"{self.name}: thresholds: give one or more positive numbers")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise RecipeError(f"{self.name}: seeds: give one or more, each once")
        folders = [design.folder for design in self.designs]
        for folder in folders:
            if folders.count(folder) > 1 or not folder:
                raise RecipeError(f"{self.name}: designs: two of them would be called {folder!r}")

    def load(self, design: Design, seed: int) -> Recipe:
        """The complete recipe of one run; raises RecipeError naming the design and the key."""
        try:
            recipe = load_recipe(find_recipe(self.recipe), [*self.overrides, *design.overrides])
        except RecipeError as error:
            raise RecipeError(f"{self.name}, {design.name}: {error}") from error
        return replace(recipe, train=replace(recipe.train, seed=seed))

    def runs(self) -> list[tuple[Design, int]]:
        """Every design with every seed; all designs once before any a second time."""
        return [(design, seed) for seed in self.seeds for design in self.designs]

    def only(self, names: Sequence[str]) -> "AblationSet":
        """The set with some of its designs, in its own order; raises RecipeError for an unknown name."""
        known = {design.name.lower(): design for design in self.designs}
        for name in names:
            if name.lower() not in known:
                raise RecipeError(
                    f"{self.name} has no design {name!r}; it has {', '.join(d.name for d in self.designs)}"
                )
        wanted = {name.lower() for name in names}
        kept = tuple(d for d in self.designs if d.name.lower() in wanted)
        left = {design.name for design in kept}
        claims = tuple(c for c in self.claims if {c.better, c.worse} <= left)
        return replace(self, designs=kept, claims=claims)


def bundled_sets() -> dict[str, Path]:
    """Name to file of the sets that come with the package."""
    folder = Path(str(resources.files("hourglass.bench.ablation")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_set(name: str) -> AblationSet:
    """A set by bundled name or YAML file. Raises RecipeError naming the file and the key."""
    import yaml

    known = bundled_sets()
    path = known.get(name, Path(name))
    if not path.is_file():
        raise RecipeError(f"there is no set {name!r}: give a YAML file or one of {', '.join(known)}")
    try:
        raw: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not a readable YAML file: {reason(error)}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("designs"), list):
        raise RecipeError(
            f"{path.name}: designs: is missing; a set is a mapping with title, recipe and designs"
        )
    try:
        designs = tuple(Design(**entry) for entry in raw.pop("designs"))
        raw["claims"] = tuple(Claim(**entry) for entry in raw.pop("claims", ()))
        for key in ("seeds", "overrides", "thresholds"):
            raw[key] = tuple(raw.get(key, getattr(AblationSet, key)))
        ablation = AblationSet(name=path.stem, designs=designs, **raw)
    except RecipeError as error:
        raise RecipeError(f"{path.name}: {str(error).removeprefix(f'{path.stem}: ')}") from error
    except (TypeError, AttributeError) as error:
        raise RecipeError(f"{path.name}: {error}") from error
    if len(ablation.designs) < 2:
        raise RecipeError(f"{path.name}: designs: an ablation compares two designs or more")
    return ablation
