"""How calm and how right joints are before and after smoothing, on rendered walks with exact truth.

`python -m hourglass.bench.video SEED [SEED ...]` prints the table of docs/video.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import NOT_LABELLED
from hourglass.inference.predictor import Predictor
from hourglass.inference.video.smooth import jitter, one_euro, savitzky_golay
from hourglass.inference.video.track import Follower
from hourglass.synthetic.render import walk

FRAMES = 100
FPS = 25.0
SIDE_PX = 256
NOISE = 0.01
"""Standard deviation of the noise in sizes of the person, for a score of 1; it grows as 1 / score."""


@dataclass(frozen=True, eq=False)
class Walk:
    """A rendered walk of T frames: truth (T, J, 2), visibility (T, J), person's size (T,) px, pictures."""

    truth: npt.NDArray[np.float64]
    visibility: npt.NDArray[np.uint8]
    size_px: npt.NDArray[np.float64]
    images: list[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class VideoRow:
    """Jitter (px/s^2) and mean error (px, joints inside the picture) of one track under one smoothing."""

    smoothing: str
    jitter: float
    error_px: float


def rendered(seed: int, frames: int = FRAMES, side_px: int = SIDE_PX) -> Walk:
    """The walk of a seed, 25 pictures a second."""
    scenes = list(walk(seed, frames, height=side_px, width=side_px))
    people = [scene.people[0] for scene in scenes]
    return Walk(
        np.stack([p.keypoints for p in people]).astype(np.float64),
        np.stack([p.visibility for p in people]),
        np.array([p.side_px / 1.25 for p in people]),
        [scene.image for scene in scenes],
    )


def noisy(clip: Walk, seed: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Joints (T, J, 2) and scores (T, J): the truth with noise, more of it where the score is low."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.3, 1, clip.truth.shape[:2])
    spread = NOISE * clip.size_px[:, None] / scores
    return clip.truth + rng.normal(size=clip.truth.shape) * spread[..., None], scores


def followed(clip: Walk, predictor: Predictor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Joints and scores as a network finds them, frame after frame."""
    follower = Follower(predictor)
    found = [follower(image)[0].found for image in clip.images]
    return (
        np.stack([pose.keypoints for pose in found]).astype(np.float64),
        np.stack([pose.scores for pose in found]).astype(np.float64),
    )


def rows(
    clip: Walk, keypoints: npt.NDArray[np.float64], scores: npt.NDArray[np.float64], fps: float = FPS
) -> list[VideoRow]:
    """One row for the truth, and one for each smoothing of a track, `none` first."""
    times_s = np.arange(len(keypoints)) / fps
    inside = clip.visibility > NOT_LABELLED
    tracks = {
        "truth": clip.truth,
        "none": keypoints,
        "one-euro": one_euro(keypoints, scores, times_s, size_px=clip.size_px),
        "savitzky-golay": savitzky_golay(keypoints, scores, times_s),
    }
    return [
        VideoRow(
            name, jitter(track, times_s), float(np.linalg.norm(track - clip.truth, axis=-1)[inside].mean())
        )
        for name, track in tracks.items()
    ]


def main(seeds: Sequence[int]) -> None:
    """Print jitter and error of every seed's walk: truth with noise, and what the bundled network finds."""
    predictor = Predictor.from_pretrained(device="cpu", precision="fp32")
    print("| joints | seed | truth | none | one-euro | savitzky-golay |")
    print("|---|---|---|---|---|---|")
    for seed in seeds:
        clip = rendered(seed)
        for name, track in (("noise", noisy(clip, seed)), (predictor.facts.name, followed(clip, predictor))):
            cells = [f"{row.jitter:.0f}, {row.error_px:.2f}" for row in rows(clip, *track)]
            print(f"| {name} | {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [0])
