import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.checkpoint import WeightFacts
from hourglass.data.images import ImageError, read_image
from hourglass.evaluate import (
    Predictions,
    extremes,
    extremes_sheet,
    load_predictions,
    predict_records,
    save_predictions,
    score,
)
from hourglass.recipe import NetworkRecipe
from hourglass.skeleton import LSP14, Skeleton
from hourglass.structs import PersonRecord

# Red, green and blue blobs stand for the three joints of a person.
RGB = Skeleton(
    "rgb3",
    ("left_shoulder", "right_hip", "nose"),
    limbs=(("left_shoulder", "right_hip"),),
    torso=(("left_shoulder", "right_hip"),),
)
FACTS = WeightFacts(
    name="colours",
    network=NetworkRecipe(),
    skeleton=RGB,
    input_px=64,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    sigma_hm=1.25,
)


class Colours(nn.Module):
    """Sees red, green and blue: a network whose right answer is known without any training."""

    output = "heatmap"

    def forward(self, image: Tensor) -> list[Tensor]:
        assert not self.training
        return [F.avg_pool2d(image.float() / 255, 4)]


def painted(joints: npt.NDArray[np.float64], height: int = 200, width: int = 240) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    squared = (columns[..., None] - joints[:, 0]) ** 2 + (rows[..., None] - joints[:, 1]) ** 2
    image: npt.NDArray[np.uint8] = np.rint(255 * np.exp(-squared / (2 * 12.0**2))).astype(np.uint8)
    return image


def make_records(folder: Path, count: int = 5) -> list[PersonRecord]:
    """People off the middle of their crops, in crops that shrink them 2.2 to 3 times."""
    rng = np.random.default_rng(3)
    records = []
    for i in range(count):
        center = rng.uniform(90, 110, 2)
        joints = center + rng.uniform(-45, 45, (3, 2))
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), painted(joints)[..., ::-1])
        records.append(
            PersonRecord(
                image=path,
                image_id=path.name,
                person_id=100 - i,
                skeleton=RGB,
                keypoints=joints.astype(np.float32),
                visibility=np.array([2, 1, 2], np.uint8),
                center=center.astype(np.float32),
                side_px=float(rng.uniform(140, 190)),
            )
        )
    return records


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[PersonRecord]:
    return make_records(tmp_path_factory.mktemp("pictures"))


def record(person: int, keypoints: object, visibility: object = (2, 2, 2)) -> PersonRecord:
    return PersonRecord(
        image=Path("none.png"),
        image_id=f"{person}.png",
        person_id=person,
        skeleton=RGB,
        keypoints=np.array(keypoints, np.float32),
        visibility=np.array(visibility, np.uint8),
        center=np.zeros(2, np.float32),
        side_px=10.0,
    )


def answers(*people: tuple[int, object]) -> Predictions:
    keypoints = np.array([joints for _, joints in people], np.float32)
    return Predictions(
        person_id=np.array([person for person, _ in people], np.int64),
        image_id=tuple(f"{person}.png" for person, _ in people),
        keypoints=keypoints,
        scores=np.ones(keypoints.shape[:2], np.float32),
        skeleton=RGB,
    )


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

# Torsos of 100, 50 and, with the hip not labelled, none.
TRUTH = [
    record(1, [[0, 0], [100, 0], [50, 50]]),
    record(2, [[0, 0], [0, 50], [7, 7]], (2, 1, 0)),
    record(3, [[0, 0], [np.nan, np.nan], [0, 9]], (2, 0, 2)),
]
ANSWERS = answers(
    (3, [[0, 0], [0, 0], [0, 9]]),
    (2, [[0, 10], [0, 61], [900, 900]]),
    (1, [[0, 0], [100, 21], [50, 50]]),
    (77, [[0, 0], [0, 0], [0, 0]]),
)


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


# The file of predictions


def awkward() -> Predictions:
    rng = np.random.default_rng(0)
    numbers = rng.normal(0, 1, (4, 3, 3)) * 10.0 ** rng.integers(-30, 8, (4, 3, 3))
    numbers[0, 0, 0] = -0.0
    few = numbers.astype(np.float32)
    return replace(ANSWERS, keypoints=few[..., :2].copy(), scores=few[..., 2].copy(), weights="ä")


def test_a_file_of_predictions_comes_back_to_the_bit(tmp_path: Path) -> None:
    before = awkward()
    save_predictions(tmp_path / "p.json", before)
    after = load_predictions(tmp_path / "p.json")
    assert after.keypoints.dtype == np.float32
    np.testing.assert_array_equal(after.keypoints.view(np.uint32), before.keypoints.view(np.uint32))
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.person_id, before.person_id)
    assert (after.image_id, after.skeleton, after.weights) == (before.image_id, RGB, "ä")


def test_the_file_is_plain_json_with_short_numbers(tmp_path: Path) -> None:
    save_predictions(tmp_path / "p.json", answers((5, [[0.1, 2], [3, 4], [5, 6]])))
    raw = json.loads((tmp_path / "p.json").read_text())
    assert raw["format"] == "hourglass-predictions-1"
    assert raw["skeleton"]["joints"] == list(RGB.joints)
    assert raw["people"] == [
        {"person_id": 5, "image_id": "5.png", "keypoints": [[0.1, 2, 1], [3, 4, 1], [5, 6, 1]]}
    ]


def test_scoring_a_file_again_gives_the_same_numbers(tmp_path: Path, records: list[PersonRecord]) -> None:
    found = predict_records(Colours(), FACTS, records)
    save_predictions(tmp_path / "p.json", found)
    thresholds = (0.001, 0.002, 0.005, 0.2)
    again = score(load_predictions(tmp_path / "p.json"), records, thresholds)
    assert again == score(found, records, thresholds)


def test_an_answer_that_is_no_number_is_refused_by_name(tmp_path: Path) -> None:
    broken = replace(ANSWERS, scores=np.where(np.eye(4, 3) > 0, np.float32(np.nan), 1).astype(np.float32))
    with pytest.raises(ValueError, match=r"person 3 in 3\.png is not a finite number"):
        save_predictions(tmp_path / "p.json", broken)
    assert not list(tmp_path.iterdir())


def without(key: str) -> Callable[[str], str]:
    def remove(text: str) -> str:
        raw = json.loads(text)
        del raw[key]
        return json.dumps(raw)

    return remove


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace("predictions-1", "predictions-9"),
        lambda text: text.replace('"right_hip"', '"right_hop"', 1),
        lambda text: text.replace("[0.0, 0.0, 1.0], ", "", 1),
        lambda text: text.replace('"person_id": 2', '"person_id": 3'),
        lambda text: text.replace('"person_id": 2', '"person_id": "two"'),
        without("people"),
        without("skeleton"),
        without("format"),
    ],
)
def test_a_file_that_is_no_predictions_is_named(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    path = tmp_path / "odd.json"
    save_predictions(path, ANSWERS)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(ValueError, match=r"odd\.json"):
        load_predictions(path)


# Best, median, worst


def test_extremes_are_sorted_by_error_in_torsos() -> None:
    # Everyone's torso is 10; person i's nose is off by 3 i, so the mean error is i / 10.
    truth = [record(i, [[0, 0], [10, 0], [5, 5]]) for i in (4, 1, 0, 3, 2, 6, 5)]
    truth.append(record(9, [[0, 0], [1, 0], [0, 0]], (2, 0, 2)))
    found = answers(*((r.person_id, [[0, 0], [10, 0], [5, 5 + 3 * r.person_id]]) for r in truth))
    chosen = [(kind, truth[row].person_id, round(error, 6)) for kind, row, error in extremes(found, truth, 2)]
    assert chosen == [
        ("best", 0, 0.0),
        ("best", 1, 0.1),
        ("median", 2, 0.2),
        ("median", 3, 0.3),
        ("worst", 6, 0.6),
        ("worst", 5, 0.5),
    ]
    assert [truth[row].person_id for _, row, _ in extremes(found, truth, 1)] == [0, 3, 6]
    assert [truth[row].person_id for _, row, _ in extremes(found, truth[:1], 4)] == [4, 4, 4]
    assert extremes(found, truth[-1:], 4) == []


def test_the_sheet_shows_truth_beside_prediction(records: list[PersonRecord]) -> None:
    found = predict_records(Colours(), FACTS, records)
    sheet = extremes_sheet(found, records, each=1, tile_px=96)
    assert sheet is not None
    assert sheet.dtype == np.uint8
    # Three rows of two tiles, with room between and for titles.
    assert sheet.shape[0] > 3 * 96
    assert 2 * 96 < sheet.shape[1] < 3 * 96
    again = extremes_sheet(found, records, each=1, tile_px=96)
    np.testing.assert_array_equal(sheet, again)
    far = replace(found, keypoints=found.keypoints + np.float32(40))
    other = extremes_sheet(far, records, each=1, tile_px=96)
    assert other is not None
    assert (other != sheet).any()


def test_no_torso_no_sheet() -> None:
    assert extremes_sheet(ANSWERS, TRUTH[2:]) is None
