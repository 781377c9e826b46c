"""`hourglass evaluate` on COCO data: OKS beside PCK, and a detector's boxes."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from coco_colours import write_colours
from colours import FACTS, Colours
from hourglass.cli.evaluate import evaluate
from hourglass.cli.score import score
from hourglass.evaluation.metrics.oks import SUMMARY

app, score_app = typer.Typer(), typer.Typer()
app.command()(evaluate)
score_app.command()(score)


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The files, and a network that needs no training."""
    annotations, photos, boxes = write_colours(tmp_path)
    monkeypatch.setattr("hourglass.weights.load.load_network", lambda name: (Colours().eval(), FACTS))
    data = ("--data", "coco", "--root", photos, "--annotations", annotations, "--out", tmp_path / "out")
    return SimpleNamespace(root=tmp_path, annotations=annotations, photos=photos, boxes=boxes, data=data)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120"})


def report(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, (ValueError, OSError)), result.output
    return str(result.exception)


def changed(coco: SimpleNamespace, name: str, **fields: Any) -> Path:
    """The annotations with other contents, in a new file."""
    content = {**json.loads(coco.annotations.read_text()), **fields}
    (coco.root / name).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
    return Path(coco.root / name)


def test_annotated_boxes_get_both_scores(coco: SimpleNamespace) -> None:
    told = report(*coco.data)
    assert told["metrics"]["PCK@0.2"]["mean"] == 100
    assert told["oks"] == {
        "scores": dict.fromkeys(SUMMARY, 100.0),
        "people": 5,
        "pictures": 6,
        "detections": 5,
    }
    assert told["oks_left_out"] is told["boxes"] is told["results"] is None
    result = run(*coco.data)
    lines = {" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()}
    assert " ".join(["100.0"] * 10) in lines
    assert "OKS, annotated boxes: colours on coco val" in lines
    assert "OKS: 5 answers for 5 people in 6 pictures" in lines
    assert "mean of joints 15 100.0" in lines


def test_detected_boxes_get_oks_alone(coco: SimpleNamespace) -> None:
    told = report(*coco.data, "--boxes", coco.boxes)
    assert "metrics" not in told
    assert "extremes" not in told
    assert not (coco.root / "out" / "extremes.png").exists()
    assert told["oks"]["scores"]["AP"] == 100
    assert (told["people"], told["oks"]["detections"], told["boxes"]) == (6, 6, str(coco.boxes))
    result = run(*coco.data, "--boxes", coco.boxes)
    assert "OKS, detected boxes: colours on coco val" in result.stdout
    assert "PCK" not in result.stdout
    assert report(*coco.data, "--boxes", coco.boxes, "--min-score", 0.55)["oks"]["detections"] == 4


@pytest.mark.parametrize("boxes", [False, True])
def test_the_results_file_gets_the_very_same_numbers(coco: SimpleNamespace, boxes: bool) -> None:
    options = ("--boxes", coco.boxes) if boxes else ()
    file = coco.root / "deep" / "results.json"
    # From person to person the annotations are further off what the picture shows.
    content = json.loads(coco.annotations.read_text())
    for n, entry in enumerate(content["annotations"]):
        entry["keypoints"][::3] = [x + 3 * n for x in entry["keypoints"][::3]]
    coco.annotations.write_text(json.dumps(content))
    told = report(*coco.data, *options, "--results", file)
    assert told["results"] == str(file)
    arguments = [str(file), "--truth", str(coco.annotations), "--protocol", "coco", "--json", "-"]
    result = CliRunner().invoke(score_app, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["protocols"]["coco"]["scores"]["OKS"] == told["oks"]["scores"]
    assert 0 < told["oks"]["scores"]["AP"] < 100


@pytest.mark.parametrize("boxes", [False, True])
def test_predictions_are_scored_again(coco: SimpleNamespace, boxes: bool) -> None:
    options = ("--boxes", coco.boxes) if boxes else ()
    first = report(*coco.data, *options)
    again = report(*coco.data, *options, "--predictions", first["predictions"])
    assert again["oks"] == first["oks"]
    if boxes:
        complaint = refused(*coco.data, "--predictions", first["predictions"])
        assert "no prediction for person 31 in 0.png" in complaint


def test_without_sigmas_there_is_pck_alone(coco: SimpleNamespace) -> None:
    content = json.loads(coco.annotations.read_text())
    del content["categories"][0]["sigmas"]
    coco.annotations.write_text(json.dumps(content))
    told = report(*coco.data)
    assert told["metrics"]["PCK@0.2"]["mean"] == 100
    assert told["oks"] is None
    assert "add 'sigmas'" in told["oks_left_out"]
    assert "no OKS: skeleton 'rgb3' has no OKS sigmas; add 'sigmas'" in run(*coco.data).stdout
    assert "add 'sigmas'" in refused(*coco.data, "--boxes", coco.boxes)
    # COCO's server needs no sigmas of ours.
    told = report(*coco.data, "--boxes", coco.boxes, "--results", coco.root / "r.json")
    assert told["oks"] is None
    assert len(json.loads((coco.root / "r.json").read_text())) == 6


def test_an_area_that_is_missing_costs_oks_alone(coco: SimpleNamespace) -> None:
    content = json.loads(coco.annotations.read_text())
    del content["annotations"][2]["area"]
    coco.annotations.write_text(json.dumps(content))
    told = report(*coco.data)
    assert told["metrics"]["PCK@0.2"]["mean"] == 100
    assert "annotation 33 has no 'area'" in told["oks_left_out"]
    assert "annotation 33 has no 'area'" in refused(*coco.data, "--boxes", coco.boxes)


def test_a_part_of_the_people_has_no_oks(coco: SimpleNamespace) -> None:
    told = report(*coco.data, "--people", 2)
    assert told["people"] == 2
    assert told["oks"] is None
    assert "--people leaves out people" in told["oks_left_out"]


@pytest.mark.parametrize("annotations", [None, []])
def test_a_test_split_is_for_predict(coco: SimpleNamespace, annotations: Any) -> None:
    file = changed(coco, "image_info_test.json", annotations=annotations)
    data = ("--data", "coco", "--root", coco.photos, "--annotations", file, "--out", coco.root / "out")
    for options in ((), ("--boxes", coco.boxes)):
        complaint = refused(*data, *options)
        assert "image_info_test.json labels nobody's joints" in complaint
        assert "`hourglass predict`" in complaint
    told = report(*data, "--boxes", coco.boxes, "--results", coco.root / "r.json")
    assert told["oks"] is None
    assert "labels nobody's joints" in told["oks_left_out"]
    assert len(json.loads((coco.root / "r.json").read_text())) == 6


def test_a_category_and_a_split_are_chosen(coco: SimpleNamespace) -> None:
    categories = json.loads(coco.annotations.read_text())["categories"]
    other = {"id": 9, "name": "cat", "keypoints": ["nose"]}
    changed(coco, "people_val.json", categories=[other, *categories])
    (coco.photos.parent / "photos_val").symlink_to(coco.photos)
    places = ("--root", coco.root / "photos_{split}", "--annotations", coco.root / "people_{split}.json")
    data = ("--data", "coco", *places, "--out", coco.root / "out")
    assert "choose one of cat, rgb3" in refused(*data)
    for options in ((), ("--boxes", coco.boxes)):
        told = report(*data, "--category", "rgb3", *options)
        assert told["oks"]["scores"]["AP"] == 100
    assert "people_test.json" in refused(*data, "--split", "test")


def test_what_cannot_be_done_is_refused_by_name(coco: SimpleNamespace) -> None:
    other = ("--data", "lspet", "--root", coco.root, "--out", coco.root / "out")
    assert "--boxes is for --data coco, not for lspet" in refused(*other, "--boxes", coco.boxes)
    assert "--results is for --data coco" in refused(*other, "--results", coco.root / "r.json")
    assert "--category is for --data coco" in refused(*other, "--category", "dog")
    good = (*coco.data, "--boxes", coco.boxes)
    assert "--people leaves out people" in refused(*good, "--people", 2)
    assert "--threshold is of PCK" in refused(*good, "--threshold", 0.1)
    assert "--min-score is about --boxes" in refused(*coco.data, "--min-score", 0.5)
    assert "(--root) and who is in them (--annotations)" in refused("--data", "coco", *good[2:4], *good[6:])
    assert "is a folder" in refused(*good, "--results", coco.root)
    assert "there is no file" in refused(*coco.data, "--boxes", coco.root / "gone.json")
    assert "not a list of boxes" in refused(*coco.data, "--boxes", coco.annotations)
    assert "(--annotations) is missing" in refused("--data", "coco", "--root", coco.photos, *good[6:8])
    assert "that scores 2 or more" in refused(*good, "--min-score", 2)


def coloured(image: np.ndarray) -> list[list[float]]:
    """The frame around everything that isn't black, twice, as a careless detector gives it."""
    rows, columns = np.nonzero(image.max(axis=2) > 40)
    if not len(rows):
        return []
    x, y, right, bottom = columns.min() - 12, rows.min() - 12, columns.max() + 13, rows.max() + 13
    return [[x, y, right - x, bottom - y, 0.9], [x + 2, y - 1, right - x, bottom - y, 0.8]]


def test_whole_photos_without_a_given_box(coco: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector looks at every photo, the network at what it finds, and everybody counts once."""
    monkeypatch.setattr("hourglass.cli.options.open_detector", lambda name, min_score: coloured)
    once = report(*coco.data, "--detector", "mine", "--results", coco.root / "once.json")
    assert once["oks"]["detections"] == 5
    assert once["oks"]["pictures"] == 6
    assert once["oks"]["scores"]["AP"] > 90
    assert once["detector"] == "mine"
    assert "metrics" not in once
    boxes = json.loads((coco.root / "out" / "boxes.json").read_text())
    assert [box["score"] for box in boxes] == [0.9, 0.8] * 5
    all_of_them = report(*coco.data, "--detector", "mine", "--nms", "1")
    assert all_of_them["oks"]["detections"] == 10
    given = report(*coco.data, "--boxes", coco.root / "out" / "boxes.json", "--min-score", "0.85")
    assert given["oks"]["scores"] == once["oks"]["scores"]


def test_where_people_are_is_said_once(coco: SimpleNamespace) -> None:
    assert "each say where the people are" in refused(*coco.data, "--detector", "x", "--boxes", coco.boxes)
    assert "--detector is for --data coco" in refused("--data", "lspet", "--detector", "x")
    assert "--detector none finds nobody" in refused(*coco.data, "--detector", "none")
    assert "about --boxes or --detector" in refused(*coco.data, "--min-score", "0.5")
    assert "leave it away with --detector" in refused(*coco.data, "--detector", "x", "--people", "3")
