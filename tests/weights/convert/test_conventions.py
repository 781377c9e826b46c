"""Heatmaps of other conventions, read in our frame: the offset of a cell and the shift of a flip test."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hourglass.core.skeleton import Skeleton
from hourglass.inference.forward import answer_crops
from hourglass.models.heatmap import flip_back
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.convert.published_sources import DATA, SOURCES

PAIR = Skeleton("pair", ("left_hand", "right_hand", "head"), flip_pairs=(("left_hand", "right_hand"),))
SIDE, CELLS = 64, 16


def facts(source: str) -> WeightFacts:
    kind = SOURCES[source]
    none = (0.0, 0.0, 0.0)
    return WeightFacts(
        "x",
        NetworkRecipe(),
        PAIR,
        SIDE,
        none,
        (1, 1, 1),
        kind.sigma_hm,
        kind.decoding,
        offset_hm=kind.offset_hm,
    )


def cell_of(source: str, u: Tensor) -> Tensor:
    """The cell on which a project draws the Gaussian of a joint at crop pixel u, pixel centres integer."""
    if source == "mmpose":
        return (u / 4 + 0.5).floor()
    return ((u + 0.5) / 4).floor()


def drawn(cells: Tensor, sigma_hm: float) -> Tensor:
    """Gaussians (B, J, h, w) on whole cells."""
    grid = torch.arange(CELLS, dtype=torch.float32)
    x, y = cells[..., 0, None, None], cells[..., 1, None, None]
    return torch.exp(-((grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * sigma_hm**2))


class Perfect(nn.Module):
    """Answers crops and their mirror images as a perfectly trained network of that project would."""

    output = "heatmap"

    def __init__(self, source: str, truth: Tensor) -> None:
        super().__init__()
        self.source, self.truth = source, truth

    def forward(self, image: Tensor) -> list[Tensor]:
        swapped = self.truth[:, [1, 0, 2]]
        mirrored = torch.stack([SIDE - 1 - swapped[..., 0], swapped[..., 1]], -1)
        both = torch.cat([self.truth, mirrored])[: len(image)]
        return [drawn(cell_of(self.source, both), SOURCES[self.source].sigma_hm)]


def truth(count: int = 200) -> Tensor:
    return 8 + 48 * torch.rand(count, 3, 2, generator=torch.Generator().manual_seed(0))


def crops(count: int = 200) -> Tensor:
    return torch.zeros(count, 3, SIDE, SIDE, dtype=torch.uint8)


@pytest.mark.parametrize("source", SOURCES)
def test_answers_are_right_on_average_in_our_frame(source: str) -> None:
    error = answer_crops(Perfect(source, truth()), crops(), facts(source)).keypoints - truth()
    # A whole cell is 4 px wide, so errors spread evenly over -2..2; their mean must be near 0.
    assert error.abs().max().item() < 2.01
    assert error.mean((0, 1)).abs().max().item() < 0.15
    without = replace(facts(source), offset_hm=0.0)
    biased = answer_crops(Perfect(source, truth()), crops(), without).keypoints - truth()
    assert biased.mean().item() == pytest.approx(1.5 if source == "mmpose" else 0.0, abs=0.15)


def test_mmposes_cells_are_read_as_mmpose_reads_them() -> None:
    # Its own answer to an unambiguous peak is 4 x cell.
    answer = answer_crops(Perfect("mmpose", truth()), crops(), facts("mmpose"))
    torch.testing.assert_close(answer.keypoints, 4 * cell_of("mmpose", truth()), rtol=0, atol=1e-4)


def test_mmposes_flip_test_is_its_own() -> None:
    network = Perfect("mmpose", truth(20))
    answer = answer_crops(network, crops(20), facts("mmpose"), flip_test=True)
    (maps,) = network(crops(40))
    back = torch.zeros(20, 3, CELLS, CELLS)
    for joint, other in enumerate((1, 0, 2)):
        for column in range(CELLS):
            source_column = max(column - 1, 0)
            back[:, joint, :, column] = maps[20:, other, :, CELLS - 1 - source_column]
    torch.testing.assert_close(answer.stages[0], (maps[:20] + back) / 2)
    assert (answer.keypoints - truth(20)).mean().abs().item() < 0.6


@pytest.mark.parametrize("source", ["bearpaw", "princeton", "torch7"])
def test_a_flip_test_of_whole_cells_at_pixel_centres_needs_no_shift(source: str) -> None:
    network = Perfect(source, truth(20))
    answer = answer_crops(network, crops(20), facts(source), flip_test=True)
    (maps,) = network(crops(40))
    torch.testing.assert_close(answer.stages[0], (maps[:20] + maps[20:, [1, 0, 2]].flip(-1)) / 2)


@pytest.mark.parametrize(("offset_hm", "cells"), [(0.0, 0), (-0.375, 1), (0.5, -1), (-1.0, 2), (-0.2, 0)])
def test_mirrored_maps_move_by_twice_the_offset(offset_hm: float, cells: int) -> None:
    maps = torch.rand(1, 2, 3, 6, generator=torch.Generator().manual_seed(1))
    moved = flip_back(maps, torch.tensor([1, 0]), offset_hm)
    for column in range(6):
        taken = min(max(column - cells, 0), 5)
        assert torch.equal(moved[..., column], maps[:, [1, 0], :, 5 - taken])


MPII = "right_ankle right_knee right_hip left_hip left_knee left_ankle pelvis thorax neck head_top "
MPII += "right_wrist right_elbow right_shoulder left_shoulder left_elbow left_wrist"
COCO = "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow "
COCO += "left_wrist right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
FLIC = "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist left_hip right_hip "
FLIC += "left_eye right_eye nose"


@pytest.mark.parametrize(
    ("data", "names", "mirrored"),
    [
        ("mpii", MPII, [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]),
        ("lsp", MPII, [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10]),
        ("coco", COCO, [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]),
        ("flic", FLIC, [3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10]),
    ],
)
def test_joints_are_in_the_order_of_the_heatmaps(data: str, names: str, mirrored: list[int]) -> None:
    assert DATA[data].skeleton.joints == tuple(names.split())
    assert DATA[data].skeleton.flip_permutation.tolist() == mirrored


def test_sigma_of_each_project() -> None:
    told = {name: kind.sigma_hm for name, kind in SOURCES.items()}
    assert told == {"bearpaw": 1, "anibali": 1, "princeton": 1, "mmpose": 2, "torch7": 1.75}


def test_margins_of_each_data_set() -> None:
    # Measured: see the next test, and for COCO the docstring of `TrainedOn`.
    told = {name: data.box_margin for name, data in DATA.items()}
    assert told == {"mpii": 1.43, "lsp": 1.64, "coco": 1.53, "flic": 2.09}


def median_margin(side_px: Any, joints: Any) -> float:
    """Side of the crops over the longer side of the box around the joints."""
    return float(np.median(side_px / (joints.max(1) - joints.min(1)).max(1)))


@pytest.mark.realdata
def test_margins_are_those_of_the_data(real_data: Path) -> None:
    # The authors' files: MPII's scale is 1.25 times the person's size already, FLIC's crops are 440 px.
    with h5py.File(real_data / "mpii" / "valid.h5") as file:
        joints, side_px = file["part"][:], 200 * file["scale"][:]
    whole = (joints > 0).any(-1).all(1)
    assert whole.sum() == 2017
    assert DATA["mpii"].box_margin == pytest.approx(median_margin(side_px[whole], joints[whole]), abs=0.005)
    assert DATA["lsp"].box_margin == pytest.approx(1.15 * DATA["mpii"].box_margin, abs=0.01)
    flic = []
    for part in ("train", "valid"):
        with h5py.File(real_data / "flic" / "annot" / f"{part}.h5") as file:
            flic.append(file["part"][:])
    assert DATA["flic"].box_margin == pytest.approx(median_margin(440, np.concatenate(flic)), abs=0.01)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("offset_hm", "0.5", "offset_hm is '0.5', no number of cells"),
        ("offset_hm", float("nan"), "offset_hm is nan"),
        ("signed", 1, "signed is 1, neither true nor false"),
    ],
)
def test_facts_that_make_no_sense_are_refused(key: str, value: object, words: str) -> None:
    raw = json.loads(facts("mmpose").to_json())
    with pytest.raises(ValueError, match=words):
        WeightFacts.from_json(json.dumps(raw | {key: value}))


def test_facts_of_older_files_have_no_offset() -> None:
    raw = json.loads(facts("mmpose").to_json())
    assert raw.pop("offset_hm") == -0.375
    assert raw.pop("source") == ""
    assert WeightFacts.from_json(json.dumps(raw)) == replace(facts("mmpose"), offset_hm=0.0)


def test_every_source_names_known_data() -> None:
    for kind in SOURCES.values():
        assert set(kind.means) <= set(DATA)
