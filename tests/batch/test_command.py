"""`hourglass batch` as a user runs it, on the cluster that the tests share."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from batch.samples import encoded, make_photos, rows_of
from hourglass.cli.batch import batch

app = typer.Typer()
app.command()(batch)

pytestmark = [
    pytest.mark.usefixtures("ray_folder"),
    # As in test_run.py.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_exit_codes_and_the_summary(weights: Path, tmp_path: Path) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    make_photos(photos, 3)
    (photos / "broken.png").write_bytes(b"no picture")
    words: tuple[str | Path, ...] = (
        photos,
        output,
        "--weights",
        weights,
        "--precision",
        "fp32",
        "--no-flip-test",
        "--stacks",
        "1",
    )
    words += ("--actors", "1", "--cpus-per-actor", "2", "--batch-size", "2", "--images-per-file", "2")
    done = run(*words, "--json", "-")
    assert done.exit_code == 1, done.exception
    said = json.loads(done.stdout)
    assert (said["images"], said["people"], said["failed"], said["files"]) == (4, 3, 1, 2)
    assert "4 images, 3 people, 1 failed, 0 skipped" in done.stderr
    noted = json.loads((output / "_hourglass.json").read_text())
    assert (noted["flip_test"], noted["stacks"], noted["precision"]) == (False, 1, "fp32")

    # Failed pictures count as done until they are asked for; nothing to do needs no worker.
    assert run(*words).exit_code == 0
    (photos / "broken.png").write_bytes(encoded(9))
    again = run(*words, "--retry-failed", "--json", tmp_path / "summary.json")
    assert again.exit_code == 0, again.exception
    said = json.loads((tmp_path / "summary.json").read_text())
    assert (said["images"], said["skipped"], said["failed"]) == (1, 3, 0)
    assert len(rows_of(output)) == 4
