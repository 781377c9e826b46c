"""Arrays of numbers, text, cells and structures out of MATLAB's files of version 5 to 7.2.

SciPy's reader trusts the sizes in the file: a few flipped bits end the whole process (scipy 1.17, bus error),
which no `except` catches. This one checks every size before it believes it. Sparse and complex arrays and
objects, which no pose file needs, are left out. The format is MathWorks' "MAT-File Level 5 File Format".

A structure array comes as a NumPy array of its shape with one field of objects for each field of the file,
so that `annolist["image"]` is quick. Inside structures a single number is a float or an int and text a str:
annotations like MPII's hold 1.7 million single numbers, and an array for each would take 200 MB.
"""

import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 2**30
"""Of one variable after unpacking."""

MOST_VALUES = 5_000_000
"""In the cells and structures of one variable; a file like MPII's annotations has 2.1 million."""

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCTURE, _CHAR = 1, 2, 4
_STORED = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}
"""How numbers lie in the file, by the type of their element: letters that `struct` and NumPy share."""
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2"},
    **{12: "i4", 13: "u4", 14: "i8", 15: "u8"},
}
"""What they are for MATLAB, by the class of the array."""
_COMPLEX = 0x0800
_DEEPEST, _MOST_AXES, _MOST_FIELDS = 10, 16, 4096

_NOTHING: npt.NDArray[Any] = np.zeros((0, 0))
"""What is stored as [], of which a file has many."""
_NOTHING.flags.writeable = False


class Damaged(ValueError):
    """The bytes contradict one another."""


class NewerVersion(ValueError):
    """A MATLAB 7.3 file, which is HDF5 inside."""


def read_variables(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every variable of a kind that is read, by name.

    Text is one string, cells are arrays of objects, structures arrays with a field of objects for each of
    theirs. None stands for a value inside them whose kind isn't read.

    Raises Damaged or NewerVersion, OSError when the file can't be read.
    """
    data = path.read_bytes()
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise Damaged("no header of a MATLAB file of version 5")
    order = "<" if data[126:128] == b"IM" else ">"
    version = struct.unpack(order + "H", data[124:126])[0]
    if version == 0x0200:
        raise NewerVersion("a MATLAB 7.3 file")
    if version != 0x0100:
        raise Damaged(f"version {version:#x}")
    found: dict[str, npt.NDArray[Any]] = {}
    place = _HEADER
    while place < len(data):
        source = _Bytes(data, order)
        kind, start, stop, place = source.element(place, len(data), padded=False)
        if kind == _COMPRESSED:
            source = _Bytes(_unpacked(data[start:stop]), order)
            kind, start, stop, _ = source.element(0, len(source.data))
        if kind != _MATRIX:
            raise Damaged(f"an element of type {kind} where a variable should be")
        name, value = source.matrix(start, stop, 0)
        if value is not None and not name.startswith("__"):
            found[name] = value
    return found


def _unpacked(payload: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(payload, MOST_BYTES)
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if not stream.eof:
        raise Damaged("a packed variable that ends early, or is larger than it may be")
    return data


@dataclass
class _Bytes:
    """Bytes of one variable. Places are offsets into them, so that nothing is copied on the way down."""

    data: bytes
    order: str
    values_left: int = field(default_factory=lambda: MOST_VALUES)

    def element(self, place: int, end: int, padded: bool = True) -> tuple[int, int, int, int]:
        """Type, start and stop of the element at a place, and the place of the next; all before `end`."""
        if place + 8 > end:
            raise Damaged("an element without a head")
        kind, size = struct.unpack_from(self.order + "II", self.data, place)
        if kind >> 16:
            # Up to four bytes lie in the head itself.
            size, kind = kind >> 16, kind & 0xFFFF
            if size > 4:
                raise Damaged("a small element that is not small")
            return kind, place + 4, place + 4 + size, place + 8
        stop = place + 8 + size
        if stop > end:
            raise Damaged("an element longer than the file")
        # Inside a variable everything starts at a multiple of eight.
        return kind, place + 8, stop, stop + (-size % 8 if padded else 0)

    def matrix(self, start: int, end: int, depth: int) -> tuple[str, npt.NDArray[Any] | None]:
        """Name and value of a variable, None for kinds that aren't read."""
        if start == end:
            return "", _NOTHING
        kind, first, last, place = self.element(start, end)
        if kind != 6 or last - first != 8:
            raise Damaged("a variable without flags")
        flag = struct.unpack_from(self.order + "I", self.data, first)[0]
        kind, first, last, place = self.element(place, end)
        axes, odd = divmod(last - first, 4)
        if kind != 5 or odd or axes < 2:
            raise Damaged("a variable without dimensions")
        if axes > _MOST_AXES:
            raise Damaged(f"{axes} dimensions")
        shape: tuple[int, ...] = struct.unpack_from(f"{self.order}{axes}i", self.data, first)
        # NumPy multiplies them without the zeros.
        if min(shape) < 0 or math.prod(max(1, size) for size in shape) > MOST_BYTES:
            raise Damaged(f"the dimensions {shape}")
        kind, first, last, place = self.element(place, end)
        name = self.data[first:last].decode("latin-1")
        family = flag & 0xFF
        if family in (_CELL, _STRUCTURE) and depth >= _DEEPEST:
            raise Damaged("cells and structures too deep inside one another")
        if family == _CELL:
            return name, self.cells(place, end, shape, depth)
        if family == _STRUCTURE:
            return name, self.structures(place, end, shape, depth)
        if family != _CHAR and (family not in _CLASSES or flag & _COMPLEX):
            return name, None
        kind, first, last, place = self.element(place, end)
        raw = self.data[first:last]
        if family == _CHAR:
            return name, _text(kind, raw, self.order)
        if kind not in _STORED:
            raise Damaged(f"numbers of type {kind}")
        stored = np.dtype(self.order + _STORED[kind])
        if len(raw) != math.prod(shape) * stored.itemsize:
            raise Damaged(f"{len(raw)} bytes for the dimensions {shape}")
        values = np.frombuffer(raw, stored).reshape(shape, order="F")
        with np.errstate(invalid="ignore", over="ignore"):
            return name, np.ascontiguousarray(values.astype(_CLASSES[family]))

    def cells(self, place: int, end: int, shape: tuple[int, ...], depth: int) -> npt.NDArray[Any]:
        count = math.prod(shape)
        self.claim(count, "cells", place, end)
        cells = np.empty(count, object)
        for n in range(count):
            kind, start, stop, place = self.element(place, end)
            if kind != _MATRIX:
                raise Damaged(f"a cell of type {kind}")
            cells[n] = self.matrix(start, stop, depth + 1)[1]
        return cells.reshape(shape, order="F")

    def structures(self, place: int, end: int, shape: tuple[int, ...], depth: int) -> npt.NDArray[Any]:
        """(*shape) with a field of objects for each of the structure's; they lie there element by element."""
        kind, start, stop, place = self.element(place, end)
        if kind != 5 or stop - start != 4:
            raise Damaged("a structure that doesn't tell how long its field names are")
        length = struct.unpack_from(self.order + "i", self.data, start)[0]
        kind, start, stop, place = self.element(place, end)
        if length < 1 or (stop - start) % length or (stop - start) // length > _MOST_FIELDS:
            raise Damaged(f"{stop - start} bytes of field names, each {length} long")
        raw = (self.data[n : n + length] for n in range(start, stop, length))
        names = tuple(name.split(b"\0", 1)[0].decode("latin-1") for name in raw)
        if "" in names or len(set(names)) < len(names):
            raise Damaged("field names that are empty or the same")
        dtype, count = _dtype(names), math.prod(shape)
        self.claim(count * len(names), "fields", place, end)
        if not count or not names:
            self.claim(count, "structures without fields", 0, 8 * count)
            return np.empty(shape, dtype)
        values = self.values(place, end, count * len(names), depth + 1)
        rows = list(zip(*[iter(values)] * len(names), strict=True))
        return np.array(rows, dtype).reshape(shape, order="F")

    def values(self, place: int, end: int, count: int, depth: int) -> list[Any]:
        """What the fields hold; a single number as float or int, text as str, None for kinds not read."""
        data, alone = self.data, _alone(self.order)
        values: list[Any] = []
        for _ in range(count):
            # A single number is nearly always one of a few fixed heads and then itself.
            known = alone.get(data[place : place + _HEAD])
            if known and place + known[2] <= end and data.startswith(known[0], place + _HEAD):
                values.append(float(known[3](data, place + known[1])[0]) if known[3] else _NOTHING)
                place += known[2]
                continue
            kind, start, stop, place = self.element(place, end)
            if kind != _MATRIX:
                raise Damaged(f"a field of type {kind}")
            value: Any = self.matrix(start, stop, depth)[1]
            if value is not None and value.size == 1 and value.dtype.kind in "Uiuf" and value.ndim in (0, 2):
                value = value.item()
            values.append(value)
        return values

    def claim(self, count: int, what: str, place: int, end: int) -> None:
        """Raise Damaged unless so many values, of eight bytes or more each, may lie between two places."""
        self.values_left -= count
        if 8 * count > end - place or self.values_left < 0:
            raise Damaged(f"{count} {what} in {end - place} bytes, or too many values in all")


def _text(kind: int, raw: bytes, order: str) -> npt.NDArray[Any]:
    code = _TEXT.get(kind)
    if code is None:
        raise Damaged(f"text of type {kind}")
    if code in ("utf-16", "utf-32"):
        code += "-le" if order == "<" else "-be"
    try:
        return np.array(raw.decode(code))
    except UnicodeDecodeError as error:
        raise Damaged("text that is none") from error


@lru_cache(256)
def _dtype(names: tuple[str, ...]) -> np.dtype[np.void]:
    return np.dtype([(name, object) for name in names])


_HEAD = 52
_Alone = tuple[bytes, int, int, Callable[..., tuple[Any, ...]] | None]


@cache
def _alone(order: str) -> dict[bytes, _Alone]:
    """A double of 1 x 1 or 0 x 0 by its first 52 bytes, for each way in which its number may be stored.

    The bytes that must follow, where the number starts, where the next value does, how the number is unpacked
    (None for [], which has none). Whatever isn't among them is read step by step, to the same result.
    """
    found: dict[bytes, _Alone] = {}

    def head(side: int, stored: int, size: int) -> bytes:
        flags, shape, no_name = (6, 8, 6, 0), (5, 8, side, side), (1, 0)
        return struct.pack(order + "13I", _MATRIX, size, *flags, *shape, *no_name, stored)

    for kind, letter in _STORED.items():
        one = struct.Struct(order + letter)
        if one.size < 8:
            # Up to four bytes lie in the head of their element.
            found[head(1, one.size << 16 | kind, 48)] = (b"", 52, 56, one.unpack_from)
        else:
            found[head(1, kind, 56)] = (struct.pack(order + "I", 8), 56, 64, one.unpack_from)
    found[head(0, 9, 48)] = (bytes(4), 56, 56, None)
    return found
