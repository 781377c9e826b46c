from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import LSP14, MPII16, Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.doctor.people import DataSet, FileOfPeople, Finding, gather, level_of, measure, part_of_records
from hourglass.doctor.set_checks import counts, empty_pictures, labels, leaks, origin, splits, twice

STICK = Skeleton("stick", ("left_end", "middle", "right_end"), limbs=(("left_end", "middle"),))


def sticks(
    points: np.typing.NDArray[np.float64],
    names: list[str],
    words: list[str],
    start: int = 0,
    file: str = "a.json",
    crowd: np.typing.NDArray[np.bool_] | None = None,
) -> Annotations:
    count = len(points)
    return Annotations(
        file=Path(file),
        form="coco",
        what="sticks",
        skeleton=STICK,
        where=[f"{file}: annotation {n}" for n in range(count)],
        names=names,
        ids=np.arange(count),
        splits=words,
        keypoints=points,
        visibility=np.full((count, 3), 2, np.uint8),
        tells_hidden=True,
        origin=start,
        center=np.zeros((count, 2)),
        side_px=np.full(count, 50.0),
        crowd=crowd,
    )


def spread(count: int, seed: int = 0) -> np.typing.NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(10, 90, (count, 3, 2))


def levels(*shared_of: tuple[int, int]) -> list[Finding]:
    found = []
    for shared, pictures in shared_of:
        names = [f"{n}.png" for n in range(pictures)] + [f"{n}.png" for n in range(shared)]
        words = ["train"] * pictures + ["val"] * shared
        found.append(leaks(gather([FileOfPeople(sticks(spread(len(names)), names, words))])))
    return found


def test_pictures_in_two_splits_are_a_warning_or_an_error_by_their_share() -> None:
    none, few, many, small = levels((0, 50), (2, 4552), (5, 4552), (1, 20))
    assert [f.level for f in (none, few, many, small)] == ["ok", "warning", "error", "error"]
    assert [f.count for f in (none, few, many, small)] == [0, 2, 5, 1]
    assert few.of == 4552
    assert {(s.row, s.what) for s in small.suspects} == {(0, "in train and val"), (20, "in train and val")}


def test_the_same_name_in_another_folder_is_another_picture(tmp_path: Path) -> None:
    parts = [
        FileOfPeople(
            sticks(spread(2), ["1.jpg", "2.jpg"], ["", ""], file=f"{word}.json"), word, tmp_path / word
        )
        for word in ("train", "val")
    ]
    people = gather(parts)
    assert len(people.photos) == 4
    assert leaks(people).count == 0
    assert people.splits == ("train", "train", "val", "val")
    together = gather([replace(part, folder=tmp_path) for part in parts])
    assert len(together.photos) == 2
    assert leaks(together).count == 2


def test_crops_of_one_picture_in_two_splits_are_a_leak(rendered: list[PersonRecord]) -> None:
    train, val = rendered[:5], [replace(rendered[5], image_id=rendered[0].image_id)]
    people = gather([part_of_records(train, Path("p"), "train"), part_of_records(val, Path("p"), "val")])
    assert len(people.photos) == 6
    assert leaks(people).count == 1
    assert all(isinstance(photo.source, bytes) for photo in people.photos)


def test_gathering_counts_from_0_leaves_crowds_out_and_refuses_other_joints() -> None:
    points = spread(3)
    crowd = np.array([False, True, False])
    people = gather([FileOfPeople(sticks(points, ["a", "b", "c"], [""] * 3, start=1, crowd=crowd))])
    np.testing.assert_allclose(people.keypoints, points[[0, 2]] - 1)
    assert people.ids.tolist() == [0, 2]
    other = replace(sticks(points, ["a", "b", "c"], [""] * 3), skeleton=Skeleton("x", ("a", "b", "c")))
    with pytest.raises(ValueError, match=r"has the joints of 'x', a\.json those of 'stick'"):
        gather([FileOfPeople(sticks(points, ["a", "b", "c"], [""] * 3)), FileOfPeople(other)])
    with pytest.raises(ValueError, match="nobody of the split 'test'"):
        gather([FileOfPeople(sticks(points, ["a", "b", "c"], ["train"] * 3))], "test")


def test_one_split_alone() -> None:
    part = FileOfPeople(sticks(spread(3), ["a", "b", "c"], ["train", "val", "train"]))
    people = gather([part], "train")
    assert people.ids.tolist() == [0, 2]
    assert [photo.name for photo in people.photos] == ["a", "c"]


def test_counts(clean: DataSet) -> None:
    points = clean.keypoints.copy()
    points[0] = np.nan
    found = counts(replace(clean, keypoints=points))
    labelled = np.isfinite(points[..., 0])
    assert found["people"] == 120
    assert found["labelled_people"] == 119
    assert found["pictures"] == 120
    assert found["most_people_in_a_picture"] == 1
    assert found["labelled_joints"] == labelled.sum()
    assert found["joints"]["neck"]["labelled"] == labelled[:, LSP14.index("neck")].sum()
    assert found["splits"]["train"] == {"people": 100, "labelled_people": 99, "pictures": 100}
    assert 0 < found["hidden_share"] < 1
    assert counts(replace(clean, tells_hidden=False))["hidden_share"] is None


def test_an_empty_split_is_an_error_unless_it_is_the_test(clean: DataSet) -> None:
    points = clean.keypoints.copy()
    points[100:] = np.nan
    empty = replace(clean, keypoints=points)
    assert splits(clean).level == "ok"
    assert splits(empty).level == "error"
    assert "'val'" in splits(empty).sentence
    assert splits(replace(empty, splits=("train",) * 100 + ("test",) * 20)).level == "ok"
    alone = splits(replace(clean, splits=("train",) * 120))
    assert (alone.level, "another split" in alone.sentence) == ("note", True)


def test_a_joint_that_nobody_of_the_training_has_is_an_error(clean: DataSet) -> None:
    knee = LSP14.index("left_knee")
    points = clean.keypoints.copy()
    points[:100, knee] = np.nan
    finding = labels(replace(clean, keypoints=points))
    assert (finding.level, finding.count) == ("error", 1)
    assert "left_knee" in finding.sentence
    # Without the word train everybody counts, and 20 of 120 are enough.
    assert labels(replace(clean, keypoints=points, splits=("",) * 120)).level == "ok"
    many = replace(clean, keypoints=np.tile(points, (1, 1, 1)), splits=("train",) * 120)
    many.keypoints[101:, knee] = np.nan
    assert np.isfinite(many.keypoints[100, knee]).all()
    assert labels(many).level == "warning"  # 1 of 120 is fewer than one in a hundred
    assert labels(clean).level == "ok"


def test_people_annotated_twice() -> None:
    points = spread(6)
    points[:, :, 1] = points[:, :, 0] * 2
    points[4] = points[1] + 0.05
    points[5] = points[2] + 0.05
    names = ["a", "b", "b", "c", "b", "d"]
    people = gather([FileOfPeople(sticks(points, names, [""] * 6))])
    finding = twice(people, measure(people))
    # 4 is 1 once more; 5 has the joints of 2, but in another picture.
    assert [s.row for s in finding.suspects] == [4]
    assert finding.suspects[0].what == "the same joints as annotation 1"
    assert finding.level == "warning"


def test_two_shared_joints_are_no_proof() -> None:
    points = spread(2)
    points[1] = points[0]
    people = gather([FileOfPeople(sticks(points, ["a", "a"], ["", ""]))])
    people.keypoints[1, 2] = np.nan
    assert twice(people, measure(people)).count == 0


@pytest.mark.parametrize("truth", [0, 1])
@pytest.mark.parametrize("read_as", [0, 1])
@pytest.mark.parametrize("clicked", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_counting_from_0_or_1_shows_on_the_borders(
    truth: int, read_as: int, clicked: bool, sized: bool
) -> None:
    rng = np.random.default_rng(2)
    width, height = 40, 30
    low, high = (-0.5, (width - 0.5, height - 0.5)) if not clicked else (0, (width - 1, height - 1))
    points = rng.uniform(low, high, (900, 3, 2)) + truth
    if clicked:
        points = np.round(points)
    names = [f"{n}.png" for n in range(900)]
    people = gather([FileOfPeople(sticks(points, names, [""] * 900, read_as))])
    if sized:
        people = people.with_sizes(np.tile([width, height], (900, 1)).astype(float))
    finding = origin(people)
    if not clicked and not sized:
        assert (finding.level, finding.numbers["looks_like"]) == ("ok", None)
        return
    assert finding.numbers["looks_like"] == truth
    assert finding.level == ("ok" if truth == read_as else "warning")


def test_computed_joints_do_not_hide_where_clicked_ones_count_from() -> None:
    """As in MPII: head tops are computed and may lie anywhere, also at 0."""
    rng = np.random.default_rng(2)
    points = rng.integers(1, 40, (900, 3, 2)).astype(float)
    points[:, 1] += rng.uniform(-0.4, 0.4, (900, 2))
    points[:30, 1] = 0
    people = gather([FileOfPeople(sticks(points, [f"{n}.png" for n in range(900)], [""] * 900, 1))])
    assert origin(people).numbers["looks_like"] == 1


def test_pictures_with_nobody_in_them() -> None:
    part = FileOfPeople(sticks(spread(2), ["a", "c"], ["train"] * 2), names=("a", "b", "c", "d"))
    people = gather([part])
    finding = empty_pictures(people)
    assert (finding.level, finding.count, finding.of) == ("note", 2, 4)
    assert [people.photos[s.photo].name for s in finding.suspects] == ["b", "d"]


def test_levels() -> None:
    assert [level_of(n, 1000) for n in (0, 1, 10, 11, 200, 201)] == [
        "ok",
        "note",
        "note",
        "warning",
        "warning",
        "error",
    ]
    with pytest.raises(ValueError, match="'fine' is not one of ok, note"):
        Finding("x", "fine", 0, 0, "people", "")


def test_the_skeletons_of_the_package_are_known() -> None:
    # What the side checks look for by name.
    for skeleton in (LSP14, MPII16):
        assert {"left_shoulder", "right_shoulder", "left_hip", "right_hip"} <= set(skeleton.joints)
