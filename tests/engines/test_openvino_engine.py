"""OpenVINO's answers against torch's own, and files that can't be used."""

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hourglass.engines import openvino_engine as engine
from hourglass.engines import openvino_file
from hourglass.engines.entry import EngineError, Signature, said
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import load_network

openvino = pytest.importorskip("openvino", reason="openvino is not installed")

Apart = Callable[[list[Tensor], list[Tensor]], float]
SIGNATURE = Signature(64, "heatmap", "fp32")


@pytest.fixture(scope="module")
def model(network: StackedHourglass) -> Any:
    return engine.convert(network, 64)


@pytest.mark.parametrize("count", [1, 3, 8, 21])
@torch.inference_mode()
def test_fp32_answers_as_torch_does(
    network: StackedHourglass, model: Any, crops: Tensor, relative: Apart, count: int
) -> None:
    runner = engine.OpenVinoNetwork(model, SIGNATURE)
    assert relative(runner(crops[:count]), network(crops[:count])) < 1e-5


@torch.inference_mode()
def test_bf16_is_near_where_the_processor_has_it(
    network: StackedHourglass, model: Any, crops: Tensor, relative: Apart, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    runner = engine.OpenVinoNetwork(model, SIGNATURE, "bf16")
    assert relative(runner(crops), network(crops)) < 2e-2
    assert (runner.precision == "fp32") == ("no bf16" in caplog.text)


def test_bf16_falls_back_and_says_so(
    model: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = openvino.Core.get_property

    def old_processor(core: Any, *names: str) -> list[str]:
        return [can for can in ask(core, *names) if can != "BF16"]

    monkeypatch.setattr(openvino.Core, "get_property", old_processor)
    runner = engine.OpenVinoNetwork(model, SIGNATURE, "bf16")
    assert runner.precision == "fp32"
    assert "this processor has no bf16" in caplog.text


@pytest.mark.slow
@torch.inference_mode()
def test_int8_is_another_network_but_a_near_one(
    network: StackedHourglass, model: Any, crops: Tensor, relative: Apart
) -> None:
    pytest.importorskip("nncf", reason="nncf is not installed")
    quantised = engine.quantise(model, crops.numpy())
    kinds = [node.get_type_name() for node in quantised.get_ops()]
    assert kinds.count("FakeQuantize") > kinds.count("Convolution") > 0
    runner = engine.OpenVinoNetwork(quantised, Signature(64, "heatmap", "int8"))
    assert 1e-4 < relative(runner(crops), network(crops)) < 0.2


def test_int8_needs_people(model: Any, crops: Tensor) -> None:
    with pytest.raises(EngineError, match="at least 16 people to measure its ranges on, not 15"):
        engine.quantise(model, crops[:15].numpy())


@torch.inference_mode()
def test_a_file_keeps_network_facts_and_signature(
    network: StackedHourglass, model: Any, facts: WeightFacts, crops: Tensor, relative: Apart, tmp_path: Path
) -> None:
    path = tmp_path / "new folder" / "small.xml"
    engine.save(model, path, facts.to_json(), SIGNATURE)
    assert sorted(file.name for file in path.parent.iterdir()) == ["small.bin", "small.xml"]
    _, text, signature = openvino_file.read(path)
    assert WeightFacts.from_json(text) == facts
    assert signature == SIGNATURE
    loaded, known = load_network(path)
    assert known == facts
    assert relative(loaded(crops[:2]), network(crops[:2])) < 1e-5


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(1, 3, 96, 96, dtype=torch.uint8),
        torch.zeros(1, 3, 64, 64),
        torch.zeros(1, 1, 64, 64, dtype=torch.uint8),
    ],
    ids=["side", "type", "channels"],
)
def test_crops_of_another_kind_are_refused(model: Any, wrong: Tensor) -> None:
    with pytest.raises(EngineError, match="takes uint8 crops of 3 x 64 x 64 on the CPU, not"):
        engine.OpenVinoNetwork(model, SIGNATURE)(wrong)


@pytest.fixture
def saved(model: Any, facts: WeightFacts, tmp_path: Path) -> Path:
    path = tmp_path / "small.xml"
    engine.save(model, path, facts.to_json(), SIGNATURE)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ValueError, match=path.stem) as caught:
        load_network(path)
    return str(caught.value)


def test_missing_and_damaged_files(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="there is no engine file"):
        openvino_file.read(tmp_path / "other.xml")
    whole = saved.read_bytes()
    saved.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in refused(saved) or "damaged or newer" in refused(saved)
    saved.write_bytes(b"<html></html>")
    assert "damaged or newer" in refused(saved)
    saved.write_bytes(whole)
    saved.with_suffix(".bin").write_bytes(b"short")
    assert "is damaged, or was changed after it was exported, or they are no pair" in refused(saved)
    saved.with_suffix(".bin").unlink()
    assert "small.bin, which holds the weights of small.xml, is missing" in refused(saved)


def test_models_of_other_programs_and_other_versions(
    model: Any, facts: WeightFacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain.xml"
    parameter = openvino.opset13.parameter([1, 3], openvino.Type.f32)
    openvino.save_model(openvino.Model([parameter], [parameter], "other"), plain)
    assert "a model of another program" in refused(plain)

    later = tmp_path / "later.xml"
    with monkeypatch.context() as patch:
        patch.setattr(engine, "said", partial(said, version="hourglass-engine-9"))
        engine.save(model, later, facts.to_json(), SIGNATURE)
    assert "of the format 'hourglass-engine-9', and this version of hourglass reads 'hourglass-engine-2'" in (
        refused(later)
    )

    odd = tmp_path / "odd.xml"
    engine.save(model, odd, facts.to_json(), Signature(96, "heatmap", "fp32"))
    assert "takes crops of 96 px, but its facts say 64" in refused(odd)

    foreign = tmp_path / "foreign.xml"
    engine.save(model, foreign, json.dumps({"decoding": "dark"}), SIGNATURE)
    assert "the facts beside the network can't be read" in refused(foreign)


def test_openvinos_files_end_in_xml(model: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"OpenVINO's files end in \.xml"):
        engine.save(model, tmp_path / "small.onnx", "{}", SIGNATURE)
