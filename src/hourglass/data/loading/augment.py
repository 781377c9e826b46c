"""Random views of a person, drawn from a generator keyed by (seed, epoch, index).

A draw depends on nothing else, neither on threads nor on ranks, so a run can be repeated and resumed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.recipe.recipe import AugmentRecipe


@dataclass(frozen=True)
class Augmentation:
    """One draw. Scale is of the person's size in the crop; shifts are shares of the crop's side."""

    scale: float = 1.0
    rotate_deg: float = 0.0
    flip: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    erased: tuple[float, float, float, float] | None = None
    """centre x, centre y, width, height of a covered rectangle, as shares of the crop"""
    erased_colour: tuple[int, int, int] = (0, 0, 0)
    half: str = ""
    """`upper` or `lower`: look at this half of the body alone"""
    cut: tuple[int, float] | None = None
    """a side (0 left, 1 top, 2 right, 3 bottom) and how much of the crop is blackened from it"""
    covered: tuple[float, float, float, float, float, float] | None = None
    """left and top of a patch, left and top of the piece that is laid on it, width and height, in shares"""
    blur: tuple[float, float] | None = None
    """radius as a share of the crop's side; direction of motion in degrees, or NaN for a Gaussian blur"""
    jpeg_quality: int = 0
    """0 leaves the pixels alone"""
    grey: bool = False


IDENTITY = Augmentation()

_LEVELS = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
_VECTORS = 3 * 64
"""bytes; OpenCV's vectors hold 16 to 64 pixels' channels"""


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one person's view in one epoch."""
    return np.random.Generator(np.random.PCG64([seed, epoch, index]))


def sample(rng: np.random.Generator, spec: AugmentRecipe) -> Augmentation:
    """Draw one view. Every quantity is drawn whether it is used or not, so switching one off in a
    recipe leaves the others' draws as they were.
    """
    # Python's own floats: the same numbers as numpy's scalars, several times quicker.
    scale_normal, rotate_normal = rng.standard_normal(2).tolist()
    u = rng.random(16).tolist()
    if spec.scale_law == "log2_normal":
        scale = 2.0 ** (spec.scale * _within(scale_normal, 2))
    elif spec.scale_law == "normal":
        scale = 1 + spec.scale * _within(scale_normal, 1)
    else:
        scale = 1 + spec.scale * _spread(u[0])
    turn = _within(rotate_normal, 2) if spec.rotate_law == "normal" else _spread(u[1])
    noise_seed, colour = int(rng.integers(2**32)), tuple(rng.integers(0, 256, 3).tolist())
    v = rng.random(20).tolist()
    width, height = 0.1 + 0.25 * v[5], 0.1 + 0.25 * v[6]
    places = [(1 - size) * v[n] for n, size in zip(range(7, 11), (width, height, width, height), strict=True)]
    return Augmentation(
        scale=scale,
        rotate_deg=spec.rotate_deg * turn if u[2] < spec.rotate_probability else 0.0,
        flip=u[3] < spec.flip_probability,
        shift=(spec.shift * _spread(u[4]), spec.shift * _spread(u[5])),
        gains=(1 + spec.gain * _spread(u[6]), 1 + spec.gain * _spread(u[7]), 1 + spec.gain * _spread(u[8])),
        offset=255 * spec.brightness * _spread(u[9]),
        noise=255 * spec.noise * u[10],
        noise_seed=noise_seed,
        erased=(u[14], u[15], 0.1 + 0.25 * u[12], 0.1 + 0.25 * u[13]) if u[11] < spec.erase else None,
        erased_colour=colour,
        half=("upper" if v[1] < 0.7 else "lower") if v[0] < spec.half_body else "",
        cut=(int(4 * v[3]), 0.1 + 0.4 * v[4]) if v[2] < spec.cut else None,
        covered=(places[0], places[1], places[2], places[3], width, height) if v[11] < spec.cover else None,
        blur=(0.004 + 0.016 * v[13], 180 * v[15] if v[14] < 0.5 else math.nan) if v[12] < spec.blur else None,
        jpeg_quality=round(10 + 50 * v[17]) if v[16] < spec.jpeg else 0,
        grey=v[18] < spec.grey,
    )


def _spread(uniform: float) -> float:
    """From 0..1 to -1..1."""
    return 2 * uniform - 1


def _within(normal: float, limit: float) -> float:
    return min(max(normal, -limit), limit)


def recolour(crop: npt.NDArray[np.uint8], view: Augmentation, inplace: bool = False) -> npt.NDArray[np.uint8]:
    """The view's changes to pixels of a crop (H, W, 3) uint8.

    In this order: a covered patch, blur, grey, gain and offset, noise, a flat rectangle, a cut, JPEG.

    Args:
        inplace: change `crop` itself, which must be contiguous; it is what is returned.
    """
    out = crop if inplace else crop.copy()
    side_y, side_x = crop.shape[:2]
    if view.covered is not None:
        sides = (side_x, side_y, side_x, side_y, side_x, side_y)
        to_x, to_y, from_x, from_y, columns, rows = (
            int(share * side) for share, side in zip(view.covered, sides, strict=True)
        )
        piece = out[from_y : from_y + rows, from_x : from_x + columns].copy()
        out[to_y : to_y + rows, to_x : to_x + columns] = piece
    if view.blur is not None:
        _blur(out, *view.blur)
    if view.grey:
        out[:] = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)[..., None]
    if view.gains != (1.0, 1.0, 1.0) or view.offset:
        _scale(out, view)
    if view.noise > 0:
        rng = np.random.Generator(np.random.SFC64(view.noise_seed))
        grain = rng.standard_normal(crop.shape, dtype=np.float32) * view.noise
        out[:] = np.clip(np.rint(out + grain), 0, 255).astype(np.uint8)
    if view.erased is not None:
        x, y, width, height = view.erased
        left, right = (round(side_x * np.clip(x + s * width / 2, 0, 1)) for s in (-1, 1))
        top, bottom = (round(side_y * np.clip(y + s * height / 2, 0, 1)) for s in (-1, 1))
        out[top:bottom, left:right] = view.erased_colour
    if view.cut is not None:
        left, top, right, bottom = kept_part(view.cut, side_x, side_y)
        kept = out[top:bottom, left:right].copy()
        out[:] = 0
        out[top:bottom, left:right] = kept
    if view.jpeg_quality:
        # Straight through OpenCV, channels as they are: artefacts are what is wanted, not a file.
        _, encoded = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, view.jpeg_quality])
        out[:] = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return out


def kept_part(cut: tuple[int, float], side_x: int, side_y: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom, in whole pixels of the crop, of what a cut leaves."""
    side, share = cut
    across, down = round(side_x * share), round(side_y * share)
    return (
        across if side == 0 else 0,
        down if side == 1 else 0,
        side_x - across if side == 2 else side_x,
        side_y - down if side == 3 else side_y,
    )


def _blur(crop: npt.NDArray[np.uint8], radius: float, direction_deg: float) -> None:
    """A blur in place; the radius is a share of the crop's side."""
    radius_px = radius * len(crop)
    if math.isnan(direction_deg):
        cv2.GaussianBlur(crop, (0, 0), max(radius_px, 0.3), dst=crop)
        return
    reach = max(1, round(2 * radius_px))
    steps = np.linspace(-reach, reach, 4 * reach + 1)
    angle = math.radians(direction_deg)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    at = np.rint(np.stack([reach + steps * math.sin(angle), reach + steps * math.cos(angle)])).astype(int)
    np.add.at(kernel, tuple(at), 1)
    crop[:] = cv2.filter2D(crop, -1, kernel / kernel.sum())


def _scale(crop: npt.NDArray[np.uint8], view: Augmentation) -> None:
    """Gains and offset on a crop in place: what a table of 256 levels a channel gives, to the bit."""
    levels = np.arange(256)[:, None] * np.array(view.gains) + view.offset
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    gains = np.array(
        [[g if i == j else 0.0 for j in range(3)] + [view.offset] for i, g in enumerate(view.gains)]
    )
    # OpenCV's product of colours is six times as quick as its table. It counts in float32, so that one
    # view in two hundred differs in a level. Of whole vectors only: their rest may be computed otherwise.
    if crop.size % _VECTORS == 0 and np.array_equal(cv2.transform(_LEVELS, gains)[:, 0], table):
        cv2.transform(crop, gains, dst=crop)
    else:
        cv2.LUT(crop, table.reshape(1, 256, 3), dst=crop)


@dataclass(frozen=True)
class Mix:
    """Which people of several sources, one after the other, an epoch draws.

    Args:
        sizes: people in each source.
        shares: of each source in the draws; they add up to 1.
    """

    sizes: tuple[int, ...]
    shares: tuple[float, ...]

    @cached_property
    def quotas(self) -> tuple[int, ...]:
        """Draws of each source in an epoch, which has as many as there are people."""
        return whole_parts(self.shares, sum(self.sizes))

    def epoch(self, seed: int, epoch: int) -> list[tuple[int, int]]:
        """The draws of an epoch in their order: pass through the source, and index among all people.

        A source is gone through again and again in an order that is new each time, across the borders of
        epochs, so nobody is drawn again before everybody of the source has had a turn. The pass keys the
        view: whoever is drawn twice in an epoch is seen in two ways.
        """
        draws: list[tuple[int, int]] = []
        offset = 0
        for number, (size, quota) in enumerate(zip(self.sizes, self.quotas, strict=True)):
            at, end = epoch * quota, (epoch + 1) * quota
            while at < end:
                again, start = divmod(at, size)
                stop = min(size, start + end - at)
                order = np.random.Generator(np.random.PCG64([seed, again, number, 2])).permutation(size)
                draws += [(again, offset + int(row)) for row in order[start:stop]]
                at += stop - start
            offset += size
        mixed = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(draws))
        return [draws[n] for n in mixed.tolist()]


def whole_parts(shares: Sequence[float], total: int) -> tuple[int, ...]:
    """`total` in whole parts that follow the shares: the largest remainders are rounded up."""
    exact = [share * total for share in shares]
    parts = [int(value) for value in exact]
    for n in sorted(range(len(exact)), key=lambda n: parts[n] - exact[n])[: total - sum(parts)]:
        parts[n] += 1
    return tuple(parts)
