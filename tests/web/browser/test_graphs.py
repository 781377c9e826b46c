from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
pytest.importorskip("onnxscript", reason="the extra `export` is not installed")

from dataclasses import replace

from hourglass.engines.engine import EngineError, Signature
from hourglass.engines.onnx_engine import OnnxNetwork, convert
from hourglass.inference.forward import answer_stages
from hourglass.web.browser.graphs import check, reading, slim


def run(model: bytes, stages: list[torch.Tensor]) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    named = {f"stage_{i + 1}": stage.numpy() for i, stage in enumerate(stages)}
    names = [entry.name for entry in session.get_outputs()]
    return dict(zip(names, session.run(names, named), strict=True))


@pytest.mark.parametrize(
    ("flip_test", "changes"),
    [
        (True, {"offset_hm": -0.375}),
        pytest.param(False, {"signed": True}, marks=pytest.mark.slow),
        pytest.param(True, {"decoding": "quarter"}, marks=pytest.mark.slow),
    ],
)
def test_a_reading_is_what_forward_answers(make_network: Any, flip_test: bool, changes: Any) -> None:
    network, facts = make_network()
    facts = replace(facts, **changes)
    crop = torch.randint(
        0, 256, (1, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        raw = network(torch.cat([crop, crop.flip(-1)]) if flip_test else crop)
        shapes = network(torch.zeros_like(crop))
    found = run(reading(facts, "heatmap", shapes, flip_test), raw)
    for i, answer in enumerate(answer_stages(network, crop, facts, flip_test), 1):
        assert answer.covariances is not None
        np.testing.assert_allclose(found[f"joints_{i}"], answer.keypoints[0], atol=1e-4)
        np.testing.assert_allclose(found[f"scores_{i}"], answer.scores[0], atol=1e-5)
        np.testing.assert_allclose(found[f"maps_{i}"], answer.stages[0][0], atol=1e-5)
        np.testing.assert_allclose(found[f"covariances_{i}"], answer.covariances[0], atol=1e-3)


def test_coordinates_have_no_maps(make_network: Any) -> None:
    _, facts = make_network()
    stage = torch.rand(1, 14, 2) - 0.5
    found = run(reading(facts, "coordinates", [stage], False), [stage])
    assert sorted(found) == ["joints_1", "scores_1"]
    np.testing.assert_allclose(found["joints_1"], stage[0] * 32 + 15.5, atol=1e-4)


def test_an_exported_network_is_held_to_its_own_answers(make_network: Any) -> None:
    network, facts = make_network()
    full = convert(network, 32, facts.to_json())
    small = slim(full)
    assert len(small) < len(full)
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    engine = OnnxNetwork(small, Signature(32, "heatmap", "fp32"))
    assert check(engine, network, facts, crops) < 1e-4
    with torch.no_grad():
        next(network.parameters()).mul_(1.2)
    with pytest.raises(EngineError, match=r"answers otherwise than tiny itself: up to .* apart"):
        check(engine, network, facts, crops)
