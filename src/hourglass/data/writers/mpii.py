"""Writers of MPII's usual forms: the one list, HRNet's files, and the hourglass authors' HDF5 (FLIC's too).

All three hold a scale instead of a crop. MPII's own centre and scale come back from a crop by taking the
authors' two steps back: the scale is side / 250, and the centre moves up by 15 x scale. People who were read
from a file of the same form keep that file's own numbers and all its other fields.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import FLIC11, LSP14, MPII16
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.lsp import LSP, LSPET
from hourglass.data.formats.princeton_hdf5 import DOWN_PX, MARGIN, SCALE_PX, check_scale
from hourglass.data.writers.shared import (
    Losses,
    lose_hidden,
    lose_untold,
    plain_list,
    prepared,
    put,
    with_crops,
    write_json,
)

MISSING = -1.0
"""Both coordinates of an unlabelled joint in HRNet's files; elsewhere they are 0."""

_CLOSE = 1e-6
"""Pixels: columns that agree so well with the crop are its origin."""


def write_list(
    people: Annotations, file: Path, force: bool = False, losses: Losses | None = None
) -> Annotations:
    """MPII's list, `mpii_annotations.json` or `.json.gz`; gives the people who were written.

    `annolist_index` and `people_index` are made of the ids. The other people of each picture (`joint_others`)
    are written if they were read from such a list.

    Args:
        losses: collects what the form can't hold; without it, losing people or joints is an error.

    Raises ValueError when the people don't fit the form, and as `shared.put` does.
    """
    losses = losses or Losses()
    people = with_crops(prepared(people, "mpii-list", MPII16, 1, losses), losses)
    people = _without_corner(people, losses)
    people = _of_train_and_val(people, losses)
    if (people.ids < 0).any():
        raise ValueError(
            f"{people.file}: the id {people.ids.min()} is negative, which MPII's list can't hold"
        )
    center, scale = _raw(people, "objpos", "scale_provided")
    _check_scale(people, scale, adjusted=False)
    lose_untold(people, losses)
    _lose_lengths(people, losses)
    labelled, visible = people.labelled[..., None], (people.visibility == VISIBLE)[..., None]
    joints = np.concatenate([np.where(labelled, people.keypoints, 0.0), visible], axis=2)
    fields: dict[str, Sequence[Any]] = {
        "isValidation": [float(split == "val") for split in people.splits],
        "img_paths": people.names,
        "objpos": plain_list(center),
        "joint_self": plain_list(joints),
        "scale_provided": scale.tolist(),
    }
    fields |= {name: column.tolist() for name, column in people.columns.items() if name not in fields}
    fields["annolist_index"], fields["people_index"] = (part.tolist() for part in np.divmod(people.ids, 100))
    write_json(file, _entries(fields), force)
    return people


def write_hrnet(
    people: Annotations, file: Path, force: bool = False, losses: Losses | None = None
) -> Annotations:
    """HRNet's form of MPII, such as `annot/valid.json`. Arguments and errors as of `write_list`."""
    losses = losses or Losses()
    people = with_crops(prepared(people, "mpii-hrnet", MPII16, 1, losses), losses)
    center, scale = _raw(people, "center", "scale")
    _check_scale(people, scale, adjusted=False)
    lose_hidden(people, losses)
    _lose_splits(people, losses)
    _lose_lengths(people, losses)
    count = len(people)
    if not any(np.array_equal(people.ids, np.arange(count) + first) for first in (1, 100_001)):
        losses.note("ids have no place in this form: its readers number the rows")
    keypoints = people.keypoints
    if people.form != "mpii-hrnet":
        keypoints = np.where(people.labelled[..., None], keypoints, MISSING)
    elif not np.isfinite(keypoints).all():
        keypoints = np.where(np.isfinite(keypoints), keypoints, MISSING)
    fields: dict[str, Sequence[Any]] = {
        "joints_vis": people.labelled.astype(int).tolist(),
        "joints": keypoints.tolist(),
        "image": people.names,
        "scale": scale.tolist(),
        "center": center.tolist(),
    }
    fields |= {name: column.tolist() for name, column in people.columns.items() if name not in fields}
    write_json(file, _entries(fields), force)
    return people


def write_authors_hdf5(
    people: Annotations, file: Path, force: bool = False, losses: Losses | None = None
) -> Annotations:
    """The hourglass authors' HDF5: MPII's 16 joints (adjusted centre and scale) or FLIC's 11.

    `index` and `person` are made of the ids. `normalize` is `lengths["head"]` of MPII and FLIC's torso, and
    left out where it isn't known for everybody. `torsoangle` runs from pelvis to thorax (FLIC: middle of the
    hips to middle of the shoulders), in degrees clockwise from upright, -90 to 270, and 0 without both ends:
    so it is in the authors' files, to the last digits. Arguments and errors as of `write_list`.
    """
    import h5py

    losses = losses or Losses()
    is_flic = set(people.skeleton.joints) == set(FLIC11.joints)
    skeleton, origin = (FLIC11, 0) if is_flic else (MPII16, 1)
    people = with_crops(prepared(people, "authors-hdf5", skeleton, origin, losses), losses)
    people = _without_corner(people, losses)
    lose_untold(people, losses)
    _lose_splits(people, losses)
    arrays: dict[str, npt.NDArray[Any]] = dict(people.columns)
    arrays["imgname"] = np.array([name.encode() for name in people.names])
    arrays["part"] = np.where(people.labelled[..., None], people.keypoints, 0.0)
    arrays["visible"] = (people.visibility == VISIBLE).astype(np.float64)
    if not _agrees(arrays, "center", people.center, 1) or not _agrees(
        arrays, "scale", people.side_px, SCALE_PX
    ):
        arrays["center"], arrays["scale"] = people.center, people.side_px / SCALE_PX
    if not is_flic:
        _check_scale(people, arrays["scale"].astype(np.float64), adjusted=True)
    arrays |= _counted(people, arrays, losses)
    if not people.columns:
        arrays["torsoangle"] = _torso_angle(arrays["part"], people, is_flic)
    length = _normalize(people, is_flic)
    if length is not None:
        arrays["normalize"] = length
    else:
        arrays.pop("normalize", None)
        losses.note(
            "'normalize', the length that scores divide by, isn't known for everybody and is left out"
        )

    def write(part: Path) -> None:
        with h5py.File(part, "w") as content:
            for name, array in arrays.items():
                content[name] = array

    put(file, write, force)
    return people


def _entries(fields: dict[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]


def _raw(people: Annotations, center_name: str, scale_name: str) -> tuple[Float64Array, Float64Array]:
    """MPII's own centre (N, 2) and scale (N,): the file's where the crop still follows from them."""
    scale = people.side_px / (MARGIN * SCALE_PX)
    # A scale has a few digits only, which dividing blurs by one unit in the last place.
    scale = _tidy(scale, lambda short: MARGIN * SCALE_PX * short == people.side_px)
    center = people.center.copy()
    down = DOWN_PX * scale
    center[:, 1] = _tidy(people.center[:, 1] - down, lambda short: short + down == people.center[:, 1])
    if {center_name, scale_name} <= set(people.columns):
        kept_center, kept_scale = people.columns[center_name], people.columns[scale_name]
        same = np.abs(kept_scale - scale) * SCALE_PX < _CLOSE
        same &= (np.abs(kept_center - center) < _CLOSE).all(axis=1)
        return np.where(same[:, None], kept_center, center), np.where(same, kept_scale, scale)
    return center, scale


def _tidy(values: Float64Array, holds: Any) -> Float64Array:
    """Rounded to 9 decimals where that gives the very same crop."""
    short = np.round(values, 9)
    return np.where(holds(short), short, values)


def _agrees(arrays: dict[str, npt.NDArray[Any]], name: str, wanted: Float64Array, factor: float) -> bool:
    return name in arrays and bool((np.abs(arrays[name] * factor - wanted) < _CLOSE).all())


def _without_corner(people: Annotations, losses: Losses) -> Annotations:
    """The form says `not labelled` by (0, 0), so a joint that lies there can't be told."""
    corner = people.labelled & (people.keypoints == 0).all(axis=2)
    if corner.any():
        count = int(corner.sum())
        losses.refuse(people, f"joints at (0, 0), which means not labelled in this form: {count}")
        visibility = np.where(corner, NOT_LABELLED, people.visibility).astype(np.uint8)
        people = replace(people, visibility=visibility)
    return people


def _of_train_and_val(people: Annotations, losses: Losses) -> Annotations:
    """Those of no other split; raises ValueError when one picture has people of both.

    Where nobody is of a split, all are train. Otherwise who is of none is left out: MPII's official file has
    such people in the pictures of val.
    """
    kept = ("train", "val") if set(people.splits) != {""} else ("",)
    rows = [n for n, split in enumerate(people.splits) if split in kept]
    if len(rows) < len(people):
        other = ", ".join(sorted({split or "none" for split in people.splits} - set(kept)))
        count = f"{len(people) - len(rows)} of {len(people)}"
        losses.refuse(people, f"people of the split {other}, while MPII's list has train and val: {count}")
        if not rows:
            raise ValueError(f"{people.file} has nobody of train or val")
        people = people.take(rows)
    if kept == ("",):
        losses.note(f"people of no split, written as train: {len(people)}")
    seen: dict[str, str] = {}
    for name, split, where in zip(people.names, people.splits, people.where, strict=True):
        if seen.setdefault(name, split) != split:
            raise ValueError(f"{where}: {name} has people of train and of val, which MPII's list can't hold")
    return people


def _lose_splits(people: Annotations, losses: Losses) -> None:
    named = sorted(set(people.splits) - {""})
    if named:
        advice = "; convert each by itself with --split" if len(named) > 1 else ""
        losses.note(f"splits ({', '.join(named)}) have no place in this form{advice}")


def _lose_lengths(people: Annotations, losses: Losses) -> None:
    head = people.lengths.get("head")
    if head is None or not np.allclose(head, people.side_px / 10, rtol=1e-6, atol=0):
        losses.note(
            "readers of this form take a tenth of the crop for PCKh's head size; these people have another"
        )


def _check_scale(people: Annotations, scale: Float64Array, adjusted: bool) -> None:
    try:
        check_scale(people, scale, adjusted)
    except ValueError as error:
        raise ValueError(
            f"{people.file}: the heads are as long beside the crops as if MPII's steps from scale to crop "
            f"had been taken {'never' if adjusted else 'twice'}, and readers of this form would refuse that; "
            "convert to coco"
        ) from error


def _counted(
    people: Annotations, arrays: dict[str, npt.NDArray[Any]], losses: Losses
) -> dict[str, npt.NDArray[Any]]:
    """`index` and `person`, counted from 0."""
    if {"index", "person"} <= set(arrays) and np.array_equal(
        100 * (arrays["index"] + 1) + arrays["person"] + 1, people.ids
    ):
        return {}
    index, person = people.ids // 100 - 1, people.ids % 100 - 1
    if (index < 0).any() or (person < 0).any():
        losses.note(
            "ids have no place in this form, which counts pictures and their people; rows are counted"
        )
        index, person = np.arange(len(people)), np.zeros(len(people), np.int64)
    return {"index": index, "person": person}


def _torso_angle(part: Float64Array, people: Annotations, is_flic: bool) -> Float64Array:
    joints = people.skeleton.index
    low = [joints(name) for name in (("left_hip", "right_hip") if is_flic else ("pelvis",))]
    high = [joints(name) for name in (("left_shoulder", "right_shoulder") if is_flic else ("thorax",))]
    up = part[:, high].mean(axis=1) - part[:, low].mean(axis=1)
    angle = np.degrees(np.arctan2(up[:, 0], -up[:, 1]))
    angle = np.where(angle < -90, angle + 360, angle)
    known = people.labelled[:, low + high].all(axis=1)
    return np.where(known, angle, 0.0)


def _normalize(people: Annotations, is_flic: bool) -> Float64Array | None:
    if not is_flic:
        length = people.lengths.get("head")
    elif "file-torso" in people.lengths:
        length = people.lengths["file-torso"]
    else:
        ends = [people.skeleton.index(joint) for joint in ("right_shoulder", "left_hip")]
        torso = people.keypoints[:, ends]
        known = people.labelled[:, ends].all(axis=1)
        length = np.where(known, np.linalg.norm(torso[:, 0] - torso[:, 1], axis=1), np.nan)
    return length if length is not None and bool(np.isfinite(length).all() and (length > 0).all()) else None


def write_joints(
    people: Annotations, file: Path, form: str, force: bool = False, losses: Losses | None = None
) -> Annotations:
    """A `joints.mat` of the people that are given back; person n belongs to picture n, which it doesn't name.

    Args:
        form: `lsp` or `lspet`.
        losses: collects what the form can't hold; without it, losing people or joints is an error.

    Raises ValueError when the people don't fit the form, and as `shared.put` does.
    """
    from scipy.io import savemat

    losses = losses or Losses()
    people = prepared(people, form, LSP14, 1, losses)
    if form == "lsp":
        bare = np.asarray(~people.labelled.all(axis=1))
        if bare.any():
            losses.refuse(
                people,
                "people with an unlabelled joint, while LSP's form has all 14 of everybody (LSPET's, "
                f"--to lspet, tells which are labelled): {int(bare.sum())} of {len(people)}",
            )
            people = people.take(~bare)
        if not len(people):
            raise ValueError(f"{people.file} has nobody with all 14 joints labelled")
        lose_untold(people, losses)
        flags, archive = people.visibility == OCCLUDED, LSP
    else:
        lose_hidden(people, losses)
        flags, archive = people.visibility > NOT_LABELLED, LSPET
    most = max(last for _, last in archive.splits.values())
    if len(people) > most:
        more = f"{len(people) - most} of {len(people)}"
        losses.refuse(people, f"people beyond the {most} that {archive.name} can have: {more}")
        people, flags = people.take(range(most)), flags[:most]
    _lose_names(people, archive.photo_name, losses)
    if people.form not in ("lsp", "lspet"):
        losses.note("crops have no place in this form: its readers make them of the joints")
    joints = np.concatenate([people.keypoints, flags[..., None]], axis=2)
    array = joints.transpose(2, 1, 0) if form == "lsp" else joints.transpose(1, 2, 0)

    def write(part: Path) -> None:
        savemat(part, {"joints": array}, appendmat=False, do_compression=True)

    put(file, write, force)
    return people


def _lose_names(people: Annotations, photo: Callable[[int], str], losses: Losses) -> None:
    count = len(people)
    renamed = [n for n in range(count) if people.names[n] != photo(n + 1)]
    if renamed:
        first = renamed[0]
        losses.note(
            f"names of pictures have no place in this form: rename {len(renamed)} of them, "
            f"{people.names[first]} to {photo(first + 1)} and so on by row (--json lists them)"
        )
        losses.rows = list(people.names)
    elif not np.array_equal(people.ids, np.arange(1, count + 1)):
        losses.note("ids have no place in this form: its readers number the rows from 1")
