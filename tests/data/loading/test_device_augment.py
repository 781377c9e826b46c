"""Crops made in batch on the device are those that the loader's threads make one by one."""

import dataclasses

import numpy as np
import pytest
import torch

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.augment import Augmentation
from hourglass.data.loading.dataset import TrainingCrops, decode_all, make_sample
from hourglass.data.loading.device_augment import collate_windows, cut_window, window
from hourglass.data.loading.loader import training_batches, training_windows
from hourglass.recipe.recipe import AugmentRecipe
from hourglass.synthetic.render import load_records

PEOPLE = 12
WIDE = AugmentRecipe(rotate_probability=0.8, shift=0.15, brightness=0.1, erase=0.5)


@pytest.fixture(scope="module")
def rendered() -> tuple[list[PersonRecord], list[np.ndarray]]:
    records = load_records(LSP14, PEOPLE, seed=0)
    images = decode_all(records, 1.0, 1)
    assert images is not None
    return records, images


@pytest.mark.parametrize(("input_px", "mean"), [(192, 0.1), (96, 0.5), (48, 2.0)])
def test_crops_of_rendered_people_are_the_loaders(
    rendered: tuple[list[PersonRecord], list[np.ndarray]], input_px: int, mean: float
) -> None:
    """At 192 px people grow, at 96 they shrink, at 48 they are first reduced by area."""
    crops = TrainingCrops(rendered[0], input_px, WIDE, 3, rendered[1])
    samples = [crops.get(2, i) for i in range(PEOPLE)]
    batch = collate_windows([window(crops, 2, i) for i in range(PEOPLE)], input_px).crops()
    assert np.array_equal(np.stack([s.keypoints for s in samples]), batch.keypoints)
    assert np.array_equal(np.stack([s.weight for s in samples]), batch.weight)
    assert batch.occluded is not None
    assert np.array_equal(np.stack([s.occluded for s in samples]), batch.occluded)
    assert batch.image.dtype == torch.uint8
    want = np.stack([s.image for s in samples]).astype(int)
    off = np.abs(want - batch.image.permute(0, 2, 3, 1).numpy())
    assert want.std() > 20
    assert np.median(off) < 2
    assert off.mean() < mean
    assert (off > 12).mean() < 0.05


VIEWS = [
    Augmentation(),
    Augmentation(flip=True),
    Augmentation(rotate_deg=33.0, scale=0.7),
    Augmentation(scale=1.3, rotate_deg=-120.0, flip=True, shift=(0.2, -0.3)),
    Augmentation(gains=(0.7, 1.2, 1.0), offset=20.0),
    Augmentation(erased=(0.9, 0.2, 0.3, 0.3), erased_colour=(1, 200, 30)),
]


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("center", [(45.0, 40.0), (2.0, 3.0), (500.0, -300.0)], ids=str)
def test_smooth_pictures_agree_to_a_level_or_two(view: Augmentation, center: tuple[float, float]) -> None:
    """Inside the picture, across its border, and outside, where there is only black."""
    y, x = np.mgrid[0:81, 0:93]
    picture = np.stack([2 * x + y, 250 - x - y, 120 + 60 * np.sin(x / 20)], -1).clip(0, 255).astype(np.uint8)
    record = PersonRecord(
        b"", "drawn", 0, LSP14, np.full((14, 2), 40, np.float32), np.full(14, 2, np.uint8),
        np.array(center, np.float32), 50.0,
    )  # fmt: skip
    sample = make_sample(picture, record, 64, view)
    batch = collate_windows([cut_window(picture, record, 64, view)] * 2, 64).crops()
    for image in batch.image.permute(0, 2, 3, 1).numpy():
        off = np.abs(image.astype(int) - sample.image)
        # cv2 rounds positions to 1/32 pixel, which shows at the border only.
        assert np.percentile(off, 98) <= 2
    if center[0] == 500 and view.erased is None and not view.offset:
        assert not batch.image.any()


def test_what_crosses_is_no_larger_than_the_crop_needs() -> None:
    """A person of 900 px in a large picture comes as about twice the crop's side, not as 900 px."""
    picture = np.random.default_rng(0).integers(0, 256, (1200, 1600, 3), dtype=np.uint8)
    record = PersonRecord(
        b"", "large", 0, LSP14, np.full((14, 2), 600, np.float32), np.full(14, 2, np.uint8),
        np.array([700, 600], np.float32), 900.0,
    )  # fmt: skip
    large = cut_window(picture, record, 64, Augmentation())
    assert max(large.image.shape) <= 2 * 64 + 3
    own = cut_window(picture, dataclasses.replace(record, side_px=60.0), 64, Augmentation())
    assert max(own.image.shape) <= 62
    # Whole pixels of the picture, not resampled.
    left, top = np.rint(np.linalg.inv(own.matrix) @ [0, 0, 1])[:2].astype(int)
    assert np.shares_memory(own.image, picture)
    assert abs(left) <= 2
    assert abs(top) <= 2


def test_pixel_noise_is_as_strong_as_drawn_and_repeats() -> None:
    picture = np.full((80, 80, 3), 128, np.uint8)
    record = PersonRecord(
        b"", "flat", 0, LSP14, np.full((14, 2), 40, np.float32), np.full(14, 2, np.uint8),
        np.array([40, 40], np.float32), 50.0,
    )  # fmt: skip
    views = [Augmentation(noise=12.0, noise_seed=1), Augmentation(), Augmentation(noise=12.0, noise_seed=2)]
    windows = collate_windows([cut_window(picture, record, 64, view) for view in views], 64)
    first, again = windows.crops().image.float(), windows.crops().image.float()
    assert torch.equal(first, again)
    assert [first[i].std().item() for i in (0, 2)] == pytest.approx([12, 12], rel=0.05)
    assert first[1].std() == 0
    assert not torch.equal(first[0], first[2])


def test_windows_come_in_the_order_of_the_crops(
    rendered: tuple[list[PersonRecord], list[np.ndarray]],
) -> None:
    crops = TrainingCrops(rendered[0], 48, WIDE, 3, rendered[1])
    share = (crops, 6, 1, 1, 1, 2, False, 1)
    batches, windows = training_batches(*share), training_windows(*share)
    for _ in range(3):
        a, b = next(batches), next(windows)
        assert torch.equal(a.keypoints, b.keypoints)
        assert torch.equal(b.to("cpu").crops().weight, a.weight)
    batches.close()  # type: ignore[attr-defined]
    windows.close()  # type: ignore[attr-defined]
