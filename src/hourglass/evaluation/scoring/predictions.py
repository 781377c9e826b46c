"""Predictions for scoring, out of whatever other codes leave behind.

| file | form |
|---|---|
| `.h5` | `preds` (N, J, 2 or 3), as `valid-ours.h5` has them |
| `.mat` | `preds` (bearpaw, HRNet), `pos_pred_src` (J, 2, N) or `pred` (2, J, N; LSP toolkit) |
| `.npy` | (N, J, 2 or 3) |
| `.csv` | a line for each person: `<joint>_x`, `<joint>_y` of every joint, perhaps `person_id` |
| `.json` | what `hourglass evaluate` writes, or COCO results |

JSON counts pixels from 0. The others are taken to count as the truth does, unless the user says otherwise. A
third number of each joint, its score, only matters for OKS. Other columns of a CSV file are left aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.data.formats.read_files import (
    check_file,
    check_finite,
    listed,
    numbers,
    read_csv,
    read_hdf5,
    read_json,
    read_mat,
    rows_of,
)
from hourglass.evaluation.metrics.oks import Detections
from hourglass.evaluation.scoring.truth import Truth, read_results


@dataclass(frozen=True, eq=False)
class Aligned:
    """Predictions in the order and the counting of the truth they are of.

    Args:
        path: the file.
        keypoints: (N, J, 2), NaN for people without labelled joints that have no prediction; None for
            detections that no one says whose they are.
        detections: for OKS; None where there are no scores.
    """

    path: Path
    keypoints: Float64Array | None
    detections: Detections | None = None


def read_predictions(path: Path, truth: Truth, count_from: int | None = None) -> Aligned:
    """Read any of the files above for the people of a truth.

    Args:
        count_from: what arrays and CSV call the first pixel, 0 or 1; as the truth does by default.

    Raises ValueError or FileNotFoundError naming the file, the field, the row, and what doesn't fit.
    """
    check_file(path, "predictions")
    name = path.name.lower()
    if name.endswith((".json", ".json.gz")):
        if count_from is not None:
            raise ValueError(f"--count-from is for .h5, .mat, .npy and .csv; {path} counts from 0")
        return _from_json(path, truth)
    joints, person_id = truth.people.skeleton.joints, None
    if name.endswith(".csv"):
        points, person_id = _from_csv(path, joints)
        where = rows_of(path)
    elif name.endswith((".h5", ".hdf5", ".mat", ".npy")):
        points, field = _array(path, name)
        where = rows_of(path, field)
        if points.shape[1] != len(joints):
            raise ValueError(
                f"{path}: '{field}' is of {points.shape[1]} joints, but {truth.path} has the "
                f"{len(joints)} of {truth.people.skeleton.name}"
            )
    else:
        raise ValueError(f"{path}: predictions come as .h5, .mat, .npy, .csv, .json or .json.gz")
    check_finite(points, np.ones(points.shape[:2], bool), joints, where)
    shift = 0 if count_from is None else truth.people.origin - count_from
    order = _order(path, len(points), person_id, truth)
    keypoints = _in_order(points[..., :2] + shift, order)
    scores = points[..., 2].mean(1) if points.shape[2] == 3 else None
    return Aligned(path, keypoints, _as_detections(keypoints, scores, order, truth))


def _array(path: Path, name: str) -> tuple[Float64Array, str]:
    """(N, J, 2 or 3) and the field it came from."""
    if name.endswith(".npy"):
        field = "array"
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            found = {field: np.array(array)}
        except Exception as error:  # the parser meets any bytes and raises what it likes
            raise ValueError(f"{path} is not a NumPy array that can be read, or is cut off") from error
    else:
        found = read_mat(path) if name.endswith(".mat") else read_hdf5(path)
        field = next((f for f in ("preds", "pos_pred_src", "pred") if f in found), "preds")
    if field == "pos_pred_src":
        return numbers(found, field, ("J", 2, "N"), path).transpose(2, 0, 1), field
    if field == "pred":
        return numbers(found, field, (2, "J", "N"), path).transpose(2, 1, 0), field
    if field not in found and "part" in found:
        raise ValueError(f"{path} holds annotations ('part'), not predictions; swap the two files")
    array = numbers(found, field, ("N", "J", "2 or 3"), path)
    if array.shape[2] not in (2, 3):
        raise ValueError(f"{path}: '{field}' has shape {array.shape}; expected (N, J, 2) or (N, J, 3)")
    return array, field


def _from_csv(path: Path, joints: Sequence[str]) -> tuple[Float64Array, npt.NDArray[np.int64] | None]:
    """(N, J, 2) and, where there is such a column, the people's ids."""
    head, lines = read_csv(path)
    wanted = [f"{joint}_{axis}" for joint in joints for axis in "xy"]
    unknown = [c for c in head if c.endswith(("_x", "_y")) and c not in wanted]
    missing = [c for c in wanted if c not in head]
    if missing or unknown:
        problem = (
            f"has no column {missing[0]!r}" if missing else f"has a column of an unknown joint {unknown[0]!r}"
        )
        raise ValueError(f"{path} {problem}; it should start with a line naming {listed(wanted, 4)}")
    columns = [head.index(c) for c in wanted]
    points = np.array(
        [
            _number(cells[at], f"{where}: '{name}'")
            for where, cells in lines
            for name, at in zip(wanted, columns, strict=True)
        ]
    ).reshape(len(lines), len(joints), 2)
    if "person_id" not in head:
        return points, None
    at = head.index("person_id")
    ids = [_number(cells[at], f"{where}: 'person_id'") for where, cells in lines]
    for (where, _), number in zip(lines, ids, strict=True):
        if number != int(number) or abs(number) > 2**53:
            raise ValueError(f"{where}: 'person_id' is {number:g}, not a whole number")
    return points, np.array(ids, np.int64)


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError as error:
        raise ValueError(f"{where} is {cell.strip()!r}, not a number") from error
    if not np.isfinite(value):
        raise ValueError(f"{where} is not a finite number")
    return value


def _from_json(path: Path, truth: Truth) -> Aligned:
    content = read_json(path)
    if isinstance(content, dict):
        return _own(path, content, truth)
    if not isinstance(content, list) or not content:
        raise ValueError(f"{path} holds no predictions: neither ours nor a list of COCO results")
    if truth.keys is None:
        raise ValueError(f"{path} holds a list, as COCO results are, but {truth.path} is no COCO file")
    skeleton = truth.people.skeleton
    found = read_results(path, content, skeleton, truth.keys, truth.categories)
    return Aligned(path, _alone(found, truth), found)


def _alone(found: Detections, truth: Truth) -> Float64Array | None:
    """(N, J, 2) where each picture has one labelled person and one detection, so that they go together."""
    people = truth.people
    if people.image is None or people.crowd is None:
        return None
    wanted = np.flatnonzero((people.visibility > 0).any(1) & ~people.crowd)
    each = np.bincount(people.image[wanted], minlength=people.images)
    detected = np.bincount(found.image, minlength=people.images)
    if (each > 1).any() or not (detected[each == 1] == 1).all():
        return None
    row_of = np.full(people.images, -1)
    row_of[found.image] = np.arange(len(found.image))
    keypoints = np.full((len(people), len(people.skeleton), 2), np.nan)
    keypoints[wanted] = found.keypoints[row_of[people.image[wanted]]]
    return keypoints


def _own(path: Path, content: dict[str, Any], truth: Truth) -> Aligned:
    if "annotations" in content:
        raise ValueError(f"{path} holds annotations, not predictions; swap the two files")
    from hourglass.evaluation.evaluate import load_predictions

    found = load_predictions(path)
    skeleton = truth.people.skeleton
    if found.skeleton.joints != skeleton.joints:
        raise ValueError(
            f"{path} predicts the skeleton {found.skeleton.name!r} ({len(found.skeleton)} joints), but "
            f"{truth.path} has {skeleton.name!r} ({len(skeleton)} joints)"
        )
    ids = found.person_id if truth.person_id is not None else None
    order = _order(path, len(found), ids, truth)
    points = found.keypoints.astype(np.float64) + truth.people.origin
    check_finite(points, np.ones(points.shape[:2], bool), skeleton.joints, rows_of(path, "people"))
    if ids is not None and truth.keys is None and truth.names:
        for row in np.flatnonzero(order >= 0).tolist():
            if found.image_id[order[row]] != truth.names[row]:
                raise ValueError(
                    f"{path}: person {ids[order[row]]} is in {found.image_id[order[row]]}, but in "
                    f"{truth.names[row]} by {truth.path}: the predictions are of other data"
                )
    keypoints = _in_order(points, order)
    scores = found.scores.astype(np.float64).mean(1)
    return Aligned(path, keypoints, _as_detections(keypoints, scores, order, truth))


def _order(path: Path, count: int, ids: npt.NDArray[np.int64] | None, truth: Truth) -> npt.NDArray[np.int64]:
    """(N,) row of the predictions for each person of the truth, -1 where there is none and none is needed."""
    if not count:
        raise ValueError(f"{path} holds predictions of nobody")
    needed = (truth.people.visibility > 0).any(1)
    if truth.people.crowd is not None:
        needed &= ~truth.people.crowd
    if ids is None or truth.person_id is None:
        if count != len(truth):
            advice = "; see --split" if truth.split else ""
            raise ValueError(f"{path} is of {count} people, but {truth.path} has {len(truth)}{advice}")
        return np.arange(count)
    rows = {int(person): row for row, person in enumerate(ids)}
    if len(rows) < count:
        raise ValueError(f"{path}: two rows have the same person_id")
    order = np.array([rows.get(int(person), -1) for person in truth.person_id], np.int64)
    for row in np.flatnonzero(needed & (order < 0))[:1].tolist():
        who = f"person {truth.person_id[row]}" + (f" in {_name(truth, row)}" if truth.names else "")
        absent = int((needed & (order < 0)).sum())
        raise ValueError(
            f"{path} has no prediction for {absent} of the {len(truth)} people of {truth.path}, the first is "
            f"{who}: it is of other data or of another split"
        )
    return order


def _name(truth: Truth, row: int) -> str:
    image = truth.people.image
    return truth.names[row if image is None else int(image[row])]


def _in_order(points: Float64Array, order: npt.NDArray[np.int64]) -> Float64Array:
    return np.where((order >= 0)[:, None, None], points[order], np.nan)


def _as_detections(
    keypoints: Float64Array, scores: Float64Array | None, order: npt.NDArray[np.int64], truth: Truth
) -> Detections | None:
    """One detection for each predicted person, scored by the mean of the joints' scores."""
    if scores is None or truth.people.image is None:
        return None
    has = order >= 0
    return Detections(keypoints[has], scores[order[has]], truth.people.image[has])
