"""Weights as a file for ONNX Runtime, OpenVINO or torch alone, which may read its own heatmaps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.engines import onnx_engine, openvino_engine, torch_export_engine
from hourglass.engines.engine import EngineError, Signature, example
from hourglass.export.metadata import describe
from hourglass.inference.forward import merge_views, read_stage
from hourglass.models.anytime import FirstStacks
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.weights.checkpoint import WeightFacts

Target = Literal["onnx", "openvino", "torch-export"]
TARGETS: tuple[Target, ...] = get_args(Target)
SUFFIXES: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}

Crops = npt.NDArray[np.uint8]
Say = Callable[[str], None]


def write(
    network: nn.Module,
    facts: WeightFacts,
    to: Target,
    path: Path,
    *,
    calibration: Crops | None = None,
    decode_in_graph: bool = False,
    say: Say = lambda _: None,
) -> None:
    """Write a network as a file that takes crops (batch, 3, S, S) uint8, any number of them.

    Args:
        network: in evaluation mode, as `load_network` gives it for weights; `first_stacks` for fewer stacks.
        facts: of the file; they and their plain texts (`metadata.describe`) go into it.
        path: ends as `SUFFIXES` says; OpenVINO's .bin goes beside it. A file there is written over.
        calibration: crops (N, 3, S, S) uint8 to measure int8's ranges on; None writes fp32.
        decode_in_graph: let the file answer with `keypoints` (batch, J, 2) in the crop's pixels and `scores`
            (batch, J) before its stages.
        say: is told what is being done.

    Raises EngineError for a network, target or precision that don't go together and for packages that are
    missing, OSError naming the file when it can't be written.
    """
    check_target(to, path, calibration is not None)
    check_plain(network)
    with torch.inference_mode():
        stages = network(example(facts.input_px))
    output = str(network.output)
    names = tuple(f"stage_{i + 1}" for i in range(len(stages)))
    if decode_in_graph:
        network, names = Decoded(network, facts).eval(), (*DECODED_NAMES, *names)
    signature = Signature(facts.input_px, output, "fp32")
    precision = "fp32" if calibration is None else "int8"
    entries = describe(facts, output, stages, precision, decode_in_graph)
    text = facts.to_json()
    say(f"converting {facts.name} for {to}")
    if to == "torch-export":
        program = torch_export_engine.convert(network, facts.input_px, names)
        torch_export_engine.save(program, path, names, text, signature, entries)
    elif to == "onnx":
        model = onnx_engine.convert(network, facts.input_px, text, output, names, entries)
        if calibration is not None:
            say(f"measuring the ranges of int8 on {len(calibration)} people, about a minute")
            model = onnx_engine.quantise(model, calibration, text, signature, entries)
        onnx_engine.save(model, path)
    else:
        converted = openvino_engine.convert(network, facts.input_px, names)
        if calibration is not None:
            say(f"measuring the ranges of int8 on {len(calibration)} people, about a minute")
            converted = openvino_engine.quantise(converted, calibration)
        openvino_engine.save(converted, path, text, replace(signature, precision=precision), entries)


def check_target(to: Target, path: Path, int8: bool) -> None:
    """Raise EngineError, before any work, for a target or a file name that can't be."""
    if to not in TARGETS:
        raise EngineError(f"{to!r} is not one of {', '.join(TARGETS)}")
    suffix = SUFFIXES[to]
    if path.suffix != suffix:
        raise EngineError(f"{path}: a file for {to} ends in {suffix}")
    if int8 and to == "torch-export":
        raise EngineError("torch has no quick int8 for these networks: use int8 with openvino or onnx")


def check_plain(network: nn.Module) -> None:
    """Raise EngineError for a network that is an exported file already."""
    if hasattr(network, "signature"):
        raise EngineError("this is an exported file already: export from the weights that it came from")


def first_stacks(network: nn.Module, facts: WeightFacts, count: int | None) -> tuple[nn.Module, WeightFacts]:
    """The first so many stacks, and the facts of that; None keeps all. Raises ValueError where it has fewer.

    What was measured with all stacks (scores, confidences) is left out.
    """
    if count is None:
        return network, facts
    part, recipe = FirstStacks(network, count).eval(), facts.network
    if recipe.build in ("eccv", "workshop", "mssh", "cornernet"):
        strides: tuple[int, ...] = ()
        if isinstance(network, MultiScaleStackedHourglass):
            strides = tuple(network.strides[:count])
        recipe = replace(recipe, stacks=count, strides=strides)
    return part, replace(facts, network=recipe, metrics={}, calibration=None)


DECODED_NAMES = ("keypoints", "scores")
"""What the answers before the stages are called in an exported file."""


class Decoded(nn.Module):
    """Crops (B, 3, S, S) uint8 to joints (B, J, 2) in the crop's pixels, scores (B, J), and every stage.

    The joints are read as `inference.forward` reads them: with the weights' own decoding, offset and signs.
    """

    def __init__(self, network: nn.Module, facts: WeightFacts) -> None:
        super().__init__()
        self.network, self.facts, self.output = network, facts, str(network.output)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        stages: list[Tensor] = self.network(image)
        last = merge_views(stages[-1], self.output, self.facts, flip_test=False)
        answer = read_stage(last, self.facts, image.shape[-1])
        return answer.keypoints, answer.scores, *stages
