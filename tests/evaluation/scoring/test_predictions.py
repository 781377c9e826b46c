import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import FLIC11, LSP14, MPII16
from hourglass.evaluation.evaluate import Predictions, save_predictions
from hourglass.evaluation.scoring.predictions import read_predictions
from hourglass.evaluation.scoring.truth import Truth, read_truth


@pytest.fixture
def mat(mpii: SimpleNamespace) -> Truth:
    return read_truth(mpii.root / "detections_our_format.mat")


def csv_file(path: Path, names: Any, points: Any, **more: Any) -> Path:
    """A CSV file with the joints in reverse order and other columns around them."""
    columns = [f"{name}_{axis}" for name in reversed(names) for axis in "xy"]
    rows = points[:, ::-1].reshape(len(points), -1)
    lines = [",".join(["photo", *columns, *more])]
    for n, row in enumerate(rows):
        lines.append(
            ",".join([f"{n}.jpg", *(repr(v) for v in row.tolist()), *(str(v[n]) for v in more.values())])
        )
    path.write_text("\n".join(lines) + "\n")
    return path


def own(path: Path, ids: Any, names: Any, points: Any) -> Path:
    people = Predictions(
        np.asarray(ids, np.int64),
        tuple(names),
        np.asarray(points, np.float32),
        np.full(np.shape(points)[:2], 0.5, np.float32),
        MPII16,
    )
    save_predictions(path, people)
    return path


def close_to(found: Any, wanted: Any) -> None:
    """Equal but for the float32 of our own files."""
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_every_array_form_is_the_same_people(mpii: SimpleNamespace, mat: Truth, tmp_path: Path) -> None:
    scored = np.concatenate([mpii.good, np.full((40, 16, 1), 0.7)], -1)
    scipy.io.savemat(tmp_path / "bearpaw.mat", {"preds": mpii.good})
    scipy.io.savemat(tmp_path / "hrnet.mat", {"preds": scored})
    scipy.io.savemat(tmp_path / "toolkit.mat", {"pred": mpii.good.transpose(2, 1, 0)})
    scipy.io.savemat(tmp_path / "nyu.mat", {"pos_pred_src": mpii.good.transpose(1, 2, 0)})
    np.save(tmp_path / "array.npy", mpii.good)
    csv_file(tmp_path / "people.csv", MPII16.joints, mpii.good)
    names = ["bearpaw.mat", "hrnet.mat", "toolkit.mat", "nyu.mat", "array.npy", "people.csv"]
    for file in (mpii.root / "valid-ours.h5", *(tmp_path / name for name in names)):
        found = read_predictions(file, mat)
        np.testing.assert_array_equal(found.keypoints, mpii.good, err_msg=str(file))
        # Nothing says which pictures there are, so there is nothing to detect in.
        assert found.detections is None


def test_the_file_with_truth_and_predictions(mpii: SimpleNamespace, mat: Truth) -> None:
    np.testing.assert_array_equal(read_predictions(mat.path, mat).keypoints, mpii.worse)


def test_counting_from_0_or_1(mpii: SimpleNamespace, mat: Truth, flic: SimpleNamespace) -> None:
    # MPII counts from 1, FLIC from 0; arrays count as the truth unless the user knows better.
    file = mpii.root / "valid-ours.h5"
    for count_from, shift in ((None, 0), (1, 0), (0, 1)):
        np.testing.assert_array_equal(read_predictions(file, mat, count_from).keypoints, mpii.good + shift)
    truth = read_truth(flic.root / "valid.h5")
    for count_from, shift in ((None, 0), (1, -1), (0, 0)):
        found = read_predictions(flic.root / "good.npy", truth, count_from)
        np.testing.assert_array_equal(found.keypoints, flic.good + shift)


def test_our_own_file_counts_from_0_and_is_put_in_order(mpii: SimpleNamespace, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(40)
    names = [mpii.names[n] for n in order]
    file = own(tmp_path / "own.json", mpii.ids[order], names, mpii.good[order] - 1)
    truth = read_truth(mpii.root / "valid.h5")
    close_to(read_predictions(file, truth).keypoints, mpii.good)
    with pytest.raises(ValueError, match=r"--count-from is for .h5.*own\.json counts from 0"):
        read_predictions(file, truth, 1)


def test_our_own_file_and_a_truth_without_ids_go_by_row(
    mpii: SimpleNamespace, mat: Truth, tmp_path: Path
) -> None:
    file = own(tmp_path / "own.json", mpii.ids, mpii.names, mpii.good - 1)
    close_to(read_predictions(file, mat).keypoints, mpii.good)


def test_our_own_file_of_other_people(mpii: SimpleNamespace, tmp_path: Path) -> None:
    truth = read_truth(mpii.root / "valid.h5")
    file = own(tmp_path / "few.json", mpii.ids[:37], mpii.names[:37], mpii.good[:37])
    wanted = (
        rf"few\.json has no prediction for 3 of the 40 people .* first is person {mpii.ids[37]} in 00037\.jpg"
    )
    with pytest.raises(ValueError, match=wanted):
        read_predictions(file, truth)
    renamed = [*mpii.names[:3], "else.jpg", *mpii.names[4:]]
    file = own(tmp_path / "renamed.json", mpii.ids, renamed, mpii.good)
    with pytest.raises(ValueError, match=rf"person {mpii.ids[3]} is in else\.jpg, but in 00003\.jpg by"):
        read_predictions(file, truth)
    people = np.zeros((2, 14, 2), np.float32)
    save_predictions(
        tmp_path / "lsp.json", Predictions(np.arange(2), ("a", "b"), people, people[..., 0], LSP14)
    )
    with pytest.raises(ValueError, match=r"predicts the skeleton 'lsp14' \(14 joints\), but .*'mpii16' \(16"):
        read_predictions(tmp_path / "lsp.json", truth)


def test_csv_with_ids_is_put_in_order(mpii: SimpleNamespace, tmp_path: Path) -> None:
    truth = read_truth(mpii.root / "valid.h5")
    order = np.random.default_rng(1).permutation(40)
    file = csv_file(tmp_path / "p.csv", MPII16.joints, mpii.good[order], person_id=mpii.ids[order])
    np.testing.assert_array_equal(read_predictions(file, truth).keypoints, mpii.good)


def test_coco_results_are_detections(coco: SimpleNamespace) -> None:
    truth = read_truth(coco.root / "truth.json")
    found = read_predictions(coco.root / "results.json", truth)
    assert found.keypoints is None
    assert found.detections is not None
    assert found.detections.image.tolist() == [5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0]
    np.testing.assert_array_equal(found.detections.scores, [r["score"] for r in coco.results])
    np.testing.assert_array_equal(found.detections.keypoints[3, 0], coco.results[3]["keypoints"][:2])


def test_coco_results_may_name_pictures_and_hold_other_categories(
    coco: SimpleNamespace, tmp_path: Path
) -> None:
    truth = read_truth(coco.root / "truth.json")
    named = [{**r, "image_id": f"{900 - r['image_id']}.jpg"} for r in coco.results]
    named.append({"image_id": 900, "category_id": 7, "keypoints": [], "score": 1})
    (tmp_path / "named.json").write_text(json.dumps(named))
    found = read_predictions(tmp_path / "named.json", truth).detections
    wanted = read_predictions(coco.root / "results.json", truth).detections
    assert found is not None
    assert wanted is not None
    np.testing.assert_array_equal(found.image, wanted.image)


def test_one_person_and_one_result_in_a_picture_belong_together(
    coco: SimpleNamespace, tmp_path: Path
) -> None:
    content = {**coco.truth, "annotations": coco.truth["annotations"][::2]}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    (tmp_path / "results.json").write_text(json.dumps(coco.results[::2][::-1]))
    found = read_predictions(tmp_path / "results.json", read_truth(tmp_path / "truth.json"))
    assert found.keypoints is not None
    for row, n in enumerate(range(0, 12, 2)):
        wanted = np.array(coco.results[n]["keypoints"]).reshape(17, 3)[:, :2]
        if n != 4:
            np.testing.assert_array_equal(found.keypoints[row], wanted)
    # The crowd has no prediction of its own.
    assert np.isnan(found.keypoints[2]).all()


def test_our_own_file_on_coco(coco: SimpleNamespace) -> None:
    truth = read_truth(coco.root / "truth.json")
    found = read_predictions(coco.root / "own.json", truth)
    assert found.keypoints is not None
    assert np.isnan(found.keypoints[[4, 7]]).all()
    assert np.isfinite(found.keypoints[coco.kept]).all()
    assert found.detections is not None
    assert found.detections.image.tolist() == [5, 5, 4, 4, 3, 2, 1, 1, 0, 0]
    np.testing.assert_allclose(found.detections.scores, np.linspace(0.1, 0.9, 10), rtol=1e-6)


def test_what_doesnt_fit_the_truth(
    mpii: SimpleNamespace, lsp: SimpleNamespace, flic: SimpleNamespace, coco: SimpleNamespace, mat: Truth
) -> None:
    with pytest.raises(ValueError, match=r"'pred' is of 14 joints, but .*\.mat has the 16 of mpii16"):
        read_predictions(lsp.root / "pred.mat", mat)
    with pytest.raises(ValueError, match=r"pred\.mat is of 30 people, but .* has 1030; see --split"):
        read_predictions(lsp.root / "pred.mat", read_truth(lsp.root / "joints.mat", "all"))
    with pytest.raises(ValueError, match=r"holds a list, as COCO results are, but .* is no COCO file"):
        read_predictions(coco.root / "results.json", mat)
    with pytest.raises(ValueError, match=r"valid\.h5 holds annotations \('part'\), not predictions; swap"):
        read_predictions(flic.root / "valid.h5", mat)
    with pytest.raises(ValueError, match=r"truth\.json holds annotations, not predictions; swap"):
        read_predictions(coco.root / "truth.json", mat)


def test_places_that_are_no_files(mat: Truth, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.h5 of predictions"):
        read_predictions(tmp_path / "none.h5", mat)
    (tmp_path / "p.pkl").write_text("x")
    with pytest.raises(ValueError, match=r"p\.pkl: predictions come as \.h5, \.mat, \.npy, \.csv"):
        read_predictions(tmp_path / "p.pkl", mat)


@pytest.mark.parametrize(
    ("preds", "complaint"),
    [
        (np.zeros((39, 16, 2)), "is of 39 people, but .* has 40"),
        (
            np.zeros((40, 16)),
            r"'preds' is float64 of shape \(40, 16\); expected numbers of shape \(N, J, 2 or 3\)",
        ),
        (np.zeros((40, 16, 4)), r"'preds' has shape \(40, 16, 4\); expected \(N, J, 2\) or"),
        (np.zeros((40, 16, 2), "S3"), "'preds' is .S3 of shape"),
        (
            np.where(np.arange(16) == 9, np.nan, 1)[None, :, None] * np.ones((40, 16, 2)),
            "row 0: head_top is not",
        ),
    ],
    ids=["people", "flat", "wide", "text", "nan"],
)
@pytest.mark.parametrize("form", ["h5", "mat", "npy"])
def test_bad_arrays(mat: Truth, tmp_path: Path, preds: Any, complaint: str, form: str) -> None:
    file = tmp_path / f"bad.{form}"
    if form == "h5":
        with h5py.File(file, "w") as out:
            out["preds"] = preds
    elif form == "mat":
        if preds.dtype.kind == "S":
            pytest.skip("MATLAB has no arrays of text")
        scipy.io.savemat(file, {"preds": preds})
    else:
        np.save(file, preds)
        complaint = complaint.replace("'preds'", "'array'")
    with pytest.raises(ValueError, match=complaint) as caught:
        read_predictions(file, mat)
    assert f"bad.{form}" in str(caught.value)


def test_an_array_of_objects_is_not_unpickled(mat: Truth, tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"bad\.npy is not a NumPy array that can be read"):
        read_predictions(tmp_path / "bad.npy", mat)


def test_no_preds_in_the_file(mat: Truth, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file["heatmaps"] = np.zeros(3)
        file.create_group("deep")
    with pytest.raises(ValueError, match=r"bad\.h5 holds no 'preds', only heatmaps"):
        read_predictions(tmp_path / "bad.h5", mat)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda t: t.replace("left_wrist_x", "left_paw_x"), "has no column 'left_wrist_x'"),
        (lambda t: t.replace("photo", "tail_x"), "has a column of an unknown joint 'tail_x'"),
        (lambda t: t.replace("photo", "neck_x"), "has the column 'neck_x' twice"),
        (lambda t: t.replace("0.jpg,", "0.jpg,9,", 1), "line 2 has 35 cells, but the first line names 34"),
        (
            lambda t: t.replace(",1001", ",x", 1),
            "line 2: 'person_id' is 'x', not a number",
        ),
        (lambda t: t.replace(",1001", ",1.5", 1), "line 2: 'person_id' is 1.5, not a whole number"),
        (lambda t: t.replace(",1002", ",1001", 1), "two rows have the same person_id"),
        (lambda t: "", "is empty"),
        (lambda t: t.split("\n")[0], "holds predictions of nobody"),
        (lambda t: "\x00" + t, r"bad\.csv"),
    ],
)
def test_bad_csv(mpii: SimpleNamespace, tmp_path: Path, change: Any, complaint: str) -> None:
    file = csv_file(tmp_path / "bad.csv", MPII16.joints, mpii.good, person_id=np.arange(1001, 1041))
    file.write_text(change(file.read_text()))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_predictions(file, read_truth(mpii.root / "valid.h5"))
    assert "bad.csv" in str(caught.value)


@pytest.mark.parametrize("cell", ["", "abc", "nan", "inf", "1e999"])
def test_a_cell_that_is_no_number(mpii: SimpleNamespace, mat: Truth, tmp_path: Path, cell: str) -> None:
    file = csv_file(tmp_path / "bad.csv", MPII16.joints, mpii.good)
    lines = file.read_text().split("\n")
    cells = lines[6].split(",")
    cells[1] = cell
    lines[6] = ",".join(cells)
    file.write_text("\n".join(lines))
    with pytest.raises(
        ValueError, match=r"bad\.csv, line 7: 'left_wrist_x' is (not a finite number|'.*', not a)"
    ):
        read_predictions(file, mat)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: r.clear(), "holds no predictions"),
        (lambda r: r.__setitem__(2, 7), "row 2 is no object"),
        (lambda r: r[2].update(image_id=5), "row 2: 'image_id' 5 is not among the pictures"),
        (lambda r: r[2].pop("score"), "row 2 has no 'score'"),
        (lambda r: r[2].update(score="high"), "row 2: 'score' is not a number"),
        (lambda r: r[2].update(score=float("nan")), "row 2: its score is not a finite number"),
        (lambda r: r[2].update(keypoints=[1, 2, 3]), r"row 2: 'keypoints' is not numbers of shape \(51,\)"),
        (lambda r: r[2]["keypoints"].__setitem__(3, float("inf")), "row 2: left_eye is not a finite number"),
        (lambda r: [e.update(category_id=3) for e in r], "holds no results of category 1"),
        (lambda r: [e.update(bbox=e.pop("keypoints")) for e in r], "holds boxes, not keypoints"),
    ],
)
def test_bad_results(coco: SimpleNamespace, tmp_path: Path, change: Any, complaint: str) -> None:
    content = json.loads(json.dumps(coco.results))
    change(content)
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_predictions(tmp_path / "bad.json", read_truth(coco.root / "truth.json"))
    assert "bad.json" in str(caught.value)


def test_flic_has_eleven_joints(flic: SimpleNamespace) -> None:
    truth = read_truth(flic.root / "valid.h5")
    assert truth.people.skeleton is FLIC11
    np.testing.assert_array_equal(read_predictions(flic.root / "good.npy", truth).keypoints, flic.good)
