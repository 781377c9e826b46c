"""ONNX files as `hourglass export` writes them, read with nothing but numpy and ONNX Runtime.

In: `image` (B, 3, S, S) uint8 RGB, square crops, and `flip_test` () bool, whether the mirrored crops are
looked at too. Out, of the last stage: `keypoints` (B, J, 2) in the crop's pixels, `scores` (B, J), and where
there are heatmaps `covariances` (B, J, 2, 2), where the weights are calibrated `confidences` (B, J). Of every
stage i: `stage_i`, its heatmaps (B, J, h, w) after the flip test, or coordinates; of all but the last
`keypoints_i` and `scores_i`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hourglass.core.extras import missing
from hourglass.core.files import is_damaged
from hourglass.engines.entry import ENTRY, EngineError, Signature, signature_of

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_OPSET_IMPORT, _METADATA = 8, 14
"""Fields of an ONNX ModelProto (onnx.proto)."""


def read(path: Path) -> tuple[bytes, str, Signature]:
    """Bytes, facts (JSON) and signature of an ONNX file of ours; the network isn't loaded.

    Raises EngineError, naming the file, for one that is missing, damaged, foreign, or of another version.
    """
    if not path.is_file():
        raise EngineError(f"there is no engine file {path}")
    model = path.read_bytes()
    if is_damaged(model):
        raise EngineError(f"{path} is damaged, or was changed after it was exported; export it again")
    try:
        found = metadata(model)
    except (ValueError, IndexError) as error:  # UnicodeDecodeError is a ValueError
        raise EngineError(f"{path} is cut off, damaged, or no ONNX file at all; export it again") from error
    if ENTRY not in found:
        raise EngineError(f"{path} is a model of another program; export one with hourglass")
    return model, *signature_of(found[ENTRY], path)


def session(model: bytes, path: Path | str, threads: int, providers: tuple[str, ...] = ()) -> Any:
    """An `onnxruntime.InferenceSession`; EngineError, naming the file, where the runtime can't run it.

    Args:
        threads: how many compute; 0 leaves it to the runtime.
        providers: what runs it, ONNX Runtime's names; none is the CPU.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(model, options, providers=list(providers) or ["CPUExecutionProvider"])
    except Exception as error:  # the runtime raises kinds of its own
        needed = opset(model)
        newest = _newest_opset(runtime)
        if newest is not None and needed > newest:
            raise EngineError(
                f"{path} needs ONNX's operators of version {needed}, and onnxruntime {runtime.__version__} "
                f"knows them up to {newest}: install a newer onnxruntime (pip install -U onnxruntime)"
            ) from error
        said = str(error).splitlines()[0][:200]
        raise EngineError(
            f"{path} can't be run by ONNX Runtime {runtime.__version__} ({said}); export it again"
        ) from error


def onnxruntime() -> Any:
    """The module; raises EngineError, naming what to install, where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineError(missing("ONNX Runtime", "onnxruntime", error)) from error
    return onnxruntime


def metadata(model: bytes) -> dict[str, str]:
    """The texts that an ONNX file carries; raises ValueError or IndexError for what is none."""
    found = {}
    for field, content in _fields(model):
        if field == _METADATA and isinstance(content, bytes):
            entry = dict(_fields(content))
            key, value = entry[1], entry.get(2, b"")
            if isinstance(key, bytes) and isinstance(value, bytes):
                found[key.decode()] = value.decode()
    return found


def opset(model: bytes) -> int:
    """The version of ONNX's own operators that a file needs; 0 where it says none."""
    for field, content in _fields(model):
        if field == _OPSET_IMPORT and isinstance(content, bytes):
            entry = dict(_fields(content))
            if not entry.get(1, b""):  # the domain of ONNX itself has no name
                return int(entry.get(2, 0))
    return 0


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and content of each field of a protobuf message (protobuf.dev, "Encoding")."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of the kind {kind}")
        if at + size > len(message):
            raise ValueError("cut off")
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _newest_opset(runtime: Any) -> int | None:
    """What the installed runtime knows, or None where it doesn't tell."""
    try:
        return int(max(schema.since_version for schema in _schemas(runtime) if schema.domain == ""))
    except Exception:  # private in the runtime
        return None


def _schemas(runtime: Any) -> list[Any]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return list(state.get_all_operator_schema())
