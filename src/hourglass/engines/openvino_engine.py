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

from hourglass.core.extras import missing
from hourglass.core.files import CHECKSUM_KEY, NO_CHECKSUM, reason, with_checksum
from hourglass.engines.engine import (
    check_calibration,
    check_crops,
    example,
    log,
    quiet,
    ready,
    stage_names,
    stages_of,
)
from hourglass.engines.entry import ENTRY, EngineError, Signature, said
from hourglass.engines.openvino_file import Compiled, names_of, openvino

SECTION = "model_info"
"""Of a file's rt_info, where other programs of OpenVINO's look for what a model says of itself."""


class OpenVinoNetwork(nn.Module):
    """Crops (B, 3, S, S) uint8 on the CPU to what the network answered, as its own `forward` does.

    Args:
        model: an `openvino.Model`, as `convert`, `quantise` and `openvino_file.read` give it.
        signature: of the network.
        precision: `fp32` or `bf16`, for whatever in the model is not int8.
        threads: 0 for as many as torch uses.
    """

    own_threads = True
    """They run beside torch's; see `inference.forward`."""

    def __init__(self, model: Any, signature: Signature, precision: str = "fp32", threads: int = 0) -> None:
        super().__init__()
        self.model, self.signature, self.output = model, signature, signature.output
        self._run = Compiled(model, precision, threads or torch.get_num_threads())
        self.precision = self._run.precision
        if precision == "bf16" and self.precision != "bf16":
            log.warning("this processor has no bf16; OpenVINO computes in fp32")

    def forward(self, image: Tensor) -> list[Tensor]:
        return stages_of(self.answers(image))

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """All that the file answers with, by name, without a flip test."""
        check_crops(image, self.signature)
        found = self._run(image.contiguous().numpy())
        return {name: torch.from_numpy(part) for name, part in found.items()}


def convert(network: nn.Module, input_px: int, names: Sequence[str] = ()) -> Any:
    """An `openvino.Model` of a network, for any number of crops of this side; batch-norms are folded.

    `names` are those of what the network answers with, where that is more than its stages.

    Raises EngineError where openvino is not installed or can't express the network.
    """
    module, network = openvino(), ready(network)
    try:
        with quiet():
            model = module.convert_model(
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
            raise EngineError(missing("int8", "export", error)) from error
        nncf.set_log_level("ERROR")
        flips = {"flip_test": np.array(False)} if len(model.inputs) > 1 else {}
        calibration = nncf.Dataset([{"image": crop[None], **flips} for crop in crops])
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
    model.set_rt_info(said(facts, signature), ENTRY)
    model.set_rt_info(NO_CHECKSUM, CHECKSUM_KEY)
    for key, value in (metadata or {}).items():
        model.set_rt_info(value, [SECTION, key])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        openvino().save_model(model, written, compress_to_fp16=False)
        weights = written.with_suffix(".bin")
        written.write_bytes(with_checksum(written.read_bytes(), weights.read_bytes()))
        # The weights first: a reader finds the new pair or the old one, or is told that they don't fit.
        for part in (weights, written):
            os.replace(part, path.parent / part.name)


def _behind_the_stages(model: Any) -> list[str]:
    """Names of the nodes that no stage depends on: those that decode."""
    needed: set[str] = set()
    stages = zip(model.get_results(), names_of(model), strict=True)
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
