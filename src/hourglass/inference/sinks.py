"""Where results go: names that don't clash, folders that can be written into, encoded pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.files import reason, write_atomically


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
