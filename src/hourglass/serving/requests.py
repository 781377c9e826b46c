"""A request's body, in any of its three forms, to the pictures and options that it holds. No HTTP here."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from email.parser import BytesHeaderParser
from math import isfinite
from pathlib import PurePosixPath
from typing import Any

from hourglass.serving.settings import Refused, Settings

Rows = tuple[tuple[float, float, float, float], ...]
"""People's boxes: x, y, width, height in the picture's pixels."""

FLAGS = ("heatmaps", "stages", "flip_test")
_Options = dict[str, bool | str]
"""What was asked beside pictures and boxes: flags, and `model`, the name of a network."""
_HEADERS = BytesHeaderParser()
_MOST_MARKS = 40_000
"""Commas and brackets in a JSON body. Far more than pictures and boxes need; each may cost 70 bytes."""


@dataclass(frozen=True)
class Upload:
    """One picture as it came: its file's bytes, people's boxes (None: not told), the client's name for it."""

    content: bytes
    boxes: Rows | None = None
    name: str | None = None


@dataclass(frozen=True)
class Ask:
    """What one request wants.

    Args:
        uploads: one picture at least.
        heatmaps: send every stack's heatmaps.
        stages: send every stack's own joints.
        flip_test: None leaves it to the server.
        model: the network's name; None leaves it to the server.
    """

    uploads: tuple[Upload, ...]
    heatmaps: bool = False
    stages: bool = False
    flip_test: bool | None = None
    model: str | None = None


def read_ask(content_type: str, body: bytes, query: Sequence[tuple[str, str]], settings: Settings) -> Ask:
    """The pictures and options of a request.

    Args:
        content_type: the header; `image/*` or `application/octet-stream` is one picture's file,
            `multipart/form-data` several, `application/json` several in base64.
        query: the pairs behind the question mark.

    Raises Refused with 413, 415 or 422 and a sentence.
    """
    kind, _, parameters = content_type.partition(";")
    kind = kind.strip().lower()
    options, boxes = _read_query(query)
    if kind.startswith("image/") or kind == "application/octet-stream":
        ask = Ask((Upload(body, boxes),))
    elif boxes is not None:
        raise Refused(422, "boxes in the address belong to a single picture that is sent as it is")
    elif kind == "multipart/form-data":
        ask, own = _from_multipart(parameters, body, settings)
        options = {**options, **own}
    elif kind == "application/json":
        ask, own = _from_json(body)
        options = {**options, **own}
    else:
        raise Refused(
            415,
            "send a picture as image/jpeg (or png, webp, gif, bmp), several as multipart/form-data, "
            "or base64 as application/json",
        )
    _check_counts(ask, settings)
    flags = {key: value for key, value in options.items() if isinstance(value, bool)}
    model = options.get("model")
    return Ask(
        ask.uploads,
        flags.get("heatmaps", False),
        flags.get("stages", False),
        flags.get("flip_test"),
        model if isinstance(model, str) else None,
    )


def _check_counts(ask: Ask, settings: Settings) -> None:
    if not ask.uploads:
        raise Refused(422, "the request holds no picture")
    if len(ask.uploads) > settings.max_images:
        raise Refused(
            413, f"the request holds {len(ask.uploads)} pictures; {settings.max_images} is the most"
        )
    boxes = sum(1 if upload.boxes is None else len(upload.boxes) for upload in ask.uploads)
    if boxes > settings.max_boxes:
        raise Refused(413, f"the request asks for {boxes} people; {settings.max_boxes} is the most")


def _read_query(query: Sequence[tuple[str, str]]) -> tuple[_Options, Rows | None]:
    options: _Options = {}
    boxes: Rows | None = None
    for key, text in query:
        if key in (*FLAGS, "model"):
            options[key] = _option(key, text)
        elif key == "boxes":
            boxes = _boxes_of_text(text)
        else:
            known = ", ".join(("boxes", *FLAGS, "model"))
            raise Refused(422, f"the option {_shown(key)} is not one of {known}")
    return options, boxes


def _option(key: str, value: Any) -> bool | str:
    if key != "model":
        return _flag(key, value)
    if not isinstance(value, str):
        raise Refused(422, f"model is {_shown(value)}; it must be a network's name")
    return value


def _boxes_of_text(text: str) -> Rows:
    """`x,y,w,h;x,y,w,h`; nothing at all means nobody."""
    if len(text) > 100_000:
        raise Refused(422, "boxes is far too long")
    parts = [part for part in text.split(";") if part.strip()]
    try:
        return _rows([[float(number) for number in part.split(",")] for part in parts], "boxes")
    except ValueError:
        raise Refused(422, f"boxes must be x,y,w,h;x,y,w,h, not {_shown(text)}") from None


def _rows(raw: Any, where: str) -> Rows:
    """One box or several, as lists of four numbers."""
    if not isinstance(raw, list):
        raise Refused(422, f"{where} must be a list of boxes [x, y, w, h]")
    listed = [raw] if raw and not any(isinstance(row, list) for row in raw) else raw
    rows = []
    for row in listed:
        if not isinstance(row, list) or len(row) != 4:
            raise Refused(422, f"{where} must hold boxes of four numbers, x, y, w, h")
        x, y, w, h = (_number(value, where) for value in row)
        if w <= 0 or h <= 0:
            raise Refused(422, f"{where} holds a box whose width or height is not positive")
        rows.append((x, y, w, h))
    return tuple(rows)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        number = None
    if number is None or not isfinite(number):
        raise Refused(422, f"{where} holds {_shown(value)}, which is not a finite number")
    return number


def _flag(key: str, value: Any) -> bool:
    """True or false, in JSON or in words."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise Refused(422, f"{key} is {_shown(value)}; it must be true or false")


def _from_json(body: bytes) -> tuple[Ask, _Options]:
    # Base64 has none of these, so that they count what the parser would have to build.
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _MOST_MARKS:
        raise Refused(413, "the JSON body holds far more values than pictures and boxes need")
    raw = _loads(body, "the body")
    if not isinstance(raw, dict) or not isinstance(raw.get("images"), list):
        raise Refused(422, 'the JSON body must be {"images": [{"data": base64, "boxes": [[x, y, w, h]]}]}')
    _only(raw, ("images", *FLAGS, "model"), "the body")
    uploads = tuple(_upload(entry, i) for i, entry in enumerate(raw["images"], 1))
    return Ask(uploads), {key: _option(key, raw[key]) for key in (*FLAGS, "model") if key in raw}


def _upload(entry: Any, number: int) -> Upload:
    where = f"picture {number}"
    if isinstance(entry, str):
        entry = {"data": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("data"), str):
        raise Refused(422, f"{where} must have its file, in base64, under 'data'")
    _only(entry, ("data", "boxes", "name"), where)
    name, boxes = entry.get("name"), entry.get("boxes")
    if name is not None and not isinstance(name, str):
        raise Refused(422, f"{where}: name must be text")
    text = entry["data"]
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(422, f"{where}: data is not base64") from None
    return Upload(content, None if boxes is None else _rows(boxes, f"{where}: boxes"), _plain_name(name))


def _from_multipart(parameters: str, body: bytes, settings: Settings) -> tuple[Ask, _Options]:
    uploads: list[Upload] = []
    options: _Options = {}
    boxes: list[Rows | None] | None = None
    for field, name, content in _parts(parameters, body, settings.max_images + len(FLAGS) + 3):
        if name is not None:
            uploads.append(Upload(content, None, _plain_name(name)))
        elif field in (*FLAGS, "model"):
            options[field] = _option(field, content.decode("utf-8", "replace"))
        elif field == "boxes":
            boxes = _boxes_of_field(content)
        else:
            known = ", ".join(("boxes", *FLAGS, "model"))
            raise Refused(
                422, f"the field {_shown(field)} is neither a file nor one of {known}; files need a file name"
            )
    if boxes is not None:
        if len(boxes) != len(uploads):
            raise Refused(
                422, f"boxes has {len(boxes)} entries for {len(uploads)} pictures; null stands for none"
            )
        uploads = [replace(upload, boxes=b) for upload, b in zip(uploads, boxes, strict=True)]
    return Ask(tuple(uploads)), options


def _boxes_of_field(content: bytes) -> list[Rows | None]:
    if len(content) > 100_000:
        raise Refused(413, "the field boxes is far too long")
    raw = _loads(content, "the field boxes")
    if not isinstance(raw, list):
        raise Refused(422, "the field boxes must be a JSON list with one entry for each picture")
    return [None if one is None else _rows(one, f"boxes of picture {i}") for i, one in enumerate(raw, 1)]


def _parts(parameters: str, body: bytes, most: int) -> list[tuple[str, str | None, bytes]]:
    """Field name, file name and content of each part (RFC 7578)."""
    boundary = _HEADERS.parsebytes(f"Content-Type: x/x;{parameters}".encode("latin-1", "replace")).get_param(
        "boundary"
    )
    if not isinstance(boundary, str) or not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise Refused(422, "the multipart body's boundary is missing from the Content-Type")
    line = b"\r\n--" + boundary.encode()
    whole = b"\r\n" + body
    count = whole.count(line)
    if count - 1 > most:
        raise Refused(413, f"the multipart body has {count - 1} parts, more than {most}")
    pieces = whole.split(line)[1:]
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Refused(422, "the multipart body is cut off or doesn't use its boundary")
    return [_part(piece) for piece in pieces[:-1]]


def _part(piece: bytes) -> tuple[str, str | None, bytes]:
    head, found, content = piece.partition(b"\r\n\r\n")
    if not found or len(head) > 8000:
        raise Refused(422, "a part of the multipart body has no head")
    headers = _HEADERS.parsebytes(head.lstrip(b" \t\r\n"))
    field = headers.get_param("name", header="content-disposition")
    if not isinstance(field, str):
        raise Refused(422, "a part of the multipart body has no name")
    return field, headers.get_filename(), content


def _loads(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(422, f"{where} is not JSON") from None


def _only(raw: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in raw:
        if key not in known:
            raise Refused(422, f"{where}: {_shown(key)} is not one of {', '.join(known)}")


def _plain_name(name: str | None) -> str | None:
    """A file's name without folders or control characters; what a client calls a picture is only echoed."""
    if name is None:
        return None
    last = PurePosixPath(name.replace("\\", "/")).name
    plain = "".join(letter for letter in last if letter.isprintable())[:200]
    return plain or None


def _shown(value: Any) -> str:
    """What a client sent, short and harmless enough to be sent back."""
    text = json.dumps(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."
