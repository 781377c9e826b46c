"""The hourglass authors' HDF5 files, read without pictures: by hand, of other shapes, damaged."""

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from damaged import check_whole, or_refusal, refusals
from hourglass.core.skeleton import FLIC11, LSP14, MPII16
from hourglass.data.formats.princeton_hdf5 import check_scale, checked_length, read_authors_file
from hourglass.data.formats.read_files import MOST_BYTES, rows_of
from mpii_forms import hdf5, person, write


def mpii(**changes: Any) -> dict[str, Any]:
    """Two people of MPII, of raw scale 3, with the length of the head."""
    return hdf5([person(), person(people_index=3)]) | {"normalize": np.array([75.0, 75.0])} | changes


def flic(**changes: Any) -> dict[str, Any]:
    """Two people of FLIC, as the authors' files have them."""
    fields = {
        "imgname": np.array([b"film-0.jpg", b"film-1.jpg"]),
        "part": np.tile(300.5 + 5.0 * np.arange(11)[:, None], (2, 1, 2)),
        "visible": np.ones((2, 11)),
        "center": np.full((2, 2), 240, np.float32),
        "scale": np.full(2, 2.2),
        "index": np.array([4, 9]),
        "person": np.zeros(2, np.int64),
        "normalize": np.array([90.0, 80.0]),
        "torsoangle": np.array([3.25, -7.5]),
    }
    return fields | changes


def h5(folder: Path, fields: dict[str, Any]) -> Path:
    write(folder / "valid.h5", {key: value for key, value in fields.items() if value is not None})
    return folder / "valid.h5"


def test_mpii_by_hand(tmp_path: Path) -> None:
    people = read_authors_file(h5(tmp_path, mpii()))
    assert people.skeleton is MPII16
    assert (people.form, people.origin, people.tells_hidden) == ("authors-hdf5", 1, True)
    assert people.ids.tolist() == [702, 703]
    assert people.splits == ["", ""]
    # Cut to whole numbers, and still counted from 1.
    np.testing.assert_array_equal(people.keypoints[0, :3], [(11, 21), (60, 390), (0, 0)])
    assert people.visibility[0].tolist() == [2, 1, 0] + 13 * [2]
    # The file is adjusted: 15 x 3 lower than 201, and 200 x 1.25 x 3 wide. PCKh's head is 25 x 3.
    np.testing.assert_allclose(people.center, [(101, 246)] * 2)
    np.testing.assert_allclose(people.side_px, 750)
    assert {name: length.tolist() for name, length in people.lengths.items()} == {"head": [75, 75]}


def test_flic_by_hand(tmp_path: Path) -> None:
    people = read_authors_file(h5(tmp_path, flic()))
    assert people.skeleton is FLIC11
    assert people.origin == 0
    assert people.ids.tolist() == [501, 1001]
    np.testing.assert_array_equal(people.keypoints[0, 1], (305.5, 305.5))
    np.testing.assert_allclose(people.side_px, 440)
    assert {name: length.tolist() for name, length in people.lengths.items()} == {"file-torso": [90, 80]}


@pytest.mark.parametrize("fields", [mpii(), flic()], ids=["mpii", "flic"])
def test_columns_are_as_in_the_file(tmp_path: Path, fields: dict[str, Any]) -> None:
    extra = {"istrain": np.array([0, 1], np.uint8), "of_the_file": np.array(5.0), "other": np.arange(3.0)}
    people = read_authors_file(h5(tmp_path, fields | extra))
    assert set(people.columns) == set(fields) - {"imgname", "part", "visible"} | {"istrain"}
    for name, column in people.columns.items():
        np.testing.assert_array_equal(column, (fields | extra)[name])
        assert column.dtype == (fields | extra)[name].dtype


def test_a_file_without_lengths_has_none(tmp_path: Path) -> None:
    assert read_authors_file(h5(tmp_path, mpii(normalize=None))).lengths == {}


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"\x89HDF\r\n\x1a\n" + b"\0" * 90])
def test_bytes_that_are_no_hdf5(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "valid.h5"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"valid\.h5 is not an HDF5 file that can be read"):
        read_authors_file(file)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_file_that_is_cut_off(tmp_path: Path, share: float) -> None:
    file = h5(tmp_path, mpii())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"valid\.h5 is not an HDF5 file that can be read, or is cut off"):
        read_authors_file(file)


def test_more_people_than_memory_has_room_for(tmp_path: Path) -> None:
    with h5py.File(h5(tmp_path, mpii()), "a") as out:
        del out["normalize"]
        # A claim costs nothing: not one chunk of it is in the file.
        out.create_dataset("normalize", (MOST_BYTES // 8 + 1,), "f8", chunks=(1000,))
    assert (tmp_path / "valid.h5").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"valid\.h5 is not an HDF5 file that can be read"):
        read_authors_file(tmp_path / "valid.h5")


@pytest.mark.parametrize("key", sorted(hdf5([person()])))
def test_a_field_that_is_missing_or_of_another_shape(tmp_path: Path, key: str) -> None:
    whole = mpii()[key]
    with pytest.raises(ValueError, match=f"valid.h5 holds no '{key}', only .*; take the annotation file"):
        read_authors_file(h5(tmp_path, mpii(**{key: None})))
    text = np.full(whole.shape, b"x") if key != "imgname" else np.ones(2)
    for bad in (whole[:, None], text):
        with pytest.raises(ValueError, match=rf"valid\.h5: '{key}' is .* of shape .*expected"):
            read_authors_file(h5(tmp_path, mpii(**{key: bad})), MPII16)
    if key != "imgname":
        with pytest.raises(ValueError, match=rf"'{key}' is .* of shape \(1,.*expected numbers of shape \(2,"):
            read_authors_file(h5(tmp_path, mpii(**{key: whole[:1]})))


def test_another_number_of_joints(tmp_path: Path) -> None:
    bodies = {"part": np.ones((2, 14, 2)), "visible": np.ones((2, 14))}
    with pytest.raises(ValueError, match=r"'part' has shape \(2, 14, 2\); expected \(N, 16, 2\) for MPII or"):
        read_authors_file(h5(tmp_path, mpii(**bodies)))
    for skeleton in (FLIC11, LSP14):
        with pytest.raises(ValueError, match=rf"expected numbers of shape \(2, {len(skeleton)}, 2\)"):
            read_authors_file(h5(tmp_path, mpii()), skeleton)


def test_predictions_are_no_annotations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no 'part', only preds; it holds predictions, so swap"):
        read_authors_file(h5(tmp_path, {"preds": np.ones((2, 16, 2))}))


@pytest.mark.parametrize("name", [b"\xff\xfe", b"", b"a\0b"])
def test_a_name_that_is_none(tmp_path: Path, name: bytes) -> None:
    names = np.array([b"a.jpg", name])
    with pytest.raises(ValueError, match=r"valid\.h5: row 1: 'imgname' is"):
        read_authors_file(h5(tmp_path, mpii(imgname=names)))


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("part", np.inf, "row 1: right_ankle is labelled but not a finite number"),
        ("part", 1e200, "row 1: right_ankle lies where no picture reaches"),
        ("visible", 3, "row 1: 'visible' of right_ankle is 3; expected 0 or 1"),
        ("center", np.nan, "row 1: the centre of the person is not a finite number"),
        ("center", -1e30, "row 1: the centre of the person lies where no picture reaches"),
        ("scale", 0, "row 1: the scale is 0; it must be positive"),
        ("scale", 1e307, "row 1: the side of the crop inf is not a positive number"),
        ("scale", 1e-300, "row 1: the side of the crop 2e-298 is out of all proportion"),
        ("index", 0.5, "row 1: 'index' or 'person' is no count from 0"),
        ("person", 1e30, "row 1: 'index' or 'person' is no count from 0"),
        ("normalize", 0, "'normalize': row 1: the length 0 is not a positive number"),
        ("normalize", 1e300, r"'normalize': row 1: the length 1e\+300 is out of all proportion"),
    ],
)
def test_a_number_that_is_of_no_use(tmp_path: Path, key: str, value: float, complaint: str) -> None:
    fields = mpii()
    fields[key] = fields[key].astype(np.float64)
    fields[key].reshape(2, -1)[1, 0] = value
    with pytest.raises(ValueError, match=complaint) as caught:
        read_authors_file(h5(tmp_path, fields))
    assert "valid.h5" in str(caught.value)


def test_raw_scales_are_refused_whatever_they_are_read_for(tmp_path: Path) -> None:
    # FACTS, B3: the authors' scales are adjusted. These were written by somebody who forgot to.
    with pytest.raises(ValueError, match=r"valid\.h5 holds raw scales, .* is 33\.3 px"):
        read_authors_file(h5(tmp_path, mpii(scale=np.full(2, 3.0))))
    people = read_authors_file(h5(tmp_path, mpii()))
    check_scale(people, np.full(2, 3.0), adjusted=False)
    with pytest.raises(ValueError, match="holds adjusted scales"):
        check_scale(people, np.full(2, 3.75), adjusted=False)


def test_lengths_that_may_be_divided_by() -> None:
    good = np.array([0.002, 9e7])
    assert checked_length(good, rows_of(Path("x"))) is good
    for bad in (0.0, -1.0, np.nan, np.inf, 1e-4, 2e8):
        with pytest.raises(ValueError, match=r"^x: row 1: the head "):
            checked_length(np.array([1.0, bad]), rows_of(Path("x")), "head")


def part_of(file: Path) -> Any:
    with h5py.File(file) as content:
        return content["part"][()]


@pytest.mark.realdata
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["mpii/valid.h5", "flic/annot/valid.h5"])
def test_flipped_bits_in_the_real_file(real_data: Path, tmp_path: Path, name: str, count: int) -> None:
    whole = (real_data / name).read_bytes()
    refused = refusals(read_authors_file, part_of, tmp_path / f"{count}.h5", whole, count)
    assert count / 20 < refused < count * 19 / 20


@pytest.mark.realdata
@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["mpii/valid.h5", "flic/annot/valid.h5"])
def test_flipped_bits_in_some_of_the_real_file(
    real_data: Path, tmp_path: Path, name: str, count: int
) -> None:
    some = tmp_path / "some.h5"
    with h5py.File(real_data / name) as content, h5py.File(some, "w") as out:
        for key in content:
            out[key] = content[key][:20]
    refused = refusals(read_authors_file, part_of, tmp_path / f"{count}.h5", some.read_bytes(), count)
    assert count / 20 < refused < count * 19 / 20


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([mpii, flic]),
    st.sampled_from(sorted(flic())),
    hnp.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("f4", "f8", "i1", "i8", "?", "S3")]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=3, min_side=0)
        | st.sampled_from([(2,), (2, 2), (2, 11), (2, 16), (2, 11, 2), (2, 16, 2)]),
    ),
)
def test_any_array_in_a_field(tmp_path: Path, make: Any, key: str, value: Any) -> None:
    file = h5(tmp_path, make(**{key: value}))
    people = or_refusal(partial(read_authors_file, file), file)
    if people is not None:
        check_whole(people)
        assert len(people) == 2
