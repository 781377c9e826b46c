import io
import struct
import threading
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hourglass.data.loading import images
from hourglass.data.loading.images import ImageError, image_size, read_image

Array = npt.NDArray[Any]

# Four colours, one in each corner, so that every turn and mirroring looks different; 32 wide, 16 high.
CORNERS = ((200, 30, 30), (30, 180, 40), (20, 40, 190), (230, 220, 90))


def quarters(width: int = 32, height: int = 16) -> Array:
    picture = np.zeros((height, width, 3), np.uint8)
    half_h, half_w = height // 2, width // 2
    picture[:half_h, :half_w], picture[:half_h, half_w:] = CORNERS[:2]
    picture[half_h:, :half_w], picture[half_h:, half_w:] = CORNERS[2:]
    return picture


def noise(width: int = 96, height: int = 64) -> Array:
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height)))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_common_formats_give_the_same_rgb(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{kind.lower()}"
    path.write_bytes(
        encoded(Image.fromarray(quarters()), kind, **({"lossless": True} if kind == "WEBP" else {}))
    )
    for source in (path, path.read_bytes()):
        found = read_image(source)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, quarters())
        assert image_size(source) == (32, 16)


def test_the_array_is_ours_to_draw_on() -> None:
    found = read_image(encoded(Image.fromarray(quarters()), "PNG"))
    assert found.flags.writeable
    assert found.flags.c_contiguous


def test_a_file_written_by_opencv_from_bgr_has_red_first(tmp_path: Path) -> None:
    for name in ("picture.png", "picture.bmp"):
        cv2.imwrite(str(tmp_path / name), quarters()[:, :, ::-1])
        np.testing.assert_array_equal(read_image(tmp_path / name), quarters())


@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_matches_opencvs_decoder(progressive: bool) -> None:
    data = encoded(Image.fromarray(noise()), "JPEG", quality=90, progressive=progressive)
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert other is not None
    assert np.abs(read_image(data).astype(int) - other[:, :, ::-1]).max() <= 2


def test_grey_fills_all_three_channels() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = read_image(encoded(Image.fromarray(grey), "PNG"))
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


def test_one_bit_is_black_and_white() -> None:
    bits = np.eye(8, dtype=bool)
    found = read_image(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(found[:, :, 0], bits * 255)


def test_alpha_is_laid_on_white() -> None:
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[0, :, 0] = 100
    picture[0, :, 3] = 0, 128, 255
    found = read_image(encoded(Image.fromarray(picture), "PNG"))
    share = 128 / 255
    half = (100 * share + 255 * (1 - share), 255 * (1 - share), 255 * (1 - share))
    np.testing.assert_allclose(found[0], [(255, 255, 255), half, (100, 0, 0)], atol=1)


def test_grey_with_alpha_is_laid_on_white() -> None:
    picture = np.array([[(10, 0), (10, 255)]], np.uint8)
    found = read_image(encoded(Image.fromarray(picture, "LA"), "PNG"))
    np.testing.assert_array_equal(found[0], [(255,) * 3, (10,) * 3])


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([200, 30, 30, 30, 180, 40, 20, 40, 190])
    image.putdata([0, 1, 2, 1])
    colours = [CORNERS[0], CORNERS[1], CORNERS[2], CORNERS[1]]
    np.testing.assert_array_equal(read_image(encoded(image, "PNG"))[0], colours)
    clear = [(255,) * 3 if c == CORNERS[1] else c for c in colours]
    np.testing.assert_array_equal(read_image(encoded(image, "PNG", transparency=1))[0], clear)
    # Transparency as a table of bytes is what Pillow warns about.
    table = encoded(image, "PNG", transparency=bytes([255, 0, 255]))
    np.testing.assert_array_equal(read_image(table)[0], clear)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(4, 16)
    expected = np.round(ramp / 257).astype(int)
    ok, png = cv2.imencode(".png", ramp)
    assert ok
    tiff = encoded(Image.fromarray(ramp), "TIFF")
    for data in (png.tobytes(), tiff):
        assert np.abs(read_image(data) - expected[:, :, None]).max() <= 1
    colour = np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2)
    ok, png = cv2.imencode(".png", colour[:, :, ::-1])
    assert ok
    assert np.abs(read_image(png.tobytes()).astype(int) - np.round(colour / 257)).max() <= 1


def test_cmyk() -> None:
    # No ink is white, full cyan takes away red.
    image = Image.new("CMYK", (16, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 0), (8, 0, 16, 8))
    found = read_image(encoded(image, "JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(found[4, 2] - (255, 255, 255)).max() < 12
    assert np.abs(found[4, 13] - (0, 255, 255)).max() < 12


# EXIF 2.3, table of the tag 0x0112: where row 0 and column 0 of the stored picture are to be seen.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_is_undone(orientation: int, kind: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](quarters())))
    data = encoded(stored, kind, exif=exif(orientation), **({"quality": 95} if kind != "PNG" else {}))
    found = read_image(data).astype(int)
    assert found.shape == (16, 32, 3)
    assert image_size(data) == (32, 16)
    for (x, y), colour in zip([(4, 4), (28, 4), (4, 12), (28, 12)], CORNERS, strict=True):
        assert np.abs(found[y, x] - colour).max() < 12


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_a_senseless_orientation_is_ignored(orientation: int) -> None:
    data = encoded(Image.fromarray(quarters()), "PNG", exif=exif(orientation))
    np.testing.assert_array_equal(read_image(data), quarters())


def test_mangled_exif_does_not_cost_the_picture() -> None:
    for mangled in (
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0garbage",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12",
    ):
        data = encoded(Image.fromarray(quarters()), "JPEG", quality=95, exif=mangled)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            assert read_image(data).shape == (16, 32, 3)
            assert image_size(data) == (32, 16)
        assert not heard


def test_missing(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"nowhere\.jpg does not exist"):
            read(tmp_path / "nowhere.jpg")


def test_a_folder(tmp_path: Path) -> None:
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match="is a folder, not a picture"):
            read(tmp_path)


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"empty\.jpg is empty"):
            read(tmp_path / "empty.jpg")
    with pytest.raises(ImageError, match=r"^im00001\.jpg is empty"):
        read_image(b"", "im00001.jpg")


def test_not_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("a page of text, not a photo\n" * 20)
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match=r"notes\.jpg is not a picture"):
            read(path)


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8, 0.95])
def test_a_truncated_jpeg_is_an_error(options: dict[str, Any], share: float) -> None:
    data = encoded(Image.fromarray(noise(320, 240)), "JPEG", quality=90, **options)
    with pytest.raises(ImageError, match=r"^im00007\.jpg is "):
        read_image(data[: int(share * len(data))], "im00007.jpg")


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_other_truncated_files_are_errors(kind: str, share: float) -> None:
    grain = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(grain), kind)
    with pytest.raises(ImageError, match=r"^cut is "):
        read_image(data[: int(share * len(data))], "cut")


def test_any_bytes_give_an_image_error_or_a_picture() -> None:
    rng = np.random.default_rng(2)
    whole = [
        encoded(Image.fromarray(noise()), kind) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
    ]
    for data in whole:
        for _ in range(60):
            damaged = bytearray(data)
            for place in rng.integers(0, min(len(data), 600), 4):
                damaged[place] = int(rng.integers(256))
            # Anything but an ImageError fails the test.
            with suppress(ImageError):
                assert read_image(bytes(damaged)).ndim == 3


def test_float_and_32_bit_pixels_are_refused() -> None:
    for dtype in (np.float32, np.int32):
        with pytest.raises(ImageError, match="deep has 32-bit or float pixels"):
            read_image(encoded(Image.fromarray(np.ones((4, 4), dtype)), "TIFF"), "deep")


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def test_more_than_the_limit_is_refused_before_decoding() -> None:
    for read in (read_image, image_size):
        with pytest.raises(ImageError, match="bomb has 30000 x 20000 pixels, over the limit of 500 million"):
            read(png_header(30000, 20000), "bomb")


def test_what_pillow_alone_would_refuse_is_read() -> None:
    # 200 million pixels of one bit: over Pillow's own limit, under ours.
    data = encoded(Image.new("1", (20000, 10000)), "PNG")
    assert image_size(data) == (20000, 10000)
    with Image.open(io.BytesIO(encoded(Image.new("1", (4, 4)), "PNG"))) as image:
        assert image.size == (4, 4)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_large_photo_is_read_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow's limit lowered instead of a photo of 90 million pixels.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(Image.fromarray(quarters()), "PNG")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read_image(data), quarters())
    assert not heard
    assert Image.MAX_IMAGE_PIXELS == 100


def test_our_limit_counts_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("L", (1000, 1001)), "PNG")
    assert read_image(data).shape == (1001, 1000, 3)
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 1)
    with pytest.raises(ImageError, match="1000 x 1001"):
        read_image(data)


def test_threads_leave_pillows_limit_and_the_warning_filters_alone() -> None:
    data = encoded(Image.fromarray(noise()), "JPEG")
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    threads = [threading.Thread(target=lambda: [read_image(data) for _ in range(50)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters
