"""COCO's two files: annotations as OKS needs them, and results with scores.

Other than in training everybody counts: crowds and people without labelled joints change what is a false
detection.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.data.formats.coco import CocoFile, category_names, of_split, parse
from hourglass.data.formats.coco_fields import Key, id_of, numbers_of, picture_number
from hourglass.data.formats.read_files import FARTHEST_PX, check_finite, listed, rows_of
from hourglass.evaluation.metrics.oks import Detections

log = logging.getLogger(__name__)


def truth_of(file: CocoFile) -> CocoFile:
    """A file's people, for scoring; where nobody has an area the people have none, and OKS can't be had.

    Raises ValueError naming the file and the annotation when an area is missing or makes no sense.
    """
    found = file.people
    if not len(found):
        raise ValueError(f"{found.file} annotates nobody of its category {found.skeleton.name!r}")
    crowd = np.zeros(len(found), bool) if found.crowd is None else found.crowd
    box = np.zeros((len(found), 4)) if found.box is None else np.nan_to_num(found.box)
    area = found.area
    if area is not None:
        area = _area(area, found.labelled.any(1) & ~crowd, box, found.where)
    lengths = {**found.lengths, "crop": found.side_px}
    return replace(file, people=replace(found, lengths=lengths, area=area, box=box, crowd=crowd))


def read_truth(path: Path, content: Mapping[str, Any], split: str = "") -> CocoFile:
    """All categories with keypoints where these are the same, else the first; `people` as of `truth_of`.

    Of one split, in files that tell them.
    """
    try:
        file = parse(content, path)
    except ValueError:
        file = parse(content, path, next(iter(category_names(content)), None))
    if split and not any(file.people.splits):
        raise ValueError(f"{path} is one split by itself; leave --split {split} away")
    return truth_of(of_split(file, split))


def _area(
    told: Float64Array, needed: npt.NDArray[np.bool_], box: Float64Array, where: Sequence[str]
) -> Float64Array:
    """Areas as annotated; people who don't count may lack one, and get that of their box."""
    for row in np.flatnonzero(needed & np.isnan(told))[:1].tolist():
        raise ValueError(f"{where[row]} has no 'area', which OKS needs")
    area = np.where(np.isnan(told), box[:, 2] * box[:, 3], told)
    for row in np.flatnonzero(~(np.abs(area) < FARTHEST_PX**2) | (needed & ~(area > 0)))[:1].tolist():
        raise ValueError(f"{where[row]}: the 'area' is {area[row]:g}; OKS needs a positive, sensible one")
    return area


def read_results(
    path: Path, content: Sequence[Any], skeleton: Skeleton, keys: Mapping[Any, int], categories: Sequence[Key]
) -> Detections:
    """The entries of a results file that are of the truth's categories, in pictures known by `keys`.

    Where all are of category 1, which programs without categories write, they are taken for the truth's, with
    a warning.

    Raises ValueError naming the file, the row and the field.
    """
    for row, entry in enumerate(content):
        if not isinstance(entry, dict):
            raise ValueError(f"{path}: row {row} is no object, as COCO results have")
    told = [id_of(entry["category_id"]) if "category_id" in entry else None for entry in content]
    rows = [n for n, category in enumerate(told) if category is None or category in categories]
    if not rows and set(told) == {1}:
        # Programs that know no categories, `hourglass predict` among them, say 1.
        log.warning(
            "%s: all results are of category %s, the truth is of %s; they are scored as that",
            path,
            told[0],
            listed([str(category) for category in categories]),
        )
        rows = list(range(len(content)))
    entries = [content[n] for n in rows]
    if not entries:
        raise ValueError(f"{path} holds no results of category {listed([str(c) for c in categories])}")
    if "keypoints" not in entries[0] and "bbox" in entries[0]:
        raise ValueError(f"{path} holds boxes, not keypoints; their fields are {listed(sorted(entries[0]))}")
    where = rows_of(path, first=rows)
    triples = numbers_of(entries, "keypoints", (3 * len(skeleton),), where).reshape(len(entries), -1, 3)
    scores = numbers_of(entries, "score", (), where)
    points = triples[..., :2].copy()
    check_finite(points, np.ones(points.shape[:2], bool), skeleton.joints, where)
    check_finite(scores[:, None], np.ones((len(scores), 1), bool), ["its score"], where)
    image = [picture_number(entry, keys, where, row) for row, entry in enumerate(entries)]
    return Detections(points, scores, np.array(image, np.int64))
