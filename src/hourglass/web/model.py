"""What the page, and whoever else asks, is told of the network."""

from typing import Any

from hourglass.weights.checkpoint import WeightFacts


def model_json(facts: WeightFacts, heatmaps: bool, stages: int) -> dict[str, Any]:
    """The network's facts for JSON; `heatmaps` is false for one that answers with coordinates."""
    return {
        "name": facts.name,
        "input_px": facts.input_px,
        "stages": stages,
        "heatmaps": heatmaps,
        "skeleton": facts.skeleton.to_dict(),
        "box_margin": facts.box_margin,
        "data": facts.data,
        "licence": facts.licence,
        "metrics": dict(facts.metrics),
    }
