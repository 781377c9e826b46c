from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.doctor.examine import examine
from hourglass.doctor.people import FileOfPeople, part_of_records
from hourglass.doctor.report import as_json, sheet, stories, summary
from hourglass.doctor.sources import FoundData

POINT = Skeleton("point", ("tip",))


def odd(skeleton: Skeleton, count: int, labelled: float, places: str) -> FoundData:
    rng = np.random.default_rng(count)
    points = {
        "spread": rng.uniform(-5, 90, (count, len(skeleton), 2)),
        "one spot": np.full((count, len(skeleton), 2), 7.0),
        "line": np.repeat(rng.uniform(0, 50, (count, len(skeleton), 1)), 2, axis=2),
        "huge": rng.uniform(-1e7, 1e7, (count, len(skeleton), 2)),
    }[places]
    people = Annotations(
        file=Path("odd.json"),
        form="coco",
        what="odd people",
        skeleton=skeleton,
        where=[f"row {n}" for n in range(count)],
        names=[f"{n // 3}.png" for n in range(count)],
        ids=np.arange(count),
        splits=["train"] * count,
        keypoints=points,
        visibility=(2 * (rng.random(points.shape[:2]) < labelled)).astype(np.uint8),
        tells_hidden=True,
        origin=0,
        center=np.full((count, 2), np.nan),
        side_px=np.full(count, np.nan),
    )
    return FoundData("coco", (FileOfPeople(people, sizes={"0.png": (64, 48)}),), (Path("nowhere"),))


@pytest.mark.parametrize("skeleton", [POINT, LSP14, FLIC11, COCO17, MPII16], ids=lambda s: s.name)
@pytest.mark.parametrize("places", ["spread", "one spot", "line", "huge"])
@pytest.mark.parametrize(("count", "labelled"), [(1, 1.0), (1, 0.0), (40, 0.0), (40, 0.3), (40, 1.0)])
def test_odd_data_is_looked_at_without_a_slip(
    skeleton: Skeleton, places: str, count: int, labelled: float
) -> None:
    """Warnings are errors here, so nothing divides by zero or takes the mean of nothing."""
    diagnosis = examine(odd(skeleton, count, labelled, places), quick=True)
    assert len(diagnosis.findings) == len({finding.check for finding in diagnosis.findings}) == 20
    for finding in diagnosis.findings:
        assert finding.count <= finding.of
        assert len({(s.row, s.photo) for s in finding.suspects}) == len(finding.suspects)
        assert all(np.isfinite(suspect.number) for suspect in finding.suspects)
        numbers = [suspect.number for suspect in finding.suspects]
        assert finding.check == "one-spot" or numbers == sorted(numbers, reverse=True)
    if not labelled:
        assert not diagnosis.can_start  # nobody to learn from
    assert summary(diagnosis)
    assert isinstance(stories(diagnosis), list)
    assert as_json(diagnosis)["counts"]["people"] == count


def test_a_sheet_of_odd_people_can_be_drawn() -> None:
    for places in ("one spot", "huge"):
        page = sheet(examine(odd(LSP14, 5, 1.0, places), quick=True), 3)
        assert page is not None


def test_stages_tell_how_far_it_is(rendered: list[PersonRecord]) -> None:
    told: dict[str, tuple[int, int]] = {}
    parts = (part_of_records(rendered[:70], Path("x"), "train"),)
    examine(
        FoundData("synthetic", parts, ()), stages=lambda name, done, total: told.update({name: (done, total)})
    )
    assert told["opening pictures"] == (70, 70)
