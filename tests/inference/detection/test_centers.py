"""Maps to boxes: peaks, overlaps, the letterbox and back."""

import numpy as np
import pytest

from hourglass.inference.detection.centers import boxes_of, in_picture, photo_matrix, whole_view


def maps(*cells: tuple[int, int, float, float, float], side: int = 16) -> np.ndarray:
    """Cells (x, y, logit, width, height in px), each with its box around its own middle."""
    made = np.zeros((5, side, side), np.float32)
    made[0] = -9
    for x, y, logit, width, height in cells:
        made[0, y, x] = logit
        made[3:, y, x] = np.log(width / 32), np.log(height / 32)
    return made


def test_box_around_a_cell() -> None:
    corners, scores = boxes_of(maps((3, 5, 0.0, 20.0, 40.0)), 4)
    np.testing.assert_allclose(corners, [[14 - 10, 22 - 20, 14 + 10, 22 + 20]], atol=1e-5)
    np.testing.assert_allclose(scores, [0.5])


def test_offset_moves_by_shares_of_the_box() -> None:
    answer = maps((3, 5, 0.0, 20.0, 40.0))
    answer[1:3, 5, 3] = 0.25, -0.5
    corners, _ = boxes_of(answer, 4)
    np.testing.assert_allclose(corners, [[14 - 10 + 5, 22 - 20 - 20, 14 + 10 + 5, 22 + 20 - 20]], atol=1e-5)


@pytest.mark.parametrize(
    ("cells", "kept", "why"),
    [
        ([(3, 3, 2.0, 8, 8), (4, 4, 1.0, 8, 8)], [2.0], "a lower neighbour is no peak"),
        ([(3, 3, 2.0, 8, 8), (9, 9, 1.0, 8, 8)], [2.0, 1.0], "two people apart"),
        ([(3, 3, 1.0, 40, 40), (5, 3, 2.0, 40, 40)], [2.0], "two boxes of one person: the surer stays"),
        ([(3, 3, 1.0, 8, 40), (5, 3, 2.0, 8, 40)], [2.0, 1.0], "two narrow people side by side"),
        ([(0, 0, 1.0, 8, 8), (15, 15, 2.0, 8, 8)], [2.0, 1.0], "corners of the map count"),
        ([(3, 3, -8.0, 8, 8)], [], "too unsure"),
    ],
)
def test_peaks_and_overlaps(
    cells: list[tuple[int, int, float, float, float]], kept: list[float], why: str
) -> None:
    _, scores = boxes_of(maps(*cells), 4)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-np.array(kept))), rtol=1e-6, err_msg=why)


def test_a_wild_answer_stays_finite() -> None:
    answer = maps((3, 3, 1e9, 8, 8))
    answer[3:, 3, 3] = 1e9
    corners, scores = boxes_of(answer, 4)
    assert np.isfinite(corners).all()
    assert scores.tolist() == [1.0]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (333, 501), (40, 900), (64, 64)])
def test_to_the_view_and_back(width: int, height: int) -> None:
    """A frame around the whole picture spans the view's longer side and comes back as the picture."""
    matrix = photo_matrix(width, height, 256)
    scale = 256 / max(width, height)
    half = np.array([width, height]) * scale / 2
    corners = np.array([[*(128 - half), *(128 + half)], [-50.0, -50, 300, 300]])
    np.testing.assert_allclose(
        in_picture(corners, matrix, width, height)[0], [0, 0, width, height], atol=1e-9
    )
    np.testing.assert_allclose(in_picture(corners, matrix, width, height)[1], [0, 0, width, height])


def test_view_shows_the_picture_in_the_middle_on_black() -> None:
    view, _ = whole_view(np.full((50, 100, 3), 200, np.uint8), 64)
    assert view.shape == (64, 64, 3)
    assert (view[18:46, 2:62] == 200).all()
    assert (view[:14] == 0).all()
    assert (view[50:] == 0).all()
