"""Random views of whole photos, with the boxes of their people, for training a people finder.

As for crops, a view depends on (seed, epoch, index) and on nothing else.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core import geometry
from hourglass.data.formats.photos import Corners, PhotoRecord
from hourglass.data.loading.ahead import ahead
from hourglass.data.loading.augment import IDENTITY, Augmentation, Mix, generator, recolour, sample
from hourglass.data.loading.images import read_image
from hourglass.data.loading.loader import training_keys
from hourglass.recipe.recipe import AugmentRecipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Image = npt.NDArray[np.uint8]
log = logging.getLogger(__name__)

STRIDE = 4
"""Pixels of the view per cell of the network's answer."""
LEAST_PX = 10.0
"""A person smaller than this (the root of the box's area) isn't learnt, and not taken for nobody either."""
LEAST_SEEN = 0.35
"""Of a person whom the view cuts off, this share of the box must be left."""
MOSAIC_ZOOM = (0.8, 1.8)
"""Range of a photo's longer side over its tile's, where four share a view."""
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


def draw_tiles(
    rng: np.random.Generator,
    index: int,
    side_px: int,
    spec: AugmentRecipe,
    other: Callable[[float, float], int],
) -> list[Tile]:
    """The tiles of one view: the photo `index` alone, or with three others around a point near the middle.

    Args:
        other: a photo for two numbers drawn evenly from 0..1.
    """
    u = rng.random(4).tolist()
    if u[0] >= spec.mosaic:
        return [_tile(rng, index, (0, 0, side_px, side_px), spec.zoom, spec)]
    x, y = (round(side_px * (0.35 + 0.3 * v)) for v in u[1:3])
    chosen = [index, *(other(*pair) for pair in rng.random((3, 2)).tolist())]
    turn = int(4 * u[3])
    areas = [(0, 0, x, y), (x, 0, side_px, y), (0, y, x, side_px), (x, y, side_px, side_px)]
    return [_tile(rng, chosen[(k + turn) % 4], area, MOSAIC_ZOOM, spec) for k, area in enumerate(areas)]


def _tile(
    rng: np.random.Generator,
    index: int,
    area: tuple[int, int, int, int],
    zoom: tuple[float, float],
    spec: AugmentRecipe,
) -> Tile:
    u = rng.random(4).tolist()
    size = zoom[0] * (zoom[1] / zoom[0]) ** u[0]
    # A small photo lies anywhere in the tile, a large one shows any part of it.
    room = abs(1 - size) / 2 + 0.05
    shift = room * (2 * u[1] - 1), room * (2 * u[2] - 1)
    return Tile(area, index, size, shift, u[3] < spec.flip_probability)


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


def photo_px(input_px: int, zoom: float) -> int:
    """The longest side that a photo is ever shown with; more of its pixels need not be kept."""
    return round(input_px * max(zoom, MOSAIC_ZOOM[1] * 0.65))


def decode_photos(
    photos: Sequence[PhotoRecord], longest_px: int, limit_gb: float, workers: int
) -> list[Image] | None:
    """Every photo's pixels, reduced, in memory; or None, with a log line, when they pass the limit.

    Raises ImageError naming the first photo that can't be read.
    """
    shares = [min(1.0, longest_px / max(photo.width, photo.height)) for photo in photos]
    need_gb = sum(3 * p.width * p.height * s**2 for p, s in zip(photos, shares, strict=True)) / 1e9
    if need_gb > limit_gb:
        if limit_gb > 0:
            log.info("%d photos need %.1f GB decoded, over the %.1f GB kept", len(photos), need_gb, limit_gb)
        return None
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda photo: read_reduced(photo, longest_px), photos))


class TrainingPhotos:
    """Augmented views by (epoch, index) of photos; the same key always gives the same view.

    Args:
        images: the photos' reduced pixels, where these fit in memory.
        mix: how often photos of several sources are drawn, where not all alike.
    """

    def __init__(
        self,
        photos: Sequence[PhotoRecord],
        input_px: int,
        augment: AugmentRecipe,
        seed: int,
        images: Sequence[Image] | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.photos, self.images, self.mix = photos, images, mix
        self.input_px, self.augment, self.seed = input_px, augment, seed
        sizes = mix.sizes if mix is not None else (len(photos),)
        self._first = np.cumsum([0, *sizes])
        self._shares = np.cumsum(mix.shares if mix is not None else (1.0,))

    def __len__(self) -> int:
        return len(self.photos)

    def other(self, source: float, place: float) -> int:
        """A photo by two numbers of 0..1: of which source, by the shares, and which of its photos."""
        number = min(int(np.searchsorted(self._shares, source, side="right")), len(self._shares) - 1)
        first, end = int(self._first[number]), int(self._first[number + 1])
        return first + int(place * (end - first))

    def image(self, index: int) -> Image:
        """One photo's pixels, perhaps reduced. Raises ImageError where it can't be read."""
        if self.images is not None:
            return self.images[index]
        return read_reduced(self.photos[index], photo_px(self.input_px, self.augment.zoom[1]))

    def get(self, epoch: int, index: int) -> PhotoSample:
        """One view."""
        rng, spec = generator(self.seed, epoch, index), self.augment
        tiles = draw_tiles(rng, index, self.input_px, spec, self.other)
        photos = [self.photos[tile.index] for tile in tiles]
        images = [self.image(tile.index) for tile in tiles]
        return make_view(photos, images, tiles, self.input_px, sample(rng, spec))


@dataclass(frozen=True, eq=False)
class PhotoBatch:
    """B views on their way to the network.

    Args:
        image: (B, 3, S, S) uint8 RGB.
        people: (B, N, 4) float32, corners in pixels from the view's edges; rows fill up to the most people.
        present: (B, N) bool, False in the rows that only fill up.
        background: (B, S / 4, S / 4) bool, see `PhotoSample`.
    """

    image: "Tensor"
    people: "Tensor"
    present: "Tensor"
    background: "Tensor"

    def to(self, device: "torch.device | str") -> "PhotoBatch":
        """The same batch on another device; copies run alongside the host where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "PhotoBatch":
        """The same batch in page-locked memory, from where a GPU copies without waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: "Callable[[Tensor], Tensor]") -> "PhotoBatch":
        return PhotoBatch(*(change(t) for t in (self.image, self.people, self.present, self.background)))


def collate_photos(samples: Sequence[PhotoSample]) -> PhotoBatch:
    """B views as one batch; images become (B, 3, S, S) seen through their (B, S, S, 3) storage."""
    import torch

    most = max(1, *(len(s.people) for s in samples))
    people = np.zeros((len(samples), most, 4), np.float32)
    present = np.zeros((len(samples), most), bool)
    for row, view in enumerate(samples):
        people[row, : len(view.people)] = view.people
        present[row, : len(view.people)] = True
    return PhotoBatch(
        torch.from_numpy(np.stack([s.image for s in samples])).permute(0, 3, 1, 2),
        torch.from_numpy(people),
        torch.from_numpy(present),
        torch.from_numpy(np.stack([s.background for s in samples])),
    )


def photo_batches(
    photos: TrainingPhotos,
    batch_size: int,
    start_step: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pin: bool = False,
    accumulate: int = 1,
) -> Iterator[PhotoBatch]:
    """Endless batches of views, as `loader.training_batches` gives them of crops."""
    cv2.setNumThreads(1)

    def make(keys: Sequence[tuple[int, int]]) -> PhotoBatch:
        batch = collate_photos([photos.get(*key) for key in keys])
        return batch.pin() if pin else batch

    keys = training_keys(
        photos.seed, len(photos), batch_size, start_step, rank, ranks, accumulate, photos.mix
    )
    yield from ahead(make, keys, workers)
