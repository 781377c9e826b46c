import base64
import json

import pytest

from hourglass.serving.requests import Ask, Upload, read_ask
from hourglass.serving.settings import Refused, Settings

LIMITS = Settings(max_images=3, max_boxes=4)
CRLF = b"\r\n"


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def asked(body: object, kind: str = "application/json", **query: str) -> Ask:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_ask(kind, raw, list(query.items()), LIMITS)


def form(*parts: tuple[str, str | None, bytes], boundary: str = "XyZ") -> tuple[bytes, str]:
    lines = b""
    for field, name, content in parts:
        file = "" if name is None else f'; filename="{name}"'
        head = f'Content-Disposition: form-data; name="{field}"{file}'.encode()
        lines += b"--" + boundary.encode() + CRLF + head + CRLF + CRLF + content + CRLF
    return lines + b"--" + boundary.encode() + b"--" + CRLF, f'multipart/form-data; boundary="{boundary}"'


def test_a_picture_as_it_is() -> None:
    for kind in ("image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream"):
        assert asked(b"abc", kind) == Ask((Upload(b"abc"),))
    ask = asked(b"abc", "image/png", boxes="1,2,3,4;5,6,7.5,8e1", stages="true", heatmaps="0", flip_test="1")
    assert [list(box) for box in ask.uploads[0].boxes or ()] == [[1, 2, 3, 4], [5, 6, 7.5, 80]]
    assert ask.stages
    assert not ask.heatmaps
    assert ask.flip_test is True
    assert asked(b"abc", "image/png", boxes="").uploads[0].boxes == ()


def test_json_with_base64() -> None:
    ask = asked(
        {
            "images": [
                {"data": b64(b"one"), "boxes": [[1, 2, 3, 4]], "name": "../../x/one.jpg"},
                {"data": "data:image/png;base64," + b64(b"two"), "boxes": None},
                b64(b"three"),
            ],
            "stages": True,
            "flip_test": False,
        },
        heatmaps="true",
    )
    assert [u.content for u in ask.uploads] == [b"one", b"two", b"three"]
    assert [u.boxes for u in ask.uploads] == [((1, 2, 3, 4),), None, None]
    assert [u.name for u in ask.uploads] == ["one.jpg", None, None]
    assert (ask.stages, ask.heatmaps, ask.flip_test) == (True, True, False)


def test_the_body_has_the_last_word_on_options() -> None:
    assert not asked({"images": [b64(b"x")], "stages": False}, stages="true").stages


def test_multipart_with_several_files() -> None:
    body, kind = form(
        ("images", "a b.jpg", b"one\r\n--not the boundary"),
        ("boxes", None, b"[[[1,2,3,4],[5,6,7,8]], null]"),
        ("stages", None, b"true"),
        ("images", "C:\\photos\\b.png", b""),
    )
    ask = asked(body, kind)
    assert [u.content for u in ask.uploads] == [b"one\r\n--not the boundary", b""]
    assert [u.boxes for u in ask.uploads] == [((1, 2, 3, 4), (5, 6, 7, 8)), None]
    assert [u.name for u in ask.uploads] == ["a b.jpg", "b.png"]
    assert ask.stages


ONE = {"data": b64(b"x")}
REFUSED_JSON: list[tuple[object, int, str]] = [
    (b"", 422, "not JSON"),
    (b"\xff\xfe\x00", 422, "not JSON"),
    (b"[" * 30_000, 422, "not JSON"),
    (b"[" * 100_000, 413, "far more values"),
    ([], 422, "must be"),
    ({"images": "x"}, 422, "must be"),
    ({"images": []}, 422, "no picture"),
    ({"images": [ONE] * 4}, 413, "4 pictures; 3 is the most"),
    ({"images": [{**ONE, "boxes": [[1, 2, 3, 4]] * 5}]}, 413, "5 people; 4 is the most"),
    ({"images": [ONE], "sizes": 3}, 422, '"sizes" is not one of'),
    ({"images": [{**ONE, "box": []}]}, 422, 'picture 1: "box" is not one of'),
    ({"images": [{"data": 3}]}, 422, "picture 1 must have its file"),
    ({"images": [3]}, 422, "picture 1 must have its file"),
    ({"images": [{"data": "%%%"}]}, 422, "data is not base64"),
    ({"images": [{"data": "ü"}]}, 422, "data is not base64"),
    ({"images": [{**ONE, "name": 3}]}, 422, "name must be text"),
    ({"images": [{**ONE, "boxes": 3}]}, 422, "must be a list of boxes"),
    ({"images": [{**ONE, "boxes": [[1, 2, 3]]}]}, 422, "four numbers"),
    ({"images": [{**ONE, "boxes": [[1, 2, 3, 4], 5]}]}, 422, "four numbers"),
    ({"images": [{**ONE, "boxes": [[1, 2, "3", 4]]}]}, 422, "not a finite number"),
    ({"images": [{**ONE, "boxes": [[1, 2, True, 4]]}]}, 422, "not a finite number"),
    ({"images": [{**ONE, "boxes": [[1, 2, float("nan"), 4]]}]}, 422, "not a finite number"),
    ({"images": [{**ONE, "boxes": [[1, 2, 10**400, 4]]}]}, 422, "not a finite number"),
    ({"images": [{**ONE, "boxes": [[1, 2, 0, 4]]}]}, 422, "not positive"),
    ({"images": [ONE], "stages": 1}, 422, "must be true or false"),
]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED_JSON)
def test_malformed_json_is_refused_in_a_sentence(body: object, status: int, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        asked(body)
    assert refused.value.status == status


def test_malformed_queries_are_refused() -> None:
    for query, words in (
        ({"boxes": "1,2,3"}, "four numbers"),
        ({"boxes": "1,2,x,4"}, "x,y,w,h;x,y,w,h, not"),
        ({"boxes": "1,2,inf,4"}, "finite"),
        ({"boxes": "9" * 200_000}, "too long"),
        ({"stages": "yes"}, "must be true or false"),
        ({"speed": "9"}, '"speed" is not one of boxes'),
    ):
        with pytest.raises(Refused, match=words) as refused:
            asked(b"x", "image/png", **query)
        assert refused.value.status == 422
    with pytest.raises(Refused, match="belong to a single picture"):
        asked({"images": [ONE]}, boxes="1,2,3,4")


def test_malformed_multipart_is_refused() -> None:
    body, kind = form(("images", "a.png", b"x"))
    many = form(*[("images", "a.png", b"x")] * 30)
    for bad, bad_kind, status, words in (
        (body, "multipart/form-data", 422, "boundary is missing"),
        (body, "multipart/form-data; boundary=", 422, "boundary is missing"),
        (body, "multipart/form-data; boundary=" + "x" * 100, 422, "boundary is missing"),
        (body, "multipart/form-data; boundary=other", 422, "cut off"),
        (body[:-8], kind, 422, "cut off"),
        (b"", kind, 422, "cut off"),
        (body.replace(CRLF + CRLF, CRLF), kind, 422, "no head"),
        (body.replace(b"Content-Disposition", b"Content-Dispossessed"), kind, 422, "no name"),
        (*many, 413, "parts, more than"),
        (*form(("size", None, b"3")), 422, '"size" is neither a file'),
        (*form(("images", "a.png", b"x"), ("boxes", None, b"[null, null]")), 422, "2 entries for 1 pictures"),
        (*form(("images", "a.png", b"x"), ("boxes", None, b"{}")), 422, "JSON list"),
        (*form(("images", "a.png", b"x"), ("boxes", None, b"[")), 422, "not JSON"),
        (*form(("stages", None, b"true")), 422, "no picture"),
    ):
        with pytest.raises(Refused, match=words) as refused:
            asked(bad, bad_kind)
        assert refused.value.status == status


def test_other_content_types_are_refused() -> None:
    for kind in ("", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=a"):
        with pytest.raises(Refused, match="send a picture as") as refused:
            asked(b"x", kind)
        assert refused.value.status == 415
