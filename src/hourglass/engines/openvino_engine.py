"""Networks that OpenVINO runs: on CPUs the quickest way, in fp32, bf16 or int8."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.engines.engine import FORMAT, EngineError, Signature, example, log, quiet, ready

CHUNK = 8
"""Crops that run at once: more of them leave the processor's caches, and each takes longer."""

FEWEST_CROPS = 16
"""Below so many the ranges of int8 would be those of a few people."""


class OpenVinoNetwork(nn.Module):
    """Crops (B, 3, S, S) uint8 on the CPU to what the network answered, as its own `forward` does.

    Args:
        model: an `openvino.Model`, as `convert`, `quantise` and `read` give it.
        signature: of the network.
        precision: `fp32` or `bf16`, for whatever in the model is not int8.
        threads: 0 for as many as torch uses.
    """

    own_threads = True
    """They run beside torch's; see `inference.forward`."""

    def __init__(self, model: Any, signature: Signature, precision: str = "fp32", threads: int = 0) -> None:
        super().__init__()
        core = _openvino().Core()
        self.model, self.signature, self.output = model, signature, signature.output
        able = "BF16" in _capabilities(core)
        if precision == "bf16" and not able:
            log.warning("this processor has no bf16; OpenVINO computes in fp32")
        self.precision = precision if able else "fp32"
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bf16" else "f32",
            # One request that uses every core; the other hint gives each core a crop of its own.
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or torch.get_num_threads(),
        }
        self._request = core.compile_model(_by_rows(model), "CPU", hints).create_infer_request()
        self._stages = len(model.outputs)

    def forward(self, image: Tensor) -> list[Tensor]:
        check_crops(image, self.signature)
        # Our crops lie row by row already, so this copies nothing.
        crops = image.permute(0, 2, 3, 1).contiguous().numpy()
        parts = [self._run(crops[start : start + CHUNK]) for start in range(0, len(crops), CHUNK)]
        return [torch.from_numpy(np.concatenate(stage)) for stage in zip(*parts, strict=True)]

    def _run(self, crops: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        answer = self._request.infer([crops], share_inputs=True)
        return [np.array(answer[stage], np.float32) for stage in range(self._stages)]


def check_crops(image: Tensor, signature: Signature) -> None:
    """Raise EngineError unless the crops are what an engine of this signature takes."""
    side = signature.input_px
    if image.dtype != torch.uint8 or image.device.type != "cpu" or image.shape[1:] != (3, side, side):
        raise EngineError(
            f"this engine takes uint8 crops of 3 x {side} x {side} on the CPU, not {image.dtype} of "
            f"{tuple(image.shape[1:])} on {image.device.type}; export one for this size"
        )


def convert(network: nn.Module, input_px: int) -> Any:
    """An `openvino.Model` of a network, for any number of crops of this side; batch-norms are folded.

    Raises EngineError where openvino is not installed or can't express the network.
    """
    openvino = _openvino()
    try:
        with quiet():
            model = openvino.convert_model(
                ready(network), example_input=example(input_px), input=[(-1, 3, input_px, input_px)]
            )
    except RuntimeError as error:
        raise EngineError(f"OpenVINO can't express this network: {str(error).splitlines()[0]}") from error
    return model


def quantise(model: Any, crops: npt.NDArray[np.uint8]) -> Any:
    """The model with int8 convolutions, their ranges measured on crops (N, 3, S, S) uint8.

    NNCF's post-training quantisation with the mixed preset, whose activations keep a sign: its other preset
    costs our networks half a point of PCK (docs/benchmarks.md). Takes about a minute.

    Raises EngineError with too few crops, or where nncf is not installed.
    """
    if len(crops) < FEWEST_CROPS:
        raise EngineError(
            f"int8 needs crops of at least {FEWEST_CROPS} people to measure its ranges on, not {len(crops)}; "
            "a few hundred are better"
        )
    with quiet():
        try:
            import nncf
        except ImportError as error:
            raise EngineError(f"int8 needs nncf ({error}); pip install 'hourglass-pose[export]'") from error
        nncf.set_log_level("ERROR")
        calibration = nncf.Dataset([crop[None] for crop in crops])
        preset = nncf.QuantizationPreset.MIXED
        return nncf.quantize(model, calibration, preset=preset, subset_size=len(crops))


def save(model: Any, path: Path, facts: str, signature: Signature) -> None:
    """Write `path` (.xml) and its neighbour with the weights (.bin), with the facts (JSON) inside.

    Raises EngineError for another suffix, OSError naming the file when it can't be written.
    """
    if path.suffix != ".xml":
        raise EngineError(f"{path}: OpenVINO's files end in .xml")
    openvino = _openvino()
    model.set_rt_info(json.dumps({"format": FORMAT, "facts": facts, **asdict(signature)}), "hourglass")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        openvino.save_model(model, written, compress_to_fp16=False)
        # The weights first: a reader finds the new pair or the old one, or is told that they don't fit.
        for part in (written.with_suffix(".bin"), written):
            shutil.move(part, path.parent / part.name)


def read(path: Path) -> tuple[Any, str, Signature]:
    """Model, facts (JSON) and signature of a file that `save` wrote.

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    if not path.with_suffix(".bin").is_file():
        raise EngineError(f"{path.with_suffix('.bin')}, which holds the weights of {path.name}, is missing")
    core = _openvino().Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise EngineError(
            f"{path} can't be read by OpenVINO {_openvino().__version__}: damaged or newer; export it again"
        ) from error
    try:
        return model, *signature_of(model.get_rt_info("hourglass").astype(str), path)
    except (RuntimeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error


def signature_of(text: str, path: Path) -> tuple[str, Signature]:
    """Facts (JSON) and signature out of the JSON in an engine's file; raises EngineError naming it."""
    try:
        raw = json.loads(text)
        written = raw.pop("format")
        facts = str(raw.pop("facts"))
        if written == FORMAT:
            return facts, Signature(**raw)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error
    raise EngineError(f"{path} is an engine of the format {written!r}; this version reads {FORMAT!r}")


def _by_rows(model: Any) -> Any:
    """The same model for crops (B, S, S, 3): the layout of a decoded picture."""
    preprocess = _openvino().preprocess
    layout = _openvino().Layout
    steps = preprocess.PrePostProcessor(model.clone())
    steps.input().tensor().set_layout(layout("NHWC"))
    steps.input().model().set_layout(layout("NCHW"))
    return steps.build()


def _capabilities(core: Any) -> list[str]:
    return list(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineError(f"OpenVINO is missing ({error}); pip install 'hourglass-pose[export]'") from error
    return openvino
