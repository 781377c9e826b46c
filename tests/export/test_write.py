"""Exported files hold what they say, and joints where the crop has them, for programs without ours."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eyes import FACTS, SIDE, THREE, Eyes, drawn
from hourglass.core.skeleton import LSP14
from hourglass.core.structs import Decoding
from hourglass.engines.entry import EngineError
from hourglass.export.write import SUFFIXES, Target, first_stacks, write
from hourglass.inference.predictor import Predictor
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import load_network

JOINTS = np.random.default_rng(0).uniform(21, 42, (3, 3, 2))
WORST: dict[Decoding, float] = {"argmax": 2.0, "quarter": 1.01, "soft": 0.6, "dark": 0.1}
"""Pixels of the crop: half a cell, a quarter of one, and what is left of rounding to 256 values."""
PROGRAM = ["keypoints", "scores", "stage_1", "stage_2"]
ANSWERS = ["keypoints", "scores", "covariances", "stage_1", "stage_2", "keypoints_1", "scores_1"]
"""What a program of torch's answers with, and what the other files do."""


def needs(to: str) -> None:
    for package in {"onnx": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}.get(to, ()):
        pytest.importorskip(package, reason=f"{package} is not installed")


@pytest.fixture(scope="module")
def dark_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Target], Path]:
    """The file of a kind with DARK in its graph; each is made once."""
    folder = tmp_path_factory.mktemp("dark")

    def file(to: Target) -> Path:
        needs(to)
        path = folder / f"eyes{SUFFIXES[to]}"
        if not path.exists():
            write(Eyes().eval(), FACTS, to, path, decode_in_graph=True)
        return path

    return file


@pytest.mark.parametrize(
    ("to", "decoding"),
    [
        ("onnx", "dark"),
        ("openvino", "dark"),
        ("torch-export", "dark"),
        ("torch-export", "quarter"),
        pytest.param("torch-export", "soft", marks=pytest.mark.slow),
        pytest.param("onnx", "argmax", marks=pytest.mark.slow),
    ],
)
def test_a_file_finds_the_joints_itself(
    to: Target, decoding: Decoding, dark_file: Callable[[Target], Path], tmp_path: Path
) -> None:
    needs(to)
    if decoding == "dark":
        path = dark_file(to)
    else:
        path = tmp_path / f"eyes{SUFFIXES[to]}"
        write(Eyes().eval(), replace(FACTS, decoding=decoding), to, path, decode_in_graph=True)
    engine, facts = load_network(path)
    assert facts.decoding == decoding
    for count in (3, 1):
        answers = engine.answers(drawn(JOINTS)[:count])  # type: ignore[operator]
        assert list(answers) == (PROGRAM if to == "torch-export" else ANSWERS)
        found = answers["keypoints"].numpy()
        assert found.shape == (count, 3, 2)
        assert np.abs(found - JOINTS[:count]).max() <= WORST[decoding]
        assert 0.8 < float(answers["scores"].min()) <= float(answers["scores"].max()) <= 1
    # Our own predictor takes the stages, so that it can look at the mirrored crop as well.
    photo = drawn(JOINTS)[0].permute(1, 2, 0).numpy()
    (pose,) = Predictor(engine, replace(facts, box_margin=1.0), "cpu", "fp32")(photo, [0, 0, SIDE, SIDE])
    assert np.abs(pose.keypoints - JOINTS[0])[2].max() <= WORST[decoding] + 0.01


def check_entries(entries: Any) -> None:
    assert json.loads(entries["joints"]) == ["left_eye", "right_eye", "nose"]
    assert json.loads(entries["skeleton"])["flip_pairs"] == [["left_eye", "right_eye"]]
    assert (entries["licence"], entries["data"], entries["source"]) == ("CC0-1.0", "nothing", "drawn")
    assert json.loads(entries["mean"]) == [0, 0, 0]
    assert (entries["input_px"], entries["precision"], entries["decoding"]) == ("64", "fp32", "dark")
    assert json.loads(entries["heatmap_strides"]) == [4, 4]
    shapes = json.loads(entries["outputs"])
    assert (shapes["keypoints"], shapes["stage_2"]) == (["batch", 3, 2], ["batch", 3, 16, 16])
    assert entries["version"]


def test_onnx_files_say_what_they_are(dark_file: Callable[[Target], Path]) -> None:
    onnx = pytest.importorskip("onnx")
    onnx_file = dark_file("onnx")
    model = onnx.load(onnx_file)
    onnx.checker.check_model(model, full_check=True)
    check_entries({entry.key: entry.value for entry in model.metadata_props})
    assert (model.producer_name, "3 joints" in model.doc_string) == ("hourglass", True)
    assert "keypoints are pixels of the crop" in model.doc_string
    assert not any(node.metadata_props for node in model.graph.node)
    assert str(Path(torch.__file__).parents[1]).encode() not in onnx_file.read_bytes()
    assert {
        o.name: [d.dim_value or d.dim_param for d in o.type.tensor_type.shape.dim] for o in model.graph.output
    }["keypoints"] == ["batch", 3, 2]


def test_openvino_files_say_what_they_are(dark_file: Callable[[Target], Path]) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino is not installed")
    model = openvino.Core().read_model(dark_file("openvino"))
    names = [sorted(output.get_names()) for output in model.outputs]
    assert names == [[name] for name in ANSWERS]
    info = model.get_rt_info("model_info")
    check_entries({key: model.get_rt_info(["model_info", key]).astype(str) for key in info.astype(dict)})


def test_programs_say_what_they_are(dark_file: Callable[[Target], Path]) -> None:
    path = dark_file("torch-export")
    extra = {"metadata.json": ""}
    answer = torch.export.load(path, extra_files=extra).module()(drawn(JOINTS))
    assert np.abs(answer["keypoints"].numpy() - JOINTS).max() <= WORST["dark"]
    check_entries(json.loads(extra["metadata.json"]))


def test_negative_peaks_and_offsets_are_read_as_the_weights_say(tmp_path: Path) -> None:
    class Hidden(Eyes):
        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            return [-stage for stage in super().forward(image)]

    path = tmp_path / "eyes.pt2"
    write(
        Hidden().eval(),
        replace(FACTS, signed=True, offset_hm=-0.5),
        "torch-export",
        path,
        decode_in_graph=True,
    )
    answers = load_network(path)[0].answers(drawn(JOINTS))  # type: ignore[operator]
    assert np.abs(answers["keypoints"].numpy() + 2 - JOINTS).max() <= WORST["dark"]


def test_fewer_stacks_have_facts_of_their_own() -> None:
    recipe = NetworkRecipe("mssh", stacks=3, features=8, depth=2, strides=(8, 4, 4))
    facts = WeightFacts("m", recipe, LSP14, 64, (0.0,) * 3, (1.0,) * 3, metrics={"PCK@0.2": 50})
    network = build_network(recipe, LSP14).eval()
    part, known = first_stacks(network, facts, 2)
    assert (known.network.stacks, known.network.strides, dict(known.metrics)) == (2, (8, 4), {})
    crops = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    alone = build_network(known.network, LSP14).eval()
    assert [s.shape for s in part(crops)] == [s.shape for s in alone(crops)]
    assert first_stacks(network, facts, None) == (network, facts)
    with pytest.raises(ValueError, match="this network has 3, so give 1 to 3"):
        first_stacks(network, facts, 4)


@pytest.mark.parametrize(
    ("to", "name", "int8", "says"),
    [
        ("tflite", "eyes.tflite", False, "'tflite' is not one of onnx, openvino, torch-export"),
        ("onnx", "eyes.xml", False, r"eyes\.xml: a file for onnx ends in \.onnx"),
        (
            "torch-export",
            "eyes.pt2",
            True,
            "torch has no quick int8 for these networks: use int8 with openvino",
        ),
    ],
)
def test_what_can_not_be(to: Any, name: str, int8: bool, says: str, tmp_path: Path) -> None:
    crops = np.zeros((20, 3, SIDE, SIDE), np.uint8) if int8 else None
    with pytest.raises(EngineError, match=says):
        write(Eyes().eval(), FACTS, to, tmp_path / name, calibration=crops)
    assert list(tmp_path.iterdir()) == []


def test_an_exported_file_is_not_exported_again(tmp_path: Path) -> None:
    path = tmp_path / "eyes.pt2"
    write(Eyes().eval(), FACTS, "torch-export", path)
    with pytest.raises(EngineError, match="exported file already: export from the weights"):
        write(load_network(path)[0], FACTS, "torch-export", tmp_path / "again.pt2")
    assert len(THREE) == 3


@pytest.mark.slow
def test_int8_onnx_leaves_the_decoding_in_fp32(tmp_path: Path) -> None:
    needs("onnx")
    pytest.importorskip("nncf", reason="nncf is not installed")
    onnx = pytest.importorskip("onnx")
    torch.manual_seed(0)
    recipe = NetworkRecipe("hg", features=8, depth=1)
    facts = WeightFacts("h", recipe, LSP14, 32, (0.0,) * 3, (1.0,) * 3)
    crops = np.random.default_rng(0).integers(0, 255, (16, 3, 32, 32), np.uint8)
    path = tmp_path / "h.onnx"
    network = build_network(recipe, LSP14).eval()
    write(network, facts, "onnx", path, calibration=crops, decode_in_graph=True)
    model = onnx.load(path)
    makers = {made: node for node in model.graph.node for made in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = [makers.get(node.input[1]) for node in convolutions]
    quantised = [w is not None and w.op_type == "DequantizeLinear" for w in weights]
    # The two smoothing steps of DARK come last.
    assert quantised == [True] * (len(quantised) - 2) + [False] * 2
    engine, _ = load_network(path)
    assert engine.signature.precision == "int8"  # type: ignore[union-attr]
    assert {e.key: e.value for e in model.metadata_props}["precision"] == "int8"
    answers = engine.answers(torch.from_numpy(crops[:3]))  # type: ignore[operator]
    assert answers["keypoints"].shape == (3, 14, 2)
