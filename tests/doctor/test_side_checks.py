from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.doctor.joint_checks import crossed, naming, naming_of, twisted
from hourglass.doctor.people import DataSet, measure

Exchange = Callable[[np.typing.NDArray[np.float64], list[int], tuple[str, ...]], None]
L, R = LSP14.index("left_shoulder"), LSP14.index("right_shoulder")
ARM = ("shoulder", "elbow", "wrist")


def wide(people: DataSet) -> list[int]:
    """People whose shoulders and hips both lie well side by side, so that an exchange can be seen."""
    lh, rh = LSP14.index("left_hip"), LSP14.index("right_hip")
    body = measure(people)
    upper = np.abs(people.keypoints[:, L, 0] - people.keypoints[:, R, 0]) / body.body_px
    lower = np.abs(people.keypoints[:, lh, 0] - people.keypoints[:, rh, 0]) / body.body_px
    good = (upper > 0.8 * np.nanquantile(upper, 0.95)) & (lower > 0.8 * np.nanquantile(lower, 0.95))
    chosen: list[int] = np.flatnonzero(good).tolist()
    return chosen


def test_clean_people_face_one_way(clean: DataSet) -> None:
    body = measure(clean)
    assert twisted(clean, body).count == 0
    assert crossed(clean, body).count == 0
    assert naming(clean, body).numbers["names"] == "person"


@pytest.mark.parametrize("parts", [("shoulder",), ("hip",), ARM], ids=["shoulders", "hips", "whole arms"])
def test_exchanged_pairs_are_all_found_and_nobody_else(
    clean: DataSet, exchange: Exchange, parts: tuple[str, ...]
) -> None:
    chosen = wide(clean)[:8]
    assert len(chosen) == 8
    points = clean.keypoints.copy()
    exchange(points, chosen, parts)
    changed = replace(clean, keypoints=points)
    finding = twisted(changed, measure(changed))
    assert {s.row for s in finding.suspects} == set(chosen)
    assert finding.level == "warning"


def test_exchanging_everything_is_no_twist(clean: DataSet, exchange: Exchange) -> None:
    points = clean.keypoints.copy()
    exchange(points, wide(clean), ("shoulder", "hip", "elbow", "wrist", "knee", "ankle"))
    changed = replace(clean, keypoints=points)
    assert twisted(changed, measure(changed)).count == 0


def test_the_angle_is_the_one_between_hips_and_shoulders() -> None:
    """Stick people of known yaw and twist, all of one size: projected widths are cosines by construction."""
    rng = np.random.default_rng(4)
    count = 400
    yaw = rng.uniform(0, 60, count)
    yaw[:60] = rng.uniform(0, 4, 60)  # enough of them show their full width
    twist = np.zeros(count)
    twist[60:120] = rng.uniform(95, 175, 60)
    skeleton = Skeleton(
        "torso",
        ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "neck", "pelvis", "foot"),
        limbs=(("neck", "pelvis"), ("pelvis", "foot")),
        flip_pairs=(("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")),
    )
    points = np.zeros((count, 7, 2))
    upper, lower = 20 * np.cos(np.radians(yaw)), 14 * np.cos(np.radians(yaw + twist))
    middle = np.zeros(count)
    columns = (
        (upper, 10),
        (-upper, 10),
        (lower, 60),
        (-lower, 60),
        (middle, 10),
        (middle, 60),
        (middle, 140),
    )
    for j, (x, y) in enumerate(columns):
        points[:, j, 0], points[:, j, 1] = x + 200, y
    people = stick_people(points, skeleton)
    found = {s.row: s.number for s in twisted(people, measure(people)).suspects}
    assert set(found) == {n for n in range(60, 120) if turn(yaw[n], twist[n]) > 75}
    assert len(found) > 30
    # Arc cosines near 0 and 180 degrees make much of the widths' last percents.
    for row, deg in found.items():
        assert row is not None
        assert abs(deg - turn(float(yaw[row]), float(twist[row]))) < 12


def turn(yaw: float, twist: float) -> float:
    """What the two cosines tell: past half a turn they tell the other way round."""
    hips = yaw + twist if yaw + twist <= 180 else 360 - (yaw + twist)
    return hips - yaw


def stick_people(points: np.typing.NDArray[np.float64], skeleton: Skeleton) -> DataSet:
    from pathlib import Path

    from hourglass.data.formats.annotations import Annotations
    from hourglass.doctor.people import FileOfPeople, gather

    count = len(points)
    people = Annotations(
        Path("sticks"),
        "coco",
        "sticks",
        skeleton,
        [str(n) for n in range(count)],
        [f"{n}.png" for n in range(count)],
        np.arange(count),
        [""] * count,
        points,
        np.full(points.shape[:2], 2, np.uint8),
        False,
        0,
        np.zeros((count, 2)),
        np.full(count, 100.0),
    )
    return gather([FileOfPeople(people)])


def test_crossed_upper_arms_are_found(clean: DataSet, exchange: Exchange) -> None:
    full = clean.labelled.all(axis=1)
    spread = np.abs(
        clean.keypoints[:, LSP14.index("left_elbow"), 0] - clean.keypoints[:, LSP14.index("right_elbow"), 0]
    )
    chosen = np.flatnonzero(full & (spread > 0.45 * measure(clean).body_px)).tolist()
    assert len(chosen) >= 5
    points = clean.keypoints.copy()
    exchange(points, chosen, ("elbow",))
    changed = replace(clean, keypoints=points)
    finding = crossed(changed, measure(changed))
    assert {s.row for s in finding.suspects} == set(chosen)
    assert all("crosses sides" in s.what for s in finding.suspects)


def test_folded_arms_are_not_crossed(clean: DataSet) -> None:
    """Each wrist at the other elbow, with forearms no longer than usual."""
    points = clean.keypoints.copy()
    le, re, lw, rw = (LSP14.index(j) for j in ("left_elbow", "right_elbow", "left_wrist", "right_wrist"))
    body = measure(clean)
    row = int(np.flatnonzero(clean.labelled.all(axis=1))[0])
    forearm = body.usual[LSP14.limb_indices.index((rw, re))] * body.body_px[row]
    points[row, re], points[row, le] = (30, 30), (30 + forearm, 30)
    points[row, rw], points[row, lw] = points[row, le], points[row, re]
    changed = replace(clean, keypoints=points)
    assert row not in {s.row for s in crossed(changed, measure(changed)).suspects}


def test_observer_centric_names_are_told(clean: DataSet) -> None:
    points = clean.keypoints.copy()
    back = np.flatnonzero(points[:, L, 0] < points[:, R, 0]).tolist()
    points[back] = points[back][:, LSP14.flip_permutation]
    changed = replace(clean, keypoints=points)
    finding = naming(changed, measure(changed))
    assert (finding.numbers["names"], finding.level, finding.numbers["share"]) == ("observer", "ok", 1.0)


def test_exchanged_names_are_told(clean: DataSet) -> None:
    """Rendered people mostly face the camera; with all names exchanged they seem to turn their back."""
    copies = 4
    many = replace_people(clean, copies, clean.keypoints[:, LSP14.flip_permutation])
    finding = naming(many, measure(many))
    assert (finding.numbers["names"], finding.level) == ("mirrored", "warning")
    points = many.keypoints.copy()
    front = np.flatnonzero(points[:, L, 0] > points[:, R, 0]).tolist()
    points[front] = points[front][:, LSP14.flip_permutation]
    all_of_them = replace(many, keypoints=points)
    finding = naming(all_of_them, measure(all_of_them))
    assert (finding.numbers["names"], finding.level) == ("exchanged", "error")


def test_splits_that_name_sides_differently_are_an_error(clean: DataSet) -> None:
    many = replace_people(clean, 6, clean.keypoints)
    points = many.keypoints.copy()
    splits = tuple("train" if n < 300 else "val" for n in range(len(many)))
    back = [n for n in np.flatnonzero(points[:, L, 0] < points[:, R, 0]).tolist() if n < 300]
    points[back] = points[back][:, LSP14.flip_permutation]
    changed = replace(many, keypoints=points, splits=splits)
    finding = naming(changed, measure(changed))
    assert (finding.level, finding.numbers["names"]) == ("error", "mixed")
    assert "train 100.0%" in finding.sentence


@pytest.mark.parametrize(
    ("left", "count", "kind", "level"),
    [
        (4000, 4000, "observer", "ok"),  # FLIC as its scores use it
        (3788, 3987, "person", "ok"),  # FLIC's person-centric file, 95.0 %
        (1031, 1478, "person", "ok"),  # LSP
        (447, 1478, "mirrored", "warning"),  # LSP with its names exchanged
        (12, 40, "person", "ok"),  # may be chance: 40 people only
        (0, 4000, "exchanged", "error"),
        (0, 60, "mirrored", "warning"),
    ],
)
def test_shares_and_what_they_mean(left: int, count: int, kind: str, level: str) -> None:
    assert naming_of(left, count) == (kind, level)


def replace_people(people: DataSet, copies: int, points: np.typing.NDArray[np.float64]) -> DataSet:
    """Everybody several times over, in pictures of their own."""
    count = len(people)
    return replace(
        people,
        file=np.tile(people.file, copies),
        where=people.where * copies,
        ids=np.arange(copies * count),
        splits=people.splits * copies,
        keypoints=np.tile(points, (copies, 1, 1)),
        hidden=np.tile(people.hidden, (copies, 1)),
        center=np.tile(people.center, (copies, 1)),
        side_px=np.tile(people.side_px, copies),
        photo=np.arange(copies * count),
        photos=people.photos * copies,
        sizes=np.tile(people.sizes, (copies, 1)),
    )
