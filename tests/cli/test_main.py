"""The command as a user runs it: quick help, one sentence for a mistake, the right exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from hourglass.cli.main import explain


def run(*arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hourglass", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_help_names_every_command_and_needs_no_torch() -> None:
    code = "import sys; sys.argv=['hourglass', '--help']\nfrom hourglass.cli.main import main\n"
    code += "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
    code += "assert 'torch' not in sys.modules and 'cv2' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("train", "evaluate", "ablate", "predict", "models", "demo", "data", "benchmark"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "no_such_recipe"], "no_such_recipe"),
        (["train", "lspet_hg2_small", "data.root=nowhere"], "nowhere"),
        (["train", "lspet_hg2_small", "data.rooot=x"], "data.rooot"),
        (["train", "synthetic_tiny", "--accelerator", "abacus"], "abacus"),
        (["predict", "no_such_photo.jpg"], "no_such_photo.jpg"),
        (["evaluate", "no_such_weights", "--data", "synthetic"], "no_such_weights"),
        (["data", "pack", "--data", "lspet", "--root", "nowhere", "out.parquet"], "nowhere"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(arguments: list[str], named: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_a_file_of_weights_that_is_a_pickle_is_refused(tmp_path: Path) -> None:
    import pickle

    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps({"a": 1}))
    done = run("evaluate", str(weights), "--data", "synthetic", "--people", "1")
    assert done.returncode == 2
    assert "pickle" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_operating_system_error_names_its_file() -> None:
    assert explain(PermissionError(13, "Permission denied", "a/b.json")) == "Permission denied: a/b.json"
    assert explain(OSError("cannot write x:\n no space")) == "cannot write x: no space"
