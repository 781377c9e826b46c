"""Files with flipped bits, cut off, or out of thin air: read as they are or refused in a sentence."""

import json
import random
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damaged import anything, damaged, or_refusal
from hourglass.evaluation.scoring.predictions import read_predictions
from hourglass.evaluation.scoring.report import ScoreRequest, score_all
from hourglass.evaluation.scoring.truth import Truth, read_truth

FLIPS = 40


def try_truth(file: Path) -> Truth | None:
    """The truth, whole and finite, or None after a refusal."""
    truth = or_refusal(lambda: read_truth(file), file)
    if truth is None:
        return None
    labelled = truth.people.visibility > 0
    assert np.isfinite(truth.people.keypoints[labelled]).all()
    assert all(np.isfinite(length).all() and (length > 0).all() for length in truth.people.lengths.values())
    return truth


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("mpii", "detections_our_format.mat"),
        ("mpii", "valid.h5"),
        ("mpii", "mpii_annotations.json.gz"),
        ("mpii", "valid.json"),
        ("lsp", "lspet.mat"),
        ("flic", "valid.h5"),
        ("coco", "truth.json"),
    ],
)
def test_damaged_truth(request: pytest.FixtureRequest, tmp_path: Path, data: str, name: str) -> None:
    whole = (request.getfixturevalue(data).root / name).read_bytes()
    draw = random.Random(name)
    refused = 0
    for _ in range(FLIPS):
        file = tmp_path / name
        file.write_bytes(damaged(whole, draw))
        refused += try_truth(file) is None
    assert refused > FLIPS / 20


@pytest.mark.parametrize(
    ("data", "truth_name", "name"),
    [
        ("mpii", "valid.h5", "valid-ours.h5"),
        ("mpii", "valid.h5", "detections_our_format.mat"),
        ("lsp", "joints.mat", "pred.mat"),
        ("flic", "valid.h5", "good.npy"),
        ("coco", "truth.json", "results.json"),
        ("coco", "truth.json", "own.json"),
    ],
)
def test_damaged_predictions(
    request: pytest.FixtureRequest, tmp_path: Path, data: str, truth_name: str, name: str
) -> None:
    root = request.getfixturevalue(data).root
    truth, whole = read_truth(root / truth_name), (root / name).read_bytes()
    draw = random.Random(name)
    refused = 0
    for _ in range(FLIPS):
        file = tmp_path / name
        file.write_bytes(damaged(whole, draw))
        found = or_refusal(partial(read_predictions, file, truth), file)
        if found is None:
            refused += 1
            continue
        for table in (found.keypoints, None if found.detections is None else found.detections.keypoints):
            assert table is None or table.shape[1:] == (len(truth.people.skeleton), 2)
        scored, _ = score_all(ScoreRequest("coco" if found.keypoints is None else "hourglass"), truth, found)
        assert scored
    assert refused > FLIPS / 20


@pytest.mark.realdata
@pytest.mark.parametrize("copies", [20, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["valid-ours.h5", "detections_our_format.mat"])
def test_damaged_copies_of_the_real_files(tmp_path: Path, real_data: Path, name: str, copies: int) -> None:
    """What `score` alone reads; the other files are damaged in the tests of their readers."""
    root = real_data / "mpii"
    truth, whole = read_truth(root / "valid.h5"), (root / name).read_bytes()
    exact = read_predictions(root / name, truth).keypoints
    file, draw, refused = tmp_path / name, random.Random(copies), 0
    for _ in range(copies):
        file.write_bytes(damaged(whole, draw))
        found = or_refusal(partial(read_predictions, file, truth), file)
        if found is None:
            refused += 1
            continue
        # HDF5 has no checksums, so the numbers may be others; MATLAB's packed files have.
        told = exact
        if name.endswith(".h5"):
            with h5py.File(file) as copy:
                told = copy["preds"][...]
        np.testing.assert_array_equal(found.keypoints, told)
        if name.endswith(".mat"):
            people = try_truth(file)
            assert people is None or len(people) == len(truth)
    assert refused > copies / 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["keypoints", "area", "bbox", "iscrowd", "id", "image_id", "num_keypoints"]), anything)
def test_any_value_in_an_annotation(coco: SimpleNamespace, tmp_path: Path, field: str, value: Any) -> None:
    content = json.loads(json.dumps(coco.truth))
    content["annotations"][3][field] = value
    (tmp_path / "any.json").write_text(json.dumps(content))
    try_truth(tmp_path / "any.json")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["keypoints", "score", "image_id", "category_id"]), anything)
def test_any_value_in_a_result(coco: SimpleNamespace, tmp_path: Path, field: str, value: Any) -> None:
    content = json.loads(json.dumps(coco.results))
    content[3][field] = value
    file = tmp_path / "any.json"
    file.write_text(json.dumps(content))
    truth = read_truth(coco.root / "truth.json")
    or_refusal(partial(read_predictions, file, truth), file)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(anything)
def test_any_json(tmp_path: Path, content: Any) -> None:
    (tmp_path / "any.json").write_text(json.dumps(content))
    assert try_truth(tmp_path / "any.json") is None


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=200), st.sampled_from([".csv", ".npy", ".h5", ".mat", ".json"]))
def test_any_text_as_predictions(mpii: SimpleNamespace, tmp_path: Path, text: str, suffix: str) -> None:
    file = tmp_path / f"any{suffix}"
    file.write_bytes(text.encode("utf-8", "replace"))
    truth = read_truth(mpii.root / "valid.h5")
    with pytest.raises(ValueError, match="any"):
        read_predictions(file, truth)
