"""Checksums inside files: what is changed anywhere is seen."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hourglass.engines import seal

ONNX = b"before\x0a\x10" + seal.KEY.encode() + b"\x12@" + seal.EMPTY.encode() + b"after"
XML = b'<rt_info>\n<hourglass_sha256 value="' + seal.EMPTY.encode() + b'" />\n</rt_info>'


@pytest.mark.parametrize("file", [ONNX, XML])
def test_a_sealed_file_is_whole(file: bytes) -> None:
    sealed = seal.seal(file, b"weights")
    assert len(sealed) == len(file)
    assert hashlib.sha256(file + b"weights").hexdigest().encode() in sealed
    assert not seal.broken(sealed, b"weights")
    assert seal.broken(sealed, b"others")
    assert not seal.broken(file, b"weights")  # not sealed yet
    assert not seal.broken(b"a file of another program")


@given(st.data())
def test_a_flipped_bit_is_seen(data: st.DataObject) -> None:
    sealed = bytearray(seal.seal(ONNX))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    start = ONNX.index(seal.KEY.encode())
    digits = range(ONNX.index(seal.EMPTY.encode()), ONNX.index(b"after"))
    # In the key, or where a digit is none any more, there is no seal to hold the file to.
    outside = not start <= place < digits.stop
    if outside or (place in digits and chr(sealed[place]) in "0123456789abcdef"):
        assert seal.broken(bytes(sealed))
