"""What lies in a file of `torch.export.save`: plain JSON and raw numbers, and nothing else is taken.

`torch.export.load` unpickles what such a file asks it to, looks up any function by name and evaluates
expressions, so that a file can run code. Here pickles are never opened, and the program is data.
"""

import json
import zipfile
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import torch
from torch import Tensor

TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
"""Number of a type in the file's schema to the type."""

STRIDED = 7
"""Number of the only layout of numbers that is read."""
_MODEL = "/models/model.json"


class UnreadableError(ValueError):
    """Part of a file that is not as our own files are; the message says which."""


@dataclass(frozen=True, eq=False)
class Archive:
    """A program that was exported.

    Args:
        program: its JSON.
        tensors: weights and constants by their names in the network.
        extra: further texts by name.
    """

    program: dict[str, Any]
    tensors: dict[str, Tensor]
    extra: dict[str, str]


def open_archive(raw: bytes) -> Archive:
    """The parts of a file. Raises UnreadableError, or whatever damaged bytes make the parsers raise."""
    with zipfile.ZipFile(BytesIO(raw)) as file:
        names = file.namelist()
        roots = [name.removesuffix(_MODEL) for name in names if name.endswith(_MODEL)]
        if len(roots) != 1 or len(set(names)) != len(names):
            raise UnreadableError("it holds no single program")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
            raise UnreadableError("it is packed")  # torch never does; a small file could fill the memory
        root = roots[0]

        def text(name: str) -> str:
            return file.read(f"{root}/{name}").decode()

        if text("byteorder") != "little":
            raise UnreadableError("its numbers are of another byte order")
        tensors: dict[str, Tensor] = {}
        for folder, kind in (("weights", "weight_"), ("constants", "tensor_")):
            config = json.loads(text(f"data/{folder}/model_{folder}_config.json"))["config"]
            for name, entry in config.items():
                path = str(entry["path_name"])
                if entry["use_pickle"] or not path.startswith(kind) or not path[len(kind) :].isdigit():
                    raise UnreadableError(f"{name} is pickled")
                tensors[name] = _tensor(file.read(f"{root}/data/{folder}/{path}"), entry["tensor_meta"])
        start = f"{root}/extra/"
        extra = {
            name.removeprefix(start): file.read(name).decode() for name in names if name.startswith(start)
        }
        return Archive(json.loads(text("models/model.json")), tensors, extra)


def _tensor(raw: bytes, meta: dict[str, Any]) -> Tensor:
    if meta["layout"] != STRIDED:
        raise UnreadableError("a tensor has another layout than rows of numbers")
    dtype = TYPES[meta["dtype"]]
    sizes, strides = ([int(entry["as_int"]) for entry in meta[key]] for key in ("sizes", "strides"))
    flat = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
    return torch.as_strided(flat, sizes, strides, int(meta["storage_offset"]["as_int"])).contiguous()
