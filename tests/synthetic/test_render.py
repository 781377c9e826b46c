"""Rendered people: the same seed is the same picture, and the truth is what the depth buffer drew."""

import time
from functools import cache

import cv2
import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, SKELETONS, Skeleton
from hourglass.synthetic.backdrop import BACKDROPS, backdrop
from hourglass.synthetic.poses import (
    POSE_NAMES,
    SIDED_LIMITS,
    SINGLE_LIMITS,
    figure,
    limited,
    sample_pose,
    sample_shape,
    stride,
)
from hourglass.synthetic.raster import Cone, Material, Placement, add, empty_canvas, paint
from hourglass.synthetic.render import ADJACENT, PART_STRIDE, Scene, load_records, part_of, render, walk

SEEDS = range(24)


@cache
def scene_of(seed: int, skeleton: Skeleton = MPII16) -> Scene:
    return render(seed, skeleton)


def pixel(scene: Scene, row: int, person: int = 0) -> tuple[int, int]:
    x, y = np.floor(scene.people[person].keypoints[row] + 0.5).astype(int)
    return int(x), int(y)


def test_the_same_seed_gives_the_same_bytes() -> None:
    first, again, other = render(7), render(7), render(8)
    assert first.image.dtype == np.uint8
    assert first.image.shape == (256, 256, 3)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.people[0].keypoints.tobytes() == again.people[0].keypoints.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("skeleton", [LSP14, FLIC11, COCO17])
def test_skeletons_see_the_same_person(skeleton: Skeleton) -> None:
    for seed in range(4):
        a, b = scene_of(seed), scene_of(seed, skeleton)
        assert (a.image == b.image).all()
        shared = [joint for joint in skeleton.joints if joint in MPII16.joints]
        assert shared
        rows_a, rows_b = [MPII16.index(j) for j in shared], [skeleton.index(j) for j in shared]
        assert (a.people[0].keypoints[rows_a] == b.people[0].keypoints[rows_b]).all()
        assert (a.people[0].visibility[rows_a] == b.people[0].visibility[rows_b]).all()


def test_every_built_in_skeleton_is_covered() -> None:
    for skeleton in SKELETONS.values():
        assert set(skeleton.joints) <= set(ADJACENT)
        person = render(1, skeleton, 64, 64).people[0]
        assert person.keypoints.shape == (len(skeleton), 2)
        assert person.visibility.shape == (len(skeleton),)


def test_visibility_agrees_with_what_the_pixels_show() -> None:
    seen, hidden, behind_something = 0, 0, 0
    for seed in SEEDS:
        scene = scene_of(seed)
        height, width = scene.parts.shape
        for row, joint in enumerate(MPII16.joints):
            x, y = pixel(scene, row)
            visibility = scene.people[0].visibility[row]
            if not (0 <= x < width and 0 <= y < height):
                assert visibility == 0
                continue
            label = int(scene.parts[y, x])
            if visibility == 2:
                seen += 1
                assert label > 0, (seed, joint)
                assert part_of(label)[1] in ADJACENT[joint][0], (seed, joint)
            else:
                hidden += 1
                assert visibility == 1
            if label <= 0 or part_of(label)[1] not in ADJACENT[joint][0]:
                assert visibility == 1, (seed, joint)
            behind_something += label == -1
    assert seen > 2 * hidden
    assert hidden > 20
    assert behind_something > 5


def test_a_joint_lies_on_its_own_body() -> None:
    """Without occluders, somebody's body covers every joint inside the picture; the ground never shows."""
    for seed in SEEDS:
        scene = render(seed, MPII16, occluders=0)
        for row in range(len(MPII16)):
            x, y = pixel(scene, row)
            if scene.people[0].visibility[row]:
                assert scene.parts[y, x] > 0, (seed, MPII16.joints[row])


def test_occluders_hide_and_change_nothing_else() -> None:
    turned = 0
    for seed in range(12):
        free, covered = render(seed, MPII16, occluders=0), render(seed, MPII16, occluders=3)
        assert not (free.parts == -1).any()
        assert (covered.parts == -1).any()
        assert (free.people[0].keypoints == covered.people[0].keypoints).all()
        rest = covered.parts != -1
        assert (free.parts[rest] == covered.parts[rest]).all()
        a, b = free.people[0].visibility, covered.people[0].visibility
        assert (b <= a).all()
        assert ((a == 0) == (b == 0)).all()
        turned += int(((a == 2) & (b == 1)).sum())
        far = cv2.erode(rest.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
        assert (free.image[far] == covered.image[far]).all()
    assert turned > 10


def test_left_and_right_follow_the_side_that_faces_the_camera() -> None:
    """Whoever shows an eye faces the camera, and his left shoulder and hip are on the picture's right."""
    facing, away = 0, 0
    for seed in range(60):
        scene = render(seed, COCO17, 192, 192, occluders=0)
        person, at = scene.people[0], COCO17.index
        up = person.joints_m[at("left_shoulder")] + person.joints_m[at("right_shoulder")]
        across = person.joints_m[at("left_shoulder")] - person.joints_m[at("right_shoulder")]
        # An upright trunk seen well from the front or from behind.
        if up[1] < 0.7 or abs(across[0]) < 0.25:
            continue
        nose = person.joints_m[at("nose")] - person.joints_m[at("left_ear")]
        nose = nose + person.joints_m[at("nose")] - person.joints_m[at("right_ear")]
        shoulders = person.keypoints[at("left_shoulder"), 0] - person.keypoints[at("right_shoulder"), 0]
        hips = person.keypoints[at("left_hip"), 0] - person.keypoints[at("right_hip"), 0]
        if across[0] > 0:
            facing += 1
            assert nose[2] > 0
            assert shoulders > 0
            assert hips > 0
        else:
            away += 1
            assert shoulders < 0
            assert hips < 0
            # Past a profile (metres, twice the nose's reach) the face is hidden.
            for joint in ("nose", "left_eye", "right_eye"):
                assert person.visibility[at(joint)] != 2 or nose[2] > -0.11
    assert facing > 8
    assert away > 2


def test_limbs_have_one_length_on_both_sides_and_in_every_pose() -> None:
    rng = np.random.default_rng(5)
    shape = sample_shape(rng)
    bones = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
    lengths = []
    for _ in range(30):
        body = figure(shape, sample_pose(rng)[1], np.eye(3))
        points = body.points_m
        for side in ("left", "right"):
            lengths.append([np.linalg.norm(points[f"{side}_{a}"] - points[f"{side}_{b}"]) for a, b in bones])
        for frame in body.frames.values():
            np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-9)
            assert np.linalg.det(frame) > 0
    np.testing.assert_allclose(lengths, np.tile(lengths[0], (60, 1)), rtol=1e-9)


def test_a_resting_body_stands_upright_with_its_left_at_positive_x() -> None:
    rest = dict.fromkeys(SINGLE_LIMITS, 0.0)
    rest |= {f"{side}_{joint}": 0.0 for side in ("left", "right") for joint in SIDED_LIMITS}
    shape = sample_shape(np.random.default_rng(0))
    points = figure(shape, rest, np.eye(3)).points_m
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear"):
        assert points[f"left_{joint}"][0] > 0 > points[f"right_{joint}"][0]
        left = points[f"left_{joint}"] * (-1, 1, 1)
        np.testing.assert_allclose(left, points[f"right_{joint}"], atol=1e-9)
    order = ("left_toe", "left_ankle", "left_knee", "pelvis", "thorax", "neck", "nose", "head_top")
    heights = [points[name][1] for name in order]
    assert heights == sorted(heights)
    tall = points["head_top"][1] - points["left_heel"][1]
    assert tall == pytest.approx(shape.stature_m, rel=0.06)
    assert points["nose"][2] > points["left_ear"][2]
    assert points["left_toe"][2] > points["left_heel"][2]


def test_poses_stay_within_the_joints_limits() -> None:
    rng = np.random.default_rng(2)
    names = set()
    for _ in range(400):
        name, angles = sample_pose(rng)
        names.add(name)
        assert limited(angles) == angles
    assert names == set(POSE_NAMES)
    assert limited({"left_knee": 400.0, "neck_yaw": -400.0}) == {"left_knee": 145.0, "neck_yaw": -60.0}


def test_a_stride_repeats_and_swaps_sides_half_way() -> None:
    a, b, half = stride(0.7), stride(0.7 + 2 * np.pi), stride(0.7 + np.pi)
    assert a == pytest.approx(b)
    assert a["left_knee"] == pytest.approx(half["right_knee"])
    assert a["left_arm_flex"] == pytest.approx(half["right_arm_flex"])


def test_several_people_stand_in_front_of_one_another() -> None:
    overlapping = 0
    for seed in range(8):
        scene = render(seed, MPII16, 256, 320, people=4, occluders=0)
        assert len(scene.people) == 4
        drawn = np.unique(scene.parts[scene.parts > 0] // PART_STRIDE)
        assert set(drawn) <= {0, 1, 2, 3}
        for index, person in enumerate(scene.people):
            for row in np.nonzero(person.visibility)[0]:
                x, y = pixel(scene, int(row), index)
                owner = part_of(int(scene.parts[y, x]))[0]
                assert owner >= index, "somebody further away covers somebody nearer"
                if owner > index:
                    overlapping += 1
                    assert person.visibility[row] == 1
    assert overlapping > 5


def test_records_are_lossless_and_hold_the_box() -> None:
    records = load_records(LSP14, 3, seed=40, size_px=128)
    assert [record.person_id for record in records] == [40, 41, 42]
    for record in records:
        scene = render(record.person_id, LSP14, 128, 128)
        assert isinstance(record.image, bytes)
        decoded = cv2.imdecode(np.frombuffer(record.image, np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None
        assert (decoded[..., ::-1] == scene.image).all()
        assert (record.keypoints == scene.people[0].keypoints).all()
        shown = record.keypoints[record.labelled]
        assert (np.abs(shown - record.center) <= record.side_px / 2).all()
        longer = float(np.ptp(shown, axis=0).max())
        assert record.side_px == pytest.approx(1.25 * longer, rel=1e-4)
    assert load_records(LSP14, 0) == []


def test_a_walk_is_smooth_and_shows_every_side() -> None:
    frames = list(walk(11, 60, COCO17, 128, 128))
    xy = np.stack([frame.people[0].keypoints for frame in frames])
    assert np.linalg.norm(np.diff(xy, axis=0), axis=2).max() < 0.10 * 128
    assert np.linalg.norm(np.diff(xy, n=2, axis=0), axis=2).max() < 0.035 * 128
    assert all((frame.people[0].visibility > 0).all() for frame in frames)
    again = list(walk(11, 3, COCO17, 128, 128))
    assert all((a.image == b.image).all() for a, b in zip(frames, again, strict=False))
    # The camera and the place stand still: corners change by noise only.
    corner = np.stack([frame.image[:20, :20].astype(float).mean() for frame in frames])
    assert np.ptp(corner) < 2
    lefts = xy[:, COCO17.index("left_shoulder"), 0] - xy[:, COCO17.index("right_shoulder"), 0]
    assert lefts.max() > 5
    assert lefts.min() < -5


def test_any_size_and_many_people_are_drawn() -> None:
    for height, width in ((32, 32), (64, 400), (400, 64)):
        scene = render(3, COCO17, height, width, people=2)
        assert scene.image.shape == (height, width, 3)
        assert scene.parts.shape == (height, width)
        assert next(walk(3, 1, COCO17, height, width)).image.shape == (height, width, 3)
    assert len(render(0, people=16, height=128, width=128).people) == 16


def test_every_backdrop_fills_the_picture() -> None:
    for seed in range(4 * len(BACKDROPS)):
        image = backdrop(np.random.default_rng(seed), 48, 80, 30.0)
        assert image.shape == (48, 80, 3)
        assert np.isfinite(image).all()


def test_a_cone_covers_exactly_its_shadow_and_has_its_depth() -> None:
    """A ball of 10 px at (20, 16): a disc in the picture, and a hemisphere in depth."""
    canvas = empty_canvas(40, 40)
    center = np.array([20.0, -16.0, 5.0])
    ball = Cone(3, center, center, 10.0, 10.0, np.eye(3), center, Material((1.0, 1.0, 1.0)))
    add(canvas, ball, Placement(1.0, 0.0, 0.0))
    ys, xs = np.mgrid[:40, :40]
    square = 100.0 - (xs - 20.0) ** 2 - (ys - 16.0) ** 2
    assert ((canvas.part == 3) == (square > 0)).all()
    inside = square > 0
    np.testing.assert_allclose(canvas.depth[inside], 5 + np.sqrt(square[inside]), atol=1e-3)


def test_a_slanted_flattened_cone_agrees_with_marching_along_the_rays() -> None:
    rng = np.random.default_rng(4)
    for _ in range(6):
        axis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        a, b = np.array([20.0, -20, 0]) + rng.normal(0, 5, 3), np.array([20.0, -20, 0]) + rng.normal(0, 5, 3)
        ra, rb, flat = rng.uniform(4, 7), rng.uniform(3, 6), rng.uniform(0.4, 1)
        canvas = empty_canvas(40, 40)
        add(canvas, Cone(1, a, b, ra, rb, axis, a, Material((1.0, 1.0, 1.0)), flat), Placement(1.0, 0.0, 0.0))
        # The hull of two balls is the union of the balls between; in the space where it isn't flat.
        stretch = np.eye(3) + (1 / flat - 1) * np.outer(axis[:, 2], axis[:, 2])
        shares = np.linspace(0, 1, 60)
        centers, radii = (a + shares[:, None] * (b - a)) @ stretch, ra + shares * (rb - ra)
        for y, x in ((20, 20), (17, 22), (23, 18)):
            zs = np.arange(-25, 25, 0.05)
            points = np.stack([np.full_like(zs, x), np.full_like(zs, -y), zs], 1) @ stretch
            inside = (np.linalg.norm(points[:, None] - centers, axis=2) < radii).any(axis=1)
            if inside.any():
                assert canvas.depth[y, x] == pytest.approx(zs[inside].max(), abs=0.15)


def test_bad_requests_are_refused() -> None:
    strange = Skeleton("strange", ("left_wrist", "tail_tip"))
    with pytest.raises(ValueError, match="'strange' has the joint 'tail_tip'"):
        render(0, strange)
    with pytest.raises(ValueError, match="'tail_tip'"):
        load_records(strange, 0)
    with pytest.raises(ValueError, match="people is 0"):
        render(0, people=0)
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        render(-1)
    with pytest.raises(ValueError, match="not 16 x 256"):
        render(0, height=16)
    with pytest.raises(ValueError, match="occluders must be 0 or more, got -2"):
        render(0, occluders=-2)
    with pytest.raises(ValueError, match="count must be 0 or more, got -1"):
        load_records(LSP14, -1)
    with pytest.raises(ValueError, match="frames must be 0 or more, got -1"):
        walk(0, -1)
    with pytest.raises(ValueError, match="no pattern 'tartan'"):
        paint(Material((1.0, 1.0, 1.0), "tartan"), np.zeros((1, 3), np.float32), np.zeros((4, 4), np.float32))


def test_hundreds_are_generated_quickly() -> None:
    """The target is 25 ms of one quiet core; this catches a tenfold slip on a busy machine."""
    render(0)
    start = time.process_time()
    for seed in range(10):
        render(seed)
    assert (time.process_time() - start) / 10 < 0.25
