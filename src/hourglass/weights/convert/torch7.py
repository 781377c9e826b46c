"""Reads the binary files of Torch7 (.t7) as plain data.

Nothing in a file is ever run: a Lua function is refused by name, and an object of a class becomes that
class's name with a table. The format is that of Torch7's own File.lua and Tensor.c: little endian, 4-byte
int, 8-byte long and double, every object led by its kind.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hourglass.core.files import reason
from hourglass.weights.facts import WeightsError

_NIL, _NUMBER, _STRING, _TABLE, _OBJECT, _BOOLEAN = range(6)
_FUNCTIONS = (6, 7, 8)

_TYPES = {
    "Float": "<f4",
    "Double": "<f8",
    "Half": "<f2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "i1",
    "Byte": "u1",
}
_CUDA = {f"Cuda{name}": kind for name, kind in _TYPES.items() if name != "Float"} | {"Cuda": "<f4"}
_ARRAYS = {f"torch.{name}": kind for name, kind in (_TYPES | _CUDA).items()}
"""Start of the names of tensor and storage classes, and what one number is."""

_PACKAGES = ("nn", "cudnn", "nngraph", "graph")
"""Whose classes are written as one table."""

_MOST_NESTED = 20_000
_MOST_DIMENSIONS = 16

Value: TypeAlias = "bool | int | float | str | LuaTable | Object | Storage | Strided | None"


@dataclass(eq=False)
class LuaTable:
    """A Lua table; whole numbers among its keys are ints."""

    fields: dict[Any, Any] = field(default_factory=dict)

    def __getitem__(self, key: str | int) -> Any:
        """The value, None where there is none, as in Lua."""
        return self.fields.get(key)

    def array(self) -> list[Any]:
        """The values under 1, 2, 3 and so on."""
        values: list[Any] = []
        while len(values) + 1 in self.fields:
            values.append(self.fields[len(values) + 1])
        return values


@dataclass(eq=False)
class Object:
    """An object of a class that keeps its state in a table."""

    name: str
    table: LuaTable = field(default_factory=LuaTable)

    def __getitem__(self, key: str | int) -> Any:
        return self.table[key]


@dataclass(eq=False)
class Storage:
    """The numbers behind one or several tensors, (N,), not yet copied."""

    numbers: npt.NDArray[Any]


@dataclass(eq=False)
class Strided:
    """A tensor as it is stored: a view of its storage; `offset` counts from 0."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: Storage | None

    @property
    def reach(self) -> int:
        """How far the last number lies behind the first one."""
        return sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True))

    def tensor(self) -> Tensor:
        """A float32 copy. Raises ValueError for a view that leaves its storage or repeats its numbers."""
        numbers = np.empty(0, np.float32) if self.storage is None else self.storage.numbers
        count = int(np.prod(self.sizes, dtype=object))
        if min(self.sizes, default=0) < 1 or min((self.offset, *self.strides)) < 0:
            raise ValueError("has no numbers or counts backwards")
        needed = max(count, self.offset + self.reach + 1)
        if needed > len(numbers):
            raise ValueError(f"needs {needed} numbers, but {len(numbers)} are stored")
        inner = 0  # reach of the inner dimensions; a stride within it would meet the same number twice
        for stride, size in sorted(zip(self.strides, self.sizes, strict=True)):
            if size > 1 and stride <= inner:
                raise ValueError("has the same numbers in several places")
            inner += stride * (size - 1)
        # Torch7 often keeps a network's whole weights in one storage: copy this view alone.
        size = numbers.itemsize
        strides = [stride if n > 1 else 0 for stride, n in zip(self.strides, self.sizes, strict=True)]
        view = np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.sizes, [size * stride for stride in strides], writeable=False
        )
        return torch.from_numpy(view.astype(np.float32, order="C"))


def read_torch7(path: Path) -> Value:
    """The one object that a .t7 file holds, references between its parts kept.

    Raises WeightsError, naming the file and the offending object, for one that is cut off or damaged, is in
    Torch7's text form, has anything after its object, or holds a Lua function or an object of an unknown
    class.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {reason(error)}") from error
    if raw[:2].strip().isdigit() and raw[1:2] == b"\n":
        raise WeightsError(f"{path} is in Torch7's text form; save it again in the binary one")
    reader = _Reader(raw, path)
    value = reader.read()
    if reader.at < len(raw):
        # A damaged count of entries hands them on from table to table, until some are left over at the end.
        raise WeightsError(f"{path} is damaged: {len(raw) - reader.at} bytes follow its object")
    return value


class _Reader:
    """Reads objects one after another; `at` is the next byte."""

    def __init__(self, raw: bytes, path: Path) -> None:
        self.raw = raw
        self.path = path
        self.at = 0
        self.known: dict[int, Value] = {}

    def read(self) -> Value:
        """The file's object. A stack of generators stands for recursion, which real files drive very deep."""
        stack = [self._object()]
        value: Value = None
        while True:
            try:
                stack[-1].send(value)
            except StopIteration as finished:
                value = finished.value
                stack.pop()
                if not stack:
                    return value
                continue
            if len(stack) == _MOST_NESTED:
                raise self._damaged(f"objects lie {_MOST_NESTED} deep in one another")
            stack.append(self._object())
            value = None

    def _object(self) -> "Generator[None, Value, Value]":
        """One object; each bare `yield` is answered with the next object of the file."""
        kind = self._int()
        if kind == _NIL:
            return None
        if kind == _NUMBER:
            return self._double()
        if kind == _BOOLEAN:
            return self._int() == 1
        if kind == _STRING:
            return self._string()
        if kind in _FUNCTIONS:
            raise WeightsError(f"{self.path} is refused: it holds a Lua function at byte {self.at - 4}")
        if kind not in (_TABLE, _OBJECT):
            raise self._damaged(f"{kind} is no kind of object")
        index = self._int()
        if index in self.known:
            return self.known[index]
        if kind == _TABLE:
            table = LuaTable()
            self.known[index] = table
            yield from self._fill(table)
            return table
        name = self._string()
        if name.startswith("V "):
            name = self._string()
        start, _, ending = name.rpartition("Tensor")
        if start in _ARRAYS and not ending:
            return (yield from self._strided(index))
        start, _, ending = name.rpartition("Storage")
        if start in _ARRAYS and not ending:
            storage = Storage(self._numbers(_ARRAYS[start], self._long()))
            self.known[index] = storage
            return storage
        if name.partition(".")[0] not in _PACKAGES:
            raise WeightsError(f"{self.path} is refused: it holds an object of the class {_short(name)}")
        made = Object(name)
        self.known[index] = made
        state = yield
        if not isinstance(state, LuaTable):
            raise self._damaged(f"an object of {_short(name)} has no table")
        made.table = state
        return made

    def _fill(self, table: LuaTable) -> "Generator[None, Value, None]":
        for _ in range(self._count(self._int(), 8)):
            key = yield
            value = yield
            if isinstance(key, float) and key.is_integer():
                key = int(key)
            table.fields[key] = value

    def _strided(self, index: int) -> "Generator[None, Value, Strided]":
        dimensions = self._int()
        if not 0 <= dimensions <= _MOST_DIMENSIONS:
            raise self._damaged(f"a tensor of {dimensions} dimensions")
        sizes = tuple(self._long() for _ in range(dimensions))
        strides = tuple(self._long() for _ in range(dimensions))
        made = Strided(sizes, strides, self._long() - 1, None)
        self.known[index] = made
        storage = yield
        if storage is not None and not isinstance(storage, Storage):
            raise self._damaged("a tensor without a storage")
        made.storage = storage
        return made

    def _damaged(self, what: str) -> WeightsError:
        return WeightsError(f"{self.path} is damaged or no .t7 file: {what} (at byte {self.at})")

    def _take(self, count: int) -> bytes:
        if count < 0:
            raise self._damaged(f"a length of {count}")
        if self.at + count > len(self.raw):
            raise WeightsError(f"{self.path} is cut off or damaged: it ends within an object")
        self.at += count
        return self.raw[self.at - count : self.at]

    def _count(self, count: int, least: int) -> int:
        """A count of things of at least so many bytes each, if the rest of the file can hold them."""
        if count < 0 or count * least > len(self.raw) - self.at:
            raise WeightsError(f"{self.path} is cut off or damaged: it ends within {count} entries")
        return count

    def _int(self) -> int:
        return int.from_bytes(self._take(4), "little", signed=True)

    def _long(self) -> int:
        return int.from_bytes(self._take(8), "little", signed=True)

    def _double(self) -> float:
        return float(np.frombuffer(self._take(8), "<f8")[0])

    def _string(self) -> str:
        return self._take(self._int()).decode("latin-1")

    def _numbers(self, kind: str, count: int) -> npt.NDArray[Any]:
        size = np.dtype(kind).itemsize
        start = self.at
        self.at += self._count(count, size) * size
        return np.frombuffer(self.raw, kind, count, start)


def _short(name: str) -> str:
    """A class's name for a message; damage can make it anything."""
    return repr(name if len(name) <= 60 else name[:60] + "...")
