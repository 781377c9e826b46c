"""Truth for scoring, out of annotation files alone: no pictures are needed.

Any file that `data.formats.annotation_files` reads, and `detections_our_format.mat` (`pos_gt_src`): MPII's
val split as floats, which counts from 1 and doesn't tell hidden joints. That one has the head boxes that
codes divide by and another network's predictions beside the truth, but no pictures, so no data reader takes
it.

Coordinates stay as the file has them, so that a protocol meets the very numbers that its code met.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import FLIC11, MPII16, Skeleton
from hourglass.core.structs import NOT_LABELLED
from hourglass.data.formats.annotation_files import is_coco, of_split, read_annotations
from hourglass.data.formats.annotations import LABEL_FORMS, Annotations
from hourglass.data.formats.coco import (
    CocoFile,
    Key,
    category_names,
    id_of,
    numbers_of,
    parse,
    picture_number,
)
from hourglass.data.formats.coco import of_split as of_coco_split
from hourglass.data.formats.princeton_hdf5 import checked_length, seen
from hourglass.data.formats.read_files import (
    FARTHEST_PX,
    check_file,
    check_finite,
    listed,
    numbers,
    read_json,
    read_mat,
    rows_of,
)
from hourglass.evaluation.metrics.oks import Detections
from hourglass.evaluation.metrics.pck import head_length

_MAT_JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
"""What `dataset_joints` calls the rows of `MPII16`."""

_USUAL_SPLIT = {"mpii-list": "val", "mpii-mat": "val", "lsp": "test", "lspet": "all"}
"""What is scored where a file has several splits and the user names none."""

_KINDS = {
    "mpii-list": "MPII {split} (.json)",
    "mpii-mat": "MPII {split} (official .mat)",
    "mpii-hrnet": "MPII (HRNet's .json)",
    "lsp": "LSP {split}",
    "lspet": "LSPET {split}",
}


@dataclass(frozen=True, eq=False)
class Truth:
    """Annotated people and what ties predictions to them.

    Args:
        people: N of them.
        kind: what their file is, in words.
        person_id: (N,) int64, as our dataset readers number them; None where the file tells nothing.
        names: of the pictures: (N,), or for COCO all pictures in the order of `people.image`.
        keys: COCO's: every way to name a picture (id, file name) to its number; None for others.
        categories: COCO's: ids of the categories that were read.
        split: which of the file's splits these people are; empty where it has none.
    """

    people: Annotations
    kind: str
    person_id: npt.NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    keys: Mapping[Any, int] | None = None
    categories: tuple[Key, ...] = ()
    split: str = ""

    def __len__(self) -> int:
        return len(self.people)

    @property
    def path(self) -> Path:
        """The file."""
        return self.people.file


def read_truth(path: Path, split: str = "") -> Truth:
    """Read any of the files above.

    Args:
        split: of files with several, one of theirs or `all`. By default `val` of MPII, `test` of LSP and
            `all` of LSPET.

    Raises ValueError or FileNotFoundError naming the file, the field and the row.
    """
    if not path.is_dir():
        check_file(path, "annotations")
    name, content = path.name.lower(), None
    if name.endswith((".json", ".json.gz")):
        content = read_json(path)
        if is_coco(content):
            return _of_coco(path, content, split)
    elif name.endswith(".mat"):
        content = read_mat(path)
        if "pos_gt_src" in content:
            return _of_detections(path, content, split)
    people = read_annotations(path, content=content)
    chosen = split or _USUAL_SPLIT.get(people.form, "")
    return of_annotations(of_split(people, chosen), chosen)


def of_annotations(people: Annotations, split: str = "") -> Truth:
    """The truth of people from any file but COCO's; `split` is what to call them.

    Raises ValueError naming the file when it lacks the length that its data set's scores divide by.
    """
    if people.form == "authors-hdf5" and not people.lengths:
        raise ValueError(f"{people.file} holds no 'normalize', the length that scores divide by")
    is_flic = people.skeleton.joints == FLIC11.joints
    kind = "FLIC (.h5)" if is_flic else "MPII (.h5, whole numbers)"
    if people.form in LABEL_FORMS:
        kind = f"{people.form} labels, {split}" if split else f"{people.form} labels"
    return Truth(
        people=replace(people, lengths={**people.lengths, "crop": people.side_px}),
        kind=_KINDS.get(people.form, kind).format(split=split),
        # HRNet's files number nobody, so other files of the same people can't agree with a count of rows.
        person_id=None if people.form == "mpii-hrnet" else people.ids,
        names=tuple(people.names),
        split=split,
    )


def with_visibility_of(truth: Truth, other: Truth) -> Truth:
    """The truth with hidden joints told as in another file of the same people in the same order.

    Raises ValueError naming both files when those aren't the same people or the other doesn't tell.
    """
    both = f"{truth.path} and {other.path}"
    if not other.people.tells_hidden:
        raise ValueError(f"{other.path} doesn't tell hidden joints from visible ones")
    if other.people.skeleton.joints != truth.people.skeleton.joints or len(other) != len(truth):
        raise ValueError(
            f"{both} are not of the same people: {len(truth)} with {len(truth.people.skeleton)} joints, "
            f"and {len(other)} with {len(other.people.skeleton)}"
        )
    labelled, flags = truth.people.visibility > 0, other.people.visibility
    for row, joint in np.argwhere(labelled & (flags == NOT_LABELLED))[:1].tolist():
        joint_name = truth.people.skeleton.joints[joint]
        raise ValueError(
            f"{both} are not of the same people: only the first labels {joint_name} in row {row}"
        )
    visibility = np.where(labelled, flags, NOT_LABELLED).astype(np.uint8)
    return replace(truth, people=replace(truth.people, visibility=visibility, tells_hidden=True))


def _no_split(path: Path, split: str) -> None:
    if split:
        raise ValueError(f"{path} is one split by itself; leave --split {split} away")


def _of_coco(path: Path, content: Mapping[str, Any], split: str) -> Truth:
    coco = read_coco_truth(path, content, split)
    return Truth(
        people=coco.people,
        kind=f"COCO keypoints, {split}" if split else "COCO keypoints",
        person_id=coco.people.ids,
        names=coco.names,
        keys=coco.keys,
        categories=coco.categories,
        split=split,
    )


def _of_detections(path: Path, found: Mapping[str, npt.NDArray[Any]], split: str) -> Truth:
    _no_split(path, split)
    points = numbers(found, "pos_gt_src", (16, 2, "N"), path).transpose(2, 0, 1).copy()
    count = len(points)
    if not count:
        raise ValueError(f"{path} holds nobody")
    missing = numbers(found, "jnt_missing", (16, count), path).T
    boxes = numbers(found, "headboxes_src", (2, 2, count), path).transpose(2, 0, 1)
    names = [str(name) for name in np.ravel(found.get("dataset_joints", _MAT_JOINTS))]
    for row, (name, wanted) in enumerate(zip(names, _MAT_JOINTS, strict=False)):
        if name != wanted:
            raise ValueError(f"{path}: 'dataset_joints' calls row {row} {name!r}; expected {wanted!r}")
    for row, joint in np.argwhere((missing != 0) & (missing != 1))[:1].tolist():
        raise ValueError(
            f"{path}, 'jnt_missing': row {row}: the flag of {MPII16.joints[joint]} is "
            f"{missing[row, joint]:g}; expected 0 or 1"
        )
    labelled = missing == 0
    check_finite(points, labelled, MPII16.joints, rows_of(path, "pos_gt_src"))
    return Truth(
        people=Annotations.of(
            skeleton=MPII16,
            keypoints=points,
            visibility=seen(labelled, labelled),
            tells_hidden=False,
            lengths={"head": checked_length(head_length(boxes), rows_of(path, "headboxes_src"))},
            file=path,
            origin=1,
        ),
        kind="MPII val (.mat)",
    )


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


def read_coco_truth(path: Path, content: Mapping[str, Any], split: str = "") -> CocoFile:
    """All categories with keypoints where these are the same, else the first; `people` as of `truth_of`.

    Of one split, in files that tell them.
    """
    try:
        file = parse(content, path)
    except ValueError:
        file = parse(content, path, next(iter(category_names(content)), None))
    if split and not any(file.people.splits):
        raise ValueError(f"{path} is one split by itself; leave --split {split} away")
    return truth_of(of_coco_split(file, split))


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
