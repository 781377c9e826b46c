import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("prometheus_client", reason="the extra `serve` is not installed")

from hourglass.cli.data_doctor import doctor
from hourglass.cli.label import _only_one, label
from hourglass.data.formats import coco
from inference.video.clips import dotted, needs_av, triangle, write_clip
from label_files import FILES, FOLDER

app = typer.Typer()
app.command()(label)


def run(*words: Any) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--port", "0"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    made.mkdir()
    for n in range(3):
        Image.fromarray(dotted([triangle(40 + 10 * n, 50)])).save(made / f"p{n}.png")
    return made


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str]]:
    """Stands for the loop: what would be served, and where."""
    calls: list[tuple[Any, str]] = []

    def serve(application: Any, listening: Any, settings: Any) -> None:
        calls.append((application.state.suggestions, listening.getsockname()[0]))

    monkeypatch.setattr("hourglass.serving.run.run", serve)
    return calls


def test_the_skeleton_is_the_files_or_the_weights_or_what_is_said(folder: Path, served: list[Any]) -> None:
    told = run(folder, "--weights", "none", "--skeleton", "nose, left_ear,right_ear")
    assert told.exit_code == 0, told.exception
    assert "3 pictures of" in told.stderr
    suggestions, host = served[-1]
    assert host == "127.0.0.1"
    project = suggestions.project
    assert project.skeleton.joints == ("nose", "left_ear", "right_ear")
    assert project.skeleton.flip_pairs == (("left_ear", "right_ear"),)
    state = project.state("p1.png")
    project.save("p1.png", state["version"], True, [(None, {"nose": (1.5, 2, 2), "left_ear": (9, 8, 1)})])
    # The next time its own file says so, and other joints are refused.
    assert run(folder, "--weights", "none").exit_code == 0
    assert served[-1][0].project.skeleton.joints == project.skeleton.joints
    refused = run(folder, "--weights", "none", "--skeleton", "lsp14")
    assert "labels.json labels the joints nose, left_ear, right_ear, not right_ankle" in str(
        refused.exception
    )
    (folder / "labels.json").unlink()
    assert run(folder, "--weights", "hg2_small", "--device", "cpu", "--detector", "none").exit_code == 0
    suggestions, _ = served[-1]
    assert suggestions.project.skeleton.name == "lsp14"
    assert len(suggestions.joints) == 14
    assert suggestions.predictor.detector is None


@pytest.mark.parametrize("name", ["single.csv", "several.csv"])
def test_labels_of_another_tool_are_gone_on_with(folder: Path, served: list[Any], name: str) -> None:
    _, joints, pairs, people = FILES[name]
    here = people[0][0]
    (folder / here).parent.mkdir(parents=True)
    Image.new("RGB", (200, 150)).save(folder / here)
    told = run(folder, "--weights", "none", "--labels", FOLDER / name)
    assert told.exit_code == 0, told.exception
    mine = [points for picture, points, _, _ in people if picture == here]
    assert f"{len(people) - len(mine)} people of" in told.stderr
    project = served[-1][0].project
    assert (project.skeleton.joints, project.skeleton.flip_pairs) == (joints, pairs)
    assert [row["joints"] for row in project.state(here)["people"]] == mine
    # Hidden joints, of which the first file didn't tell, are told from now on.
    rows = [(row["id"], {joints[0]: (3.0, 4.0, 1)}) for row in project.state(here)["people"]]
    project.save(here, project.state(here)["version"], True, rows)
    read = coco.read_file(folder / "labels.json").people
    assert (read.tells_hidden, read.visibility.max()) == (True, 1)
    again = run(folder, "--weights", "none", "--labels", FOLDER / name)
    assert "leave --labels away" in str(again.exception)


def test_the_doctor_reads_what_was_labelled(folder: Path, served: list[Any], tmp_path: Path) -> None:
    run(folder, "--weights", "none", "--skeleton", "red,green,blue")
    project = served[-1][0].project
    for n in range(3):
        points = dict(zip(project.skeleton.joints, triangle(40 + 10 * n, 50).tolist(), strict=True))
        joints = {name: (x, y, 2) for name, (x, y) in points.items()}
        project.save(f"p{n}.png", project.state(f"p{n}.png")["version"], True, [(None, joints)])
    examined = typer.Typer()
    examined.command()(doctor)
    report = tmp_path / "doctor.json"
    words = [str(folder), "--annotations", str(folder / "labels.json"), "--json", str(report)]
    told = CliRunner().invoke(examined, [*words, "--sheet", str(tmp_path / "sheet.jpg")])
    assert told.exit_code == 0, told.output
    assert json.loads(report.read_text())["counts"]["people"] == 3


@needs_av
def test_frames_of_a_video_become_pictures(tmp_path: Path, served: list[Any]) -> None:
    frames = [dotted([triangle(30 + n, 48)]) for n in range(60)]
    video = write_clip(tmp_path / "clip.mp4", frames)
    folder = tmp_path / "new"
    words = (folder, "--weights", "none", "--skeleton", "a,b", "--video", video, "--frames", 5)
    told = run(*words)
    assert told.exit_code == 0, told.exception
    assert "5 new frames of" in told.stderr
    names = list(served[-1][0].project.sizes)
    assert len(names) == 5
    assert "0 new frames of" in run(*words).stderr
    assert list(served[-1][0].project.sizes) == names


def coco_of_two_kinds() -> dict[str, Any]:
    kinds = [{"id": 1, "name": "cat", "keypoints": ["a"]}, {"id": 2, "name": "dog", "keypoints": ["b"]}]
    return {"images": [], "annotations": [], "categories": kinds}


def test_mistakes_are_told_in_a_sentence(
    folder: Path, tmp_path: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    films = tmp_path / "films"
    films.mkdir()
    (films / "walk.mp4").touch()
    broken = tmp_path / "broken"
    broken.mkdir()
    Image.new("RGB", (9, 9)).save(broken / "a.png")
    (broken / "labels.json").write_text("{")
    kinds = tmp_path / "kinds"
    kinds.mkdir()
    Image.new("RGB", (9, 9)).save(kinds / "a.png")
    (kinds / "labels.json").write_text(json.dumps(coco_of_two_kinds()))
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.png").write_bytes(b"no picture")
    none = ("--weights", "none")
    for words, sentence in [
        ((tmp_path / "nowhere",), "there is no folder"),
        ((folder / "p0.png",), "p0.png is a file; give the folder"),
        ((empty,), "holds no pictures"),
        ((films,), "take frames of its video with --video"),
        ((bad,), "no picture that can be read (a.png is not a picture"),
        ((broken, *none), "labels.json"),
        ((kinds, *none), "choose one of cat, dog"),
        ((folder, *none), "nothing says which joints there are"),
        ((folder, "--weights", "no-such-weights"), "no weights 'no-such-weights'"),
        ((folder, *none, "--skeleton", "spider"), "--skeleton 'spider' is none of"),
        ((folder, *none, "--skeleton", "a,a"), "names the joint 'a' twice"),
        ((folder, *none, "--skeleton", "a,b", "--labels", "x.csv"), "give one of them"),
        ((folder, *none, "--labels", tmp_path / "x.csv"), "x.csv"),
        ((folder, *none, "--skeleton", "a,b", "--video", "no.mp4"), "there is no video file no.mp4"),
        ((folder, "--detector", "best"), "there is no detector best"),
    ]:
        told = run(*words)
        assert isinstance(told.exception, ValueError | OSError), (words, told.output)
        assert sentence in str(told.exception), (sentence, str(told.exception))
        assert "\n" not in str(told.exception)
    with _only_one(folder.resolve()):
        assert "another hourglass label has" in str(run(folder, *none, "--skeleton", "a,b").exception)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = CliRunner().invoke(app, [str(folder), *none, "--skeleton", "a,b", "--port", port])
        assert "cannot listen on 127.0.0.1 port" in str(told.exception)
    assert served == []
    assert not list(folder.glob("*.json"))


def test_an_empty_file_of_labels_is_begun(folder: Path, served: list[Any]) -> None:
    one = {"images": [], "annotations": [], "categories": coco_of_two_kinds()["categories"]}
    (folder / "labels.json").write_text(json.dumps(one))
    assert run(folder, "--weights", "none", "--category", "dog").exit_code == 0
    project = served[-1][0].project
    project.save("p0.png", project.state("p0.png")["version"], True, [(None, {"b": (3, 4, 2)})])
    people = coco.read_file(folder / "labels.json", "dog").people
    np.testing.assert_array_equal(people.keypoints, [[[3, 4]]])
    assert json.loads((folder / "labels.json").read_text())["categories"] == one["categories"]
