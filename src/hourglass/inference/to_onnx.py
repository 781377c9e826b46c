"""A network, its flip test and the reading of its answers, traced into one ONNX file.

What is traced is `inference.forward`, so that Python without torch, a server and a browser decode heatmaps as
evaluation does. The file's inputs and outputs: `engines.onnx_file`.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hourglass.engines.engine import ready
from hourglass.engines.entry import Signature
from hourglass.engines.onnx_engine import finished, halved, traced
from hourglass.inference.forward import CropAnswer, merge_views, mirrored_back, read_stage
from hourglass.weights.calibration import CLIP, Calibration
from hourglass.weights.facts import WeightFacts


def to_onnx(
    network: nn.Module, facts: WeightFacts, metadata: Mapping[str, str] | None = None, half: bool = False
) -> tuple[bytes, Signature]:
    """The bytes of an ONNX file that answers as `forward.answer_crops` does, and its signature.

    Args:
        network: in evaluation mode, as `load_network` gives it for weights; it takes about a minute.
        metadata: further entries; `doc_string` goes to the model's own.
        half: store large tensors as fp16; the file computes in fp32 all the same.

    Raises EngineError where the exporter's packages are missing, it can't express the network, or fp16
    doesn't reach its numbers.
    """
    whole = _Answers(ready(network), facts).eval()
    image = torch.zeros(3, 3, facts.input_px, facts.input_px, dtype=torch.uint8)
    with torch.inference_mode():
        stages = len(whole.network(image))
    shapes: tuple[dict[int, Any], ...] = ({0: torch.export.Dim("batch", min=1)}, {})
    proto = traced(
        whole,
        (image, torch.tensor(True)),
        ["image", "flip_test"],
        whole.names(stages),
        "this network",
        shapes,
    )
    if half:
        halved(proto)
    output = "coordinates" if whole.coordinates else "heatmap"
    signature = Signature(facts.input_px, output, "fp16" if half else "fp32")
    return finished(proto, facts.to_json(), signature, metadata or {}), signature


class _Answers(nn.Module):
    """Crops (B, 3, S, S) uint8 and whether to look at their mirror images to all that `names` tells."""

    def __init__(self, network: nn.Module, facts: WeightFacts) -> None:
        super().__init__()
        self.network, self.facts, self.output = network, facts, str(network.output)
        self.coordinates = self.output == "coordinates"

    def names(self, stages: int) -> list[str]:
        """What the answers are called, for a network of so many stages."""
        found = ["keypoints", "scores"]
        if not self.coordinates:
            found.append("covariances")
        if self.facts.calibration is not None:
            found.append("confidences")
        found += [f"stage_{i + 1}" for i in range(stages)]
        return found + [f"{what}_{i + 1}" for i in range(stages - 1) for what in ("keypoints", "scores")]

    def forward(self, image: Tensor, flip_test: Tensor) -> tuple[Tensor, ...]:
        crops = image.shape[0]
        # As many mirror images as crops, or none: known only when the file runs.
        mirrored: Any = (flip_test.long() * crops).item()
        torch._check(mirrored >= 0)  # type: ignore[no-untyped-call]
        torch._check(mirrored <= crops)  # type: ignore[no-untyped-call]
        views = torch.cat([image, image.flip(-1).narrow(0, 0, mirrored)])
        stages = [self._merged(raw, crops, mirrored, flip_test) for raw in self.network(views)]
        answers = [read_stage(stage, self.facts, image.shape[-1]) for stage in stages]
        last = answers[-1]
        earlier = [part for answer in answers[:-1] for part in (answer.keypoints, answer.scores)]
        return (*self._answer(last), *stages, *earlier)

    def _merged(self, raw: Tensor, crops: int, mirrored: int, flip_test: Tensor) -> Tensor:
        """One stage as `forward.merge_views` gives it, whether or not there are mirror images."""
        stage = merge_views(raw, self.output, self.facts, flip_test=False)
        # Without mirror images each crop takes their place: the mean of twice the same is that, exactly.
        rows = torch.arange(crops, device=raw.device) + mirrored
        other = stage.index_select(0, rows)
        other = torch.where(flip_test, mirrored_back(other, self.output, self.facts), other)
        return (stage[:crops] + other) / 2

    def _answer(self, last: CropAnswer) -> list[Tensor]:
        found = [last.keypoints, last.scores]
        if last.covariances is not None:
            found.append(last.covariances)
        if self.facts.calibration is not None:
            found.append(_confidences(last.scores, self.facts.calibration))
        return found


def _confidences(scores: Tensor, calibration: Calibration) -> Tensor:
    """`Calibration.__call__`, for tracing."""
    p = scores.clamp(CLIP, 1 - CLIP)
    temperatures = torch.tensor(calibration.temperatures, dtype=torch.float32)
    offsets = torch.tensor(calibration.offsets, dtype=torch.float32)
    return torch.sigmoid((p.log() - (-p).log1p()) / temperatures + offsets)
