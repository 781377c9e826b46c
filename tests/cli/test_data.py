import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from PIL import Image
from typer.testing import CliRunner

from hourglass.cli.data import app
from hourglass.core.structs import PersonRecord
from hourglass.data.packs.open_pack import load_records, read_facts
from leeds_archives import LSP, LSPET


def lspet(root: Path, count: int) -> Path:
    joints: npt.NDArray[np.float64] = np.ones((14, 3, count))
    joints[:, 0] = np.linspace(20, 70, 14)[:, None]
    joints[:, 1] = np.linspace(10, 80, 14)[:, None]
    (root / "images").mkdir(parents=True)
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    for number in range(1, count + 1):
        cv2.imwrite(str(root / "images" / f"im{number:05d}.jpg"), np.full((90, 80, 3), 90, np.uint8))
    return root


def test_the_command_packs_lspet(tmp_path: Path) -> None:
    root, out = lspet(tmp_path / "lspet", 3), tmp_path / "out.parquet"
    arguments = ["pack", "--root", str(root), "--split", "train", str(out), "--size", "64", "--json", "-"]
    answer = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert answer.exit_code == 0
    report = json.loads(answer.stdout)
    assert report["people"] == {"train": 3}
    assert report["bytes"] == out.stat().st_size
    assert "3 train people" in answer.stderr
    assert read_facts(out).crop_px == 64
    assert load_records(out, "train")[0].skeleton is not None


def test_the_options_of_the_people_reach_the_pack(tmp_path: Path) -> None:
    root, out = lspet(tmp_path / "lspet", 2), tmp_path / "out.parquet"
    run = ["pack", "--root", str(root), "--split", "train", "--size", "512", str(out)]

    def packed(*options: str) -> PersonRecord:
        assert CliRunner().invoke(app, [*run, *options], catch_exceptions=False).exit_code == 0
        return load_records(out, "train")[0]

    usual, by_limbs, seen = packed(), packed("--crop", "limbs"), packed("--sides", "observer")
    assert read_facts(out).source == f"lspet {root} sides=observer"
    assert by_limbs.side_px != pytest.approx(usual.side_px, rel=0.05)
    # From the upper left to the lower right: the left shoulder lies further right, so nobody changes sides.
    np.testing.assert_array_equal(seen.keypoints, usual.keypoints)
    joints = scipy.io.loadmat(root / "joints.mat")["joints"]
    joints[:, 0] = joints[::-1, 0]
    scipy.io.savemat(root / "joints.mat", {"joints": joints})
    usual, seen = packed(), packed("--sides", "observer")
    mirrored = usual.skeleton.flip_permutation
    assert mirrored[0] == 5
    np.testing.assert_array_equal(seen.keypoints, usual.keypoints[mirrored])


@pytest.mark.parametrize("data", ["lsp", "lsp_lspet"])
def test_lsp_is_packed_as_train_and_test(tmp_path: Path, data: str) -> None:
    LSP.write(tmp_path / "lsp", LSP.people(1002), photos=())
    LSPET.write(tmp_path / "lspet", LSPET.people(2), photos=())
    for kind, numbers in ((LSP, range(1, 1003)), (LSPET, range(1, 3))):
        for number in numbers:
            Image.new("RGB", (60, 50)).save(tmp_path / str(kind) / "images" / kind.photo(number))
    root, out = tmp_path if data == "lsp_lspet" else tmp_path / "lsp", tmp_path / "out.parquet"
    arguments = ["pack", "--data", data, "--root", str(root), "--size", "64", str(out)]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert read_facts(out).people == {"train": 1002 if data == "lsp_lspet" else 1000, "test": 2}
    last = load_records(out, "train")[-1]
    expected = ("lspet/im00002.jpg", 100_002) if data == "lsp_lspet" else ("im1000.jpg", 1000)
    assert (last.image_id, last.person_id) == expected


def test_the_command_names_damaged_photos_and_exits_1(tmp_path: Path) -> None:
    root, out = lspet(tmp_path / "lspet", 3), tmp_path / "out.parquet"
    (root / "images" / "im00002.jpg").write_bytes(b"junk")
    arguments = [
        "pack",
        "--root",
        str(root),
        "--split",
        "train",
        str(out),
        "--json",
        str(tmp_path / "r" / "r.json"),
    ]
    answer = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert "left out person 2: " in answer.stderr
    assert "im00002.jpg is not a picture" in answer.stderr
    failed = json.loads((tmp_path / "r" / "r.json").read_text())["failed"]
    assert [f["person_id"] for f in failed] == [2]
    assert len(load_records(out, "train")) == 2


def test_the_command_packs_coco(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "photos" / "a.jpg")
    for split, identifier in (("train", 1), ("val", 2)):
        data = {
            "images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [
                {"id": identifier, "image_id": 1, "category_id": 1, "keypoints": [9, 9, 2, 50, 50, 2] * 1}
            ],
            "categories": [{"id": 1, "name": "stick", "keypoints": ["left_end", "right_end"]}],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(data))
    out = tmp_path / "out.parquet"
    arguments = ["pack", "--data", "coco", "--root", str(tmp_path / "photos"), str(out)]
    run = CliRunner().invoke
    assert run(app, [*arguments, "--annotations", str(tmp_path / "{split}.json")]).exit_code == 0
    assert read_facts(out).people == {"train": 1, "val": 1}
    assert load_records(out, "val")[0].person_id == 2
    assert load_records(out, "val")[0].skeleton.flip_pairs == (("left_end", "right_end"),)
    assert run(app, [*arguments, "--annotations", str(tmp_path / "val.json")]).exit_code == 0
    assert read_facts(out).people == {"train": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data", "mpi"],
            "--data 'mpi' is not one of lspet, lsp, lsp_lspet, mpii, flic, coco, file, synthetic",
        ),
        (["--data", "pack", "--root", "a.parquet"], "--data 'pack' is not one of"),
        (["--data", "mpii", "--root", "x", "--crop", "limbs"], "data.crop: limbs is no option of mpii"),
        (["--root", "x", "--sides", "person"], "data.sides: person is no option of lspet, but of flic"),
        ([], "(--root) is missing"),
        (["--data", "coco", "--root", "x"], "(--annotations) is missing"),
        (["--root", "nowhere"], "there is no folder nowhere"),
        (["--root", "x", "--split", "val", "--split", "val"], "names one split twice"),
        (["--root", "x", "--split", "middle"], "no split 'middle'"),
        (
            ["--data", "coco", "--root", "x", "--annotations", "a.json", "--split", "a", "--split", "b"],
            "need {split}",
        ),
        (["--root", "x", "--json", "."], "--json . is a folder"),
    ],
)
def test_the_command_explains_wrong_requests(arguments: list[str], message: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["pack", *arguments, str(tmp_path / "out.parquet")])
    assert isinstance(answer.exception, ValueError | OSError)
    assert message in str(answer.exception)
    assert not (tmp_path / "out.parquet").exists()


def test_help_has_an_example() -> None:
    answer = CliRunner().invoke(app, ["pack", "--help"], env={"COLUMNS": "200"})
    assert "Example, without any data: hourglass data pack --data synthetic --people 64" in answer.stdout


def test_rendered_people_can_be_packed_without_any_data(tmp_path: Path) -> None:
    out = tmp_path / "rendered.parquet"
    arguments = ["pack", "--data", "synthetic", "--people", "3", "--size", "64", str(out)]
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 0, answer.output
    train, val = load_records(out, "train"), load_records(out, "val")
    assert (len(train), len(val)) == (3, 3)
    assert not {r.image_id for r in train} & {r.image_id for r in val}
