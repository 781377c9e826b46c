"""Every coordinate formula of the package.

Frames: `_orig` the picture's pixels, `_input` the network crop's, `_hm` heatmap cells. All are
0-based, and an integer is the centre of a pixel or cell, so a frame of n pixels spans -0.5 to n - 0.5.
"""

from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Points = TypeVar("Points", "npt.NDArray[np.floating]", "Tensor")


def crop_matrix(
    center: FloatArray,
    side_px: float,
    input_px: int,
    rotate_deg: float = 0.0,
    flip: bool = False,
) -> npt.NDArray[np.float64]:
    """(3, 3) matrix that takes picture pixels to pixels of a square crop.

    `u = F R (input_px / side_px) (x - center) + (input_px - 1) / 2`, with R a rotation that turns the
    content counter-clockwise on screen by `rotate_deg` and F a mirroring of x.

    Args:
        center: (2,) picture pixels that land in the middle of the crop.
        side_px: side of the square in picture pixels.
        input_px: side of the crop.
        flip: mirror left and right; the caller also permutes the joints.
    """
    scale = input_px / side_px
    angle = np.deg2rad(rotate_deg)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    if flip:
        linear[0] = -linear[0]
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = (input_px - 1) / 2 - linear @ np.asarray(center, dtype=np.float64)
    return matrix


def apply(matrix: FloatArray, points: FloatArray) -> npt.NDArray[np.float64]:
    """Points (..., 2) through a (3, 3) affine matrix."""
    return np.asarray(points, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]


def apply_covariance(matrix: FloatArray, covariances: FloatArray) -> npt.NDArray[np.float64]:
    """Covariances (..., 2, 2) of points that go through a (3, 3) affine matrix: `A C A'`."""
    linear = np.asarray(matrix, np.float64)[:2, :2]
    return np.asarray(linear @ np.asarray(covariances, np.float64) @ linear.T)


def warp(image: npt.NDArray[np.uint8], matrix: FloatArray, output_px: int) -> npt.NDArray[np.uint8]:
    """Resample a picture (H, W, C) once, bilinearly, into a square crop; outside it is black.

    Where the matrix shrinks more than twofold the picture is first reduced by area averaging, so that
    huge pictures don't alias.
    """
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.5:
        image, reduce = _reduced(image, 2 * shrink)
        matrix = matrix @ np.linalg.inv(reduce)
    return cv2.warpAffine(image, matrix[:2], (output_px, output_px), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _reduced(
    image: npt.NDArray[np.uint8], factor: float
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """The picture shrunk by about `factor`, and the (3, 3) matrix from the old pixels to the new."""
    height, width = image.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    fx, fy = size[0] / width, size[1] / height
    matrix = np.array([[fx, 0, 0.5 * fx - 0.5], [0, fy, 0.5 * fy - 0.5], [0, 0, 1]])
    return small, matrix  # type: ignore[return-value]


def input_to_heatmap(points: Points, stride: float) -> Points:
    """Crop pixels to heatmap cells: `(u + 0.5) / stride - 0.5`."""
    return (points + 0.5) / stride - 0.5


def heatmap_to_input(points: Points, stride: float) -> Points:
    """Heatmap cells to crop pixels: `(x + 0.5) * stride - 0.5`, the inverse of `input_to_heatmap`."""
    return (points + 0.5) * stride - 0.5


def box_around(points: FloatArray) -> tuple[npt.NDArray[np.float32], float]:
    """Centre (2,) and longer side of the upright box around points (N, 2); N is at least 1."""
    low, high = points.min(axis=0), points.max(axis=0)
    return ((low + high) / 2).astype(np.float32), float((high - low).max())
