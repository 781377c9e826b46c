from dataclasses import replace

import numpy as np

from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.doctor.joint_checks import (
    areas,
    coinciding_joints,
    crops,
    few_joints,
    long_limbs,
    outside,
    sizes,
)
from hourglass.doctor.people import DataSet, Finding, measure, relative


def rows(finding: Finding) -> list[int | None]:
    return [suspect.row for suspect in finding.suspects]


def planted(people: DataSet, changes: dict[int, dict[str, tuple[float, float]]]) -> DataSet:
    """A copy with some joints put elsewhere, NaN taking their label away."""
    points = people.keypoints.copy()
    for row, joints in changes.items():
        for joint, place in joints.items():
            points[row, people.skeleton.index(joint)] = place
    return replace(people, keypoints=points)


def test_clean_people_are_no_suspects(clean: DataSet) -> None:
    body = measure(clean)
    for finding in (
        areas(clean),
        outside(clean),
        few_joints(clean),
        coinciding_joints(clean, body),
        long_limbs(clean, body),
        sizes(clean, body),
        crops(clean, body),
    ):
        assert (finding.level, finding.count, rows(finding)) == ("ok", 0, []), finding


def test_a_body_is_measured_in_proportion(clean: DataSet) -> None:
    body = measure(clean)
    twice = measure(replace(clean, keypoints=3 * clean.keypoints + 5))
    np.testing.assert_allclose(twice.body_px, 3 * body.body_px, rtol=1e-9)
    np.testing.assert_allclose(relative(twice), relative(body), rtol=1e-9)


def test_one_bad_joint_hardly_moves_the_size(clean: DataSet) -> None:
    row = int(np.flatnonzero(clean.labelled.all(axis=1))[0])
    far = planted(clean, {row: {"right_wrist": (600.0, 30.0)}})
    assert abs(measure(far).body_px[row] / measure(clean).body_px[row] - 1) < 0.25


def test_joints_outside_are_counted_and_those_far_outside_are_suspects(clean: DataSet) -> None:
    # A picture of 64 pixels spans -0.5 to 63.5; 5 % of it is 3.2 px.
    changed = planted(
        clean,
        {
            2: {"left_knee": (-3.6, 30.0)},
            7: {"left_knee": (30.0, 66.8)},
            9: {"head_top": (90.5, 30.0)},
            11: {"neck": (63.4, 30.0)},
        },
    )
    finding = outside(changed)
    assert rows(finding) == [9, 7]
    assert finding.suspects[0].what == "head top 27 px outside"
    assert abs(finding.suspects[0].number - 27 / 64) < 1e-3
    assert finding.numbers["joints_outside"] == 3
    assert finding.numbers["joints_far_outside"] == 2
    assert (finding.level, finding.of) == ("warning", 120)


def test_without_sizes_nothing_is_said_about_outside(clean: DataSet) -> None:
    finding = outside(clean.with_sizes(np.full((120, 2), np.nan)))
    assert (finding.level, finding.of) == ("ok", 0)


def test_few_labels(clean: DataSet) -> None:
    points = clean.keypoints.copy()
    points[3] = np.nan
    points[4, 1:] = np.nan
    points[4, 0] = 9
    points[8, 2:] = np.nan
    points[8, :2] = 9
    finding = few_joints(replace(clean, keypoints=points))
    assert rows(finding) == [4, 8]
    assert finding.numbers["without_labels"] == 1
    assert finding.of == 119


def test_joints_in_one_place(clean: DataSet) -> None:
    a, b, c, d = np.flatnonzero(clean.labelled.all(axis=1))[:4].tolist()
    points = clean.keypoints.copy()
    points[a, LSP14.index("left_ankle")] = points[a, LSP14.index("left_knee")]
    points[b, LSP14.index("left_hip")] = points[b, LSP14.index("right_hip")]
    points[c] = 30.0
    points[d, LSP14.index("left_ankle")] = points[d, LSP14.index("left_knee")] + 0.01
    changed = replace(clean, keypoints=points)
    finding = coinciding_joints(changed, measure(changed))
    # The whole person, then a shank that vanished, then hips that may well lie behind one another.
    assert rows(finding) == [c, a, b]
    assert finding.suspects[0].what == "all joints in one place"
    assert finding.suspects[1].what == "left knee and left ankle in one place"


def test_a_limb_that_is_too_long(clean: DataSet) -> None:
    whole = np.flatnonzero(clean.labelled.all(axis=1)).tolist()[:5]
    usual = measure(clean)
    limb = LSP14.limb_indices.index((LSP14.index("right_wrist"), LSP14.index("right_elbow")))
    points = clean.keypoints.copy()
    wanted = usual.usual[limb] * usual.body_px
    for row, times in zip(whole, (1.5, 5.0, 6.0, 7.0, 0.2), strict=True):
        points[row, LSP14.index("right_wrist")] = points[row, LSP14.index("right_elbow")] + (
            0,
            times * wanted[row],
        )
    changed = replace(clean, keypoints=points)
    finding = long_limbs(changed, measure(changed))
    assert set(rows(finding)) == set(whole[1:4])
    assert finding.level == "warning"
    assert all("right wrist and right elbow" in suspect.what for suspect in finding.suspects)
    assert [s.number for s in finding.suspects] == sorted((s.number for s in finding.suspects), reverse=True)


def test_a_data_set_of_chaos_is_an_error(clean: DataSet) -> None:
    """Half of the joints with x and y exchanged, as a reader with a wrong shape would do."""
    rng = np.random.default_rng(1)
    points = clean.keypoints * (4.0, 0.5)
    swapped = rng.random(points.shape[:2]) < 0.5
    points[swapped] = points[swapped][:, ::-1]
    changed = replace(clean, keypoints=points)
    assert long_limbs(changed, measure(changed)).level == "error"
    assert outside(changed).level == "error"


def test_people_of_an_odd_size(clean: DataSet) -> None:
    points = clean.keypoints.copy()
    points[5] /= 100
    points[6] *= 100
    changed = replace(clean, keypoints=points)
    finding = sizes(changed, measure(changed))
    assert set(rows(finding)) == {5, 6}
    assert finding.level == "warning"
    # Without the pictures' sizes pixels are compared.
    unknown = changed.with_sizes(np.full((120, 2), np.nan))
    assert set(rows(sizes(unknown, measure(unknown)))) == {5, 6}
    # A person is not odd in a picture that is as much larger.
    grown = changed.sizes.copy()
    grown[changed.photo[6]] *= 100
    assert set(rows(sizes(changed.with_sizes(grown), measure(changed)))) == {5}


def test_told_crops_are_compared_with_the_joints(clean: DataSet) -> None:
    body = measure(clean)
    assert "made of the joints" in crops(clean, body).sentence
    side = 1.6 * body.body_px
    side[4], side[9] = 40 * side[4], side[9] / 40
    center = clean.center.copy()
    center[20] += 1000
    told = replace(clean, side_px=side, center=center)
    finding = crops(told, body)
    assert set(rows(finding)) == {4, 9, 20}
    assert [s.what for s in finding.suspects if s.row == 20] == ["misses 100% of the joints"]


def test_a_skeleton_without_limbs_or_sides_is_no_obstacle(clean: DataSet) -> None:
    bare = replace(clean, skeleton=Skeleton("bare", tuple(f"point {n}" for n in range(14))))
    body = measure(bare)
    assert body.limbs == ()
    np.testing.assert_allclose(body.body_px, clean.side_px / 1.25, rtol=1e-5)
    assert long_limbs(bare, body).count == 0
    assert coinciding_joints(bare, body).count == 0
    assert sizes(bare, body).level == "ok"


def test_people_without_room(clean: DataSet) -> None:
    box, area = np.full((len(clean), 2), 30.0), np.full(len(clean), np.nan)
    box[3], box[4], box[5] = (0, 30), np.nan, (0, 0)
    area[5], area[6], area[7] = 0, -4, 0.5
    found = areas(replace(clean, box=box, area=area))
    assert (rows(found), found.level, found.of) == ([3, 5, 6], "warning", 119)
    whats = [suspect.what for suspect in found.suspects]
    assert whats == ["a box of 0 x 30", "an area of 0", "an area of -4"]
    # Who has no joints is left out of training anyway.
    lonely = dict.fromkeys(LSP14.joints, (np.nan, np.nan))
    found = areas(replace(planted(clean, {3: lonely}), box=box, area=area))
    assert (rows(found), found.of) == ([5, 6], 118)
