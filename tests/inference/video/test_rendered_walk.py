"""Smoothing on rendered walks with exact truth. The defaults were chosen on the walk of seed 0 alone."""

import numpy as np
import pytest

from hourglass.inference.predictor import Predictor
from hourglass.inference.video.smooth import jitter, one_euro, savitzky_golay
from hourglass.inference.video.track import Follower
from hourglass.synthetic.render import walk

FPS = 25.0
Array = np.ndarray


def error_px(found: Array, truth: Array, visibility: Array) -> float:
    return float(np.linalg.norm(found - truth, axis=-1)[visibility > 0].mean())


@pytest.mark.parametrize("seed", [1, 2])
def test_truth_with_noise_gets_calmer_and_nearer(seed: int) -> None:
    people = [scene.people[0] for scene in walk(seed, 50, height=48, width=48)]
    truth = np.stack([p.keypoints for p in people]).astype(np.float64)
    visibility = np.stack([p.visibility for p in people])
    size_px = np.array([p.side_px for p in people]) / 1.25
    rng = np.random.default_rng(seed)
    # Unsure joints are further off, as a network's are; a median joint by about 1.5 % of the person.
    scores = rng.uniform(0.3, 1, truth.shape[:2])
    noise = 0.01 / scores * size_px.mean()
    found = truth + rng.normal(size=truth.shape) * noise[..., None]
    times_s = np.arange(len(truth)) / FPS
    before, base = jitter(found, times_s), error_px(found, truth, visibility)
    for smoothed in (
        one_euro(found, scores, times_s, size_px=size_px),
        savitzky_golay(found, scores, times_s),
    ):
        assert jitter(smoothed, times_s) < 0.5 * before
        assert error_px(smoothed, truth, visibility) < 0.92 * base
    # It is the scores that do some of it.
    blind = savitzky_golay(found, np.ones_like(scores), times_s)
    assert error_px(savitzky_golay(found, scores, times_s), truth, visibility) < error_px(
        blind, truth, visibility
    )


def test_the_bundled_networks_joints_get_calmer_and_no_worse() -> None:
    follower = Follower(Predictor.from_pretrained(device="cpu", precision="fp32", flip_test=False))
    scenes = list(walk(1, 30))
    people = [follower(scene.image)[0] for scene in scenes]
    found = np.stack([person.found.keypoints for person in people]).astype(np.float64)
    scores = np.stack([person.found.scores for person in people])
    truth = np.stack([scene.people[0].keypoints for scene in scenes])
    visibility = np.stack([scene.people[0].visibility for scene in scenes])
    times_s = np.arange(len(scenes)) / FPS
    # It follows: the person is 150 px high, and the joints lie on the body.
    assert error_px(found, truth, visibility) < 20
    smoothed = savitzky_golay(found, scores, times_s)
    assert jitter(smoothed, times_s) < 0.5 * jitter(found, times_s)
    assert error_px(smoothed, truth, visibility) <= error_px(found, truth, visibility)
