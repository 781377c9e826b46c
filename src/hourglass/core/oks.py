"""Object keypoint similarity."""

import numpy as np

from hourglass.core.arrays import BoolArray, Float64Array, FloatArray


def keypoint_similarity(
    square_px: FloatArray, area: FloatArray, sigmas: FloatArray, counted: BoolArray
) -> Float64Array:
    """OKS of squared distances (..., J) in pixels, for areas (...) in square pixels; all broadcast.

    Args:
        sigmas: (J,) of the skeleton.
        counted: (..., J) which joints the mean is over, one at least.
    """
    variance = (2 * np.asarray(sigmas, np.float64)) ** 2
    with np.errstate(under="ignore", over="ignore"):
        exponent = square_px / variance / area[..., None] / 2
        return np.asarray((np.exp(-exponent) * counted).sum(-1) / counted.sum(-1))
