"""What Leeds Sports Pose and its extension share: `joints.mat` beside a folder of numbered photos.

Both count pixels from 1 and label 14 joints, but their arrays lie differently and their flags mean different
things: `LeedsFile` holds all that tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord
from hourglass.data.formats.annotations import Annotations, find_photos, log_left_out, records
from hourglass.data.formats.left_right import with_sides
from hourglass.data.formats.person_scale import crops_of_joints, with_crop
from hourglass.data.formats.read_files import check_file, check_finite, read_mat

ORIGIN = 1
"""What MATLAB calls the first pixel."""

_JOINTS = len(LSP14)


@dataclass(frozen=True)
class LeedsFile:
    """One of the two data sets.

    Args:
        name: such as `LSP`.
        other: the name of the other one, whose file is easily given instead.
        form: one of `annotations.FORMS`.
        splits: first and last photo number of each split; `all`, where it is there, spans the others.
        known: the splits in words.
        joints_first: the file's array is (14, 3, N), not (3, 14, N).
        digits: of the number in a photo's name.
        flag_hides: the flag 1 marks a hidden joint and everything is labelled; else it marks a labelled one.
        not_finite: what to say of a labelled joint that is no finite number.
    """

    name: str
    other: str
    form: str
    splits: Mapping[str, tuple[int, int]]
    known: str
    joints_first: bool
    digits: int
    flag_hides: bool
    not_finite: str

    def photo_name(self, number: int) -> str:
        """File name of a photo, whose number counts from 1."""
        return f"im{number:0{self.digits}d}.jpg"

    def split_of(self, number: int) -> str:
        """The split that holds a photo."""
        return next(
            name for name, (first, last) in self.splits.items() if name != "all" and first <= number <= last
        )


def read_joints(archive: LeedsFile, file: Path, split: str = "") -> Annotations:
    """The people of `joints.mat` in the order of their photos, whose numbers are their ids.

    The crop is that of `person_scale.crops_of_joints`, NaN for who has fewer than two labelled joints.

    Args:
        split: only its people, and only their faults count; "" for everybody.

    Raises ValueError or FileNotFoundError, naming the file and what to do.
    """
    check_file(file, f"{archive.name}'s joints")
    joints = _array(archive, file)
    numbers = _numbers(archive, file, split, len(joints))
    points, flags = joints[numbers - 1, :, :2], joints[numbers - 1, :, 2]
    names = [archive.photo_name(number) for number in numbers.tolist()]
    for n, j in np.argwhere((flags != 0) & (flags != 1))[:1].tolist():
        raise ValueError(
            f"{file}: the flag of {LSP14.joints[j]} in {names[n]} is {flags[n, j]:g}; expected 0 or 1"
        )
    if archive.flag_hides:
        visibility = np.where(flags == 1, OCCLUDED, VISIBLE).astype(np.uint8)
    else:
        visibility = np.where(flags == 1, VISIBLE, NOT_LABELLED).astype(np.uint8)
    labelled = visibility > NOT_LABELLED
    for n, j in np.argwhere(labelled & ~np.isfinite(points).all(axis=2))[:1].tolist():
        raise ValueError(f"{file}: {LSP14.joints[j]} in {names[n]} {archive.not_finite}")
    where = [f"{file}: {name}" for name in names]
    check_finite(points, labelled, LSP14.joints, where.__getitem__)
    center, side_px = _crops(points, visibility)
    return Annotations(
        file=file,
        form=archive.form,
        what=f"{archive.name}'s {split} split" if split else archive.name,
        skeleton=LSP14,
        where=where,
        names=names,
        ids=numbers,
        splits=[archive.split_of(number) for number in numbers.tolist()],
        keypoints=points,
        visibility=visibility,
        tells_hidden=archive.flag_hides,
        origin=ORIGIN,
        center=center,
        side_px=side_px,
    )


def people_of_folder(archive: LeedsFile, root: Path, split: str) -> tuple[Annotations, dict[str, Path]]:
    """The people of one split, and where their photos, all of them, lie.

    Raises ValueError or FileNotFoundError, naming the file and what to do.
    """
    _check_split(archive, split)
    file, folder = root / "joints.mat", root / "images"
    for place, what, there in (
        (root, "folder", root.is_dir()),
        (file, "file", file.is_file()),
        (folder, "folder", folder.is_dir()),
    ):
        if not there:
            raise FileNotFoundError(
                f"there is no {what} {place}; give the folder of the unpacked {archive.name} archive, "
                "which holds joints.mat and images/"
            )
    people = read_joints(archive, file, split)
    return people, find_photos(folder, people.names, people.what)


def with_visibility(people: Annotations, visibility: npt.NDArray[np.uint8]) -> Annotations:
    """The people with another visibility (N, 14), and the crops that follow from it."""
    center, side_px = _crops(people.keypoints, visibility)
    return replace(people, visibility=visibility, center=center, side_px=side_px)


def records_of(people: Annotations, root: Path, crop: str, sides: str) -> list[PersonRecord]:
    """Records under the options `data.crop` and `data.sides`."""
    people = with_crop(with_sides(people, sides), crop)
    # Where nothing is labelled a file may hold numbers that single precision can't.
    with np.errstate(over="ignore"):
        return records(people, root / "images")


def _array(archive: LeedsFile, file: Path) -> npt.NDArray[np.float64]:
    """(N, 14, 3): x and y as MATLAB counts them, flag."""
    again = f"take joints.mat from the {archive.name} archive again"
    content = read_mat(file)
    if "joints" not in content:
        raise ValueError(f"{file} holds no variable 'joints'; {again}")
    joints = content["joints"]
    shape = (_JOINTS, 3) if archive.joints_first else (3, _JOINTS)
    usable = joints.ndim == 3 and joints.shape[:2] == shape and joints.size and joints.dtype.kind in "iuf"
    if not usable:
        turned = joints.ndim == 3 and joints.shape[:2] == shape[::-1]
        looks = f", which looks like {archive.other}'s file, not {archive.name}'s" if turned else ""
        raise ValueError(
            f"{file}: 'joints' is {joints.dtype} of shape {joints.shape}{looks}; "
            f"expected numbers of shape ({shape[0]}, {shape[1]}, N); {again}"
        )
    return joints.astype(np.float64).transpose((2, 0, 1) if archive.joints_first else (2, 1, 0))


def _check_split(archive: LeedsFile, split: str) -> None:
    if split not in archive.splits:
        raise ValueError(f"{archive.name} has no split {split!r}; it has {archive.known}")


def _numbers(archive: LeedsFile, file: Path, split: str, count: int) -> npt.NDArray[np.int64]:
    """The photo numbers of a split that the file reaches."""
    whole = max(last for _, last in archive.splits.values())
    first, last = 1, whole
    if split:
        _check_split(archive, split)
        first, last = archive.splits[split]
    if count < first:
        raise ValueError(
            f"{file} holds people 1 to {count}, none of the {split} split ({first} to {last}); "
            "get the full file or take another split"
        )
    log_left_out(file, {f"people beyond number {whole}, the last of {archive.name}": max(count - whole, 0)})
    return np.arange(first, min(last, count) + 1)


def _crops(
    points: npt.NDArray[np.float64], visibility: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Centres, counted as the points are, and sides."""
    labelled = visibility > NOT_LABELLED
    # Rounded as in the records, whose joints span the box.
    single = np.where(labelled[..., None], points - ORIGIN, 0).astype(np.float32)
    center, side_px = crops_of_joints(single, labelled)
    return center + ORIGIN, side_px
