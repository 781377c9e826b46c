"""The script that measures training on a GPU runs from end to end where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "hourglass.bench.gpu", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the toy sizes are for a CPU")
def test_everything_is_measured_at_toy_size(tmp_path: Path) -> None:
    done = run("--toy", "--rounds", "1", "--json", str(tmp_path / "gpu.json"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    # Two batches and the recipes' own, which is 6.
    assert [(r["network"], r["batch"]) for r in found["speed"]] == [
        (network, batch) for network in ("hg2", "hg8") for batch in (2, 4, 6)
    ]
    for row in found["speed"]:
        assert row["ratio"] == pytest.approx(row["images_per_s"] / row["plain_images_per_s"])
        assert row["tflops"] > 0
    plain, twice = found["memory"]
    assert [plain["checkpoint_hourglasses"], twice["checkpoint_hourglasses"]] == [False, True]
    assert twice["kept_for_backward_gb"] < 0.8 * plain["kept_for_backward_gb"]
    for row in found["recipes"]:
        assert row["examples"] == 840_000 * 6
        own = [r for r in found["speed"] if (r["network"], r["batch"]) == (row["recipe"][-3:], 6)]
        hours = row["examples"] / max(r["images_per_s"] for r in own) / 3600
        assert row["hours_at_own_batch"] == pytest.approx(hours)
    assert found["device_augmentation"]["made_on_device_per_s"] > 0
    assert done.stdout.count("\n|---") == 3


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_full_size_is_refused() -> None:
    done = run()
    assert done.returncode == 1
    assert done.stderr.strip() == "there is no GPU here; --toy shows on a CPU that everything runs"
