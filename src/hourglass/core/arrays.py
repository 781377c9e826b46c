"""One name for each kind of array that travels."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
"""Of any precision: what functions take."""

Float64Array = npt.NDArray[np.float64]
"""What functions that calculate give back."""

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

RGB = npt.NDArray[np.uint8]
"""A picture (H, W, 3), or more of them."""
