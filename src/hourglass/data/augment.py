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


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one person's view in one epoch."""
    return np.random.Generator(np.random.PCG64([seed, epoch, index]))


def sample(rng: np.random.Generator, spec: AugmentRecipe) -> Augmentation:
    """Draw one view. Every quantity is drawn whether it is used or not, so switching one off in a
    recipe leaves the others' draws as they were.
    """
    scale_normal, rotate_normal = rng.standard_normal(2)
    u = rng.random(16)

    def spread(uniform: float) -> float:
        return 2 * uniform - 1

    if spec.scale_law == "log2_normal":
        scale = 2.0 ** (spec.scale * np.clip(scale_normal, -2, 2))
    elif spec.scale_law == "normal":
        scale = 1 + spec.scale * np.clip(scale_normal, -1, 1)
    else:
        scale = 1 + spec.scale * spread(u[0])
    turn = np.clip(rotate_normal, -2, 2) if spec.rotate_law == "normal" else spread(u[1])
    red, green, blue = (1 + spec.gain * spread(v) for v in u[6:9])
    width, height = 0.1 + 0.25 * u[12:14]
    return Augmentation(
        scale=float(scale),
        rotate_deg=float(spec.rotate_deg * turn) if u[2] < spec.rotate_probability else 0.0,
        flip=bool(u[3] < spec.flip_probability),
        shift=(float(spec.shift * spread(u[4])), float(spec.shift * spread(u[5]))),
        gains=(float(red), float(green), float(blue)),
        offset=float(255 * spec.brightness * spread(u[9])),
        noise=float(255 * spec.noise * u[10]),
        noise_seed=int(rng.integers(2**32)),
        erased=(float(u[14]), float(u[15]), float(width), float(height)) if u[11] < spec.erase else None,
        erased_colour=tuple(int(v) for v in rng.integers(0, 256, 3)),  # type: ignore[arg-type]
    )


def recolour(crop: npt.NDArray[np.uint8], view: Augmentation) -> npt.NDArray[np.uint8]:
    """The view's colour changes on a crop (H, W, 3) uint8: gain and offset, noise, covered rectangle."""
    if view.gains != (1.0, 1.0, 1.0) or view.offset:
        levels = np.arange(256)[:, None] * np.array(view.gains) + view.offset
        table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        crop = cv2.LUT(crop, table.reshape(1, 256, 3))  # type: ignore[assignment]
    if view.noise > 0:
        rng = np.random.Generator(np.random.SFC64(view.noise_seed))
        grain = rng.standard_normal(crop.shape, dtype=np.float32) * view.noise
        crop = np.clip(np.rint(crop + grain), 0, 255).astype(np.uint8)
    if view.erased is not None:
        side_y, side_x = crop.shape[:2]
        x, y, width, height = view.erased
        left, right = (round(side_x * np.clip(x + s * width / 2, 0, 1)) for s in (-1, 1))
        top, bottom = (round(side_y * np.clip(y + s * height / 2, 0, 1)) for s in (-1, 1))
        crop = crop.copy()
        crop[top:bottom, left:right] = view.erased_colour
    return crop
