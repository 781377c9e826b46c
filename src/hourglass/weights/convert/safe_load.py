"""Tensors out of other projects' checkpoint files, without ever running what is in them."""

import pickle
import pickletools
import re
import tarfile
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, nn

from hourglass.core.files import reason
from hourglass.weights.checkpoint import FORMAT, WeightsError

_PREFIXES = ("module.", "model.")
"""What wrappers put before every key; a file may have several of them."""

_FOLDER = 0x10
"""A bit of a zip entry's attributes, which makes PyTorch read nothing and say nothing."""

_HARMLESS = re.compile(
    r"torch\._utils\._rebuild_\w+$|torch\.(cuda\.)?\w*Storage$|collections\.OrderedDict$"
    r"|torch\.nn\.parameter\.Parameter$|torch\.(Size|device|(b?float|u?int|complex)\d+)$"
)


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
        raise WeightsError(f"{path} can't be read: {reason(error)}") from error
    if start[8:] == b"{":
        state = _read_safetensors(path)
    else:
        zipped = start[:4] == b"PK\x03\x04"  # PyTorch's own way to tell its two forms apart
        if zipped:
            _check_archive(path)
        state = _state_dict(_read_pickle(path, zipped), path)
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


def _check_archive(path: Path) -> None:
    """Raise WeightsError for a zip archive that isn't PyTorch's, or is not whole.

    PyTorch stores its records as they are, but reads packed ones too, which could unfold beyond any memory.
    And it looks at no checksum, so that a bit that moves a record would give other numbers without a word.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if any(name.endswith("/constants.pkl") for name in names):
                raise WeightsError(f"{path} is refused: it holds a TorchScript program, not a state dict")
            if not any(name.endswith("/data.pkl") for name in names):
                raise WeightsError(
                    f"{path} is a zip archive of {_some_names(names)}, not one that PyTorch made"
                )
            packed = next((entry.filename for entry in entries if entry.compress_type), "")
            folders = any(entry.external_attr & _FOLDER for entry in entries)
            overlapping = sum(entry.file_size for entry in entries) > path.stat().st_size
            if packed or folders or overlapping or archive.comment:
                what = f"{packed} in it is packed" if packed else "it is no plain row of records"
                raise WeightsError(f"{path} is refused: {what}, and PyTorch makes no such files")
            damaged = archive.testzip()
    except WeightsError:
        raise
    except Exception as error:  # damaged bytes make zipfile stumble in many ways
        raise WeightsError(f"{path} is cut off or damaged: as a zip archive it is not whole") from error
    if damaged is not None:
        raise WeightsError(f"{path} is damaged: the checksum of {damaged} is wrong")


def _some_names(names: list[str]) -> str:
    return ", ".join(_shown(name) for name in names[:2]) or "nothing"


def _read_pickle(path: Path, zipped: bool) -> Any:
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            # torch remarks on a pickle's protocol and on old storages.
            warnings.simplefilter("ignore")
            loaded = torch.load(file, map_location="cpu", weights_only=True)
            # The older form has a list of the tensors that follow; with a damaged one they would stay unread.
            rest = b"" if zipped else file.read(1)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refusal(path, str(error))) from error
    except Exception as error:  # the unpickler meets any bytes and stumbles in any way
        if _is_tar(path):
            raise WeightsError(
                f"{path} is in the tar form of the first PyTorch versions, which can't be read without "
                "running it; save it again with a later one"
            ) from error
        raise WeightsError(f"{path} is cut off or damaged, or no checkpoint at all") from error
    if rest:
        raise WeightsError(f"{path} is damaged: there is more in it than its own list of tensors says")
    return loaded


def _is_tar(path: Path) -> bool:
    try:
        return tarfile.is_tarfile(path)
    except Exception:
        return False


def _refusal(path: Path, said: str) -> str:
    named = re.search(r"GLOBAL ([^\s,]+)", said)
    name = named.group(1).rstrip(".") if named else next(_foreign_names(path), "")
    if not name:
        return (
            f"{path} is refused: it is damaged, pickled in another way than torch.save's own, "
            "or no checkpoint at all"
        )
    return (
        f"{path} is refused: besides tensors it holds {name[:80]}; only tensors and plain values are read, "
        "since anything else could run code; have someone who trusts the file save its state_dict alone"
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
        if not _is_plain(value):
            raise WeightsError(f"{path}: {_shown(key)} is no plain tensor")
    # A few stored bytes can be called a tensor of any size, which would fill the memory when it is copied.
    if sum(value.numel() * value.element_size() for value in state.values()) > path.stat().st_size:
        raise WeightsError(f"{path} is refused: its tensors are larger than what the file stores")
    return dict(state)


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has a number of its own in each place, on the CPU."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.is_nested:
        return False
    if tensor.device.type != "cpu" or tensor.is_quantized or tensor.is_complex():
        return False
    reach = 0  # of the inner dimensions; a stride within it would meet the same number twice
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1 and stride <= reach:
            return False
        reach += stride * (size - 1)
    return True


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 else text[:60] + "..."
