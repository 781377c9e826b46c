"""What the user names on the command line, as picture files."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ENDINGS = ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "gif", "ppm", "pgm")
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS)
"""A folder's or glob's files count as pictures by these endings; a file named in full always does."""


def expand(paths: Sequence[str | Path]) -> list[Path]:
    """The picture files behind files, folders (one level) and globs, each once, a folder's in sorted order.

    Raises FileNotFoundError, naming the path, for one that doesn't exist or holds no pictures.
    """
    found: dict[Path, None] = {}
    for path in paths:
        for file in _expand_one(str(path)):
            found.setdefault(file)
    return list(found)


def _expand_one(name: str) -> list[Path]:
    path = Path(name)
    # A name that exists is meant as it stands, brackets and all.
    if path.is_dir():
        pictures = _pictures(path.iterdir())
        if not pictures:
            raise FileNotFoundError(f"the folder {path} holds no pictures ({', '.join(_ENDINGS)})")
        return pictures
    if path.exists():
        return [path]
    if glob.has_magic(name):
        pictures = _pictures(Path(match) for match in glob.glob(name, recursive=True))
        if not pictures:
            raise FileNotFoundError(f"no picture matches {name}")
        return pictures
    raise FileNotFoundError(f"there is no file or folder {name}")


def _pictures(paths: Any) -> list[Path]:
    return sorted(p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
