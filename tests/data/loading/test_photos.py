"""Whole photos: their file, and views in which boxes stay on what they are around."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hourglass.data.formats.photos import PhotoRecord, read_photos
from hourglass.data.loading.augment import Mix
from hourglass.data.loading.photos import (
    STRIDE,
    Tile,
    TrainingPhotos,
    collate_photos,
    decode_photos,
    make_view,
    read_reduced,
    whole,
)
from hourglass.recipe.recipe import AugmentRecipe

NOBODY = np.empty((0, 4), np.float32)
PLAIN = {"scale": 0.0, "rotate_probability": 0.0, "gain": 0.0}


def annotation(box: list[float], image: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "bbox": box, "category_id": 1, **more}


def write(folder: Path, annotations: list[dict[str, Any]], **second: Any) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": 40, "height": 30, "split": "train"}]
    images.append({"id": 2, "file_name": "b.jpg", "width": 20, "height": 20, "split": "val", **second})
    for name, size in (("a.webp", (40, 30)), ("b.jpg", (20, 20))):
        Image.new("RGB", size, "red").save(folder / name)
    path = folder / "people.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def test_reading_says_who_is_sure(tmp_path: Path) -> None:
    joints: dict[str, Any] = {"keypoint_scores": [0.9, 0.1, 0.5, 0.3]}
    path = write(
        tmp_path,
        [
            annotation([1, 2, 10, 12]),
            annotation([2, 2, 10, 12], score=0.2),
            annotation([3, 2, 10, 12], score=0.6, **joints),  # better half: 0.7
            annotation([4, 2, 10, 12], score=0.6, keypoint_scores=[0.9, 0.1, 0.2, 0.0]),  # 0.55
            annotation([5, 2, 10, 12], score=1.0, keypoint_scores=[0.0] * 4),
            annotation([6, 2, 10, 12], iscrowd=1),
            annotation([7, 2, 0, 12]),
            annotation([8, 2, 5, 5], image=2),
        ],
    )
    first, second = read_photos(path, tmp_path, sure_score=0.5, sure_joints=0.6)
    assert first.image.name == "a.webp"
    assert first.people[:, 0].tolist() == [1, 3, 5]
    assert first.people[0].tolist() == [1, 2, 11, 14]
    assert first.unsure[:, 0].tolist() == [2, 4, 6]
    assert second.people.tolist() == [[8, 2, 13, 7]]
    (val,) = read_photos(path, tmp_path, "val", partial=True)
    assert val.image_id == "b.jpg"
    assert val.partial
    (train,) = read_photos(path, tmp_path, "train")
    assert train.people[:, 0].tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("entries", "second", "message"),
    [
        ([annotation([1, 2, 3])], {}, "'bbox'"),
        ([annotation([1, 2, 3, float("nan")])], {}, "'bbox'"),
        ([annotation([1, 2, 3, 4], image=9)], {}, "'image_id' 9 is not among"),
        ([annotation([1, 2, 3, 4], score="high")], {}, "'score'"),
        ([annotation([1, 2, 3, 4])], {"file_name": "c.jpg"}, "1 of the 2 photos"),
        ([annotation([1, 2, 3, 4])], {"width": None}, "'width'"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, entries: list[dict[str, Any]], second: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, entries, **second)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_photos(path, tmp_path)
    with pytest.raises(ValueError, match="no picture of the split 'test'"):
        read_photos(path, tmp_path, "test")


def photo(size: tuple[int, int], people: list[list[float]], **more: Any) -> tuple[PhotoRecord, np.ndarray]:
    """A black photo in which each person is a white rectangle."""
    width, height = size
    image = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in np.array(people, int).tolist():
        image[y0:y1, x0:x1] = 255
    unsure = np.array(more.pop("unsure", []), np.float32).reshape(-1, 4)
    boxes = np.array(people, np.float32).reshape(-1, 4)
    return PhotoRecord(Path("x.png"), "x", width, height, boxes, unsure, **more), image


def bright(view: np.ndarray) -> list[int]:
    """The frame around everything white."""
    rows, columns = np.nonzero(view[..., 0] > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("reduced", [1, 2])
@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0.0, 0.0)), (0.5, (0.2, -0.1)), (1.4, (0.1, 0.1))])
def test_boxes_stay_on_people(zoom: float, shift: tuple[float, float], reduced: int, flip: bool) -> None:
    record, image = photo((200, 120), [[60, 40, 120, 100]])
    tile = Tile((0, 0, 128, 128), 0, zoom, shift, flip)
    sample = make_view([record], [image[::reduced, ::reduced]], [tile], 128)
    np.testing.assert_allclose(sample.people[0], bright(sample.image), atol=1.5)
    assert sample.background.all()


def test_four_tiles_keep_to_themselves() -> None:
    records, images = zip(*[photo((100, 100), [[20, 20, 80, 80]]) for _ in range(4)], strict=True)
    areas = [(0, 0, 60, 50), (60, 0, 128, 50), (0, 50, 60, 128), (60, 50, 128, 128)]
    tiles = [Tile(area, n, 1.5, (0.0, 0.0), n % 2 == 0) for n, area in enumerate(areas)]
    sample = make_view(records, images, tiles, 128)
    assert len(sample.people) == 4
    for (x0, y0, x1, y1), box in zip(areas, sample.people, strict=True):
        np.testing.assert_allclose(
            box, np.add(bright(sample.image[y0:y1, x0:x1]), [x0, y0, x0, y0]), atol=1.5
        )


def test_who_is_cut_off_or_tiny_is_neither_learnt_nor_denied() -> None:
    record, image = photo((128, 128), [[100, 30, 120, 70], [20, 90, 26, 96], [20, 20, 60, 60]])
    tile = Tile((0, 0, 128, 128), 0, 1.0, (0.15, 0.0), False)  # the first keeps 9 of its 20 columns
    sample = make_view([record], [image], [tile], 128)
    assert sample.people[:, 1].tolist() == pytest.approx([30, 20], abs=1e-3)
    assert sample.people[0, 2] == 128
    assert not sample.background[92 // STRIDE + 0, 42 // STRIDE]
    further = make_view([record], [image], [Tile((0, 0, 128, 128), 0, 1.0, (0.2, 0.0), False)], 128)
    assert len(further.people) == 1
    assert not further.background[50 // STRIDE, 126 // STRIDE]
    assert further.background[0].all()


def test_unsure_and_partial_photos_say_where_nobody_is_known_to_be() -> None:
    record, image = photo((128, 128), [[40, 40, 60, 60]], unsure=[[80, 80, 120, 120]])
    background = make_view([record], [image], [whole(128, 0)], 128).background
    cells = np.arange(32) * 4 + 2
    inside = (cells >= 88) & (cells <= 112)  # 0.6 of the unsure box
    np.testing.assert_array_equal(background, ~(inside[:, None] & inside[None]))
    record, image = photo((128, 64), [[40, 20, 60, 40]], partial=True)
    background = make_view([record], [image], [whole(128, 0)], 128).background
    # Nothing is known of the photo but twice around the box; beside the photo nobody is.
    columns, rows = (cells >= 30) & (cells <= 70), (cells >= 32 + 10) & (cells <= 32 + 50)
    beside = (cells < 32) | (cells > 96)
    np.testing.assert_array_equal(background, beside[:, None] | (rows[:, None] & columns[None]))


def many(mix: Mix | None = None, **augment: Any) -> TrainingPhotos:
    made = [photo((60 + 10 * n, 80), [[10, 10, 50, 70]]) for n in range(4)]
    spec = AugmentRecipe(**{**PLAIN, "zoom": (0.5, 1.5), "noise": 0.02, **augment})
    return TrainingPhotos([r for r, _ in made], 64, spec, 7, [i for _, i in made], mix)


def test_a_view_is_a_function_of_its_key() -> None:
    photos = many(mosaic=0.5)
    first, again, other = photos.get(3, 1), photos.get(3, 1), photos.get(4, 1)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.people, again.people)
    assert not np.array_equal(first.image, other.image)
    flips = {tuple(many(mosaic=0).get(epoch, 0).people.round(1).ravel()) for epoch in range(8)}
    assert len(flips) == 8


def test_a_mosaics_others_follow_the_shares() -> None:
    photos = many(Mix((1, 3), (0.75, 0.25)))
    rng = np.random.default_rng(0)
    drawn = np.array([photos.other(*pair) for pair in rng.random((4000, 2))])
    share = np.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(share, [0.75, 0.25 / 3, 0.25 / 3, 0.25 / 3], atol=0.03)
    assert photos.other(0.999999, 0.999999) == 3


def test_a_batch_fills_up_with_nobody() -> None:
    two, image = photo((64, 64), [[0, 0, 30, 30], [30, 30, 60, 60]])
    none, black = photo((64, 64), [])
    tile = [whole(64, 0)]
    batch = collate_photos([make_view([two], [image], tile, 64), make_view([none], [black], tile, 64)])
    assert batch.image.shape == (2, 3, 64, 64)
    assert batch.present.tolist() == [[True, True], [False, False]]
    assert batch.people.shape == (2, 2, 4)
    assert batch.to("cpu").background.shape == (2, 16, 16)


def test_photos_are_kept_reduced_while_they_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (400, 200), "blue").save(tmp_path / "a.png")
    record = PhotoRecord(tmp_path / "a.png", "a", 400, 200, NOBODY, NOBODY)
    assert read_reduced(record, 100).shape == (50, 100, 3)
    assert read_reduced(record, 1000).shape == (200, 400, 3)
    kept = decode_photos([record], 100, 0.001, 1)
    assert kept is not None
    assert kept[0].shape == (50, 100, 3)
    with caplog.at_level("INFO"):
        assert decode_photos([record], 400, 1e-5, 1) is None
    assert "1 photos need" in caplog.text
