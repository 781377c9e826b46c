from pathlib import Path

import pytest

from hourglass.cli.main import app
from hourglass.training.loop import Interrupted

TINY = [
    *("network.features=8", "network.depth=2", "data.input_px=32", "data.people=8", "data.val_people=2"),
    *("train.length.steps=2", "train.batch_size=4", "train.log_every=1"),
    *("train.validate_every.steps=2", "train.checkpoint_every.steps=2", "data.name=synthetic"),
]
YAML = "title: Mine\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {name: B, overrides: [network.stacks=1]}]\n"


def run(*words: str) -> int:
    """Exit code of the command line; a user's mistake surfaces as its exception."""
    try:
        return int(app(list(words), standalone_mode=False) or 0)
    except SystemExit as stop:
        return int(stop.code or 0)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(YAML)
    return path


def test_a_set_is_trained_and_reported(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert run("ablate", str(mine), *TINY, "--out", str(out)) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "A, seed 0: done" in said.err
    assert "B, seed 0: done" in said.err
    assert f"report in {out / 'report.md'}" in said.err.replace("\n", "")
    assert (out / "a-seed0" / "result.json").is_file()


def test_one_design_and_other_seeds(mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    assert (
        run("ablate", str(mine), *TINY, "--out", str(out), "--only", "b", "--seed", "4", "--no-report") == 0
    )
    assert sorted(p.name for p in out.iterdir()) == ["b-seed4"]


def test_being_stopped_says_how_to_go_on(
    mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise Interrupted("stopped at step 1")

    monkeypatch.setattr("hourglass.bench.ablation.run.train", stop)
    assert run("ablate", str(mine), *TINY, "--out", str(tmp_path / "runs")) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_an_unknown_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no set 'nothing'.*capacity, designs, flic_capacity, .*systems"):
        run("ablate", "nothing")
