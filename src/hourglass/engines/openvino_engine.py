"""Networks that OpenVINO runs: on CPUs the quickest way, in fp32, bf16 or int8."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.core.files import CHECKSUM_KEY, NO_CHECKSUM, is_damaged, reason, with_checksum
from hourglass.engines.engine import (
    ENTRY,
    EngineError,
    Signature,
    check_calibration,
    check_crops,
    example,
    log,
    quiet,
    ready,
    said,
    signature_of,
    stage_names,
    stages_of,
)

CHUNK = 8
"""Crops that run at once: more of them leave the processor's caches, and each takes longer."""

SECTION = "model_info"
"""Of a file's rt_info, where other programs of OpenVINO's look for what a model says of itself."""


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
        self._names = _names_of(model)

    def forward(self, image: Tensor) -> list[Tensor]:
        return stages_of(self.answers(image))

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """All that the file answers with, by name."""
        check_crops(image, self.signature)
        # Our crops lie row by row already, so this copies nothing.
        crops = image.permute(0, 2, 3, 1).contiguous().numpy()
        parts = [self._run(crops[start : start + CHUNK]) for start in range(0, len(crops), CHUNK)]
        whole = [torch.from_numpy(np.concatenate(answer)) for answer in zip(*parts, strict=True)]
        return dict(zip(self._names, whole, strict=True))

    def _run(self, crops: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        answer = self._request.infer([crops], share_inputs=True)
        return [np.array(answer[row], np.float32) for row in range(len(self._names))]


def convert(network: nn.Module, input_px: int, names: Sequence[str] = ()) -> Any:
    """An `openvino.Model` of a network, for any number of crops of this side; batch-norms are folded.

    `names` are those of what the network answers with, where that is more than its stages.

    Raises EngineError where openvino is not installed or can't express the network.
    """
    openvino, network = _openvino(), ready(network)
    try:
        with quiet():
            model = openvino.convert_model(
                network, example_input=example(input_px), input=[(-1, 3, input_px, input_px)]
            )
    except RuntimeError as error:
        raise EngineError(f"OpenVINO can't express this network: {reason(error, first_line=True)}") from error
    model.inputs[0].get_tensor().set_names({"image"})
    for output, name in zip(model.outputs, names or stage_names(network, input_px), strict=True):
        output.get_tensor().set_names({name})
    return model


def quantise(model: Any, crops: npt.NDArray[np.uint8]) -> Any:
    """The model with int8 convolutions, their ranges measured on crops (N, 3, S, S) uint8.

    NNCF's post-training quantisation with the mixed preset, whose activations keep a sign: its other preset
    costs our networks half a point of PCK (docs/benchmarks.md). Takes about a minute. What decodes the
    stages keeps its numbers.

    Raises EngineError with too few crops, or where nncf is not installed.
    """
    check_calibration(len(crops))
    with quiet():
        try:
            import nncf
        except ImportError as error:
            raise EngineError(f"int8 needs nncf ({error}); pip install -e '.[export]'") from error
        nncf.set_log_level("ERROR")
        calibration = nncf.Dataset([crop[None] for crop in crops])
        preset = nncf.QuantizationPreset.MIXED
        ignored = nncf.IgnoredScope(names=_behind_the_stages(model))
        return nncf.quantize(model, calibration, preset=preset, subset_size=len(crops), ignored_scope=ignored)


def save(
    model: Any, path: Path, facts: str, signature: Signature, metadata: Mapping[str, str] | None = None
) -> None:
    """Write `path` (.xml) and its neighbour with the weights (.bin), with the facts (JSON) inside.

    The metadata goes into the section `model_info` of its rt_info. Raises EngineError for another suffix,
    OSError naming the file when it can't be written.
    """
    if path.suffix != ".xml":
        raise EngineError(f"{path}: OpenVINO's files end in .xml")
    openvino = _openvino()
    model.set_rt_info(said(facts, signature), ENTRY)
    model.set_rt_info(NO_CHECKSUM, CHECKSUM_KEY)
    for key, value in (metadata or {}).items():
        model.set_rt_info(value, [SECTION, key])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        openvino.save_model(model, written, compress_to_fp16=False)
        weights = written.with_suffix(".bin")
        written.write_bytes(with_checksum(written.read_bytes(), weights.read_bytes()))
        # The weights first: a reader finds the new pair or the old one, or is told that they don't fit.
        for part in (weights, written):
            os.replace(part, path.parent / part.name)


def read(path: Path) -> tuple[Any, str, Signature]:
    """Model, facts (JSON) and signature of a file that `save` wrote.

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    if not path.with_suffix(".bin").is_file():
        raise EngineError(f"{path.with_suffix('.bin')}, which holds the weights of {path.name}, is missing")
    if is_damaged(path.read_bytes(), path.with_suffix(".bin").read_bytes()):
        raise EngineError(
            f"{path} or its {path.stem}.bin is damaged, or was changed after it was exported, or they are no "
            "pair; export it again"
        )
    core = _openvino().Core()
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise EngineError(
            f"{path} can't be read by OpenVINO {_openvino().__version__}: damaged or newer; export it again"
        ) from error
    try:
        return model, *signature_of(model.get_rt_info(ENTRY).astype(str), path)
    except (RuntimeError, AttributeError) as error:
        raise EngineError(f"{path} is a model of another program; export one with hourglass") from error


def _names_of(model: Any) -> list[str]:
    """The name of each answer; those of a model without names are its stages."""
    found = [sorted(output.get_names()) for output in model.outputs]
    return [names[0] if names else f"stage_{i + 1}" for i, names in enumerate(found)]


def _behind_the_stages(model: Any) -> list[str]:
    """Names of the nodes that no stage depends on: those that decode."""
    needed: set[str] = set()
    stages = zip(model.get_results(), _names_of(model), strict=True)
    waiting = [node for node, name in stages if name.startswith("stage_")]
    while waiting:
        node = waiting.pop()
        if node.get_friendly_name() not in needed:
            needed.add(node.get_friendly_name())
            waiting += [source.get_source_output().get_node() for source in node.inputs()]
    kinds = ("Result", "Parameter", "Constant")
    return [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_friendly_name() not in needed and node.get_type_name() not in kinds
    ]


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
        raise EngineError(f"OpenVINO is missing ({error}); pip install -e '.[export]'") from error
    return openvino
