"""Arrays of any common kind to RGB: grey, alpha, 16 bits, floats, BGR. Files are `loading.images`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB

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
