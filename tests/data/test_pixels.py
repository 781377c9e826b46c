import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hourglass.data.images import ImageError
from hourglass.data.pixels import read_rgb, to_rgb

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


def test_sixteen_bits_of_grey_are_scaled_not_clipped(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(levels).save(tmp_path / "deep.tif")
    for name in ("deep.png", "deep.tif"):
        np.testing.assert_array_equal(read_rgb(tmp_path / name)[0, :, 1], [0, 1, 128, 255])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_common_mode_of_a_file_is_read(tmp_path: Path, mode: str) -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:, 4:] = 255
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.fromarray(rgb).convert(mode).save(path)
    np.testing.assert_array_equal(read_rgb(path), rgb)


@pytest.mark.parametrize(
    ("orientation", "turns", "mirrored"), [(1, 0, 0), (3, 2, 0), (6, 3, 0), (8, 1, 0), (2, 0, 1)]
)
def test_exif_rotation_is_undone(orientation: int, turns: int, mirrored: int) -> None:
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    shown = np.fliplr(stored) if mirrored else np.rot90(stored, turns)
    np.testing.assert_array_equal(read_rgb(buffer.getvalue()), shown)


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, "JPEG"
    )
    return buffer.getvalue()


def bomb() -> bytes:
    """A PNG that says it has four hundred million pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a picture"),
        (b"hello", "not a picture"),
        (jpeg()[: len(jpeg()) // 2], "truncated"),
        (bomb(), "too many pixels"),
    ],
)
def test_a_broken_file_is_one_error_that_names_it(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"broken\.jpg: .*{message}"):
        read_rgb(path)


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: No such file"):
        read_rgb(tmp_path / "none.png")
    with pytest.raises(ImageError, match="directory"):
        read_rgb(tmp_path)


def test_large_photos_are_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow warns above its limit, here set low, and refuses above twice the limit.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    buffer = io.BytesIO()
    Image.new("L", (40, 45), 7).save(buffer, "PNG")
    assert read_rgb(buffer.getvalue()).shape == (45, 40, 3)
