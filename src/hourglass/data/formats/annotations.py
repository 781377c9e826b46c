"""What the annotation readers hand on: people as their file has them, before any picture is opened."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import Float64Array
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats.read_files import find_pictures

LABEL_FORMS = ("deeplabcut", "sleap", "cvat", "labelstudio", "labelme", "via", "yolo")
"""Files of labelling tools, with any joints (Lightning Pose's are of DeepLabCut's form)."""

FORMS = ("mpii-mat", "mpii-list", "mpii-hrnet", "authors-hdf5", "lsp", "lspet", "coco", *LABEL_FORMS)
"""The kinds of file that people come from."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Annotations:
    """N annotated people. Coordinates stay as the file counts them, from `origin` on.

    A score so meets the very numbers that the file holds, and the file can be written again without loss.
    `records` makes 0-based records of them, for training and evaluation.

    Args:
        file: where they were read.
        form: one of `FORMS`.
        what: the people in words, such as "MPII's val split".
        skeleton: names the J joints.
        where: (N,) what to call each person in messages, such as "valid.json: row 3".
        names: (N,) file names of the pictures, below the folder of pictures.
        ids: (N,) int64, distinct.
        splits: (N,) `train`, `val`, `test`, or "" where the file tells none.
        keypoints: (N, J, 2) as in the file; may hold anything where the visibility is 0.
        visibility: (N, J) uint8, COCO's 0, 1 or 2.
        tells_hidden: whether hidden joints are told from visible ones.
        origin: what the file calls the first pixel, 0 or 1.
        center: (N, 2) middle of the square crop that a network should see, counted as the file counts.
        side_px: (N,) side of that crop. NaN, as the centre, for who has none (nothing labelled, no box).
        lengths: (N,) pixels each, that a score divides by and only the file knows: `head`, `file-torso`.
        box: (N, 4) x, y, width, height, or None where the file has no boxes; NaN for who has none.
        area: (N,) square pixels, or None; NaN for who has none.
        crowd: (N,) bool, or None.
        weight: (N, J) in 0..1, how much each label counts in training, or None where all count fully.
        columns: further ones, (N, ...) under the file's own names and as it has them, such as the
            `scale_provided` of MPII's list: what writing the same form again needs.
        sizes: width and height of pictures by name, where the file states them.
        image: (N,) number of each person's picture among all `images` that the file lists, or None.
        images: how many these are.

    Raises ValueError, naming the person, when shapes disagree, a labelled joint or a crop is of no use, or
    two people have one id.
    """

    file: Path
    form: str
    what: str
    skeleton: Skeleton
    where: Sequence[str]
    names: Sequence[str]
    ids: npt.NDArray[np.int64]
    splits: Sequence[str]
    keypoints: Float64Array
    visibility: npt.NDArray[np.uint8]
    tells_hidden: bool
    origin: int
    center: Float64Array
    side_px: Float64Array
    lengths: Mapping[str, Float64Array] = field(default_factory=dict)
    box: Float64Array | None = None
    area: Float64Array | None = None
    crowd: npt.NDArray[np.bool_] | None = None
    weight: Float64Array | None = None
    columns: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    image: npt.NDArray[np.int64] | None = None
    images: int = 0

    @classmethod
    def of(
        cls,
        skeleton: Skeleton,
        keypoints: Float64Array,
        visibility: npt.NDArray[np.uint8],
        tells_hidden: bool = True,
        lengths: Mapping[str, Float64Array] | None = None,
        file: Path = Path("people"),
        origin: int = 0,
    ) -> "Annotations":
        """People known by their joints alone, numbered from 0, without crops."""
        count = len(keypoints)
        return cls(
            file=file,
            form="records",
            what=str(file),
            skeleton=skeleton,
            where=[f"{file}: person {n}" for n in range(count)],
            names=[""] * count,
            ids=np.arange(count),
            splits=[""] * count,
            keypoints=keypoints,
            visibility=visibility,
            tells_hidden=tells_hidden,
            origin=origin,
            center=np.full((count, 2), np.nan),
            side_px=np.full(count, np.nan),
            lengths=lengths or {},
        )

    def __post_init__(self) -> None:
        count, joints = len(self.ids), self.skeleton.joints
        shapes: dict[str, tuple[int, ...]] = {
            "keypoints": (count, len(joints), 2),
            "visibility": (count, len(joints)),
            "center": (count, 2),
            "side_px": (count,),
        }
        for name, shape in shapes.items():
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(f"{self.file}: {name} has the shape {found}, expected {shape}")
        sized: dict[str, Any] = {**self.lengths, **self.columns}
        each = ("where", "names", "splits", "box", "area", "crowd", "weight", "image")
        sized |= {name: getattr(self, name) for name in each}
        for name, column in sized.items():
            if column is not None and len(column) != count:
                raise ValueError(f"{self.file}: {len(column)} {name} for {count} people")
        bad = (self.visibility > NOT_LABELLED) & ~np.isfinite(self.keypoints).all(axis=2)
        for n, j in np.argwhere(bad).tolist()[:1]:
            raise ValueError(f"{self.where[n]}: {joints[j]} is labelled but not a finite number")
        whole = np.isfinite(self.center).all(axis=1) & (self.side_px > 0) & np.isfinite(self.side_px)
        for n in np.flatnonzero(~whole & ~np.isnan(self.side_px)).tolist()[:1]:
            raise ValueError(f"{self.where[n]}: the crop's centre or side is not a positive finite number")
        first: dict[int, str] = {}
        for where, person in zip(self.where, self.ids.tolist(), strict=True):
            if first.setdefault(person, where) != where:
                raise ValueError(f"{where} and {first[person]} have the same id {person}")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(N, J) True where the joint has coordinates."""
        return self.visibility > NOT_LABELLED

    def take(self, rows: Sequence[int] | npt.NDArray[Any]) -> "Annotations":
        """Some of the people: by row numbers, or (N,) bool."""
        index = np.arange(len(self))[np.asarray(rows, None if len(rows) else np.int64)]
        changed: dict[str, Any] = {}
        for part in fields(self):
            value = getattr(self, part.name)
            if part.name in ("where", "names", "splits"):
                changed[part.name] = [value[n] for n in index.tolist()]
            elif part.name in ("lengths", "columns"):
                changed[part.name] = {name: column[index] for name, column in value.items()}
            elif isinstance(value, np.ndarray):
                changed[part.name] = value[index]
        return replace(self, **changed)


def records(
    people: Annotations,
    images: Path,
    unlabelled: bool = False,
    paths: Mapping[str, Path] | None = None,
) -> list[PersonRecord]:
    """One record, 0-based, for each person with a crop and a labelled joint; crowds are left out.

    Args:
        images: the folder with the pictures.
        unlabelled: keep people without a labelled joint too, as those of a test split.
        paths: where pictures lie that aren't below `images` under their name.

    Raises ValueError when nobody is left, FileNotFoundError when pictures are missing.
    """
    if not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}; it should hold the pictures of {people.what}")
    crowd = np.zeros(len(people), bool) if people.crowd is None else people.crowd
    bare = ~people.labelled.any(axis=1) & ~crowd & (not unlabelled)
    cropless = np.isnan(people.side_px) & ~crowd & ~bare
    counts = {"crowds": crowd, "people without labelled joints": bare, "people without a crop": cropless}
    log_left_out(people.file, {what: int(rows.sum()) for what, rows in counts.items()})
    kept = np.flatnonzero(~(crowd | bare | cropless)).tolist()
    if not kept:
        raise ValueError(f"{people.file} has nobody with a labelled joint in {people.what}")
    wanted = dict.fromkeys(people.names[n] for n in kept)
    photos = {name: path for name, path in (paths or {}).items() if name in wanted}
    found, missing = find_pictures(images, [name for name in wanted if name not in photos])
    check_photos(missing, len(wanted), images, people.what)
    photos |= found
    return [
        PersonRecord(
            image=photos[people.names[n]],
            image_id=people.names[n],
            person_id=int(people.ids[n]),
            skeleton=people.skeleton,
            keypoints=(people.keypoints[n] - people.origin).astype(np.float32),
            visibility=people.visibility[n],
            center=(people.center[n] - people.origin).astype(np.float32),
            side_px=float(people.side_px[n]),
            weight=None if people.weight is None else people.weight[n].astype(np.float32),
        )
        for n in kept
    ]


def find_photos(folder: Path, names: Iterable[str], what: str) -> dict[str, Path]:
    """Where each picture lies, under its name or one with another ending.

    Raises FileNotFoundError with the number of missing ones and the first.
    """
    found, missing = find_pictures(folder, names)
    check_photos(missing, len(found) + len(missing), folder, what)
    return found


def check_photos(missing: Sequence[str], wanted: int, folder: Path, what: str) -> None:
    """Raise FileNotFoundError with the number of missing photos and the first, if there are any."""
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {wanted} photos of {what} are missing in {folder}, "
            f"the first is {missing[0]}; add them, or take annotations whose photos are there"
        )


def log_left_out(file: Path, counts: dict[str, int]) -> None:
    """One log line for everything that a reader left out of a file, if anything."""
    parts = [f"{what}: {count}" for what, count in counts.items() if count]
    if parts:
        log.info("left out of %s: %s", file, "; ".join(parts))
