"""onnxruntime-web from a registry, a cache, a tarball and a folder; here a small package of that name."""

import base64
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from file_server import Shelf, served
from hourglass.data.download import fetch
from hourglass.web.browser import runtime
from hourglass.web.browser.runtime import RuntimeUnavailable, runtime_files

CONTENTS = {
    "dist/ort.wasm.bundle.min.mjs": b"export default 1;",
    "dist/ort-wasm-simd-threaded.wasm": b"\0asm",
    "dist/ort.webgpu.bundle.min.mjs": b"export default 2;",
    "dist/ort-wasm-simd-threaded.asyncify.wasm": b"\0asm-gpu",
}
PATH = f"/{runtime.NAME}/-/{runtime.NAME}-{runtime.VERSION}.tgz"


def package(version: str = runtime.VERSION, name: str = runtime.NAME) -> dict[str, bytes]:
    return {"package.json": json.dumps({"name": name, "version": version}).encode(), **CONTENTS}


def tarball(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The pinned checksums become those of a package that takes no time."""
    files = {
        here: (there, hashlib.sha256(CONTENTS[there]).hexdigest())
        for here, (there, _) in runtime.FILES.items()
    }
    good = tarball(package())
    monkeypatch.setattr(runtime, "FILES", files)
    monkeypatch.setattr(runtime, "SIZE", len(good))
    digest = base64.b64encode(hashlib.sha512(good).digest()).decode()
    monkeypatch.setattr(runtime, "INTEGRITY", f"sha512-{digest}")
    monkeypatch.setattr(fetch, "PAUSE_S", 0.0)
    return good


def offer(shelf: Shelf, content: bytes) -> str:
    shelf.files[PATH] = content
    return f"http://127.0.0.1:{shelf.port}"


def assert_right(files: dict[str, bytes]) -> None:
    assert files == {
        "ort.js": CONTENTS["dist/ort.wasm.bundle.min.mjs"],
        "ort.wasm": CONTENTS["dist/ort-wasm-simd-threaded.wasm"],
        "ort_webgpu.js": CONTENTS["dist/ort.webgpu.bundle.min.mjs"],
        "ort_webgpu.wasm": CONTENTS["dist/ort-wasm-simd-threaded.asyncify.wasm"],
    }


def test_it_is_fetched_once(small: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with served() as shelf:
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", offer(shelf, small))
        assert_right(runtime_files(progress=told.append))
        assert_right(runtime_files())
        assert [path for path, _, _ in shelf.asked] == [PATH]
    assert "onnxruntime-web" in told[0]
    assert told[-1].endswith("100 %")
    assert_right(runtime_files())  # the server is gone
    kept = tmp_path / "hourglass" / f"onnxruntime-web-{runtime.VERSION}.tgz"
    kept.write_bytes(small[:-9])
    with pytest.raises(RuntimeUnavailable, match=r"could not be had.*--runtime"):
        runtime_files()  # what was damaged on the disk is asked for again


def test_what_a_registry_can_get_wrong(small: bytes, tmp_path: Path) -> None:
    with served() as shelf:
        address = offer(shelf, bytes([*small[:50], small[50] ^ 1, *small[51:]]))
        with pytest.raises(RuntimeUnavailable, match=r"npm's checksum.*--runtime"):
            runtime_files(registry=address, cache=tmp_path)
        assert list(tmp_path.iterdir()) == []
        offer(shelf, small[:-5])
        with pytest.raises(RuntimeUnavailable, match=r"another file.*--runtime"):
            runtime_files(registry=address, cache=tmp_path)
        del shelf.files[PATH]
        with pytest.raises(RuntimeUnavailable, match=r"404.*--runtime"):
            runtime_files(registry=address, cache=tmp_path)
        # A connection that breaks is taken up again.
        offer(shelf, small)
        shelf.cuts = [20]
        assert_right(runtime_files(registry=address, cache=tmp_path))
    with pytest.raises(RuntimeUnavailable, match="no http address"):
        runtime_files(registry="file:///etc", cache=tmp_path / "other")


def test_a_local_copy_needs_no_connection(small: bytes, tmp_path: Path) -> None:
    (tmp_path / "ort.tgz").write_bytes(small)
    assert_right(runtime_files(tmp_path / "ort.tgz"))
    for place in ("flat", "npm/node_modules/onnxruntime-web", "unpacked/package"):
        for name, content in package().items():
            path = tmp_path / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert_right(runtime_files(tmp_path / place.split("/")[0]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "cut off, damaged, or no tarball"),
        (b"no tarball", "cut off, damaged, or no tarball"),
        (tarball(package())[:120], "cut off, damaged, or no tarball"),
        (tarball(package("1.2.3")), "is onnxruntime-web 1.2.3; the page was made for"),
        (tarball(package(name="other")), "is other"),
        (tarball({"readme": b"hello"}), "it has no package.json"),
        (tarball({"package.json": b"[1"}), "package.json is damaged"),
        (tarball({"package.json": b"[1]"}), "package.json is damaged"),
        (
            tarball({**package(), "dist/ort.wasm.bundle.min.mjs": b"evil()"}),
            "is damaged, or not what npm has",
        ),
    ],
)
def test_local_copies_that_are_none(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "ort.tgz"
    path.write_bytes(content)
    with pytest.raises(RuntimeUnavailable, match=says) as told:
        runtime_files(path)
    assert str(path) in str(told.value)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"it has no package.json"):
        runtime_files(tmp_path)
    with pytest.raises(RuntimeUnavailable, match="there is no"):
        runtime_files(tmp_path / "missing")


def test_without_npm_the_registry_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeUnavailable, match="set NPM_CONFIG_REGISTRY"):
        runtime_files(cache=tmp_path / "cache")
