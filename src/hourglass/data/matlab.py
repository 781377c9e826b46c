"""Arrays of numbers and text out of MATLAB's files of version 5 to 7.2.

SciPy's reader trusts the sizes in the file: a few flipped bits end the whole process (scipy 1.17, bus error),
which no `except` catches. This one checks every size before it believes it. Structures, sparse and complex
arrays, which no pose file needs, are left out. The format is MathWorks' "MAT-File Level 5 File Format".
"""

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_BYTES = 2**30
"""Of one variable after unpacking."""

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR = 1, 4
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""How numbers lie in the file, by the type of their element."""
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CLASSES = {
    **{6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2"},
    **{12: "i4", 13: "u4", 14: "i8", 15: "u8"},
}
"""What they are for MATLAB, by the class of the array."""
_COMPLEX = 0x0800
_DEEPEST, _MOST_AXES = 4, 16


class Damaged(ValueError):
    """The bytes contradict one another."""


class NewerVersion(ValueError):
    """A MATLAB 7.3 file, which is HDF5 inside."""


def read_variables(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every array of numbers, text or cells by name; text is one string, cells are arrays of objects.

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
        kind, payload, place = _element(data, place, order, padded=False)
        if kind == _COMPRESSED:
            kind, payload, _ = _element(_unpacked(payload), 0, order)
        if kind != _MATRIX:
            raise Damaged(f"an element of type {kind} where a variable should be")
        name, value = _matrix(payload, order, 0)
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


def _element(data: bytes, place: int, order: str, padded: bool = True) -> tuple[int, bytes, int]:
    """Type and bytes of the element at a place, and the place of the next."""
    if place + 8 > len(data):
        raise Damaged("an element without a head")
    kind, size = struct.unpack_from(order + "II", data, place)
    if kind >> 16:
        # Up to four bytes lie in the head itself.
        size, kind = kind >> 16, kind & 0xFFFF
        if size > 4:
            raise Damaged("a small element that is not small")
        return kind, data[place + 4 : place + 4 + size], place + 8
    start = place + 8
    if start + size > len(data):
        raise Damaged("an element longer than the file")
    # Inside a variable everything starts at a multiple of eight.
    return kind, data[start : start + size], start + size + (-size % 8 if padded else 0)


def _matrix(payload: bytes, order: str, depth: int) -> tuple[str, npt.NDArray[Any] | None]:
    """Name and value of a variable, None for kinds that aren't read."""
    if depth > _DEEPEST:
        raise Damaged("cells too deep inside cells")
    if not payload:
        return "", np.zeros((0, 0))
    kind, flags, place = _element(payload, 0, order)
    if kind != 6 or len(flags) != 8:
        raise Damaged("a variable without flags")
    flag = struct.unpack(order + "II", flags)[0]
    kind, dimensions, place = _element(payload, place, order)
    if kind != 5 or len(dimensions) % 4 or len(dimensions) < 8:
        raise Damaged("a variable without dimensions")
    shape = struct.unpack(f"{order}{len(dimensions) // 4}i", dimensions)
    if len(shape) > _MOST_AXES or min(shape) < 0 or math.prod(shape) > MOST_BYTES:
        raise Damaged(f"the dimensions {shape}")
    kind, raw_name, place = _element(payload, place, order)
    name = raw_name.decode("latin-1")
    family = flag & 0xFF
    if family == _CELL:
        return name, _cells(payload, place, order, shape, depth)
    if family != _CHAR and (family not in _CLASSES or flag & _COMPLEX):
        return name, None
    kind, raw, place = _element(payload, place, order)
    if family == _CHAR:
        return name, _text(kind, raw, order)
    if kind not in _STORED:
        raise Damaged(f"numbers of type {kind}")
    stored = np.dtype(order + _STORED[kind])
    if len(raw) != math.prod(shape) * stored.itemsize:
        raise Damaged(f"{len(raw)} bytes for the dimensions {shape}")
    values = np.frombuffer(raw, stored).reshape(shape, order="F")
    with np.errstate(invalid="ignore", over="ignore"):
        return name, np.ascontiguousarray(values.astype(_CLASSES[family]))


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


def _cells(payload: bytes, place: int, order: str, shape: tuple[int, ...], depth: int) -> npt.NDArray[Any]:
    count = math.prod(shape)
    if count > len(payload) // 8:
        raise Damaged(f"{count} cells in {len(payload)} bytes")
    cells = np.empty(count, object)
    for n in range(count):
        kind, inside, place = _element(payload, place, order)
        if kind != _MATRIX:
            raise Damaged(f"a cell of type {kind}")
        cells[n] = _matrix(inside, order, depth + 1)[1]
    return cells.reshape(shape, order="F")
