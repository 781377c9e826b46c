"""Detectors by name: downloaded once from a server on this machine, checked, and taken from the cache."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from file_server import Shelf, served
from hourglass.data.download import fetch
from hourglass.data.download.fetch import FetchError
from hourglass.inference.detection import detectors
from hourglass.inference.detection.detectors import DETECTORS, cache_folder, detector_file, load_detector
from inference.detection.yolox_files import finished_file

DETS = [(10, 20, 50, 100, 0.9)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOURGLASS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "PAUSE_S", 0.001)
    return tmp_path / "cache" / "detectors"


def on_the_shelf(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    content = finished_file(tmp_path / "made.onnx", DETS, [0]).read_bytes()
    shelf.files["/yolox_tiny.onnx"] = content
    monkeypatch.setitem(detectors.DETECTORS, "yolox-tiny", shelf.file("yolox_tiny.onnx", content))
    return content


def test_a_name_is_downloaded_once_and_then_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    told: list[str] = []
    with served() as shelf:
        content = on_the_shelf(shelf, tmp_path, monkeypatch)
        shelf.cuts = [50]  # the connection breaks once, and goes on from there
        detector = load_detector("yolox-tiny", progress=lambda what, done, total: told.append(what))
        boxes, _ = detector(np.zeros((640, 640, 3), np.uint8))
        np.testing.assert_allclose(boxes, [[10, 20, 40, 80]])
        assert (cache / "yolox_tiny.onnx").read_bytes() == content
        assert [path for path, _, _ in shelf.asked] == ["/yolox_tiny.onnx"] * 2
        assert told[0] == "fetching yolox_tiny.onnx"
        load_detector("yolox-tiny")
        assert len(shelf.asked) == 2
    # Now without a server.
    assert detector_file("yolox-tiny") == cache / "yolox_tiny.onnx"


def test_another_file_than_the_one_that_is_known_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    with served() as shelf:
        content = on_the_shelf(shelf, tmp_path, monkeypatch)
        shelf.files["/yolox_tiny.onnx"] = content[:-1] + b"!"
        with pytest.raises(
            FetchError, match=r"has the sha256 .* where .* is expected.*--detector yolox_tiny\.onnx"
        ):
            load_detector("yolox-tiny")
        assert not (cache / "yolox_tiny.onnx").exists()
        (cache / "yolox_tiny.onnx").write_bytes(content[:-1] + b"!")
        with pytest.raises(
            FetchError, match=r"yolox_tiny\.onnx has the sha256 .* delete it, and it is downloaded"
        ):
            load_detector("yolox-tiny")


def test_without_a_connection_the_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    gone = replace(DETECTORS["yolox-nano"], address="http://127.0.0.1:9/yolox_nano.onnx")
    monkeypatch.setitem(detectors.DETECTORS, "yolox-nano", gone)
    with pytest.raises(
        FetchError, match=r"could not be had: .*A file that you have is taken as well: --detector"
    ):
        load_detector("yolox-nano")
    assert list(cache.iterdir()) == []


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = finished_file(tmp_path / "mine.onnx", DETS, [0])
    assert detector_file(path) == path
    assert len(load_detector(str(path))(np.zeros((640, 640, 3), np.uint8))[0]) == 1
    with pytest.raises(
        FileNotFoundError, match="no detector yolov9: give weights of a people finder, an ONNX file"
    ):
        load_detector("yolov9")


def test_the_cache_lies_where_caches_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "detectors"
    monkeypatch.delenv("HOURGLASS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "hourglass" / "detectors"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "hourglass" / "detectors"


def test_the_table_names_whole_files() -> None:
    for name, file in DETECTORS.items():
        assert file.name == f"{name.replace('-', '_')}.onnx"
        assert file.address.startswith("https://github.com/Megvii-BaseDetection/YOLOX/releases/download/")
        assert file.size
        assert len(file.sha256) == len(hashlib.sha256().hexdigest())
