"""Several sources in one training: whom an epoch draws, what joints become, streams of them."""

from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import BODY19, COCO17, LSP14, MPII16, Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.augment import Mix, whole_parts
from hourglass.data.loading.dataset import TrainingCrops
from hourglass.data.loading.loader import training_batches, training_keys
from hourglass.data.loading.mixture import MixedCrops, check_names, in_skeleton
from hourglass.data.packs.open_pack import open_set
from hourglass.data.packs.shards import StreamedCrops
from hourglass.recipe.recipe import AugmentRecipe
from shard_cases import numbered, sharded, small_groups

MIX = Mix((10, 3, 40), (0.5, 0.3, 0.2))


def source_of(index: int) -> int:
    return 0 if index < 10 else 1 if index < 13 else 2


def test_an_epoch_keeps_to_the_shares_and_nobody_comes_again_before_all_have() -> None:
    draws = [MIX.epoch(7, epoch) for epoch in range(12)]
    for one in draws:
        # 53 draws: 26.5, 15.9 and 10.6; the two largest remainders are rounded up.
        assert sorted(Counter(source_of(index) for _, index in one).items()) == [(0, 26), (1, 16), (2, 11)]
    everything = [draw for one in draws for draw in one]
    assert len(set(everything)) == len(everything), "a view would be seen twice"
    for index in range(53):
        passes = sorted(again for again, its in everything if its == index)
        assert passes == list(range(len(passes))), "each pass meets everybody once"


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    assert Mix((10, 3, 40), (0.5, 0.3, 0.2)).epoch(7, 3) == MIX.epoch(7, 3)
    assert MIX.epoch(8, 3) != MIX.epoch(7, 3)
    orders = [[again for again, index in MIX.epoch(7, e) if index == 5] for e in (0, 1)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize(
    ("shares", "total", "parts"),
    [((0.5, 0.5), 3, (2, 1)), ((0.36, 0.14, 0.5), 100, (36, 14, 50)), ((1 / 3,) * 3, 10, (4, 3, 3))],
)
def test_whole_parts_add_up(shares: tuple[float, ...], total: int, parts: tuple[int, ...]) -> None:
    assert sorted(whole_parts(shares, total)) == sorted(parts)
    assert sum(whole_parts(shares, total)) == total


def test_ranks_and_micro_batches_share_the_very_same_draws() -> None:
    whole = list(islice(training_keys(1, 53, 8, 4, mix=MIX), 6))
    for ranks, accumulate in ((2, 1), (1, 4), (2, 2)):
        parts = [
            list(islice(training_keys(1, 53, 8, 4, rank, ranks, accumulate, MIX), 6 * accumulate))
            for rank in range(ranks)
        ]
        for step, batch in enumerate(whole):
            mine = [key for part in parts for m in range(accumulate) for key in part[step * accumulate + m]]
            assert sorted(mine) == sorted(batch)


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MixedCrops:
    small_groups(monkeypatch)
    sharded(tmp_path, train=21, val=0, shards=4)
    streamed = StreamedCrops(open_set(tmp_path), "train", 32, AugmentRecipe(), 5, buffer=8)
    known = [in_skeleton(record, BODY19) for record in numbered(6, 500)]
    return MixedCrops(
        [streamed, TrainingCrops(known, 32, AugmentRecipe(), 5)], (0.75, 0.25), BODY19, [0.5, 1]
    )


def test_streamed_sources_are_mixed_and_a_later_start_is_the_same_stream(mixed: MixedCrops) -> None:
    assert len(mixed) == 27
    steps = [[(key, crops.records[key[1]]) for key in keys] for crops, keys in islice(mixed.walk(8, 0), 40)]
    people = [draw for step in steps for draw in step]
    shares = Counter(index < 21 for (_, index), _ in people)
    assert shares == {True: 240, False: 80}
    assert {r.skeleton for _, r in people} == {BODY19}
    streamed = next(r for (_, index), r in people if index < 21)
    assert streamed.weight is not None
    assert set(streamed.weight[streamed.labelled].tolist()) == {0.5}
    later = [keys for _, keys in islice(mixed.walk(8, 17), 23)]
    assert later == [[key for key, _ in step] for step in steps[17:]]


def test_two_ranks_see_different_people_of_streamed_sources(mixed: MixedCrops) -> None:
    # Five steps of four: fewer than a rank's part of either source, which is 10 and 3 people.
    seen = [
        {index for _, keys in islice(mixed.walk(4, 0, rank, 2), 5) for _, index in keys} for rank in (0, 1)
    ]
    assert not seen[0] & seen[1]
    batch = next(iter(training_batches(mixed, 8, 0, 1)))
    assert batch.image.shape == (8, 3, 32, 32)
    assert batch.weight.shape == (8, 19)


def lsp_person(**changes: object) -> PersonRecord:
    fields = {**numbered(1)[0].__dict__, **changes}
    return PersonRecord(**fields)


def test_joints_go_by_name_and_unknown_ones_are_not_labelled() -> None:
    visibility = np.full(14, 2, np.uint8)
    visibility[LSP14.index("left_knee")] = 1
    weight = np.linspace(0.1, 1, 14).astype(np.float32)
    person = lsp_person(visibility=visibility, weight=weight)
    for skeleton, also in ((BODY19, ()), (MPII16, ("pelvis", "thorax"))):
        mapped = in_skeleton(person, skeleton, 0.5)
        assert mapped.weight is not None
        for row, joint in enumerate(skeleton.joints):
            if joint in LSP14.joints:
                old = LSP14.index(joint)
                assert mapped.keypoints[row].tolist() == person.keypoints[old].tolist()
                assert mapped.visibility[row] == visibility[old]
                assert mapped.weight[row] == pytest.approx(weight[old] / 2)
            else:
                assert bool(mapped.labelled[row]) == (joint in also)
    hips = person.keypoints[[LSP14.index("left_hip"), LSP14.index("right_hip")]]
    pelvis = MPII16.index("pelvis")
    np.testing.assert_allclose(in_skeleton(person, MPII16).keypoints[pelvis], hips.mean(0), rtol=1e-6)
    assert in_skeleton(person, MPII16).weight is not None
    assert in_skeleton(lsp_person(), BODY19).weight is None


def test_names_that_are_spelt_otherwise_are_refused() -> None:
    spelt = Skeleton("mine", ("nose", "neck", "LeftShoulder", "right_shoulder"))
    with pytest.raises(
        ValueError, match="photos calls a joint 'LeftShoulder' that body19 calls 'left_shoulder'"
    ):
        check_names(spelt, BODY19, "photos")
    with pytest.raises(ValueError, match="photos: the skeletons mouse and body19 have 0 joints in common"):
        check_names(Skeleton("mouse", ("snout", "tail")), BODY19, "photos")
    for fits in (LSP14, MPII16, COCO17, BODY19):
        check_names(fits, BODY19, "photos")
