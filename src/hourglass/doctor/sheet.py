"""The suspects on one page: their crops with the joints as annotated, so that an eye can judge."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from hourglass.core.arrays import RGB
from hourglass.core.geometry import apply, crop_matrix, warp
from hourglass.data.loading.images import ImageError, read_image
from hourglass.doctor.examine import Diagnosis
from hourglass.doctor.findings import LEVELS, Suspect
from hourglass.doctor.people import DataSet
from hourglass.drawing.draw import contact_sheet, draw_pose

COLUMNS, CELL_PX, STRIP_PX, GAP_PX = 6, 240, 26, 8

AROUND = 1.35
"""Side of a cell over that of the box around the person's joints."""

NOT_SHOWN = ("missing", "unreadable", "empty-pictures", "few-joints")
"""Checks whose suspects show nothing to judge."""


def chosen(diagnosis: Diagnosis, most: int) -> list[tuple[str, Suspect]]:
    """Checks and suspects to show: errors before warnings before notes, the worst first, nobody twice.

    Args:
        most: for each check.
    """
    ranked = sorted(diagnosis.findings, key=lambda finding: -LEVELS.index(finding.level))
    picked: list[tuple[str, Suspect]] = []
    seen: set[tuple[int | None, int]] = set()
    for finding in ranked:
        if finding.check in NOT_SHOWN:
            continue
        fresh = [s for s in finding.suspects if (s.row, s.photo) not in seen][:most]
        seen |= {(s.row, s.photo) for s in fresh}
        picked += [(finding.check, suspect) for suspect in fresh]
    return picked


def sheet(diagnosis: Diagnosis, most: int = 12, workers: int = 2) -> RGB | None:
    """(H, W, 3) uint8 RGB, or None when there is nobody to show.

    Args:
        most: suspects of each check.
        workers: threads that read pictures.
    """
    people = diagnosis.people
    picked = chosen(diagnosis, most) if most > 0 else []
    if people is None or not picked:
        return None
    with ThreadPoolExecutor(workers) as pool:
        tiles = list(pool.map(lambda entry: _tile(entry[1], people), picked))
    titles = [_title(check, suspect, people) for check, suspect in picked]
    return contact_sheet(tiles, COLUMNS, titles, CELL_PX, GAP_PX, STRIP_PX)


def save(path: Path, picture: RGB) -> None:
    """Write a sheet, as JPEG or PNG by the file's ending; raises OSError when it can't be written."""
    from PIL import Image

    from hourglass.core.files import write_atomically

    kind = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    options = {} if kind == "PNG" else {"quality": 88}
    write_atomically(path, lambda part: Image.fromarray(picture).save(part, format=kind, **options))


def _title(check: str, suspect: Suspect, people: DataSet) -> str:
    name = Path(people.photos[suspect.photo].name).name.partition("#")[0]
    person = "" if suspect.row is None else f"{people.ids[suspect.row]} "
    return f"{person}{name} {check} {suspect.number:.3g}"


def _tile(suspect: Suspect, people: DataSet) -> RGB:
    picture = _picture(people.photos[suspect.photo].source)
    row = suspect.row
    if row is None:
        return _blank() if picture is None else picture
    points = people.keypoints[row]
    known = np.isfinite(points).all(axis=1)
    low, high = points[known].min(axis=0), points[known].max(axis=0)
    side_px = max(float((high - low).max()) * AROUND, 16.0)
    matrix = crop_matrix((low + high) / 2, side_px, CELL_PX)
    crop = _blank() if picture is None else warp(picture, matrix, CELL_PX)
    return draw_pose(crop, apply(matrix, points), None, people.skeleton)


def _picture(source: Path | bytes | None) -> RGB | None:
    """None when there is none to read: the joints alone say something too."""
    if source is None:
        return None
    try:
        return read_image(source)
    except ImageError:
        return None


def _blank() -> RGB:
    return np.full((CELL_PX, CELL_PX, 3), 90, np.uint8)
