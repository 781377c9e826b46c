"""Kinds of files: PyTorch's archives, its older forms, what other programs write, and hostile ones."""

import argparse
import gzip
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.importing import import_checkpoint

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(others: SimpleNamespace) -> State:
    """A small bearpaw network."""
    made: State = others.bearpaw(others.Writer(counters=False), stacks=1, depth=1, f=8)
    return made


@pytest.fixture
def path(state: State, tmp_path: Path) -> Path:
    """The same as a file of today's PyTorch."""
    torch.save(state, tmp_path / "hg.pth")
    return tmp_path / "hg.pth"


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    assert len(said) < 700
    return said


# Zip archives, PyTorch's form since 1.6


def repacked(path: Path, method: int = zipfile.ZIP_STORED, **changes: bytes) -> Path:
    """The same archive written by zip's own rules; `changes` are contents by the end of their names."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, changes.get(name.rpartition("/")[2], content))
    return path


def flip(path: Path, place: int, bit: int = 0) -> None:
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1 << bit
    path.write_bytes(raw)


def test_an_archive_that_was_packed_again_without_compression_is_fine(path: Path) -> None:
    before = import_checkpoint(path).state
    after = import_checkpoint(repacked(path)).state
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_packed_archive_is_refused_before_it_unfolds(path: Path) -> None:
    bomb = {"0": bytes(50_000_000)}
    assert "data.pkl in it is packed" in refused(repacked(path, zipfile.ZIP_DEFLATED, **bomb))
    assert path.stat().st_size < 1_000_000


def test_records_that_overlap_are_refused(path: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("hg/extra", bytes(10_000))
    # The archive's own list says the last record is a thousand times as long, and so reaches over the others.
    raw = bytearray(path.read_bytes())
    entry = raw.rindex(b"PK\x01\x02")
    for place in (entry + 20, entry + 24):
        raw[place : place + 4] = (10_000_000).to_bytes(4, "little")
    path.write_bytes(raw)
    assert "no plain row of records" in refused(path)


def test_a_flipped_weight_is_found_by_its_checksum(state: State, path: Path) -> None:
    raw = path.read_bytes()
    flip(path, raw.index(state["score.0.weight"].numpy().tobytes()) + 5)
    assert "the checksum of hg/data/" in refused(path)


def test_a_moved_record_is_found_too(state: State, path: Path) -> None:
    # The length of what lies between a record's name and its content; PyTorch trusts it and reads elsewhere.
    raw = path.read_bytes()
    header = raw.rindex(b"PK\x03\x04", 0, raw.index(state["score.0.weight"].numpy().tobytes()))
    flip(path, header + 28, bit=2)
    refused(path)


def test_a_record_that_is_called_a_folder_is_refused(path: Path) -> None:
    # PyTorch would read nothing and leave the tensor as the memory happens to be.
    raw = path.read_bytes()
    entry = raw.rindex(b"PK\x01\x02", 0, raw.index(b"data/5", raw.index(b"PK\x01\x02")))
    flip(path, entry + 38, bit=4)
    assert "no plain row of records" in refused(path)


def test_other_archives_are_named_by_what_is_in_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", kernel=np.zeros(3))
    assert "is a zip archive of 'kernel.npy', not one that PyTorch made" in refused(tmp_path / "a.npz")
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    refused(tmp_path / "empty.zip")


# Older forms


def test_a_file_of_pytorch_0_2_under_python_2(state: State, tmp_path: Path) -> None:
    # Bearpaw's checkpoints of 2017: byte strings, no counters of batches, weights of the first GPU.
    path = tmp_path / "model_best.pth.tar"
    path.write_bytes(old_file({f"module.{key}": value for key, value in state.items()}))
    done = import_checkpoint(path, "bearpaw")
    torch.save(state, tmp_path / "today.pth")
    today = import_checkpoint(tmp_path / "today.pth", "bearpaw")
    assert done.facts.network == today.facts.network
    assert all(torch.equal(done.state[key], today.state[key]) for key in today.state)


def old_file(state: State) -> bytes:
    """What PyTorch 0.2 on Python 2.7 writes, opcode by opcode (pickle's protocol 2)."""

    def text(value: str) -> bytes:
        return b"U" + bytes([len(value)]) + value.encode()

    def number(value: int) -> bytes:
        return b"J" + value.to_bytes(4, "little")

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(number(value) for value in values) + b"t"

    def pickled(content: bytes) -> bytes:
        return b"\x80\x02" + content + b"."

    def tensor(key: str, value: Tensor) -> bytes:
        storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cuda:0")
        storage += number(value.numel()) + b"NtQ"
        view = number(0) + numbers(tuple(value.shape)) + numbers(value.stride())
        return b"ctorch._utils\n_rebuild_tensor\n(" + storage + view + b"tR"

    keys = {name: str(94_000_000 + i) for i, name in enumerate(state)}
    pairs = (b"](" + text(name) + tensor(keys[name], value) + b"e" for name, value in state.items())
    weights = b"ccollections\nOrderedDict\n](" + b"".join(pairs) + b"e\x85R"
    optimizer = b"}(" + text("param_groups") + b"](}(" + text("lr") + b"G\x3f\x30bM\xd2\xf1\xa9\xfcueu"
    content = b"}(" + text("arch") + text("hg") + text("state_dict") + weights
    content += text("optimizer") + optimizer + text("epoch") + number(90) + b"u"
    about = b"}(" + text("little_endian") + b"\x88" + text("protocol_version") + number(1001) + b"u"
    magic = 0x1950A86A20F9469CFC6C
    parts = [b"\x8a\x0a" + magic.to_bytes(10, "little"), number(1001), about, content]
    parts.append(b"](" + b"".join(text(key) for key in keys.values()) + b"e")
    stored = (value.numel().to_bytes(8, "little") + value.numpy().tobytes() for value in state.values())
    return b"".join(pickled(part) for part in parts) + b"".join(stored)


def test_the_very_first_form_is_named(path: Path) -> None:
    with tarfile.open(path.with_name("x.pth.tar"), "w") as archive:
        archive.add(path, "pickle")
    assert "is in the tar form of the first PyTorch versions" in refused(path.with_name("x.pth.tar"))


@pytest.mark.parametrize(
    "content", [b"{}", b"\x89HDF\r\n\x1a\n" + bytes(90), gzip.compress(b"weights", mtime=0), b"\x80\x02."]
)
def test_files_of_other_programs(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    assert "no checkpoint at all" in refused(tmp_path / "x.pth")


# What is in the dictionary


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("extra", "named"),
    [
        (argparse.Namespace(arch="hg"), "argparse.Namespace"),
        (np.float64(0.8), "numpy._core.multiarray.scalar"),
        (np.zeros(3), "numpy._core.multiarray._reconstruct"),
        (Path("x"), "pathlib."),
        (torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1), "torch.optim.sgd.SGD"),
    ],
    ids=["options", "number", "array", "path", "optimiser"],
)
def test_what_training_scripts_leave_beside_the_weights_is_named(
    state: State, tmp_path: Path, extra: Any, named: str, zipped: bool
) -> None:
    content = {"state_dict": state, "extra": extra}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    said = refused(tmp_path / "x.pth")
    assert f"is refused: besides tensors it holds {named}" in said
    assert "have someone who trusts the file save its state_dict alone" in said


def test_plain_values_beside_the_weights_do_no_harm(state: State, tmp_path: Path) -> None:
    plain = {
        "best_acc": torch.tensor(0.8),
        "kind": torch.float32,
        "size": torch.Size([1]),
        "names": {"a", "b"},
    }
    torch.save({"state_dict": state, **plain}, tmp_path / "x.pth")
    import_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "odd",
    [
        torch.zeros(2).to_sparse(),
        torch.zeros(2, dtype=torch.complex64),
        torch.empty(2, device="meta"),
        torch.zeros(1).expand(2),
        torch.zeros(4).as_strided((2, 2), (1, 1)),
    ],
    ids=["sparse", "complex", "meta", "repeated", "overlapping"],
)
def test_tensors_without_numbers_of_their_own_are_named(state: State, tmp_path: Path, odd: Tensor) -> None:
    torch.save({**state, "bn1.bias": odd}, tmp_path / "x.pth")
    assert "'bn1.bias' is no plain tensor" in refused(tmp_path / "x.pth")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("key", ["bn1.bias", "score.0.weight"])
def test_nested_tensors_are_named(state: State, tmp_path: Path, key: str) -> None:
    odd = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    torch.save({**state, key: odd}, tmp_path / "x.pth")
    assert f"'{key}' is no plain tensor" in refused(tmp_path / "x.pth")


def test_tensors_that_share_few_stored_bytes_fill_no_memory(state: State, tmp_path: Path) -> None:
    stored = torch.zeros(200_000)
    many = {f"hg.0.hg.0.0.{i}.conv1.weight": stored for i in range(40)}
    torch.save({**state, **many}, tmp_path / "x.pth")
    assert "its tensors are larger than what the file stores" in refused(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: nn.Parameter(t) if t.is_floating_point() else t,
        lambda t: t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t,
        lambda t: torch.cat([t, t])[: len(t)] if t.ndim else t,
        lambda t: torch.stack([t, t], -1)[..., 0],
    ],
    ids=["parameters", "channels last", "part of more", "every other number"],
)
def test_tensors_in_any_plain_form(
    state: State, path: Path, tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    right = import_checkpoint(path).state
    torch.save({key: change(value) for key, value in state.items()}, tmp_path / "x.pth")
    got = import_checkpoint(tmp_path / "x.pth").state
    assert all(torch.equal(got[key], right[key]) for key in right)
    assert all(type(tensor) is Tensor and tensor.is_contiguous() for tensor in got.values())


def test_keys_of_two_layouts_are_ambiguous(others: SimpleNamespace, state: State, tmp_path: Path) -> None:
    both = state | others.princeton(others.Writer(), stacks=1, depth=1, f=8)
    torch.save(both, tmp_path / "x.pth")
    said = refused(tmp_path / "x.pth")
    assert "has keys of several layouts: bearpaw has hg.0." in said
    assert "princeton has hgs.0." in said
    assert "mmpose" not in said


def test_what_is_said_of_odd_keys_can_be_printed(state: State, tmp_path: Path) -> None:
    torch.save({**state, "a\nb\x1b[31m": torch.zeros(1)}, tmp_path / "x.pth")
    assert r"has 'a\nb\x1b[31m', which nobody expects" in refused(tmp_path / "x.pth")
