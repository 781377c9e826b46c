import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from hourglass.cli.score import score
from hourglass.core.skeleton import MPII16

DATA = Path(os.environ.get("HOURGLASS_DATA", ""))

app = typer.Typer()
app.command()(score)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def printed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def report(*arguments: object) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(printed(*arguments, "--json", "-"))
    return told


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, (ValueError, OSError)), result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`valid.h5` of 30 MPII people with heads of 20, `good.h5` and `bad.h5` around them."""
    root, rng = tmp_path_factory.mktemp("mpii"), np.random.default_rng(0)
    part = rng.integers(5, 400, (30, 16, 2)).astype(float)
    part[:, 9] = part[:, 8] + [0, 80 / 3]
    fields = {
        "imgname": np.array([f"{n}.jpg" for n in range(30)], "S"),
        "part": part,
        "visible": (rng.random((30, 16)) < 0.8).astype(float),
        "center": np.ones((30, 2)),
        "scale": np.full(30, 1.0),
        "index": np.arange(30.0),
        "person": np.zeros(30),
        "normalize": np.full(30, 20.0),
    }
    good = part + rng.normal(0, 6, part.shape)
    files = {"valid": fields, "good": {"preds": good}, "bad": {"preds": good + rng.normal(0, 6, part.shape)}}
    for name, content in files.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            for key, value in content.items():
                file[key] = value
    return root


def test_all_protocols_side_by_side(folder: Path) -> None:
    text = printed(folder / "good.h5", "--truth", folder / "valid.h5")
    told = report(folder / "good.h5", "--truth", folder / "valid.h5")
    for name, one in told["protocols"].items():
        assert name in text
        assert f"{next(iter(one['scores'].values()))['Mean']:.3f}" in text
    # What makes them differ, and who was left out.
    for words in (
        "< threshold",
        "<= threshold",
        "pooled",
        "mean of joints",
        "left shoulder to right hip",
        "beyond 1",
    ):
        assert words in text
    assert "not flic: the truth holds no torso length in the file" in text
    assert "not coco:" in text
    assert f"{told['protocols']['hrnet']['hidden']['PCKh@0.5']['Mean']:.2f}" in text
    assert told["people"] == 30
    assert told["truth_kind"].startswith("MPII")


def test_json_goes_where_it_should(folder: Path, tmp_path: Path) -> None:
    arguments = (folder / "good.h5", "--truth", folder / "valid.h5", "--protocol", "hrnet")
    to_file = tmp_path / "deep" / "score.json"
    text = printed(*arguments, "--json", to_file)
    assert "hrnet" in text
    assert json.loads(to_file.read_text()) == report(*arguments)
    assert "is a folder" in refused(*arguments, "--json", tmp_path)


def test_one_protocol_prints_that_one(folder: Path) -> None:
    text = printed(folder / "good.h5", "--truth", folder / "valid.h5", "--protocol", "mmpose")
    assert "PCKh@0.1" in text
    assert "bearpaw" not in text
    ours = printed(folder / "good.h5", "--truth", folder / "valid.h5", "--protocol", "hourglass")
    # It has no columns, so its joints are listed.
    assert all(joint.replace("_", " ") in ours for joint in MPII16.joints)


def test_intervals_and_a_comparison(folder: Path) -> None:
    arguments = (
        folder / "good.h5",
        "--truth",
        folder / "valid.h5",
        "--protocol",
        "hrnet",
        "--bootstrap",
        100,
    )
    told = report(*arguments, "--against", folder / "bad.h5")["protocols"]["hrnet"]
    text = printed(*arguments, "--against", folder / "bad.h5")
    low, high = told["interval"]["PCKh@0.5"]["Mean"]
    assert f"{low:.2f}-{high:.2f}" in text
    low, high = told["against"]["difference_interval"]["PCKh@0.5"]["Mean"]
    assert f"{low:+.2f} to {high:+.2f}" in text
    assert f"of 30 people {told['against']['better']:.1f} % score better" in text
    assert 0 < told["against"]["better"] < 100
    seeded = report(*arguments, "--seed", 5)["protocols"]["hrnet"]
    assert seeded["interval"] != told["interval"]


@pytest.mark.parametrize(
    "options",
    [
        ["--only", "hidden"],
        ["--by", "torso"],
        ["--threshold", "0.3"],
        ["--count-from", "0"],
        ["--curves"],
        ["--bootstrap", "20"],
    ],
    ids=lambda options: options[0],
)
def test_every_option_changes_something(folder: Path, options: list[str]) -> None:
    arguments = (folder / "good.h5", "--truth", folder / "valid.h5", "--protocol", "hrnet")
    assert report(*arguments)["protocols"] != report(*arguments, *options)["protocols"]


def test_options_that_make_no_sense(folder: Path) -> None:
    arguments = (folder / "good.h5", "--truth", folder / "valid.h5")
    assert "no protocol 'x'" in refused(*arguments, "--protocol", "x")
    assert "only for one protocol" in refused(*arguments, "--threshold", 0.2)
    assert "is one split by itself" in refused(*arguments, "--split", "val")
    assert "--curves go into the JSON" in refused(*arguments, "--curves")
    for protocol in ("all", "coco"):
        told = refused(*arguments, "--protocol", protocol, "--figure", "f.png")
        assert told == "--figure draws the curves of one protocol of joints; name it with --protocol"
    assert "is a folder" in refused(*arguments, "--protocol", "hrnet", "--figure", folder)
    assert run(*arguments, "--bootstrap", -3).exit_code == 2
    assert run(*arguments, "--count-from", 2).exit_code == 2
    assert run(folder / "good.h5").exit_code == 2


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_curves_of_each_joint_as_a_picture(folder: Path, tmp_path: Path, ending: str) -> None:
    place = tmp_path / "new" / f"f.{ending}"
    options = ("--truth", folder / "valid.h5", "--protocol", "hrnet", "--against", folder / "bad.h5")
    assert run(folder / "good.h5", *options, "--figure", place).exit_code == 0
    if ending == "png":
        image = cv2.imread(str(place))
        assert image is not None
        assert image.std() > 5
        return
    text = place.read_text()
    for word in ("good.h5", "bad.h5", "wrist", "mean", "0.6 x head box diagonal"):
        assert word in text, word


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "hourglass", "score", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def test_a_mistake_is_one_sentence_and_exit_code_2(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "good.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    told = command(tmp_path / "cut.h5", "--truth", folder / "valid.h5")
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.count("\n") == 1
    assert told.stderr.startswith(f"hourglass: {tmp_path / 'cut.h5'} is not an HDF5 file that can be read")


def test_a_table_in_a_pipe_is_not_cut(folder: Path) -> None:
    told = command(folder / "good.h5", "--truth", folder / "valid.h5")
    assert told.returncode == 0, told.stderr
    assert "princeton-pytorch" in told.stdout
    assert 'PCKh"@0.1" (0.11)' in told.stdout
    assert "…" not in told.stdout


@pytest.mark.realdata
def test_the_table_that_people_know() -> None:
    """Every number of the table in docs/metrics.md, as printed."""
    truth = DATA / "mpii" / "detections_our_format.mat"
    text = printed(DATA / "mpii" / "valid-ours.h5", "--truth", truth)
    for number in ("88.035", "87.562", "88.956", "28.647", "96.71", "58.807"):
        assert number in text, number
    row = next(line for line in text.splitlines() if "bearpaw" in line)
    cells = [cell.strip() for cell in row.replace("│", "|").split("|") if cell.strip()]
    assert cells[2:] == ["95.94", "94.68", "88.53", "83.38", "87.48", "83.09", "79.05", "87.562"]
    text = printed(truth, "--truth", truth)
    for number in ("82.337", "81.458", "55.781"):
        assert number in text, number
