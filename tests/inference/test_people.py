"""Who is there: our own finder on pictures, and what a predictor makes of its answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hourglass.inference.detection.detectors import load_detector
from hourglass.inference.people import PeopleFinder, look
from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor
from hourglass.models.build import build_network
from hourglass.models.people_finder import SKELETON
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import save_weights
from hourglass.weights.facts import WeightFacts, WeightsError
from inference.test_predictor import DotFinder, box_of, facts, finder, paint, person

PEOPLE = [person(110, 160, 150), person(420, 210, 230)]
IMAGE = paint(PEOPLE, 400, 600)
SIDE = 64
FINDER_FACTS = WeightFacts(
    "finder", NetworkRecipe("people_finder", stacks=1, features=8), SKELETON, SIDE, (0, 0, 0), (1, 1, 1)
)


class Told(nn.Module):
    """Answers for every picture with the boxes it was given, each at the cell nearest to its middle."""

    output = "heatmap"

    def __init__(self, corners: list[list[float]], scores: list[float]) -> None:
        super().__init__()
        self.corners, self.scores = corners, scores
        self.seen: Tensor | None = None

    def forward(self, image: Tensor) -> list[Tensor]:
        self.seen = image
        maps = torch.zeros(1, 5, SIDE // 4, SIDE // 4)
        maps[:, 0] = -20
        for (x0, y0, x1, y1), score in zip(self.corners, self.scores, strict=True):
            x, y = int((x0 + x1) / 8), int((y0 + y1) / 8)
            w, h = x1 - x0, y1 - y0
            right, down = ((x0 + x1) / 2 - 4 * x - 2) / w, ((y0 + y1) / 2 - 4 * y - 2) / h
            logit = np.log(score / (1 - score))
            maps[0, :, y, x] = torch.tensor([logit, right, down, np.log(w / 32), np.log(h / 32)])
        return [maps]


def in_view(boxes: list[list[float]], width: int, height: int) -> list[list[float]]:
    """Boxes x, y, w, h of a picture as corners in the finder's square, by the letterbox's definition."""
    scale = SIDE / max(width, height)
    left, top = (SIDE - width * scale) / 2, (SIDE - height * scale) / 2
    return [
        [x * scale + left, y * scale + top, (x + w) * scale + left, (y + h) * scale + top]
        for x, y, w, h in boxes
    ]


def told(boxes: list[list[float]], scores: list[float], min_score: float | None = None) -> PeopleFinder:
    height, width = IMAGE.shape[:2]
    return PeopleFinder(Told(in_view(boxes, width, height), scores), FINDER_FACTS, min_score)


def test_boxes_come_back_in_the_pictures_pixels_cut_at_its_edges() -> None:
    boxes = [[100.0, 50.0, 150.0, 300.0], [400.0, 120.0, 300.0, 200.0]]
    found, scores = told(boxes, [0.6, 0.9])(IMAGE)
    np.testing.assert_allclose(found, [[400, 120, 200, 200], [100, 50, 150, 300]], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9, 0.6], atol=1e-6)


def test_the_network_sees_the_whole_picture_on_black() -> None:
    people = told([], [])
    people(np.full((100, 200, 3), 90, np.uint8))
    seen = getattr(people.network, "seen", None)
    assert isinstance(seen, Tensor)
    assert seen.shape == (1, 3, SIDE, SIDE)
    assert (seen[0, :, 18:46] == 90).all()
    assert not seen[0, :, :14].any()
    assert not seen[0, :, 50:].any()


@pytest.mark.parametrize(
    ("metrics", "min_score", "kept"),
    [
        ({}, None, [0.9]),
        ({"threshold": 0.2}, None, [0.9, 0.25]),
        ({"threshold": 0.2}, 0.5, [0.9]),
        ({}, 0.95, []),
    ],
)
def test_the_threshold_travels_with_the_weights(
    metrics: dict[str, float], min_score: float | None, kept: list[float]
) -> None:
    corners = [[2.0, 2.0, 22.0, 42.0], [40.0, 10.0, 60.0, 50.0]]
    people = PeopleFinder(Told(corners, [0.9, 0.25]), replace(FINDER_FACTS, metrics=metrics), min_score)
    np.testing.assert_allclose(people(np.zeros((SIDE, SIDE, 3), np.uint8))[1], kept, atol=1e-6)


def test_whom_the_finder_finds_is_looked_at() -> None:
    boxes = [[float(v) for v in box_of(truth)] for truth in PEOPLE]
    predictor = Predictor(DotFinder(), facts(), "cpu", "fp32", detector=told(boxes, [0.75, 0.6]))
    poses = predictor(IMAGE)
    assert [float(np.abs(p.keypoints - t).max()) < 0.7 for p, t in zip(poses, PEOPLE, strict=True)] == [
        True,
        True,
    ]
    assert [pose.box_score for pose in poses] == pytest.approx([0.75, 0.6])
    assert not any(pose.guess for pose in poses)


def test_nobody_found_is_a_guess_of_the_whole_picture() -> None:
    image = paint(PEOPLE[1:], 400, 600)
    predictor = Predictor(DotFinder(), facts(), "cpu", "fp32", detector=told([], []))
    (pose,) = predictor(image)
    (whole,) = finder()[0](image)
    assert pose.guess
    assert pose.to_dict()["guess"] is True
    assert Pose.from_dict(pose.to_dict()).guess
    np.testing.assert_array_equal(pose.keypoints, whole.keypoints)
    assert not whole.guess
    assert "guess" not in whole.to_dict()
    # Of another detector nobody is nobody, and so are no boxes at all.
    assert Predictor(DotFinder(), facts(), "cpu", "fp32", detector=lambda _: [])(image) == []
    assert predictor(image, boxes=[]) == []
    assert not look(lambda _: [], image).guess


def write_finder(folder: Path) -> Path:
    network = build_network(FINDER_FACTS.network, SKELETON)
    path = folder / "my_finder.safetensors"
    save_weights(path, network.state_dict(), replace(FINDER_FACTS, metrics={"threshold": 0.4}))
    return path


def test_a_finders_file_is_a_detector_and_no_pose_network(tmp_path: Path) -> None:
    path = write_finder(tmp_path)
    people = load_detector(path)
    assert isinstance(people, PeopleFinder)
    assert people.min_score == 0.4
    assert load_detector(str(path), 0.7).min_score == 0.7  # type: ignore[attr-defined]
    boxes, scores = people(IMAGE)
    assert boxes.shape == (len(scores), 4)
    with pytest.raises(WeightsError, match="finder finds people, not joints: give it as a detector"):
        Predictor.from_pretrained(path)


def test_pose_weights_are_no_detector() -> None:
    from hourglass.weights.published import DEFAULT, bundled_weights

    with pytest.raises(WeightsError, match="finds joints, not people: give it as weights"):
        load_detector(bundled_weights()[DEFAULT])
    with pytest.raises(WeightsError, match="dots finds joints, not people"):
        PeopleFinder(DotFinder(), replace(facts(), name="dots"))


def test_folding_the_batch_norms_changes_nothing(tmp_path: Path) -> None:
    """What prediction runs is the network that was trained."""
    from hourglass.inference.people import load_finder
    from hourglass.weights.load import load_network

    path = write_finder(tmp_path)
    network, told_facts = load_network(path)
    view = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    plain = PeopleFinder(network, told_facts, 0.0).in_view(view, 64, 64)
    folded = load_finder(path, 0.0).in_view(view, 64, 64)
    np.testing.assert_allclose(plain[0], folded[0], atol=1e-3)
    np.testing.assert_allclose(plain[1], folded[1], atol=1e-5)
