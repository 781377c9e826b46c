"""Validation: every process answers its share of the people, and all of them know the score."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hourglass.core.arrays import RGB
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.photos import PhotoRecord
from hourglass.data.loading.ahead import ahead
from hourglass.data.loading.photos import read_reduced
from hourglass.evaluation.evaluate import Predictions, predict_records, score
from hourglass.evaluation.finding import FindingCurve, curve_of
from hourglass.inference.detection.centers import whole_view
from hourglass.inference.people import PeopleFinder
from hourglass.training.logs import RunLog
from hourglass.training.ranks import gather, share_buffers, sum_over_ranks
from hourglass.training.state import BEST, METRIC, Trainer
from hourglass.weights.checkpoint import save_weights

BATCH = 32
"""People who are answered in one go, and the smallest share of a process."""


def share_of(people: int, rank: int, ranks: int) -> list[int]:
    """Rows of the people whom one process answers: every `ranks`-th batch of `BATCH`.

    Whole batches, so that a person is answered beside the same others, and so to the same bit, whatever the
    number of processes.
    """
    return [row for row in range(people) if row // BATCH % ranks == rank]


def predict_shared(
    trainer: Trainer, records: Sequence[PersonRecord], images: Sequence[RGB] | None
) -> Predictions:
    """The averaged weights' answers for all people, the same on every process.

    Args:
        images: the decoded pictures of this process's share, in its order, or None to read them.
    """
    fabric, facts = trainer.fabric, trainer.facts
    share_buffers(fabric, trainer.ema.network)
    rows = share_of(len(records), fabric.global_rank, fabric.world_size)
    own = predict_records(
        trainer.ema.network,
        facts,
        [records[row] for row in rows],
        device=fabric.device,
        batch_size=BATCH,
        flip_test=True,
        precision=trainer.precision,
        workers=trainer.recipe.data.workers,
        images=images,
    )
    if fabric.world_size == 1:
        return own
    # Everybody is in one share only, so that adding zeros to the answer leaves it exact.
    every = np.zeros((len(records), len(facts.skeleton), 3), np.float32)
    every[rows] = np.concatenate([own.keypoints, own.scores[..., None]], -1)
    gathered = sum_over_ranks(fabric, torch.from_numpy(every)).numpy()
    return Predictions(
        np.array([r.person_id for r in records], np.int64),
        tuple(r.image_id for r in records),
        gathered[..., :2],
        gathered[..., 2],
        facts.skeleton,
        facts.name,
    )


@dataclass(frozen=True, eq=False)
class Validation:
    """Annotated people of one or several data sets.

    Args:
        titles: what to call each set.
        sets: their people.
    """

    titles: tuple[str, ...]
    sets: tuple[tuple[PersonRecord, ...], ...]

    def __len__(self) -> int:
        return sum(len(records) for records in self.sets)

    @property
    def records(self) -> list[PersonRecord]:
        """Everybody, set after set."""
        return [record for records in self.sets for record in records]


def validate(
    trainer: Trainer, validation: Validation, images: Sequence[Sequence[RGB] | None], log: RunLog
) -> None:
    """Score the averaged weights on the validation people and keep them when they are the best.

    With several sets the best are those of the highest mean over the sets.

    Args:
        images: of each set, as `predict_shared` takes them.
    """
    began = time.perf_counter()
    reports = [
        score(predict_shared(trainer, records, decoded), records)
        for records, decoded in zip(validation.sets, images, strict=True)
    ]
    scores = [report["metrics"][METRIC] for report in reports]
    joints = [report["joint_metrics"][METRIC] for report in reports]
    values = [scored["mean"] for scored in scores if scored["mean"] is not None]
    value = round(sum(values) / len(values), 3) if values else None
    row: dict[str, Any] = {
        "kind": "val",
        "step": trainer.step,
        "epoch": trainer.step / trainer.plan.per_epoch,
    }
    row[METRIC] = value
    if len(scores) == 1:
        row["joints"] = joints[0]
    else:
        row["sources"] = {
            title: {METRIC: scored["mean"], "joints": by_joint}
            for title, scored, by_joint in zip(validation.titles, scores, joints, strict=True)
        }
    log.write({**row, "seconds": time.perf_counter() - began})
    measured: dict[str, Any] = {METRIC: value, "on": ", ".join(validation.titles)}
    if len(scores) > 1:
        measured |= {t: scored["mean"] for t, scored in zip(validation.titles, scores, strict=True)}
    _keep_best(trainer, value, measured)


def _keep_best(trainer: Trainer, value: float | None, measured: dict[str, Any]) -> None:
    """Save the averaged weights if their score is the best so far.

    Where nobody could be scored the latest weights are the best that are known.
    """
    if value is None or value > trainer.best:
        trainer.best = trainer.best if value is None else value
        if trainer.fabric.is_global_zero:
            facts = replace(trainer.facts, metrics=measured)
            save_weights(trainer.out / BEST, trainer.ema.network.state_dict(), facts)
    trainer.fabric.barrier()


FALSE_PER_PHOTO = 0.25
"""The threshold is the one at which so many boxes a photo are false."""
LEAST_SCORE = 0.02


@dataclass(frozen=True, eq=False)
class PhotoValidation:
    """Photos of one or several data sets.

    Args:
        titles: what to call each set.
        sets: their photos.
    """

    titles: tuple[str, ...]
    sets: tuple[tuple[PhotoRecord, ...], ...]

    def __len__(self) -> int:
        return sum(len(photos) for photos in self.sets)

    @property
    def photos(self) -> list[PhotoRecord]:
        """All of them, set after set."""
        return [photo for photos in self.sets for photo in photos]


def photo_facts(train: Sequence[PhotoRecord], val: Sequence[PhotoRecord]) -> dict[str, Any]:
    """What must be the same on every process of the photos that it has read."""
    facts: dict[str, Any] = {}
    for what, photos in (("training", train), ("validation", val)):
        digest = hashlib.sha256()
        for photo in photos:
            digest.update(f"{photo.image_id}\n{photo.partial}\n".encode())
            digest.update(photo.people.tobytes() + photo.unsure.tobytes())
        facts[f"{what} photos"] = len(photos)
        facts[f"the digest of the {what} photos"] = digest.hexdigest()[:12]
    return facts


def find_shared(trainer: Trainer, photos: Sequence[PhotoRecord]) -> FindingCurve:
    """How well the averaged weights find people, the same on every process; each looks at its share."""
    fabric, facts = trainer.fabric, trainer.facts
    share_buffers(fabric, trainer.ema.network)
    finder = PeopleFinder(trainer.ema.network, facts, LEAST_SCORE, fabric.device, trainer.precision)
    own = range(fabric.global_rank, len(photos), fabric.world_size)
    read = ahead(
        lambda row: whole_view(read_reduced(photos[row], 2 * facts.input_px), facts.input_px)[0],
        list(own),
        trainer.recipe.data.workers,
    )
    found = {
        row: finder.in_view(view, photos[row].width, photos[row].height)
        for row, view in zip(own, read, strict=True)
    }
    everywhere = {row: answer for part in gather(fabric, found) for row, answer in part.items()}
    return curve_of([everywhere[row] for row in range(len(photos))], photos)


def validate_finder(trainer: Trainer, validation: PhotoValidation, log: RunLog) -> None:
    """Measure the averaged weights and keep them when they are the best by the mean over the sets."""
    began = time.perf_counter()
    curves = [find_shared(trainer, photos) for photos in validation.sets]
    sizes = ["large" if curve.people["large"] else "all" for curve in curves]
    found = [curve.at_false(FALSE_PER_PHOTO, size) for curve, size in zip(curves, sizes, strict=True)]
    recalls = [100 * recall for recall, _ in found]
    known = [recall for recall in recalls if np.isfinite(recall)]
    value = round(sum(known) / len(known), 3) if known else None
    row: dict[str, Any] = {
        "kind": "val",
        "step": trainer.step,
        "epoch": trainer.step / trainer.plan.per_epoch,
        trainer.metric: value,
    }
    sources = {
        title: {
            trainer.metric: round(recall, 3) if np.isfinite(recall) else None,
            "threshold": round(threshold, 4),
        }
        for title, (_, threshold), recall in zip(validation.titles, found, recalls, strict=True)
    }
    log.write({**row, "sources": sources, "seconds": time.perf_counter() - began})
    thresholds = [threshold for _, threshold in found]
    measured = {
        trainer.metric: value,
        "on": ", ".join(validation.titles),
        "threshold": round(sum(thresholds) / len(thresholds), 4),
        "sources": sources,
    }
    _keep_best(trainer, value, measured)
