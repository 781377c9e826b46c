import threading
import time
from itertools import islice

import numpy as np
import pytest
import torch

from hourglass.data.dataset import Sample
from hourglass.data.loader import ahead, collate, training_keys


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
