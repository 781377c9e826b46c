"""Leeds Sports Pose Extended: `joints.mat` and `images/im00001.jpg` onwards.

Measured over people 1-9000 (126,000 joints): 110,819 are labelled, and all of these are finite. 19 lie
outside their picture; 18 of them by less than 1.7 px, and those count as any other. The right knee of
im08075.jpg lies 145 px outside a picture 241 px wide: a slip of the annotator, read as not labelled
(see `person_scale.without_far_outside`). Nobody has fewer than 4 labelled joints. Where the flag is 0
the coordinates mean nothing.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import PersonRecord
from hourglass.data.formats import leeds
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.person_scale import without_far_outside
from hourglass.data.loading.images import ImageError, image_size

SPLITS = {"train": (1, 8000), "val": (8001, 9000), "test": (9001, 10000), "all": (1, 10000)}
"""First and last image number of each split."""

ARCHIVE = leeds.LeedsFile(
    name="LSPET",
    other="LSP",
    form="lspet",
    splits=SPLITS,
    known=", ".join(SPLITS),
    joints_first=True,
    digits=5,
    flag_hides=False,
    not_finite="is labelled but not a finite number; mend it or set its flag to 0",
)

photo_name = ARCHIVE.photo_name


def read_joints(file: Path, split: str = "") -> Annotations:
    """The people of `joints.mat`, all or one split's; see `leeds.read_joints`.

    Without the pictures nobody can tell which joints lie outside: only `load_records` leaves those out.
    """
    return leeds.read_joints(ARCHIVE, file, split)


def load_records(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """The people of one split, in the order of their photos; visibility is 2 or 0, LSPET knows no more.

    Args:
        crop: `box`, or `limbs` for a side after `person_scale.limb_side_px`.
        sides: "" as the file has them, or `observer` (see `left_right.observer_centric`).

    Raises ValueError or FileNotFoundError, naming the file and what to do, when the folder is not LSPET,
    `joints.mat` can't be used, or photos of this split are missing.
    """
    people, photos = leeds.people_of_folder(ARCHIVE, root, split)
    before = int(people.labelled.sum())
    people = leeds.with_visibility(people, _inside(people, photos))
    few = people.labelled.sum(axis=1) < 2
    log_left_out(
        people.file,
        {
            "joints far outside their picture": before - int(people.labelled.sum()),
            "people with fewer than 2 labelled joints": int(few.sum()),
        },
    )
    if few.all():
        raise ValueError(f"{people.file}: nobody in the {split} split has two labelled joints")
    return leeds.records_of(people.take(~few), root, crop, sides)


def _inside(people: Annotations, photos: Mapping[str, Path]) -> npt.NDArray[np.uint8]:
    """The visibility (N, 14) without joints far outside their picture."""
    visibility = people.visibility.copy()
    for n, name in enumerate(people.names):
        try:
            # The header alone: 9,000 of them take 0.3 s.
            width, height = image_size(photos[name])
        except ImageError:
            # Whoever reads the photo says so; its annotation is none the worse.
            continue
        visibility[n] = without_far_outside(people.keypoints[n] - people.origin, visibility[n], width, height)
    return visibility
