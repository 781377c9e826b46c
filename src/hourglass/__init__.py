"""2D human pose estimation with Stacked Hourglass networks: train, score, run and serve.

Everything here is loaded when it is first asked for, so that `import hourglass` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hourglass.inference.pose import Pose as Pose
    from hourglass.inference.pose import save_coco as save_coco
    from hourglass.inference.predictor import Predictor as Predictor
    from hourglass.skeleton import COCO17 as COCO17
    from hourglass.skeleton import FLIC11 as FLIC11
    from hourglass.skeleton import LSP14 as LSP14
    from hourglass.skeleton import MPII16 as MPII16
    from hourglass.skeleton import SKELETONS as SKELETONS
    from hourglass.skeleton import Skeleton as Skeleton

    __version__: str

_HOME = {
    "COCO17": "hourglass.skeleton",
    "FLIC11": "hourglass.skeleton",
    "LSP14": "hourglass.skeleton",
    "MPII16": "hourglass.skeleton",
    "Pose": "hourglass.inference.pose",
    "Predictor": "hourglass.inference.predictor",
    "SKELETONS": "hourglass.skeleton",
    "Skeleton": "hourglass.skeleton",
    "save_coco": "hourglass.inference.pose",
}

__all__ = [
    "COCO17",
    "FLIC11",
    "LSP14",
    "MPII16",
    "SKELETONS",
    "Pose",
    "Predictor",
    "Skeleton",
    "__version__",
    "save_coco",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'hourglass' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("hourglass-pose")
    except PackageNotFoundError:
        # A source tree on the path, not installed.
        return "0+unknown"
