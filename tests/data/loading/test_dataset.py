import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hourglass.core import geometry
from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.augment import Augmentation
from hourglass.data.loading.dataset import TrainingCrops, decode_all, make_sample, read_picture, warp_into
from hourglass.data.loading.images import ImageError, read_image
from hourglass.data.packs.pack_file import PackedPicture
from hourglass.recipe.recipe import AugmentRecipe


def person(keypoints: np.ndarray, side: float = 100.0, visibility: np.ndarray | None = None) -> PersonRecord:
    return PersonRecord(
        image=b"",
        image_id="drawn",
        person_id=0,
        skeleton=LSP14,
        keypoints=keypoints.astype(np.float32),
        visibility=np.full(14, 2, np.uint8) if visibility is None else visibility,
        center=keypoints.mean(0).astype(np.float32),
        side_px=side,
    )


def dotted(keypoints: np.ndarray) -> np.ndarray:
    """A picture with a soft dot at each joint, its red value saying which."""
    yy, xx = np.mgrid[0:240, 0:320]
    picture = np.zeros((240, 320, 3), np.float64)
    for j, (x, y) in enumerate(keypoints):
        blob = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 2.0**2))
        picture[..., 0] += blob * (100 + 10 * j)
    return picture.clip(0, 255).astype(np.uint8)


VIEWS = [
    Augmentation(),
    Augmentation(flip=True),
    Augmentation(rotate_deg=33.0),
    Augmentation(scale=0.8, shift=(0.1, -0.05)),
    Augmentation(scale=1.1, rotate_deg=-50.0, flip=True, shift=(0.05, 0.05)),
]


@pytest.mark.parametrize("view", VIEWS)
def test_pixels_and_joints_move_together(view: Augmentation) -> None:
    grid = np.array([(x, y) for y in (80, 105, 130) for x in (110, 135, 160, 185, 210)], float)[:14]
    record = person(grid, side=220)
    sample = make_sample(dotted(grid), record, 256, view)
    for j, (x, y) in enumerate(sample.keypoints):
        if not sample.weight[j]:
            continue
        source = LSP14.flip_permutation[j] if view.flip else j
        x0, y0 = round(float(x)) - 6, round(float(y)) - 6
        if min(x0, y0) < 0 or max(x0, y0) + 13 > 256:
            continue
        patch = sample.image[y0 : y0 + 13, x0 : x0 + 13, 0].astype(float)
        yy, xx = np.mgrid[y0 : y0 + 13, x0 : x0 + 13]
        found = np.array([(xx * patch).sum(), (yy * patch).sum()]) / patch.sum()
        assert np.abs(found - (x, y)).max() < 0.35  # the dot's centre of mass, in crop pixels
        assert patch.max() == pytest.approx(100 + 10 * source, rel=0.1)  # and it is that joint's dot


def test_unlabelled_and_outside_joints_weigh_nothing() -> None:
    keypoints = np.tile([160.0, 120.0], (14, 1))
    keypoints[3] = (1000, 120)
    visibility = np.full(14, 2, np.uint8)
    visibility[5] = 0
    visibility[6] = 1  # occluded joints are learnt
    record = person(np.tile([160.0, 120.0], (14, 1)), visibility=visibility)
    record = PersonRecord(**{**record.__dict__, "keypoints": keypoints.astype(np.float32)})
    sample = make_sample(np.zeros((240, 320, 3), np.uint8), record, 64)
    want = np.ones(14, np.float32)
    want[[3, 5]] = 0
    assert np.array_equal(sample.weight, want)


@pytest.mark.parametrize("flip", [False, True])
def test_hidden_joints_are_marked_and_change_sides_with_the_rest(flip: bool) -> None:
    grid = np.array([(x, y) for y in (80, 105, 130) for x in (110, 135, 160, 185, 210)], float)[:14]
    visibility = np.full(14, 2, np.uint8)
    visibility[LSP14.index("left_wrist")] = 1
    visibility[LSP14.index("right_knee")] = 0
    sample = make_sample(dotted(grid), person(grid, 220, visibility), 256, Augmentation(flip=flip))
    hidden = [LSP14.joints[j] for j in np.flatnonzero(sample.occluded)]
    unknown = [LSP14.joints[j] for j in np.flatnonzero(sample.weight == 0)]
    assert hidden == ["right_wrist" if flip else "left_wrist"]
    assert unknown == ["left_knee" if flip else "right_knee"]


def test_training_crops_repeat_and_change_with_the_epoch() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    record = person(rng.uniform(100, 200, (14, 2)))
    crops = TrainingCrops([record], 64, AugmentRecipe(), seed=1, images=[picture])
    first, again, later = crops.get(0, 0), crops.get(0, 0), crops.get(1, 0)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.keypoints, again.keypoints)
    assert not np.array_equal(first.image, later.image)


def test_decoded_pictures_are_those_read_one_by_one_and_the_limit_holds() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20 + i, 30, 3), dtype=np.uint8) for i in range(5)]
    records = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        base = person(rng.uniform(0, 20, (14, 2)))
        records.append(PersonRecord(**{**base.__dict__, "image": file.getvalue()}))
    decoded = decode_all(records, limit_gb=1, workers=2)
    assert decoded is not None
    assert all(np.array_equal(a, b) for a, b in zip(decoded, pictures, strict=True))
    assert decode_all(records, limit_gb=1e-6, workers=2) is None
    assert decode_all(records, limit_gb=0, workers=2) is None


def test_crop_is_resampled_once() -> None:
    """A unit-scale, unrotated crop is a copy of the picture's pixels: no second interpolation blurs it."""
    picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    record = person(np.array([[60.0, 60.0]] * 7 + [[123.0, 123.0]] * 7), side=64)
    sample = make_sample(picture, record, 64)
    # centre 91.5 lands on 31.5, so the crop starts at pixel 60
    assert np.array_equal(sample.image, picture[60:124, 60:124])
    assert cv2.countNonZero(sample.image[..., 0]) > 0


@pytest.mark.parametrize("size", [(240, 320), (31, 17), (1, 1), (900, 1200)])
@pytest.mark.parametrize("side", [256, 64, 37])
def test_crops_are_those_of_geometry_to_the_bit(size: tuple[int, int], side: int) -> None:
    """Turned, mirrored, enlarged, shrunk more than twofold, and partly or wholly outside the picture."""
    rng = np.random.default_rng(side)
    picture = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for number in range(25):
        center = rng.uniform(-0.3, 1.3, 2) * (size[1], size[0])
        side_px = float(np.exp(rng.uniform(np.log(5), np.log(2000))))
        matrix = geometry.crop_matrix(center, side_px, side, rng.uniform(-180, 180), bool(number % 2))
        out = np.full((side, side, 3), 77, np.uint8)
        warp_into(picture, matrix, out)
        assert np.array_equal(out, geometry.warp(picture, matrix, side)), (center, side_px)


def test_pictures_too_large_for_the_scratch_memory_are_cut_too() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (2100, 2000, 3), dtype=np.uint8)
    matrix = geometry.crop_matrix(np.array([1000.0, 1000.0]), 90.0, 64)
    out = np.empty((64, 64, 3), np.uint8)
    warp_into(picture, matrix, out)
    assert np.array_equal(out, geometry.warp(picture, matrix, 64))


def test_a_crop_made_in_place_is_the_same() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crops = TrainingCrops([person(rng.uniform(60, 180, (14, 2)))], 64, AugmentRecipe(), 1, [picture])
    batch = np.empty((3, 64, 64, 3), np.uint8)
    sample = crops.get(2, 0, out=batch[1])
    assert np.shares_memory(sample.image, batch)
    assert np.array_equal(batch[1], crops.get(2, 0).image)


@pytest.mark.parametrize("options", [{"format": "WEBP", "quality": 70}, {"format": "JPEG", "quality": 75}])
def test_packed_pictures_decode_as_pillow_decodes_them(options: dict[str, str | int]) -> None:
    yy, xx = np.mgrid[0:131, 0:97]
    rng = np.random.default_rng(0)
    smooth = np.stack([xx * 2, yy, (xx + yy) % 256], -1).astype(np.uint8)
    for picture in (smooth, rng.integers(0, 256, (60, 83, 3), dtype=np.uint8)):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, **options)  # type: ignore[arg-type]
        base = person(rng.uniform(0, 20, (14, 2)))
        record = PersonRecord(**{**base.__dict__, "image": PackedPicture(file.getvalue())})
        assert np.array_equal(read_picture(record), read_image(file.getvalue()))


@pytest.mark.parametrize("content", [b"", b"junk", b"RIFF\x04\x00\x00\x00WEBP", b"\xff\xd8\xff\xd9"])
def test_a_packed_picture_that_is_none_is_named(content: bytes) -> None:
    base = person(np.full((14, 2), 9.0))
    record = PersonRecord(**{**base.__dict__, "image": PackedPicture(content), "image_id": "someone.jpg"})
    with pytest.raises(ImageError, match=r"someone\.jpg is"):
        read_picture(record)


# Right leg, left leg, right arm, left arm, neck, head top: a person 160 px tall, in the middle of 320 x 240.
LEGS = [(150, 200), (150, 165), (150, 130), (170, 130), (170, 165), (170, 200)]
ARMS = [(130, 120), (135, 95), (140, 70), (180, 70), (185, 95), (190, 120)]
WHOLE = np.array([*LEGS, *ARMS, (160, 60), (160, 40)], float)


def test_half_bodies_are_looked_at_closely() -> None:
    record = person(WHOLE, side=200)
    whole = make_sample(dotted(WHOLE), record, 100)
    upper = make_sample(dotted(WHOLE), record, 100, Augmentation(half="upper"))
    lower = make_sample(dotted(WHOLE), record, 100, Augmentation(half="lower"))
    assert whole.weight.all()
    # The upper half spans y 40 to 120 and x 130 to 190: a crop of 80 x 1.25 = 100 px around (160, 80).
    np.testing.assert_allclose(upper.keypoints[8], (140 - 160 + 49.5, 70 - 80 + 49.5), atol=1e-4)
    # The lower half spans y 130 to 200: a crop of 87.5 px around (160, 165).
    gain = 100 / 87.5
    np.testing.assert_allclose(
        lower.keypoints[0], ((150 - 160) * gain + 49.5, (200 - 165) * gain + 49.5), atol=1e-3
    )
    # The wrists, at y 120, lie 2 px above the crop, where a tail of their Gaussian is still inside.
    assert np.flatnonzero(lower.weight == 0).tolist() == [7, 8, 9, 10, 12, 13]
    # Two joints are no half, and the person is seen whole.
    visibility = np.full(14, 2, np.uint8)
    visibility[:4] = 0
    few = person(WHOLE, side=200, visibility=visibility)
    np.testing.assert_array_equal(
        make_sample(dotted(WHOLE), few, 100, Augmentation(half="lower")).keypoints,
        make_sample(dotted(WHOLE), few, 100).keypoints,
    )


@pytest.mark.parametrize(
    ("side", "gone"), [(0, np.s_[:, :30]), (1, np.s_[:30]), (2, np.s_[:, 70:]), (3, np.s_[70:])]
)
def test_what_is_cut_off_is_black_and_its_joints_are_nowhere(side: int, gone: tuple[slice, ...]) -> None:
    record = person(WHOLE, side=200)
    view = Augmentation(cut=(side, 0.3))
    picture = np.full((240, 320, 3), 200, np.uint8)
    sample = make_sample(picture, record, 100, view, absent=0.25)
    black = np.zeros((100, 100), bool)
    black[gone] = True
    assert (sample.image[black] == 0).all()
    assert (sample.image[~black] == 200).all()
    plain = make_sample(picture, record, 100)
    for before, after, weight in zip(plain.keypoints, sample.keypoints, sample.weight, strict=True):
        axis = side % 2
        beyond = 30 - before[axis] if side < 2 else before[axis] - 70
        if beyond > 7:
            assert weight == 0.25
            assert (after < -1000).all(), "nothing of its Gaussian is left"
        elif beyond < 0:
            assert weight == 1
            np.testing.assert_array_equal(before, after)
    left_out = make_sample(picture, record, 100, view)
    np.testing.assert_array_equal(left_out.weight, np.where(sample.weight == 0.25, 0, sample.weight))


def test_labels_weigh_by_their_own_weight_also_mirrored() -> None:
    weight = np.linspace(0, 1, 14).astype(np.float32)
    record = PersonRecord(**{**person(WHOLE, side=200).__dict__, "weight": weight})
    np.testing.assert_array_equal(make_sample(dotted(WHOLE), record, 100).weight, weight)
    mirrored = make_sample(dotted(WHOLE), record, 100, Augmentation(flip=True)).weight
    np.testing.assert_array_equal(mirrored, weight[LSP14.flip_permutation])


def test_one_photo_of_several_people_is_decoded_once(tmp_path: Path) -> None:
    Image.fromarray(dotted(WHOLE)).save(tmp_path / "a.png")
    people = [PersonRecord(**{**person(WHOLE).__dict__, "image": tmp_path / "a.png"}) for _ in range(3)]
    images = decode_all(people, 1.0, 1)
    assert images is not None
    assert images[0] is images[1] is images[2]
