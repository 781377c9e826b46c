"""Detectors by name or file; those with a name are downloaded once, and checked."""

import os
from pathlib import Path

from hourglass.data.download.checkup import Progress, mismatch
from hourglass.data.download.fetch import FetchError, download
from hourglass.data.download.sources import RemoteFile
from hourglass.inference.detection.boxes import Detector
from hourglass.inference.detection.yolox import MIN_SCORE, Yolox
from hourglass.inference.people import FINDER, load_finder
from hourglass.weights.published import bundled_weights

HOME = "https://github.com/Megvii-BaseDetection/YOLOX"
LICENCE = "Apache-2.0"
"""Of YOLOX's code and of the files in its release 0.1.1rc0, which are trained on COCO."""


def _released(name: str, px: int, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(
        name=name,
        holds=f"YOLOX for {px} x {px} px, 80 classes of COCO",
        address=f"{HOME}/releases/download/0.1.1rc0/{name}",
        seen="in the table of YOLOX's demo/ONNXRuntime/README.md",
        size=size,
        sha256=sha256,
        proof="stated alike by several public projects that pin this file",
    )


DETECTORS = {
    "yolox-nano": _released(
        "yolox_nano.onnx", 416, 3_659_407, "c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d"
    ),
    "yolox-tiny": _released(
        "yolox_tiny.onnx", 416, 20_219_662, "427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7"
    ),
    "yolox-s": _released(
        "yolox_s.onnx", 640, 35_858_002, "c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063"
    ),
}
"""By name, the quickest first."""


def load_detector(
    name: str | Path,
    min_score: float | None = None,
    progress: Progress | None = None,
    threads: int = 0,
    device: str = "cpu",
) -> Detector:
    """A detector of people: the bundled finder or another's weights, one of `DETECTORS`, downloaded where it
    isn't there yet, or a YOLOX file in ONNX.

    Args:
        min_score: boxes that score less are left out, 0 to 1; None is the detector's own threshold.
        progress: is told of a download.
        threads: see `yolox.Yolox`.
        device: where a finder runs.

    Raises FileNotFoundError for what is neither a name nor a file, FetchError (a ValueError) for a download
    that fails, and ValueError for a file that is no detector.
    """
    path = detector_file(name, progress)
    if path.suffix == ".safetensors":
        return load_finder(path, min_score, device)
    return Yolox(path, MIN_SCORE if min_score is None else min_score, threads)


def detector_file(name: str | Path, progress: Progress | None = None) -> Path:
    """The file of a detector, downloaded where it isn't there yet; raises as `load_detector` does."""
    if str(name) not in DETECTORS:
        if str(name) in bundled_weights():
            return bundled_weights()[str(name)]
        if Path(name).is_file():
            return Path(name)
        known = ", ".join((FINDER, *DETECTORS))
        raise FileNotFoundError(
            f"there is no detector {name}: give weights of a people finder, an ONNX file of YOLOX, or {known}"
        )
    file = DETECTORS[str(name)]
    path = cache_folder() / file.name
    if path.is_file():
        problem = mismatch(file, path, progress)
        if problem:
            raise FetchError(f"{path} {problem}: delete it, and it is downloaded again")
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download(file, path, progress, HOME)
    except FetchError as error:
        raise FetchError(f"{error}. A file that you have is taken as well: --detector {file.name}") from error
    return path


def cache_folder() -> Path:
    """Where downloads lie: `detectors` in $HOURGLASS_CACHE, or in `hourglass` of the user's cache folder."""
    own = os.environ.get("HOURGLASS_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path(own) if own else shared / "hourglass") / "detectors"
