"""What `hourglass batch` says before any worker starts; tests/batch has it work."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from hourglass.cli.batch import batch

app = typer.Typer()
app.command()(batch)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def with_ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed; pip install -e '.[batch]'")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def test_without_ray_the_extra_is_named(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run(photos, photos.parent / "out")
    assert isinstance(done.exception, OSError)
    assert str(done.exception).endswith("-m pip install -c constraints.txt -e '.[batch]'")
    assert not (photos.parent / "out").exists()


def test_help_shows_examples() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "hourglass batch photos joints" in done.stdout


@pytest.mark.usefixtures("with_ray")
@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\.")
@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["{tmp}/none", "{tmp}/out"], FileNotFoundError, "there is no file or folder .*none"),
        (["{photos}", "{tmp}/t.parquet"], OSError, r"cannot write into .*t\.parquet"),
        (["{photos}", "{tmp}/out", "--weights", "{tmp}/none"], FileNotFoundError, "no weights"),
        (["{photos}", "{tmp}/out", "--actors", "many"], ValueError, "--actors 'many'"),
        (["{photos}", "{tmp}/out", "--actors", "0"], ValueError, "--actors is 0"),
        (["{photos}", "{tmp}/out", "--stacks", "few"], ValueError, "--stacks 'few'"),
        (["{photos}", "{tmp}/out", "--detector", "best"], FileNotFoundError, "there is no detector best"),
        (
            ["{photos}", "{tmp}/out", "--nms", "0.5", "--detector", "none"],
            ValueError,
            "--nms is about several",
        ),
        (["{photos}", "{tmp}/out", "--cpus-per-actor", "0"], ValueError, "--cpus-per-actor 0"),
        (["{photos}", "{tmp}/out", "--gpus-per-actor", "-1"], ValueError, "no negative GPUs"),
        (["{photos}", "{tmp}/out", "--precision", "int8"], ValueError, "exported with int8"),
        (["{photos}", "{tmp}/out", "--column", "x"], ValueError, "--column is for Parquet tables and shards"),
        (["{photos}", "{tmp}/out", "--id-column", "x"], ValueError, "--id-column is for Parquet tables"),
        (["{tmp}/t.parquet", "{tmp}/out"], ValueError, "no column of bytes"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(
    words: list[str], kind: type[Exception], message: str, photos: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "t.parquet")
    done = run(*(word.format(tmp=tmp_path, photos=photos) for word in words))
    assert isinstance(done.exception, kind)
    assert "\n" not in str(done.exception)
    with pytest.raises(kind, match=message):
        raise done.exception
