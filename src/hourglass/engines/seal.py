"""A checksum inside a file that has none of its own, so that damage is found before a runtime meets it."""

import hashlib
import re
from collections.abc import Sequence

KEY = "hourglass_sha256"
"""The name of the entry in ONNX's metadata and in OpenVINO's rt_info."""
EMPTY = "0" * 64
"""What is written there until `seal` puts the checksum in."""

# ONNX stores the length of a text before it, OpenVINO's XML has an attribute.
_ENTRY = re.compile(KEY.encode() + rb'(?:\x12@|"? value=")([0-9a-f]{64})')


def seal(file: bytes, *beside: bytes) -> bytes:
    """The file with its checksum in the empty entry: of itself and of the files that lie beside it."""
    start, _ = _place(file)
    return file[:start] + _digest(file, start, beside).encode() + file[start + len(EMPTY) :]


def broken(file: bytes, *beside: bytes) -> bool:
    """Whether a sealed file is no longer what was written; False where there is no seal."""
    found = _ENTRY.search(file)
    if found is None or found[1] == EMPTY.encode():
        return False
    return found[1] != _digest(file, found.start(1), beside).encode()


def _place(file: bytes) -> tuple[int, int]:
    found = _ENTRY.search(file)
    assert found is not None, "there is no entry for a checksum"
    return found.span(1)


def _digest(file: bytes, start: int, beside: Sequence[bytes]) -> str:
    sha = hashlib.sha256(file[:start] + EMPTY.encode() + file[start + len(EMPTY) :])
    for other in beside:
        sha.update(other)
    return sha.hexdigest()
