"""Training from shards: who is seen by whom, in which order, and that it equals training from memory."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.loading.loader import training_batches, training_windows
from hourglass.data.packs import shards as stream
from hourglass.data.packs.open_pack import load_records, open_set
from hourglass.data.packs.shards import ShardError, ShardSet, StreamedCrops, open_shard, read_group
from hourglass.recipe.recipe import AugmentRecipe
from shard_cases import GROUP, sharded, small_groups

AUGMENT = AugmentRecipe(shift=0.05, brightness=0.1, noise=0.05, erase=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """43 training people in 5 shards of 9, 9, 9, 8, 8, in groups of 4."""
    with pytest.MonkeyPatch.context() as patch:
        small_groups(patch)
        made = tmp_path_factory.mktemp("set")
        sharded(made)
    return made


def streamed(folder: Path, buffer: int = 10, seed: int = 3) -> StreamedCrops:
    return StreamedCrops(open_set(folder), "train", 32, AUGMENT, seed, buffer)


def keys(
    crops: StreamedCrops, batch: int, steps: int, start: int = 0, rank: int = 0, ranks: int = 1
) -> list[list[tuple[int, int]]]:
    return [share for _, share in islice(crops.walk(batch, start, rank, ranks), steps)]


def test_an_epoch_shows_each_person_once(folder: Path) -> None:
    shares = keys(streamed(folder), 4, 20)
    for epoch in (0, 1):
        part = shares[epoch * 10 : epoch * 10 + 10]
        seen = [index for share in part for _, index in share]
        assert {e for share in part for e, _ in share} == {epoch}
        assert len(seen) == len(set(seen)) == 40
        assert set(seen) <= set(range(43))


def test_the_order_changes_with_epoch_and_seed_and_is_mixed(folder: Path) -> None:
    crops = streamed(folder)
    first, second = keys(crops, 4, 20)[:10], keys(crops, 4, 20)[10:]
    assert [i for share in first for _, i in share] != [i for share in second for _, i in share]
    assert first != keys(streamed(folder, seed=4), 4, 10)
    assert first == keys(streamed(folder), 4, 10)
    # A buffer of one person still mixes within a group; one for all mixes everybody.
    far = [
        np.abs(np.diff([i for s in keys(streamed(folder, b), 4, 10) for _, i in s])).mean() for b in (1, 99)
    ]
    assert far[0] < far[1]


def test_left_out_people_change_from_epoch_to_epoch(folder: Path) -> None:
    shares = keys(streamed(folder), 4, 40)
    left = [set(range(43)) - {i for s in shares[e * 10 : e * 10 + 10] for _, i in s} for e in range(4)]
    assert len(set(map(frozenset, left))) > 1


@settings(max_examples=30, deadline=None)
@given(
    ranks=st.integers(1, 5),
    share=st.integers(1, 4),
    seed=st.integers(0, 99),
    buffer=st.integers(1, 60),
    epoch=st.integers(0, 3),
)
def test_ranks_share_everybody_without_overlap(
    folder: Path, ranks: int, share: int, seed: int, buffer: int, epoch: int
) -> None:
    batch = share * ranks
    steps = 43 // batch
    parts = [
        keys(streamed(folder, buffer, seed), batch, steps, epoch * steps, rank, ranks)
        for rank in range(ranks)
    ]
    assert all(len(s) == share for part in parts for s in part)
    assert {e for part in parts for s in part for e, _ in s} == {epoch}
    seen = [i for part in parts for s in part for _, i in s]
    # Everyone but the rest that makes no whole batch, and nobody twice.
    assert len(seen) == len(set(seen)) == steps * batch


def test_a_rank_never_sees_anothers_people_in_any_epoch(folder: Path) -> None:
    sets = [{i for s in keys(streamed(folder), 6, 35, 0, rank, 3) for _, i in s} for rank in range(3)]
    assert set.union(*sets) == set(range(43))
    assert sum(map(len, sets)) == 43


def test_a_rank_opens_its_own_shards_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []

    def noted(found: ShardSet, number: int, split: str) -> list[int]:
        opened.append(number)
        return open_shard(found, number, split)

    monkeypatch.setattr(stream, "open_shard", noted)
    for rank, want in ((0, [0, 1]), (1, [1, 2, 3]), (2, [3, 4])):
        opened.clear()
        # 43 people for 3: rows 0 to 13, 14 to 27, 28 to 42; the shards begin at 0, 9, 18, 27 and 35.
        streamed(folder).pieces(rank, 3)
        assert opened == want


@pytest.mark.parametrize("buffer", [1, 10, 99])
def test_any_step_can_be_started_from(folder: Path, buffer: int) -> None:
    whole = keys(streamed(folder, buffer), 6, 18, 0, 1, 2)
    for start in (1, 5, 6, 7, 8, 13):
        assert keys(streamed(folder, buffer), 6, 18 - start, start, 1, 2) == whole[start:]


def test_resuming_reads_no_group_whose_people_were_all_seen(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def noted(found: ShardSet, number: int, group: int, split: str) -> list[PersonRecord]:
        people = read_group(found, number, group, split)
        read.append(len(people))
        return people

    monkeypatch.setattr(stream, "read_group", noted)
    crops = streamed(folder, buffer=8)
    keys(crops, 4, 1, start=9)
    # The last of ten steps: at most its block, and the one after it that is fetched ahead.
    assert sum(read) <= 2 * (8 + GROUP)


def test_memory_is_bounded_by_the_buffer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the people that were read, those not yet given away never pass two buffers and a group each."""
    read = given_away = 0

    def noted(found: ShardSet, number: int, group: int, split: str) -> list[PersonRecord]:
        nonlocal read
        people = read_group(found, number, group, split)
        read += len(people)
        return people

    monkeypatch.setattr(stream, "read_group", noted)
    most = 0
    for _, share in islice(streamed(folder, buffer=8).walk(4, 0), 40):
        given_away += len(share)
        most = max(most, read - given_away)
    assert most <= 2 * (8 + GROUP)


def test_streamed_batches_are_those_from_memory(folder: Path) -> None:
    crops = streamed(folder)
    whole = TrainingCrops(load_records(folder), 32, AUGMENT, 3)
    for batch, share in zip(islice(training_batches(crops, 4, 7, 2), 6), keys(crops, 4, 6, 7), strict=True):
        for image, keypoints, weight, key in zip(
            batch.image, batch.keypoints, batch.weight, share, strict=True
        ):
            want = whole.get(*key)
            assert np.array_equal(image.permute(1, 2, 0).numpy(), want.image)
            assert np.array_equal(keypoints.numpy(), want.keypoints)
            assert np.array_equal(weight.numpy(), want.weight)


def test_micro_batches_are_parts_of_the_same_step(folder: Path) -> None:
    whole = keys(streamed(folder), 8, 6, 0, 1, 2)
    parts = [share for _, share in islice(streamed(folder).walk(8, 0, 1, 2, accumulate=2), 12)]
    for number, share in enumerate(whole):
        assert sorted(parts[2 * number] + parts[2 * number + 1]) == sorted(share)
        assert len(parts[2 * number]) == 2


def test_windows_for_the_device_stream_too(folder: Path) -> None:
    windows = next(training_windows(streamed(folder), 4, 0, 1))
    assert windows.crops().image.shape == (4, 3, 32, 32)


def test_batches_do_not_depend_on_the_threads(folder: Path) -> None:
    one, four = (list(islice(training_batches(streamed(folder), 6, 2, workers), 9)) for workers in (1, 4))
    for a, b in zip(one, four, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.keypoints, b.keypoints)


def test_only_the_split_that_was_asked_for(folder: Path) -> None:
    crops = StreamedCrops(open_set(folder), "val", 32, AUGMENT, 0, 4)
    people = {
        record.person_id
        for source, share in islice(crops.walk(3, 0), 3)
        for record in (source.records[index] for _, index in share)
    }
    assert people == set(range(1000, 1009))


@pytest.mark.parametrize(
    ("batch", "ranks", "message"),
    [
        (12, 6, "has 5 shards with 'train' people for 6 processes; pack it with --shards 6 or more"),
        (5, 2, "is shared by 2 processes, which a batch of 5 can't be"),
        (44, 1, "has 43 'train' people, fewer than one batch of 44"),
    ],
)
def test_what_cannot_be_shared(folder: Path, batch: int, ranks: int, message: str) -> None:
    with pytest.raises(ShardError, match=message):
        keys(streamed(folder), batch, 1, 0, 0, ranks)


def test_a_buffer_or_split_that_is_none(folder: Path) -> None:
    with pytest.raises(ValueError, match="the buffer must hold at least one person, not 0"):
        streamed(folder, buffer=0)
    with pytest.raises(ValueError, match="has no split 'test'; it has train, val"):
        StreamedCrops(open_set(folder), "test", 32, AUGMENT, 0)


def test_a_shard_that_goes_away_while_training(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for path in folder.iterdir():
        (tmp_path / "set" / path.name).write_bytes(path.read_bytes())
    batches = training_batches(streamed(tmp_path / "set", buffer=4), 4, 0, 1)
    next(batches)
    (tmp_path / "set" / "people-00003-of-00005.parquet").unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=r"people-00003-of-00005\.parquet"):
        list(islice(batches, 20))
