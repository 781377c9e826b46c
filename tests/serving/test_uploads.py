import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hourglass.inference.predictor import Predictor
from hourglass.serving.requests import Upload
from hourglass.serving.settings import Refused, Settings
from hourglass.serving.uploads import Budget, decoded_bytes, loan, prepare

LIMITS = Settings(max_megapixels=1)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_that_claims(width: int, height: int, content: bytes = b"") -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")


def refusal(
    content: bytes, predictor: Predictor, boxes: tuple[tuple[float, ...], ...] | None = None
) -> Refused:
    uploads = [Upload(content, boxes)]  # type: ignore[arg-type]
    try:
        decoded_bytes(uploads, LIMITS)
        prepare(uploads, predictor)
    except Refused as refused:
        return refused
    raise AssertionError("this should have been refused")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_common_pictures_are_read(kind: str, predictor: Predictor, photo: np.ndarray) -> None:
    content = saved(Image.fromarray(photo), kind)
    assert decoded_bytes([Upload(content)] * 2, LIMITS) == 2 * 9 * 160 * 120
    (request,) = prepare([Upload(content, ((1, 2, 30, 40),), "x.jpg")], predictor)
    assert request.image.shape == photo.shape
    assert request.image_id == "x.jpg"
    assert len(request.squares) == 1


def test_a_bomb_is_refused_by_its_header(predictor: Predictor) -> None:
    # 20,000 x 20,000 zeros are 1.2 GB of pixels in a file of 1.2 MB; nothing of it is decoded.
    for content in (png_that_claims(20_000, 20_000), png_that_claims(2**31 - 1, 2**31 - 1)):
        refused = refusal(content, predictor)
        assert refused.status == 413
        assert "pixels" in refused.message
    jpeg = bytearray(saved(Image.new("RGB", (16, 16)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 65_000, 65_000)
    assert refusal(bytes(jpeg), predictor).status == 413


def test_what_is_no_picture_is_refused(predictor: Predictor) -> None:
    gif = saved(Image.new("RGB", (8, 8)), "GIF")
    for content, words in (
        (b"", "picture 1 is empty"),
        (b"hello", "not a JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "not a JPEG, PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a JPEG, PNG"),
        (saved(Image.new("RGB", (8, 8)), "TIFF"), "not a JPEG, PNG"),
        (b"\xff\xd8\xff", "picture 1"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "picture 1"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "picture 1"),
        (b"BM" + b"\0" * 60, "picture 1"),
        (gif[:20], "picture 1"),
        (saved(Image.effect_noise((64, 64), 90), "JPEG")[:-600], "cut off or damaged"),
        (png_that_claims(8, 8, b"short"), "cut off or damaged"),
    ):
        refused = refusal(content, predictor)
        assert refused.status == 422
        assert words in refused.message
        assert "0x" not in refused.message
        assert "(" not in refused.message


def test_a_file_that_is_two_things_is_read_as_a_picture_or_refused(predictor: Predictor) -> None:
    gif = saved(Image.new("RGB", (8, 8)), "GIF") + b"<script>alert(1)</script>PK\x03\x04"
    assert prepare([Upload(gif)], predictor)[0].image.shape == (8, 8, 3)
    # The head of one kind and the body of another.
    jpeg = saved(Image.new("RGB", (8, 8)), "JPEG")
    assert refusal(b"\x89PNG\r\n\x1a\n" + jpeg, predictor).status == 422


def test_boxes_are_checked_against_their_picture(predictor: Predictor, png: bytes) -> None:
    assert "lies outside" in refusal(png, predictor, ((500, 0, 10, 10),)).message
    for box in ((0, 0, 1e300, 1e300), (-1e9, -1e9, 2e9, 2e9)):
        assert "20 times as large" in refusal(png, predictor, (box,)).message
    tiny = ((5.0, 5.0, 1e-300, 1e-300),)
    (poses,) = predictor.answer(prepare([Upload(png, tiny)], predictor))
    assert np.isfinite(poses[0].keypoints).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1)])
def test_odd_shapes_are_answered(size: tuple[int, int], predictor: Predictor) -> None:
    content = saved(Image.new("RGB", size), "PNG")
    (poses,) = predictor.answer(prepare([Upload(content)], predictor))
    assert np.isfinite(poses[0].keypoints).all()


def test_memory_is_promised_and_given_back() -> None:
    budget = Budget(100)
    with loan(budget) as first, loan(budget) as second:
        first.take(60)
        with pytest.raises(Refused) as full:
            second.take(50)
        assert (full.value.status, full.value.retry_s) == (503, 1)
        second.take(40)
        with pytest.raises(Refused) as never:
            first.take(41)
        assert never.value.status == 413
        assert budget.held == 100
    assert budget.held == 0


def test_settings_that_cannot_be_are_named() -> None:
    for option, value in (
        ("max_mb", 0.0),
        ("max_megapixels", float("nan")),
        ("max_images", 0),
        ("max_boxes", 0),
        ("queue", 0),
        ("batch_size", 0),
        ("timeout_s", -1.0),
        ("memory_mb", 2.0),
        ("batch_ms", -1.0),
        ("api_key", "schlüssel"),
    ):
        with pytest.raises(ValueError, match="--" + option.replace("_", "-")):
            Settings(**{option: value})  # type: ignore[arg-type]
