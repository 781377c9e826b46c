import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner, Result

from hourglass.cli.data_doctor import doctor
from hourglass.core.skeleton import LSP14
from hourglass.synthetic.render import render

app = typer.Typer()
app.command()(doctor)

PEOPLE = 36


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered people as LSPET lays them out, all in its training split."""
    root = tmp_path_factory.mktemp("lspet")
    (root / "images").mkdir()
    joints = np.ones((14, 3, PEOPLE))
    for n in range(PEOPLE):
        scene = render(n, height=64, width=64)
        joints[:, :2, n] = scene.people[0].keypoints + 1
        joints[:, 2, n] = scene.people[0].visibility > 0
        Image.fromarray(scene.image).save(root / "images" / f"im{n + 1:05d}.jpg")
    savemat(root / "joints.mat", {"joints": joints})
    return root


@pytest.fixture
def lspet(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(made, tmp_path / "lspet"))


def plant(root: Path, person: int, joint: str, place: tuple[float, float]) -> None:
    from scipy.io import loadmat

    joints = loadmat(root / "joints.mat")["joints"]
    joints[LSP14.index(joint), :, person - 1] = (*place, 1)
    savemat(root / "joints.mat", {"joints": joints})


def checks(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["check"]: check for check in report["checks"]}


def test_clean_people_can_be_trained_on(lspet: Path, tmp_path: Path) -> None:
    answer = run(str(lspet), "--json", "out/report.json")
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.rstrip().endswith("Training can start.")
    report = json.loads(Path("out/report.json").read_text())
    assert report["can_start"] is True
    assert {check["level"] for check in report["checks"]} <= {"ok", "note"}
    assert (report["data"], report["root"], report["sheet"]) == ("lspet", str(lspet), None)
    assert report["counts"]["people"] == PEOPLE
    assert checks(report)["unreadable"]["of"] == PEOPLE
    assert not Path("out/report.jpg").exists()


def test_planted_mistakes_are_on_the_sheet_and_in_the_json(lspet: Path, tmp_path: Path) -> None:
    plant(lspet, 4, "right_knee", (500, 30))
    answer = run(str(lspet), "--json", "report.json")
    assert answer.exit_code == 0, answer.output
    report = json.loads(Path("report.json").read_text())
    outside = checks(report)["outside"]
    assert outside["level"] == "warning"
    assert [(s["person_id"], s["picture"]) for s in outside["suspects"]] == [(4, "im00004.jpg")]
    assert "right knee 436 px outside" in outside["suspects"][0]["what"]
    assert report["sheet"] == "report.jpg"
    with Image.open("report.jpg") as page:
        assert page.format == "JPEG"
        assert page.width > 240
    assert "warning, outside:" in answer.stdout
    assert "im00004.jpg: right knee 436 px outside" in answer.stdout
    assert "look at the warning" in answer.stdout.splitlines()[-1]


def test_missing_pictures_keep_training_from_starting(lspet: Path) -> None:
    (lspet / "images" / "im00007.jpg").unlink()
    (lspet / "images" / "im00009.jpg").write_bytes(b"\xff\xd8junk")
    answer = run(str(lspet), "--json", "-")
    assert answer.exit_code == 1
    report = json.loads(answer.stdout)
    found = checks(report)
    assert [s["picture"] for s in found["missing"]["suspects"]] == ["im00007.jpg"]
    assert [s["picture"] for s in found["unreadable"]["suspects"]] == ["im00009.jpg"]
    assert report["can_start"] is False
    assert report["sentence"].startswith("Training should not start: pictures without a file: 1 of 36;")


def test_annotations_alone(lspet: Path) -> None:
    plant(lspet, 4, "right_knee", (500, 30))
    shutil.rmtree(lspet / "images")
    answer = run(str(lspet), "--quick", "--sheet", "page.png")
    assert answer.exit_code == 0, answer.output
    assert "there is no folder of pictures" in answer.stdout
    # The knee is outside of nothing that is known, but its shank and thigh are too long.
    assert "warning, long-limbs:" in answer.stdout
    with Image.open("page.png") as page:
        assert page.format == "PNG"
    answer = run(str(lspet), "--most", "0")
    assert answer.exit_code == 1
    assert "Training should not start: there is no folder of pictures" in answer.stdout
    assert not Path("out").exists()


def test_by_default_the_sheet_lies_in_out(lspet: Path) -> None:
    plant(lspet, 4, "right_knee", (500, 30))
    assert run(str(lspet)).exit_code == 0
    assert Path("out/doctor.jpg").is_file()


def coco(root: Path, split: str, pictures: list[str], **wrong: Any) -> None:
    annotations = [
        {
            "id": n,
            "image_id": n,
            "category_id": 1,
            "keypoints": [9, 9, 2, 30 + n, 30, 2, 12, 40, 2],
            "bbox": [5, 5, 40, 40],
        }
        for n in range(len(pictures))
    ]
    annotations[0] |= wrong
    content = {
        "images": [
            {"id": n, "file_name": name, "width": 60, "height": 50} for n, name in enumerate(pictures)
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "stick", "keypoints": ["left_end", "right_end", "middle"]}],
    }
    (root / f"{split}.json").write_text(json.dumps(content))


def test_a_leak_between_files_is_an_error(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(5)]
    for n, name in enumerate(names):
        Image.fromarray(np.full((50, 60, 3), n, np.uint8)).save(tmp_path / name)
    coco(tmp_path, "train", names[:4])
    coco(tmp_path, "val", names[3:])
    pattern = str(tmp_path / "{split}.json")
    answer = run(str(tmp_path), "--annotations", pattern, "--most", "0", "--json", "-")
    assert answer.exit_code == 1
    leaks = checks(json.loads(answer.stdout))["leaks"]
    assert (leaks["level"], leaks["count"], leaks["of"]) == ("error", 1, 5)
    assert {(s["picture"], s["split"]) for s in leaks["suspects"]} == {("3.png", "train"), ("3.png", "val")}
    alone = run(str(tmp_path), "--annotations", pattern, "--most", "0", "--json", "-", "--split", "train")
    assert checks(json.loads(alone.stdout))["leaks"]["level"] == "ok"
    assert alone.exit_code == 0


def test_what_the_reader_refuses_is_an_error_of_the_data(tmp_path: Path) -> None:
    coco(tmp_path, "train", ["a.png"], keypoints=[9, 9, 2, 30, 30, 7, 12, 40, 2])
    answer = run(str(tmp_path), "--annotations", str(tmp_path / "train.json"), "--json", "-")
    assert answer.exit_code == 1
    report = json.loads(answer.stdout)
    assert report["counts"] == {}
    assert "annotation 0" in report["sentence"]
    assert run(str(tmp_path), "--annotations", str(tmp_path / "train.json")).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["x", "--sheet", "page.bmp"], "must end in .jpg"),
        (["x", "--json", "."], "--json . is a folder"),
        (["x", "--data", "pascal"], "--data 'pascal' is not one of"),
        ([], "say where the data lies"),
    ],
)
def test_requests_that_cannot_be_met(arguments: list[str], message: str) -> None:
    answer = run(*arguments)
    assert isinstance(answer.exception, ValueError | OSError)
    assert message in str(answer.exception)


def test_help_has_an_example_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hourglass.doctor.sources.RENDERED", 6)
    assert "Example, without any data: hourglass data doctor --data synthetic" in run("--help").stdout
    answer = run("--data", "synthetic")
    assert answer.exit_code == 0
    assert answer.stdout.rstrip().endswith("Training can start.")


@pytest.mark.realdata
def test_known_mistakes_of_lspet(real_data: Path) -> None:
    answer = run(str(real_data / "lspet"), "--most", "0", "--json", "-")
    assert answer.exit_code == 0
    found = checks(json.loads(answer.stdout))
    assert [s["picture"] for s in found["outside"]["suspects"]] == ["im08075.jpg"]
    assert "right knee 145 px" in found["outside"]["suspects"][0]["what"]
    assert found["naming"]["numbers"]["names"] == "person"
    assert found["duplicates"]["count"] == 0
    sides = {s["picture"] for s in found["sides"]["suspects"]}
    # Looked at by eye: shoulders or hips exchanged.
    assert {"im02555.jpg", "im08548.jpg", "im04184.jpg", "im06001.jpg", "im08507.jpg", "im02723.jpg"} <= sides
    assert 90 < len(sides) < 110


@pytest.mark.realdata
def test_known_facts_of_the_other_sets(real_data: Path) -> None:
    lsp = checks(json.loads(run(str(real_data / "lsp"), "--quick", "--most", "0", "--json", "-").stdout))
    assert {"im1185.jpg"} <= {s["picture"] for s in lsp["one-spot"]["suspects"]}
    assert lsp["one-spot"]["suspects"][0]["what"] == "right ankle and right knee in one place"
    assert lsp["naming"]["numbers"]["names"] == "person"
    answer = run(str(real_data / "flic"), "--quick", "--most", "0", "--json", "-")
    assert answer.exit_code == 0
    flic = checks(json.loads(answer.stdout))
    assert flic["naming"]["numbers"]["names"] == "observer"
    assert flic["leaks"]["level"] == "warning"
    assert {s["picture"] for s in flic["leaks"]["suspects"]} == {
        "collateral-disc1-00080111.jpg",
        "funny-girl-dvd-video-00184641.jpg",
    }
    own = str(real_data / "flic" / "annot" / "{split}_personcentric.h5")
    answer = run(str(real_data / "flic"), "--annotations", own, "--quick", "--most", "0", "--json", "-")
    assert checks(json.loads(answer.stdout))["naming"]["numbers"]["names"] == "person"


@pytest.mark.realdata
def test_mpii_counts_from_1(real_data: Path) -> None:
    found = checks(json.loads(run(str(real_data / "mpii"), "--quick", "--most", "0", "--json", "-").stdout))
    assert found["origin"]["numbers"]["looks_like"] == 1
    assert found["origin"]["level"] == "ok"
    assert found["leaks"]["count"] == 0
    assert found["missing"]["level"] == "error"


def test_each_source_of_a_recipe_is_looked_at(lspet: Path, tmp_path: Path) -> None:
    plant(lspet, 3, "left_wrist", (500.0, 500.0))
    recipe = tmp_path / "both.yaml"
    recipe.write_text(
        "data: {skeleton: lsp14, root: nowhere, sources: [{name: lspet, root: lspet}, "
        "{name: lspet, label: again, root: lspet}, {name: synthetic, label: made}]}"
    )
    result = run(str(tmp_path), "--recipe", str(recipe), "--json", "r.json")
    assert result.exit_code in (0, 1), result.exception
    report = json.loads(Path("r.json").read_text())
    assert list(report["sources"]) == ["lspet", "made"]
    assert checks(report["sources"]["lspet"])["outside"]["count"] == 1
    assert checks(report["sources"]["made"])["outside"]["count"] == 0
    assert report["sources"]["lspet"]["sheet"] == "r_lspet.jpg"
    assert Path("r_lspet.jpg").is_file()
    assert result.exit_code == (1 if any(not s["can_start"] for s in report["sources"].values()) else 0)
    assert "--recipe says" in str(run("x", "--recipe", str(recipe), "--data", "lsp").exception)
