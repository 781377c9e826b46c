"""LSP and LSPET together, as scores on LSP are trained: the folders `lsp/` and `lspet/` of one root.

`train` is LSP's first thousand followed by everybody whom LSPET's `joints.mat` holds (10,000 in the full
archive), `test` is LSP's second thousand. There is no val split: set one aside by `data.val_split=test`, or
train on `lsp` or `lspet` alone.
"""

from dataclasses import replace
from pathlib import Path

from hourglass.core.structs import PersonRecord
from hourglass.data.formats import lsp, lspet

SPLITS = ("train", "test")

LSPET_FROM = 100_000
"""Added to LSPET's `person_id`, which is its photo number as LSP's is."""


def load_records(root: Path, split: str = "train", crop: str = "box", sides: str = "") -> list[PersonRecord]:
    """The people of one split; `image_id` is the photo below the root, without `images/`.

    A photo that is missing is an error if its person is in `joints.mat`; both files may end early.

    Args:
        crop: `box`, or `limbs` for a side after `person_scale.limb_side_px`.
        sides: "" as the files have them, or `observer` (see `left_right.observer_centric`).

    Raises ValueError or FileNotFoundError, naming the file and what to do.
    """
    if split not in SPLITS:
        raise ValueError(f"LSP with LSPET has no split {split!r}; it has {' and '.join(SPLITS)}")
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the one that holds lsp/ and lspet/")
    people = [_named(r, "lsp") for r in lsp.load_records(root / "lsp", split, crop, sides)]
    if split == "train":
        more = lspet.load_records(root / "lspet", "all", crop, sides)
        people += [_named(replace(r, person_id=LSPET_FROM + r.person_id), "lspet") for r in more]
    return people


def _named(record: PersonRecord, folder: str) -> PersonRecord:
    return replace(record, image_id=f"{folder}/{record.image_id}")
