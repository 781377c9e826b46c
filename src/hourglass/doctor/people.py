"""Everybody of a data set in one table, whatever files they came from, and how long their limbs are.

A limb is foreshortened more often than not, so a person's size is told by the longer limbs: the 75 % quantile
of length over usual length. That is how the LSP converter of bearpaw/pytorch-pose takes a scale from limbs
(gen_lsp.m); here usual lengths are the data set's own medians.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import OCCLUDED, PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.person_scale import row_quantile
from hourglass.data.formats.read_files import find_pictures

Size = tuple[int, int]


@dataclass(frozen=True)
class FileOfPeople:
    """The people of one file, and where their pictures are.

    Args:
        people: as the file has them.
        split: what their file is a split of, where the file itself doesn't say; else "".
        folder: the pictures' folder; None when there is none.
        pictures: encoded pictures by name, for people who bring their own.
        names: all pictures that the file lists, also those without people.
        sizes: width and height that the file states, by picture's name.
        cut_from: what picture each of `pictures` was cut out of.
    """

    people: Annotations
    split: str = ""
    folder: Path | None = None
    pictures: Mapping[str, bytes] | None = None
    names: Sequence[str] = ()
    sizes: Mapping[str, Size] | None = None
    cut_from: Mapping[str, str] | None = None


@dataclass(frozen=True, eq=False)
class Photo:
    """One picture.

    Args:
        name: as its file of annotations calls it.
        split: of whoever named it first.
        source: its file, its bytes, or neither.
        stated: width and height by the annotations.
        original: the picture it was cut out of, or itself.
    """

    name: str
    split: str
    source: Path | bytes | None
    stated: Size | None
    original: str


@dataclass(frozen=True, eq=False)
class DataSet:
    """N annotated people in P pictures. Crowds are left out: nobody trains on them.

    Args:
        skeleton: names the J joints.
        files: where they were read.
        forms: (F,) form of each file, one of `annotations.FORMS` or `records`.
        origin: (F,) what each file calls its first pixel.
        file: (N,) number of each person's file.
        where: (N,) what to call each person in messages.
        ids: (N,) int64, distinct within a file.
        splits: (N,) words, "" where nobody tells.
        keypoints: (N, J, 2) 0-based pixels; NaN where not labelled.
        hidden: (N, J) True where a labelled joint is hidden.
        tells_hidden: whether all files tell hidden joints from visible ones.
        center: (N, 2) of the crops, 0-based; side_px: (N,). NaN for who has no crop.
        box: (N, 2) width and height of the boxes in the file; area: (N,). NaN for who has none there.
        photo: (N,) number of each person's picture.
        photos: P of them.
        sizes: (P, 2) width and height, NaN where unknown.
    """

    skeleton: Skeleton
    files: tuple[Path, ...]
    forms: tuple[str, ...]
    origin: tuple[int, ...]
    file: npt.NDArray[np.int64]
    where: tuple[str, ...]
    ids: npt.NDArray[np.int64]
    splits: tuple[str, ...]
    keypoints: Float64Array
    hidden: BoolArray
    tells_hidden: bool
    center: Float64Array
    side_px: Float64Array
    box: Float64Array
    area: Float64Array
    photo: npt.NDArray[np.int64]
    photos: tuple[Photo, ...]
    sizes: Float64Array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> BoolArray:
        """(N, J) True where the joint has coordinates."""
        return np.isfinite(self.keypoints[..., 0])

    def column(self, joint: str) -> Float64Array:
        """(N, 2) one joint of everybody; NaN where it is not labelled, or the skeleton has none such."""
        if joint not in self.skeleton.joints:
            return np.full((len(self), 2), np.nan)
        return self.keypoints[:, self.skeleton.index(joint)]

    def rows_of(self, split: str) -> BoolArray:
        """(N,) True for the people of a split."""
        return np.array([word == split for word in self.splits], bool)

    def picture_size(self) -> Float64Array:
        """(N, 2) width and height of each person's picture, NaN where unknown."""
        return self.sizes[self.photo]

    def with_sizes(self, sizes: Float64Array) -> "DataSet":
        """The same people with the sizes (P, 2) that the pictures have been found to have."""
        return replace(self, sizes=sizes)


def gather(parts: Sequence[FileOfPeople], split: str = "") -> DataSet:
    """All parts in one table. A picture is one and the same where folder and name are.

    Args:
        split: keep only its people and pictures.

    Raises ValueError when parts have different joints or the split holds nobody.
    """
    if not parts:
        raise ValueError("there are no annotations to look at")
    skeleton = parts[0].people.skeleton
    for part in parts:
        if part.people.skeleton.joints != skeleton.joints:
            raise ValueError(
                f"{part.people.file} has the joints of {part.people.skeleton.name!r}, "
                f"{parts[0].people.file} those of {skeleton.name!r}; look at them one by one"
            )
    photos: dict[tuple[Path | None, str], Photo] = {}
    number: dict[tuple[Path | None, str], int] = {}

    places: dict[Path, dict[str, Path]] = {}
    for part in parts:
        if part.folder:
            wanted = dict.fromkeys((*part.people.names, *(part.sizes or {})))
            places.setdefault(part.folder, {}).update(find_pictures(part.folder, wanted)[0])

    def enter(part: FileOfPeople, name: str, word: str) -> int:
        key = (part.folder, name)
        if key not in photos:
            source: Path | bytes | None = (part.pictures or {}).get(name)
            if part.folder:
                source = places[part.folder].get(name, part.folder / name)
            whole = (part.cut_from or {}).get(name, str(part.folder / name if part.folder else name))
            photos[key] = Photo(name, word, source, (part.sizes or {}).get(name), whole)
            number[key] = len(number)
        return number[key]

    tables: list[tuple[Annotations, BoolArray, int, list[str], list[int]]] = []
    for f, part in enumerate(parts):
        people = part.people
        words = [word or part.split for word in people.splits]
        kept = np.ones(len(people), bool) if people.crowd is None else ~people.crowd
        if split:
            kept &= np.array([word == split for word in words], bool)
        rows = np.flatnonzero(kept).tolist()
        photo = [enter(part, people.names[n], words[n]) for n in rows]
        if not split or part.split == split:
            for name in part.names:
                enter(part, name, part.split)
        tables.append((people, kept, f, [words[n] for n in rows], photo))
    if not sum(int(kept.sum()) for _, kept, *_ in tables):
        which = f" of the split {split!r}" if split else ""
        raise ValueError(f"{', '.join(str(p.people.file) for p in parts)}: there is nobody{which}")
    known = np.full((len(photos), 2), np.nan)
    for n, found in enumerate(photos.values()):
        if found.stated is not None:
            known[n] = found.stated
    return DataSet(
        skeleton=skeleton,
        files=tuple(p.people.file for p in parts),
        forms=tuple(p.people.form for p in parts),
        origin=tuple(p.people.origin for p in parts),
        file=np.concatenate([np.full(int(kept.sum()), f) for _, kept, f, *_ in tables]),
        where=tuple(a.where[n] for a, kept, *_ in tables for n in np.flatnonzero(kept).tolist()),
        ids=np.concatenate([a.ids[kept] for a, kept, *_ in tables]),
        splits=tuple(word for *_, words, _ in tables for word in words),
        keypoints=np.concatenate([_joints(a)[kept] for a, kept, *_ in tables]),
        hidden=np.concatenate([(a.visibility == OCCLUDED)[kept] for a, kept, *_ in tables]),
        tells_hidden=all(p.people.tells_hidden for p in parts),
        center=np.concatenate([a.center[kept] - a.origin for a, kept, *_ in tables]),
        side_px=np.concatenate([a.side_px[kept] for a, kept, *_ in tables]),
        box=np.concatenate([_told(a.box, (len(a), 4))[kept, 2:] for a, kept, *_ in tables]),
        area=np.concatenate([_told(a.area, (len(a),))[kept] for a, kept, *_ in tables]),
        photo=np.array([n for *_, photo in tables for n in photo], np.int64),
        photos=tuple(photos.values()),
        sizes=known,
    )


def part_of_records(records: Sequence[PersonRecord], file: Path, split: str) -> FileOfPeople:
    """People who bring their pictures with them, as those of a pack or rendered ones.

    Each is in a picture of their own, named after the picture they were cut from and themselves.
    """
    names = [f"{record.image_id}#{record.person_id}" for record in records]
    people = Annotations.of(
        records[0].skeleton,
        np.stack([record.keypoints for record in records]).astype(np.float64),
        np.stack([record.visibility for record in records]),
        file=file,
    )
    people = replace(
        people,
        where=[f"{file}: person {record.person_id}" for record in records],
        names=names,
        ids=np.array([record.person_id for record in records], np.int64),
        splits=[split] * len(records),
        center=np.stack([record.center for record in records]).astype(np.float64),
        side_px=np.array([record.side_px for record in records], np.float64),
    )
    pictures = {n: r.image for n, r in zip(names, records, strict=True) if isinstance(r.image, bytes)}
    cut_from = {name: record.image_id for name, record in zip(names, records, strict=True)}
    return FileOfPeople(people, split, pictures=pictures, cut_from=cut_from)


def _joints(people: Annotations) -> Float64Array:
    points = people.keypoints.astype(np.float64) - people.origin
    return np.where(people.labelled[..., None], points, np.nan)


def _told(column: Float64Array | None, shape: tuple[int, ...]) -> Float64Array:
    return np.full(shape, np.nan) if column is None else column


LONG_SHARE = 0.75

_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Body:
    """Limbs of N people.

    Args:
        limbs: (L,) pairs of joint numbers.
        length_px: (N, L), NaN where an end is not labelled.
        usual: (L,) median of length over body, NaN of a limb that nobody has.
        body_px: (N,) size of each person, about the longer side of an upright one; NaN without a limb.
    """

    limbs: tuple[tuple[int, int], ...]
    length_px: Float64Array
    usual: Float64Array
    body_px: Float64Array


def measure(people: DataSet) -> Body:
    """The limbs of everybody; without limbs the box around the joints tells the size."""
    points, limbs = people.keypoints, people.skeleton.limb_indices
    body_px = box_side_px(people)
    if not limbs:
        return Body((), np.zeros((len(points), 0)), np.zeros(0), body_px)
    ends = np.array(limbs)
    gap = points[:, ends[:, 0]] - points[:, ends[:, 1]]
    length_px = np.hypot(gap[..., 0], gap[..., 1])
    usual = _usual(length_px, body_px)
    for _ in range(_ROUNDS):
        body_px = _positive(row_quantile(length_px / _positive(usual), LONG_SHARE))
        usual = _usual(length_px, body_px)
    return Body(limbs, length_px, usual, body_px)


def relative(body: Body) -> Float64Array:
    """(N, L) how many times longer a limb is than the person's other limbs let expect; NaN where unknown."""
    ratio = body.length_px / _positive(body.usual)
    out = np.full(ratio.shape, np.nan)
    for limb in range(ratio.shape[1]):
        others = np.delete(ratio, limb, axis=1)
        out[:, limb] = ratio[:, limb] / _positive(row_quantile(others, LONG_SHARE))
        out[np.isfinite(others).sum(axis=1) < 2, limb] = np.nan
    return out


def box_side_px(people: DataSet) -> Float64Array:
    """(N,) longer side of the box around the labelled joints; NaN for fewer than two, or all in one place."""
    known = people.labelled[..., None]
    low = np.where(known, people.keypoints, np.inf).min(axis=1)
    high = np.where(known, people.keypoints, -np.inf).max(axis=1)
    two = people.labelled.sum(axis=1) >= 2
    side = np.full(len(people), np.nan)
    side[two] = (high - low)[two].max(axis=1)
    return _positive(side)


def robust_z(values: Float64Array, known: BoolArray, least_spread: float) -> Float64Array:
    """(N,) distances from the median in standard deviations, told by the median deviation; NaN if unknown."""
    sample = np.where(known & np.isfinite(values), values, np.nan)
    middle = row_quantile(sample[None], 0.5)[0]
    spread = 1.4826 * row_quantile(np.abs(sample - middle)[None], 0.5)[0]
    z: Float64Array = (sample - middle) / max(float(np.nan_to_num(spread)), least_spread)
    return z


def _usual(length_px: Float64Array, body_px: Float64Array) -> Float64Array:
    return row_quantile((length_px / body_px[:, None]).T, 0.5)


def _positive(values: npt.NDArray[np.float64]) -> Float64Array:
    """NaN instead of 0, so that nothing is divided by it."""
    return np.where(values > 0, values, np.nan)


Numbers = Mapping[str, float | int | str | None]

LEVELS = ("ok", "note", "warning", "error")
"""From nothing to say to what keeps training from starting."""


@dataclass(frozen=True)
class Suspect:
    """A person or a picture to look at.

    Args:
        number: how bad it is, in the unit that the check's sentence tells; larger is worse.
        what: in words, such as "right knee 145 px outside".
        row: of the person in `DataSet`, or None when it is about a picture.
        photo: number of the picture in `DataSet`.
    """

    number: float
    what: str
    row: int | None
    photo: int


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        check: its short name, stable.
        level: one of `LEVELS`.
        count: how many were found.
        of: among how many.
        unit: of what: people, pictures, joints, coordinates, splits.
        sentence: what was found and by which threshold.
        suspects: the worst first.
        numbers: further measures, by stable names.
        brief: the same in a few words, where they tell more than the count.
    """

    check: str
    level: str
    count: int
    of: int
    unit: str
    sentence: str
    suspects: Sequence[Suspect] = ()
    numbers: Numbers = field(default_factory=dict)
    brief: str = ""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"the level {self.level!r} is not one of {', '.join(LEVELS)}")

    @property
    def share(self) -> float | None:
        """`count` over `of`, or None of nobody."""
        return self.count / self.of if self.of else None


WARN_SHARE, STOP_SHARE = 0.01, 0.2
"""Suspects are a note up to one in a hundred, a warning up to one in five, and an error beyond.

A few slips are in every data set. A fifth of all people is a mistake in the file or of whoever read it,
such as x and y exchanged or joints in another order.
"""

LEAK_SHARE = 0.001
"""Pictures in two splits are a warning up to one in a thousand, as in FLIC's own split, else an error."""


def level_of(count: int, of: int, warn: float = WARN_SHARE, stop: float = STOP_SHARE) -> str:
    """The level of `count` suspects among `of`; `warn` and `stop` are shares that must be exceeded."""
    if not count:
        return "ok"
    share = count / of
    return "error" if share > stop else "warning" if share > warn else "note"


def of_suspects(
    check: str,
    suspects: Sequence[Suspect],
    of: int,
    sentence: str,
    numbers: Numbers | None = None,
    warn: float = WARN_SHARE,
    stop: float = STOP_SHARE,
) -> Finding:
    """The finding of a check that suspects people, in the order given; its level as `level_of` has it."""
    count = len(suspects)
    level = level_of(count, of, warn, stop)
    return Finding(check, level, count, of, "people", sentence, suspects, numbers or {})


def worst_first(suspects: Sequence[Suspect]) -> tuple[Suspect, ...]:
    """By number, and among equals in the order of the file."""
    return tuple(sorted(suspects, key=lambda s: -s.number))


def of_person(people: DataSet, row: int, number: float, what: str) -> Suspect:
    """A person as a suspect."""
    return Suspect(round(number, 4), what, row, int(people.photo[row]))


def rows_where(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Row numbers where a mask (N,) is True."""
    rows: list[int] = np.flatnonzero(mask).tolist()
    return rows
