import os
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hourglass.core.files import (
    write_atomically,
    write_text_atomically,
)
from hourglass.core.skeleton import COCO17, LSP14, Skeleton
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.calibration import Calibration
from hourglass.weights.checkpoint import (
    WeightFacts,
    WeightsError,
    load_checkpoint,
    load_weights,
    replace_facts,
    save_checkpoint,
    save_weights,
)

FACTS = WeightFacts(
    name="tiny",
    network=NetworkRecipe(stacks=1, features=16, depth=2),
    skeleton=LSP14,
    input_px=64,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
    sigma_hm=1.75,
    decoding="quarter",
    box_margin=1.4,
    licence="CC0-1.0",
    data="synthetic",
    recipe="train:\n  batch_size: 3\n# ä\n",
    metrics={"PCK@0.2": {"mean": 61.25, "on": "val"}},
)

CALIBRATED = replace(
    FACTS, calibration=Calibration((0.5,) * 13 + (1 / 3,), (0.1,) * 14, "hit", "lspet val", 829)
)


def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "conv.weight": torch.randn(8, 3, 3, 3, generator=generator),
        "bn.running_mean": torch.randn(8, generator=generator),
        "bn.running_var": torch.rand(8, generator=generator) * 1e-9,
        "bn.num_batches_tracked": torch.tensor(123456789),
    }


def no_leftovers(folder: Path, *expected: str) -> None:
    assert sorted(os.listdir(folder)) == sorted(expected)


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that runs full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# Weights


def test_full_precision_comes_back_to_the_bit(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", state(), FACTS, half=False)
    loaded, facts = load_weights(tmp_path / "w.safetensors")
    assert loaded.keys() == state().keys()
    for name, tensor in state().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert facts == FACTS


def test_half_precision_halves_convolutions_and_keeps_statistics(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", state(), FACTS)
    stored = load_file(tmp_path / "w.safetensors")
    assert stored["conv.weight"].dtype == torch.float16
    assert stored["bn.running_var"].dtype == torch.float32
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    assert loaded["conv.weight"].dtype == torch.float32
    torch.testing.assert_close(loaded["conv.weight"], state()["conv.weight"], rtol=2**-11, atol=0)
    # fp16 would make these variances 0.
    assert torch.equal(loaded["bn.running_var"], state()["bn.running_var"])
    assert loaded["bn.num_batches_tracked"].item() == 123456789


@pytest.mark.parametrize(
    "facts",
    [
        FACTS,
        replace(FACTS, skeleton=COCO17, metrics={}),
        replace(FACTS, skeleton=Skeleton("dog", ("nose", "tail"), limbs=(("nose", "tail"),))),
        CALIBRATED,
    ],
    ids=["lsp14", "coco17", "custom", "calibrated"],
)
def test_facts_come_back_as_they_were(facts: WeightFacts) -> None:
    assert WeightFacts.from_json(facts.to_json()) == facts


def test_facts_without_a_calibration_are_written_as_before_there_were_any() -> None:
    assert "calibration" not in FACTS.to_json()
    with pytest.raises(ValueError, match="the calibration is of 1 joints, but the skeleton 'lsp14' has 14"):
        replace(FACTS, calibration=Calibration((1.0,), (0.0,)))


@pytest.mark.parametrize("same_file", [False, True])
def test_other_facts_change_no_bit_of_the_tensors(tmp_path: Path, same_file: bool) -> None:
    source = tmp_path / "w.safetensors"
    target = source if same_file else tmp_path / "deep" / "new.safetensors"
    save_weights(source, state(), FACTS)
    before = load_file(source)
    # All that follows the header: its length is in the first eight bytes.
    numbers = source.read_bytes()[8 + int.from_bytes(source.read_bytes()[:8], "little") :]
    replace_facts(source, target, CALIBRATED)
    raw = target.read_bytes()
    assert raw[8 + int.from_bytes(raw[:8], "little") :] == numbers
    after = load_file(target)
    assert {name: tensor.dtype for name, tensor in after.items()} == {
        name: tensor.dtype for name, tensor in before.items()
    }
    assert load_weights(target)[1] == CALIBRATED
    no_leftovers(target.parent, *({"w.safetensors", target.name} if same_file else {target.name}))


def test_other_tools_can_read_the_file(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", state(), FACTS, half=False)
    assert torch.equal(load_file(tmp_path / "w.safetensors")["conv.weight"], state()["conv.weight"])


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.safetensors is not a file"):
        load_weights(tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match=r"there is no checkpoint .*gone\.ckpt"):
        load_checkpoint(tmp_path / "gone.ckpt")


def test_weights_cut_anywhere_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_weights(whole, state(), FACTS)
    raw, cut = whole.read_bytes(), tmp_path / "cut.safetensors"
    for length in [*range(0, len(raw), len(raw) // 40), len(raw) - 1]:
        cut.write_bytes(raw[:length])
        with pytest.raises(WeightsError, match=r"cut\.safetensors"):
            load_weights(cut)


def test_foreign_safetensors_lack_the_facts(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "foreign.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"foreign\.safetensors holds tensors but not the facts"):
        load_weights(tmp_path / "foreign.safetensors")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ("{", "Expecting"),
        ("[]", "indices"),
        ("{}", "decoding"),
        (FACTS.to_json().replace('"quarter"', '"magic"'), "magic"),
        (FACTS.to_json().replace('"input_px"', '"input_sz"'), "input_sz"),
        (FACTS.to_json().replace('"eccv"', '"vgg"'), "vgg"),
        (CALIBRATED.to_json().replace("0.3333333333333333", "-1"), "temperature -1"),
        (CALIBRATED.to_json().replace("0.3333333333333333", "NaN"), "temperature nan"),
        (CALIBRATED.to_json().replace(", 0.3333333333333333", ""), "13 temperatures but 14"),
        (CALIBRATED.to_json().replace('"offsets"', '"shifts"'), "offsets"),
        (
            FACTS.to_json().replace('"left_knee", "left_ankle", "right_wrist"', '"left_knee", "x"'),
            "left_ankle",
        ),
    ],
)
def test_facts_that_make_no_sense_are_refused_by_name(tmp_path: Path, facts: str, named: str) -> None:
    save_file(state(), tmp_path / "odd.safetensors", {"format": "hourglass-1", "facts": facts})
    with pytest.raises(WeightsError, match=rf"odd\.safetensors: the facts .*{named}"):
        load_weights(tmp_path / "odd.safetensors")


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"
    content = {"state_dict": state(), "extra": Bomb(trace)}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"evil\.pt is refused"):
        load_checkpoint(path)
    with pytest.raises(WeightsError, match=r"evil\.pt is not a whole safetensors file.*pickled"):
        load_weights(path)
    assert not trace.exists()
    # The bomb is live: what was refused would have run.
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()


# Checkpoints


def checkpoint() -> dict[str, Any]:
    return {"network": state(), "optimiser": {"state": [torch.arange(5)], "lr": 0.1}, "step": 7, "name": "a"}


def test_a_checkpoint_comes_back_to_the_bit(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", checkpoint())
    loaded = load_checkpoint(tmp_path / "last.ckpt")
    assert loaded["step"] == 7
    assert loaded["name"] == "a"
    assert loaded["optimiser"]["lr"] == 0.1
    assert torch.equal(loaded["optimiser"]["state"][0], torch.arange(5))
    assert all(torch.equal(loaded["network"][name], tensor) for name, tensor in state().items())
    no_leftovers(tmp_path, "last.ckpt")


def test_a_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.ckpt", checkpoint())
    raw, cut = (tmp_path / "last.ckpt").read_bytes(), tmp_path / "cut.ckpt"
    for length in [*range(0, len(raw), len(raw) // 40), len(raw) - 1]:
        cut.write_bytes(raw[:length])
        with pytest.raises(WeightsError, match=r"cut\.ckpt is cut off or damaged"):
            load_checkpoint(cut)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x04\x95" + bytes(50), b"\xff\xd8" * 500, b"PK\x03\x04"]
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.ckpt"):
        load_checkpoint(tmp_path / "x.ckpt")


def test_a_list_is_no_training_state(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "list.ckpt")
    with pytest.raises(WeightsError, match=r"list\.ckpt does not hold a training state"):
        load_checkpoint(tmp_path / "list.ckpt")


# Writing


def write_weights(path: Path) -> None:
    save_weights(path, {"a": torch.randn(100_000)}, FACTS)


def write_training_state(path: Path) -> None:
    save_checkpoint(path, {"a": torch.randn(100_000)})


def write_words(path: Path) -> None:
    write_text_atomically(path, "x" * 100_000)


WRITERS = [write_weights, write_training_state, write_words]


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file_whole(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with disk_of(20_000), pytest.raises(OSError, match=r"cannot write .*/file: .*[Ff]ile too large"):
        write(path)
    assert path.read_bytes() == b"old"
    no_leftovers(tmp_path, "file")
    write(path)
    assert path.stat().st_size > 20_000


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_in_the_way_is_named(tmp_path: Path, write: Any) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*/folder: it is a folder"):
        write(tmp_path / "folder")
    no_leftovers(tmp_path, "folder")


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path, write: Any) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(OSError, match=r"cannot write .*/file/new: .*/file$"):
        write(tmp_path / "file" / "new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    # A named pipe stands for any device: renaming a file over /dev/null would take it from the machine.
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"cannot write .*/pipe: it is no regular file"):
        write_words(pipe)
    assert pipe.is_fifo()


@pytest.mark.parametrize("write", WRITERS)
def test_missing_folders_are_made(tmp_path: Path, write: Any) -> None:
    write(tmp_path / "a" / "b" / "file")
    no_leftovers(tmp_path / "a" / "b", "file")


def test_a_writer_that_stops_halfway_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def stop(part: Path) -> None:
        part.write_bytes(b"ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, stop)
    assert path.read_bytes() == b"old"
    no_leftovers(tmp_path, "file")


def test_the_reason_is_one_line(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise RuntimeError("first line\nsecond line")

    with pytest.raises(OSError, match=r"cannot write .*/file: first line$"):
        write_atomically(tmp_path / "file", fail)
