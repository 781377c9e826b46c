import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
import typer
from typer.testing import CliRunner, Result

from hourglass.cli.data_convert import convert
from hourglass.core.skeleton import LSP14, MPII16
from hourglass.data.formats.annotation_files import read_annotations

app = typer.Typer()
app.command()(convert)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(part) for part in arguments], catch_exceptions=False)


def report_of(*arguments: str | Path) -> dict[str, Any]:
    answer = run(*arguments, "--json", "-")
    assert answer.exit_code == 0
    report: dict[str, Any] = json.loads(answer.stdout)
    return report


@pytest.fixture
def lsp(tmp_path: Path) -> Path:
    """Four people of LSP; the left knee of the first is hidden."""
    rng = np.random.default_rng(3)
    joints = rng.uniform(0.1, 200, (3, 14, 4))
    joints[2] = 0
    joints[2, 4, 0] = 1
    scipy.io.savemat(tmp_path / "joints.mat", {"joints": joints})
    return tmp_path / "joints.mat"


def test_there_and_back(lsp: Path, tmp_path: Path) -> None:
    answer = run(lsp, tmp_path / "people.json")
    assert answer.exit_code == 0
    assert answer.stdout == ""
    assert (
        "4 people (4 train) in 4 pictures, 56 joints labelled, 1 of them hidden; lsp to coco" in answer.stderr
    )
    assert run(tmp_path / "people.json", tmp_path / "back" / "joints.mat").exit_code == 0
    there, back = (scipy.io.loadmat(str(file))["joints"] for file in (lsp, tmp_path / "back" / "joints.mat"))
    np.testing.assert_array_equal(back, there)


def test_labels_of_a_tool(tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "scorer,a,a,a,a,a,a\nbodyparts,nose,nose,ear.L,ear.L,ear.R,ear.R\ncoords,x,y,x,y,x,y\n"
        "day/1.png,1,2,3,4,5,6\n"
    )
    answer = run(labels, tmp_path / "people.json")
    assert answer.exit_code == 0
    assert "1 people in 1 pictures, 3 joints labelled, 0 of them hidden; deeplabcut to coco" in answer.stderr
    assert "left and right: ear.L and ear.R" in answer.stderr
    assert read_annotations(tmp_path / "people.json").keypoints[0].tolist() == [[1, 2], [3, 4], [5, 6]]
    with pytest.raises(
        ValueError, match=r"--frames is for SLEAP's projects \(\.slp\), not for .*labels\.csv"
    ):
        run(labels, tmp_path / "again.json", "--frames", tmp_path / "frames")


def test_another_skeleton_is_told_joint_by_joint(lsp: Path, tmp_path: Path) -> None:
    out = tmp_path / "people.json"
    report = report_of(lsp, out, "--skeleton", "mpii16")
    assert report["skeleton"] == "mpii16"
    assert report["joints"]["derived"] == {
        "pelvis": ["left_hip", "right_hip"],
        "thorax": ["left_shoulder", "right_shoulder"],
    }
    assert (len(report["joints"]["kept"]), report["joints"]["absent"], report["joints"]["dropped"]) == (
        14,
        [],
        [],
    )
    assert (report["labelled_joints"], report["hidden_joints"]) == (64, 1)
    assert read_annotations(out).skeleton == MPII16
    # And back, where the two derived joints are dropped.
    answer = run(out, tmp_path / "again.mat", "--skeleton", "lsp14")
    assert "to lsp14: 14 joints kept; dropped: pelvis, thorax" in answer.stderr
    np.testing.assert_array_equal(
        read_annotations(tmp_path / "again.mat").keypoints, read_annotations(lsp).keypoints
    )


def test_the_report_as_json(lsp: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "new.mat", tmp_path / "deep" / "report.json"
    answer = run(lsp, out, "--to", "lspet", "--json", file)
    assert answer.stdout == ""
    report = json.loads(file.read_text())
    assert (report["in"], report["out"], report["from"], report["to"]) == (str(lsp), str(out), "lsp", "lspet")
    assert (report["people"], report["left_out"], report["splits"]) == (4, 0, {"train": 4})
    assert report["picture_of_row"] == [f"im000{n}.jpg" for n in range(1, 5)]
    assert report["notes"][0] == "hidden joints, which this form can't tell from visible ones: 1"
    assert f"hourglass: {report['notes'][0]}" in answer.stderr
    assert "joints" not in report


def test_losing_people_must_be_asked_for(tmp_path: Path) -> None:
    joints = np.random.default_rng(4).uniform(1, 200, (14, 3, 3))
    joints[:, 2] = 1
    joints[5, 2, 1] = 0
    scipy.io.savemat(tmp_path / "lspet.mat", {"joints": joints})
    arguments = (tmp_path / "lspet.mat", tmp_path / "out.mat", "--to", "lsp")
    with pytest.raises(
        ValueError, match=r"people with an unlabelled joint.*: 1 of 3; --lossy leaves them out$"
    ):
        run(*arguments)
    assert not (tmp_path / "out.mat").exists()
    report = report_of(*arguments, "--lossy")
    assert (report["people"], report["left_out"]) == (2, 1)
    assert len(read_annotations(tmp_path / "out.mat")) == 2


def test_splits_and_categories(lsp: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.json"
    run(lsp, people)
    content = json.loads(people.read_text())
    content["annotations"][1]["split"] = "test"
    content["categories"].append({"id": 5, "name": "dog", "keypoints": ["nose", "tail"]})
    people.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="several categories with keypoints; choose one of lsp14, dog"):
        run(people, tmp_path / "one.json")
    report = report_of(people, tmp_path / "one.json", "--category", "lsp14", "--split", "test")
    assert (report["people"], report["splits"]) == (1, {"test": 1})
    assert read_annotations(tmp_path / "one.json").ids.tolist() == [2]


def test_pictures_tell_their_sizes(lsp: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for n in range(1, 5):
        cv2.imwrite(str(images / f"im000{n}.jpg"), np.zeros((10 + n, 30, 3), np.uint8))
    run(lsp, tmp_path / "people.json", "--images", images)
    found = json.loads((tmp_path / "people.json").read_text())["images"]
    assert [(image["width"], image["height"]) for image in found] == [(30, 11), (30, 12), (30, 13), (30, 14)]
    run(lsp, tmp_path / "bare.json")
    assert all(
        set(image) == {"id", "file_name"}
        for image in json.loads((tmp_path / "bare.json").read_text())["images"]
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("out.json", "--to", "voc"), "--to 'voc' is not one of coco, mpii"),
        (("out.json", "--skeleton", "hand"), "--skeleton 'hand' is not one of body19, coco17"),
        (("out.json", "--json", "."), "--json . is a folder"),
        (("out.json", "--split", "dev"), "LSP has no split 'dev'; it has train, test"),
        (("out.json", "--category", "dog"), "is no COCO file and has no categories"),
        (("out.json", "--images", "nowhere"), "there is no folder nowhere; it should hold the pictures"),
        (
            ("out.mat", "--images", "."),
            "--images tells COCO the sizes of pictures, which the form lsp doesn't",
        ),
        (("out.h5",), "has the joints of lsp14, but this form is for mpii16; give --skeleton mpii16"),
        (("out.csv",), "tells no form; call it .json, .json.gz, .h5 or .mat, or give --to"),
    ],
)
def test_mistakes_in_one_sentence(
    lsp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError), match=re.escape(sentence)):
        run(lsp, *arguments)
    assert [entry.name for entry in tmp_path.iterdir()] == ["joints.mat"]


def test_a_file_is_not_written_over_unasked(lsp: Path, tmp_path: Path) -> None:
    out = tmp_path / "people.json"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"people.json exists; give --force to write over it"):
        run(lsp, out)
    assert out.read_text() == "mine"
    assert run(lsp, out, "--force").exit_code == 0
    assert read_annotations(out).skeleton == LSP14


def test_no_file_to_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file"):
        run(tmp_path / "none.json", tmp_path / "out.json")


@pytest.mark.realdata
def test_the_examples_of_the_help_work(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lsp").symlink_to(real_data / "lsp")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"hourglass data convert (.+)", convert.__doc__ or "")
    assert len(examples) == 3
    for example in examples:
        assert run(*example.split(), "--force").exit_code == 0
    assert len(read_annotations(Path("people.json"))) == 2000
    there, back = (scipy.io.loadmat(file)["joints"] for file in ("lsp/joints.mat", "joints.mat"))
    np.testing.assert_array_equal(back, there)
