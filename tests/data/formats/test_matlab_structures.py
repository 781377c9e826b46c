"""Structures and cells of the MATLAB reader, against SciPy's writer and reader and against bytes by hand."""

import string
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hourglass.data.formats.matlab import Damaged, read_variables

NAMES = st.lists(st.text(string.ascii_letters, min_size=1, max_size=9), min_size=1, max_size=3, unique=True)
SHAPES = arrays.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3)
TYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]
LEAVES = st.one_of(
    st.floats(),
    st.integers(-300, 300).map(float),
    st.text(string.ascii_letters + "äß", max_size=6),
    st.just(np.zeros((0, 0))),
    st.sampled_from(TYPES).flatmap(lambda kind: arrays.arrays(kind, SHAPES)),
)


def filled(values: list[Any], shape: tuple[int, ...]) -> Any:
    cells = np.empty(len(values), object)
    for n, value in enumerate(values):
        cells[n] = value
    return cells.reshape(shape)


@st.composite
def nests(draw: st.DrawFn, inside: st.SearchStrategy[Any]) -> Any:
    """A structure, an array of structures, or cells."""
    names, shape = draw(NAMES), draw(SHAPES)
    if draw(st.booleans()):
        return {name: draw(inside) for name in names}
    columns = {name: [draw(inside) for _ in range(int(np.prod(shape)))] for name in names}
    if draw(st.booleans()):
        return filled(columns[names[0]], shape)
    array = np.empty(shape, [(name, object) for name in names])
    for name, values in columns.items():
        array[name] = filled(values, shape)
    return array


def check(ours: Any, theirs: Any, in_structure: bool) -> None:
    if theirs.dtype.names:
        assert ours.dtype.names == theirs.dtype.names
        assert ours.shape == theirs.shape
        for name in theirs.dtype.names:
            for one, other in zip(ours[name].ravel(), theirs[name].ravel(), strict=True):
                check(one, other, True)
    elif theirs.dtype.kind == "O":
        assert ours.shape == theirs.shape
        for one, other in zip(ours.ravel(), theirs.ravel(), strict=True):
            check(one, other, False)
    elif theirs.dtype.kind == "U":
        assert isinstance(ours, str) or not in_structure
        assert str(ours) == "".join(theirs)
    elif theirs.shape == (1, 1) and in_structure:
        assert type(ours) is type(theirs.item())
        np.testing.assert_array_equal(ours, theirs.item())
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(nests(st.recursive(LEAVES, nests, max_leaves=8)), st.booleans())
def test_nests_as_scipy_writes_and_reads_them(tmp_path: Path, value: Any, packed: bool) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"value": value, "after": 7.0}, do_compression=packed)
    theirs, ours = scipy.io.loadmat(tmp_path / "a.mat"), read_variables(tmp_path / "a.mat")
    check(ours["value"], theirs["value"], False)
    assert ours["after"].tolist() == [[7]]


def test_what_is_not_read_is_none_inside(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"a": {"bare": {}, "turned": 1j, "one": 1.0}})
    found = read_variables(tmp_path / "a.mat")["a"]
    assert found.dtype.names == ("bare", "turned", "one")
    assert found["turned"].item() is None
    assert (found["bare"].item().shape, found["bare"].item().dtype.names) == ((1, 1), ())
    assert found["one"].item() == 1


def element(order: str, kind: int, data: bytes) -> bytes:
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(order: str, family: int, shape: tuple[int, ...], *parts: bytes, name: bytes = b"") -> bytes:
    flags = element(order, 6, struct.pack(order + "II", family, 0))
    sizes = element(order, 5, struct.pack(f"{order}{len(shape)}i", *shape))
    return element(order, 14, flags + sizes + element(order, 1, name) + b"".join(parts))


def small(order: str, kind: int, data: bytes) -> bytes:
    return struct.pack(order + "I", len(data) << 16 | kind) + data.ljust(4, b"\0")


def fields(order: str, *names: str, width: int = 8) -> bytes:
    letters = b"".join(name.encode().ljust(width, b"\0") for name in names)
    return small(order, 5, struct.pack(order + "i", width)) + element(order, 1, letters)


def write(file: Path, order: str, *variables: bytes) -> Path:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(order + "H", 0x0100)
    file.write_bytes(head + (b"IM" if order == "<" else b"MI") + b"".join(variables))
    return file


STORED = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", STORED)
def test_a_single_double_however_it_is_stored(tmp_path: Path, order: str, kind: int) -> None:
    # MATLAB keeps a double in as few bytes as hold it, in the head of the element where they fit.
    data = struct.pack(order + STORED[kind], 107)
    plain = matrix(order, 6, (1, 1), element(order, kind, data))
    values = [plain, matrix(order, 6, (0, 0), element(order, 9, b""))]
    if len(data) <= 4:
        values.append(matrix(order, 6, (1, 1), small(order, kind, data)))
    names = "abc"[: len(values)]
    whole = matrix(order, 2, (1, 1), fields(order, *names), *values, name=b"s")
    found = read_variables(write(tmp_path / "a.mat", order, whole))["s"]
    assert (found["a"].item(), type(found["a"].item())) == (107, float)
    assert found["b"].item().shape == (0, 0)
    if "c" in names:
        assert (found["c"].item(), type(found["c"].item())) == (107, float)


ONE = matrix("<", 6, (1, 1), element("<", 9, struct.pack("<d", 1)))


def structures(tmp_path: Path, shape: tuple[int, ...], head: bytes, *values: bytes) -> Any:
    return read_variables(write(tmp_path / "a.mat", "<", matrix("<", 2, shape, head, *values, name=b"s")))[
        "s"
    ]


MOST = 2**31 - 1


@pytest.mark.parametrize("shape", [(1, 4), (3, 2), (-1, -3), (1, 2**30), (1, MOST), (MOST, MOST)])
def test_more_structures_than_bytes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    found = structures(tmp_path, (1, 3), fields("<", "a"), ONE, ONE, ONE)
    assert found["a"].tolist() == [[1, 1, 1]]
    with pytest.raises(Damaged):
        structures(tmp_path, shape, fields("<", "a"), ONE, ONE, ONE)


def test_structures_that_need_no_bytes(tmp_path: Path) -> None:
    # Nothing in the file bounds their number.
    bare = small("<", 5, struct.pack("<i", 1)) + element("<", 1, b"")
    assert structures(tmp_path, (1, 3), bare).shape == (1, 3)
    with pytest.raises(Damaged, match="too many values"):
        structures(tmp_path, (1, 2**30), bare)
    assert structures(tmp_path, (0, 2**20), fields("<", "a", "b")).shape == (0, 2**20)
    with pytest.raises(Damaged, match="dimensions"):
        structures(tmp_path, (0, MOST, MOST), fields("<", "a", "b"))


@pytest.mark.parametrize(
    "head",
    [
        fields("<", "a", "a"),
        fields("<", "a", ""),
        small("<", 5, struct.pack("<i", 0)) + element("<", 1, b"a\0b\0"),
        small("<", 5, struct.pack("<i", -2)) + element("<", 1, b"a\0b\0"),
        small("<", 5, struct.pack("<i", 3)) + element("<", 1, b"a\0b\0"),
        small("<", 5, b"\2\0") + element("<", 1, b"a\0b\0"),
        small("<", 1, struct.pack("<i", 2)) + element("<", 1, b"a\0b\0"),
        fields("<", *(f"f{n}" for n in range(4097))),
    ],
)
def test_field_names_that_are_none(tmp_path: Path, head: bytes) -> None:
    right = small("<", 5, struct.pack("<i", 2)) + element("<", 1, b"a\0b\0")
    assert structures(tmp_path, (1, 1), right, ONE, ONE).dtype.names == ("a", "b")
    with pytest.raises(Damaged, match="field names"):
        structures(tmp_path, (1, 1), head, ONE, ONE)


@pytest.mark.parametrize("cut", [1, 8, 16, 56, 63])
def test_a_value_that_reaches_out_of_its_structure(tmp_path: Path, cut: int) -> None:
    # The bytes of the last number are there, but they aren't the structure's own.
    inner = matrix("<", 2, (1, 2), fields("<", "a"), ONE, ONE)
    shorter = inner[:4] + struct.pack("<I", len(inner) - 8 - cut) + inner[8:]
    assert structures(tmp_path, (1, 1), fields("<", "in"), inner)["in"].item()["a"].tolist() == [[1, 1]]
    with pytest.raises(Damaged):
        structures(tmp_path, (1, 1), fields("<", "in"), shorter)


@pytest.mark.parametrize("family", [1, 2])
def test_too_deep(tmp_path: Path, family: int) -> None:
    def nested(depth: int) -> Path:
        value = ONE
        for level in range(depth):
            head = fields("<", "a") if family == 2 else b""
            value = matrix("<", family, (1, 1), head, value, name=b"" if level < depth - 1 else b"s")
        return write(tmp_path / "a.mat", "<", value)

    value: Any = read_variables(nested(10))["s"]
    for _ in range(10):
        value = (value["a"] if family == 2 else value).item()
    assert value == 1
    for depth in (11, 5000):
        with pytest.raises(Damaged, match="too deep"):
            read_variables(nested(depth))


def test_too_many_values_in_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = matrix("<", 2, (1, 3), fields("<", "a"), ONE, ONE, ONE)
    # Two structures and three numbers in each.
    monkeypatch.setattr("hourglass.data.formats.matlab.MOST_VALUES", 8)
    assert structures(tmp_path, (1, 2), fields("<", "in"), inner, inner).shape == (1, 2)
    monkeypatch.setattr("hourglass.data.formats.matlab.MOST_VALUES", 7)
    with pytest.raises(Damaged, match="too many values"):
        structures(tmp_path, (1, 2), fields("<", "in"), inner, inner)
