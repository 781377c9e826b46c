"""Recall and false boxes: hand-counted photos, and every threshold by itself against the curve."""

from collections.abc import Sequence

import numpy as np
import pytest

from hourglass.evaluation.finding import FindingCurve, finding_curve, match

NOBODY = np.empty((0, 4))


def box(x: float, y: float, side: float) -> list[float]:
    return [x, y, x + side, y + side]


def test_matching_by_hand() -> None:
    people = np.array([box(0, 0, 100), box(200, 0, 100)])
    found = np.array(
        [
            box(10, 0, 100),  # IoU 90/110 with the first
            box(0, 0, 100),  # exact, but the first person is taken by a surer box
            box(260, 0, 100),  # IoU 40/160 with the second: too little
            box(500, 500, 50),  # inside an unsure region
            box(1000, 0, 50),  # nowhere
        ]
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    owner, false = match(found, scores, people, np.array([box(450, 450, 200)]))
    assert owner.tolist() == [0, -1, -1, -1, -1]
    assert false.tolist() == [False, True, True, False, True]


def test_a_second_box_takes_a_free_neighbour() -> None:
    people = np.array([box(0, 0, 100), box(20, 0, 100)])
    found = np.array([box(9, 0, 100), box(8, 0, 100)])
    owner, false = match(found, np.array([0.9, 0.8]), people, NOBODY)
    assert owner.tolist() == [0, 1]
    assert not false.any()


def test_curve_by_hand() -> None:
    """A large and a medium person: 0.9 finds the large one, 0.8 is false, 0.6 finds the other."""
    people = [np.array([box(0, 0, 97)]), np.array([box(0, 0, 96)])]
    found = [np.array([box(0, 0, 97), box(300, 300, 20)]), np.array([box(0, 0, 96)])]
    curve = finding_curve(found, [np.array([0.9, 0.8]), np.array([0.6])], people, [NOBODY, NOBODY])
    assert curve.people == {"small": 0, "medium": 1, "large": 1, "all": 2}
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.6]
    assert curve.recall["large"].tolist() == [1, 1, 1]
    assert curve.recall["medium"].tolist() == [0, 0, 1]
    assert curve.recall["all"].tolist() == [0.5, 0.5, 1]
    assert np.isnan(curve.recall["small"]).all()
    assert curve.false_per_photo.tolist() == [0, 0.5, 0.5]
    assert curve.at_false(0.25, "all") == (0.5, 0.9)
    assert curve.at_false(0.5, "all") == (1.0, 0.6)
    assert curve.at_threshold(0.7)[0]["all"] == 0.5
    assert curve.at_threshold(0.95)[0]["all"] == 0


def thresholded(threshold: float, data: Sequence[tuple[np.ndarray, ...]]) -> tuple[int, int]:
    """Hits and false boxes of the boxes from one threshold on, counted by a plain loop over pairs."""
    hits = false = 0
    for found, scores, people, unsure in data:
        left = set(range(len(people)))
        for row in sorted(np.flatnonzero(scores >= threshold).tolist(), key=lambda n: -scores[n]):
            best = max(left, key=lambda n: iou(found[row], people[n]), default=None)
            if best is not None and iou(found[row], people[best]) >= 0.5:
                left.discard(best)
                hits += 1
            elif not any(iou(found[row], u) >= 0.5 or inside(found[row], u) >= 0.5 for u in unsure):
                false += 1
    return hits, false


def shared(a: np.ndarray, b: np.ndarray) -> float:
    return float(max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0))


def area(a: np.ndarray) -> float:
    return float((a[2] - a[0]) * (a[3] - a[1]))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(shared(a, b) / (area(a) + area(b) - shared(a, b)))


def inside(a: np.ndarray, b: np.ndarray) -> float:
    return shared(a, b) / area(a)


@pytest.mark.parametrize("seed", range(5))
def test_curve_is_each_threshold_by_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        corner = rng.uniform(0, 60, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(20, 60, (count, 2))], 1)

    data = []
    for _ in range(6):
        count = int(rng.integers(0, 8))
        # Rounded scores, so that some are equal across photos.
        scores = rng.permutation(20)[:count] / 20
        data.append((boxes(count), scores, boxes(int(rng.integers(0, 5))), boxes(int(rng.integers(0, 2)))))
    curve = finding_curve(*[list(column) for column in zip(*data, strict=True)])
    total = curve.people["all"]
    for n, threshold in enumerate(curve.thresholds):
        hits, false = thresholded(float(threshold), data)
        assert curve.recall["all"][n] * total == pytest.approx(hits)
        assert curve.false_per_photo[n] * len(data) == pytest.approx(false)


def test_nothing_found_and_nobody_there() -> None:
    curve = finding_curve([NOBODY], [np.empty(0)], [NOBODY], [NOBODY])
    assert isinstance(curve, FindingCurve)
    assert curve.at_false(0.25) == (0.0, 1.0)
    assert curve.at_threshold(0.5)[1] == 0
