"""Networks on OpenVINO without torch: its own files, and the ONNX files of `onnx_file`, with one contract."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.extras import missing
from hourglass.core.files import is_damaged
from hourglass.engines.entry import ENTRY, EngineError, Signature, signature_of

CHUNK = 8
"""Crops that run at once: more of them leave the processor's caches, and each takes longer."""

_BF16 = ("avx512_bf16", "amx_bf16")
"""Flags of processors that compute in bf16, as Linux tells them."""


def read(path: Path) -> tuple[Any, str, Signature]:
    """Model, facts (JSON) and signature of an OpenVINO file of ours (.xml, with its .bin beside it).

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    weights = path.with_suffix(".bin")
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    if not weights.is_file():
        raise EngineError(f"{weights}, which holds the weights of {path.name}, is missing")
    if is_damaged(path.read_bytes(), weights.read_bytes()):
        raise EngineError(
            f"{path} or its {weights.name} is damaged, or was changed after it was exported, or they are no "
            "pair; export it again"
        )
    module = openvino()
    try:
        model = module.Core().read_model(path)
    except RuntimeError as error:
        raise EngineError(
            f"{path} can't be read by OpenVINO {module.__version__}: damaged or newer; export it again"
        ) from error
    try:
        return model, *signature_of(model.get_rt_info(ENTRY).astype(str), path)
    except (RuntimeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error


def from_onnx(model: bytes, name: str) -> Any:
    """An `openvino.Model` of an ONNX file's bytes; raises EngineError, naming it, where it can't be read."""
    module = openvino()
    try:
        return module.Core().read_model(model=model)
    except RuntimeError as error:
        raise EngineError(
            f"OpenVINO {module.__version__} can't read {name}: {str(error).splitlines()[0]}"
        ) from error


class Compiled:
    """A model made ready to run on this machine's CPU.

    Args:
        model: an `openvino.Model` with the inputs and outputs of `onnx_file`, or crops and stages only.
        precision: `fp32` or `bf16`, for whatever in the model is not int8; without it in the processor fp32.
        threads: how many compute.
    """

    def __init__(self, model: Any, precision: str, threads: int) -> None:
        core = openvino().Core()
        able = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision if able else "fp32"
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            # One request that uses every core; the other hint gives each core a crop of its own.
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._request = core.compile_model(model, "CPU", hints).create_infer_request()
        self._flips = any("flip_test" in entry.get_names() for entry in model.inputs)
        self.names = names_of(model)

    def __call__(
        self, crops: npt.NDArray[np.uint8], flip_test: bool = False
    ) -> dict[str, npt.NDArray[np.float32]]:
        """All that the model answers to crops (B, 3, S, S) with, by name."""
        parts = [self._run(crops[start : start + CHUNK], flip_test) for start in range(0, len(crops), CHUNK)]
        whole = parts[0] if len(parts) == 1 else [np.concatenate(part) for part in zip(*parts, strict=True)]
        return dict(zip(self.names, whole, strict=True))

    def _run(self, crops: npt.NDArray[np.uint8], flip_test: bool) -> list[npt.NDArray[np.float32]]:
        given: Mapping[Any, Any] = {0: crops, **({1: np.array(flip_test)} if self._flips else {})}
        answer = self._request.infer(given, share_inputs=True)
        return [np.array(answer[row], np.float32) for row in range(len(self.names))]


def names_of(model: Any) -> list[str]:
    """The name of each answer; those of a model without names are its stages."""
    found = [sorted(output.get_names()) for output in model.outputs]
    return [names[0] if names else f"stage_{i + 1}" for i, names in enumerate(found)]


def installed() -> bool:
    """Whether OpenVINO can be imported, without importing it."""
    from importlib.util import find_spec

    return find_spec("openvino") is not None


def computes_bf16() -> bool:
    """Whether this processor does, as far as Linux tells; OpenVINO knows, and takes long to import."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return any(flag in flags for flag in _BF16)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def openvino() -> Any:
    """The module; raises EngineError, naming what to install, where it is missing."""
    try:
        import openvino
    except ImportError as error:
        raise EngineError(missing("OpenVINO", "openvino", error)) from error
    return openvino
