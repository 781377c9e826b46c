"""Is one design really better than another? Differences of PCK with intervals over people and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from hourglass.core.files import write_atomically
from hourglass.evaluation.metrics.scores import LEVEL, draw_weights
from hourglass.recipe.network import RecipeError

DRAWS = 2000
Which = Literal["all", "hidden"]
Verdict = Literal["confirmed", "contradicted", "not decided", "one seed"]

_Float = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """How far one run's answer was off, person by person.

    Args:
        distance: (N, J) float32 in reference lengths, NaN where a joint doesn't count.
        hidden: (N, J) bool, joints that are hidden in the picture.
    """

    distance: npt.NDArray[np.float32]
    hidden: npt.NDArray[np.bool_]


def save_outcome(path: Path, outcome: Outcome) -> None:
    """Write an outcome as .npz, atomically; raises OSError naming the file."""

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, distance=outcome.distance, hidden=outcome.hidden)

    write_atomically(path, write)


def load_outcome(path: Path) -> Outcome | None:
    """What `save_outcome` wrote, or None where there is no file; raises RecipeError naming a broken one."""
    if not path.is_file():
        return None
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as found:
            return Outcome(found["distance"], found["hidden"])
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise RecipeError(f"{path} is not a whole result: remove its folder to measure again") from error


@dataclass(frozen=True)
class Difference:
    """Mean of joints of one design less that of another, in points of PCK, and the middle 95 % of draws.

    `seeds` is how many runs the design with fewer of them has.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @property
    def verdict(self) -> Verdict:
        """What the interval says of the claim that the difference is positive.

        With one seed it says nothing of another training run, so it decides nothing.
        """
        if self.seeds < 2:
            return "one seed"
        if self.low > 0:
            return "confirmed"
        return "contradicted" if self.high < 0 else "not decided"


def difference(
    better: Sequence[Outcome],
    worse: Sequence[Outcome],
    threshold: float = 0.2,
    which: Which = "all",
    draws: int = DRAWS,
    seed: int = 0,
) -> Difference:
    """How much better one design is, over its seeds, than another measured on the same people.

    A draw takes as many people as there are with replacement, the same ones for both designs, and of each
    design as many of its seeds, with replacement too: the interval is about people and about training runs.
    With one seed of each it is about people alone.

    Args:
        better, worse: the runs of each design, one for each seed.
        threshold: largest distance that is correct, in reference lengths.
        which: count all joints, or only the `hidden` ones.

    Raises ValueError when a design has no run, or runs are of different people.
    """
    if not better or not worse:
        raise ValueError("a design without a finished run can't be compared")
    shape = better[0].distance.shape
    if any(outcome.distance.shape != shape for outcome in (*better, *worse)):
        raise ValueError("the runs were measured on different people")
    rng = np.random.default_rng(seed)
    people = draw_weights(rng, shape[0], draws)
    first, second = (_means(runs, people, threshold, which) for runs in (better, worse))
    drawn = [_of_seeds(means, rng) for means in (first, second)]
    gaps = drawn[0] - drawn[1]
    gaps = gaps[np.isfinite(gaps)]
    every = np.ones((1, shape[0]))
    whole = [float(_means(runs, every, threshold, which).mean()) for runs in (better, worse)]
    seeds = min(len(better), len(worse))
    if not len(gaps):
        return Difference(whole[0] - whole[1], float("nan"), float("nan"), seeds)
    tails = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.percentile(gaps, tails)
    return Difference(whole[0] - whole[1], float(low), float(high), seeds)


def _means(runs: Sequence[Outcome], weights: _Float, threshold: float, which: Which) -> _Float:
    """(B, S) PCK in percent, mean of the joints that occur, of each run for weightings (B, N)."""
    columns = []
    for run in runs:
        counted = ~np.isnan(run.distance)
        if which == "hidden":
            counted &= run.hidden
        right = counted & (run.distance <= threshold)
        sums, counts = weights @ right.astype(np.float64), weights @ counted.astype(np.float64)
        shares = np.divide(sums, counts, out=np.zeros(sums.shape), where=counts > 0)
        kinds = (counts > 0).sum(1)
        total = shares.sum(1)
        columns.append(100 * np.divide(total, kinds, out=np.full(len(total), np.nan), where=kinds > 0))
    return np.stack(columns, 1)


def _of_seeds(means: _Float, rng: np.random.Generator) -> _Float:
    """(B,) the mean over as many seeds as there are, drawn anew for each row of (B, S)."""
    draws, seeds = means.shape
    if seeds == 1:
        return np.asarray(means[:, 0])
    return np.asarray((means * draw_weights(rng, seeds, draws)).sum(1) / seeds)
