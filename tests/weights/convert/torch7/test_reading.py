"""The Torch7 reader: plain values, shared parts, deep nesting, and everything that is refused."""

import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hourglass.weights.convert.importing import import_checkpoint
from hourglass.weights.convert.torch7 import LuaTable, Object, Strided, read_torch7
from hourglass.weights.facts import WeightsError


def test_plain_values_come_back(torch7: SimpleNamespace, tmp_path: Path) -> None:
    shared = {"a": 1.5}
    numbers = torch.arange(6.0).view(2, 3)
    value = {"t": True, "f": False, 1: "eins", 2: shared, 3: shared, "none": None, "x": numbers, -2.5: "key"}
    for kind in ("Float", "Double", "CudaDouble", "Half", "Long", "Byte"):
        read = read_torch7(torch7.written(tmp_path / "v.t7", value, kind))
        assert isinstance(read, LuaTable)
        assert [read[key] for key in ("t", "f", 1, "none")] == [True, False, "eins", None]
        assert read.fields[-2.5] == "key"
        assert read[2] is read[3]
        assert read[2]["a"] == 1.5
        assert isinstance(read["x"], Strided)
        assert torch.equal(read["x"].tensor(), numbers)
        assert len(read.array()) == 3


def test_files_older_than_versions_of_classes(torch7: SimpleNamespace, tmp_path: Path) -> None:
    writer = torch7.Writer()
    writer.int(4)
    writer.int(100)
    writer.text("nn.Identity")
    writer.write({"train": False})
    (tmp_path / "old.t7").write_bytes(writer.bytes)
    read = read_torch7(tmp_path / "old.t7")
    assert isinstance(read, Object)
    assert (read.name, read["train"]) == ("nn.Identity", False)


def nested(depth: int) -> bytes:
    """Tables in tables, each under the key 1; the innermost is empty."""
    key = struct.pack("<id", 1, 1.0)
    shells = [struct.pack("<iii", 3, i + 1, 1) + key for i in range(depth)]
    return b"".join([*shells, struct.pack("<iii", 3, depth + 1, 0)])


def test_nesting_far_beyond_the_interpreters_recursion(tmp_path: Path) -> None:
    (tmp_path / "deep.t7").write_bytes(nested(5000))
    read = read_torch7(tmp_path / "deep.t7")
    depth = 0
    while isinstance(read, LuaTable) and read.fields:
        read, depth = read[1], depth + 1
    assert depth == 5000
    (tmp_path / "deeper.t7").write_bytes(nested(50_000))
    assert "deep in one another" in refused(tmp_path / "deeper.t7")


def test_a_view_takes_its_own_numbers_only() -> None:
    from hourglass.weights.convert.torch7 import Storage

    storage = Storage(np.arange(20, dtype="<f8"))
    assert torch.equal(Strided((2, 2), (1, 2), 3, storage).tensor(), torch.tensor([[3.0, 5.0], [4.0, 6.0]]))
    # How far the only one of a dimension would be from the next doesn't matter.
    assert torch.equal(Strided((1, 2), (2**62, 1), 1, storage).tensor(), torch.tensor([[1.0, 2.0]]))
    for sizes, strides, offset, words in (
        ((4, 5), (5, 1), 1, "needs 21 numbers, but 20 are stored"),
        ((1000, 1000), (0, 0), 0, "needs 1000000 numbers"),
        ((3,), (-1,), 5, "counts backwards"),
        ((2**40, 2**40), (2**40, 1), 0, "numbers, but 20"),
        ((0,), (1,), 0, "has no numbers"),
        ((3, 2), (1, 1), 0, "has the same numbers in several places"),
        ((3, 3), (2, 1), 0, "has the same numbers in several places"),
        ((2,), (0,), 0, "has the same numbers in several places"),
        ((), (), 0, "has no numbers"),
    ):
        with pytest.raises(ValueError, match=words):
            Strided(sizes, strides, offset, storage).tensor()


# Refusals


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, "torch7")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [6, 7, 8])
def test_a_lua_function_is_refused(tmp_path: Path, kind: int) -> None:
    head = struct.pack("<iiiii", 3, 1, 1, 2, 1) + b"f" + struct.pack("<i", kind)
    (tmp_path / "f.t7").write_bytes(head + bytes(40))
    assert "is refused: it holds a Lua function" in refused(tmp_path / "f.t7")


def test_an_unknown_class_is_refused_by_name(torch7: SimpleNamespace, tmp_path: Path) -> None:
    for name in ("os.Execute", "torch.Timer", "tds.Hash", "torch.FloatTensorX"):
        path = torch7.written(tmp_path / "c.t7", {"model": torch7.Obj(name, command="rm")})
        assert f"is refused: it holds an object of the class '{name}'" in refused(path)


def test_the_text_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.t7").write_text("4\n1\n3\nV 1\n13\nnn.Sequential\n")
    assert "text form" in refused(tmp_path / "t.t7")


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<i", 99),
        struct.pack("<iii", 3, 1, -1),
        struct.pack("<iii", 3, 1, 2**31 - 1),
        struct.pack("<ii", 2, -5),
        struct.pack("<ii", 2, 2**30) + b"abc",
        struct.pack("<iii", 4, 1, 3)
        + b"V 1"
        + struct.pack("<i", 17)
        + b"torch.FloatTensor"
        + struct.pack("<i", 9999),
        struct.pack("<iii", 4, 1, 3)
        + b"V 1"
        + struct.pack("<i", 18)
        + b"torch.FloatStorage"
        + struct.pack("<q", 2**60),
        struct.pack("<iii", 4, 1, 3) + b"V 1" + struct.pack("<i", 5) + b"nn.Up" + struct.pack("<id", 1, 2.0),
    ],
)
def test_bytes_that_promise_too_much(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "x.t7").write_bytes(raw)
    assert "damaged" in refused(tmp_path / "x.t7")
