"""Programs of torch.export: they answer as torch does, and reading one runs nothing that lies in the file."""

import json
import pickle
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hourglass.engines import torch_export_engine as engine
from hourglass.engines.engine import EngineError, Signature
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import load_network

Apart = Callable[[list[Tensor], list[Tensor]], float]
Change = Callable[[dict[str, bytes]], None]
SIGNATURE = Signature(64, "heatmap", "fp32")
MODEL = "archive/models/model.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"


@pytest.fixture(scope="module")
def whole(network: StackedHourglass, facts: WeightFacts, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("pt2") / "small.pt2"
    program = engine.convert(network, 64)
    engine.save(program, path, ("stage_1", "stage_2"), facts.to_json(), SIGNATURE, {"licence": "Apache-2.0"})
    return path.read_bytes()


@pytest.fixture
def saved(whole: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "small.pt2"
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize("count", [1, 5])
@torch.inference_mode()
def test_a_file_answers_as_torch_does(
    network: StackedHourglass, facts: WeightFacts, saved: Path, crops: Tensor, relative: Apart, count: int
) -> None:
    loaded, known = load_network(saved)
    assert known == facts
    assert loaded.output == "heatmap"
    assert relative(loaded(crops[:count]), network(crops[:count])) < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        assert relative([stage.float() for stage in loaded(crops[:2])], network(crops[:2])) < 5e-2


@torch.inference_mode()
def test_torch_alone_runs_the_file(
    network: StackedHourglass, saved: Path, crops: Tensor, relative: Apart
) -> None:
    extra = {"metadata.json": ""}
    answer = torch.export.load(saved, extra_files=extra).module()(crops[:3])
    assert list(answer) == ["stage_1", "stage_2"]
    assert relative(list(answer.values()), network(crops[:3])) < 1e-5
    assert json.loads(extra["metadata.json"]) == {"licence": "Apache-2.0"}


def test_no_folder_of_this_machine_is_in_it(whole: bytes) -> None:
    assert str(Path(engine.__file__).parent).encode() not in whole


def changed(whole: bytes, path: Path, change: Change) -> Path:
    """A whole archive again, with sound checksums, but other parts."""
    with zipfile.ZipFile(BytesIO(whole)) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    change(parts)
    with zipfile.ZipFile(path, "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    return path


def in_json(name: str, edit: Callable[[Any], object]) -> Change:
    def change(parts: dict[str, bytes]) -> None:
        raw = json.loads(parts[name])
        edit(raw)
        parts[name] = json.dumps(raw).encode()

    return change


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def nodes(raw: Any) -> Any:
    return raw["graph_module"]["graph"]["nodes"]


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("torch.load", "it uses torch.load"),
        ("torch.ops.aten.from_file.default", "it uses torch.ops.aten.from_file.default"),
        ("torch.ops.aten.relu.__globals__", "it uses torch.ops.aten.relu.__globals__"),
        ("_operator.attrgetter", "it uses _operator.attrgetter"),
        ("torch.serialization.os.system", "it uses torch.serialization.os.system"),
        ("#higher", "it uses #higher"),
    ],
)
def test_no_other_function_is_called(whole: bytes, tmp_path: Path, target: str, says: str) -> None:
    path = changed(
        whole, tmp_path / "evil.pt2", in_json(MODEL, lambda raw: nodes(raw)[3].update(target=target))
    )
    with pytest.raises(EngineError, match=f"evil.pt2 can't be run here: {says}, which no network here needs"):
        load_network(path)


def test_pickles_are_not_opened(whole: bytes, tmp_path: Path, crops: Tensor) -> None:
    mark = tmp_path / "mark"
    bomb = pickle.dumps(Bomb(mark))
    pickle.loads(bomb)
    assert mark.exists()
    mark.unlink()

    def samples(parts: dict[str, bytes]) -> None:
        parts["archive/data/sample_inputs/model.pt"] = bomb

    load_network(changed(whole, tmp_path / "samples.pt2", samples))[0](crops[:1])

    def weight(parts: dict[str, bytes]) -> None:
        in_json(WEIGHTS, lambda raw: next(iter(raw["config"].values())).update(use_pickle=True))(parts)
        parts["archive/data/weights/weight_0"] = bomb

    with pytest.raises(EngineError, match="is pickled"):
        load_network(changed(whole, tmp_path / "weight.pt2", weight))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (in_json(MODEL, lambda raw: nodes(raw).reverse()), "before it is made"),
        (in_json(MODEL, lambda raw: nodes(raw).clear()), "it answers with what it never makes"),
        (in_json(WEIGHTS, lambda raw: raw["config"].clear()), "the numbers of .* are missing"),
        (lambda parts: parts.update({"archive/byteorder": b"big"}), "of another byte order"),
        (lambda parts: parts.pop(MODEL), "it holds no single program"),
        (lambda parts: parts.pop("archive/extra/outputs.json"), "'outputs.json' is missing"),
        (lambda parts: parts.pop("archive/extra/hourglass.json"), "a model of another program"),
    ],
)
def test_files_that_are_none(whole: bytes, tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        load_network(changed(whole, tmp_path / "odd.pt2", change))


def test_a_program_that_fails_says_so(whole: bytes, tmp_path: Path, crops: Tensor) -> None:
    def swap(raw: Any) -> None:
        convolution = next(n for n in nodes(raw) if "conv2d" in n["target"])
        convolution["inputs"][3]["arg"] = {"as_ints": [2, 2, 2]}

    loaded, _ = load_network(changed(whole, tmp_path / "odd.pt2", in_json(MODEL, swap)))
    with pytest.raises(EngineError, match="the exported program can't be run"):
        loaded(crops[:1])


@torch.inference_mode()
def test_damage_is_one_sentence(whole: bytes, tmp_path: Path, crops: Tensor) -> None:
    """Cut anywhere, or with a flipped bit: refused by name, or else the same answer."""
    path = tmp_path / "small.pt2"
    with pytest.raises(EngineError, match="there is no engine file"):
        engine.read(path)
    for size in (0, 10, len(whole) // 3, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(EngineError, match=r"small\.pt2 can't be read"):
            load_network(path)
    path.write_bytes(whole)
    answer = plain = load_network(path)[0](crops[:1])
    random.seed(3)
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[random.randrange(len(whole))] ^= 1 << random.randrange(8)
        path.write_bytes(damaged)
        refused = ""
        try:
            answer = load_network(path)[0](crops[:1])
        except EngineError as error:
            refused = str(error)
        same = [torch.equal(a, b) for a, b in zip(answer, plain, strict=True)]
        assert "small.pt2" in refused if refused else all(same)


def test_crops_of_another_kind_are_refused(saved: Path) -> None:
    loaded, _ = load_network(saved)
    with pytest.raises(EngineError, match="takes uint8 crops of 3 x 64 x 64, not"):
        loaded(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_programs_end_in_pt2(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"torch's exported programs end in \.pt2"):
        engine.save(None, tmp_path / "small.onnx", (), "", SIGNATURE)  # type: ignore[arg-type]
