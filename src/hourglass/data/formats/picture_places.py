"""Where the pictures of a file of annotations lie, and whether it was made for the pictures that lie there.

Labelling tools name pictures by paths of the machine or server where the labels were made. A picture that
isn't below the folder under its whole name is looked for under ever shorter ends of it.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations, log_left_out, records
from hourglass.data.formats.person_scale import made_crops, without_far_outside
from hourglass.data.formats.read_files import find_pictures
from hourglass.data.loading.images import ImageError, stored_size

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")
"""What Label Studio puts before the name of an uploaded picture."""

log = logging.getLogger(__name__)


def places(people: Annotations, root: Path | None) -> tuple[Path, dict[str, Path]]:
    """The folder of the pictures, and where each picture lies that can be found, by its name.

    Args:
        root: the folder; None looks where the file lies, in `images` beside it, and above it.

    Raises ValueError naming two pictures that one file would stand for.
    """
    names = list(dict.fromkeys(people.names))
    if root is not None:
        return root, _found(root, names)
    base = people.file if people.file.is_dir() else people.file.parent
    folders = [base, base / "images", base.parent, base.parent / "images", base.parent.parent]
    best: tuple[Path, dict[str, Path]] = (base, {})
    for folder in dict.fromkeys(folders):
        found, missing = find_pictures(folder, names)
        if not missing:
            return folder, found
        if len(found) > len(best[1]):
            best = (folder, found)
    return best if best[1] else (base, _found(base, names))


def _found(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    found, missing = find_pictures(folder, names)
    for name in missing:
        for end in _ends(name):
            path = find_pictures(folder, [end])[0].get(end)
            if path is not None:
                found[name] = path
                break
    owners: dict[Path, str] = {}
    for name in names:
        if name in found and owners.setdefault(found[name], name) != name:
            raise ValueError(
                f"{owners[found[name]]} and {name} would both be {found[name]}; give the folder that these "
                "names start from"
            )
    return found


def _ends(name: str) -> Iterator[str]:
    """Shorter and shorter ends of a path, and the last without what Label Studio puts before it."""
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    yield from ("/".join(parts[start:]) for start in range(len(parts)))
    if parts and _UPLOADED.match(parts[-1]):
        yield _UPLOADED.sub("", parts[-1], count=1)


def records_of(
    people: Annotations, images: Path | None, sides: str = "", crop: str = ""
) -> list[PersonRecord]:
    """Records of people, 0-based, as their pictures turn out to be (`as_pictures_are`).

    Args:
        images: the folder that the pictures' names start from; None looks near the file.
        sides: `observer` makes left and right those of who looks at the picture, see `data.sides`.
        crop: `limbs` takes its side from the limbs' lengths, see `data.formats.person_scale`.

    Raises ValueError when nobody is left, FileNotFoundError when pictures are missing.
    """
    folder, paths = places(people, images)
    people = as_pictures_are(people, paths)
    if sides:
        from hourglass.data.formats.skeleton_map import with_sides

        people = with_sides(people, sides)
    if crop:
        from hourglass.data.formats.person_scale import with_crop

        people = with_crop(people, crop)
    return records(people, folder, paths=paths)


def as_pictures_are(people: Annotations, paths: dict[str, Path]) -> Annotations:
    """The people as their pictures, which are opened as far as their headers, turn out to be.

    * Where a picture is stored turned (EXIF) and the file states the size of the picture as it is stored,
      the labels were made on that; they are turned with the picture, with a warning.
    * Where another size is stated than the picture has, there is a warning.
    * A joint far outside its picture counts as not labelled, and the crop is made without it.
    * The one joint of a skeleton of one, without a box, has the whole picture for its crop.

    Args:
        paths: where the pictures lie, by name; those that aren't there are left aside.
    """
    headers = {name: header for name, path in paths.items() if (header := _header(path)) is not None}
    turned = _stored_turned(people, headers)
    if turned:
        log.warning(
            "%s: %d pictures are stored turned (EXIF), and by the sizes that the file states they were "
            "labelled as stored, the first is %s; their labels are turned with them",
            people.file,
            len(turned),
            next(iter(turned)),
        )
        people = _turned(people, turned)
    others = []
    for name, (width, height, orientation) in headers.items():
        stated = people.sizes.get(name)
        upright = (height, width) if orientation >= 5 else (width, height)
        if stated is not None and stated != upright:
            others.append(f"{name}, {stated[0]} x {stated[1]} instead of {upright[0]} x {upright[1]}")
    if others:
        log.warning(
            "%s states other sizes of %d pictures than they have, such as %s; the labels are taken as pixels "
            "of the pictures that are there",
            people.file,
            len(others),
            others[0],
        )
    sizes = dict(people.sizes) | {
        name: (height, width) if orientation >= 5 else (width, height)
        for name, (width, height, orientation) in headers.items()
    }
    return _whole_pictures(_near(people, sizes), sizes)


def labels_upright(people: Annotations, root: Path) -> Annotations:
    """The people with the labels of pictures that are stored turned as `as_pictures_are` turns them."""
    paths = places(people, root)[1]
    stated = {name: path for name, path in paths.items() if name in people.sizes}
    headers = {name: header for name, path in stated.items() if (header := _header(path)) is not None}
    return _turned(people, _stored_turned(people, headers))


def _stored_turned(
    people: Annotations, headers: dict[str, tuple[int, int, int]]
) -> dict[str, tuple[int, int, int]]:
    """The headers of pictures that lie on their side by EXIF and whose stated size is that of lying."""
    return {
        name: (width, height, orientation)
        for name, (width, height, orientation) in headers.items()
        if orientation >= 5 and width != height and people.sizes.get(name) == (width, height)
    }


def _header(path: Path) -> tuple[int, int, int] | None:
    try:
        return stored_size(path)
    except ImageError:
        # A missing photo is reported with all the others, a damaged one by whoever reads it.
        return None


def _turned(people: Annotations, headers: dict[str, tuple[int, int, int]]) -> Annotations:
    """Joints, centres and boxes of pictures as stored, in the pictures as they are upright."""
    if not headers:
        return people
    keypoints, center = people.keypoints - people.origin, people.center - people.origin
    box = None if people.box is None else people.box.copy()
    sizes = dict(people.sizes)
    for row, name in enumerate(people.names):
        if name not in headers:
            continue
        width, height, orientation = headers[name]
        keypoints[row] = _upright(keypoints[row], width, height, orientation)
        center[row] = _upright(center[row], width, height, orientation)
        sizes[name] = (height, width)
        if box is not None:
            # A box covers whole pixels, so its last ones lie one before its end.
            low = box[row, :2] - people.origin
            ends = _upright(np.stack([low, low + box[row, 2:] - 1]), width, height, orientation)
            box[row] = [*(ends.min(axis=0) + people.origin), *box[row, :1:-1]]
    return replace(
        people, keypoints=keypoints + people.origin, center=center + people.origin, box=box, sizes=sizes
    )


def _upright(points: Float64Array, width: int, height: int, orientation: int) -> Float64Array:
    """Points (..., 2) of a picture as stored, by EXIF's orientations that exchange width and height."""
    x, y = points[..., 0], points[..., 1]
    across = height - 1 - y if orientation in (6, 7) else y
    down = width - 1 - x if orientation in (7, 8) else x
    return np.stack([across, down], axis=-1)


def _near(people: Annotations, sizes: dict[str, tuple[int, int]]) -> Annotations:
    """Joints far outside their picture unlabelled, and crops that were made of them without them."""
    crowd = np.zeros(len(people), bool) if people.crowd is None else people.crowd
    groups: dict[tuple[int, int], list[int]] = {}
    for row in np.flatnonzero(people.labelled.any(axis=1) & ~crowd).tolist():
        if (size := sizes.get(people.names[row])) is not None:
            groups.setdefault(size, []).append(row)
    visibility = people.visibility.copy()
    for (width, height), rows in groups.items():
        points = (people.keypoints[rows] - people.origin).astype(np.float32).reshape(-1, 2)
        near = without_far_outside(points, visibility[rows].ravel(), width, height)
        visibility[rows] = near.reshape(len(rows), -1)
    changed = (visibility != people.visibility).any(axis=1)
    log_left_out(
        people.file, {"joints far outside their picture": int((visibility != people.visibility).sum())}
    )
    if not changed.any():
        return people
    box = np.full((len(people), 4), np.nan) if people.box is None else people.box
    before, side_before = made_crops(people.keypoints, people.labelled, box)
    center, side_px = made_crops(people.keypoints, visibility > 0, box)
    same = _same(before, people.center).all(axis=1) & _same(side_before, people.side_px)
    made = changed & same
    return replace(
        people,
        visibility=visibility,
        center=np.where(made[:, None], center, people.center),
        side_px=np.where(made, side_px, people.side_px),
    )


def _same(a: Float64Array, b: Float64Array) -> BoolArray:
    return np.asarray((a == b) | (np.isnan(a) & np.isnan(b)))


def _whole_pictures(people: Annotations, sizes: dict[str, tuple[int, int]]) -> Annotations:
    rows = [n for n, name in enumerate(people.names) if np.isnan(people.side_px[n]) and name in sizes]
    if len(people.skeleton) > 1 or not rows:
        return people
    whole = np.array([sizes[people.names[n]] for n in rows], np.float64)
    center, side_px = people.center.copy(), people.side_px.copy()
    center[rows], side_px[rows] = (whole - 1) / 2 + people.origin, whole.max(axis=1)
    return replace(people, center=center, side_px=side_px)
