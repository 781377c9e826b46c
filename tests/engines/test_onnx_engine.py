"""ONNX Runtime's answers against torch's own, and files that can't be used."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hourglass.engines import onnx_engine as engine
from hourglass.engines.engine import EngineError, Signature
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import load_network

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

Apart = Callable[[list[Tensor], list[Tensor]], float]
SIGNATURE = Signature(64, "heatmap", "fp32")


@pytest.fixture(scope="module")
def model(network: StackedHourglass, facts: WeightFacts) -> bytes:
    return engine.convert(network, 64, facts.to_json())


@pytest.mark.parametrize("count", [1, 2, 21])
@torch.inference_mode()
def test_it_answers_as_torch_does(
    network: StackedHourglass, model: bytes, crops: Tensor, relative: Apart, count: int
) -> None:
    runner = engine.OnnxNetwork(model, SIGNATURE)
    assert relative(runner(crops[:count]), network(crops[:count])) < 1e-5


def test_the_file_is_valid_and_says_what_goes_in_and_out(model: bytes) -> None:
    proto = onnx.load_from_string(model)
    onnx.checker.check_model(proto, full_check=True)
    assert [entry.name for entry in proto.graph.input] == ["image"]
    assert [entry.name for entry in proto.graph.output] == ["stage_1", "stage_2"]
    batch, *rest = proto.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param == "batch"
    assert [side.dim_value for side in rest] == [3, 64, 64]


@torch.inference_mode()
def test_a_file_keeps_network_facts_and_signature(
    network: StackedHourglass,
    model: bytes,
    facts: WeightFacts,
    crops: Tensor,
    relative: Apart,
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(model)
    loaded, known = load_network(path)
    assert known == facts
    assert relative(loaded(crops[:2]), network(crops[:2])) < 1e-5


def test_files_that_are_none(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    with pytest.raises(EngineError, match="there is no engine file"):
        engine.read(path)
    for content in (b"", b"no onnx at all", model[: len(model) // 2]):
        path.write_bytes(content)
        with pytest.raises(EngineError, match=r"small\.onnx can't be read by ONNX Runtime"):
            load_network(path)
    proto = onnx.load_from_string(model)
    del proto.metadata_props[:]
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(EngineError, match="a model of another program"):
        load_network(path)


@torch.inference_mode()
def test_damage_is_one_sentence(model: bytes, facts: WeightFacts, crops: Tensor, tmp_path: Path) -> None:
    """A flipped bit anywhere: refused by name, or else the same answer."""
    path = tmp_path / "small.onnx"
    engine.save(model, path)
    whole = path.read_bytes()
    answer = plain = load_network(path)[0](crops[:1])
    random.seed(1)
    for _ in range(20):
        damaged = bytearray(whole)
        damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        refused = ""
        try:
            answer = load_network(path)[0](crops[:1])
        except EngineError as error:
            refused = str(error)
        same = [torch.equal(a, b) for a, b in zip(answer, plain, strict=True)]
        assert "small.onnx" in refused if refused else all(same)


def test_crops_of_another_side_are_refused(model: bytes) -> None:
    with pytest.raises(EngineError, match="takes uint8 crops of 3 x 64 x 64"):
        engine.OnnxNetwork(model, SIGNATURE)(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
