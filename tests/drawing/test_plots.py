import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hourglass.drawing.plots import reliability_diagram, training_curve
from hourglass.weights.calibration import reliability

Rows = list[dict[str, Any]]


def log(stages: int = 2, val: bool = True) -> Rows:
    rows: Rows = []
    for step in range(0, 200, 10):
        terms = {f"stage_{i + 1}": 0.003 / (step + 10) * (i + 1) for i in range(stages)}
        loss = sum(terms.values()) or 0.01
        rows.append({"kind": "train", "step": step, "epoch": step / 50, "loss": loss, **terms, "lr": 1e-3})
        if val and step % 50 == 0:
            rows.append({"kind": "val", "step": step, "PCK@0.2": step / 4})
    return rows


def pixels(path: Path) -> Any:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_curve_is_a_wide_picture_with_colour_in_it(tmp_path: Path) -> None:
    training_curve(log(), tmp_path / "curve.png", "a run")
    image = pixels(tmp_path / "curve.png")
    assert image.shape[1] > 2 * image.shape[0]
    assert image.shape[1] >= 1200
    # The loss is blue on the left, the score orange on the right.
    half = image.shape[1] // 2
    blue = (image[..., 2] - image[..., 0] > 120).sum(0)
    orange = (image[..., 0] - image[..., 2] > 120).sum(0)
    assert blue[:half].sum() > 500 > blue[half:].sum()
    assert orange[half:].sum() > 500 > orange[:half].sum()


def test_the_picture_depends_on_the_log_and_on_nothing_else(tmp_path: Path) -> None:
    training_curve(log(), tmp_path / "a.png")
    training_curve(log(), tmp_path / "b.png")
    training_curve(log(stages=1), tmp_path / "c.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize(
    "rows",
    [
        log(val=False),
        log(stages=0),
        log(stages=12),
        log()[:1],
        [{"kind": "train", "step": 0, "loss": 0.0}],
        [{"kind": "train", "step": 5, "loss": 0.1}, {"kind": "note", "text": "resumed"}],
        [*log(), {"kind": "val", "step": 200, "PCK@0.2": None, "loss": 0.01}],
        [*log(), {"kind": "val", "step": 200, "PCK@0.1": 30.0, "PCK@0.2": 70.0, "loss": 0.01}],
        [*log(), {"kind": "train", "step": 200, "loss": float("nan"), "lr": 0.0}],
    ],
    ids=["no val", "no stages", "many stages", "one", "zero", "bare", "no score", "two scores", "nan"],
)
def test_a_log_need_not_be_complete(tmp_path: Path, rows: Rows) -> None:
    training_curve(rows, tmp_path / "curve.png")
    assert pixels(tmp_path / "curve.png").min() < 128


@pytest.mark.parametrize(
    ("name", "start"),
    [("c.png", b"\x89PNG"), ("c.pdf", b"%PDF"), ("c.svg", b"<?xml"), ("c.part", b"\x89PNG")],
)
def test_the_ending_chooses_the_format(tmp_path: Path, name: str, start: bytes) -> None:
    training_curve(log(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_log_without_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no training step"):
        training_curve([{"kind": "val", "step": 1, "PCK@0.2": 3.0}], tmp_path / "curve.png")


def test_a_place_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone"):
        training_curve(log(), tmp_path / "gone" / "curve.png")


def test_drawing_leaves_pyplot_alone() -> None:
    code = """
import sys, tempfile, pathlib
import hourglass.drawing.plots
assert "matplotlib" not in sys.modules, "imported too early"
with tempfile.TemporaryDirectory() as folder:
    rows = [{"kind": "train", "step": i, "loss": 1.0, "lr": 1.0} for i in range(3)]
    hourglass.drawing.plots.training_curve(rows, pathlib.Path(folder) / "c.png")
assert "matplotlib.pyplot" not in sys.modules, "touched global state"
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)}
    )


@pytest.mark.parametrize("suffix", [".svg", ".png", ".pdf"])
def test_a_reliability_diagram_shows_both_and_is_the_same_every_time(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(size=300)
    right = rng.uniform(size=300) < p
    joints = {"left_knee": (0.2, 0.01), "neck": (0.1, 0.02)}
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path in (first, second):
        reliability_diagram(reliability(p / 2, right), reliability(p, right), joints, path, "made")
    if suffix != ".pdf":
        assert first.read_bytes() == second.read_bytes()
    if suffix == ".png":
        image = pixels(first)
        assert (image[..., 2] - image[..., 0] > 120).sum() > 200
        assert (image[..., 0] - image[..., 2] > 120).sum() > 200
