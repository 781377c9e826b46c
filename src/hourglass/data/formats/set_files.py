"""Files of a data set: where its annotations lie below its folder, and where its pictures do."""

from collections.abc import Iterable
from pathlib import Path

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2")
"""What a picture may be called instead, first choice first; upper case counts as well."""


_OFFICIAL = "mpii_human_pose_v1_u12_1.mat"

_PLACES = {
    "mpii": (
        "annot/{file}.json",
        "mpii_annotations.json",
        "mpii_annotations.json.gz",
        "annot/{file}.h5",
        "{file}.h5",
        _OFFICIAL,
        f"annot/{_OFFICIAL}",
    ),
    "lsp": ("joints.mat",),
    "lspet": ("joints.mat",),
    "flic": ("annot/{file}.h5", "{file}.h5", "annot/{file}_personcentric.h5", "{file}_personcentric.h5"),
    "coco": ("annotations/person_keypoints_{split}2017.json", "person_keypoints_{split}2017.json"),
    "ap10k": ("annotations/ap10k-{split}-split1.json",),
}
_FILE_OF = {"train": "train", "val": "valid", "test": "test"}


def annotation_places(dataset: str, split: str) -> tuple[str, ...]:
    """Where the annotations of a split may lie below a data set's folder; the first that is there is read.

    MPII's test split is in its own `.mat` alone.
    """
    places = tuple(place.format(split=split, file=_FILE_OF[split]) for place in _PLACES[dataset])
    if dataset == "mpii" and split == "test":
        return places[-2:]
    return places


def first_there(root: Path, places: Iterable[str]) -> str:
    """The first of some places that is a file below a folder; "" for none."""
    return next((place for place in places if (root / place).is_file()), "")


def find_pictures(folder: Path, names: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Each name with the file it stands for, and the names for which there is none.

    A picture that isn't there under its own name is looked for under the same stem with another ending:
    copies that were encoded again, `im00002.webp` for `im00002.jpg`, are common.

    Args:
        names: below the folder, with `/` between folders.
    """
    found: dict[str, Path] = {}
    missing: list[str] = []
    listings: dict[Path, dict[str, str]] = {}
    for name in names:
        path = folder / name
        if path.parent not in listings:
            listings[path.parent] = _by_name(path.parent)
        listing = listings[path.parent]
        if path.name in listing:
            found[name] = path.with_name(listing[path.name])
        elif (other := _under_another_ending(path, listing)) is not None:
            found[name] = other
        else:
            missing.append(name)
    return found, missing


def _by_name(folder: Path) -> dict[str, str]:
    """Names of a folder's files, as they are and with the ending in lower case, to the names as they are."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    return {Path(name).stem + Path(name).suffix.lower(): name for name in names} | {
        name: name for name in names
    }


def _under_another_ending(path: Path, listing: dict[str, str]) -> Path | None:
    """The file of the same stem, where its own ending is a picture's."""
    if path.suffix.lower() not in ENDINGS:
        return None
    others = (listing.get(path.stem + ending) for ending in ENDINGS)
    return next((path.with_name(other) for other in others if other is not None), None)
