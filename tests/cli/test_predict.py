import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from hourglass.cli.predict import predict
from hourglass.core.skeleton import LSP14
from hourglass.inference.poses.coco import load_coco_annotations
from hourglass.inference.poses.csv_table import load_csv
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts, save_weights

app = typer.Typer()
app.command()(predict)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random numbers: its joints mean nothing, but they are always the same."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    torch.manual_seed(0)
    recipe = NetworkRecipe(stacks=2, features=16, depth=2)
    facts = WeightFacts("tiny", recipe, LSP14, 64, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_weights(path, build_network(recipe, LSP14).state_dict(), facts)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg", "7.png"):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / name)
    return folder


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_folder_gives_overlays_joints_and_coco_rows(weights: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--weights", weights, "--out", out, "--json", out / "joints.json", "--coco", out / "coco.json")
    done = run(photos, *words, "--heatmaps", "--precision", "fp32")
    assert (done.exit_code, done.stdout) == (0, "")
    assert str(out) in done.stderr
    assert sorted(p.name for p in out.iterdir()) == [
        "7_heatmaps.png",
        "7_pose.jpg",
        "a_heatmaps.png",
        "a_pose.jpg",
        "b_heatmaps.png",
        "b_pose.jpg",
        "coco.json",
        "joints.json",
    ]
    with Image.open(out / "a_pose.jpg") as drawn:
        assert drawn.size == (80, 60)
    found = json.loads((out / "joints.json").read_text())
    assert [Path(image["image"]).name for image in found["images"]] == ["7.png", "a.png", "b.jpg"]
    assert found["failed"] == []
    # The command says what the library says.
    (expected,) = Predictor.from_pretrained(weights, "cpu", "fp32")(photos / "a.png")
    (person,) = found["images"][1]["people"]
    np.testing.assert_allclose(Pose.from_dict(person).keypoints, expected.keypoints, atol=1e-2)
    rows = json.loads((out / "coco.json").read_text())
    assert [row["image_id"] for row in rows] == [7, "a.png", "b.jpg"]
    assert {len(row["keypoints"]) for row in rows} == {3 * 14}


def test_a_broken_file_is_named_and_the_others_are_done(weights: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    done = run(photos, "--weights", weights, "--out", tmp_path / "out", "--json", "-")
    assert done.exit_code == 1
    assert "broken.png" in done.stderr
    assert "3 of 4 pictures" in done.stderr
    found = json.loads(done.stdout)
    assert len(found["images"]) == 3
    assert [Path(failed["image"]).name for failed in found["failed"]] == ["broken.png"]
    assert not (tmp_path / "out" / "broken_pose.jpg").exists()


def test_boxes_on_the_command_line_are_people_in_every_picture(weights: Path, photos: Path) -> None:
    words = ("--weights", weights, "--no-overlay", "--json", "-", "--box", "5,5,40,50", "--box", "30,5,40,40")
    done = run(photos / "a.png", photos / "b.jpg", *words)
    assert done.exit_code == 0
    people = [image["people"] for image in json.loads(done.stdout)["images"]]
    assert [len(p) for p in people] == [2, 2]
    # A square of 1.25 times the longer side around the box's middle.
    np.testing.assert_allclose(people[0][0]["box"], [25 - 31.25, 30 - 31.25, 62.5, 62.5])


def test_a_box_file_says_who_is_where_and_what_the_picture_is_called(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    rows = [
        {"image_id": 7, "bbox": [1, 2, 30, 40]},
        {"image_id": 7, "bbox": [9, 2, 30, 40]},
        {"image_id": "b", "bbox": [500, 2, 30, 40]},
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    words = ("--weights", weights, "--no-overlay", "--boxes", tmp_path / "boxes.json")
    done = run(photos, *words, "--json", "-", "--coco", tmp_path / "coco.json")
    # The box beside b.jpg is that picture's failure alone.
    assert done.exit_code == 1
    assert "b.jpg: the box 500,2,30,40 lies outside" in done.stderr
    counts = {Path(i["image"]).name: len(i["people"]) for i in json.loads(done.stdout)["images"]}
    assert counts == {"7.png": 2, "a.png": 0}
    assert [row["image_id"] for row in json.loads((tmp_path / "coco.json").read_text())] == [7, 7]


def test_a_table_and_a_whole_coco_file_name_the_same_people(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    # Nobody in a.png, two people in 7.png, a second picture called 7.png.
    other = tmp_path / "other"
    other.mkdir()
    (photos / "b.jpg").rename(other / "7.png")
    rows = [{"file_name": "7.png", "bbox": [1, 2, 30, 40]}, {"file_name": "7.png", "bbox": [9, 2, 30, 40]}]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    names = ("t.csv", "whole.json", "results.json", "joints.json")
    table, whole, results, joints = (tmp_path / name for name in names)
    words = ("--weights", weights, "--no-overlay", "--boxes", tmp_path / "boxes.json", "--threshold", "9")
    files = ("--csv", table, "--coco-annotations", whole, "--coco", results, "--json", joints)
    done = run(photos, other, *words, *files)
    assert (done.exit_code, done.stdout) == (0, "")

    content = json.loads(whole.read_text())
    names_by_id = {image["id"]: image["file_name"] for image in content["images"]}
    assert names_by_id == {1: str(photos / "7.png"), 2: "a.png", 3: str(other / "7.png")}
    assert {(image["width"], image["height"]) for image in content["images"]} == {(80, 60)}
    assert [entry["image_id"] for entry in content["annotations"]] == [1, 1, 3, 3]
    assert {v for entry in content["annotations"] for v in entry["keypoints"][2::3]} == {1}
    assert [row["image_id"] for row in json.loads(results.read_text())] == [1, 1, 3, 3]
    found = json.loads(joints.read_text())["images"]
    people = [(image["image"], person["joints"]) for image in found for person in image["people"]]
    assert [(pose.image_id, pose.to_dict()["joints"]) for pose in load_csv(table)] == people
    from_whole = [pose.to_dict()["joints"] for pose in load_coco_annotations(whole)[0]]
    assert from_whole == [joints for _, joints in people]


def test_same_named_pictures_of_two_folders_keep_their_overlays(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (photos / "a.png").rename(other / "b.png")
    out = tmp_path / "out"
    done = run(photos / "b.jpg", other / "b.png", "--weights", weights, "--out", out)
    assert done.exit_code == 0
    assert len(list(out.iterdir())) == 2


def test_the_threshold_hides_no_joint(weights: Path, photos: Path, tmp_path: Path) -> None:
    pictures = []
    for threshold in ("-1", "9"):
        out = tmp_path / threshold
        words = ("--weights", weights, "--out", out, "--json", "-", "--threshold", threshold)
        done = run(photos / "a.png", *words)
        assert len(json.loads(done.stdout)["images"][0]["people"][0]["joints"]) == 14
        pictures.append((out / "a_pose.jpg").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["{tmp}/none.jpg"], FileNotFoundError, r"none\.jpg"),
        (["{photos}", "--weights", "{tmp}/none"], FileNotFoundError, "no weights"),
        (["{photos}", "--box", "1,2,3"], ValueError, "the box '1,2,3'"),
        (["{photos}", "--box", "1,2,3,4", "--boxes", "b.json"], ValueError, "give one of them"),
        (["{photos}", "--boxes", "{tmp}/none.json"], FileNotFoundError, "no box file"),
        (["{photos}", "--boxes", "{tmp}/strangers.json"], ValueError, "names none of the 3 pictures"),
        (["{photos}", "--no-overlay"], ValueError, "nothing to write"),
        (["{photos}", "--csv", "-"], ValueError, "--csv takes a file"),
        (["{photos}", "--no-overlay", "--csv", "{photos}"], OSError, "cannot write .*photos"),
        (["{photos}", "--out", "{photos}/a.png"], OSError, r"cannot write into .*a\.png"),
        (["{photos}", "--no-overlay", "--json", "{photos}"], OSError, "cannot write .*photos"),
        (["{photos}", "--device", "fpga"], ValueError, "'fpga'"),
        (["{photos}", "--precision", "fp8"], ValueError, "'fp8'"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_sentence(
    words: list[str], kind: type[Exception], message: str, weights: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "strangers.json").write_text(json.dumps([{"file_name": "x.jpg", "bbox": [1, 2, 3, 4]}]))
    given = [word.format(tmp=tmp_path, photos=photos) for word in words]
    if "--weights" not in words:
        given += ["--weights", str(weights)]
    if "--out" not in words:
        given += ["--out", str(tmp_path / "out")]
    done = run(*given)
    assert isinstance(done.exception, kind)
    text = str(done.exception)
    assert "\n" not in text
    with pytest.raises(kind, match=message):
        raise done.exception


def test_help_shows_an_example() -> None:
    done = run("--help")
    assert done.exit_code == 0
    assert "hourglass predict photos --json joints.json" in done.stdout


def test_a_full_disk_stops_the_batch(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run(photos, "--weights", weights, "--out", tmp_path / "out")
    assert isinstance(done.exception, OSError)
    assert "No space left on device" in str(done.exception)
