"""What runs a network: torch, ONNX Runtime or OpenVINO, in which precision, with how many stacks."""

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hourglass.engines.engine import EngineError, Signature
from hourglass.engines.onnx_engine import OnnxNetwork
from hourglass.engines.onnx_engine import convert as to_onnx
from hourglass.engines.openvino_engine import OpenVinoNetwork, quantise
from hourglass.engines.openvino_engine import convert as to_openvino
from hourglass.engines.torch_export_engine import TorchExportNetwork
from hourglass.inference.device import choose_precision
from hourglass.models.anytime import FirstStacks, staged
from hourglass.models.folding import fold_batch_norms
from hourglass.weights.checkpoint import WeightFacts

Backend = Literal["auto", "torch", "onnxruntime", "openvino"]

Stacks = int | Literal["auto"] | None
"""Of a stacked network: the first so many, all of them (None), or as many as each crop needs."""

_ALL_STACKS = "an exported file answers with all of its stacks: export one with fewer (--stacks)"


def make_runnable(
    network: nn.Module,
    facts: WeightFacts,
    device: torch.device,
    backend: str = "auto",
    precision: str = "auto",
    stacks: Stacks = None,
    calibration: npt.NDArray[np.uint8] | None = None,
) -> tuple[nn.Module, torch.dtype]:
    """The module that answers crops, and the precision in which torch is to run it.

    Args:
        network: in evaluation mode; or an engine, as an exported file is loaded.
        backend: `auto` is torch for weights, and an exported file's own engine for that.
        precision: `auto`, `fp32`, `bf16`, or with OpenVINO `int8`. `auto` is bf16 where it is quick.
        calibration: crops (N, 3, S, S) uint8 that int8 measures its ranges on.

    Raises ValueError, naming the option, for what can't be had.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"the backend {backend!r} is not one of {', '.join(get_args(Backend))}")
    engine = _engine_of(network)
    if isinstance(network, TorchExportNetwork):
        if stacks is not None:
            raise ValueError(_ALL_STACKS)
        if backend not in ("auto", "torch"):
            raise ValueError(f"this file was exported for torch; the backend {backend!r} needs the weights")
        return network, choose_precision(precision, device)
    if engine != "torch":
        return _loaded(network, engine, device, backend, precision, stacks), torch.float32
    if precision == "int8" and backend != "openvino":
        choose_precision(precision, device)
    if stacks == "auto":
        staged(network)
        if backend not in ("auto", "torch"):
            raise ValueError(f"stacks='auto' needs backend='torch': {backend} runs a network as one piece")
    folded = fold_batch_norms(network.eval())
    if isinstance(stacks, int):
        folded = FirstStacks(folded, stacks).eval()
    if backend in ("auto", "torch"):
        return folded, choose_precision(precision, device)
    _check_cpu(device, backend)
    size, output = facts.input_px, str(network.output)
    if backend == "onnxruntime":
        if precision not in ("auto", "fp32"):
            raise ValueError(f"ONNX Runtime computes in fp32 here, not in {precision}")
        return OnnxNetwork(to_onnx(folded, size, facts.to_json(), output), Signature(size, output, "fp32")), (
            torch.float32
        )
    if precision == "int8" and calibration is None:
        raise ValueError(
            "int8 needs pictures to measure its ranges on: give calibration crops (--calibration FOLDER)"
        )
    model, numbers = to_openvino(folded, size), "fp32"
    if precision == "int8":
        assert calibration is not None
        model, numbers = quantise(model, calibration), "int8"
    rest = _openvino_precision(precision, device)
    return OpenVinoNetwork(model, Signature(size, output, numbers), rest), torch.float32


def _engine_of(network: nn.Module) -> str:
    if isinstance(network, OpenVinoNetwork):
        return "openvino"
    return "onnxruntime" if isinstance(network, OnnxNetwork) else "torch"


def _loaded(
    network: nn.Module, engine: str, device: torch.device, backend: str, precision: str, stacks: Stacks
) -> nn.Module:
    """An exported file's network, in the precision asked for."""
    if backend not in ("auto", engine):
        raise ValueError(f"this file was exported for {engine}; the backend {backend!r} needs the weights")
    if stacks is not None:
        raise ValueError(_ALL_STACKS)
    _check_cpu(device, engine)
    if isinstance(network, OpenVinoNetwork):
        if precision == "int8" and network.signature.precision != "int8":
            raise EngineError("this file holds fp32 numbers, not int8: export one with --int8")
        return OpenVinoNetwork(network.model, network.signature, _openvino_precision(precision, device))
    if precision not in ("auto", "fp32"):
        raise ValueError(f"ONNX Runtime computes in fp32 here, not in {precision}")
    return network


def _openvino_precision(precision: str, device: torch.device) -> str:
    """What OpenVINO computes in wherever the numbers are not int8."""
    chosen = choose_precision("auto" if precision == "int8" else precision, device)
    return "bf16" if chosen == torch.bfloat16 else "fp32"


def _check_cpu(device: torch.device, backend: str) -> None:
    if device.type != "cpu":
        raise ValueError(f"the backend {backend} runs on the CPU here, not on {device}: use --device cpu")
