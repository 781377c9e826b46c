from pathlib import Path

import numpy as np
import pytest
import torch

from hourglass.bench.loading import HEAD, PlainDataset, benchmark_loading, numbers, rendered
from hourglass.recipe.recipe import AugmentRecipe

STILL = AugmentRecipe(scale=0.0, rotate_probability=0.0, flip_probability=0.0, gain=0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("photos")


def test_the_plain_loader_shows_a_person_and_marks_the_joints(folder: Path) -> None:
    """Otherwise the comparison would be with something that does less work, or none."""
    people = rendered(folder, 2)
    image, target, weight = PlainDataset(people, 128, STILL)[1]
    assert (image.shape, target.shape, weight.shape) == ((3, 128, 128), (14, 32, 32), (14,))
    assert image.dtype == target.dtype == torch.float32
    scale = 128 / people[1].side_px
    for joint in np.flatnonzero(people[1].visibility):
        x, y = ((people[1].keypoints[joint] - people[1].center) * scale + 63.5) / 4
        if not (0 <= x < 31 and 0 <= y < 31):
            continue
        row, column = np.unravel_index(int(target[joint].argmax()), (32, 32))
        assert abs(column - x) <= 0.51
        assert abs(row - y) <= 0.51
        assert target[joint].max() == 1
    assert float(image.std()) > 0.1


def test_the_plain_loader_augments(folder: Path) -> None:
    crops = PlainDataset(rendered(folder, 1), 64, AugmentRecipe())
    assert not torch.equal(crops[0][0], crops[0][0])


def test_every_part_and_every_loader_has_a_row(folder: Path) -> None:
    people = rendered(folder, 4)
    rows = benchmark_loading(people, input_px=64, batch_size=2, rounds=2, seconds=0.01, photos="two")
    what = [row["what"] for row in rows]
    assert len(set(what)) == len(what)
    assert {"decode, jpeg", "warp", "recolour", "targets", "decode and crop, webp"} <= set(what)
    loaders = [row for row in rows if "ratio" in row]
    assert [row["what"] for row in loaders] == [
        "pack, webp, decoded each time",
        "pack, jpeg, decoded each time",
        "shards, jpeg, streamed",
        "pack, decoded once",
        "pack, jpeg, with targets",
    ]
    for row in loaders:
        low, high = row["ratio_range"]
        assert 0 < low <= row["ratio"] <= high
        assert row["plain_samples_per_s"] > 0
        assert (row["photos"], row["rounds"], row["input_px"]) == ("two", 2, 64)
    table = numbers(rows)
    assert len(table) == len(rows)
    assert {len(line) for line in table} == {len(HEAD)}


def test_too_few_people_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="loading is measured on at least 8 people, not 3"):
        benchmark_loading(rendered(folder, 3), batch_size=4)
