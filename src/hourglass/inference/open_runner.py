"""Which runner answers for which weights: the choice of what runs a network, and where."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from hourglass.core.extras import need_torch
from hourglass.engines import onnx_file, openvino_file
from hourglass.engines.entry import EngineError
from hourglass.inference.runner import (
    ALL_STACKS,
    AutoRunner,
    Backend,
    Crops,
    OnnxRunner,
    OpenVinoRunner,
    Precision,
    Runner,
    Stacks,
)
from hourglass.weights.exported import exported_facts
from hourglass.weights.facts import WeightFacts
from hourglass.weights.published import artifact_of, resolve

if TYPE_CHECKING:
    from torch import nn


def open_runner(
    weights: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    backend: str = "auto",
    stacks: Stacks = None,
    calibration: Crops | None = None,
    threads: int = 0,
    crops: int | None = None,
) -> Runner:
    """What runs the weights of a name (`published.resolve`) with these options, see `Predictor`.

    Bundled weights come as an ONNX file too, which runs without torch; so do exported files (.onnx, .xml).
    Torch runs weights of one's own (.safetensors), GPUs, `stacks`, and measures int8.

    Args:
        threads: how many compute on a CPU; 0 for as many as there are cores.
        crops: how many will come in all, mirror images counted, for `auto`; None where nobody knows.

    Raises FileNotFoundError, WeightsError, EngineError or another ValueError, in one sentence, for what
    can't be had.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"the backend {backend!r} is not one of {', '.join(get_args(Backend))}")
    if precision not in get_args(Precision):
        raise ValueError(f"the precision {precision!r} is not one of {', '.join(get_args(Precision))}")
    path = resolve(weights)
    file = path if path.suffix in (".onnx", ".xml") else artifact_of(path)
    if file is not None and file == path:
        return _exported(path, device, precision, backend, stacks, threads, crops)
    cuda = None if file is None else _cuda(device)
    plain = backend != "torch" and stacks is None and precision != "int8"
    if file is not None and plain and cuda != "torch":
        if precision == "bf16" and backend == "auto":  # ONNX Runtime has none on CPUs
            backend = "openvino" if openvino_file.installed() else "torch"
        if backend != "torch":
            return _exported(file, device, precision, backend, None, threads, crops)
    return _torch_runner(path, device, precision, backend, stacks, calibration, threads)


def _exported(
    path: Path,
    device: str,
    precision: str,
    backend: str,
    stacks: Stacks,
    threads: int,
    crops: int | None,
) -> Runner:
    """An exported file without torch."""
    if stacks is not None:
        raise ValueError(ALL_STACKS)
    if path.suffix == ".xml":
        return _openvino_file(path, device, precision, backend, threads)
    if backend == "torch":
        raise ValueError(
            f"{path} was exported for onnxruntime and openvino; the backend 'torch' needs the weights"
        )
    cuda = device.startswith("cuda") or (device == "auto" and _cuda(device) == "onnxruntime")
    if cuda and "CUDAExecutionProvider" not in onnx_file.onnxruntime().get_available_providers():
        raise EngineError(
            f"no CUDA for ONNX Runtime here: {path.name} runs with --device cpu, or install onnxruntime-gpu"
        )
    if device not in ("auto", "cpu") and not cuda:
        raise ValueError(f"the device {device!r} is not auto, cpu or cuda")
    model, text, signature = onnx_file.read(path)
    facts = exported_facts(path, text, signature)
    if precision == "int8" and signature.precision != "int8":
        raise EngineError(f"{path} holds {signature.precision} numbers, not int8: export one with --int8")
    if backend == "openvino":
        if cuda:
            raise ValueError(f"the backend openvino runs on the CPU here, not on {device}: use --device cpu")
        return OpenVinoRunner(openvino_file.from_onnx(model, str(path)), facts, signature, precision, threads)
    if precision == "bf16":
        raise ValueError("ONNX Runtime computes in fp32 here, not in bf16: use --backend openvino")
    quicker = openvino_file.computes_bf16() and openvino_file.installed()
    if backend == "auto" and precision == "auto" and quicker and not cuda:
        return AutoRunner(model, facts, signature, path, threads, crops)
    return OnnxRunner(model, facts, signature, path, threads, cuda)


def _openvino_file(path: Path, device: str, precision: str, backend: str, threads: int) -> Runner:
    if backend not in ("auto", "openvino"):
        raise ValueError(f"{path} was exported for openvino; the backend {backend!r} needs the weights")
    if device not in ("auto", "cpu"):
        raise ValueError(f"the backend openvino runs on the CPU here, not on {device}: use --device cpu")
    model, text, signature = openvino_file.read(path)
    if precision == "int8" and signature.precision != "int8":
        raise EngineError(f"{path} holds {signature.precision} numbers, not int8: export one with --int8")
    return OpenVinoRunner(model, exported_facts(path, text, signature), signature, precision, threads)


def _cuda(device: str) -> str | None:
    """What would run on the GPU that is asked for or there: `onnxruntime`, `torch`, or None for the CPU."""
    if device == "cpu" or (device == "auto" and not any(Path(d).exists() for d in _GPU_DEVICES)):
        return None
    if find_spec("torch") is not None:
        import torch

        if device != "auto" or torch.cuda.is_available():
            return "torch"
    return "onnxruntime" if _onnx_cuda() or device != "auto" else None


_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
"""One of them is there on Linux and on Windows' Linux where a driver for CUDA is; asking costs nothing."""


def _onnx_cuda() -> bool:
    return "CUDAExecutionProvider" in onnx_file.onnxruntime().get_available_providers()


def _torch_runner(path: Path, *options: Any) -> Runner:
    """The weights in torch; raises ValueError, naming what to install, where torch is missing."""
    need_torch(path)
    from hourglass.inference.torch_runner import open_torch_runner

    return open_torch_runner(path, *options)


def torch_runner(network: "nn.Module", facts: WeightFacts, *options: Any) -> Runner:
    """A network's own module as a runner, see `torch_runner.TorchRunner`."""
    from hourglass.inference.torch_runner import TorchRunner

    return TorchRunner(network, facts, *options)
