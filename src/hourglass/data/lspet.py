"""Leeds Sports Pose Extended: `joints.mat` and `images/im00001.jpg` onwards.

Measured over people 1-9000 (126,000 joints): 110,819 are labelled, and all of these are finite. 19 lie
outside their picture; 18 of them by less than 1.7 px, and those count as any other. The right knee of
im08075.jpg lies 145 px outside a picture 241 px wide: a slip of the annotator, read as not labelled
(see `crops.without_far_outside`). Nobody has fewer than 4 labelled joints. Where the flag is 0
the coordinates mean nothing.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.annotations import check_photos, log_left_out
from hourglass.data.crops import BOX_MARGIN as BOX_MARGIN
from hourglass.data.crops import crop_of_joints, without_far_outside
from hourglass.data.images import ImageError, image_size
from hourglass.skeleton import LSP14
from hourglass.structs import NOT_LABELLED, VISIBLE, PersonRecord

SPLITS = {"train": (1, 8000), "val": (8001, 9000), "test": (9001, 10000), "all": (1, 10000)}
"""First and last image number of each split."""


def load_records(root: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split, in the order of their photos; visibility is 2 or 0, LSPET knows no more.

    Raises ValueError or FileNotFoundError, naming the file and what to do, when the folder is not LSPET,
    `joints.mat` can't be used, or photos of this split are missing.
    """
    if split not in SPLITS:
        raise ValueError(f"LSPET has no split {split!r}; it has {', '.join(SPLITS)}")
    file, folder = root / "joints.mat", root / "images"
    _check_folder(root, file, folder)
    joints = _read_joints(file)
    first, last = SPLITS[split]
    numbers = range(first, min(last, len(joints)) + 1)
    if not numbers:
        raise ValueError(
            f"{file} holds people 1 to {len(joints)}, none of the {split} split ({first} to {last}); "
            "get the full file or take another split"
        )
    present = {path.name for path in folder.iterdir()}
    missing = [name for name in map(photo_name, numbers) if name not in present]
    check_photos(missing, len(numbers), folder, f"LSPET's {split} split")
    records = []
    dropped = skipped = 0
    _check_people(joints, numbers, file)
    for number in numbers:
        name = photo_name(number)
        # MATLAB counts pixels from 1.
        keypoints = (joints[number - 1, :, :2] - 1).astype(np.float32)
        labelled = joints[number - 1, :, 2] == 1
        visibility = _inside(keypoints, labelled, folder / name)
        dropped += int(labelled.sum() - (visibility > NOT_LABELLED).sum())
        if (visibility > NOT_LABELLED).sum() < 2:
            skipped += 1
            continue
        center, side_px = crop_of_joints(keypoints[visibility > NOT_LABELLED])
        records.append(
            PersonRecord(
                image=folder / name,
                image_id=name,
                person_id=number,
                skeleton=LSP14,
                keypoints=keypoints,
                visibility=visibility,
                center=center,
                side_px=side_px,
            )
        )
    log_left_out(
        file,
        {"joints far outside their picture": dropped, "people with fewer than 2 labelled joints": skipped},
    )
    if not records:
        raise ValueError(f"{file}: nobody in the {split} split has two labelled joints")
    return records


def photo_name(number: int) -> str:
    """File name of a photo, whose number counts from 1."""
    return f"im{number:05d}.jpg"


def _check_folder(root: Path, file: Path, folder: Path) -> None:
    unpack = "give the folder of the unpacked LSPET archive, which holds joints.mat and images/"
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; {unpack}")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}; {unpack}")
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; {unpack}")


def _read_joints(file: Path) -> npt.NDArray[np.float64]:
    """(N, 14, 3): x and y as MATLAB counts them, flag."""
    import scipy.io

    again = "take joints.mat from the LSPET archive again"
    try:
        content: dict[str, Any] = scipy.io.loadmat(file)
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(f"{file} is not a MATLAB file that can be read, or is cut off; {again}") from error
    if "joints" not in content:
        raise ValueError(f"{file} holds no variable 'joints'; {again}")
    joints = np.asarray(content["joints"])
    usable = joints.ndim == 3 and joints.shape[:2] == (14, 3) and joints.size and joints.dtype.kind in "iuf"
    if not usable:
        looks = ", which looks like LSP's file, not LSPET's" if joints.shape[:2] == (3, 14) else ""
        raise ValueError(
            f"{file}: 'joints' is {joints.dtype} of shape {joints.shape}{looks}; "
            f"expected numbers of shape (14, 3, N); {again}"
        )
    return joints.astype(np.float64).transpose(2, 0, 1)


def _check_people(joints: npt.NDArray[np.float64], numbers: range, file: Path) -> None:
    people = joints[numbers.start - 1 : numbers.stop - 1]
    flags = people[..., 2]
    for n, j in np.argwhere((flags != 0) & (flags != 1))[:1]:
        raise ValueError(
            f"{file}: the flag of {LSP14.joints[j]} in {photo_name(numbers[n])} is {flags[n, j]:g}; "
            "expected 0 or 1"
        )
    for n, j in np.argwhere((flags == 1) & ~np.isfinite(people[..., :2]).all(-1))[:1]:
        raise ValueError(
            f"{file}: {LSP14.joints[j]} in {photo_name(numbers[n])} is labelled but not a finite number; "
            "mend it or set its flag to 0"
        )


def _inside(
    keypoints: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_], photo: Path
) -> npt.NDArray[np.uint8]:
    visibility = np.where(labelled, VISIBLE, NOT_LABELLED).astype(np.uint8)
    try:
        # The header alone: 9,000 of them take 0.3 s.
        width, height = image_size(photo)
    except ImageError:
        # Whoever reads the photo says so; its annotation is none the worse.
        return visibility
    return without_far_outside(keypoints, visibility, width, height)
