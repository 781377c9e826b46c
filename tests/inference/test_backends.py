"""Which module runs a network: the options that go together, and the sentences for those that don't."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hourglass.core.skeleton import LSP14
from hourglass.inference.backends import make_runnable
from hourglass.inference.predictor import Predictor
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts
from plain_layers import live_statistics

CPU = torch.device("cpu")
FACTS = WeightFacts("small", NetworkRecipe(stacks=2), LSP14, 64, (0.0,) * 3, (1.0,) * 3)


def network() -> StackedHourglass:
    torch.manual_seed(5)
    made = StackedHourglass(14, 2, 16, 2).eval()
    live_statistics(made)
    return made


def photo() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_every_backend_gives_the_same_pose(backend: str) -> None:
    if backend != "torch":
        pytest.importorskip(backend, reason=f"{backend} is not installed")
    if backend == "onnxruntime":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    boxes = [(10, 10, 60, 70), (40, 5, 70, 80)]
    plain = Predictor(network(), FACTS, "cpu", "fp32")
    other = Predictor(network(), FACTS, "cpu", "fp32", backend=backend)  # type: ignore[arg-type]
    for ours, theirs in zip(other(photo(), boxes), plain(photo(), boxes), strict=True):
        assert np.abs(ours.keypoints - theirs.keypoints).max() < 0.05
        assert np.abs(ours.scores - theirs.scores).max() < 1e-4


def test_fewer_stacks_are_the_earlier_stages_answer() -> None:
    whole = Predictor(network(), FACTS, "cpu", "fp32")(photo(), [5, 5, 60, 60], keep_heatmaps=True)[0]
    one = Predictor(network(), FACTS, "cpu", "fp32", stacks=1)(photo(), [5, 5, 60, 60], keep_heatmaps=True)[0]
    assert whole.heatmaps is not None
    assert one.heatmaps is not None
    assert len(one.heatmaps) == 1
    np.testing.assert_allclose(one.heatmaps[0], whole.heatmaps[0], atol=1e-5)
    assert not np.allclose(one.keypoints, whole.keypoints)


def test_as_many_stacks_as_needed_answers_for_every_person() -> None:
    predictor = Predictor(network(), FACTS, "cpu", "fp32", stacks="auto")
    poses = predictor([photo(), photo()], [[(5, 5, 60, 60)], [(1, 1, 80, 80), (20, 10, 60, 60)]])
    assert [len(people) for people in poses] == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"backend": "tensorrt"}, "the backend 'tensorrt' is not one of auto, torch, onnxruntime, openvino"),
        ({"precision": "int8"}, "int8 needs backend='openvino'"),
        ({"precision": "int8", "backend": "onnxruntime"}, "int8 needs backend='openvino'"),
        ({"precision": "int8", "backend": "openvino"}, "int8 needs pictures to measure its ranges on"),
        ({"precision": "bf16", "backend": "onnxruntime"}, "ONNX Runtime computes in fp32 here, not in bf16"),
        ({"stacks": 3}, "stacks=3 is not possible: this network has 2, so give 1 to 2"),
        ({"stacks": "auto", "backend": "openvino"}, "stacks='auto' needs backend='torch'"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_runnable(network(), FACTS, CPU, **options)  # type: ignore[arg-type]


def test_engines_run_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="the backend openvino runs on the CPU here, not on cuda"):
        make_runnable(network(), FACTS, torch.device("cuda"), "openvino")


def test_an_exported_file_keeps_to_what_it_was_made_for(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    from hourglass.engines.engine import Signature
    from hourglass.engines.openvino_engine import convert, save

    path = tmp_path / "small.xml"
    save(convert(network(), 64), path, FACTS.to_json(), Signature(64, "heatmap", "fp32"))
    pose = Predictor.from_pretrained(path, "cpu", "fp32")(photo(), [5, 5, 60, 60])[0]
    plain = Predictor(network(), FACTS, "cpu", "fp32")(photo(), [5, 5, 60, 60])[0]
    np.testing.assert_allclose(pose.keypoints, plain.keypoints, atol=0.05)
    with pytest.raises(ValueError, match="exported for openvino; the backend 'torch' needs the weights"):
        Predictor.from_pretrained(path, "cpu", backend="torch")
    with pytest.raises(ValueError, match="answers with all of its stacks"):
        Predictor.from_pretrained(path, "cpu", stacks=1)
    with pytest.raises(ValueError, match="holds fp32 numbers, not int8"):
        Predictor.from_pretrained(path, "cpu", "int8")
