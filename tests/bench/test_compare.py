"""What the benchmark compares must do the same work, and its arithmetic be right; speed is not asserted."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from hourglass.bench.compare import Comparison, compare
from hourglass.bench.training import numpy_targets
from hourglass.cli.main import app
from hourglass.models.heatmap import encode
from hourglass.models.parts import forward_flops
from hourglass.models.stacked_hourglass import StackedHourglass


def test_numpy_targets_are_gaussians_at_truncated_cells() -> None:
    """The older code's targets: the cell that holds the joint, sigma 1, cut off beyond three cells."""
    keypoints = np.random.default_rng(0).uniform(-8, 72, (3, 5, 2)).astype(np.float32)
    keypoints = np.abs(keypoints)  # truncation and flooring agree
    got = numpy_targets(keypoints, 64)
    cells = np.floor(keypoints / 4)
    want = encode(torch.from_numpy(cells), 16, 16, 1.0).numpy()
    yy, xx = np.mgrid[0:16, 0:16]
    reach = np.maximum(np.abs(xx - cells[..., 0, None, None]), np.abs(yy - cells[..., 1, None, None]))
    np.testing.assert_allclose(got, np.where(reach <= 3, want, 0), atol=1e-6)


def test_ratios_are_taken_round_by_round() -> None:
    summary = Comparison(plain=(1.0, 2.0, 6.0), ours=(0.5, 0.5, 1.0)).summary()
    assert summary["ratio"] == pytest.approx(4)  # of 2, 4 and 6
    assert summary["ratio_range"] == [2, 6]
    assert summary["images_per_s"] == pytest.approx(2)
    assert summary["plain_images_per_s"] == pytest.approx(0.5)


def test_paths_alternate() -> None:
    calls: list[str] = []

    def path(name: str) -> None:
        calls.append(name)

    compare(lambda: path("plain"), lambda: path("ours"), images=1, rounds=2, seconds=0)
    assert calls == ["plain", "plain", "ours", "ours"] + ["plain", "ours"] * 2  # two each to warm up


def test_flops_of_one_convolution() -> None:
    """8 x 8 outputs, each of 4 channels from 3 x 5 x 5 inputs, a multiply-add counted as two."""
    network = nn.Conv2d(3, 4, 5, padding=2)
    assert forward_flops(network, 8) == 2 * 64 * 4 * 75


def test_flops_of_the_published_network() -> None:
    """FACTS of the published layer list: 5.15 G multiply-adds for one stack of 256 features at 256 px."""
    assert forward_flops(StackedHourglass(16, 1), 256) / 2e9 == pytest.approx(5.15, abs=0.01)


@pytest.mark.parametrize("what", ["train", "predict"])
def test_the_command_prints_everything_as_json(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hourglass.bench import predicting, training

    module = {"train": training, "predict": predicting}[what]
    monkeypatch.setattr(module, "matmul_flops", lambda *_: 1e12)
    monkeypatch.setattr(training, "loader_images_per_s", lambda *_: 1e3)
    monkeypatch.setattr(
        module, "compare", lambda plain, ours, *_: (plain(), ours(), Comparison((2.0,), (1.0,)))[-1]
    )
    arguments = ["benchmark", what, "--features", "8", "--input-px", "64", "--batch-size", "2", "--json", "-"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    assert row["what"] == {"train": "training", "predict": "predicting"}[what]
    assert row["ratio"] == 2
    assert {"date", "device", "threads", "torch", "rounds", "ratio_range"} <= row.keys()
