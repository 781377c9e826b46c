"""Leeds Sports Pose: `joints.mat` and `images/im0001.jpg` to `im2000.jpg`.

The file is no smaller sibling of LSPET's: its array is (3, 14, 2000), and a 1 in the third row marks a joint
that is hidden, where LSPET's 1 marks one that is labelled. All 28,000 joints are labelled and finite, and
2,044 of them (7.3 %) marked as hidden.

Left and right are the person's own in the file of the data set (in 34 % of people the right shoulder lies to
the right of the left one). An observer-centric file of the same form is read the same way.

The data set exists in two sizes: people about 150 px long, and the original photos, with larger people. Take
`joints.mat` and `images/` from the same archive. The box is that of LSPET's reader, so the two agree.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.data.annotations import check_photos
from hourglass.data.crops import crop_of_joints
from hourglass.skeleton import LSP14
from hourglass.structs import OCCLUDED, VISIBLE, PersonRecord

SPLITS = {"train": (1, 1000), "test": (1001, 2000)}
"""First and last image number of each split."""

_UNPACK = "give the folder of the unpacked LSP archive, which holds joints.mat and images/"


def load_records(root: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split in the order of their photos; visibility is 2, or 1 for a hidden joint.

    Raises ValueError or FileNotFoundError, naming the file and what to do, when the folder is not LSP,
    `joints.mat` can't be used, or photos of this split are missing.
    """
    if split not in SPLITS:
        raise ValueError(
            f"LSP has no split {split!r}; it has {' and '.join(SPLITS)}, its first and second thousand people"
        )
    file, folder = root / "joints.mat", root / "images"
    for place, what, there in (
        (root, "folder", root.is_dir()),
        (file, "file", file.is_file()),
        (folder, "folder", folder.is_dir()),
    ):
        if not there:
            raise FileNotFoundError(f"there is no {what} {place}; {_UNPACK}")
    joints = _read_joints(file)
    first, last = SPLITS[split]
    numbers = range(first, min(last, len(joints)) + 1)
    if not numbers:
        raise ValueError(
            f"{file} holds people 1 to {len(joints)}, none of the {split} split ({first} to {last}); "
            "get the full file or take another split"
        )
    _check_people(joints, numbers, file)
    present = {path.name for path in folder.iterdir()}
    missing = [name for name in map(photo_name, numbers) if name not in present]
    check_photos(missing, len(numbers), folder, f"LSP's {split} split")
    return [_record(joints[number - 1], number, folder) for number in numbers]


def photo_name(number: int) -> str:
    """File name of a photo, whose number counts from 1."""
    return f"im{number:04d}.jpg"


def _record(joints: npt.NDArray[np.float64], number: int, folder: Path) -> PersonRecord:
    # MATLAB counts pixels from 1.
    keypoints = (joints[:, :2] - 1).astype(np.float32)
    center, side_px = crop_of_joints(keypoints)
    return PersonRecord(
        image=folder / photo_name(number),
        image_id=photo_name(number),
        person_id=number,
        skeleton=LSP14,
        keypoints=keypoints,
        visibility=np.where(joints[:, 2] == 1, OCCLUDED, VISIBLE).astype(np.uint8),
        center=center,
        side_px=side_px,
    )


def _read_joints(file: Path) -> npt.NDArray[np.float64]:
    """(N, 14, 3): x and y as MATLAB counts them, flag."""
    import scipy.io

    again = "take joints.mat from the LSP archive again"
    try:
        content: dict[str, Any] = scipy.io.loadmat(file)
    except Exception as error:  # the parser meets any bytes and raises what it likes
        raise ValueError(f"{file} is not a MATLAB file that can be read, or is cut off; {again}") from error
    if "joints" not in content:
        raise ValueError(f"{file} holds no variable 'joints'; {again}")
    joints = np.asarray(content["joints"])
    usable = joints.ndim == 3 and joints.shape[:2] == (3, 14) and joints.size and joints.dtype.kind in "iuf"
    if not usable:
        looks = ", which looks like LSPET's file, not LSP's" if joints.shape[:2] == (14, 3) else ""
        raise ValueError(
            f"{file}: 'joints' is {joints.dtype} of shape {joints.shape}{looks}; "
            f"expected numbers of shape (3, 14, N); {again}"
        )
    return joints.astype(np.float64).transpose(2, 1, 0)


def _check_people(joints: npt.NDArray[np.float64], numbers: range, file: Path) -> None:
    people = joints[numbers.start - 1 : numbers.stop - 1]
    flags = people[..., 2]
    for n, j in np.argwhere((flags != 0) & (flags != 1))[:1]:
        raise ValueError(
            f"{file}: the flag of {LSP14.joints[j]} in {photo_name(numbers[n])} is {flags[n, j]:g}; "
            "expected 0 or 1"
        )
    for n, j in np.argwhere(~np.isfinite(people[..., :2]).all(-1))[:1]:
        name = photo_name(numbers[n])
        raise ValueError(
            f"{file}: {LSP14.joints[j]} in {name} is not a finite number; LSP labels every joint"
        )
