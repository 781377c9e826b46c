import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from hourglass.cli.serve import serve

app = typer.Typer()
app.command()(serve)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, Any]]:
    """Stands for the loop: what would be served, where, and with which settings."""
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")
    calls: list[tuple[Any, str, Any]] = []

    def run(application: Any, listening: Any, settings: Any) -> None:
        calls.append((application.state.service, listening.getsockname()[0], settings))
        application.state.service.close()

    monkeypatch.setattr("hourglass.serving.run.run", run)
    return calls


def test_the_options_reach_the_server(served: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", "from the environment")
    words = ["hg2_small", "--port", "0", "--precision", "fp32", "--device", "cpu", "--no-flip-test"]
    words += [
        "--max-mb",
        "3",
        "--max-megapixels",
        "4",
        "--max-images",
        "5",
        "--max-boxes",
        "6",
        "--queue",
        "7",
    ]
    words += ["--batch-ms", "8", "--batch-size", "9", "--timeout-s", "10", "--memory-mb", "110"]
    told = CliRunner().invoke(app, words, catch_exceptions=False)
    assert told.exit_code == 0
    assert "hg2_small answers at http://127.0.0.1:" in told.stderr
    assert "anybody" not in told.stderr
    ((service, host, settings),) = served
    assert host == "127.0.0.1"
    assert service.predictor.batch_size == 9
    assert service.predictor.facts.name == "hg2_small"
    limits = (
        settings.max_mb,
        settings.max_megapixels,
        settings.max_images,
        settings.max_boxes,
        settings.queue,
    )
    assert limits == (3, 4, 5, 6, 7)
    assert (settings.batch_ms, settings.timeout_s, settings.memory_mb) == (8, 10, 110)
    assert (settings.flip_test, settings.api_key) == (False, "from the environment")


def test_an_open_door_is_pointed_out(served: list[Any]) -> None:
    told = CliRunner().invoke(app, ["hg2_small", "--port", "0", "--host", "0.0.0.0"], catch_exceptions=False)
    assert "anybody who reaches this address is answered" in told.stderr
    assert served[0][1] == "0.0.0.0"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--max-images", "0"], "--max-images is 0"),
        (["--memory-mb", "1"], "--memory-mb 1 is too little"),
        (["no-such-weights", "--port", "0"], "no weights 'no-such-weights'"),
        (["--port", "0", "--backend", "abacus"], "abacus"),
        (["--port", "0", "--detector", "best"], "there is no detector best"),
        (["--port", "0", "--min-score", "0.5", "--detector", "none"], "--min-score is about the boxes"),
        (["--port", "0", "--host", "300.1.1.1"], "--host 300.1.1.1"),
    ],
)
def test_mistakes_are_told_before_anything_is_served(
    served: list[Any], words: list[str], sentence: str
) -> None:
    told = CliRunner().invoke(app, words)
    assert isinstance(told.exception, ValueError | OSError)
    assert sentence in str(told.exception)
    assert served == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    lacks = r"fastapi, uvicorn, prometheus_client are not installed\): .*\[serve\]"
    with pytest.raises(ValueError, match=lacks):
        serve()


def test_the_help_loads_no_torch() -> None:
    before = set(sys.modules)
    assert CliRunner().invoke(app, ["--help"]).exit_code == 0
    assert "fastapi" not in set(sys.modules) - before


def test_a_detector_reaches_the_server(served: list[Any], tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    from inference.detection.yolox_files import finished_file

    file = finished_file(tmp_path / "yolox.onnx", [(1, 1, 9, 9, 0.7)], [0], 64)
    words = ["hg2_small", "--port", "0", "--detector", str(file), "--min-score", "0.6"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    detector = served[0][0].predictor.detector
    assert (detector.path, detector.min_score) == (file, 0.6)
