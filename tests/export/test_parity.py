"""What a difference between a file and torch is called, by hand-made differences."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from eyes import FACTS, SIDE, STRIDE, Eyes, drawn
from hourglass.core.structs import PersonRecord
from hourglass.export.parity import FP32, INT8, Parity, Tolerance, compare, misses
from hourglass.export.people import People
from hourglass.inference.forward import read_stage

JOINTS = np.random.default_rng(1).uniform(21, 42, (13, 3, 2))


class File(nn.Module):
    """Stands for an exported file: the network's answer, changed, and joints that lie `decoded` beside it."""

    output = Eyes.output

    def __init__(self, scale: float = 1.0, shift: int = 0, decoded: float | None = None) -> None:
        super().__init__()
        self.scale, self.shift, self.decoded = scale, shift, decoded

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        faint, stage = (self.scale * part for part in Eyes()(image))
        stage = stage.roll(self.shift, -1)
        answers = {"stage_1": faint, "stage_2": stage}
        if self.decoded is not None:
            read = read_stage(stage, FACTS, SIDE)
            answers = {"keypoints": read.keypoints + self.decoded, "scores": read.scores, **answers}
        return answers


def people(labelled: bool = False, zoom: float = 2.0) -> People:
    """Thirteen people whose pictures are `zoom` times their crops."""
    crops = drawn(JOINTS).permute(0, 2, 3, 1).numpy()
    side = zoom * SIDE
    center = np.array([(side - 1) / 2] * 2, np.float32)
    records = tuple(
        PersonRecord(
            image=b"",
            image_id=str(i),
            person_id=i,
            skeleton=FACTS.skeleton,
            keypoints=((joints + 0.5) * zoom - 0.5).astype(np.float32),
            visibility=np.full(3, 2, np.uint8),
            center=center,
            side_px=side,
        )
        for i, joints in enumerate(JOINTS)
    )
    return People(crops, records if labelled else (), np.full(13, zoom), "drawn")


def compared(file: File, who: People | None = None, limits: Tolerance = FP32) -> Parity:
    return compare(Eyes().eval(), file, FACTS, who or people(), limits)


def test_the_same_is_nothing_apart() -> None:
    seen: list[tuple[int, int]] = []
    parity = compare(
        Eyes().eval(), File(), FACTS, people(), FP32, lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 13), (4, 13), (12, 13), (13, 13)]  # one, three, and then eight at a time
    assert (parity.people, parity.joints, parity.undecided) == (13, 39, 0)
    assert (parity.heatmaps_max, parity.joint_px, parity.score) == (0, 0, 0)
    assert (parity.decoded_px, parity.pck_torch, parity.pck_difference, parity.scored) == (None,) * 3 + (0,)
    assert misses(parity, FP32) == []


def test_heatmaps_a_thousandth_higher() -> None:
    parity = compared(File(scale=1.001))
    assert parity.heatmaps_max == pytest.approx(1e-3, rel=1e-3)
    assert parity.heatmaps_mean == pytest.approx(1e-3, rel=1e-3)
    assert parity.score == pytest.approx(1e-3, rel=0.1)
    assert misses(parity, FP32) == ["heatmaps differ by 1.0e-03 of their norm, over 0.0001"]
    assert misses(parity, INT8) == []


def test_a_cell_aside_is_four_pixels_of_the_crop_and_eight_of_the_picture() -> None:
    parity = compared(File(shift=1))
    assert parity.joint_px == pytest.approx(STRIDE, abs=0.05)
    assert parity.picture_px == pytest.approx(2 * STRIDE, abs=0.1)
    assert parity.median_px == pytest.approx(STRIDE, abs=0.05)
    assert any(
        "a joint differs by" in miss and "px of the crop, over 0.05" in miss for miss in misses(parity, FP32)
    )
    assert any("half of the joints differ by 4" in miss for miss in misses(parity, INT8))


def test_the_files_own_joints_are_held_to_its_own_heatmaps() -> None:
    assert misses(compared(File(decoded=0.0)), FP32) == []
    parity = compared(File(decoded=0.02))
    assert parity.decoded_px == pytest.approx(0.02, rel=1e-3)
    assert misses(parity, FP32) == [
        "joints decoded in the graph are 0.02 px from those of its own heatmaps, over 0.01"
    ]


def test_pck_counts_where_there_are_labels() -> None:
    # Without a torso a joint may be 0.2 of the box's longer side away: 4 px of the crop are too many for
    # those whose box is under 20 px.
    parity = compared(File(shift=1), people(labelled=True))
    reach = 0.2 * np.ptp(JOINTS, axis=1).max(-1)
    assert (parity.pck_torch, parity.scored) == (100, 13)
    assert parity.pck_file == pytest.approx(100 * float((reach > STRIDE).mean()), abs=0.01)
    assert parity.pck_difference is not None
    assert parity.pck_difference < -10
    assert not any("PCK" in miss for miss in misses(parity, INT8))  # thirteen people are too few to judge by
    assert any("PCK@0.2 differs by" in miss for miss in misses(replace(parity, scored=300), INT8))


def test_equal_peaks_are_undecided() -> None:
    """Where torch itself can't tell, a file may say the other one; where it can, it may not."""
    two = JOINTS.copy()
    two[:, 0] = 21.5  # the middle of a cell
    other = two.copy()
    other[:, 0] = 41.5
    both = torch.maximum(drawn(two), drawn(other)).permute(0, 2, 3, 1).numpy()

    class Other(File):
        def answers(self, image: Tensor) -> dict[str, Tensor]:
            answers = super().answers(image)
            lift = torch.zeros_like(answers["stage_2"])
            lift[:, 0, 8:, 8:] = 1e-6
            return {**answers, "stage_2": answers["stage_2"] + lift}

    parity = compared(Other(), replace(people(), crops=both))
    assert parity.undecided == 13
    assert parity.joint_px < 0.05
    assert misses(parity, FP32) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda stage: stage[..., :8], "the exported file answers with stages of"),
        (lambda stage: stage * np.nan, "the exported file's stage_2 holds numbers that are not finite"),
    ],
)
def test_answers_that_are_none(change: object, says: str) -> None:
    class Broken(File):
        def answers(self, image: Tensor) -> dict[str, Tensor]:
            answers = super().answers(image)
            return {**answers, "stage_2": change(answers["stage_2"])}  # type: ignore[operator]

    with pytest.raises(ValueError, match=says):
        compared(Broken())
