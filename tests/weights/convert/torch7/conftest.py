"""A writer of Torch7 files, byte by byte, after Torch7's own `File.lua`.

Lua values are dicts (tables), `Obj` (objects of a class), `Mapindex` and tensors; what occurs twice is
written once and then referred to.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

CODES = {
    "Float": "f4",
    "Double": "f8",
    "Cuda": "f4",
    "CudaDouble": "f8",
    "Half": "f2",
    "Long": "i8",
    "Byte": "u1",
}


class Obj:
    """An object of a Torch7 class."""

    def __init__(self, class_name: str, /, **fields: Any) -> None:
        self.name = class_name
        self.fields: dict[Any, Any] = fields


class Mapindex:
    """What a node of nngraph reads: a number leads to a table, and that table back to the number."""

    def __init__(self, *nodes: Obj) -> None:
        self.tables = [node.fields["data"] for node in nodes]


@dataclass(eq=False)
class View:
    """A tensor that shares its storage with others."""

    storage: "np.ndarray[Any, Any]"
    offset: int
    sizes: list[int]
    kind: str


def rows(*values: Any) -> dict[Any, Any]:
    """A Lua list."""
    return {i + 1: value for i, value in enumerate(values)}


class Writer:
    """Torch7's binary form."""

    def __init__(self, kind: str = "Float") -> None:
        self.bytes = bytearray()
        self.indices: dict[int, int] = {}
        self.kept: list[Any] = []
        self.kind = kind
        self.views: dict[int, View] = {}

    def int(self, value: int) -> None:
        self.bytes += struct.pack("<i", value)

    def text(self, text: str) -> None:
        self.int(len(text))
        self.bytes += text.encode("latin-1")

    def seen(self, value: Any) -> bool:
        known = id(value) in self.indices
        if not known:
            self.kept.append(value)
            self.indices[id(value)] = len(self.indices) + 1
        self.int(self.indices[id(value)])
        return known

    def write(self, value: Any) -> None:
        if value is None:
            self.int(0)
        elif isinstance(value, bool):
            self.int(5)
            self.int(int(value))
        elif isinstance(value, float | int):
            self.int(1)
            self.bytes += struct.pack("<d", value)
        elif isinstance(value, str):
            self.int(2)
            self.text(value)
        elif isinstance(value, dict):
            self.int(3)
            if not self.seen(value):
                self.int(len(value))
                for key, item in value.items():
                    self.write(key)
                    self.write(item)
        elif isinstance(value, Mapindex):
            self.int(3)
            if not self.seen(value):
                self.int(2 * len(value.tables))
                for number, table in enumerate(value.tables, 1):
                    for item in (number, table, table, number):
                        self.write(item)
        elif isinstance(value, Obj):
            self.int(4)
            if not self.seen(value):
                self.text("V 1")
                self.text(value.name)
                self.write(value.fields)
        elif isinstance(value, Tensor):
            array = value.detach().numpy().astype(CODES[self.kind])
            plain = View(array.ravel(), 0, list(array.shape), self.kind)
            self.tensor(value, self.views.get(id(value), plain))
        elif isinstance(value, View):
            self.tensor(value, value)
        else:
            raise TypeError(type(value))

    def tensor(self, identity: Any, view: View) -> None:
        self.int(4)
        if self.seen(identity):
            return
        self.text("V 1")
        self.text(f"torch.{view.kind}Tensor")
        self.int(len(view.sizes))
        strides = [int(np.prod(view.sizes[i + 1 :], dtype=int)) for i in range(len(view.sizes))]
        self.bytes += struct.pack(f"<{2 * len(view.sizes)}q", *view.sizes, *strides)
        self.bytes += struct.pack("<q", view.offset + 1)
        self.int(4)
        if not self.seen(view.storage):
            self.text("V 1")
            self.text(f"torch.{view.kind}Storage")
            self.bytes += struct.pack("<q", len(view.storage)) + view.storage.tobytes()


def written(path: Path, value: Any, kind: str = "Float", one_storage: Sequence[Tensor] = ()) -> Path:
    """Save as Torch7 does; `one_storage` names tensors that lie one after another in a common storage."""
    writer = Writer(kind)
    if one_storage:
        flat = np.concatenate([value.numpy().ravel() for value in one_storage])
        place = 0
        for tensor in one_storage:
            writer.views[id(tensor)] = View(flat, place, list(tensor.shape), "Float")
            place += tensor.numel()
    writer.write(value)
    path.write_bytes(writer.bytes)
    return path


def objects(value: Any) -> list[Obj]:
    """All objects of classes in a value, each once, in the order of the file."""
    found: dict[int, Obj] = {}
    waiting, seen = [value], set()
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Obj):
            found[id(item)] = item
            waiting.append(item.fields)
        elif isinstance(item, dict):
            waiting += reversed(item.values())
        elif isinstance(item, Mapindex):
            waiting += reversed(item.tables)
    return list(found.values())


@pytest.fixture(scope="session")
def torch7() -> SimpleNamespace:
    """The writer and what it takes."""
    parts = (Obj, View, Mapindex, Writer, rows, written, objects)
    return SimpleNamespace(**{part.__name__: part for part in parts})
