"""People's boxes from a YOLOX detector (Ge et al., 2021) in ONNX, run by ONNX Runtime.

Two kinds of file are about. YOLOX's own exporter leaves the decoding to us: one output (1, N, 5 + classes)
with a row for each cell of the grids of 8, 16 and 32 px (and 64 px in the larger ones), in it the centre's
offset from the cell and the logarithm of the size, both in cells, then objectness and the classes'
probabilities. Files that MMDeploy exported, such as rtmlib's, are done with it: `dets` (1, N, 5), corners and
score in the network's pixels, and `labels` (1, N). A person is class 0 in both.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB, Float64Array
from hourglass.core.files import reason
from hourglass.inference.detection.boxes import overlaps
from hourglass.inference.detection.suppress import surest

MIN_SCORE = 0.3
"""Boxes that score less are left out."""
OVERLAP = 0.45
"""Boxes whose overlap (intersection over union) exceeds this are one."""

_STRIDES = (8, 16, 32, 64)
_FREE_PX = 640
"""Side of the input where the file leaves it open."""
_GREY = 114
_PERSON = 0
_CANDIDATES = 1000
"""Only so many boxes, the best, are compared with one another."""


class DetectorError(ValueError):
    """A file that is no detector, or one that failed on a picture; the message names it."""


class Yolox:
    """Pictures (H, W, 3) uint8 RGB to people's boxes (N, 4), x, y, w, h, and scores (N,), the best first.

    Boxes end at the picture's edges. It may be called from several threads.

    Args:
        path: the ONNX file.
        min_score: boxes that score less are left out, 0 to 1.
        threads: of ONNX Runtime, 0 for all cores.

    Raises FileNotFoundError, DetectorError for a file that is no detector of the two kinds, and ValueError
    for a missing onnxruntime.
    """

    def __init__(self, path: Path, min_score: float = MIN_SCORE, threads: int = 0) -> None:
        if not 0 <= min_score <= 1:
            raise ValueError(f"a box's lowest score is {min_score:g}; it must lie between 0 and 1")
        self.path, self.min_score = path, min_score
        self._session = _open(path, threads)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if inputs else []
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(shape) != 4 or shape[1] != 3:
            takes = ", ".join(f"{i.type} {i.shape}" for i in inputs)
            raise self._foreign(f"it takes {takes}, not one picture of floats (1, 3, height, width)")
        self._input = inputs[0].name
        self._height, self._width = (side if isinstance(side, int) else _FREE_PX for side in shape[2:])
        self(np.full((8, 8, 3), _GREY, np.uint8))  # a file of another kind is refused now

    def __call__(self, image: RGB) -> tuple[Float64Array, Float64Array]:
        view, scale = letterbox(image, self._height, self._width)
        try:
            outputs = self._session.run(None, {self._input: view})
        except Exception as error:  # the runtime raises kinds of its own
            raise DetectorError(f"{self.path} failed: {reason(error)}") from error
        corners, scores = self._people(outputs)
        corners = corners / np.tile(scale, 2)
        limit = np.array([image.shape[1], image.shape[0]] * 2)
        corners = np.clip(corners, 0, limit)
        wide = ((corners[:, 2:] - corners[:, :2]) >= 1).all(1)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)[wide]
        return boxes, scores[wide]

    def _people(self, outputs: list[Any]) -> tuple[Float64Array, Float64Array]:
        """Corners (N, 4) in the network's pixels and scores (N,) of people, best first."""
        first = np.asarray(outputs[0])
        if first.ndim != 3 or len(first) != 1 or first.shape[2] < 5:
            raise self._foreign(f"it answers {first.shape}, not (1, N, 5 + classes) or (1, N, 5)")
        if first.shape[2] == 5:
            corners, scores = first[0, :, :4].astype(np.float64), first[0, :, 4].astype(np.float64)
            people = np.ones(len(scores), bool)
            if len(outputs) > 1 and np.shape(outputs[1]) == (1, len(scores)):
                people = np.asarray(outputs[1])[0] == _PERSON
            keep = np.flatnonzero(people & (scores >= self.min_score))
            keep = keep[np.argsort(-scores[keep], kind="stable")]
            return self._finite(corners[keep]), scores[keep]
        scores = first[0, :, 4].astype(np.float64) * first[0, :, 5 + _PERSON]
        keep = np.flatnonzero(scores >= self.min_score)
        keep = keep[np.argsort(-scores[keep], kind="stable")][:_CANDIDATES]
        corners = self._finite(self._decoded(first[0, :, :4].astype(np.float64), keep))
        stay = surest(overlaps(corners), scores[keep], OVERLAP)
        return corners[stay], scores[keep][stay]

    def _decoded(self, rows: Float64Array, keep: npt.NDArray[np.int64]) -> Float64Array:
        """Corners of the rows to keep, in the network's pixels."""
        cells, strides = grid(len(rows), self._height, self._width)
        if not len(cells):
            raise self._foreign(
                f"it answers {len(rows)} rows, which are not the cells of {self._width} x {self._height} px"
            )
        # A file exported with --decode_in_inference is in pixels already; offsets never grow so large.
        if np.median(rows[:, 0]) > self._width / 8:
            center, size = rows[keep, :2], rows[keep, 2:]
        else:
            center = (rows[keep, :2] + cells[keep]) * strides[keep]
            with np.errstate(over="ignore"):
                size = np.exp(rows[keep, 2:]) * strides[keep]
        return np.concatenate([center - size / 2, center + size / 2], 1)

    def _foreign(self, why: str) -> DetectorError:
        return DetectorError(f"{self.path} is no YOLOX detector: {why}")

    def _finite(self, corners: Float64Array) -> Float64Array:
        if not np.isfinite(corners).all():
            raise DetectorError(f"{self.path} answered with a box that is not finite")
        return corners


def letterbox(image: RGB, height: int, width: int) -> tuple[npt.NDArray[np.float32], Float64Array]:
    """A picture as YOLOX takes it, and by how much its x and y were scaled (2,).

    It is (1, 3, height, width) float32, BGR, 0 to 255, with the picture as large as it goes in the upper left
    corner, on grey.
    """
    old_height, old_width = image.shape[:2]
    ratio = min(height / old_height, width / old_width)
    size = max(int(old_width * ratio), 1), max(int(old_height * ratio), 1)
    view = np.full((height, width, 3), _GREY, np.uint8)
    view[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    planes = view[..., ::-1].transpose(2, 0, 1)[None]
    return np.ascontiguousarray(planes, np.float32), np.array(size) / (old_width, old_height)


def grid(rows: int, height: int, width: int) -> tuple[Float64Array, Float64Array]:
    """Cells (N, 2), column and row, and their sizes (N, 1) in pixels, in the order of YOLOX's rows.

    Empty where no set of grids has as many cells.
    """
    for levels in (3, 4):
        parts = []
        for stride in _STRIDES[:levels]:
            y, x = np.indices((height // stride, width // stride)).reshape(2, -1)
            parts.append(np.stack([x, y, np.full(len(x), stride)], 1))
        cells = np.concatenate(parts).astype(np.float64)
        if len(cells) == rows:
            return cells[:, :2], cells[:, 2:]
    return np.empty((0, 2)), np.empty((0, 1))


def _open(path: Path, threads: int) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"there is no detector {path}")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"a detector needs onnxruntime ({error}); pip install -e '.[detect]'") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises kinds of its own
        raise ValueError(
            f"{path} can't be read by ONNX Runtime {onnxruntime.__version__}: it is no ONNX file, or damaged"
        ) from error
