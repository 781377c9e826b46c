"""A network, and the reading of its answers, as ONNX graphs that a browser runs.

The reading is traced from `inference.forward`, so that a browser decodes heatmaps as Python does.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hourglass.engines.engine import EngineError
from hourglass.engines.onnx_engine import OnnxNetwork, traced
from hourglass.inference.forward import merge_views, read_stage, run_stages
from hourglass.weights.checkpoint import WeightFacts

TOLERANCE = 1e-3
"""The largest difference of an exported answer from the network's own, as a share of the highest peak."""


class _Reading(nn.Module):
    """Of each stage's raw answer to the views of one crop, in order, joints, scores, maps and covariances."""

    def __init__(self, facts: WeightFacts, output: str, flip_test: bool) -> None:
        super().__init__()
        self.facts, self.output, self.flip_test = facts, output, flip_test

    def forward(self, *raw: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for stage in raw:
            merged = merge_views(stage, self.output, self.facts, self.flip_test)
            answer = read_stage(merged, self.facts, self.facts.input_px)
            found += [answer.keypoints[0], answer.scores[0]]
            if answer.covariances is not None:
                found += [merged[0], answer.covariances[0]]
        return tuple(found)


def reading(facts: WeightFacts, output: str, stages: Sequence[Tensor], flip_test: bool) -> bytes:
    """An ONNX file from a network's `stage_1` ... to `joints_1`, `scores_1`, `maps_1`, `covariances_1` ...

    The stages are those of one crop, with a flip test of it and its mirror image; joints (J, 2) and
    covariances (J, 2, 2) are in crop pixels. A network of coordinates has neither maps nor covariances.
    Raises EngineError where the exporter's packages are missing.

    Args:
        output: of the network, as its module says.
        stages: what the network answers to any crop, for its shapes.
    """
    views = 2 if flip_test else 1
    raw = tuple(torch.zeros(views, *stage.shape[1:]) for stage in stages)
    kinds = ("joints", "scores", *(("maps", "covariances") if raw[0].ndim == 4 else ()))
    proto = traced(
        _Reading(facts, output, flip_test).eval(),
        raw,
        [f"stage_{i + 1}" for i in range(len(raw))],
        [f"{kind}_{i + 1}" for i in range(len(raw)) for kind in kinds],
        "the decoding",
    )
    return slim(bytes(proto.SerializeToString()))


def slim(model: bytes) -> bytes:
    """The same ONNX file without the exporter's notes, which make up most of a small one."""
    import onnx

    proto = onnx.load_model_from_string(model)
    for field in ("value_info", "metadata_props"):
        proto.graph.ClearField(field)
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    return bytes(proto.SerializeToString())


def check(model: OnnxNetwork, network: nn.Module, facts: WeightFacts, crops: npt.NDArray[np.uint8]) -> float:
    """How far an exported network's answers are from its own, as a share of the highest peak.

    Args:
        crops: (B, S, S, 3) uint8 to compare on.

    Raises EngineError above `TOLERANCE`.
    """
    batch = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        ours = run_stages(network, batch, facts, False, torch.float32)
        theirs = run_stages(model, batch, facts, False, torch.float32)
    pairs = list(zip(ours, theirs, strict=True))
    apart = max(float((a - b).abs().max() / a.abs().max().clamp_min(1e-6)) for a, b in pairs)
    if not apart <= TOLERANCE:
        raise EngineError(
            f"the exported network answers otherwise than {facts.name} itself: up to {apart:.1%} of its "
            f"highest peak apart, where {TOLERANCE:.1%} is allowed"
        )
    return apart
