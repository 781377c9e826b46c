"""Pictures in and results out: paths to files, names that don't clash, folders that can be written into."""

import glob
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.files import reason, write_atomically

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


def output_names(files: Sequence[Path]) -> list[str]:
    """A name for each picture's results: its stem, with its folders or a number where two would clash."""
    names: list[str] = []
    taken: set[str] = set()
    stems = Counter(file.stem.lower() for file in files)
    for file in files:
        name = file.stem
        if stems[name.lower()] > 1:
            name = "_".join([*(p for p in file.parts[-3:-1] if p.strip("./\\")), file.stem])
        number, base = 2, name
        while name.lower() in taken:
            name, number = f"{base}-{number}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def output_folder(path: Path) -> None:
    """Make a folder for results; raises OSError, in one sentence, when that can't be written into."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".hourglass-probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(f"cannot write into {path}: {reason(error)}") from error


def write_picture(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """Write an RGB picture in the format of its ending, atomically; raises OSError naming the file."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    good, coded = cv2.imencode(
        path.suffix, np.ascontiguousarray(image[..., ::-1]), options if path.suffix == ".jpg" else []
    )
    if not good:
        raise OSError(f"cannot write {path}: OpenCV can't encode a picture of {image.shape}")

    def write(part: Path) -> None:
        part.write_bytes(coded.tobytes())

    write_atomically(path, write)
