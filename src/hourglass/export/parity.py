"""What an exported file answers against what torch does, on people's crops, and how far apart they may be."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hourglass.core import geometry
from hourglass.evaluation.evaluate import Predictions, score
from hourglass.export.people import People
from hourglass.inference.forward import merge_views, read_stage
from hourglass.weights.checkpoint import WeightFacts

Progress = Callable[[int, int], None]

FEWEST_SCORED = 300
"""Below so many labelled people a difference in PCK is told but not judged: one joint weighs too much."""
_CHUNK = 8
_DRAWS = 8


@dataclass(frozen=True)
class Tolerance:
    """How far a file may be from torch; None does not judge.

    Args:
        heatmaps: largest relative error of a person's stage: norm of the difference over torch's norm.
        joint_px: largest difference of a joint, in pixels of the crop, undecided ones apart.
        median_px, p95_px: median and 95th percentile of that.
        pck: difference of PCK@0.2 in points.
        decoded_px: largest difference between the file's own joints and those read off its own heatmaps.
    """

    heatmaps: float | None
    joint_px: float | None
    median_px: float | None
    p95_px: float | None
    pck: float
    decoded_px: float = 0.01


FP32 = Tolerance(heatmaps=1e-4, joint_px=0.05, median_px=None, p95_px=None, pck=0.1)
INT8 = Tolerance(heatmaps=None, joint_px=None, median_px=1.0, p95_px=None, pck=0.5)


@dataclass(frozen=True)
class Parity:
    """How far a file is from torch.

    Args:
        people, joints: what was compared.
        heatmaps_max, heatmaps_mean: relative error, over people and stages.
        joint_px: largest difference of a joint in pixels of the crop; `picture_px` of the picture.
        median_px, p95_px: of all joints, in pixels of the crop.
        undecided: joints left out of `joint_px`: torch's own answer jumps as far when its heatmap changes by
            the tolerance, as between two equal peaks.
        score: largest difference of a score.
        decoded_px: joints that the file gives against those in its own heatmaps; None where it gives none.
        scored: labelled people with a reference length.
        pck_torch, pck_file: PCK@0.2 in percent, without a flip test; None without labels.
    """

    people: int
    joints: int
    heatmaps_max: float
    heatmaps_mean: float
    joint_px: float
    picture_px: float
    median_px: float
    p95_px: float
    undecided: int
    score: float
    decoded_px: float | None
    scored: int
    pck_torch: float | None
    pck_file: float | None

    @property
    def pck_difference(self) -> float | None:
        """Points that the file scores above torch."""
        if self.pck_torch is None or self.pck_file is None:
            return None
        return round(self.pck_file - self.pck_torch, 3)


@torch.inference_mode()
def compare(
    network: nn.Module,
    engine: nn.Module,
    facts: WeightFacts,
    people: People,
    limits: Tolerance,
    progress: Progress | None = None,
) -> Parity:
    """Run both on everybody's crop, one, three and then eight at a time, without a flip test.

    Args:
        network: in evaluation mode, on the CPU; runs in fp32.
        engine: an exported file of it, as `load_network` gives it.

    Raises ValueError when the file answers with other shapes or with numbers that are not finite.
    """
    ours: list[Tensor] = []
    theirs: list[Tensor] = []
    errors, scores, decoded, undecided = [], [0.0], [], []
    for start, stop in _chunks(len(people)):
        crops = torch.from_numpy(people.crops[start:stop]).permute(0, 3, 1, 2).contiguous()
        plain: list[Tensor] = network(crops)
        answers: dict[str, Tensor] = engine.answers(crops)  # type: ignore[operator]  # every engine has it
        stages = [answer for name, answer in answers.items() if name.startswith("stage_")]
        _check(plain, stages, answers)
        errors.append(torch.stack([_relative(a, b) for a, b in zip(stages, plain, strict=True)]))
        output, side = str(network.output), crops.shape[-1]
        last = merge_views(plain[-1], output, facts, flip_test=False)
        truth = read_stage(last, facts, side)
        read = read_stage(merge_views(stages[-1], output, facts, flip_test=False), facts, side)
        found, heights = answers.get("keypoints", read.keypoints), answers.get("scores", read.scores)
        if "keypoints" in answers:
            decoded.append(float((found - read.keypoints).abs().max()))
        scores.append(float((heights - truth.scores).abs().max()))
        far = _apart(found, truth.keypoints) > (limits.joint_px or np.inf)
        undecided.append(_undecided(last, truth.keypoints, far, facts, limits))
        ours.append(truth.keypoints)
        theirs.append(found)
        if progress is not None:
            progress(stop, len(people))
    truth_all, found_all = torch.cat(ours), torch.cat(theirs)
    apart, open_ = _apart(found_all, truth_all).numpy(), torch.cat(undecided).numpy()
    decided = np.where(open_, 0.0, apart)
    relative = torch.cat(errors, 1)
    pck_torch, scored = _pck(truth_all, people, facts)
    return Parity(
        people=len(people),
        joints=apart.size,
        heatmaps_max=float(relative.max()),
        heatmaps_mean=float(relative.mean()),
        joint_px=float(decided.max()),
        picture_px=float((decided * people.scale[:, None]).max()),
        median_px=float(np.median(apart)),
        p95_px=float(np.percentile(apart, 95)),
        undecided=int(open_.sum()),
        score=max(scores),
        decoded_px=max(decoded) if decoded else None,
        scored=scored,
        pck_torch=pck_torch,
        pck_file=_pck(found_all, people, facts)[0],
    )


def misses(parity: Parity, limits: Tolerance) -> list[str]:
    """What is beyond the tolerance, in words with numbers; empty where the file may stay."""
    pck = None if parity.pck_difference is None else abs(parity.pck_difference)
    judged = (
        (parity.heatmaps_max, limits.heatmaps, "heatmaps differ by {:.1e} of their norm, over {:g}"),
        (parity.joint_px, limits.joint_px, "a joint differs by {:.3g} px of the crop, over {:g}"),
        (parity.median_px, limits.median_px, "half of the joints differ by {:.3g} px of the crop, over {:g}"),
        (
            parity.p95_px,
            limits.p95_px,
            "5 % of the joints differ by {:.3g} px of the crop or more, over {:g}",
        ),
        (
            parity.decoded_px,
            limits.decoded_px,
            "joints decoded in the graph are {:.3g} px from those of its own heatmaps, over {:g}",
        ),
        (
            pck if parity.scored >= FEWEST_SCORED else None,
            limits.pck,
            "PCK@0.2 differs by {:.2f} points, over {:g}",
        ),
    )
    return [
        text.format(value, limit)
        for value, limit, text in judged
        if value is not None and limit is not None and not value <= limit
    ]


def _chunks(people: int) -> Iterator[tuple[int, int]]:
    """Batches of different sizes, since a file must take any."""
    start = 0
    while start < people:
        size = {0: 1, 1: 3}.get(start, _CHUNK)
        yield start, min(start + size, people)
        start += size


def _check(plain: list[Tensor], stages: list[Tensor], answers: dict[str, Tensor]) -> None:
    shapes = [tuple(stage.shape) for stage in plain], [tuple(stage.shape) for stage in stages]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the exported file answers with stages of {shapes[1]}, torch with {shapes[0]}")
    for name, answer in answers.items():
        if not bool(torch.isfinite(answer).all()):
            raise ValueError(f"the exported file's {name} holds numbers that are not finite")


def _relative(found: Tensor, truth: Tensor) -> Tensor:
    """(B,) norm of each person's difference over the norm of torch's answer."""
    difference, norm = (found - truth).flatten(1).norm(dim=1), truth.flatten(1).norm(dim=1)
    return torch.div(difference, norm.clamp_min(1e-12))


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """(B, J) distances of joints."""
    return (a - b).square().sum(-1).sqrt()


def _undecided(maps: Tensor, truth: Tensor, far: Tensor, facts: WeightFacts, limits: Tolerance) -> Tensor:
    """(B, J) bool: far joints whose answer moves as far in torch when the map changes by the tolerance."""
    if maps.ndim == 3 or not bool(far.any()) or limits.heatmaps is None or limits.joint_px is None:
        return torch.zeros_like(far)
    generator = torch.Generator().manual_seed(0)
    strength = limits.heatmaps * maps.abs().amax((-1, -2), keepdim=True)
    moved = torch.zeros_like(far)
    for _ in range(_DRAWS):
        noise = torch.rand(maps.shape, generator=generator) * 2 - 1
        other = read_stage(maps + strength * noise, facts, facts.input_px).keypoints
        moved |= _apart(other, truth) > limits.joint_px
    return moved & far


def _pck(keypoints: Tensor, people: People, facts: WeightFacts) -> tuple[float | None, int]:
    """PCK@0.2 in percent, mean of the joints, of joints (N, J, 2) in the crops; and how many people count."""
    if not people.records:
        return None, 0
    rows = []
    for record, joints in zip(people.records, keypoints.numpy(), strict=True):
        matrix = geometry.crop_matrix(record.center, record.side_px, facts.input_px)
        rows.append(geometry.apply(np.linalg.inv(matrix), joints))
    predictions = Predictions(
        person_id=np.array([record.person_id for record in people.records], np.int64),
        image_id=tuple(record.image_id for record in people.records),
        keypoints=np.asarray(rows, np.float32),
        scores=np.ones((len(rows), len(facts.skeleton)), np.float32),
        skeleton=facts.skeleton,
    )
    report = score(predictions, people.records)
    mean = report["metrics"]["PCK@0.2"]["mean"]
    return (None if mean is None else float(mean)), int(report["people_counted"])
