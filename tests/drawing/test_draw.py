import numpy as np
import numpy.typing as npt
import pytest

from hourglass.core.skeleton import LSP14, SKELETONS, Skeleton
from hourglass.drawing import draw

STICK = Skeleton(
    name="stick",
    joints=("left_hand", "head", "right_hand"),
    flip_pairs=(("left_hand", "right_hand"),),
    limbs=(("left_hand", "head"), ("head", "right_hand")),
)
POINTS = np.array([[150.0, 120], [100, 60], [50, 120]])


def grey(height: int = 200, width: int = 200, level: int = 128) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), level, np.uint8)


def test_each_joint_carries_its_sides_colour_at_its_place() -> None:
    out = draw.draw_pose(grey(), POINTS, np.ones(3), STICK)
    for (x, y), colour in zip(POINTS.astype(int), (draw.LEFT, draw.CENTRE, draw.RIGHT), strict=True):
        assert tuple(out[y, x]) == colour
    # Half way along a limb is the colour of its side.
    assert tuple(out[90, 125]) == draw.LEFT
    assert tuple(out[90, 75]) == draw.RIGHT


def test_the_picture_itself_is_not_touched_and_far_pixels_stay() -> None:
    image = grey()
    out = draw.draw_pose(image, POINTS, np.ones(3), STICK)
    assert (image == 128).all()
    assert (out[150:] == 128).all()
    assert (out[:40] == 128).all()


def test_a_joint_below_the_threshold_is_hollow_and_its_limb_faint() -> None:
    scores = np.array([0.1, 0.9, 0.9])
    out = draw.draw_pose(grey(), POINTS, scores, STICK, threshold=0.3)
    assert tuple(out[120, 150]) == (128, 128, 128)
    ring = out[110:131, 140:161].reshape(-1, 3)
    assert (ring == draw.LEFT).all(1).any()
    half = (np.array(draw.LEFT) + 128) / 2
    assert np.abs(out[90, 125] - half).max() <= 2
    np.testing.assert_array_equal(draw.draw_pose(grey(), POINTS, scores, STICK, 0.1)[120, 150], draw.LEFT)


def test_a_joint_is_drawn_in_the_middle_of_its_pixel() -> None:
    one = Skeleton(name="one", joints=("nose",))
    out = draw.draw_pose(grey(), np.array([[80.0, 60.0]]), None, one).astype(float)
    weight = np.abs(out - 128).sum(2)
    rows, columns = np.indices(weight.shape)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(80, abs=0.2)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(60, abs=0.2)


@pytest.mark.parametrize("level", [0, 255])
def test_lines_stand_out_from_black_and_white(level: int) -> None:
    out = draw.draw_pose(grey(level=level), POINTS, np.ones(3), STICK)
    across = out[90, 110:140].astype(int)  # a row across the left limb
    assert np.abs(across - level).max() > 120


def test_larger_people_have_thicker_lines() -> None:
    def drawn(scale: float) -> int:
        out = draw.draw_pose(grey(900, 900), POINTS * scale, np.ones(3), STICK)
        return int((out == draw.LEFT).all(2).sum())

    assert drawn(5) > 10 * drawn(1)


@pytest.mark.parametrize("far", [1e9, -1e9, np.nan, np.inf])
def test_joints_far_outside_or_unknown_do_no_harm(far: float) -> None:
    points = POINTS.copy()
    points[0] = far
    out = draw.draw_pose(grey(), points, np.ones(3), STICK)
    assert tuple(out[60, 100]) == draw.CENTRE
    assert draw.draw_pose(grey(), np.full((3, 2), np.nan), None, STICK).mean() == 128


def test_shapes_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="stick has 3 joints, but keypoints have shape"):
        draw.draw_pose(grey(), np.zeros((4, 2)), None, STICK)
    with pytest.raises(ValueError, match="but scores have shape"):
        draw.draw_pose(grey(), POINTS, np.ones(2), STICK)
    with pytest.raises(ValueError, match="uint8 picture"):
        draw.draw_pose(np.zeros((5, 5), np.uint8), POINTS, None, STICK)


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeletons_sides_are_told_by_their_names(name: str) -> None:
    skeleton = SKELETONS[name]
    for joint, colour in zip(skeleton.joints, draw.joint_colours(skeleton), strict=True):
        expected = draw.LEFT if "left" in joint else draw.RIGHT if "right" in joint else draw.CENTRE
        assert colour == expected


def test_flip_pairs_named_right_first_still_have_their_colours() -> None:
    turned = Skeleton(name="t", joints=("l_eye", "r_eye"), flip_pairs=(("r_eye", "l_eye"),))
    assert draw.joint_colours(turned) == (draw.LEFT, draw.RIGHT)


def test_heat_shows_where_the_map_is_high() -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[4, 12] = 1
    out = draw.heat_over(grey(64, 64, 100), heat)
    assert out.shape == (64, 64, 3)
    bright = out.astype(int).sum(2)
    row, column = np.unravel_index(int(bright.argmax()), bright.shape)
    assert abs(row - 17.5) <= 3
    assert abs(column - 49.5) <= 3
    assert tuple(out[60, 4]) == (62, 62, 62)


def test_a_panel_has_a_block_for_each_stage() -> None:
    stages = [np.zeros((14, 16, 16), np.float32)] * 3
    one = draw.heatmap_panel(grey(64, 64), stages[:1], LSP14)
    three = draw.heatmap_panel(grey(64, 64), stages, LSP14)
    assert three.shape[1] == one.shape[1]
    assert 2.9 * one.shape[0] < three.shape[0] <= 3 * one.shape[0]
    with pytest.raises(ValueError, match=r"stage 0 has the shape \(3, 4, 4\)"):
        draw.heatmap_panel(grey(), [np.zeros((3, 4, 4), np.float32)], LSP14)


def test_a_sheet_puts_each_tile_whole_into_its_cell() -> None:
    wide, tall = grey(50, 100, 10), grey(100, 50, 20)
    sheet = draw.contact_sheet([wide, tall, wide], 2, cell_px=80, gap_px=10)
    assert sheet.shape == (190, 190, 3)
    assert tuple(sheet[50, 50]) == (10, 10, 10)
    assert tuple(sheet[20, 50]) != (10, 10, 10)  # above the wide picture
    assert tuple(sheet[20, 140]) == (20, 20, 20)
    assert (sheet[140, 140] == 255).all()  # the empty cell
    assert (sheet[:10] == 255).all()


def test_titles_are_written_under_their_tiles_and_cut_to_fit() -> None:
    tiles = [grey(50, 50)] * 2
    sheet = draw.contact_sheet(tiles, 2, ["short", "a title " * 20], cell_px=80, gap_px=10, strip_px=20)
    strip = sheet[90:110] < 128
    assert strip[:, 10:90].any()
    assert strip[:, 100:180].any()
    assert not strip[:, 90:100].any()
    assert not strip[:, 180:].any()
    with pytest.raises(ValueError, match="2 tiles came with 1 titles"):
        draw.contact_sheet(tiles, 2, ["one"])
    with pytest.raises(ValueError, match="at least one tile"):
        draw.contact_sheet([], 2)
