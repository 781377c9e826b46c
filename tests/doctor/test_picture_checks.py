import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hourglass.core.skeleton import Skeleton
from hourglass.data.formats.annotations import Annotations
from hourglass.doctor.people import DataSet, FileOfPeople, gather
from hourglass.doctor.picture_checks import (
    duplicates,
    look,
    missing,
    stated_sizes,
    unreadable,
    with_found_sizes,
)

NAMES = [f"{n}.png" for n in range(6)]


def people_of(
    folder: Path | None, words: list[str] | None = None, sizes: dict[str, tuple[int, int]] | None = None
) -> DataSet:
    annotations = Annotations(
        Path("a.json"),
        "coco",
        "points",
        Skeleton("two", ("a", "b")),
        [f"row {n}" for n in range(6)],
        NAMES,
        np.arange(6),
        words or ["train"] * 6,
        np.random.default_rng(0).uniform(1, 9, (6, 2, 2)),
        np.full((6, 2), 2, np.uint8),
        False,
        0,
        np.zeros((6, 2)),
        np.full(6, 20.0),
    )
    return gather([FileOfPeople(annotations, folder=folder, sizes=sizes)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for n, name in enumerate(NAMES):
        Image.fromarray(np.full((10, 12 + n, 3), 40 * n, np.uint8)).save(tmp_path / name)
    return tmp_path


def test_whole_pictures(folder: Path) -> None:
    people = people_of(folder)
    told: list[tuple[int, int]] = []
    seen = look(people, progress=lambda done, total: told.append((done, total)))
    assert told == [(6, 6)]
    assert missing(people, seen, (folder,), False).level == "ok"
    assert unreadable(people, seen).of == 6
    assert duplicates(people, seen).level == "ok"
    np.testing.assert_array_equal(with_found_sizes(people, seen).sizes, [[12 + n, 10] for n in range(6)])


def test_missing_and_damaged_pictures_are_errors(folder: Path) -> None:
    (folder / "1.png").unlink()
    (folder / "4.png").write_bytes(b"no picture")
    people = people_of(folder)
    seen = look(people)
    lost, broken = missing(people, seen, (folder,), False), unreadable(people, seen)
    assert (lost.level, lost.count, lost.of) == ("error", 1, 6)
    assert (broken.level, broken.count, broken.of) == ("error", 1, 5)
    assert "is not a picture" in broken.suspects[0].what
    assert people.photos[broken.suspects[0].photo].name == "4.png"


def test_missing_pictures_of_the_test_split_alone_are_a_warning(folder: Path) -> None:
    (folder / "5.png").unlink()
    people = people_of(folder, ["train"] * 5 + ["test"])
    assert missing(people, look(people), (folder,), False).level == "warning"


def test_a_missing_folder_is_one_finding(tmp_path: Path) -> None:
    nowhere = tmp_path / "images"
    people = people_of(nowhere)
    for quick, level in ((False, "error"), (True, "note")):
        finding = missing(people, look(people, quick), (nowhere,), quick)
        assert (finding.level, len(finding.suspects)) == (level, 0)
        assert str(nowhere) in finding.sentence


def test_quick_opens_nothing(folder: Path) -> None:
    (folder / "1.png").unlink()
    (folder / "4.png").write_bytes(b"no picture")
    people = people_of(folder)
    seen = look(people, quick=True)
    assert missing(people, seen, (folder,), True).count == 1
    assert unreadable(people, seen).level == "ok"
    assert "--quick" in unreadable(people, seen).sentence
    assert "--quick" in duplicates(people, seen).sentence
    assert np.isnan(with_found_sizes(people, seen).sizes).all()


def test_pictures_that_were_scaled_after_they_were_annotated(folder: Path) -> None:
    stated = {name: (12 + n, 10) for n, name in enumerate(NAMES)} | {"2.png": (28, 20), "3.png": (10, 15)}
    people = people_of(folder, sizes=stated)
    finding = stated_sizes(people, look(people))
    assert [people.photos[s.photo].name for s in finding.suspects] == ["2.png", "3.png"]
    assert finding.suspects[0].what == "14 x 10, stated as 28 x 20"
    assert finding.level == "error"
    whole = people_of(folder)
    assert stated_sizes(whole, look(whole)).sentence == "the annotations state no sizes"


def test_stated_sizes_stand_in_for_pictures_that_are_not_opened(folder: Path) -> None:
    people = people_of(folder, sizes={"0.png": (99, 98)})
    sizes = with_found_sizes(people, look(people, quick=True)).sizes
    assert sizes[0].tolist() == [99, 98]
    assert np.isnan(sizes[1:]).all()


def test_copies_under_other_names(folder: Path) -> None:
    shutil.copy(folder / "0.png", folder / "3.png")
    # Equal length, other bytes.
    content = bytearray((folder / "1.png").read_bytes())
    content[-1] ^= 1
    (folder / "2.png").write_bytes(content)
    people = people_of(folder)
    finding = duplicates(people, look(people))
    assert (finding.level, finding.count, finding.numbers["across_splits"]) == ("note", 1, 0)
    assert finding.suspects[0].what == "the same bytes as 0.png"
    across = replace(people, splits=("train",) * 3 + ("val",) * 3)
    finding = duplicates(across, look(across))
    assert (finding.level, finding.numbers["across_splits"]) == ("error", 1)
