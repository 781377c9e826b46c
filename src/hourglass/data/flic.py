"""FLIC from the hourglass authors' HDF5 files: `annot/train.h5`, `annot/valid.h5`, and `images/`.

Measured: 3,987 people in 3,628 pictures for training and 1,016 in 926 for validation, each with all 11 joints
labelled and none marked as hidden. Two pictures have a person in either split (`SHARED`). They stay, as
published scores count them. Pictures are 720 x 480 stills from films.

The crop is the same for everybody: the scale is 2.2, so 440 px, around y = 240 and the x of the torso.
Nothing is adjusted further, and 0.2 % of the joints lie outside. Coordinates are taken as they stand: no
source says that they count from 1, and the authors' own code treats them as counting from 0.

The authors give each split twice. In their `train.h5` sides are the observer's: who stands with the back to
the camera has left and right swapped (199 and 48 people), so that the left shoulder is always further right
in the picture. FLIC's published scores use these. In `train_personcentric.h5` sides are the person's own; to
read those, put them under the names `train.h5` and `valid.h5` in a folder of their own.
"""

from pathlib import Path

from hourglass.data.mpii import SCALE_PX, SPLITS, read_authors_file
from hourglass.skeleton import FLIC11
from hourglass.structs import PersonRecord

SHARED = ("collateral-disc1-00080111.jpg", "funny-girl-dvd-video-00184641.jpg")
"""Pictures with a person in the train split and another in val."""


def load_records(root: Path, split: str = "train") -> list[PersonRecord]:
    """The people of one split in their file's order; `person_id` is 100 x (`index` + 1) + `person` + 1.

    Raises ValueError or FileNotFoundError, naming the file, the row and what to do, when the annotation file
    is missing or can't be used, or pictures of this split are missing.
    """
    if split not in SPLITS:
        raise ValueError(f"FLIC has no split {split!r}; it has {', '.join(SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the folder that holds FLIC's images/")
    name = f"{SPLITS[split]}.h5"
    file = next((file for file in (root / "annot" / name, root / name) if file.is_file()), None)
    if file is None:
        raise FileNotFoundError(
            f"{root} has no FLIC annotations of the {split} split: none of annot/{name}, {name}"
        )
    people = read_authors_file(file, FLIC11)
    side_px = SCALE_PX * people.scale
    return people.records(root / "images", people.center, side_px, 0, f"FLIC's {split} split")
