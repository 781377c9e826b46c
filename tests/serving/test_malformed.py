"""Requests that nobody should send: only refusals, without a word of this machine, and the server goes on."""

import base64
import io
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

import hourglass

REQUESTS = 2000
HERE = (str(Path(hourglass.__file__).parent), str(Path.home()), "Traceback", "site-packages", "object at 0x")


def saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((24, 24), 60).convert("RGB").save(file, kind)
    return file.getvalue()


GOOD = [saved(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")]


def bomb(side: int) -> bytes:
    """A whole PNG file of one row, whose header promises a square."""
    parts = [(b"IHDR", side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0]))]
    parts += [(b"IDAT", zlib.compress(bytes(1 + side // 8))), (b"IEND", b"")]
    sums = [(name, body, zlib.crc32(name + body)) for name, body in parts]
    chunks = [
        len(body).to_bytes(4, "big") + name + body + sum_.to_bytes(4, "big") for name, body, sum_ in sums
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# Larger than the server allows: in bytes, and in pixels once it is decoded.
HUGE = [GOOD[0] + bytes(120_000), bomb(60_000), bomb(2**31 - 1)]
TYPES = [
    "image/png",
    "image/jpeg",
    "application/octet-stream",
    "application/json",
    "multipart/form-data; boundary=b",
]
TYPES += [
    "multipart/form-data",
    "text/html",
    "",
    "image/svg+xml",
    "application/json; charset=utf-32",
    "image/\xff",
]


def spoilt(content: bytes, cut: int, at: int, junk: bytes) -> bytes:
    """A good file, cut off or with other bytes written into it."""
    content = content[: max(1, cut % len(content))]
    at %= len(content)
    return content[:at] + junk + content[at + len(junk) :]


# By number: hypothesis would print every byte of a list of files.
good = st.integers(0, len(GOOD) - 1).map(lambda number: GOOD[number])
pictures = st.one_of(
    st.binary(max_size=200),
    st.builds(spoilt, good, st.integers(1, 5000), st.integers(0, 5000), st.binary(max_size=30)),
    # Two files at once: one's head, the other's body, and a page or a program behind it.
    st.builds(
        lambda a, n, b, c: a[:n] + b + c,
        good,
        st.integers(2, 40),
        good,
        st.sampled_from([b"", b"<script>alert(1)</script>", b"PK\x03\x04", b"%PDF-1.7", b"\x7fELF"]),
    ),
    st.integers(0, len(HUGE) - 1).map(lambda number: HUGE[number]),
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=10)
    | pictures.map(lambda content: base64.b64encode(content).decode()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["images", "data", "boxes", "name", "stages", "heatmaps", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
documents = st.one_of(
    values,
    st.fixed_dictionaries(
        {"images": st.lists(st.fixed_dictionaries({"data": values, "boxes": values}), max_size=3)}
    ),
).map(lambda value: json.dumps(value).encode())
forms = st.lists(
    st.tuples(
        st.sampled_from(["images", "boxes", "stages", "", 'a"b', "x" * 50]),
        st.sampled_from(["", '; filename="a"', "; filename*=utf-8''%ff", "; filename"]),
        pictures | documents,
    ),
    max_size=4,
).map(
    lambda parts: (
        b"".join(
            b'--b\r\nContent-Disposition: form-data; name="'
            + field.encode()
            + b'"'
            + file.encode()
            + b"\r\n\r\n"
            + content
            + b"\r\n"
            for field, file, content in parts
        )
        + b"--b--\r\n"
    )
)
queries = st.dictionaries(
    st.sampled_from(["boxes", "stages", "heatmaps", "flip_test", "x"]),
    st.text(max_size=12)
    | st.sampled_from(
        ["true", "1", "1,2,3,4", "0,0,1e308,1e308", "-1e308,0,1,1", "nan,0,1,1", ";;", "1,2,3,4;5"]
    ),
    max_size=2,
)


@settings(
    max_examples=REQUESTS,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
@given(body=pictures | documents | forms, kind=st.sampled_from(TYPES), query=queries)
def send(client: Any, counts: dict[int, int], body: bytes, kind: str, query: dict[str, str]) -> None:
    answer = client.post(
        "/v1/pose", params=query, content=body, headers={"Content-Type": kind.encode("latin-1")}
    )
    counts[answer.status_code] = counts.get(answer.status_code, 0) + 1
    assert answer.status_code in (200, 413, 415, 422), answer.text
    assert not any(name in answer.text for name in HERE), answer.text
    if answer.status_code != 200:
        error = answer.json()["error"]
        assert error["status"] == answer.status_code
        assert error["message"]


def test_malformed_requests_are_refused_and_the_server_goes_on(make_client: Any) -> None:
    client = make_client(max_mb=0.1, max_images=4, max_boxes=8, batch_ms=0)
    counts: dict[int, int] = {}
    send(client, counts)
    assert sum(counts.values()) >= REQUESTS
    assert counts[422] > 0.2 * REQUESTS
    assert counts[413] > 0.02 * REQUESTS
    service = client.app.state.service
    assert (service.batcher.inside, service.budget.held, service.batcher.alive) == (0, 0, True)
    good = client.post("/v1/pose", content=GOOD[0], headers={"Content-Type": "image/jpeg"})
    assert good.status_code == 200
    assert 'status="500"' not in client.get("/metrics").text


WHERE_413 = """
[checks.negative_data_rejection]
expected-statuses = [400, 401, 404, 405, 408, 413, 415, 422]
"""


@pytest.mark.parametrize(
    ("phases", "examples", "least"),
    [
        ("examples,coverage", 10, 50),
        pytest.param("examples,coverage,fuzzing", 2200, 2000, marks=pytest.mark.slow),
    ],
)
def test_what_our_openapi_forbids_is_refused(
    start_server: Any, tmp_path: Path, phases: str, examples: int, least: int
) -> None:
    """What schemathesis makes of the server's own document, all of it wrong somewhere."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    server = start_server("--timeout-s", "10")
    (tmp_path / "st.toml").write_text(WHERE_413)
    checks = "not_a_server_error,response_schema_conformance,status_code_conformance,"
    checks += "content_type_conformance,negative_data_rejection"
    line = [sys.executable, "-m", "schemathesis.cli", "--config-file", "st.toml", "run"]
    line += [f"{server.url}/openapi.json", "--seed", "1", "--mode", "negative", "--no-color"]
    line += ["--checks", checks, "--phases", phases, "--max-examples", str(examples)]
    told = subprocess.run(line, capture_output=True, text=True, timeout=1500, cwd=tmp_path)
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-2000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", told.stdout)
    assert counted
    assert int(counted[1]) == int(counted[2]) >= least
    # It still answers, and nothing went wrong inside.
    answers = {path: urlopen(server.url + path, timeout=20).read() for path in ("/readyz", "/metrics")}
    assert answers["/readyz"] == b'{"status":"ready"}'
    assert b'status="5' not in answers["/metrics"]
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


@pytest.mark.slow
def test_a_fuzzer_that_reads_our_openapi_finds_no_mistake(start_server: Any, tmp_path: Path) -> None:
    """What the document allows and what it forbids: every answer is one that it describes."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    server = start_server("--timeout-s", "10")
    line = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", "--seed", "1"]
    line += ["--checks", "not_a_server_error,response_schema_conformance,status_code_conformance"]
    line += ["--max-examples", "600", "--phases", "examples,coverage,fuzzing", "--no-color"]
    told = subprocess.run(line, capture_output=True, text=True, timeout=1500, cwd=tmp_path)
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-2000:]
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()
