"""Calibrating weights: from predictions of annotated people to temperatures, and what they are worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.structs import PersonRecord
from hourglass.evaluation.evaluate import Predictions, aligned, reference_name
from hourglass.evaluation.metrics.pck import hits, relative_distance
from hourglass.weights.calibration import (
    Bins,
    Calibration,
    brier,
    chance_error,
    fit,
    held_out,
    log_loss,
    reliability,
)

SHARE = 0.2
"""A joint is right within this share of the reference length: PCK@0.2."""
RAW, TEMPERATURE, OFFSET = "score", "temperature", "temperature_and_offset"
"""Three ways to say how sure a joint is, the simplest first; the keys of a report."""


@dataclass(frozen=True, eq=False)
class Study:
    """What calibrating found.

    Args:
        calibration: fitted on all people, the one to ship.
        report: plain numbers and strings for JSON; docs/json.md lists its keys.
        before, after: reliability of all joints together, of scores and of held-out confidences.
    """

    calibration: Calibration
    report: dict[str, Any]
    before: Bins
    after: Bins


def study(
    predictions: Predictions, records: Sequence[PersonRecord], data: str, folds: int = 5, seed: int = 0
) -> Study:
    """Fit a calibration on annotated people, and measure it on people that the fit did not see.

    A joint is right within 0.2 reference lengths of the annotation, as in `evaluate.score`; joints that are
    not labelled, and people without a reference length, are left out. Every measure is of confidences from
    a fit on the other folds' people, so none of them is tuned on what it reports. An offset beside the
    temperature is kept where that makes the held-out log loss smaller. Only the calibration itself is of all
    people.

    Args:
        data: what to call the data in the calibration, such as `lspet val`.
        folds, seed: of `calibration.held_out`; a picture's people stay together.

    Raises ValueError when nothing can be counted, when all scores are alike, as of a network that regresses
    coordinates, and as `evaluate.score` when predictions and people don't fit.
    """
    predicted, truth, labelled, reference = aligned(predictions, records)
    distance, counted = relative_distance(predicted, truth, labelled, reference)
    rows = {int(person): row for row, person in enumerate(predictions.person_id)}
    scores = predictions.scores[[rows[r.person_id] for r in records]].astype(np.float64)
    correct = hits(distance, SHARE) & counted
    if counted.any() and np.ptp(scores[counted]) == 0:
        raise ValueError(
            f"every score is {scores[counted][0]:g}, so there is nothing to calibrate: weights that answer "
            "with coordinates have no heatmaps and no scores of their own"
        )
    said = {RAW: scores}
    pictures = [record.image_id for record in records]
    for kind in (TEMPERATURE, OFFSET):
        said[kind] = held_out(scores, correct, counted, pictures, folds, kind == OFFSET, seed)
    measures = {kind: _measures(each, correct, counted) for kind, each in said.items()}
    chosen = min((TEMPERATURE, OFFSET), key=lambda kind: float(measures[kind]["log_loss"]))
    by = reference_name(predictions.skeleton)
    temperatures, offsets = fit(scores, correct, counted, chosen == OFFSET)
    calibration = Calibration(
        tuple(round(t, 4) for t in temperatures),
        tuple(round(o, 4) for o in offsets),
        event=f"within {SHARE:g} {by} lengths of the annotation (PCK@{SHARE:g})",
        data=data,
        people=int(counted.any(1).sum()),
    )
    before, after = (reliability(said[kind][counted], correct[counted]) for kind in (RAW, chosen))
    report = {
        "event": calibration.event,
        "data": data,
        "people": len(records),
        "people_counted": calibration.people,
        "folds": folds,
        "seed": seed,
        "chosen": chosen,
        "kinds": measures,
        "ece_by_chance": round(chance_error(said[chosen][counted]), 4),
        "joints": _by_joint(
            predictions.skeleton.joints, calibration, said[RAW], said[chosen], correct, counted
        ),
        "bins": {kind: _rows(bins) for kind, bins in ((RAW, before), (chosen, after))},
    }
    return Study(calibration, report, before, after)


def _measures(
    said: Float64Array, correct: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]
) -> dict[str, float]:
    p, y = said[counted], correct[counted]
    each = [
        reliability(said[known, joint], correct[known, joint]).error
        for joint, known in enumerate(counted.T)
        if known.any()
    ]
    measures = {
        "ece": reliability(p, y).error,
        "ece_equal_counts": reliability(p, y, equal_counts=True).error,
        "ece_mean_of_joints": float(np.mean(each)),
        "brier": brier(p, y),
        "log_loss": log_loss(p, y),
        "mean": float(p.mean()),
        "right": float(y.mean()),
    }
    return {name: round(value, 5) for name, value in measures.items()}


def _by_joint(
    names: Sequence[str],
    calibration: Calibration,
    scores: Float64Array,
    confidences: Float64Array,
    correct: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
) -> dict[str, Mapping[str, float | None]]:
    table: dict[str, Mapping[str, float | None]] = {}
    for joint, name in enumerate(names):
        known = counted[:, joint]
        y = correct[known, joint]
        raw, held = scores[known, joint], confidences[known, joint]
        table[name] = {
            "counted": int(known.sum()),
            "right": round(float(y.mean()), 4) if len(y) else None,
            "mean_score": round(float(raw.mean()), 4) if len(y) else None,
            "temperature": calibration.temperatures[joint],
            "offset": calibration.offsets[joint],
            "ece_before": round(reliability(raw, y).error, 4) if len(y) else None,
            "ece_after": round(reliability(held, y).error, 4) if len(y) else None,
        }
    return table


def _rows(bins: Bins) -> list[dict[str, float | int | None]]:
    def number(value: float) -> float | None:
        return None if np.isnan(value) else round(value, 4)

    columns = zip(bins.confidence.tolist(), bins.accuracy.tolist(), bins.counts.tolist(), strict=True)
    return [{"said": number(said), "right": number(right), "count": count} for said, right, count in columns]
