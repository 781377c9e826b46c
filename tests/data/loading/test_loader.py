import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from hourglass.data.loading.dataset import Sample, TrainingCrops, decode_all
from hourglass.data.loading.loader import ahead, collate, training_batches, training_keys
from hourglass.data.packs.open_pack import load_records
from hourglass.data.packs.write_pack import write_pack
from hourglass.recipe.recipe import AugmentRecipe
from shard_cases import numbered


def test_ahead_keeps_order_whatever_the_threads_do() -> None:
    def slow_square(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(ahead(slow_square, range(40), workers=4)) == [i * i for i in range(40)]


def test_ahead_stops_its_threads_and_bounds_its_work() -> None:
    made: list[int] = []

    def note(i: int) -> int:
        made.append(i)
        return i

    source = ahead(note, iter(range(10**9)), workers=2, depth=2)
    assert next(source) == 0
    source.close()  # type: ignore[attr-defined]
    assert len(made) <= 6
    assert not [t for t in threading.enumerate() if t.name.startswith("hourglass-loader")]


def test_ahead_passes_errors_on() -> None:
    def fail(i: int) -> int:
        if i == 3:
            raise ValueError("picture 3 is broken")
        return i

    with pytest.raises(ValueError, match="picture 3"):
        list(ahead(fail, range(9), workers=2))


def test_an_epoch_shows_each_person_once() -> None:
    keys = list(islice(training_keys(seed=1, count=22, batch_size=5, start_step=0), 8))
    first, second = keys[:4], keys[4:]
    for epoch, batches in enumerate((first, second)):
        seen = [index for batch in batches for _, index in batch]
        assert len(seen) == len(set(seen)) == 20
        assert {e for batch in batches for e, _ in batch} == {epoch}
    assert first[0] != [(0, i) for _, i in second[0]]


def test_any_step_can_be_started_from() -> None:
    whole = list(islice(training_keys(1, 22, 5, 0), 12))
    for start in (1, 3, 4, 7):
        assert list(islice(training_keys(1, 22, 5, start), 12 - start)) == whole[start:]


def test_ranks_share_each_batch_without_overlap() -> None:
    whole = list(islice(training_keys(1, 40, 8, 0), 6))
    parts = [list(islice(training_keys(1, 40, 8, 0, rank, 2), 6)) for rank in (0, 1)]
    for batch, a, b in zip(whole, *parts, strict=True):
        assert len(a) == len(b) == 4
        assert sorted(batch) == sorted(a + b)


def test_collate_shapes_and_content() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            rng.integers(0, 256, (6, 6, 3), dtype=np.uint8),
            rng.random((4, 2), np.float32),
            np.array([1, 0, 1, 1], np.float32),
            np.array([False, False, True, False]),
        )
        for _ in range(3)
    ]
    batch = collate(samples)
    assert batch.image.shape == (3, 3, 6, 6)
    assert batch.image.dtype == torch.uint8
    assert batch.image.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(batch.image[1].permute(1, 2, 0).numpy(), samples[1].image)
    assert batch.keypoints.shape == (3, 4, 2)
    assert batch.weight.tolist() == [[1, 0, 1, 1]] * 3
    assert batch.occluded is not None
    assert batch.occluded.tolist() == [[False, False, True, False]] * 3


def packed_crops(tmp_path: Path, codec: str, images: bool = False) -> TrainingCrops:
    write_pack({"train": numbered(12)}, tmp_path / "people.parquet", codec=codec)
    records = load_records(tmp_path / "people.parquet")
    decoded = decode_all(records, 1, 1) if images else None
    augment = AugmentRecipe(shift=0.05, brightness=0.1, noise=0.05, erase=0.3)
    return TrainingCrops(records, 48, augment, 1, decoded)


@pytest.mark.parametrize("codec", ["webp", "jpeg"])
def test_batches_hold_what_one_crop_at_a_time_holds(tmp_path: Path, codec: str) -> None:
    crops, cached = packed_crops(tmp_path, codec), packed_crops(tmp_path, codec, images=True)
    keys = training_keys(1, 12, 5, 1)
    batches = training_batches(crops, 5, 1, 2), training_batches(cached, 5, 1, 1)
    for share, *pair in islice(zip(keys, *batches, strict=False), 4):
        want = collate([crops.get(*key) for key in share])
        for batch in pair:
            assert torch.equal(batch.image, want.image)
            assert batch.image.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(batch.keypoints, want.keypoints)
            assert torch.equal(batch.weight, want.weight)
            assert batch.occluded is not None
            assert want.occluded is not None
            assert torch.equal(batch.occluded, want.occluded)


def test_a_batch_is_not_written_over_by_the_next(tmp_path: Path) -> None:
    batches = training_batches(packed_crops(tmp_path, "jpeg"), 4, 0, 2)
    first = next(batches)
    before = first.image.clone()
    for _ in range(12):
        next(batches)
    assert torch.equal(first.image, before)
