"""The official form against the list that goes around, and under damage."""

import gzip
import json
import os
import random
import time
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from data.formats.test_mpii_mat import NOTHING, Fields, array, head, marked, picture, placed, point, write
from hourglass.data.formats.mpii import read_list, read_official, validation_people
from hourglass.data.formats.read_files import read_mat

REAL = Path(os.environ.get("HOURGLASS_DATA", "")) / "mpii"
PICTURES = 24_987


@cache
def listed_people() -> list[Fields]:
    found: list[Fields] = json.loads(gzip.decompress((REAL / "mpii_annotations.json.gz").read_bytes()))
    return found


def official(entry: Fields) -> Fields:
    """A person of the list; is_visible in each of the ways that the file has."""
    points = []
    for number, (x, y, visible) in enumerate(entry["joint_self"]):
        if x or y:
            ways = [visible, str(int(visible))] + [NOTHING] * int(visible)
            points.append(point(number, x, y, is_visible=ways[number % len(ways)]))
    scale = entry["scale_provided"]
    # Sides of 3 and 4 for a diagonal of 5; PCKh's head size is 0.6 of it and 25 scales.
    corners = head(50.0, 60.0, 50 + 3 * 25 / 3 * scale, 60 + 4 * 25 / 3 * scale)
    return placed(scale, *entry["objpos"]) | corners | {"annopoints": {"point": array(points)}}


def check_against_the_list(tmp_path: Path, first: int) -> None:
    """Write the pictures up to some number in the official form, read them, compare person by person."""
    entries = listed_people()
    by_picture: dict[int, dict[int, Any]] = defaultdict(dict)
    for entry in entries:
        if entry["annolist_index"] <= first:
            by_picture[int(entry["annolist_index"])][int(entry["people_index"])] = entry
    pictures, train = [], []
    for number in range(1, first + 1):
        people = by_picture.get(number, {})
        train.append(float(bool(people)))
        # Whom the list leaves out has a place in the file nevertheless.
        rects = [official(people[n]) if n in people else {} for n in range(1, max(people, default=0) + 1)]
        name = next(iter(people.values()))["img_paths"] if people else f"test{number}.jpg"
        pictures.append(picture(name, *rects or [placed(), placed()]))
    ours = read_official(write(tmp_path / "a.mat", pictures, train))
    theirs = read_list(REAL / "mpii_annotations.json.gz")
    theirs = theirs.take(theirs.ids < 100 * (first + 1))
    assert sum(split == "test" for split in ours.splits) == 2 * train.count(0)
    ours = ours.take(np.array([split in ("train", "val") for split in ours.splits]))
    assert ours.ids.tolist() == theirs.ids.tolist()
    assert list(ours.splits) == list(theirs.splits)
    assert list(ours.names) == list(theirs.names)
    np.testing.assert_array_equal(ours.visibility, theirs.visibility)
    np.testing.assert_array_equal(ours.keypoints[ours.labelled], theirs.keypoints[theirs.labelled])
    np.testing.assert_array_equal(ours.center, theirs.center)
    np.testing.assert_array_equal(ours.side_px, theirs.side_px)
    np.testing.assert_array_equal(ours.columns["scale"], theirs.columns["scale_provided"])
    np.testing.assert_array_equal(ours.columns["objpos"], theirs.columns["objpos"])
    np.testing.assert_allclose(ours.lengths["head"], theirs.lengths["head"], rtol=1e-9)
    if first == PICTURES:
        splits = list(ours.splits)
        assert (splits.count("train"), splits.count("val"), len(splits)) == (22_246, 2958, 25_204)


@pytest.mark.realdata
def test_three_hundred_pictures_of_the_list(tmp_path: Path) -> None:
    check_against_the_list(tmp_path, 300)


@pytest.mark.realdata
@pytest.mark.slow
def test_everybody_of_the_list(tmp_path: Path) -> None:
    check_against_the_list(tmp_path, PICTURES)


@pytest.mark.realdata
def test_validation_people_are_those_of_the_list() -> None:
    entries = listed_people()
    marked_so = [e for e in entries if e["isValidation"]]
    expected = [100 * int(e["annolist_index"]) + int(e["people_index"]) for e in marked_so]
    np.testing.assert_array_equal(validation_people(), expected)
    # What the split rule rests on: of the training pictures the list has everybody with joints, and none has
    # anybody of val. The rest of the 28,883 people stand beside those of val.
    there: dict[int, int] = defaultdict(int)
    for e in entries:
        there[int(e["annolist_index"])] += 1
    with_joints = {int(e["annolist_index"]): int(e["numOtherPeople"]) + 1 for e in entries}
    val = set((validation_people() // 100).tolist())
    assert all(there[number] == count for number, count in with_joints.items() if number not in val)
    assert sum(with_joints.values()) == 28_883
    assert sum(count - there[number] for number, count in with_joints.items() if number in val) == 3679


def small_file(file: Path) -> bytes:
    """Three pictures, unpacked, so that a flipped bit reaches the reader and not only the unpacking."""
    whole = placed() | head(1, 2, 30, 40) | marked({0: (3, 4), 8: (200, 180), 9: (260, 100)}, is_visible="0")
    mixed = array([point(1, 5, 6, is_visible=1.0), point(2, 300.5, 1.25), point(3, 5, 6, is_visible="1")])
    other = placed(2.5) | {"annopoints": {"point": mixed}}
    pictures = [
        picture("a.jpg", whole, other),
        picture("b.jpg"),
        picture("c.jpg", placed()),
        picture("d.jpg", whole),
    ]
    write(file, pictures, [1, 1, 0, 1])
    found = scipy.io.loadmat(file)
    scipy.io.savemat(file, {"RELEASE": found["RELEASE"]})
    return file.read_bytes()


def read_or_refused(file: Path, content: bytes) -> bool:
    """Whether it is read; what is read must be whole, what is refused must be named."""
    file.write_bytes(content)
    began, complaint = time.monotonic(), ""
    try:
        people = read_official(file)
    except ValueError as error:
        complaint = str(error)
    assert time.monotonic() - began < 10
    if complaint:
        assert complaint.startswith(f"{file}")
        assert "\n" not in complaint
        return False
    annorect = read_mat(file)["RELEASE"]["annolist"].item()["annorect"].ravel()
    count = sum(rects.size for rects in annorect)
    assert (len(people), people.keypoints.shape) == (count, (count, 16, 2))
    assert np.isfinite(people.keypoints[people.labelled]).all()
    used = np.array([bool(split) for split in people.splits], bool)
    assert np.isfinite(people.center[used]).all()
    assert (people.side_px[used] > 0).all()
    assert (people.lengths["head"][used] > 0).all()
    return True


def test_flipped_bits(tmp_path: Path) -> None:
    whole, draw = small_file(tmp_path / "a.mat"), random.Random(5)
    assert read_or_refused(tmp_path / "a.mat", whole)
    was_read = 0
    for _ in range(2000):
        content = bytearray(whole)
        for place in draw.sample(range(124, len(whole)), draw.randint(1, 3)):
            content[place] ^= 1 << draw.randrange(8)
        was_read += read_or_refused(tmp_path / "a.mat", bytes(content))
    # Some flips hurt nobody, such as those in a coordinate; but not nearly all.
    assert 200 < was_read < 1900


def test_cut_off(tmp_path: Path) -> None:
    whole = small_file(tmp_path / "a.mat")
    for size in range(0, len(whole), 100):
        assert not read_or_refused(tmp_path / "a.mat", whole[:size])


def test_packed_and_damaged(tmp_path: Path) -> None:
    file, draw = tmp_path / "a.mat", random.Random(6)
    write(file, [picture("a.jpg", placed() | marked({0: (3, 4)}))])
    whole = file.read_bytes()
    for size in range(0, len(whole), 100):
        assert not read_or_refused(file, whole[:size])
    for _ in range(200):
        content = bytearray(whole)
        content[draw.randrange(136, len(whole))] ^= 1 << draw.randrange(8)
        assert not read_or_refused(file, bytes(content))
