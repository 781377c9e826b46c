"""Checksums inside files: what is changed anywhere is seen."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hourglass.core.files import CHECKSUM_KEY, NO_CHECKSUM, is_damaged, with_checksum

ONNX = b"before\x0a\x10" + CHECKSUM_KEY.encode() + b"\x12@" + NO_CHECKSUM.encode() + b"after"
XML = b'<rt_info>\n<hourglass_sha256 value="' + NO_CHECKSUM.encode() + b'" />\n</rt_info>'


@pytest.mark.parametrize("file", [ONNX, XML])
def test_a_file_with_file_is_whole(file: bytes) -> None:
    file_with = with_checksum(file, b"weights")
    assert len(file_with) == len(file)
    assert hashlib.sha256(file + b"weights").hexdigest().encode() in file_with
    assert not is_damaged(file_with, b"weights")
    assert is_damaged(file_with, b"others")
    assert not is_damaged(file, b"weights")  # not file_with yet
    assert not is_damaged(b"a file of another program")


@given(st.data())
def test_a_flipped_bit_is_seen(data: st.DataObject) -> None:
    file_with = bytearray(with_checksum(ONNX))
    place = data.draw(st.integers(0, len(file_with) - 1))
    file_with[place] ^= 1 << data.draw(st.integers(0, 7))
    start = ONNX.index(CHECKSUM_KEY.encode())
    digits = range(ONNX.index(NO_CHECKSUM.encode()), ONNX.index(b"after"))
    # In the key, or where a digit is none any more, there is no seal to hold the file to.
    outside = not start <= place < digits.stop
    if outside or (place in digits and chr(file_with[place]) in "0123456789abcdef"):
        assert is_damaged(bytes(file_with))
