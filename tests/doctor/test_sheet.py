from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hourglass.core.structs import PersonRecord
from hourglass.doctor.examine import Diagnosis, refused
from hourglass.doctor.people import DataSet, Finding, Suspect, part_of_records
from hourglass.doctor.people import gather as gathered
from hourglass.doctor.report import CELL_PX, COLUMNS, GAP_PX, STRIP_PX, as_json, chosen, save, sheet, stories


def finding(check: str, level: str, rows: list[int]) -> Finding:
    suspects = [Suspect(float(9 - n), "odd", row, row) for n, row in enumerate(rows)]
    return Finding(check, level, len(rows), 120, "people", f"people: {len(rows)}", suspects)


def diagnosis(people: DataSet) -> Diagnosis:
    return Diagnosis(
        people,
        {},
        (
            finding("one-spot", "note", [1, 2, 3]),
            finding("sides", "warning", [3, 4, 5, 6]),
            finding("missing", "error", [7]),
            finding("outside", "error", [5]),
        ),
    )


def test_errors_come_first_and_nobody_twice(clean: DataSet) -> None:
    picked = [(check, suspect.row) for check, suspect in chosen(diagnosis(clean), 2)]
    assert picked == [("outside", 5), ("sides", 3), ("sides", 4), ("one-spot", 1), ("one-spot", 2)]


def test_the_sheet_has_a_cell_for_each(clean: DataSet) -> None:
    page = sheet(diagnosis(clean), 12)
    assert page is not None
    # 1 + 3 + 2 people, who are one row.
    assert page.shape == (CELL_PX + STRIP_PX + 2 * GAP_PX, COLUMNS * (CELL_PX + GAP_PX) + GAP_PX, 3)
    more = sheet(Diagnosis(clean, {}, (finding("sides", "note", list(range(20))),)), 7)
    assert more is not None
    assert more.shape[0] == 2 * (CELL_PX + STRIP_PX + GAP_PX) + GAP_PX
    assert sheet(diagnosis(clean), 0) is None
    assert sheet(Diagnosis(clean, {}, (finding("sides", "ok", []),)), 5) is None


def test_cells_show_the_person_and_without_pictures_the_joints(rendered: list[PersonRecord]) -> None:
    """A cell is the picture around the person; somewhere on it the sides' colours."""
    people = gathered([part_of_records(rendered[:3], Path("x"), "train")])
    shown = sheet(Diagnosis(people, {}, (finding("sides", "note", [0, 1, 2]),)), 5)
    bare = tuple(replace(photo, source=None) for photo in people.photos)
    blank = sheet(Diagnosis(replace(people, photos=bare), {}, (finding("sides", "note", [0, 1, 2]),)), 5)
    assert shown is not None
    assert blank is not None
    assert shown.shape == blank.shape
    for page in (shown, blank):
        cell = page[GAP_PX : GAP_PX + CELL_PX, GAP_PX : GAP_PX + CELL_PX].reshape(-1, 3).astype(int)
        for colour in ((56, 158, 240), (240, 114, 20)):
            assert (np.abs(cell - colour).max(axis=1) < 12).sum() > 50
    assert (shown != blank).any(axis=2).mean() > 0.3


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("b.jpg", "JPEG"), ("c.jpeg", "JPEG")])
def test_saving(tmp_path: Path, name: str, kind: str) -> None:
    save(tmp_path / "new" / name, np.full((20, 30, 3), 200, np.uint8))
    with Image.open(tmp_path / "new" / name) as picture:
        assert (picture.format, picture.size) == (kind, (30, 20))


def test_the_last_sentence() -> None:
    errors = (finding("outside", "error", [1]), finding("sides", "ok", []))
    warned = (finding("sides", "warning", [1]),)
    assert Diagnosis(None, {}, errors).sentence == "Training should not start: people: 1."
    assert Diagnosis(None, {}, warned).sentence == "Training can start; look at the warning first: sides."
    assert Diagnosis(None, {}, warned * 2).sentence.startswith(
        "Training can start; look at the warnings first"
    )
    assert Diagnosis(None, {}, (finding("sides", "note", [1]),)).sentence == "Training can start."
    no = refused(ValueError("a.json: row 3 is odd"))
    assert (no.can_start, no.sentence) == (False, "Training should not start: a.json: row 3 is odd.")


def test_the_json_names_every_suspect(clean: DataSet) -> None:
    report = as_json(diagnosis(clean))
    sides = next(check for check in report["checks"] if check["check"] == "sides")
    assert len(sides["suspects"]) == 4
    assert sides["suspects"][1] == {
        "person_id": int(clean.ids[4]),
        "picture": clean.photos[4].name,
        "split": "train",
        "where": clean.where[4],
        "number": 8.0,
        "what": "odd",
    }
    assert sides["share"] == round(4 / 120, 6)
    assert [line.split(":")[0] for line in stories(diagnosis(clean))] == [
        "error, missing",
        "error, outside",
        "warning, sides",
        "note, one-spot",
    ]
