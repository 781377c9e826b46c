from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hourglass.data.loading.images import to_rgb

Array = npt.NDArray[Any]


def test_colour_orders_depths_and_channels_come_out_as_rgb() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    solid = np.full((4, 5, 1), 255, np.uint8)
    for array, bgr in (
        (rgb, False),
        (rgb[..., ::-1], True),
        (np.dstack([rgb, solid]), False),
        (np.dstack([rgb[..., ::-1], solid]), True),
        (rgb.astype(np.uint16) * 257, False),
        (rgb.astype(np.float64) / 255, False),
        (rgb.astype(np.float16) / 255, False),
    ):
        out = to_rgb(array, bgr)
        assert out.dtype == np.uint8
        assert out.flags.c_contiguous
        assert np.abs(out.astype(int) - rgb).max() <= (1 if array.dtype == np.float16 else 0)
    grey = rgb[..., 0]
    expected = np.stack([grey] * 3, -1)
    for array in (grey, grey[..., None], np.stack([grey, solid[..., 0]], -1)):
        np.testing.assert_array_equal(to_rgb(array), expected)
    np.testing.assert_array_equal(to_rgb(grey > 100)[..., 1], np.where(grey > 100, 255, 0))


def test_transparency_is_laid_on_white() -> None:
    pixels = np.array([[[200, 0, 0, 0], [200, 0, 0, 255], [0, 0, 0, 128]]], np.uint8)
    np.testing.assert_array_equal(to_rgb(pixels)[0], [[255, 255, 255], [200, 0, 0], [127, 127, 127]])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"not \(3, 8, 8\)"),
        (np.zeros(5, np.uint8), r"not \(5,\)"),
        (np.zeros((0, 8, 3), np.uint8), "no pixels"),
        (np.full((2, 2, 3), 255.0), "0 to 1, not 255 to 255"),
        (np.full((2, 2, 3), np.nan), "0 to 1, not nan"),
        (np.zeros((2, 2, 3), np.int64), "not int64"),
    ],
)
def test_what_is_no_picture_is_refused(array: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_rgb(array)
