"""Scores as probabilities: a temperature per joint, how well it holds, and how to measure that honestly.

A score is the height of a heatmap's peak and rises with how sure the network is, but half of the joints that
score 0.5 need not be right. A calibration makes of it the probability of one stated event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array, FloatArray

BINS = 10
THRESHOLD = 0.5
"""A joint whose confidence is lower is more likely wrong than right, and is drawn hollow."""

_CLIP = 1e-3
"""Scores are taken as 0.001 to 0.999: beyond, a logit would grow without telling more."""
_LOWEST, _HIGHEST = 0.02, 50.0
"""Of a temperature: a joint whose score tells nothing, or nearly all, still has a finite one."""
_PRIOR = 1.0
"""How strongly a joint's fit is drawn to that of all joints: as much as very few labelled people would."""


@dataclass(frozen=True)
class Calibration:
    """How scores become probabilities: `1 / (1 + exp(-(logit(score) / temperature + offset)))`.

    Args:
        temperatures: J positive numbers. Above 1 the scores were too sure, below 1 too timid.
        offsets: J numbers; all 0 is a calibration by temperature alone.
        event: what it is the probability of, in words.
        data: the data set and split that it was fitted on.
        people: how many of its people were counted.

    Raises ValueError when a number is none or a temperature is not positive.
    """

    temperatures: tuple[float, ...]
    offsets: tuple[float, ...]
    event: str = ""
    data: str = ""
    people: int = 0

    def __post_init__(self) -> None:
        if len(self.temperatures) != len(self.offsets):
            raise ValueError(
                f"a calibration has {len(self.temperatures)} temperatures but {len(self.offsets)} offsets"
            )
        for temperature, offset in zip(self.temperatures, self.offsets, strict=True):
            if not (np.isfinite(temperature) and temperature > 0 and np.isfinite(offset)):
                raise ValueError(
                    f"a calibration has the temperature {temperature} and the offset {offset}; both must be "
                    "finite, and the temperature positive"
                )

    def __call__(self, scores: FloatArray) -> npt.NDArray[np.float32]:
        """Confidences (..., J) float32, 0 to 1, of scores (..., J); raises ValueError for another J."""
        if scores.shape[-1] != len(self.temperatures):
            raise ValueError(
                f"scores of {scores.shape[-1]} joints met a calibration of {len(self.temperatures)} joints"
            )
        z = logit(scores) / np.array(self.temperatures) + np.array(self.offsets)
        return _sigmoid(z).astype(np.float32)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Calibration":
        """The inverse of `dataclasses.asdict`; raises ValueError, TypeError or KeyError for anything else."""
        return cls(
            temperatures=tuple(float(t) for t in raw["temperatures"]),
            offsets=tuple(float(o) for o in raw["offsets"]),
            event=str(raw["event"]),
            data=str(raw.get("data", "")),
            people=int(raw.get("people", 0)),
        )


def logit(scores: FloatArray) -> Float64Array:
    """Log odds of scores, clipped to 0.001..0.999 first."""
    p = np.clip(np.asarray(scores, np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def fit(
    scores: FloatArray, correct: BoolArray, counted: BoolArray, offset: bool = True
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """J temperatures and offsets that make what happened likeliest: least log loss (Guo et al., ICML 2017).

    A joint with few people is drawn to the fit of all joints together, and one with none has exactly that,
    so that nothing here can fail for want of data or run off where every joint is right.

    Args:
        scores: (N, J).
        correct, counted: (N, J) whether a joint was right, and whether it has a truth to tell that by.
        offset: fit an offset too (Platt, 1999); else all offsets are 0.

    Raises ValueError when shapes disagree, a score that counts is not finite, or nothing is counted.
    """
    _check(scores, correct, counted)
    x = logit(np.where(counted, scores, 0.5))
    everyone = _fit_one(x[counted], correct[counted], (1.0, 0.0), offset)
    each = [
        _fit_one(x[known, joint], correct[known, joint], everyone, offset)
        for joint, known in enumerate(counted.T)
    ]
    return tuple(1 / slope for slope, _ in each), tuple(shift for _, shift in each)


def _fit_one(
    x: Float64Array, correct: BoolArray, prior: tuple[float, float], offset: bool
) -> tuple[float, float]:
    """Slope (one over the temperature) and offset for logits (n,), drawn to the prior's."""
    # Whoever only predicts need not wait for it.
    from scipy.optimize import minimize

    y = correct.astype(np.float64)
    start = np.array(prior)

    def loss(v: Float64Array) -> tuple[float, Float64Array]:
        z = v[0] * x + v[1]
        wrong_by = _sigmoid(z) - y
        away = v - start
        value = (np.logaddexp(0, z) - y * z).sum() + _PRIOR / 2 * (away**2).sum()
        return float(value), np.array([(wrong_by * x).sum(), wrong_by.sum()]) + _PRIOR * away

    # Convex, so that the start makes no difference; equal bounds hold the offset where it is.
    bounds = [(1 / _HIGHEST, 1 / _LOWEST), (None, None) if offset else (0.0, 0.0)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-12})
    return float(found.x[0]), float(found.x[1])


def held_out(
    scores: FloatArray,
    correct: BoolArray,
    counted: BoolArray,
    groups: Sequence[str],
    folds: int = 5,
    offset: bool = True,
    seed: int = 0,
) -> Float64Array:
    """Confidences (N, J), each from a fit that never saw its person nor anybody of the same group.

    Args:
        scores, correct, counted: (N, J), as for `fit`.
        groups: N names, such as pictures; a group's people stay together.
        folds: how many fits, each on the people of all other folds.
        seed: of the draw of folds.

    Raises ValueError as `fit`, and when there are fewer groups than folds or fewer than two folds.
    """
    _check(scores, correct, counted)
    names = sorted(set(groups))
    if not 2 <= folds <= len(names):
        raise ValueError(f"{folds} folds of {len(names)} pictures: give 2 or more, and at most one a picture")
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = dict(zip(names, (order % folds).tolist(), strict=True))
    fold = np.array([fold_of[group] for group in groups])
    confidences = np.empty(np.shape(scores))
    for k in range(folds):
        others = fold != k
        found = Calibration(*fit(scores[others], correct[others], counted[others], offset))
        confidences[~others] = found(scores[~others])
    return confidences


@dataclass(frozen=True, eq=False)
class Bins:
    """A reliability diagram: for K bins what was said, what happened, and how often.

    Args:
        confidence: (K,) mean confidence, NaN in an empty bin.
        accuracy: (K,) share that was right, NaN in an empty bin.
        counts: (K,) how many.
    """

    confidence: Float64Array
    accuracy: Float64Array
    counts: npt.NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: the bins' mean gap between said and happened, by their counts."""
        gaps = np.abs(self.accuracy - self.confidence)[self.counts > 0]
        return float((gaps * self.counts[self.counts > 0]).sum() / self.counts.sum())


def reliability(
    confidences: FloatArray, correct: BoolArray, bins: int = BINS, equal_counts: bool = False
) -> Bins:
    """Confidences (n,) in bins of equal width over 0..1 (Naeini et al., AAAI 2015), or of equal counts.

    Of equal width a bin holds its lower end and not its upper one, but for the last. Values outside 0..1,
    as raw scores may have, go to the first and last bin. Raises ValueError when there is nothing, a number
    is not finite, or `bins` is less than 1.
    """
    p, y = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p) or not np.isfinite(p).all() or bins < 1:
        raise ValueError("a reliability diagram needs finite confidences, a truth for each, and a bin")
    if equal_counts:
        place = np.empty(len(p), np.int64)
        place[np.argsort(p, kind="stable")] = np.arange(len(p)) * bins // len(p)
    else:
        place = np.clip(np.floor(p * bins), 0, bins - 1).astype(np.int64)
    counts = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=values, minlength=bins) for values in (p, y))
    confidence, accuracy = (
        np.divide(total, counts, out=np.full(bins, np.nan), where=counts > 0) for total in sums
    )
    return Bins(confidence, accuracy, counts)


def chance_error(confidences: FloatArray, bins: int = BINS, draws: int = 100, seed: int = 0) -> float:
    """The expected calibration error that perfect confidences (n,) would show by chance alone.

    With finitely many people it is never 0: the mean over `draws` of outcomes that are drawn from the very
    confidences. An error near this one can't be told from none.
    """
    p = np.sort(np.asarray(confidences, np.float64))  # whose they are makes no difference
    rng = np.random.default_rng(seed)
    return float(np.mean([reliability(p, rng.uniform(size=len(p)) < p, bins).error for _ in range(draws)]))


def brier(confidences: FloatArray, correct: BoolArray) -> float:
    """Mean squared difference of confidences and what happened, 0 to 1 (Brier, 1950)."""
    return float(((np.asarray(confidences, np.float64) - correct) ** 2).mean())


def log_loss(confidences: FloatArray, correct: BoolArray) -> float:
    """Mean of minus the logarithm of the probability given to what happened; clipped as scores are."""
    p = np.clip(np.asarray(confidences, np.float64), _CLIP, 1 - _CLIP)
    return float(-np.log(np.where(correct, p, 1 - p)).mean())


def _sigmoid(z: Float64Array) -> Float64Array:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))


def _check(scores: FloatArray, correct: BoolArray, counted: BoolArray) -> None:
    if np.ndim(scores) != 2 or not np.shape(scores) == np.shape(correct) == np.shape(counted):
        raise ValueError(
            f"scores {np.shape(scores)}, correct {np.shape(correct)} and counted {np.shape(counted)} must be "
            "of one shape (N, J)"
        )
    if not np.any(counted):
        raise ValueError("no labelled joint is counted, so there is nothing to calibrate on")
    if not np.isfinite(np.asarray(scores)[counted]).all():
        raise ValueError("a score is not finite: the weights are broken")
