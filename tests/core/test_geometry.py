"""Coordinate formulas against hand-computed points and against pixels that really move."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.geometry import (
    apply,
    box_around,
    crop_matrix,
    heatmap_to_input,
    input_to_heatmap,
    warp,
)

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)
CENTER = np.array([200.0, 100.0])

coordinate = st.floats(-500, 5000)
crops = st.fixed_dictionaries(
    {
        "center": st.tuples(coordinate, coordinate).map(np.array),
        "side_px": st.floats(20, 5000),
        "input_px": st.sampled_from([64, 128, 192, 256, 384]),
        "rotate_deg": st.floats(-180, 180),
        "flip": st.booleans(),
    }
)


@pytest.mark.parametrize(
    ("point", "rotate_deg", "flip", "expected"),
    [
        # A crop of 400 picture pixels into 256: one picture pixel is 0.64 crop pixels; the middle is 127.5.
        pytest.param((200, 100), 0, False, (127.5, 127.5), id="centre"),
        pytest.param((200, 100), 33, True, (127.5, 127.5), id="centre stays under everything"),
        pytest.param((300, 100), 0, False, (191.5, 127.5), id="right"),
        pytest.param((200, 150), 0, False, (127.5, 159.5), id="below"),
        # The square's corner, half a pixel outside the first pixel's centre.
        pytest.param((0, -100), 0, False, (-0.5, -0.5), id="upper left corner"),
        pytest.param((400, 300), 0, False, (255.5, 255.5), id="lower right corner"),
        # Counter-clockwise on screen: what is right goes up, what is below goes right.
        pytest.param((300, 100), 90, False, (127.5, 63.5), id="right, turned by 90"),
        pytest.param((200, 150), 90, False, (159.5, 127.5), id="below, turned by 90"),
        pytest.param((300, 100), -90, False, (127.5, 191.5), id="right, turned by -90"),
        # 0.64 * 100 * cos 30 = 55.4256, 0.64 * 100 * sin 30 = 32.
        pytest.param((300, 100), 30, False, (127.5 + 55.425626, 95.5), id="right, turned by 30"),
        pytest.param((300, 100), 0, True, (63.5, 127.5), id="right, mirrored"),
        pytest.param((200, 150), 0, True, (127.5, 159.5), id="below, mirrored"),
        # First the turn, then the mirror.
        pytest.param((200, 150), 90, True, (95.5, 127.5), id="below, turned, then mirrored"),
        pytest.param((300, 100), 30, True, (127.5 - 55.425626, 95.5), id="right, turned by 30, mirrored"),
    ],
)
def test_crop_matrix_by_hand(
    point: tuple[float, float], rotate_deg: float, flip: bool, expected: tuple[float, float]
) -> None:
    matrix = crop_matrix(CENTER, 400, 256, rotate_deg, flip)
    np.testing.assert_allclose(apply(matrix, np.array(point)), expected, atol=1e-5)


def test_a_crop_of_its_own_size_is_a_shift_by_whole_pixels() -> None:
    matrix = crop_matrix(np.array([63.5, 31.5]), 64, 64)
    np.testing.assert_array_equal(matrix, [[1, 0, -32], [0, 1, 0], [0, 0, 1]])


@SETTINGS
@given(crops, st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=20))
def test_there_and_back_again(crop: dict[str, Any], raw: list[tuple[float, float]]) -> None:
    points = np.array(raw)
    matrix = crop_matrix(**crop)
    in_crop = apply(matrix, points)
    on_map = input_to_heatmap(in_crop, 4)
    inverse = np.linalg.inv(matrix).astype(np.float64)
    back = apply(inverse, heatmap_to_input(on_map, 4))
    assert np.abs(back - points).max() < 1e-4


@SETTINGS
@given(crops, st.tuples(coordinate, coordinate), st.tuples(coordinate, coordinate))
def test_distances_scale_by_the_crop_alone(
    crop: dict[str, Any], a: tuple[float, float], b: tuple[float, float]
) -> None:
    moved = apply(crop_matrix(**crop), np.array([a, b]))
    before = np.hypot(a[0] - b[0], a[1] - b[1])
    after = np.hypot(*(moved[0] - moved[1]))
    assert after == pytest.approx(before * crop["input_px"] / crop["side_px"], rel=1e-9, abs=1e-6)


@SETTINGS
@given(crops, st.tuples(coordinate, coordinate))
def test_mirrored_crop_is_the_crop_read_from_the_right(
    crop: dict[str, Any], point: tuple[float, float]
) -> None:
    plain = apply(crop_matrix(**(crop | {"flip": False})), np.array(point))
    mirrored = apply(crop_matrix(**(crop | {"flip": True})), np.array(point))
    np.testing.assert_allclose(mirrored, [crop["input_px"] - 1 - plain[0], plain[1]], rtol=1e-12, atol=1e-6)


def test_apply_takes_any_leading_shape() -> None:
    matrix = crop_matrix(CENTER, 400, 256, 20)
    points = np.random.default_rng(0).uniform(0, 400, (3, 5, 2)).astype(np.float32)
    moved = apply(matrix, points)
    assert moved.shape == (3, 5, 2)
    homogeneous = np.concatenate([points, np.ones((3, 5, 1))], -1)
    np.testing.assert_allclose(moved, np.einsum("ij,abj->abi", matrix, homogeneous)[..., :2], rtol=1e-12)


@pytest.mark.parametrize(
    ("u", "stride", "cell"),
    [
        # Four pixels 0..3 share the first cell; their middle 1.5 is its centre.
        (1.5, 4, 0.0),
        (0.0, 4, -0.375),
        (3.0, 4, 0.375),
        (-0.5, 4, -0.5),
        (127.5, 4, 31.5),
        (255.5, 4, 63.5),
        (7.0, 1, 7.0),
        (3.5, 8, 0.0),
    ],
)
def test_heatmap_cells_by_hand(u: float, stride: int, cell: float) -> None:
    np.testing.assert_array_equal(input_to_heatmap(np.array([u, u]), stride), [cell, cell])
    np.testing.assert_array_equal(heatmap_to_input(np.array([cell, cell]), stride), [u, u])


def blob(height: int, width: int, x: float, y: float, sigma_px: float) -> npt.NDArray[np.uint8]:
    """A bright round spot on black, three equal channels."""
    rows, columns = np.mgrid[:height, :width]
    value = 250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma_px**2))
    return np.repeat(value.round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: npt.NDArray[np.uint8]) -> list[float]:
    mass = image[..., 0].astype(np.float64)
    rows, columns = np.mgrid[: mass.shape[0], : mass.shape[1]]
    return [float((mass * columns).sum() / mass.sum()), float((mass * rows).sum() / mass.sum())]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("rotate_deg", [0.0, 30.0, -75.0, 180.0])
@pytest.mark.parametrize(
    "side_px",
    [
        pytest.param(90.0, id="enlarged"),
        pytest.param(128.0, id="own size"),
        pytest.param(230.0, id="shrunk 1.8 times, directly"),
        pytest.param(330.0, id="shrunk 2.6 times, by areas first"),
        pytest.param(1100.0, id="shrunk 8.6 times, by areas first"),
    ],
)
def test_warp_puts_a_dot_where_apply_says(side_px: float, rotate_deg: float, flip: bool) -> None:
    # Sides that no reduction divides, and a dot at a fraction of a pixel.
    height, width, input_px = 1001, 1237, 128
    scale = input_px / side_px
    center = np.array([601.3, 488.8])
    dot = center + np.array([0.21, -0.13]) * side_px
    picture = blob(height, width, dot[0], dot[1], sigma_px=4 / scale)
    matrix = crop_matrix(center, side_px, input_px, rotate_deg, flip)
    crop = warp(picture, matrix, input_px)
    assert crop.shape == (input_px, input_px, 3)
    assert crop.dtype == np.uint8
    # A forgotten half pixel would show as 0.2 to 0.5.
    np.testing.assert_allclose(centroid(crop), apply(matrix, dot), atol=0.05)


def noise(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_crop_of_its_own_size_copies_pixels_and_pads_with_black() -> None:
    picture = noise(40, 50)
    crop = warp(picture, crop_matrix(np.array([31.5, 31.5]), 64, 64), 64)
    expected = np.zeros((64, 64, 3), dtype=np.uint8)
    expected[:40, :50] = picture
    np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("side_px", [64.0, 100.0, 256.0, 511.0])
def test_mirrored_crop_is_the_crop_mirrored_pixel_for_pixel(side_px: float) -> None:
    picture, center = noise(300, 400), np.array([210.25, 140.5])
    plain = warp(picture, crop_matrix(center, side_px, 64), 64)
    mirrored = warp(picture, crop_matrix(center, side_px, 64, flip=True), 64)
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


@pytest.mark.parametrize("side_px", [64.0, 100.0, 256.0, 511.0])
def test_mirrored_crop_of_a_turned_picture_differs_by_rounding_only(side_px: float) -> None:
    picture, center = noise(300, 400), np.array([210.25, 140.5])
    plain = warp(picture, crop_matrix(center, side_px, 64, 25), 64)
    mirrored = warp(picture, crop_matrix(center, side_px, 64, 25, flip=True), 64)
    difference = np.abs(mirrored.astype(int) - plain[:, ::-1])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_strong_shrinking_averages_instead_of_picking_pixels() -> None:
    # Noise has the deviation 74. A crop pixel covers 64 of it: their mean deviates by 74 / 8 = 9. Reading
    # only the four pixels nearest to each point would leave 74 / 2.
    crop = warp(noise(800, 800), crop_matrix(np.array([399.5, 399.5]), 800, 100), 100)
    inner = crop[2:-2, 2:-2].astype(np.float64)
    assert inner.std() < 12
    assert inner.mean() == pytest.approx(127.5, abs=1)


def test_a_picture_smaller_than_a_crop_pixel_survives() -> None:
    crop = warp(np.full((3, 5, 3), 200, np.uint8), crop_matrix(np.array([2.0, 1.0]), 4000, 64), 64)
    assert crop.shape == (64, 64, 3)
    assert crop.max() <= 200


def test_box_around_by_hand() -> None:
    points = np.array([[10, 40], [30, 20], [25, 100]], dtype=np.float32)
    center, side_px = box_around(points)
    assert center.tolist() == [20, 60]
    assert side_px == 80
    center, side_px = box_around(points[:1])
    assert center.tolist() == [10, 40]
    assert side_px == 0
