from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hourglass.evaluation.metrics.protocols import LSP_TOOLKIT, PROTOCOLS
from hourglass.evaluation.metrics.scores import NotApplicable
from hourglass.evaluation.scoring.predictions import read_predictions
from hourglass.evaluation.scoring.report import ScoreRequest, as_report, chosen_protocols, score_all
from hourglass.evaluation.scoring.truth import read_truth


def made(
    truth_file: Path, predictions: Path, request: ScoreRequest, against: Path | None = None, split: str = ""
) -> dict[str, Any]:
    truth = read_truth(truth_file, split)
    answers = read_predictions(predictions, truth)
    others = None if against is None else read_predictions(against, truth)
    scored, left_out = score_all(request, truth, answers, others)
    return as_report(scored, left_out, truth, answers, others, request)


def test_every_protocol_has_its_place(
    mpii: SimpleNamespace, lsp: SimpleNamespace, flic: SimpleNamespace, coco: SimpleNamespace
) -> None:
    """Which protocols fit which truth; the others say why not."""
    on_mpii = {p.name for p in PROTOCOLS} - {"flic", "coco"}  # whose .h5 tells people's crops
    for truth, predictions, fitting in (
        (mpii.root / "valid.h5", mpii.root / "valid-ours.h5", on_mpii),
        (lsp.root / "joints.mat", lsp.root / "pred.mat", {"lsp-toolkit", "jhu-slides", "hourglass"}),
        (flic.root / "valid.h5", flic.root / "good.npy", {"flic", "jhu-slides", "hourglass"}),
        (coco.root / "truth.json", coco.root / "results.json", {"coco"}),
        (coco.root / "truth.json", coco.root / "own.json", {"coco", "jhu-slides", "hourglass"}),
    ):
        told = made(truth, predictions, ScoreRequest())
        assert set(told["protocols"]) == fitting
        assert set(told["left_out"]) == {p.name for p in PROTOCOLS} - fitting
        assert all(told["left_out"].values())


def test_lsp_by_hand_of_the_toolkit(lsp: SimpleNamespace) -> None:
    told = made(lsp.root / "joints.mat", lsp.root / "pred.mat", ScoreRequest(protocols="lsp-toolkit"))
    torso = np.linalg.norm(lsp.points[:, 9] - lsp.points[:, 2], axis=1)
    distance = np.linalg.norm(lsp.good - lsp.points, axis=2) / torso[:, None]
    scores = told["protocols"]["lsp-toolkit"]["scores"]["PCK@0.2"]
    assert scores["Mean"] == pytest.approx(100 * (distance <= 0.2).mean(), abs=6e-4)
    assert scores["Wri"] == pytest.approx(100 * (distance[:, [6, 11]] <= 0.2).mean(), abs=6e-4)
    hidden = told["protocols"]["lsp-toolkit"]["hidden"]["PCK@0.2"]["Mean"]
    assert hidden == pytest.approx(100 * (distance <= 0.2)[lsp.hidden].mean(), abs=6e-4)


def test_flic_by_hand(flic: SimpleNamespace) -> None:
    told = made(flic.root / "valid.h5", flic.root / "good.npy", ScoreRequest(protocols="flic"))
    distance = np.linalg.norm(flic.good - flic.points, axis=2) / flic.torso[:, None]
    scores = told["protocols"]["flic"]["scores"]["PCK@0.2"]
    # Shoulders are rows 0 and 3, elbows 1 and 4, wrists 2 and 5; the mean leaves shoulders out.
    for name, rows in (("Sho", [0, 3]), ("Elb", [1, 4]), ("Wri", [2, 5]), ("Mean", [1, 2, 4, 5])):
        assert scores[name] == pytest.approx(100 * (distance[:, rows] <= 0.2).mean(), abs=6e-4)


def test_another_length_and_other_thresholds(lsp: SimpleNamespace) -> None:
    request = ScoreRequest(protocols="lsp-toolkit", length="other-torso", thresholds=(0.15, 0.3))
    told = made(lsp.root / "joints.mat", lsp.root / "pred.mat", request)["protocols"]["lsp-toolkit"]
    torso = np.linalg.norm(lsp.points[:, 8] - lsp.points[:, 3], axis=1)
    distance = np.linalg.norm(lsp.good - lsp.points, axis=2) / torso[:, None]
    assert list(told["scores"]) == ["PCK@0.15", "PCK@0.3"]
    for name, threshold in (("PCK@0.15", 0.15), ("PCK@0.3", 0.3)):
        assert told["scores"][name]["Mean"] == pytest.approx(100 * (distance <= threshold).mean(), abs=6e-4)
    assert told["length"] == "right shoulder to left hip"
    # The protocol itself is as it was.
    assert chosen_protocols(ScoreRequest(protocols="lsp-toolkit")) == (LSP_TOOLKIT,)


def test_only_some_joints(mpii: SimpleNamespace) -> None:
    whole = made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", ScoreRequest(protocols="hrnet"))
    for only in ("visible", "hidden"):
        request = ScoreRequest(protocols="hrnet", only=only)
        part = made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", request)
        assert part["protocols"]["hrnet"]["scores"] == whole["protocols"]["hrnet"][only]
        assert part["protocols"]["hrnet"]["hidden"] is None


def test_intervals_hold_the_value_and_shrink_with_people(mpii: SimpleNamespace) -> None:
    request = ScoreRequest(protocols="hrnet", draws=200)
    one = made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", request)["protocols"]["hrnet"]
    for name, value in one["scores"]["PCKh@0.5"].items():
        low, high = one["interval"]["PCKh@0.5"][name]
        assert low <= value <= high
    low, high = one["interval"]["PCKh@0.5"]["Mean"]
    assert 0 < high - low < 20
    again = made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", request)["protocols"]["hrnet"]
    other = made(
        mpii.root / "valid.h5",
        mpii.root / "valid-ours.h5",
        ScoreRequest(protocols="hrnet", draws=200, seed=1),
    )["protocols"]["hrnet"]
    assert again["interval"] == one["interval"] != other["interval"]


def test_a_comparison_of_two_files(mpii: SimpleNamespace) -> None:
    files = (mpii.root / "valid-ours.h5", mpii.root / "detections_our_format.mat")
    request = ScoreRequest(protocols="bearpaw", draws=300)
    told = made(mpii.root / "valid.h5", files[0], request, files[1])["protocols"]["bearpaw"]
    back = made(mpii.root / "valid.h5", files[1], request, files[0])["protocols"]["bearpaw"]
    held = told["against"]
    assert held["scores"] == back["scores"]
    difference = held["difference"]["PCKh@0.5"]["Mean"]
    assert difference == pytest.approx(
        told["scores"]["PCKh@0.5"]["Mean"] - held["scores"]["PCKh@0.5"]["Mean"], abs=2e-3
    )
    low, high = held["difference_interval"]["PCKh@0.5"]["Mean"]
    assert 0 < low < difference < high
    mirrored = back["against"]["difference_interval"]["PCKh@0.5"]["Mean"]
    assert mirrored == pytest.approx([-high, -low], abs=2e-3)
    assert told["interval"] == back["against"].get("interval", told["interval"])
    assert (held["better"], held["worse"]) == (back["against"]["worse"], back["against"]["better"])
    # People by hand.
    right = [
        ((np.linalg.norm(p - mpii.points, axis=2) < 0.5 * mpii.head[:, None]) & mpii.labelled)[
            :, [j for j in range(16) if j not in (6, 7)]
        ].sum(1)
        for p in (mpii.good, mpii.worse)
    ]
    assert held["better"] == pytest.approx(100 * np.mean(right[0] > right[1]), abs=6e-4)
    assert held["same"] == pytest.approx(100 * np.mean(right[0] == right[1]), abs=6e-4)


def test_a_file_against_itself(mpii: SimpleNamespace) -> None:
    file = mpii.root / "valid-ours.h5"
    told = made(mpii.root / "valid.h5", file, ScoreRequest(draws=20), file)
    for one in told["protocols"].values():
        assert one["against"]["same"] == 100
        for table in one["against"]["difference_interval"].values():
            assert all(bounds in ([0, 0], [None, None]) for bounds in table.values())


def test_coco_is_drawn_by_pictures(coco: SimpleNamespace) -> None:
    told = made(
        coco.root / "truth.json", coco.root / "results.json", ScoreRequest(draws=200), coco.root / "own.json"
    )["protocols"]["coco"]
    low, high = told["interval"]["OKS"]["AP"]
    assert low <= told["scores"]["OKS"]["AP"] <= high
    # Nobody there is large.
    assert told["scores"]["OKS"]["APL"] is None
    assert told["interval"]["OKS"]["APL"] == [None, None]
    assert told["counted"]["OKS"]["APM"] == 10
    assert told["against"]["people"] == 10


def test_curves(mpii: SimpleNamespace) -> None:
    request = ScoreRequest(protocols="mpii-official", curves=True)
    one = made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", request)["protocols"]["mpii-official"]
    curve = dict(zip(one["curve"]["threshold"], one["curve"]["share"], strict=True))
    assert len(curve) == 51
    assert curve[0.5] == one["scores"]["PCKh@0.5"]["Mean"]
    assert curve[0.1] == one["scores"]["PCKh@0.1"]["Mean"]
    without = made(
        mpii.root / "valid.h5", mpii.root / "valid-ours.h5", ScoreRequest(protocols="mpii-official")
    )
    assert "curve" not in without["protocols"]["mpii-official"]


def test_a_protocol_that_does_not_fit_says_why(mpii: SimpleNamespace, coco: SimpleNamespace) -> None:
    with pytest.raises(NotApplicable, match=r"'flic' can't score .*valid-ours\.h5: the truth holds no torso"):
        made(mpii.root / "valid.h5", mpii.root / "valid-ours.h5", ScoreRequest(protocols="flic"))
    with pytest.raises(NotApplicable, match=r"'hourglass' can't score .*one prediction for each annotated"):
        made(coco.root / "truth.json", coco.root / "results.json", ScoreRequest(protocols="hourglass"))
    silent = mpii.root / "detections_our_format.mat"
    with pytest.raises(NotApplicable, match=r"--only hidden: .*\.mat doesn't tell .* with --visibility"):
        made(silent, mpii.root / "valid-ours.h5", ScoreRequest(only="hidden"))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"protocols": "mpi"}, "no protocol 'mpi'; choose one of mpii-official, bearpaw"),
        ({"length": "torso"}, "--by: only for one protocol; name it with --protocol"),
        ({"thresholds": (0.1,)}, "--threshold: only for one protocol"),
        ({"only": "some"}, "--only 'some' is not one of all, visible, hidden"),
        ({"protocols": "hrnet", "length": "foot"}, "--by 'foot' is not one of head, head-stick"),
        ({"protocols": "coco", "length": "box"}, "--by: nothing that the protocol .coco. knows"),
        ({"protocols": "hrnet", "thresholds": (0.0,)}, "--threshold 0 must be a positive number"),
        ({"protocols": "hrnet", "thresholds": (float("nan"),)}, "--threshold nan must be"),
        ({"draws": 1}, "--bootstrap 1 must be 0 or at least 2"),
    ],
)
def test_requests_that_make_no_sense(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ScoreRequest(**options)
