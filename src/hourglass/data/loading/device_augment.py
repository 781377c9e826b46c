"""Training crops made in batch on the device: one resampling, colour, noise and covered rectangles.

Threads only cut each person's surroundings out of the picture, without resampling, and draw the view, which
stays a function of (seed, epoch, index). `Windows.crops` does the rest, the same as `dataset.make_sample` but
for rounding, for the values of pixel noise, which are the device's own, and for people who must be shrunk
more than twofold, whose surroundings are reduced by themselves and not with the whole picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from hourglass.core import geometry
from hourglass.core.arrays import RGB
from hourglass.core.structs import Batch, PersonRecord
from hourglass.data.loading.augment import Augmentation
from hourglass.data.loading.dataset import TrainingCrops, place

_MULTIPLE = 32
"""Windows of a batch share one side, rounded up to this, so that the device can use its memory again."""

_AT_ONCE = 16
"""Crops that are warped in one go: windows as floats take four times the bytes."""


@dataclass(frozen=True, eq=False)
class Window:
    """One person's surroundings.

    Args:
        image: (h, w, 3) uint8, a part of the picture; reduced where it has over twice the crop's resolution.
        matrix: (3, 3) from the window's pixels to the crop's.
        keypoints, weight, occluded: as `dataset.Sample` has them, of the crop.
    """

    image: RGB
    matrix: npt.NDArray[np.float64]
    view: Augmentation
    keypoints: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    occluded: npt.NDArray[np.bool_]


def cut_window(
    image: RGB, record: PersonRecord, input_px: int, view: Augmentation, absent: float = 0.0
) -> Window:
    """What a crop of `input_px` of one person will be sampled from, and the joints as they will lie in it."""
    matrix, keypoints, weight, occluded = place(record, input_px, view, absent)
    last = input_px - 1
    corners = geometry.apply(np.linalg.inv(matrix), np.array([[0, 0], [last, 0], [0, last], [last, last]]))
    height, width = image.shape[:2]
    # Bilinear weights reach the next pixel; outside the picture everything is black.
    left, top = (max(0, int(np.floor(low))) for low in corners.min(0))
    right, bottom = (int(np.floor(high)) + 2 for high in corners.max(0))
    part = image[top : min(bottom, height), left : min(right, width)]
    to_picture = np.array([[1.0, 0, left], [0, 1, top], [0, 0, 1]])
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.5 and part.size:
        # As geometry.warp does: by area to twice the crop's resolution, so that huge pictures don't alias.
        size = [max(1, round(side * 2 * shrink)) for side in part.shape[1::-1]]
        fx, fy = (old / new for old, new in zip(part.shape[1::-1], size, strict=True))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        to_picture = to_picture @ np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
    return Window(part, matrix @ to_picture, view, keypoints, weight, occluded)


def window(crops: TrainingCrops, epoch: int, index: int) -> Window:
    """The window of one person in one epoch, drawn as `TrainingCrops.get` draws it."""
    return cut_window(*crops.picture(index), crops.input_px, crops.view(epoch, index), crops.augment.absent)


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows on their way to the device.

    Args:
        image: (B, 3, K, K) uint8 RGB; each window lies in the upper left corner, the rest is black.
        law: (B, 17) float32. 0 to 5: from crop pixels to window pixels; 6 to 9: gains and offset; 10 to 13:
            left, top, right and bottom of a covered rectangle; 14 to 16: its colour.
        noise: B pairs of seed and standard deviation.
        input_px: side of the crops.
        keypoints, weight, occluded: as in `Batch`.
    """

    image: Tensor
    law: Tensor
    noise: tuple[tuple[int, float], ...]
    input_px: int
    keypoints: Tensor
    weight: Tensor
    occluded: Tensor

    def to(self, device: torch.device | str) -> "Windows":
        """The same on another device; copies run alongside the host where memory is pinned."""
        names = ("image", "law", "keypoints", "weight", "occluded")
        return replace(self, **{name: getattr(self, name).to(device, non_blocking=True) for name in names})

    def pin(self) -> "Windows":
        """The same in page-locked memory, from where a GPU copies without waiting."""
        names = ("image", "law", "keypoints", "weight", "occluded")
        return replace(self, **{name: getattr(self, name).pin_memory() for name in names})

    def crops(self) -> Batch:
        """The crops, made where the windows are; nothing is read back."""
        made = [self._crops(start) for start in range(0, len(self.image), _AT_ONCE)]
        return Batch(torch.cat(made), self.keypoints, self.weight, self.occluded)

    def _crops(self, start: int) -> Tensor:
        """Crops (up to `_AT_ONCE`, 3, S, S) uint8 from the window `start` on."""
        rows = slice(start, start + _AT_ONCE)
        source, law = self.image[rows].float(), self.law[rows, :, None, None]
        along = torch.arange(self.input_px, device=law.device, dtype=torch.float32)
        u, v = along, along[:, None]
        x = law[:, 0] * u + law[:, 1] * v + law[:, 2]
        y = law[:, 3] * u + law[:, 4] * v + law[:, 5]
        # Pixel centres to -1..1 across the outer edges.
        grid = (2 * torch.stack([x, y], -1) + 1) / source.shape[-1] - 1
        pixels = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        pixels = (pixels.round() * law[:, 6:9] + law[:, 9:10]).round().clamp(0, 255)
        for i, (seed, spread) in enumerate(self.noise[rows]):
            if spread > 0:
                generator = torch.Generator(law.device).manual_seed(seed)
                grain = torch.randn(pixels.shape[1:], generator=generator, device=law.device) * spread
                pixels[i] = (pixels[i] + grain).round().clamp(0, 255)
        covered = (u >= law[:, 10]) & (v >= law[:, 11]) & (u < law[:, 12]) & (v < law[:, 13])
        return torch.where(covered[:, None], law[:, 14:17], pixels).to(torch.uint8)


def collate_windows(windows: Sequence[Window], input_px: int) -> Windows:
    """B windows side by side, filled up to one side with black."""
    longest = max(max(w.image.shape[:2]) for w in windows)
    side = max(1, -(-longest // _MULTIPLE)) * _MULTIPLE
    canvas = np.zeros((len(windows), side, side, 3), np.uint8)
    for row, w in zip(canvas, windows, strict=True):
        row[: w.image.shape[0], : w.image.shape[1]] = w.image
    law = np.array([_law(w, input_px) for w in windows], np.float32)
    return Windows(
        image=torch.from_numpy(canvas).permute(0, 3, 1, 2),
        law=torch.from_numpy(law),
        noise=tuple((w.view.noise_seed, w.view.noise) for w in windows),
        input_px=input_px,
        keypoints=torch.from_numpy(np.stack([w.keypoints for w in windows])),
        weight=torch.from_numpy(np.stack([w.weight for w in windows])),
        occluded=torch.from_numpy(np.stack([w.occluded for w in windows])),
    )


def _law(window: Window, input_px: int) -> list[float]:
    view = window.view
    edges = [0, 0, 0, 0]
    if view.erased is not None:
        x, y, width, height = view.erased
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        edges = [round(input_px * min(max(share, 0.0), 1.0)) for share in corners]
    inverse = np.linalg.inv(window.matrix)[:2].ravel().tolist()
    return [*inverse, *view.gains, view.offset, *edges, *view.erased_colour]
