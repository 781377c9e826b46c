"""Bodies of requests, bounded in bytes, memory and time, to pictures, checked before they are decoded."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hourglass.data.loading.images import ImageError, image_size, read_image
from hourglass.inference.detection.yolox import DetectorError
from hourglass.inference.predictor import Predictor, Request
from hourglass.serving.requests import Upload
from hourglass.serving.settings import Refused, Settings

KINDS = "JPEG, PNG, WebP, GIF or BMP"
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM")
_LARGEST_BOX = 20
"""A box may be so many times as large as its picture's longer side; more says nothing about a person."""
_BYTES_PER_PIXEL = 9
"""While a picture is decoded: the decoder's own copy, the upright one, and the array."""


class Budget:
    """So many bytes for all requests together; they are promised before they are spent."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        return self._held

    def take(self, count: int) -> None:
        """Promise bytes; raises Refused, with 413 for what could never be had and 503 for what can't now."""
        if count > self.limit:
            raise Refused(
                413, "the pictures would take more memory than this server has for all of its requests"
            )
        with self._lock:
            if self._held + count > self.limit:
                raise Refused(503, "the memory for pictures is taken by other requests; try again", 1)
            self._held += count

    def give_back(self, count: int) -> None:
        with self._lock:
            self._held -= count


def decoded_bytes(uploads: Sequence[Upload], settings: Settings) -> int:
    """What decoding will take, by the files' headers alone.

    Raises Refused (413, 422) for what is no picture or has too many pixels.
    """
    total = 0
    for number, upload in enumerate(uploads, 1):
        width, height = _size(upload, f"picture {number}")
        if width * height > settings.max_megapixels * 1e6:
            raise Refused(
                413,
                f"picture {number} has {width} x {height} pixels; "
                f"{settings.max_megapixels:g} million is the most",
            )
        total += width * height * _BYTES_PER_PIXEL
    return total


def prepare(
    uploads: Sequence[Upload], predictor: Predictor, max_boxes: int = Settings.max_boxes
) -> list[Request]:
    """Decode and check pictures and boxes, and look for people where the predictor has a detector.

    Raises Refused (422) naming the picture, and 413 where more people are found than a request may ask for.
    """
    requests, people = [], 0
    for number, upload in enumerate(uploads, 1):
        requests.append(_prepare(upload, f"picture {number}", predictor))
        people += len(requests[-1].squares)
        if people > max_boxes:
            raise Refused(413, f"{people} people are found up to picture {number}; {max_boxes} is the most")
    return requests


def _size(upload: Upload, where: str) -> tuple[int, int]:
    content = upload.content
    if not content:
        raise Refused(422, f"{where} is empty")
    # Only these: among the formats that Pillow opens are some that call other programs.
    if not content.startswith(_MAGIC) and not (content[:4] == b"RIFF" and content[8:12] == b"WEBP"):
        raise Refused(422, f"{where} is not a {KINDS} file")
    try:
        width, height = image_size(content, where)
    except ImageError as error:
        status = 413 if "over the limit" in str(error) else 422
        raise Refused(status, _without_reason(error)) from error
    if width < 1 or height < 1:
        raise Refused(422, f"{where} has no pixels")
    return width, height


def _prepare(upload: Upload, where: str, predictor: Predictor) -> Request:
    try:
        image = read_image(upload.content, where)
    except ImageError as error:
        raise Refused(422, _without_reason(error)) from error
    longest = _LARGEST_BOX * max(image.shape[:2])
    for box in upload.boxes or ():
        if max(box[2:]) > longest:
            raise Refused(422, f"{where}: a box is more than {_LARGEST_BOX} times as large as the picture")
    try:
        request = predictor.prepare(image, upload.boxes)
    except DetectorError as error:  # no client's fault, and it names a file of ours
        raise RuntimeError("the detector failed") from error
    except ValueError as error:
        raise Refused(422, f"{where}: {error}") from error
    return replace(request, image_id=upload.name)


def _without_reason(error: ImageError) -> str:
    """What was wrong, without the brackets in which the decoder, which may name anything, is quoted."""
    return str(error).partition(" (")[0]


_COPIES = 2
"""A body is held twice: as it came, and as the files that were taken out of it."""


class Loan:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, count: int) -> None:
        """Hold more; raises Refused as `Budget.take` does, with 413 where this request alone is too much."""
        if self._held + count > self._budget.limit:
            self._budget.take(self._budget.limit + 1)
        self._budget.take(count)
        self._held += count

    def give_back(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0


@contextmanager
def loan(budget: Budget) -> Iterator[Loan]:
    """A loan that is paid back when the block ends."""
    made = Loan(budget)
    try:
        yield made
    finally:
        made.give_back()


async def read_body(request: Any, settings: Settings, held: Loan) -> bytes:
    """The whole body of a Starlette request.

    Raises Refused: 400 for a client that left, 408 for a slow one, 413 for a large body, 503 for no memory.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > settings.max_bytes:
        raise _too_large(settings)
    try:
        return await asyncio.wait_for(_collect(request, settings, held), settings.timeout_s)
    except asyncio.TimeoutError:
        raise Refused(408, f"the request took longer than {settings.timeout_s:g} s to arrive") from None


async def _collect(request: Any, settings: Settings, held: Loan) -> bytes:
    from starlette.requests import ClientDisconnect

    chunks, total = [], 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > settings.max_bytes:
                raise _too_large(settings)
            held.take(_COPIES * len(chunk))
            chunks.append(chunk)
    except ClientDisconnect:
        raise Refused(400, "the connection was closed before the request was whole") from None
    return b"".join(chunks)


def _too_large(settings: Settings) -> Refused:
    return Refused(413, f"the request is larger than {settings.max_mb:g} MB")
