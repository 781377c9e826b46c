"""What to type where an optional part is missing: the command that works from where the user is."""

import os
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "hourglass-pose"


def missing(what: str, extra: str, error: ImportError | None = None) -> str:
    """A sentence: `what` needs a package that isn't there, and the command that installs it.

    Args:
        what: what was asked for, such as `the server`.
        extra: of our pyproject.toml, such as `serve`; another name is taken for a package's own.
        error: what importing it said, where that tells the package.
    """
    names = "" if error is None else error.name or ""
    lacks = f" ({names} {'are' if ',' in names else 'is'} not installed)" if names else ""
    return f"{what} needs more than is installed{lacks}: {install_command(extra)}"


def need_torch(weights: Path) -> None:
    """Raise ValueError, with the command to install it, where torch, which runs these weights, is missing."""
    if find_spec("torch") is None:
        raise ValueError(missing(f"{weights.name}, which torch runs,", "train"))


def install_command(extra: str) -> str:
    """How to install an extra: from a clone through its tested versions, else from the index."""
    pip = [*_python(), "-m", "pip", "install"]
    if extra not in EXTRAS:
        return shlex.join([*pip, extra])
    clone = _clone()
    if clone is None:
        return shlex.join([*pip, f"{PACKAGE}[{extra}]"])
    here = clone == Path.cwd()
    target = f".[{extra}]" if here else f"{clone}[{extra}]"
    constraints = "constraints.txt" if here else str(clone / "constraints.txt")
    return shlex.join([*pip, "-c", constraints, "-e", target])


def missing_module(error: ImportError) -> str | None:
    """The same sentence for a package of an extra that isn't installed; None for any other failed import."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(package)
    return None if extra is None else missing("this", extra, ImportError(name=package))


_EXTRA_OF = {
    **dict.fromkeys(
        ("torch", "lightning_fabric", "omegaconf", "yaml", "safetensors", "tensorboard"), "train"
    ),
    **dict.fromkeys(("huggingface_hub", "scipy", "h5py", "pyarrow", "matplotlib", "defusedxml"), "train"),
    **dict.fromkeys(("fastapi", "starlette", "uvicorn", "prometheus_client"), "serve"),
    **dict.fromkeys(("onnx", "onnxscript", "nncf"), "export"),
    "faster_coco_eval": "coco",
    "av": "video",
    "ray": "batch",
    "openvino": "openvino",
    "pandas": "pandas",
    "supervision": "supervision",
    "sleap_io": "labels",
}
"""The extra that brings a package."""

EXTRAS = (*dict.fromkeys(_EXTRA_OF.values()), "docs", "dev")
"""The names that pyproject.toml gives to what only some need."""


def _python() -> list[str]:
    """`python` where that is the one that runs us, else its whole path."""
    found = shutil.which("python")
    same = found is not None and os.path.dirname(os.path.abspath(found)) == os.path.dirname(sys.executable)
    return ["python"] if same else [sys.executable]


def _clone() -> Path | None:
    """The checkout that the package runs from, or None where it was installed as a package."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "constraints.txt").is_file() else None
