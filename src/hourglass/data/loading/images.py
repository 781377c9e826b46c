"""Pictures from files, bytes or arrays of any common kind to RGB arrays."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from hourglass.core.arrays import RGB
from hourglass.core.files import reason

MAX_MEGAPIXELS = 500
"""Larger pictures are refused: a small damaged or hostile file can claim gigabytes."""

_T = Image.Transpose
# EXIF's orientation to what makes the picture upright; 1 is upright already.
_UPRIGHT = {
    2: _T.FLIP_LEFT_RIGHT,
    3: _T.ROTATE_180,
    4: _T.FLIP_TOP_BOTTOM,
    5: _T.TRANSPOSE,
    6: _T.ROTATE_270,
    7: _T.TRANSVERSE,
    8: _T.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

# Pillow's own size limit and Python's warning filters belong to the whole process.
_process_wide = threading.Lock()


class ImageError(ValueError):
    """A picture that can't be read; the message names it."""


def read_image(source: Path | bytes, name: str | None = None) -> npt.NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 RGB, upright by its EXIF orientation.

    Transparency is laid on white, 16 bits a channel are scaled to 8, of an animation the first frame
    counts. Raises ImageError, naming the file (or `name`), when it is missing, empty, cut off, damaged,
    no picture, has float or 32-bit pixels, or has more than `MAX_MEGAPIXELS`.
    """
    label = _label(source, name)
    file = io.BytesIO(source if isinstance(source, bytes) else _read_file(source, label))
    with _opened(file, label) as (image, orientation):
        try:
            image.load()
            upright = image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image
            return np.array(_to_rgb(upright, label))
        except ImageError:
            raise
        except Exception as error:  # a decoder meets any bytes and raises what it likes
            raise ImageError(f"{label} is cut off or damaged ({reason(error)})") from error


def image_size(source: Path | bytes, name: str | None = None) -> tuple[int, int]:
    """Width and height of the upright picture, from its header alone. Raises ImageError as `read_image`."""
    label = _label(source, name)
    if isinstance(source, bytes):
        return _upright_size(io.BytesIO(source), label)
    with _open_file(source, label) as file:
        return _upright_size(file, label)


def stored_size(source: Path | bytes, name: str | None = None) -> tuple[int, int, int]:
    """Width and height of the picture as it is stored, and its EXIF orientation, 1 to 8, 1 being upright.

    Reads the header alone. Raises ImageError as `read_image`.
    """
    label = _label(source, name)
    file = io.BytesIO(source) if isinstance(source, bytes) else _open_file(source, label)
    with file, _opened(file, label) as (image, orientation):
        return *image.size, orientation


def _upright_size(file: BinaryIO, label: str) -> tuple[int, int]:
    with _opened(file, label) as (image, orientation):
        width, height = image.size
        return (height, width) if orientation >= 5 else (width, height)


def _label(source: Path | bytes, name: str | None) -> str:
    return name or ("the picture" if isinstance(source, bytes) else str(source))


def _open_file(path: Path, label: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise ImageError(f"{label} does not exist") from error
    except IsADirectoryError as error:
        raise ImageError(f"{label} is a folder, not a picture") from error
    except OSError as error:
        raise ImageError(f"{label} cannot be opened ({reason(error)})") from error


def _read_file(path: Path, label: str) -> bytes:
    with _open_file(path, label) as file:
        try:
            return file.read()
        except OSError as error:
            raise ImageError(f"{label} cannot be read ({reason(error)})") from error


@contextmanager
def _opened(file: BinaryIO, label: str) -> Iterator[tuple[Image.Image, int]]:
    """The picture with its header read and checked, and its EXIF orientation (1 where it has none)."""
    if not file.read(1):
        raise ImageError(f"{label} is empty (0 bytes)")
    file.seek(0)
    with _process_wide:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            # Odd metadata is no reason to print a warning: what matters here raises.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = Image.open(file)
                orientation = _orientation(image)
        except UnidentifiedImageError as error:
            raise ImageError(f"{label} is not a picture in a format that can be read") from error
        except Exception as error:  # as above: any bytes, any exception
            raise ImageError(f"{label} is cut off or damaged ({reason(error)})") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with image:
        width, height = image.size
        if width * height > MAX_MEGAPIXELS * 1_000_000:
            raise ImageError(
                f"{label} has {width} x {height} pixels, over the limit of {MAX_MEGAPIXELS} million"
            )
        yield image, orientation


def _orientation(image: Image.Image) -> int:
    # Asking for EXIF that isn't in the header would decode the picture, inside the lock.
    if "exif" not in image.info:
        return 1
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # EXIF is written by cameras and mangled by editors; the pixels are good all the same
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image, label: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Pillow's conversion would clip at 255 instead of scaling.
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(f"{label} has 32-bit or float pixels; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, "white"), pixels).convert("RGB")
    return image.convert("RGB")


_PAPER = 255
"""What shows through a transparent pixel: white, as on a page."""


def to_rgb(array: npt.NDArray[Any], bgr: bool = False) -> RGB:
    """An array as (H, W, 3) uint8 RGB, contiguous.

    Args:
        array: (H, W), or (H, W, C) with C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha);
            uint8, bool, uint16 over its full range, or floating in 0..1.
        bgr: the colours come in OpenCV's order.

    Transparent pixels are laid on white. Raises ValueError for another shape, type or range.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 2, 3, 4):
        raise ValueError(f"a picture has the shape (H, W) or (H, W, 1 to 4), not {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"a picture of shape {array.shape} has no pixels")
    pixels = _to_uint8(array)
    has_alpha = pixels.shape[2] in (2, 4)
    alpha = pixels[..., -1:] if has_alpha else None
    colour = pixels[..., :-1] if has_alpha else pixels
    if colour.shape[2] == 1:
        colour = np.repeat(colour, 3, axis=2)
    elif bgr:
        colour = colour[..., ::-1]
    if alpha is not None and not (alpha == 255).all():
        share = alpha.astype(np.float32) / 255
        colour = np.rint(colour * share + _PAPER * (1 - share)).astype(np.uint8)
    return np.ascontiguousarray(colour)


def _to_uint8(array: npt.NDArray[Any]) -> RGB:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return np.where(array, 255, 0).astype(np.uint8)
    if array.dtype == np.uint16:
        return np.asarray(np.rint(array / 257), np.uint8)
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        # A NaN fails this comparison too.
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            raise ValueError(f"a floating picture holds 0 to 1, not {low:g} to {high:g}")
        return np.asarray(np.rint(np.clip(array, 0, 1) * 255), np.uint8)
    raise ValueError(f"a picture holds uint8, uint16, bool or floating numbers, not {array.dtype}")
