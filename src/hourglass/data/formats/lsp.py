"""Leeds Sports Pose: `joints.mat` and `images/im0001.jpg` to `im2000.jpg`.

The file is no smaller sibling of LSPET's: its array is (3, 14, 2000), and a 1 in the third row marks a joint
that is hidden, where LSPET's 1 marks one that is labelled. All 28,000 joints are labelled and finite, and
2,044 of them (7.3 %) marked as hidden.

Left and right are the person's own in the file of the data set (in 33 % of people the right shoulder lies to
the right of the left one). An observer-centric file of the same form is read the same way, and `data.sides`
makes the one of the other.

The data set exists in two sizes: people about 150 px long, and the original photos, with larger people. Take
`joints.mat` and `images/` from the same archive. The box is that of LSPET's reader, so the two agree.
"""

from pathlib import Path

from hourglass.core.structs import PersonRecord
from hourglass.data.formats import leeds
from hourglass.data.formats.annotations import Annotations

SPLITS = {"train": (1, 1000), "test": (1001, 2000)}
"""First and last image number of each split."""

ARCHIVE = leeds.LeedsFile(
    name="LSP",
    other="LSPET",
    form="lsp",
    splits=SPLITS,
    known=f"{' and '.join(SPLITS)}, its first and second thousand people",
    joints_first=False,
    digits=4,
    flag_hides=True,
    not_finite="is not a finite number; LSP labels every joint",
)

photo_name = ARCHIVE.photo_name


def read_joints(file: Path, split: str = "") -> Annotations:
    """The people of `joints.mat`, all or one split's; see `leeds.read_joints`."""
    return leeds.read_joints(ARCHIVE, file, split)


def load_records(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """The people of one split in the order of their photos; visibility is 2, or 1 for a hidden joint.

    Args:
        crop: `box`, or `limbs` for a side after `person_scale.limb_side_px`.
        sides: "" as the file has them, or `observer` (see `left_right.observer_centric`).

    Raises ValueError or FileNotFoundError, naming the file and what to do, when the folder is not LSP,
    `joints.mat` can't be used, or photos of this split are missing.
    """
    people, _ = leeds.people_of_folder(ARCHIVE, root, split)
    return leeds.records_of(people, root, crop, sides)
