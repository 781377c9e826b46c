"""Random views of whole photos, with the boxes of their people, for training a people finder.

As for crops, a view depends on (seed, epoch, index) and on nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hourglass import geometry
from hourglass.data.augment import IDENTITY, Augmentation, generator, recolour
from hourglass.data.formats.photos import Corners, PhotoRecord
from hourglass.data.images import read_image

Image = npt.NDArray[np.uint8]

STRIDE = 4
"""Pixels of the view per cell of the network's answer."""
LEAST_PX = 10.0
"""A person smaller than this (the root of the box's area) is too small to be learnt, and isn't held against."""
LEAST_SEEN = 0.35
"""Of a person whom the view cuts off, this share of the box must be left."""
_COVERED = 2.0
"""In a photo where only some are boxed, so many times each box counts as looked at by the annotator."""
_UNSURE = 0.6
"""Share of an unsure box, about its middle, where a centre may lie."""


@dataclass(frozen=True, eq=False)
class PhotoSample:
    """One view: image (S, S, 3) uint8 RGB; people (N, 4) float32, corners in pixels from the view's edges;
    background (S / 4, S / 4) bool, True where a cell counts as holding nobody unless a box says otherwise.
    """

    image: Image
    people: Corners
    background: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tile:
    """What shows in one rectangle of the view: x0, y0, x1, y1 in whole pixels, a photo, and how it lies."""

    area: tuple[int, int, int, int]
    index: int
    zoom: float
    shift: tuple[float, float]
    flip: bool


def whole(side_px: int, index: int) -> Tile:
    """A photo as it is searched: as large as goes, in the middle."""
    return Tile((0, 0, side_px, side_px), index, 1.0, (0.0, 0.0), False)


def draw_tiles(rng: np.random.Generator, index: int, count: int, side_px: int, spec: "PhotoAugment") -> list[Tile]:
    """The tiles of one view: the photo `index` alone, or beside three others of `count`."""
    u = rng.random(4).tolist()
    if u[0] >= spec.mosaic:
        return [_tile(rng, index, (0, 0, side_px, side_px), spec.zoom, spec)]
    x, y = (round(side_px * (0.35 + 0.3 * v)) for v in u[1:3])
    others = rng.integers(0, count, 3).tolist()
    chosen = [index, *others]
    turn = int(4 * u[3])
    areas = [(0, 0, x, y), (x, 0, side_px, y), (0, y, x, side_px), (x, y, side_px, side_px)]
    return [_tile(rng, chosen[(k + turn) % 4], area, (0.8, 1.8), spec) for k, area in enumerate(areas)]


@dataclass(frozen=True)
class PhotoAugment:
    """How views of photos vary."""

    zoom: tuple[float, float] = (0.4, 1.4)
    """range of the photo's longer side over the view's, log-uniform"""
    mosaic: float = 0.3
    """share of views that are four photos side by side"""
    flip: float = 0.5
    gain: float = 0.3
    brightness: float = 0.1
    noise: float = 0.03
    grey: float = 0.1


def _tile(
    rng: np.random.Generator,
    index: int,
    area: tuple[int, int, int, int],
    zoom: tuple[float, float],
    spec: PhotoAugment,
) -> Tile:
    u = rng.random(4).tolist()
    size = zoom[0] * (zoom[1] / zoom[0]) ** u[0]
    # A small photo lies anywhere in the tile, a large one shows any part of it.
    room = abs(1 - size) / 2 + 0.05
    return Tile(area, index, size, (room * (2 * u[1] - 1), room * (2 * u[2] - 1)), u[3] < spec.flip)


def tile_matrix(tile: Tile, width: int, height: int) -> npt.NDArray[np.float64]:
    """(3, 3) from the photo's pixels to the tile's own, whose first pixel is 0."""
    x0, y0, x1, y1 = tile.area
    side = max(x1 - x0, y1 - y0)
    scale = tile.zoom * side / max(width, height)
    matrix = np.diag([-scale if tile.flip else scale, scale, 1.0])
    middle = np.array([(x1 - x0 - 1) / 2 + tile.shift[0] * side, (y1 - y0 - 1) / 2 + tile.shift[1] * side])
    matrix[:2, 2] = middle - matrix[:2, :2] @ np.array([(width - 1) / 2, (height - 1) / 2])
    return matrix


def moved(corners: Corners, matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) through a matrix that keeps them upright."""
    points = geometry.apply(matrix, np.asarray(corners, np.float64).reshape(-1, 2, 2) - 0.5) + 0.5
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def make_view(
    photos: Sequence[PhotoRecord],
    images: Sequence[Image],
    tiles: Sequence[Tile],
    side_px: int,
    colour: Augmentation = IDENTITY,
    grey: bool = False,
) -> PhotoSample:
    """Photos laid out as tiles say, with the people who can be seen in them.

    Args:
        photos, images: of each tile; an image may be a reduced copy of its photo.
    """
    canvas = np.zeros((side_px, side_px, 3), np.uint8)
    background = np.ones((side_px // STRIDE, side_px // STRIDE), bool)
    found = []
    for photo, image, tile in zip(photos, images, tiles, strict=True):
        x0, y0, x1, y1 = tile.area
        matrix = tile_matrix(tile, photo.width, photo.height)
        canvas[y0:y1, x0:x1] = _shown(image, photo, matrix, x1 - x0, y1 - y0)
        origin = np.array([x0, y0, x0, y0])
        people, unsure = moved(photo.people, matrix) + origin, moved(photo.unsure, matrix) + origin
        # A photo ends at its own border as at the tile's.
        frame = moved(np.array([[0, 0, photo.width, photo.height]], np.float32), matrix)[0] + origin
        low, high = np.maximum(frame[:2], (x0, y0)), np.minimum(frame[2:], (x1, y1))
        cut = np.concatenate([np.clip(people[:, :2], low, high), np.clip(people[:, 2:], low, high)], axis=1)
        area, left = (people[:, 2:] - people[:, :2]).prod(1), (cut[:, 2:] - cut[:, :2]).prod(1)
        clear = (left >= LEAST_SEEN * area) & (left >= LEAST_PX**2)
        if photo.partial:
            looked_at = np.zeros_like(background)
            for box in scaled(people, _COVERED):
                _fill(looked_at, box, True)
            # Where the photo doesn't reach nobody can be missing.
            inside = np.zeros_like(background)
            _fill(inside, np.concatenate([low, high]), True)
            background &= looked_at | ~inside
        for box in np.concatenate([scaled(unsure, _UNSURE), scaled(cut[~clear & (left > 0)], _UNSURE)]):
            _fill(background, box, False)
        found.append(cut[clear])
    if grey:
        canvas[:] = cv2.cvtColor(canvas, cv2.COLOR_RGB2GRAY)[..., None]
    return PhotoSample(
        recolour(canvas, colour, inplace=True), np.concatenate(found).astype(np.float32), background
    )


def _shown(
    image: Image, photo: PhotoRecord, matrix: npt.NDArray[np.float64], width: int, height: int
) -> Image:
    """The tile's pixels; beyond the photo they are black."""
    fx, fy = image.shape[1] / photo.width, image.shape[0] / photo.height
    reduce = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
    matrix = matrix @ np.linalg.inv(reduce)
    side = max(width, height)
    return geometry.warp(image, matrix, side)[:height, :width]


def scaled(boxes: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    """Boxes (N, 4) made larger or smaller about their middles."""
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (factor / 2)
    return np.concatenate([middle - half, middle + half], axis=1)


def _fill(cells: npt.NDArray[np.bool_], box: npt.NDArray[np.float64], value: bool) -> None:
    """Set the cells whose middles lie in a box, and the one that its middle lies in."""
    size = np.array(cells.shape[::-1])
    low = np.ceil(box[:2] / STRIDE - 0.5).astype(int).clip(0, size)
    high = (np.floor(box[2:] / STRIDE - 0.5).astype(int) + 1).clip(0, size)
    cells[low[1] : high[1], low[0] : high[0]] = value
    x, y = ((box[:2] + box[2:]) / 2 // STRIDE).astype(int)
    if 0 <= x < size[0] and 0 <= y < size[1]:
        cells[y, x] = value


def read_reduced(photo: PhotoRecord, longest_px: int) -> Image:
    """A photo's pixels, (H, W, 3) uint8 RGB, reduced so that no side is longer than `longest_px`."""
    image = read_image(photo.image, photo.image_id)
    share = longest_px / max(image.shape[:2])
    if share >= 1:
        return image
    size = max(1, round(image.shape[1] * share)), max(1, round(image.shape[0] * share))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


class TrainingPhotos:
    """Augmented views by (epoch, index) of photos; the same key always gives the same view."""

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        images: Sequence[Image],
        input_px: int,
        augment: PhotoAugment,
        seed: int,
    ) -> None:
        self.photos, self.images = photos, images
        self.input_px, self.augment, self.seed = input_px, augment, seed

    def __len__(self) -> int:
        return len(self.photos)

    def get(self, epoch: int, index: int) -> PhotoSample:
        """One view."""
        rng, spec = generator(self.seed, epoch, index), self.augment
        tiles = draw_tiles(rng, index, len(self.photos), self.input_px, spec)
        u = (2 * rng.random(4) - 1).tolist()
        colour = Augmentation(
            gains=(1 + spec.gain * u[0], 1 + spec.gain * u[1], 1 + spec.gain * u[2]),
            offset=255 * spec.brightness * u[3],
            noise=255 * spec.noise * float(rng.random()),
            noise_seed=int(rng.integers(2**32)),
        )
        grey = float(rng.random()) < spec.grey
        return make_view(
            [self.photos[t.index] for t in tiles],
            [self.images[t.index] for t in tiles],
            tiles,
            self.input_px,
            colour,
            grey,
        )
