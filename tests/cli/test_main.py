"""The command as a user runs it: quick help, one sentence for a mistake, the right exit code."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from hourglass.cli.main import explain, main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """What the command ends with, in this process."""
    monkeypatch.setattr(sys, "argv", ["hourglass", *arguments])
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_it_is_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hourglass", "predict", "no_such_photo.jpg"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no_such_photo.jpg" in done.stderr
    assert len(done.stderr.splitlines()) == 1


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
        (["evaluate", "no_such_weights", "--data", "synthetic"], "no_such_weights"),
        (["data", "pack", "--data", "lspet", "--root", "nowhere", "out.parquet"], "nowhere"),
        (["frobnicate"], "frobnicate"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert named in err
    assert not out


def test_a_file_of_weights_that_is_a_pickle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import pickle

    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps({"a": 1}))
    assert run(monkeypatch, "evaluate", str(weights), "--data", "synthetic", "--people", "1") == 2
    assert "pickle" in capsys.readouterr().err


def test_an_operating_system_error_names_its_file() -> None:
    assert explain(PermissionError(13, "Permission denied", "a/b.json")) == "Permission denied: a/b.json"
    assert explain(OSError("cannot write x:\n no space")) == "cannot write x: no space"
