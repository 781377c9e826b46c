"""Random views of a person, drawn from a generator keyed by (seed, epoch, index).

A draw depends on nothing else, neither on threads nor on ranks, so a run can be repeated and resumed.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.recipe import AugmentRecipe


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
    return Augmentation(
        scale=scale,
        rotate_deg=spec.rotate_deg * turn if u[2] < spec.rotate_probability else 0.0,
        flip=u[3] < spec.flip_probability,
        shift=(spec.shift * _spread(u[4]), spec.shift * _spread(u[5])),
        gains=(1 + spec.gain * _spread(u[6]), 1 + spec.gain * _spread(u[7]), 1 + spec.gain * _spread(u[8])),
        offset=255 * spec.brightness * _spread(u[9]),
        noise=255 * spec.noise * u[10],
        noise_seed=int(rng.integers(2**32)),
        erased=(u[14], u[15], 0.1 + 0.25 * u[12], 0.1 + 0.25 * u[13]) if u[11] < spec.erase else None,
        erased_colour=tuple(rng.integers(0, 256, 3).tolist()),
    )


def _spread(uniform: float) -> float:
    """From 0..1 to -1..1."""
    return 2 * uniform - 1


def _within(normal: float, limit: float) -> float:
    return min(max(normal, -limit), limit)


def recolour(crop: npt.NDArray[np.uint8], view: Augmentation, inplace: bool = False) -> npt.NDArray[np.uint8]:
    """The view's colour changes on a crop (H, W, 3) uint8: gain and offset, noise, covered rectangle.

    Args:
        inplace: change `crop` itself, which must be contiguous; it is what is returned.
    """
    out = crop if inplace else crop.copy()
    if view.gains != (1.0, 1.0, 1.0) or view.offset:
        _scale(out, view)
    if view.noise > 0:
        rng = np.random.Generator(np.random.SFC64(view.noise_seed))
        grain = rng.standard_normal(crop.shape, dtype=np.float32) * view.noise
        out[:] = np.clip(np.rint(out + grain), 0, 255).astype(np.uint8)
    if view.erased is not None:
        side_y, side_x = crop.shape[:2]
        x, y, width, height = view.erased
        left, right = (round(side_x * np.clip(x + s * width / 2, 0, 1)) for s in (-1, 1))
        top, bottom = (round(side_y * np.clip(y + s * height / 2, 0, 1)) for s in (-1, 1))
        out[top:bottom, left:right] = view.erased_colour
    return out


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
