"""2D human pose estimation with Stacked Hourglass networks: train, score, run and serve.

Everything here is loaded when it is first asked for, so that `import hourglass` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hourglass.api import evaluate as evaluate
    from hourglass.api import train as train
    from hourglass.core.skeleton import BODY19 as BODY19
    from hourglass.core.skeleton import COCO17 as COCO17
    from hourglass.core.skeleton import FLIC11 as FLIC11
    from hourglass.core.skeleton import LSP14 as LSP14
    from hourglass.core.skeleton import MPII16 as MPII16
    from hourglass.core.skeleton import SKELETONS as SKELETONS
    from hourglass.core.skeleton import Skeleton as Skeleton
    from hourglass.inference.poses.coco import load_coco as load_coco
    from hourglass.inference.poses.coco import load_coco_annotations as load_coco_annotations
    from hourglass.inference.poses.coco import save_coco_annotations as save_coco_annotations
    from hourglass.inference.poses.csv_table import from_pandas as from_pandas
    from hourglass.inference.poses.csv_table import load_csv as load_csv
    from hourglass.inference.poses.csv_table import save_csv as save_csv
    from hourglass.inference.poses.csv_table import to_pandas as to_pandas
    from hourglass.inference.poses.key_points import from_supervision as from_supervision
    from hourglass.inference.poses.key_points import to_supervision as to_supervision
    from hourglass.inference.poses.pose import Pose as Pose
    from hourglass.inference.poses.pose import save_coco as save_coco
    from hourglass.inference.predictor import Predictor as Predictor

    __version__: str

_HOME = {
    "BODY19": "hourglass.core.skeleton",
    "COCO17": "hourglass.core.skeleton",
    "FLIC11": "hourglass.core.skeleton",
    "LSP14": "hourglass.core.skeleton",
    "MPII16": "hourglass.core.skeleton",
    "Pose": "hourglass.inference.poses.pose",
    "Predictor": "hourglass.inference.predictor",
    "SKELETONS": "hourglass.core.skeleton",
    "Skeleton": "hourglass.core.skeleton",
    "evaluate": "hourglass.api",
    "from_pandas": "hourglass.inference.poses.csv_table",
    "from_supervision": "hourglass.inference.poses.key_points",
    "load_coco": "hourglass.inference.poses.coco",
    "load_coco_annotations": "hourglass.inference.poses.coco",
    "load_csv": "hourglass.inference.poses.csv_table",
    "save_coco": "hourglass.inference.poses.pose",
    "save_coco_annotations": "hourglass.inference.poses.coco",
    "save_csv": "hourglass.inference.poses.csv_table",
    "to_pandas": "hourglass.inference.poses.csv_table",
    "to_supervision": "hourglass.inference.poses.key_points",
    "train": "hourglass.api",
}

__all__ = [
    "BODY19",
    "COCO17",
    "FLIC11",
    "LSP14",
    "MPII16",
    "SKELETONS",
    "Pose",
    "Predictor",
    "Skeleton",
    "__version__",
    "evaluate",
    "from_pandas",
    "from_supervision",
    "load_coco",
    "load_coco_annotations",
    "load_csv",
    "save_coco",
    "save_coco_annotations",
    "save_csv",
    "to_pandas",
    "to_supervision",
    "train",
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
