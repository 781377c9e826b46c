import io

import cv2
import numpy as np
import pytest
from PIL import Image

from hourglass import geometry
from hourglass.data.augment import Augmentation
from hourglass.data.dataset import TrainingCrops, decode_all, make_sample, read_picture, warp_into
from hourglass.data.images import ImageError, read_image
from hourglass.data.pack_file import PackedPicture
from hourglass.recipe import AugmentRecipe
from hourglass.skeleton import LSP14
from hourglass.structs import PersonRecord


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
