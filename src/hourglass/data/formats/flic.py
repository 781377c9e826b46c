"""FLIC from the hourglass authors' HDF5 files: `annot/train.h5`, `annot/valid.h5`, and `images/`.

Measured: 3,987 people in 3,628 pictures for training and 1,016 in 926 for validation, each with all 11 joints
labelled and none marked as hidden. Two pictures have a person in either split (`SHARED`). They stay, as
published scores count them. Pictures are 720 x 480 stills from films.

The crop is the same for everybody: the scale is 2.2, so 440 px, around y = 240 and the x of the torso.
Nothing is adjusted further, and 0.2 % of the joints lie outside.

The authors give each split twice. In their `train.h5` sides are the observer's: who stands with the back to
the camera has left and right swapped (199 and 48 people), so that the left shoulder is always further right
in the picture. FLIC's published scores use these. In `train_personcentric.h5` sides are the person's own.
The torso that FLIC's scores divide by is the person's own in both.
"""

from dataclasses import replace
from pathlib import Path

from hourglass.core.skeleton import FLIC11
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import records
from hourglass.data.formats.princeton_hdf5 import read_authors_file
from hourglass.data.formats.read_files import annotation_places, first_there

SPLITS = ("train", "val")

SIDES = ("observer", "person")
"""Whose left and right joints are named by."""

SHARED = ("collateral-disc1-00080111.jpg", "funny-girl-dvd-video-00184641.jpg")
"""Pictures with a person in the train split and another in val."""


def load_records(root: Path, split: str = "train", sides: str = "") -> list[PersonRecord]:
    """The people of one split in their file's order; `person_id` is 100 x (`index` + 1) + `person` + 1.

    Args:
        sides: `observer` makes sure that the left shoulder lies further right in the picture, swapping sides
            where it doesn't. `person` reads `train_personcentric.h5` or `valid_personcentric.h5`. "" takes
            `train.h5` and `valid.h5` as they are.

    Raises ValueError or FileNotFoundError, naming the file, the row and what to do, when the annotation file
    is missing or can't be used, or pictures of this split are missing.
    """
    if split not in SPLITS:
        raise ValueError(f"FLIC has no split {split!r}; it has {', '.join(SPLITS)}")
    if sides not in ("", *SIDES):
        raise ValueError(f"data.sides: {sides!r} is not one of {', '.join(SIDES)}, or empty")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the folder that holds FLIC's images/")
    usual, own = (annotation_places("flic", split)[n : n + 2] for n in (0, 2))
    known = {"": usual, "observer": (*usual, *own), "person": own}[sides]
    file = root / first_there(root, known)
    if not file.is_file():
        advice = ""
        if sides == "person":
            advice = "; the person's own sides can't be told from other files, so add one of these"
        raise FileNotFoundError(
            f"{root} has no FLIC annotations of the {split} split: none of {', '.join(known)}{advice}"
        )
    people = read_authors_file(file, FLIC11)
    if sides == "observer":
        from hourglass.data.formats.skeleton_map import observer_centric

        people = observer_centric(people)
    people = replace(people, what=f"FLIC's {split} split")
    return records(people, root / "images")
