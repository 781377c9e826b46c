"""OKS on COCO data, of people in annotated boxes or in a detector's.

A network's answers become COCO results, which are then scored as a file of them would be: `hourglass score`
gives the very same numbers for the file. Everybody annotated counts, crowds and people without labelled
joints too, in COCO's way.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.core.files import write_text_atomically
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.coco import CocoFile, of_split, parse
from hourglass.data.formats.photos import DetectedBoxes, detections_of
from hourglass.data.formats.read_files import check_file, read_json
from hourglass.evaluation.evaluate import Predictions, rows_of, shortest
from hourglass.evaluation.metrics.protocols import COCO
from hourglass.evaluation.metrics.scores import NotApplicable, evaluate_protocol
from hourglass.evaluation.scoring.truth import read_results, truth_of

Results = list[dict[str, Any]]
"""COCO results: `image_id`, `category_id`, `keypoints` (x, y and score of each joint) and `score`."""


def read_truth(annotations: Path, split: str = "", category: str | None = None) -> CocoFile:
    """Everybody annotated; of a split, in a file whose annotations name theirs.

    A file without any annotations, as COCO has for its test split, has nobody.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    check_file(annotations, "annotations")
    content = read_json(annotations)
    if isinstance(content, dict):
        content.setdefault("annotations", [])
    return of_split(parse(content, annotations, category), split)


def check_labelled(file: CocoFile) -> None:
    """Raise NotApplicable, with what to do instead, when no joint is labelled."""
    if not _labelled(file):
        raise NotApplicable(
            f"{file.people.file} labels nobody's joints, as files of test splits do, so there is nothing to "
            "score; `hourglass predict` finds the joints in pictures"
        )


def check_sigmas(file: CocoFile) -> None:
    """Raise NotApplicable, with what to add to the file, when the skeleton has no OKS sigmas."""
    skeleton = file.people.skeleton
    if skeleton.oks_sigmas is None:
        raise NotApplicable(
            f"skeleton {skeleton.name!r} has no OKS sigmas; add 'sigmas', one number for each of the "
            f"{len(skeleton)} joints, to its category in {file.people.file}"
        )


def load_boxes(file: CocoFile, images: Path, boxes: Path, min_score: float = 0.0) -> DetectedBoxes:
    """The detected people to look at: `coco_boxes.detections_of`, in the pictures of the file's split.

    Raises ValueError or FileNotFoundError naming the file, the row and the field.
    """
    found = detections_of(file, images, boxes, min_score)
    if not any(file.people.splits):
        return found
    rows = np.flatnonzero(np.isin(found.image, file.image))
    if not len(rows):
        raise ValueError(f"{boxes} has no box in a picture of the split {file.people.splits[0]!r}")
    return DetectedBoxes([found.records[n] for n in rows.tolist()], found.scores[rows], found.image[rows])


def results_of(
    answer: Predictions,
    records: Sequence[PersonRecord],
    file: CocoFile,
    found: DetectedBoxes | None = None,
) -> Results:
    """COCO results for the records, in their order.

    A result's score is the mean score of its joints, times that of the detected box.

    Args:
        answer: predictions of all records, in any order.
        records: those of `found`, or people of `file`.

    Raises ValueError when a record has no prediction, NotApplicable when the answer lacks joints of the file.
    """
    order = rows_of(answer, records)
    columns = _columns(answer, file)
    heights = answer.scores[order][:, columns]
    keypoints = np.concatenate([answer.keypoints[order][:, columns], heights[..., None]], -1)
    scores = heights.astype(np.float64).mean(1)
    if found is None:
        number_of = dict(zip(file.people.ids.tolist(), file.image.tolist(), strict=True))
        numbers = [number_of[record.person_id] for record in records]
    else:
        scores, numbers = scores * found.scores, found.image.tolist()
    triples = shortest(keypoints).reshape(len(order), -1).tolist()
    return [
        {"image_id": file.ids[number], "category_id": file.category, "keypoints": joints, "score": score}
        for number, joints, score in zip(numbers, triples, scores.tolist(), strict=True)
    ]


def _columns(answer: Predictions, file: CocoFile) -> list[int]:
    """Where the file's joints lie in the answer; raises NotApplicable naming those that it hasn't."""
    wanted = file.people.skeleton
    missing = [joint for joint in wanted.joints if joint not in answer.skeleton.joints]
    if missing:
        raise NotApplicable(
            f"the weights predict {answer.skeleton.name!r}, without {', '.join(missing)} of "
            f"{wanted.name!r}, so there are no COCO results and no OKS; PCK compares what both know"
        )
    return [answer.skeleton.index(joint) for joint in wanted.joints]


def save_results(path: Path, results: Results) -> None:
    """Write COCO results, atomically; raises OSError naming `path`."""
    write_text_atomically(path, json.dumps(results, allow_nan=False) + "\n")


def score_oks(file: CocoFile, results: Results) -> dict[str, Any]:
    """COCO's ten numbers.

    Returns:
        `scores`: `{"AP": ..., ..., "ARL": ...}` (`metrics.oks.SUMMARY`) in percent with three decimals, None
        where nobody is to be found. `people`: to be found; `pictures`: all of the file's; `detections`: how
        many results.

    Raises NotApplicable where the file lacks what OKS needs, ValueError naming the annotation at fault.
    """
    check_labelled(file)
    check_sigmas(file)
    truth = truth_of(file).people
    found = read_results(Path("the results"), results, truth.skeleton, file.keys, file.categories)
    score = evaluate_protocol(COCO, truth, detections=found)
    return {
        "scores": {
            entry.line: round(value, 3) if np.isfinite(value) else None
            for entry, value in zip(score.entries, score.values.tolist(), strict=True)
        },
        "people": score.people,
        "pictures": truth.images,
        "detections": len(results),
    }


def _labelled(file: CocoFile) -> bool:
    people = file.people
    crowd = np.zeros(len(people), bool) if people.crowd is None else people.crowd
    return bool((people.labelled.any(1) & ~crowd).any())
