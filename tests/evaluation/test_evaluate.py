"""Predicting people in their crops, and PCK of what was predicted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from colours import ANSWERS, FACTS, RGB, TRUTH, Colours, make_records, record
from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.images import ImageError, read_image
from hourglass.evaluation.evaluate import (
    Predictions,
    curves,
    hidden_joints,
    predict_records,
    predict_stages,
    score,
    stage_scores,
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[PersonRecord]:
    return make_records(tmp_path_factory.mktemp("pictures"))


# Predicting


@pytest.mark.parametrize("flip_test", [False, True])
def test_what_a_perfect_network_sees_comes_back_in_picture_pixels(
    records: list[PersonRecord], flip_test: bool
) -> None:
    found = predict_records(Colours().eval(), FACTS, records, flip_test=flip_test)
    truth = np.stack([r.keypoints for r in records])
    # A heatmap cell is 9 to 12 picture pixels wide here.
    assert np.abs(found.keypoints - truth).max() < 0.6
    assert found.person_id.tolist() == [100, 99, 98, 97, 96]
    assert found.image_id[:2] == ("0.png", "1.png")
    assert found.weights == "colours"
    result = score(found, records)
    assert result["metrics"]["PCK@0.2"]["mean"] == 100
    assert result["people"] == result["people_counted"] == 5


def test_neither_batches_nor_threads_nor_given_pictures_make_a_difference(
    records: list[PersonRecord],
) -> None:
    pictures = [read_image(Path(str(r.image))) for r in records]
    whole = predict_records(Colours(), FACTS, records)
    for other in (
        predict_records(Colours(), FACTS, records),
        predict_records(Colours(), FACTS, records, batch_size=2, workers=1),
        predict_records(Colours(), FACTS, records, batch_size=1, workers=7),
        predict_records(Colours(), FACTS, records, images=pictures),
    ):
        np.testing.assert_array_equal(other.keypoints, whole.keypoints)
        np.testing.assert_array_equal(other.scores, whole.scores)


def test_the_flip_test_swaps_the_weights_own_pairs(records: list[PersonRecord]) -> None:
    # Colours don't change sides in a mirror. Told that red and green do, the flip test sees each of
    # the two in half of its maps only.
    paired = replace(RGB, flip_pairs=(("left_shoulder", "right_hip"),))
    plain = predict_records(Colours(), FACTS, records)
    swapped = predict_records(Colours(), replace(FACTS, skeleton=paired), records)
    assert (swapped.scores[:, :2] < 0.75 * plain.scores[:, :2]).all()
    np.testing.assert_array_equal(swapped.scores[:, 2], plain.scores[:, 2])


def test_the_network_gets_its_mode_back_and_the_random_state_is_left_alone(
    records: list[PersonRecord],
) -> None:
    network = Colours().train()
    torch_before, numpy_before = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    predict_records(network, FACTS, records)
    assert network.training
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert repr(np.random.get_state()) == numpy_before  # noqa: NPY002
    with pytest.raises(ImageError):
        predict_records(network, FACTS, [record(1, [[0, 0]] * 3)])
    assert network.training


def test_half_precision_is_near(records: list[PersonRecord]) -> None:
    class Convolved(Colours):
        """Autocast reaches convolutions, not poolings."""

        def __init__(self) -> None:
            super().__init__()
            self.same = nn.Conv2d(3, 3, 1, bias=False)
            nn.init.eye_(self.same.weight.data[..., 0, 0])

        def forward(self, image: Tensor) -> list[Tensor]:
            return [self.same(heat) for heat in super().forward(image)]

    full = predict_records(Convolved(), FACTS, records)
    half = predict_records(Convolved(), FACTS, records, precision=torch.bfloat16)
    np.testing.assert_allclose(half.keypoints, full.keypoints, atol=2)
    assert not np.array_equal(half.keypoints, full.keypoints)


def test_progress_counts_people(records: list[PersonRecord]) -> None:
    told: list[tuple[int, int]] = []
    predict_records(Colours(), FACTS, records, batch_size=2, progress=lambda *counts: told.append(counts))
    assert told == [(2, 5), (4, 5), (5, 5)]


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, records: list[PersonRecord]) -> None:
    (tmp_path / "cut.png").write_bytes(Path(str(records[0].image)).read_bytes()[:99])
    for name in ("cut.png", "gone.png"):
        bad = replace(records[0], image=tmp_path / name, image_id=name)
        with pytest.raises(ImageError, match=name):
            predict_records(Colours(), FACTS, [*records, bad], batch_size=2)


def test_weights_of_another_skeleton_are_refused(records: list[PersonRecord]) -> None:
    with pytest.raises(ValueError, match=r"'lsp14' \(14 joints\).*'rgb3' \(3 joints\)"):
        predict_records(Colours(), replace(FACTS, skeleton=LSP14), records)


def test_nobody_is_predicted_without_trouble() -> None:
    assert len(predict_records(Colours(), FACTS, [])) == 0


# Scoring


def test_a_score_counted_by_hand() -> None:
    result = score(ANSWERS, TRUTH, (0.2, 0.25))
    # Person 1: 0 right, 21 of 100 wrong at 0.2, 0 right. Person 2: 10 of 50 right, 11 of 50 wrong at 0.2.
    assert result["metrics"]["PCK@0.2"] == {
        "mean": round(200 / 3, 3),
        "pooled": 60.0,
        "left_shoulder": 100.0,
        "right_hip": 0.0,
        "nose": 100.0,
    }
    assert result["metrics"]["PCK@0.25"]["mean"] == 100.0
    assert (result["people"], result["people_counted"]) == (3, 2)
    assert result["joints"] == {"left_shoulder": 2, "right_hip": 2, "nose": 1}
    json.dumps(result, allow_nan=False)


def test_without_any_torso_there_is_no_score() -> None:
    result = score(ANSWERS, TRUTH[2:])
    assert set(result["metrics"]["PCK@0.2"].values()) == {None}
    assert (result["people"], result["people_counted"]) == (1, 0)


def test_a_joint_may_be_called_as_the_total_is() -> None:
    called = {"left_shoulder": "mean", "right_hip": "pooled", "nose": "person"}
    skeleton = replace(
        RGB,
        joints=tuple(called[joint] for joint in RGB.joints),
        torso=tuple((called[a], called[b]) for a, b in RGB.torso),
        flip_pairs=(),
        limbs=(),
    )
    answers = replace(ANSWERS, skeleton=skeleton)
    result = score(answers, [replace(person, skeleton=skeleton) for person in TRUTH])
    assert result["metrics"]["PCK@0.2"] == {"mean": round(200 / 3, 3), "pooled": 60.0, "person": 100.0}
    assert result["joint_metrics"]["PCK@0.2"] == {"mean": 100.0, "pooled": 0.0, "person": 100.0}


def test_one_joint_is_measured_by_the_box_of_its_crop() -> None:
    dot = Skeleton("dot", ("dot",))
    # Crops of 100 px were made of boxes of 80 px: 16 px are right at 0.2, 17 are not.
    points = np.array([[[50, 50]], [[50, 50]]], np.float32)
    truth = [
        PersonRecord(
            image=b"",
            image_id=f"{n}.png",
            person_id=n,
            skeleton=dot,
            keypoints=points[n],
            visibility=np.array([2], np.uint8),
            center=np.array([50, 50], np.float32),
            side_px=100.0,
        )
        for n in range(2)
    ]
    off = np.array([[[66, 50]], [[50, 67]]], np.float32)
    answers = Predictions(np.arange(2), ("0.png", "1.png"), off, np.ones((2, 1), np.float32), dot)
    result = score(answers, truth)
    assert result["metrics"]["PCK@0.2"] == {"mean": 50.0, "pooled": 50.0, "dot": 50.0}
    assert (result["reference"], result["people_counted"]) == ("box", 2)


def test_a_score_must_be_complete() -> None:
    with pytest.raises(ValueError, match=r"no prediction for person 4 in 4\.png"):
        score(ANSWERS, [*TRUTH, record(4, [[0, 0]] * 3)])
    other = replace(TRUTH[0], image_id="elsewhere.png")
    with pytest.raises(ValueError, match=r"no prediction for person 1 in elsewhere\.png"):
        score(ANSWERS, [other])
    with pytest.raises(ValueError, match="nobody to score"):
        score(ANSWERS, [])


def test_a_threshold_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive, not 0"):
        score(ANSWERS, TRUTH, (0,))


def test_predictions_of_another_skeleton_are_refused() -> None:
    other = replace(RGB, name="other", joints=("left_shoulder", "right_hip", "tail"))
    with pytest.raises(ValueError, match=r"'other'.*'rgb3'"):
        score(replace(ANSWERS, skeleton=other), TRUTH)


def test_predictions_check_their_shapes() -> None:
    with pytest.raises(ValueError, match=r"scores has shape \(4, 2\), expected \(4, 3\)"):
        replace(ANSWERS, scores=ANSWERS.scores[:, :2])
    with pytest.raises(ValueError, match="a person occurs twice"):
        replace(ANSWERS, person_id=np.array([1, 2, 3, 3]))


# Hidden joints, curves and stages


def test_hidden_joints_by_hand() -> None:
    # Person 1 shows all three and has one of them wrong; person 2 hides green, 11 px off in a torso of 50.
    found = hidden_joints(ANSWERS, TRUTH)
    assert found == {
        "threshold": 0.2,
        "hidden": {"counted": 1, "found": 0.0, "told": None},
        "visible": {"counted": 4, "found": 75.0, "told": None},
    }
    assert score(ANSWERS, TRUTH)["hidden"] == found
    wider = hidden_joints(ANSWERS, TRUTH, 0.22)
    assert wider is not None
    assert (wider["hidden"]["found"], wider["visible"]["found"]) == (100.0, 100.0)
    # In the predictions' own order: person 2's green, which is hidden, and person 1's blue, which isn't.
    told = replace(ANSWERS, occluded=np.array([[0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], bool))
    flagged = hidden_joints(told, TRUTH)
    assert flagged is not None
    assert (flagged["hidden"]["told"], flagged["visible"]["told"]) == (100.0, 25.0)
    seen = [replace(person, visibility=np.minimum(2 * person.visibility, 2)) for person in TRUTH]
    assert hidden_joints(ANSWERS, seen) is None


class Signed(nn.Module):
    """Colours whose green map is turned over: all green joints are hidden, it says."""

    output, stride = "heatmap", 4

    def forward(self, image: Tensor) -> list[Tensor]:
        return [maps * torch.tensor([1.0, -1.0, 1.0])[:, None, None] for maps in Colours().eval()(image)]


def test_weights_that_tell_hidden_joints_are_asked(records: list[PersonRecord]) -> None:
    found = predict_records(Signed(), replace(FACTS, signed=True), records, flip_test=False)
    assert found.occluded is not None
    assert found.occluded.tolist() == [[False, True, False]] * 5
    told = hidden_joints(found, records)
    assert told is not None
    assert told["hidden"] == {"counted": 5, "found": 100.0, "told": 100.0}
    assert told["visible"]["told"] == 0.0
    assert predict_records(Colours(), FACTS, records).occluded is None


def test_curves_end_at_the_score() -> None:
    thresholds, shares = curves(ANSWERS, TRUTH, 0.2)
    assert (thresholds[0], thresholds[-1], len(thresholds)) == (0.0, 0.2, 101)
    assert list(shares) == ["shoulder", "hip", "nose", "mean"]
    metrics = score(ANSWERS, TRUTH)["metrics"]["PCK@0.2"]
    for values, name in zip(shares.values(), (*RGB.joints, "mean"), strict=True):
        assert values[-1] == pytest.approx(metrics[name], abs=1e-3)
        assert values == sorted(values)


def test_stages_are_scored_one_by_one(records: list[PersonRecord]) -> None:
    class Two(nn.Module):
        """First a map that is wrong everywhere, then the right one."""

        output, stride = "heatmap", 4

        def forward(self, image: Tensor) -> list[Tensor]:
            (maps,) = Colours().eval()(image)
            return [maps.flip(-1, -2).roll(5, -1), maps]

    stages = predict_stages(Two(), FACTS, records, flip_test=False)
    first, last = stage_scores(stages, records)
    assert last == dict.fromkeys(["shoulder", "hip", "nose", "mean"], 100.0)
    wanted = score(stages[0], records)["metrics"]["PCK@0.2"]
    assert first["mean"] == wanted["mean"]
    assert first["mean"] is not None
    assert first["mean"] < 60
