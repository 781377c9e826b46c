"""MPII's official file, in the nesting that MATLAB gives it, written with SciPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from hourglass.core.skeleton import MPII16
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.mpii import read_official, validation_people

NOTHING = np.zeros((0, 0))
Fields = dict[str, Any]


def array(elements: list[Fields]) -> Any:
    """A structure array (1, k): an element without a field has [] there, nobody at all is []."""
    names = list(dict.fromkeys(name for element in elements for name in element))
    if not names:
        return NOTHING
    found = np.empty((1, len(elements)), [(name, object) for name in names])
    for n, element in enumerate(elements):
        found[0, n] = tuple(element.get(name, NOTHING) for name in names)
    return found


def cells(values: list[Any]) -> Any:
    found = np.empty((len(values), 1), object)
    for n, value in enumerate(values):
        found[n, 0] = value
    return found


def point(number: float, x: float, y: float, **changes: Any) -> Fields:
    return {"x": float(x), "y": float(y), "id": float(number)} | changes


def marked(joints: dict[int, tuple[float, float]], **changes: Any) -> Fields:
    """An annopoints with these joints."""
    return {"annopoints": {"point": array([point(n, x, y, **changes) for n, (x, y) in joints.items()])}}


def placed(scale: float = 3.0, x: float = 101.0, y: float = 201.0) -> Fields:
    return {"scale": scale, "objpos": {"x": x, "y": y}}


def head(x1: float, y1: float, x2: float, y2: float) -> Fields:
    return {"x1": x1, "y1": y1, "x2": x2, "y2": y2}


def picture(name: str, *people: Fields) -> Fields:
    rects = array(list(people)) if people else NOTHING
    return {"annorect": rects, "image": {"name": name}, "frame_sec": 3.0, "vididx": 1.0}


def write(file: Path, pictures: list[Fields], train: list[float] | None = None, **changes: Any) -> Path:
    """The file, its pictures all being for training unless told otherwise; returns its path."""
    count = len(pictures)
    release = {
        "annolist": array(pictures),
        "img_train": np.array([[1.0] * count if train is None else train], np.uint8),
        "version": "12",
        "single_person": cells([np.ones((1, 1), np.uint8), NOTHING] * count)[:count],
        "act": array([{"act_name": "curling", "cat_name": "winter activities", "act_id": 1.0}] * count).T,
        "video_list": cells(["abc"]).T,
    }
    content = {name: value for name, value in (release | changes).items() if value is not None}
    scipy.io.savemat(file, {"RELEASE": content}, do_compression=True)
    return file


def read(tmp_path: Path, *people: Fields) -> Annotations:
    """People of one picture, a.jpg."""
    return read_official(write(tmp_path / "a.mat", [picture("a.jpg", *people)]))


ANKLE = {0: (11.0, 21.5)}


def test_a_file_by_hand(tmp_path: Path) -> None:
    # The corners are 300 and 400 apart: a diagonal of 500, so a head size of 300.
    known = placed() | head(10, 20, 310, 420) | marked({0: (11, 21.5), 9: (260, 100.25)}, is_visible=1.0)
    hidden = placed(2.0) | marked({15: (5, 6)}, is_visible=0.0)
    file = write(
        tmp_path / "a.mat",
        [picture("empty.jpg"), picture("a.jpg", known, hidden), picture("t.jpg", placed(4.0, 7.0, 8.0))],
        train=[1, 1, 0],
    )
    people = read_official(file)
    assert (people.form, people.origin, people.skeleton) == ("mpii-mat", 1, MPII16)
    assert people.ids.tolist() == [201, 202, 301]
    assert list(people.names) == ["a.jpg", "a.jpg", "t.jpg"]
    assert list(people.splits) == ["train", "train", "test"]
    assert list(people.where) == [
        f"{file}: a.jpg, person 1",
        f"{file}: a.jpg, person 2",
        f"{file}: t.jpg, person 1",
    ]
    expected = np.zeros((3, 16), int)
    expected[0, [0, 9]], expected[1, 15] = 2, 1
    np.testing.assert_array_equal(people.visibility, expected)
    assert people.tells_hidden
    np.testing.assert_array_equal(people.keypoints[0, [0, 9]], [(11, 21.5), (260, 100.25)])
    np.testing.assert_array_equal(people.keypoints[1, 15], (5, 6))
    # 15 scales lower; 250 scales wide.
    np.testing.assert_array_equal(people.center, [(101, 246), (101, 231), (7, 68)])
    np.testing.assert_array_equal(people.side_px, [750, 500, 1000])
    np.testing.assert_allclose(people.lengths["head"], [300, 50, 100])
    np.testing.assert_array_equal(people.columns["scale"], [3, 2, 4])
    np.testing.assert_array_equal(people.columns["objpos"], [(101, 201), (101, 201), (7, 8)])
    np.testing.assert_array_equal(
        people.columns["head_box"], [(10, 20, 310, 420), [np.nan] * 4, [np.nan] * 4]
    )


def test_people_without_joints_keep_their_place(tmp_path: Path) -> None:
    without = [
        placed(),
        placed() | {"annopoints": NOTHING},
        placed() | {"annopoints": {"point": NOTHING}},
        placed() | {"annopoints": {"other": 1.0}},
    ]
    people = read(tmp_path, *without, placed() | marked(ANKLE))
    assert people.ids.tolist() == [101, 102, 103, 104, 105]
    assert people.visibility.sum(axis=1).tolist() == [0, 0, 0, 0, 2]
    assert list(people.splits) == ["", "", "", "", "train"]
    # Here the field itself is missing from the file.
    people = read(tmp_path, placed())
    assert (people.visibility.sum(), list(people.splits)) == (0, [""])


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.0, 2), ("1", 2), (NOTHING, 2), ("", 2), (True, 2), (0.0, 1), ("0", 1), (False, 1), (np.uint8(0), 1)],
)
def test_every_way_to_say_visible(tmp_path: Path, value: Any, expected: int) -> None:
    people = read(tmp_path, placed() | marked(ANKLE, is_visible=value))
    assert people.visibility[0, 0] == expected
    # Both kinds in one array, as the file has them.
    both = array([point(0, 1, 2, is_visible=value), point(1, 3, 4, is_visible=0.0), point(2, 5, 6)])
    people = read(tmp_path, placed() | {"annopoints": {"point": both}})
    assert people.visibility[0, :4].tolist() == [expected, 1, 2, 0]


def test_no_is_visible_at_all(tmp_path: Path) -> None:
    assert "is_visible" not in marked(ANKLE)["annopoints"]["point"].dtype.names
    assert read(tmp_path, placed() | marked(ANKLE)).visibility[0, 0] == 2


@pytest.mark.parametrize("value", [2.0, -1.0, np.nan, "2", "true", np.ones((1, 2)), 1j])
def test_no_way_to_say_visible(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError, match=r"a\.mat: a\.jpg, person 1: right_ankle: 'is_visible' is neither"):
        read(tmp_path, placed() | marked(ANKLE, is_visible=value))


@pytest.mark.parametrize("missing", ["scale", "objpos"])
@pytest.mark.parametrize("how", ["no field", "empty", "empty inside"])
def test_people_without_a_crop(tmp_path: Path, missing: str, how: str) -> None:
    bare = placed() | marked(ANKLE)
    if how == "no field":
        del bare[missing]
    else:
        inside = how == "empty inside" and missing == "objpos"
        bare[missing] = {"x": NOTHING, "y": 5.0} if inside else NOTHING
    people = read(tmp_path, bare | head(0, 0, 30, 40))
    assert np.isnan(people.side_px).all()
    assert np.isnan(people.center).all()
    assert list(people.splits) == [""]
    assert people.lengths["head"].tolist() == [30]
    whole = read(tmp_path, bare, placed() | marked(ANKLE))
    assert list(whole.splits) == ["", "train"]
    assert whole.side_px[1] == 750
    # The same of a test picture.
    assert list(read_official(write(tmp_path / "a.mat", [picture("a.jpg", bare)], [0])).splits) == [""]


def test_the_heads_rectangle_may_be_a_point_or_half_there(tmp_path: Path) -> None:
    people = read(tmp_path, placed() | head(5, 5, 5, 5), placed() | {"x1": 1.0, "y1": 1.0})
    np.testing.assert_array_equal(people.lengths["head"], [75, 75])
    nobody = read(tmp_path, {"x1": 1.0})
    assert np.isnan(nobody.lengths["head"]).all()


def test_splits_of_the_validation_pictures(tmp_path: Path) -> None:
    # The first of the list: person 1 of picture 7; person 2 of picture 87.
    assert validation_people()[[0, 8]].tolist() == [701, 8702]
    rect = placed() | marked(ANKLE)
    pictures = [picture(f"{n}.jpg", rect, rect) for n in range(1, 88)]
    people = read_official(write(tmp_path / "a.mat", pictures))
    split = dict(zip(people.ids.tolist(), people.splits, strict=True))
    assert (split[601], split[602], split[801]) == ("train", "train", "train")
    assert (split[701], split[702]) == ("val", "")
    assert (split[8701], split[8702]) == ("", "val")
    pictures[6] = picture("7.jpg", placed(), rect)
    people = read_official(write(tmp_path / "a.mat", pictures, [1.0] * 86 + [0.0]))
    split = dict(zip(people.ids.tolist(), people.splits, strict=True))
    # Without a joint nobody is scored, but the picture remains one of validation.
    assert (split[701], split[702], split[8702]) == ("", "", "test")


def test_the_list_of_validation_people() -> None:
    ids = validation_people()
    assert (len(ids), len(set(ids.tolist())), len(set((ids // 100).tolist()))) == (2958, 2958, 2729)
    assert (np.diff(ids) > 0).all()
    assert 0 < ids[0] < ids[-1] < 2_498_700


def twice(number: float) -> Fields:
    points = array([point(0, 1, 2), point(number, 3, 4), point(number, 3, 4)])
    return placed() | {"annopoints": {"point": points}}


def with_point(**changes: Any) -> Fields:
    return placed() | {"annopoints": {"point": array([point(0, 1, 2), point(10, 3, 4) | changes])}}


BAD: dict[str, tuple[Fields, str]] = {
    "a joint twice": (twice(10), r"right_wrist \(id 10\) is there twice"),
    "id 16": (with_point(id=16.0), r"a point has the id 16; expected 0 to 15"),
    "id -1": (with_point(id=-1.0), r"a point has the id -1"),
    "id 2.5": (with_point(id=2.5), r"a point has the id 2\.5"),
    "id of none": (with_point(id=NOTHING), r"a point has no id"),
    "id in words": (with_point(id="10"), r"'id' is not a number"),
    "x nan": (with_point(x=np.nan), r"right_wrist: 'x' is nan"),
    "y inf": (with_point(y=-np.inf), r"right_wrist: 'y' is -inf"),
    "y far": (with_point(y=1e30), r"right_wrist: 'y' is 1e\+30"),
    "x missing": (with_point(x=NOTHING), r"right_wrist has no 'x'"),
    "y two": (with_point(y=np.ones((1, 2))), r"right_wrist: 'y' is not a number"),
    "no x": (placed() | {"annopoints": {"point": {"y": 1.0, "id": 10.0}}}, r"right_wrist has no 'x'"),
    "scale 0": (placed(0.0) | marked(ANKLE), r"the scale is 0; it must be positive"),
    "scale nan": (placed(np.nan) | marked(ANKLE), r"'scale' is nan"),
    "scale in words": (placed() | {"scale": "3"}, r"'scale' is not a number"),
    "objpos inf": (placed(3.0, np.inf), r"'objpos.x' is inf"),
    "objpos a number": ({"scale": 3.0, "objpos": 5.0}, r"'objpos' is no structure"),
    "objpos twice": ({"scale": 3.0, "objpos": array([{"x": 1.0}] * 2)}, r"'objpos' has 2 entries"),
    "points a number": (placed() | {"annopoints": 5.0}, r"'annopoints' is no structure"),
    "x1 nan": (placed() | head(np.nan, 0, 1, 1), r"'x1' is nan"),
}


@pytest.mark.parametrize("case", BAD)
def test_people_of_no_use_are_named(tmp_path: Path, case: str) -> None:
    person, message = BAD[case]
    with pytest.raises(ValueError, match=rf"a\.mat: a\.jpg, person 2.*{message}"):
        read(tmp_path, placed() | marked(ANKLE), person)


def test_adjusted_scales_are_refused(tmp_path: Path) -> None:
    # Neck and head top lie 100 apart: a raw scale of 3 (FACTS, B3), an adjusted one of 3.75.
    stick = marked({8: (200, 180), 9: (260, 100)})
    assert read(tmp_path, placed(3.0) | stick).side_px.tolist() == [750]
    with pytest.raises(ValueError, match=r"a\.mat holds adjusted scales"):
        read(tmp_path, placed(3.75) | stick)


def test_too_many_people_for_their_ids(tmp_path: Path) -> None:
    assert read(tmp_path, *[placed()] * 99).ids[-1] == 199
    with pytest.raises(ValueError, match=r"a\.jpg has 100 people"):
        read(tmp_path, *[placed()] * 100)


A = picture("a.jpg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annolist": None}, "'RELEASE' has no 'annolist', only act, img_train"),
        ({"img_train": None}, "'RELEASE' has no 'img_train'"),
        ({"annolist": NOTHING}, "'annolist' is empty"),
        ({"annolist": np.ones((2, 3))}, "'annolist' is no structure"),
        ({"annolist": array([{"image": {"name": "a.jpg"}}])}, "'annolist' has no 'annorect'"),
        ({"annolist": array([{"annorect": NOTHING}])}, "'annolist' has no 'image'"),
        ({"annolist": array([A, picture("")])}, "picture 2 of annolist: 'name' is ''"),
        ({"annolist": array([A, {"image": NOTHING}])}, "picture 2 of annolist: 'name' is None"),
        ({"annolist": array([A, {"image": 1.0}])}, "picture 2 of annolist: 'image' is no structure"),
        ({"annolist": array([A, A | {"annorect": 1.0}])}, "a.jpg: 'annorect' is no structure"),
        ({"annolist": array([A, A | {"annorect": "rect"}])}, "a.jpg: 'annorect' is no structure"),
        ({"img_train": np.ones((1, 3))}, "'img_train' is float64 of shape .* expected 2 numbers"),
        ({"img_train": "ab"}, "'img_train' is .* expected 2 numbers"),
        ({"img_train": np.array([[1.0, 2.0]])}, "'img_train' of picture 2 is 2; expected 0 or 1"),
    ],
)
def test_files_of_another_shape(tmp_path: Path, changes: Fields, message: str) -> None:
    file = write(tmp_path / "a.mat", [A, A], **changes)
    with pytest.raises(ValueError, match=rf"^{file}.*{message}"):
        read_official(file)


def test_nobody_at_all(tmp_path: Path) -> None:
    people = read_official(write(tmp_path / "a.mat", [A, A]))
    assert (len(people), people.keypoints.shape) == (0, (0, 16, 2))


def test_files_that_are_something_else(tmp_path: Path) -> None:
    file = tmp_path / "joints.mat"
    scipy.io.savemat(file, {"joints": np.zeros((3, 14, 2))})
    with pytest.raises(ValueError, match=r"joints\.mat holds no 'RELEASE', only joints; take mpii_human"):
        read_official(file)
    scipy.io.savemat(file, {"RELEASE": np.zeros((3, 14, 2))})
    with pytest.raises(ValueError, match=r"joints\.mat: 'RELEASE' is no structure"):
        read_official(file)
    file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    with pytest.raises(ValueError, match=r"joints\.mat is a MATLAB 7\.3 file; save it with -v7"):
        read_official(file)
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"joints\.mat is empty"):
        read_official(file)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.mat"):
        read_official(tmp_path / "none.mat")
