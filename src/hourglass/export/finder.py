"""A people finder as an ONNX file: a picture's view in, its maps out, which are read in numpy."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from hourglass.engines import onnx_engine
from hourglass.engines.engine import example
from hourglass.engines.entry import EngineError, Signature
from hourglass.export.metadata import describe
from hourglass.export.parity import FP16, FP32
from hourglass.export.write import Say, check_plain
from hourglass.inference.detection.centers import whole_view
from hourglass.synthetic.render import render
from hourglass.weights.facts import WeightFacts

PICTURES = 12
"""Rendered ones, on which the file is held to torch."""
_SEED = 2_600_000


def export_finder(
    network: nn.Module,
    facts: WeightFacts,
    out: Path,
    *,
    half: bool = False,
    made_from: str = "",
    say: Say = lambda _: None,
) -> float:
    """Write a finder's file, and return how far its maps are from torch's, as a share of their norm.

    Args:
        half: store large tensors as fp16.
        made_from: sha256 of the weight file.

    Raises EngineError, and writes nothing, for a file that answers otherwise than torch, or another suffix.
    """
    if out.suffix != ".onnx":
        raise EngineError(f"{out}: a people finder is written as an ONNX file, which ends in .onnx")
    check_plain(network)
    say(f"converting {facts.name} for onnx")
    output = str(network.output)
    with torch.inference_mode():
        stages = network(example(facts.input_px))
    entries = describe(facts, output, stages, "fp16" if half else "fp32", False, made_from=made_from)
    model = onnx_engine.convert(network, facts.input_px, facts.to_json(), output, metadata=entries, half=half)
    say(f"comparing it with torch on {PICTURES} rendered pictures")
    apart = _apart(model, network, facts)
    allowed = (FP16 if half else FP32).heatmaps
    assert allowed is not None
    if not apart <= allowed:
        raise EngineError(
            f"{out} is not kept: its maps differ by {apart:.1e} of their norm, over {allowed:g}"
        )
    onnx_engine.save(model, out)
    return apart


@torch.inference_mode()
def _apart(model: bytes, network: nn.Module, facts: WeightFacts) -> float:
    """The worst picture's difference of the last stage."""
    engine = onnx_engine.OnnxNetwork(model, Signature(facts.input_px, str(network.output), "fp32"))
    worst = 0.0
    for number in range(PICTURES):
        scene = render(_SEED + number, height=240, width=320)
        view, _ = whole_view(scene.image, facts.input_px)
        crop = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)[None]))
        ours, theirs = network(crop)[-1], engine(crop)[-1]
        worst = max(worst, float((theirs - ours).norm() / ours.norm().clamp_min(1e-6)))
    return worst
