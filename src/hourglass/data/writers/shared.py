"""What all writers of annotations share: putting a file in place, and saying what its form can't hold."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.files import write_atomically
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import OCCLUDED
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.skeleton_map import map_skeleton


@dataclass
class Losses:
    """What a form of file can't hold of the people who are written to it.

    Args:
        lossy: whether people and joints may be lost too.
        notes: what was lost, a sentence each.
        rows: names of the pictures by row, for a form that can't hold them.
    """

    lossy: bool = False
    notes: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Something that can go: flags, names, numbers that follow from others."""
        self.notes.append(sentence)

    def refuse(self, people: Annotations, sentence: str) -> None:
        """Some people, or joints of theirs, would be lost: raises ValueError unless that was asked for."""
        if not self.lossy:
            raise ValueError(f"{people.file} has {sentence}; --lossy leaves them out")
        self.notes.append(f"left out {sentence}")


def prepared(people: Annotations, form: str, skeleton: Skeleton, origin: int, losses: Losses) -> Annotations:
    """The people as a native form wants them: joints in its order, counted as it counts, no crowds.

    Columns are kept where they are those of a file of this form.

    Raises ValueError when the joints are others, nobody is left, or, unless lossy, people are lost.
    """
    if set(people.skeleton.joints) != set(skeleton.joints):
        raise ValueError(
            f"{people.file} has the joints of {people.skeleton.name}, but this form is for {skeleton.name}; "
            f"give --skeleton {skeleton.name} to map them"
        )
    same = people.form == form and people.origin == origin and people.skeleton.joints == skeleton.joints
    people = placed(map_skeleton(people, skeleton), origin)
    if people.crowd is not None and people.crowd.any():
        crowds = int(people.crowd.sum())
        losses.refuse(people, f"crowds, which have no place in this form: {crowds} of {len(people)} people")
        people = people.take(~people.crowd)
    for what, given in (("boxes", people.box), ("areas", people.area)):
        if given is not None and np.isfinite(given).any():
            losses.note(f"{what} have no place in this form")
    if not len(people):
        raise ValueError(f"{people.file} has nobody to write")
    return people if same else replace(people, columns={})


def with_crops(people: Annotations, losses: Losses) -> Annotations:
    """Those with a crop; raises ValueError unless lossy when others are lost, or when nobody is left."""
    cropless = np.isnan(people.side_px)
    if cropless.any():
        count = f"{int(cropless.sum())} of {len(people)}"
        losses.refuse(people, f"people without a crop, which this form needs for its scale: {count}")
        people = people.take(~cropless)
    if not len(people):
        raise ValueError(f"{people.file} has nobody with a crop")
    return people


def placed(people: Annotations, origin: int) -> Annotations:
    """The same people where the first pixel is called 0 or 1."""
    if people.origin == origin:
        return people
    back = people.origin
    box = people.box
    if box is not None:
        box = box.copy()
        box[:, :2] = box[:, :2] - back + origin
    return replace(
        people,
        origin=origin,
        keypoints=people.keypoints - back + origin,
        center=people.center - back + origin,
        box=box,
    )


def lose_hidden(people: Annotations, losses: Losses) -> None:
    """Note the hidden joints, for a form that can't tell them."""
    hidden = int((people.visibility == OCCLUDED).sum())
    if hidden:
        losses.note(f"hidden joints, which this form can't tell from visible ones: {hidden}")


def lose_untold(people: Annotations, losses: Losses) -> None:
    """Note that nobody said what is hidden, for a form that tells."""
    if not people.tells_hidden:
        losses.note("which joints are hidden isn't known, so all are marked as visible")


def plain(value: float) -> float | int | None:
    """A number for JSON, whole ones short; None where it is not a number (NaN)."""
    if value != value:
        return None
    whole = abs(value) < 2**53 and value == int(value) and (value != 0 or not np.signbit(value))
    return int(value) if whole else value


def plain_list(values: npt.NDArray[np.float64]) -> list[Any]:
    """An array as nested lists for JSON."""
    if values.ndim == 1:
        return [plain(value) for value in values.tolist()]
    return [plain_list(part) for part in values]


def write_json(path: Path, content: Any, force: bool = False) -> None:
    """JSON at `path`, packed if its name ends in .gz; raises as `put` does."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":")).encode()
    # Without a time of its own, so that the same people make the same file.
    raw = gzip.compress(text, mtime=0) if path.name.lower().endswith(".gz") else text
    put(path, lambda part: part.write_bytes(raw), force)


def check_free(path: Path, force: bool) -> None:
    """Raise FileExistsError or OSError when `path` can't be written to."""
    if path.exists() and not path.is_file():
        raise OSError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'no regular file'}")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; give --force to write over it")


def put(path: Path, write: Callable[[Path], object], force: bool = False) -> None:
    """Let `write` fill a temporary neighbour of `path`, then put it in place in one step.

    Raises FileExistsError when there is a file and `force` isn't given, OSError naming `path` when it can't
    be written; then whatever stood there is whole.
    """
    check_free(path, force)
    write_atomically(path, write)
