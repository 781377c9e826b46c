"""Names for arrays of numbers and of truth values."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

BoolArray = npt.NDArray[np.bool_]
