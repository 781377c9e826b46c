"""Poses, heatmaps and contact sheets as pictures: (H, W, 3) uint8 RGB arrays in, new ones out.

The body's left is blue, its right orange and its middle yellow, which the common kinds of colour
blindness keep apart (Okabe and Ito); dark and white rims keep them readable on any background.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from hourglass.core.arrays import RGB
from hourglass.core.skeleton import Skeleton

Colour = tuple[int, int, int]

LEFT: Colour = (56, 158, 240)
RIGHT: Colour = (240, 114, 20)
CENTRE: Colour = (247, 226, 90)
RIM: Colour = (255, 255, 255)
DARK: Colour = (18, 20, 28)
PAPER: Colour = (255, 255, 255)
INK: Colour = (40, 42, 50)

THRESHOLD = 0.3
"""Joints that score below this are drawn hollow."""

_SHIFT = 4
"""Bits of a pixel's fraction in OpenCV's drawing coordinates."""
_ANGLES = np.linspace(0, 2 * np.pi, 36, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def draw_pose(
    image: RGB,
    keypoints: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating] | None,
    skeleton: Skeleton,
    threshold: float = THRESHOLD,
) -> RGB:
    """A copy of a picture with one person's limbs and joints on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        keypoints: (J, 2) 0-based pixels; a joint that is not finite is left out with its limbs.
        scores: (J,); below `threshold` a joint is drawn hollow and its limbs faint. None: all count.
        skeleton: J joints.

    Lines and joints grow with the person. Raises ValueError when shapes disagree.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    _check_pose(image, points, scores, skeleton)
    known = np.asarray(np.isfinite(points).all(axis=1), dtype=bool)
    canvas = image.copy()
    if not known.any():
        return canvas
    sure = np.ones(len(points), bool) if scores is None else np.asarray(scores) >= threshold
    # Far outside the picture OpenCV's fixed-point coordinates would overflow.
    reach = 8.0 * max(image.shape[:2])
    points = np.clip(np.where(known[:, None], points, 0.0), -reach, reach)
    width = _line_width(image, points[known])
    _draw_limbs(canvas, points, known, sure, skeleton, width)
    sides = joint_colours(skeleton)
    for i in np.flatnonzero(known):
        _draw_joint(canvas, image, points[i], sides[i], width, hollow=not sure[i])
    return canvas


def joint_colours(skeleton: Skeleton) -> tuple[Colour, ...]:
    """The colour of each joint's side: by the words left and right, else by the order in its flip pair."""
    sides = dict.fromkeys(skeleton.joints, CENTRE)
    for a, b in skeleton.flip_pairs:
        swapped = "right" in a.lower() or "left" in b.lower() or a.lower().startswith("r_")
        sides[a], sides[b] = (RIGHT, LEFT) if swapped else (LEFT, RIGHT)
    return tuple(sides[joint] for joint in skeleton.joints)


def _check_pose(
    image: RGB,
    points: npt.NDArray[np.float64],
    scores: npt.NDArray[np.floating] | None,
    skeleton: Skeleton,
) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"drawing needs a (H, W, 3) uint8 picture, not {image.shape} {image.dtype}")
    joints = len(skeleton)
    if points.shape != (joints, 2):
        raise ValueError(f"{skeleton.name} has {joints} joints, but keypoints have shape {points.shape}")
    if scores is not None and np.shape(scores) != (joints,):
        raise ValueError(f"{skeleton.name} has {joints} joints, but scores have shape {np.shape(scores)}")


def _line_width(image: RGB, points: npt.NDArray[np.float64]) -> float:
    """Pixels: a share of the size of what can be seen of the person."""
    inside = np.clip(points, 0, (image.shape[1], image.shape[0]))
    return max(1.5, float((inside.max(axis=0) - inside.min(axis=0)).max()) / 80)


def _draw_limbs(
    canvas: RGB,
    points: npt.NDArray[np.float64],
    known: npt.NDArray[np.bool_],
    sure: npt.NDArray[np.bool_],
    skeleton: Skeleton,
    width: float,
) -> None:
    sides = joint_colours(skeleton)
    faint = canvas.copy()
    limbs = [(a, b) for a, b in skeleton.limb_indices if known[a] and known[b]]
    # The unsure ones lie below: they are drawn on a copy, half of which shows through.
    for a, b in limbs:
        if not (sure[a] and sure[b]):
            _line(faint, points[a], points[b], DARK, 0.75 * width + 1.5)
            _line(faint, points[a], points[b], _limb_colour(sides[a], sides[b]), 0.75 * width)
    cv2.addWeighted(faint, 0.5, canvas, 0.5, 0, dst=canvas)
    certain = [(a, b) for a, b in limbs if sure[a] and sure[b]]
    for a, b in certain:
        _line(canvas, points[a], points[b], DARK, width + max(2.0, 0.5 * width))
    for a, b in certain:
        _line(canvas, points[a], points[b], _limb_colour(sides[a], sides[b]), width)


def _limb_colour(a: Colour, b: Colour) -> Colour:
    """One side's colour where both ends, or the only sided end, agree; else the middle's."""
    if a == b or b == CENTRE:
        return a
    return b if a == CENTRE else CENTRE


def _draw_joint(
    canvas: RGB, image: RGB, point: npt.NDArray[np.float64], colour: Colour, width: float, hollow: bool
) -> None:
    radius = 1.05 * width + 0.8
    rim = max(0.9, 0.3 * width)
    _disc(canvas, point, DARK, radius + rim + max(0.8, 0.2 * width))
    if not hollow:
        _disc(canvas, point, RIM, radius + rim)
        _disc(canvas, point, colour, radius)
        return
    _disc(canvas, point, colour, radius + rim)
    _disc(canvas, point, DARK, radius - 0.35 * rim)
    _show_through(canvas, image, point, radius - 0.35 * rim - max(0.8, 0.2 * width))


def _line(
    canvas: RGB, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], colour: Colour, width: float
) -> None:
    """An anti-aliased line with a fractional width: a polygon, with discs for round ends."""
    length = float(np.hypot(*(b - a)))
    if length > 1e-6:
        across = np.array([a[1] - b[1], b[0] - a[0]]) * (width / 2 / length)
        corners = np.stack([a + across, b + across, b - across, a - across])
        cv2.fillConvexPoly(canvas, _fixed(corners), colour, cv2.LINE_AA, _SHIFT)
    for end in (a, b):
        _disc(canvas, end, colour, width / 2)


def _disc(canvas: RGB, point: npt.NDArray[np.float64], colour: Colour, radius: float) -> None:
    # OpenCV's own small circles are diamonds.
    cv2.fillConvexPoly(canvas, _fixed(point + radius * _CIRCLE), colour, cv2.LINE_AA, _SHIFT)


def _show_through(canvas: RGB, image: RGB, point: npt.NDArray[np.float64], radius: float) -> None:
    """Put the original picture back inside a disc."""
    if radius < 0.5:
        return
    x0, y0 = np.maximum(np.floor(point - radius - 2), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(point + radius + 3), (canvas.shape[1], canvas.shape[0])).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    mask = np.zeros((y1 - y0, x1 - x0, 3), np.uint8)
    _disc(mask, point - (x0, y0), (255, 255, 255), radius)
    share = mask.astype(np.float32) / 255
    patch = canvas[y0:y1, x0:x1]
    patch[:] = np.rint(image[y0:y1, x0:x1] * share + patch * (1 - share)).astype(np.uint8)


def _fixed(points: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    return np.rint(points * (1 << _SHIFT)).astype(np.int32)


def heatmap_panel(
    crop: RGB,
    stages: Sequence[npt.NDArray[np.floating]],
    skeleton: Skeleton,
    peaks: Sequence[npt.NDArray[np.floating]] | None = None,
    cell_px: int = 132,
) -> RGB:
    """What each stage of a network sees in a crop, as one labelled picture.

    A block for each stage, the first on top: on the left all joints in their sides' colours, beside it
    one small picture for each joint, warm where its heatmap is high, with the height of its peak.

    Args:
        crop: (S, S, 3) uint8 RGB.
        stages: per stage heatmaps (J, h, w) that span the crop, peaks about 1.
        skeleton: J joints.
        peaks: per stage (J,) heights to write; by default the maps' highest values.
        cell_px: side of a joint's small picture.

    Raises ValueError when a stage has another number of maps than the skeleton has joints.
    """
    joints = len(skeleton)
    for i, stage in enumerate(stages):
        if stage.ndim != 3 or len(stage) != joints:
            raise ValueError(f"stage {i} has the shape {stage.shape}, expected ({joints}, h, w)")
    columns = -(-joints // 2)
    gap, strip = 8, 20
    rows = -(-joints // columns)
    big = rows * cell_px + (rows - 1) * (strip + gap)
    blocks = []
    for i, stage in enumerate(stages):
        tiles = [heat_over(crop, heat) for heat in stage]
        heights = stage.max(axis=(1, 2)) if peaks is None else peaks[i]
        titles = [f"{j.replace('_', ' ')}  {p:.2f}" for j, p in zip(skeleton.joints, heights, strict=True)]
        grid = contact_sheet(tiles, columns, titles, cell_px=cell_px, gap_px=gap, strip_px=strip)
        whole = contact_sheet(
            [_all_joints(crop, stage, skeleton)],
            1,
            [f"stack {i + 1} of {len(stages)}: all joints"],
            cell_px=big,
            gap_px=gap,
            strip_px=strip,
        )
        blocks.append(np.hstack([whole, grid[:, gap:]]))
    return np.vstack([blocks[0], *(block[gap:] for block in blocks[1:])])


def heat_over(crop: RGB, heat: npt.NDArray[np.floating]) -> RGB:
    """One heatmap (h, w) over a darkened grey crop (S, S, 3); 0 shows the crop, 1 and more glows."""
    level = _upsampled(heat, crop.shape[0], crop.shape[1])[..., None]
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    warm = cv2.applyColorMap(np.rint(level * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = np.clip(level * 1.6, 0, 1)
    mixed: RGB = np.rint(warm * share + 0.62 * grey * (1 - share)).astype(np.uint8)
    return mixed


def _all_joints(crop: RGB, stage: npt.NDArray[np.floating], skeleton: Skeleton) -> RGB:
    grey = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    levels = np.stack([_upsampled(heat, crop.shape[0], crop.shape[1]) for heat in stage])
    # Where maps overlap the higher one gives the colour, and no joint's order matters.
    weights = levels**2
    colours = np.einsum("jyx,jc->yxc", weights, np.asarray(joint_colours(skeleton), np.float32))
    colours /= np.maximum(weights.sum(0), 1e-6)[..., None]
    share = np.clip(1.4 * levels.max(0), 0, 1)[..., None]
    mixed: RGB = np.rint(colours * share + 0.62 * grey * (1 - share)).astype(np.uint8)
    return mixed


def _upsampled(heat: npt.NDArray[np.floating], height: int, width: int) -> npt.NDArray[np.float32]:
    big = cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.asarray(big, np.float32), 0, 1)


def contact_sheet(
    tiles: Sequence[RGB],
    columns: int,
    titles: Sequence[str] = (),
    cell_px: int = 240,
    gap_px: int = 10,
    strip_px: int = 26,
) -> RGB:
    """Pictures in equal square cells, row by row, with a line of text under each.

    Args:
        tiles: one or more (H, W, 3) uint8 RGB pictures; each is fitted into its cell, whole.
        columns: cells in a row; fewer tiles make fewer columns.
        titles: one for each tile, cut to fit; or none, then there are no strips of text.

    Raises ValueError when there are no tiles, or as many titles as tiles are not given.
    """
    if not tiles or columns < 1:
        raise ValueError("a contact sheet needs at least one tile and one column")
    if titles and len(titles) != len(tiles):
        raise ValueError(f"{len(tiles)} tiles came with {len(titles)} titles")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    strip = strip_px if titles else 0
    height, width = cell_px + strip + gap_px, cell_px + gap_px
    sheet = np.full((rows * height + gap_px, columns * width + gap_px, 3), PAPER, np.uint8)
    corners = [(gap_px + (i // columns) * height, gap_px + (i % columns) * width) for i in range(len(tiles))]
    for tile, (y, x) in zip(tiles, corners, strict=True):
        sheet[y : y + cell_px, x : x + cell_px] = _fitted(tile, cell_px)
    if not titles:
        return sheet
    places = [(x, y + cell_px, cell_px, strip) for y, x in corners]
    return _with_texts(sheet, titles, places, min(16, max(9, round(strip * 0.58))))


def _fitted(tile: RGB, cell_px: int) -> RGB:
    """A tile scaled into a square, whole, on a neutral ground."""
    scale = cell_px / max(tile.shape[:2])
    size = max(1, round(tile.shape[1] * scale)), max(1, round(tile.shape[0] * scale))
    small = cv2.resize(tile, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    cell = np.full((cell_px, cell_px, 3), 236, np.uint8)
    y, x = (cell_px - size[1]) // 2, (cell_px - size[0]) // 2
    cell[y : y + size[1], x : x + size[0]] = small
    return cell


@lru_cache(maxsize=8)
def _font(size_px: int) -> Any:
    # Pillow carries a scalable font; OpenCV's own are stick letters.
    return ImageFont.load_default(size_px)


def _with_texts(
    sheet: RGB, texts: Sequence[str], places: Sequence[tuple[int, int, int, int]], size_px: int
) -> RGB:
    """Write each text in the middle of its place (x, y, width, height), cut with dots where too long."""
    page = Image.fromarray(sheet)
    pen, font = ImageDraw.Draw(page), _font(size_px)
    for text, (x, y, width, height) in zip(texts, places, strict=True):
        shown = text
        while len(shown) > 1 and pen.textlength(shown, font) > width:
            shown = shown.rstrip("…")[:-1] + "…"
        pen.text((x + width / 2, y + height / 2), shown, INK, font, anchor="mm")
    return np.asarray(page).copy()
