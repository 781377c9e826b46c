"""The MATLAB reader against SciPy's writer and reader."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hourglass.data.formats.matlab import Damaged, NewerVersion, read_variables

DATA = Path(os.environ.get("HOURGLASS_DATA", ""))
TYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(TYPES).flatmap(
        lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=2, max_dims=4, min_side=0, max_side=4))
    ),
    st.booleans(),
)
def test_numbers_as_scipy_writes_them(tmp_path: Path, array: Any, packed: bool) -> None:
    file = tmp_path / "a.mat"
    scipy.io.savemat(file, {"array": array, "b": np.arange(6.0).reshape(2, 3)}, do_compression=packed)
    found = read_variables(file)
    np.testing.assert_array_equal(found["array"], array)
    assert found["array"].dtype.kind == ("u" if array.dtype.kind == "b" else array.dtype.kind)
    np.testing.assert_array_equal(found["b"], [[0, 1, 2], [3, 4, 5]])


def test_text_cells_and_what_is_left_out(tmp_path: Path) -> None:
    cells = np.empty((1, 2), object)
    cells[0] = ["rank", "lwri"]
    content = {"names": cells, "text": "thörax", "complex": np.ones((2, 2)) * 1j}
    scipy.io.savemat(tmp_path / "a.mat", content)
    found = read_variables(tmp_path / "a.mat")
    assert set(found) == {"names", "text"}
    assert [str(name) for name in found["names"].ravel()] == ["rank", "lwri"]
    assert found["names"].shape == (1, 2)
    assert str(found["text"]) == "thörax"


def test_the_other_order_of_bytes(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    flags = element(6, struct.pack(">II", 6, 0))
    body = (
        flags
        + element(5, struct.pack(">ii", 1, 3))
        + element(1, b"big")
        + element(4, struct.pack(">3H", 7, 8, 900))
    )
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "a.mat").write_bytes(head + element(14, body))
    found = read_variables(tmp_path / "a.mat")["big"]
    # Stored as two bytes each, but doubles for MATLAB.
    assert found.dtype == np.float64
    assert found.tolist() == [[7, 8, 900]]


def test_versions_and_no_file_of_matlab(tmp_path: Path) -> None:
    head = b"MATLAB 7.3 MAT-file".ljust(124)
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<H", 0x0200) + b"IM")
    with pytest.raises(NewerVersion):
        read_variables(tmp_path / "a.mat")
    for content in (b"", b"MATLAB", bytes(500), head + struct.pack("<H", 0x0300) + b"IM"):
        (tmp_path / "a.mat").write_bytes(content)
        with pytest.raises(Damaged):
            read_variables(tmp_path / "a.mat")


def test_sizes_that_lie(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((4, 5))})
    whole = (tmp_path / "a.mat").read_bytes()
    # The two dimensions stand behind the header, the variable's tag, the flags and their own tag.
    place = 128 + 8 + 16 + 8
    assert struct.unpack_from("<ii", whole, place) == (4, 5)
    for shape in ((4, 6), (5, 5), (-4, -5), (2**31 - 1, 2**31 - 1), (0, 5)):
        (tmp_path / "a.mat").write_bytes(whole[:place] + struct.pack("<ii", *shape) + whole[place + 8 :])
        with pytest.raises(Damaged, match="dimensions"):
            read_variables(tmp_path / "a.mat")


def test_a_packed_variable_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hourglass.data.formats.matlab.MOST_BYTES", 1000)
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((400, 500))}, do_compression=True)
    with pytest.raises(Damaged, match="larger than it may be"):
        read_variables(tmp_path / "a.mat")
    head = (tmp_path / "a.mat").read_bytes()[:128]
    packed = zlib.compress(bytes(50))[:-6]
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(Damaged, match="ends early"):
        read_variables(tmp_path / "a.mat")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["mpii/detections_our_format.mat", "lsp/joints.mat", "lspet/joints.mat"])
def test_the_real_files_as_scipy_reads_them(name: str) -> None:
    found, wanted = read_variables(DATA / name), scipy.io.loadmat(DATA / name)
    for key, value in found.items():
        if value.dtype.kind == "O":
            theirs = [str(cell[0]) for cell in wanted[key].ravel()]
            assert [str(cell) for cell in value.ravel()] == theirs
        else:
            np.testing.assert_array_equal(value, wanted[key])
    assert set(found) == {key for key in wanted if not key.startswith("__")}
