"""Bundled networks without torch: their files against torch's own answers, what runs them, bad files."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from hourglass.core import extras
from hourglass.core.extras import install_command
from hourglass.core.files import with_checksum
from hourglass.data.loading.dataset import make_sample
from hourglass.data.loading.images import read_image
from hourglass.engines import onnx_file, openvino_file
from hourglass.engines.entry import FORMAT, Signature
from hourglass.inference import runner as module
from hourglass.inference.forward import answer_stages
from hourglass.inference.open_runner import open_runner
from hourglass.inference.people import PeopleFinder, load_finder
from hourglass.inference.predictor import Predictor
from hourglass.inference.runner import Answer, AutoRunner, OnnxRunner, Runner
from hourglass.synthetic.render import load_records, render
from hourglass.weights.exported import exported_facts, read_facts
from hourglass.weights.facts import WeightFacts, finds_people
from hourglass.weights.load import load_network
from hourglass.weights.published import artifact_of, bundled_weights, resolve

Crops = npt.NDArray[np.uint8]
BUNDLED = sorted(name for name in bundled_weights() if not finds_people(read_facts(name)))
FINDERS = sorted(bundled_weights().keys() - set(BUNDLED))
APART_PX = 0.05


def artifact(name: str | None = None) -> Path:
    path = artifact_of(resolve(name))
    assert path is not None, f"{name} has no ONNX file: make it with tools/make_artifacts.py"
    return path


def rendered(facts: WeightFacts, count: int) -> Crops:
    """Crops (N, 3, S, S) of drawn people."""
    records = load_records(facts.skeleton, count, 2_500_000)
    crops = [make_sample(read_image(r.image, r.image_id), r, facts.input_px).image for r in records]
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))


def assert_as_torch(runner: Runner, crops: Crops, flip_test: bool) -> None:
    """Every answer is torch's: joints and covariances to `APART_PX`, scores and maps to what fp16 leaves."""
    network, facts = load_network(resolve(facts_name(runner)))
    answer = runner(crops, flip_test, every_stage=True)
    truth = answer_stages(network, torch.from_numpy(crops), facts, flip_test)
    assert len(answer.stages) == len(truth)
    for stage, own in zip(answer.stages, truth, strict=True):
        heat = own.stages[0].numpy()
        assert np.abs(stage.heatmaps - heat).max() < 5e-3 * heat.max()
        # A joint whose map has two peaks of one height is anywhere: torch's own answer jumps as far.
        apart = np.linalg.norm(stage.keypoints - own.keypoints.numpy(), axis=-1)
        sure = own.scores.numpy() > 0.1
        assert sure.mean() > 0.8
        assert apart[sure].max() < APART_PX
        assert np.abs(stage.scores - own.scores.numpy()).max() < 5e-3
    last = truth[-1]
    np.testing.assert_array_equal(answer.keypoints, answer.stages[-1].keypoints)
    np.testing.assert_array_equal(answer.scores, answer.stages[-1].scores)
    assert answer.covariances is not None
    assert last.covariances is not None
    np.testing.assert_allclose(answer.covariances, last.covariances, rtol=0.02, atol=0.5)
    assert (answer.confidences is None) == (facts.calibration is None)
    if facts.calibration is not None and answer.confidences is not None:
        np.testing.assert_allclose(answer.confidences, facts.calibration(answer.scores), atol=1e-5)


def facts_name(runner: Runner) -> str:
    return runner.facts.name


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_are_of_the_weights_beside_them(name: str) -> None:
    weights = bundled_weights()[name]
    model, text, signature = onnx_file.read(artifact(name))
    assert onnx_file.metadata(model)["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    _, facts = load_network(weights)
    assert exported_facts(artifact(name), text, signature) == facts == read_facts(weights)
    assert signature == Signature(facts.input_px, "heatmap", "fp16")
    assert len(model) < 0.6 * 4 * sum(p.numel() for p in load_network(weights)[0].parameters())


@pytest.mark.parametrize("name", BUNDLED)
@pytest.mark.parametrize("flip_test", [False, True])
def test_a_bundled_file_answers_as_torch_does(name: str, flip_test: bool) -> None:
    runner = open_runner(name, device="cpu", backend="onnxruntime")
    assert isinstance(runner, OnnxRunner)
    crops = rendered(runner.facts, 8)
    assert_as_torch(runner, crops, flip_test)
    # One at a time, as in eights.
    together = runner(crops, flip_test)
    alone = [runner(crops[i : i + 1], flip_test).keypoints[0] for i in range(3)]
    np.testing.assert_allclose(alone, together.keypoints[:3], atol=0.01)
    assert together.stages == ()


@pytest.mark.parametrize("name", FINDERS)
def test_a_bundled_finder_finds_as_in_torch(name: str) -> None:
    weights = bundled_weights()[name]
    model, text, signature = onnx_file.read(artifact(name))
    assert onnx_file.metadata(model)["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert exported_facts(artifact(name), text, signature) == read_facts(weights)
    ours = load_finder(name, 0.1)
    network, facts = load_network(weights)
    theirs = PeopleFinder(network, facts, 0.1)
    found = 0
    for seed in range(4):
        image = render(seed, height=240, width=320).image
        (boxes, scores), (others, truth) = ours(image), theirs(image)
        assert boxes.shape == others.shape
        np.testing.assert_allclose(boxes, others, atol=0.5)
        np.testing.assert_allclose(scores, truth, atol=0.01)
        found += len(boxes)
    assert found


@pytest.mark.realdata
@pytest.mark.parametrize("flip_test", [False, True])
def test_a_bundled_file_answers_as_torch_does_on_photos(real_data: Path, flip_test: bool) -> None:
    from hourglass.data.formats.lsp import load_lspet as lspet

    runner = open_runner(device="cpu", backend="onnxruntime")
    records = lspet(real_data / "lspet", "val")[::40]
    crops = [make_sample(read_image(r.image, r.image_id), r, runner.facts.input_px).image for r in records]
    assert_as_torch(runner, np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)), flip_test)


@pytest.mark.parametrize("flip_test", [False, True])
def test_openvino_runs_the_same_file(flip_test: bool) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    runner = open_runner(device="cpu", backend="openvino", precision="fp32")
    assert (runner.backend, runner.precision) == ("openvino", "fp32")
    assert_as_torch(runner, rendered(runner.facts, 9), flip_test)  # more than go through it at once


class Told:
    """Stands for a runner: every answer takes the seconds that it is told."""

    clock = 0.0

    def __init__(self, backend: str, crop_s: float) -> None:
        self.backend, self.precision, self._crop_s = backend, "fp32", crop_s

    def __call__(self, crops: Crops, flip_test: bool, every_stage: bool = False) -> Answer:
        Told.clock += self._crop_s * len(crops) * (2 if flip_test else 1)
        return Answer(np.zeros((len(crops), 1, 2), np.float32), np.zeros((len(crops), 1), np.float32))


@pytest.mark.parametrize(
    ("crops", "crop_s", "changes"),
    [
        (24, 0.02, None),  # twelve pictures: nothing to be gained
        (2000, 0.02, 8),  # known to be many: at once, when the first eight have told how long one takes
        (2000, 0.0001, None),  # many, but of a tiny network
        (None, 0.02, 104),  # unknown: when as much has been lost as it takes to start
    ],
)
def test_auto_changes_over_where_it_pays(
    crops: int | None, crop_s: float, changes: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Told):
        def __init__(self, *_: Any) -> None:
            super().__init__("onnxruntime", crop_s)

    class Quick(Told):
        def __init__(self, *_: Any, threads: int) -> None:
            super().__init__("openvino", crop_s * (1 - module.SAVED))

    monkeypatch.setattr(module, "OnnxRunner", Slow)
    monkeypatch.setattr(module, "OpenVinoRunner", Quick)
    monkeypatch.setattr(openvino_file, "from_onnx", lambda *_: None)
    monkeypatch.setattr("hourglass.inference.runner.time.perf_counter", lambda: Told.clock)
    runner = AutoRunner(b"", read_facts(), Signature(64, "heatmap", "fp16"), "x", 1, crops)
    done, changed = 0, None
    while done < (crops or 400):
        runner(np.zeros((4, 3, 8, 8), np.uint8), True)
        if runner.backend == "openvino" and changed is None:
            changed = done
        done += 8
    assert changed == changes


def test_bf16_and_openvino_decide_whether_auto_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16, there, kind in ((True, True, AutoRunner), (True, False, OnnxRunner), (False, True, OnnxRunner)):
        monkeypatch.setattr(openvino_file, "computes_bf16", lambda bf16=bf16: bf16)
        monkeypatch.setattr(openvino_file, "installed", lambda there=there: there)
        assert type(open_runner(device="cpu")) is kind
    assert type(open_runner(device="cpu", precision="fp32")) is OnnxRunner


def sealed(model: bytes, path: Path) -> Path:
    path.write_bytes(with_checksum(model))
    return path


def altered(model: bytes) -> bytes:
    middle = len(model) // 2
    return model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :]


def of_opset(model: bytes, version: int) -> bytes:
    """The same file, said to need other operators."""
    old = onnx_file.opset(model)
    for domain in (b"\x0a\x00", b""):
        entry = domain + b"\x10" + bytes([old])
        field = b"\x42" + bytes([len(entry)]) + entry
        if model.count(field) == 1:
            return model.replace(field, field[:-1] + bytes([version]))
    raise AssertionError("no import of ONNX's own operators")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (altered, r"model\.onnx is damaged, or was changed after it was exported"),
        (lambda model: model[:-1000], r"model\.onnx is (damaged|cut off)"),
        (lambda model: model[:1000], r"model\.onnx is cut off, damaged, or no ONNX file"),
        (lambda _: b"", r"model\.onnx is a model of another program"),
        (
            lambda model: with_checksum(model.replace(FORMAT.encode(), b"hourglass-engine-9")),
            r"model\.onnx is of the format 'hourglass-engine-9', and this version of hourglass reads",
        ),
        (
            lambda model: with_checksum(of_opset(model, 120)),
            r"model\.onnx needs ONNX's operators of version 120, .*pip install -U onnxruntime",
        ),
    ],
    ids=["altered", "cut", "cut short", "empty", "another version", "newer operators"],
)
def test_files_that_can_not_be_run_are_one_sentence(change: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(change(artifact().read_bytes()))
    with pytest.raises(ValueError, match=says) as raised:
        open_runner(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"backend": "torch"},
            "exported for onnxruntime and openvino; the backend 'torch' needs the weights",
        ),
        ({"backend": "tensorrt"}, "the backend 'tensorrt' is not one of auto, torch, onnxruntime, openvino"),
        ({"precision": "int8"}, "holds fp16 numbers, not int8: export one with --int8"),
        ({"precision": "fp8"}, "the precision 'fp8' is not one of"),
        ({"precision": "bf16", "backend": "onnxruntime"}, "ONNX Runtime computes in fp32 here, not in bf16"),
        ({"stacks": 1}, "answers with all of its stacks"),
        ({"device": "fpga"}, "the device 'fpga' is not auto, cpu or cuda"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        open_runner(artifact(), **options)


def test_weights_of_ones_own_without_torch_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.safetensors"
    own.write_bytes(resolve().read_bytes())
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"own\.safetensors, which torch runs, needs more") as raised:
        open_runner(own, device="cpu")
    assert str(raised.value).endswith(install_command("train"))
    assert open_runner(device="cpu").facts == read_facts(own)  # the bundled one runs all the same


def test_a_predictor_takes_a_runner_as_it_is() -> None:
    runner = open_runner(device="cpu", precision="fp32")
    facts = replace(runner.facts, box_margin=1.5)
    predictor = Predictor(runner, facts, flip_test=False, batch_size=3)
    assert (predictor.runner, predictor.batch_size) == (runner, 3)
    (pose,) = predictor(np.zeros((90, 90, 3), np.uint8), [10, 10, 40, 40], keep_heatmaps=True)
    assert pose.box[2] == 60
    assert pose.stages is not None
    assert pose.heatmaps is not None
    assert len(pose.stages) == len(pose.heatmaps) == facts.network.stacks
    np.testing.assert_array_equal(pose.stages[-1].keypoints, pose.keypoints)
