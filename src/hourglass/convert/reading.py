"""Tensors out of other projects' checkpoint files, without ever running what is in them."""

import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from hourglass.checkpoint import FORMAT, WeightsError

_PREFIXES = ("module.", "model.")
"""What wrappers put before every key; a file may have several of them."""

_HARMLESS = re.compile(r"torch\._utils\._rebuild_\w+$|torch\.\w*Storage$|collections\.OrderedDict$")


def is_torch7(path: Path) -> bool:
    """Whether a file starts as Torch7's binary files do: the kind of an object, then its number, 1."""
    with open(path, "rb") as file:
        start = file.read(8)
    return len(start) == 8 and start[0] in (3, 4) and start[1:] == bytes([0, 0, 0, 1, 0, 0, 0])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth, .pth.tar, .pt or .safetensors file, without the prefixes of wrappers.

    Raises WeightsError, naming the file, when it is missing, damaged, holds anything but plain values and
    tensors (then naming that object too), or no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror or error}") from error
    state = _read_safetensors(path) if start[8:] == b"{" else _state_dict(_read_pickle(path), path)
    while prefix := next((p for p in _PREFIXES if all(key.startswith(p) for key in state)), ""):
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                raise WeightsError(f"{path} already is a weight file of hourglass: use it as it is")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error})") from error
    if not state:
        raise WeightsError(f"{path} holds no tensors")
    return state


def _read_pickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # torch remarks on a pickle's protocol and on old storages.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except Exception as error:  # the unpickler meets any bytes and stumbles in any way
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path} is refused: it holds a TorchScript program, not a state dict"
            ) from error
        raise WeightsError(f"{path} is cut off or damaged, or no checkpoint at all") from error


def _refusal(path: Path, said: str) -> str:
    named = re.search(r"GLOBAL ([^\s,]+)", said)
    name = named.group(1).rstrip(".") if named else next(_foreign_names(path), "")
    if not name:
        return f"{path} is refused: it is damaged, or pickled in a way that can't be read without running it"
    return (
        f"{path} is refused: besides tensors it holds {name}, which may run code when it is read; "
        "have someone who trusts the file save its state_dict alone"
    )


def _foreign_names(path: Path) -> Iterator[str]:
    """Names in a file's pickles that are no part of a plain tensor; the pickles are listed, not run."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = next((n for n in archive.namelist() if n.endswith("data.pkl")), None)
                if inner is not None:
                    with archive.open(inner) as file:
                        yield from _names(file)
        else:
            with open(path, "rb") as file:
                for _ in range(4):  # torch's old form: three small pickles come before the object
                    yield from _names(file)
    except Exception:  # damaged bytes end the list in any way
        return


def _names(file: IO[bytes]) -> Iterator[str]:
    pushed = ["", ""]  # the last two values, where they are text
    memo: dict[int, str] = {}
    for operation, argument, _ in pickletools.genops(file):
        text = argument if isinstance(argument, str) else ""
        if operation.name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else int(argument)] = pushed[-1]
            continue
        if operation.name in ("BINGET", "LONG_BINGET"):
            text = memo.get(int(argument or 0), "")
        elif operation.name in ("GLOBAL", "STACK_GLOBAL"):
            name = text.replace(" ", ".") or ".".join(pushed)
            text = ""
            if not _HARMLESS.match(name):
                yield name
        pushed = [pushed[1], text]


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(f"{path}: what it calls state_dict is no dict of tensors, or empty")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: {_shown(key)} holds a {type(value).__name__}; expected was a dict of tensors, or a "
                "dict with one under state_dict"
            )
    return dict(state)


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 else text[:60] + "..."
