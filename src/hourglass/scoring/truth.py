"""Truth for scoring, out of annotation files alone: no pictures are needed.

| file | people | counts from | hidden joints told |
|---|---|---|---|
| `detections_our_format.mat` (`pos_gt_src`) | MPII val, floats | 1 | no |
| the hourglass authors' `valid.h5` (`part`, 16 joints) | MPII, whole numbers | 1 | yes |
| `mpii_annotations.json`, also `.gz` | MPII, a split of it | 1 | yes |
| HRNet's `valid.json` | MPII | 1 | no |
| `joints.mat` of LSP, (3, 14, N) | LSP, a split of it | 1 | yes |
| `joints.mat` of LSPET, (14, 3, N) | LSPET, a split of it | 1 | no |
| FLIC's `valid.h5` (`part`, 11 joints) | FLIC | 0 | yes |
| COCO keypoints JSON, any skeleton | everybody annotated | 0 | yes |

Coordinates stay as the file has them, so that a protocol meets the very numbers that its code met.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data import lsp, lspet
from hourglass.data.files import (
    FARTHEST_PX,
    Where,
    check_file,
    check_finite,
    column,
    listed,
    numbers,
    read_hdf5,
    read_json,
    read_mat,
    rows_of,
)
from hourglass.data.mpii import read_authors_file
from hourglass.metrics.pck import head_length
from hourglass.metrics.scores import People
from hourglass.scoring.coco import read_truth as read_coco
from hourglass.skeleton import FLIC11, LSP14, MPII16
from hourglass.structs import NOT_LABELLED, OCCLUDED, VISIBLE

_Float = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]

SHORTEST_PX = 1e-3
"""Of a length that distances are divided by."""

HEAD_PX = 25.0
"""PCKh's head size at a raw MPII scale of 1, exactly (FACTS B3; 2,958 head boxes)."""

_MAT_JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
"""What `dataset_joints` calls the rows of `MPII16`."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Annotated people and what ties predictions to them.

    Args:
        path: the file.
        kind: what it is, in words.
        people: N of them.
        origin: what the file calls the first pixel, 0 or 1.
        person_id: (N,) int64, as our dataset readers number them; None where the file tells nothing.
        names: of the pictures: (N,), or for COCO all pictures in the order of `people.image`.
        keys: COCO's: every way to name a picture (id, file name) to its number; empty for others.
        category: COCO's: id of the category that was read, else 0.
    """

    path: Path
    kind: str
    people: People
    origin: int
    person_id: npt.NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()
    keys: Mapping[Any, int] | None = None
    category: int = 0

    def __len__(self) -> int:
        return len(self.people)


def read_truth(path: Path, split: str = "") -> Truth:
    """Read any of the files above.

    Args:
        split: for files with several: MPII's list has train, val (the default) and all; LSP train, test (the
            default) and all; LSPET those of its reader, all being the default.

    Raises ValueError or FileNotFoundError naming the file, the field and the row.
    """
    check_file(path, "annotations")
    name = path.name.lower()
    if name.endswith((".json", ".json.gz")):
        truth = _from_json(path, read_json(path), split)
    elif name.endswith(".mat"):
        truth = _from_mat(path, read_mat(path), split)
    elif name.endswith((".h5", ".hdf5")):
        truth = _from_hdf5(path, split)
    else:
        raise ValueError(f"{path}: annotations come as .mat, .h5, .json or .json.gz")
    if not len(truth):
        raise ValueError(f"{path} holds nobody" + (f" of the {split} split" if split else ""))
    return truth


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


def _seen(labelled: _Bool, hidden: _Bool | None = None) -> npt.NDArray[np.uint8]:
    """Visibility; joints that are not known to be hidden count as visible."""
    seen = VISIBLE if hidden is None else np.where(hidden, OCCLUDED, VISIBLE)
    return np.where(labelled, seen, NOT_LABELLED).astype(np.uint8)


def _flags(flags: _Float, joints: Sequence[str], where: Where) -> _Bool:
    for row, joint in np.argwhere((flags != 0) & (flags != 1))[:1].tolist():
        raise ValueError(
            f"{where(row)}: the flag of {joints[joint]} is {flags[row, joint]:g}; expected 0 or 1"
        )
    return np.asarray(flags == 1)


def _from_mat(path: Path, found: dict[str, npt.NDArray[Any]], split: str) -> Truth:
    if "pos_gt_src" in found:
        _no_split(path, split)
        return _mpii_mat(path, found)
    if "joints" not in found:
        raise ValueError(
            f"{path} holds neither 'pos_gt_src' (MPII) nor 'joints' (LSP), only {listed(sorted(found))}"
        )
    joints = np.asarray(found["joints"])
    if joints.ndim == 3 and joints.shape[:2] == (14, 3):
        people = numbers(found, "joints", (14, 3, "N"), path).transpose(2, 0, 1)
        kind, splits, default, photo = "LSPET", lspet.SPLITS, "all", lspet.photo_name
    else:
        people = numbers(found, "joints", (3, 14, "N"), path).transpose(2, 1, 0)
        splits = {**lsp.SPLITS, "all": (1, 2000)}
        kind, default, photo = "LSP", "test", lsp.photo_name
    chosen = split or default
    if chosen not in splits:
        raise ValueError(f"{path}: {kind} has no split {chosen!r}; it has {', '.join(splits)}")
    first, last = splits[chosen]
    rows = people[first - 1 : last]
    if not len(rows):
        raise ValueError(f"{path} holds people 1 to {len(people)}, none of the {chosen} split; see --split")
    where = rows_of(path, "joints", first - 1)
    flags = _flags(rows[..., 2], LSP14.joints, where)
    labelled = flags if kind == "LSPET" else np.ones_like(flags)
    check_finite(rows[..., :2], labelled, LSP14.joints, where)
    ids = np.arange(first, first + len(rows))
    return Truth(
        path=path,
        kind=f"{kind} {chosen}",
        people=People(
            skeleton=LSP14,
            keypoints=rows[..., :2].copy(),
            visibility=_seen(labelled, None if kind == "LSPET" else flags),
            tells_hidden=kind == "LSP",
        ),
        origin=1,
        person_id=ids.astype(np.int64),
        names=tuple(photo(int(number)) for number in ids),
    )


def _mpii_mat(path: Path, found: dict[str, npt.NDArray[Any]]) -> Truth:
    points = numbers(found, "pos_gt_src", (16, 2, "N"), path).transpose(2, 0, 1).copy()
    count = len(points)
    missing = numbers(found, "jnt_missing", (16, count), path).T
    boxes = numbers(found, "headboxes_src", (2, 2, count), path).transpose(2, 0, 1)
    names = [str(name) for name in np.ravel(found.get("dataset_joints", _MAT_JOINTS))]
    for row, (name, wanted) in enumerate(zip(names, _MAT_JOINTS, strict=False)):
        if name != wanted:
            raise ValueError(f"{path}: 'dataset_joints' calls row {row} {name!r}; expected {wanted!r}")
    labelled = ~_flags(missing, MPII16.joints, rows_of(path, "jnt_missing"))
    check_finite(points, labelled, MPII16.joints, rows_of(path, "pos_gt_src"))
    return Truth(
        path=path,
        kind="MPII val (.mat)",
        people=People(
            skeleton=MPII16,
            keypoints=points,
            visibility=_seen(labelled),
            tells_hidden=False,
            lengths={"head": _positive(head_length(boxes), rows_of(path, "headboxes_src"))},
        ),
        origin=1,
    )


def _from_hdf5(path: Path, split: str) -> Truth:
    _no_split(path, split)
    found = read_hdf5(path)
    part = found.get("part")
    if part is None:
        more = "; it holds predictions, so swap the two files" if "preds" in found else ""
        raise ValueError(f"{path} holds no 'part', only {listed(sorted(found))}{more}")
    if part.ndim != 3 or part.shape[1] not in (11, 16):
        raise ValueError(
            f"{path}: 'part' has shape {part.shape}; expected (N, 16, 2) for MPII or (N, 11, 2) for FLIC"
        )
    is_flic = part.shape[1] == 11
    skeleton = FLIC11 if is_flic else MPII16
    columns = read_authors_file(path, skeleton)
    length = _positive(numbers(found, "normalize", (len(columns.ids),), path), rows_of(path, "normalize"))
    return Truth(
        path=path,
        kind="FLIC (.h5)" if is_flic else "MPII (.h5, whole numbers)",
        people=People(
            skeleton=skeleton,
            keypoints=columns.keypoints,
            visibility=columns.visibility,
            tells_hidden=True,
            lengths={"file-torso" if is_flic else "head": length},
        ),
        origin=0 if is_flic else 1,
        person_id=columns.ids,
        names=tuple(columns.names),
    )


def _positive(length: _Float, where: Where, what: str = "length") -> _Float:
    for row in np.flatnonzero(~((length > SHORTEST_PX) & (length < FARTHEST_PX)))[:1].tolist():
        problem = "out of all proportion" if 0 < length[row] < np.inf else "not a positive number"
        raise ValueError(f"{where(row)}: the {what} {length[row]:g} is {problem}")
    return length


def _from_json(path: Path, content: Any, split: str) -> Truth:
    if isinstance(content, dict):
        _no_split(path, split)
        coco = read_coco(path, content)
        return Truth(
            path=path,
            kind="COCO keypoints",
            people=coco.people,
            origin=0,
            person_id=coco.person_id,
            names=coco.names,
            keys=coco.keys,
            category=coco.category,
        )
    if not isinstance(content, list) or not content or not all(isinstance(e, dict) for e in content):
        raise ValueError(f"{path} holds no annotations: neither a COCO object nor a list of people")
    if "joint_self" in content[0]:
        return _mpii_list(path, content, split)
    if "joints_vis" in content[0]:
        _no_split(path, split)
        return _mpii_hrnet(path, content)
    if "image_id" in content[0]:
        raise ValueError(f"{path} holds COCO results, which are predictions, not annotations")
    raise ValueError(f"{path}: row 0 has neither 'joint_self' (MPII's list) nor 'joints_vis' (HRNet's)")


def _mpii_list(path: Path, content: list[dict[str, Any]], split: str) -> Truth:
    chosen = split or "val"
    if chosen not in ("train", "val", "all"):
        raise ValueError(f"{path}: MPII has no split {chosen!r} with annotations; it has train, val, all")
    marks = column(content, "isValidation", (), rows_of(path))
    rows = [n for n, mark in enumerate(marks) if chosen == "all" or bool(mark) == (chosen == "val")]
    entries = [content[n] for n in rows]
    if not entries:
        raise ValueError(f"{path} holds nobody of the {chosen} split")
    where = rows_of(path, first=rows)
    joints = column(entries, "joint_self", (16, 3), where)
    check_finite(joints, np.ones(joints.shape[:2], bool), MPII16.joints, where)
    visible = _flags(joints[..., 2], MPII16.joints, where)
    labelled = (joints[..., :2] != 0).any(-1)
    scale = _positive(column(entries, "scale_provided", (), where), where, "scale")
    ids = np.stack([column(entries, key, (), where) for key in ("annolist_index", "people_index")], 1)
    for row in np.flatnonzero(~((ids >= 0) & (ids < 1e9)).all(1))[:1].tolist():
        raise ValueError(f"{where(row)}: 'annolist_index' or 'people_index' is no count")
    return Truth(
        path=path,
        kind=f"MPII {chosen} (.json)",
        people=People(
            skeleton=MPII16,
            keypoints=joints[..., :2].copy(),
            visibility=_seen(labelled, ~visible),
            tells_hidden=True,
            lengths={"head": HEAD_PX * scale},
        ),
        origin=1,
        person_id=ids.astype(np.int64) @ np.array([100, 1]),
        names=tuple(str(entry.get("img_paths", "")) for entry in entries),
    )


def _mpii_hrnet(path: Path, content: list[dict[str, Any]]) -> Truth:
    where = rows_of(path)
    joints = column(content, "joints", (16, 2), where)
    labelled = _flags(column(content, "joints_vis", (16,), where), MPII16.joints, where)
    check_finite(joints, labelled, MPII16.joints, where)
    scale = _positive(column(content, "scale", (), where), where, "scale")
    return Truth(
        path=path,
        kind="MPII (HRNet's .json)",
        people=People(
            skeleton=MPII16,
            keypoints=joints,
            visibility=_seen(labelled),
            tells_hidden=False,
            lengths={"head": HEAD_PX * scale},
        ),
        origin=1,
        names=tuple(str(entry.get("image", "")) for entry in content),
    )
