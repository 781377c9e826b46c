"""What of a data set lies in a folder, measured against what should: files, checksums, people, pictures.

People are counted by our own picture-free readers. Pictures are counted by listing their folder; none is
opened. Part of a data set is no fault of its own: the report says how much of it there is.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hourglass.data.download.sources import DataSource, RemoteFile, SplitSize, find, readable
from hourglass.data.formats.read_files import annotation_places, find_pictures, first_there

Progress = Callable[[str, int, int | None], None]
"""What is being done, how many bytes of it are done, and of how many (None where unknown)."""

_CHUNK = 1 << 22

_PICTURES = {"coco": ("{split}2017", "images/{split}2017"), "ap10k": ("data",)}


@dataclass(frozen=True)
class FileState:
    """A file of the table: `ok`, `unproven` (no checksum to compare), `wrong` or `missing`; why in words."""

    name: str
    state: str
    told: str


@dataclass(frozen=True)
class SplitState:
    """What is there of a split.

    Args:
        split: its name.
        annotations: the file that was read, below the folder; empty where there is none.
        people: annotated ones with a labelled joint, crowds aside.
        people_expected: in the whole data set.
        pictures: that the annotations list.
        pictures_expected: in the whole data set.
        present: how many of `pictures` lie in the folder.
        problem: what keeps the split from being counted; empty where nothing does.
    """

    split: str
    annotations: str
    people: int
    people_expected: int
    pictures: int
    pictures_expected: int
    present: int
    problem: str = ""

    @property
    def whole(self) -> bool:
        """Whether everything is there as expected."""
        as_expected = self.people == self.people_expected and self.pictures == self.pictures_expected
        return not self.problem and as_expected and self.present == self.pictures


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    dataset: str
    root: str
    files: tuple[FileState, ...]
    splits: tuple[SplitState, ...]

    @property
    def whole(self) -> bool:
        """Whether every split is whole and no file differs from its checksum."""
        return all(s.whole for s in self.splits) and all(f.state != "wrong" for f in self.files)

    @property
    def people(self) -> tuple[int, int]:
        """How many there are, and how many the data set has."""
        return sum(s.people for s in self.splits), sum(s.people_expected for s in self.splits)

    @property
    def pictures(self) -> tuple[int, int]:
        """How many of those that its splits need lie in the folder, and how many the data set has."""
        return sum(s.present for s in self.splits), sum(s.pictures_expected for s in self.splits)


def check(
    source: DataSource | str, root: Path, progress: Progress | None = None, checksums: bool = True
) -> Report:
    """Look through a folder; opens no connection and no picture.

    Args:
        source: a data set of `sources`, or its name.
        root: its folder, as the readers want it.
        checksums: read every file whose checksum is known. Without, only sizes are compared.

    Raises ValueError for a name that is not in the table, FileNotFoundError when the folder isn't there.
    """
    source = find(source) if isinstance(source, str) else source
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the one that holds {source.title}")
    files = tuple(_file_state(file, source, root, progress, checksums) for file in source.files)
    return Report(source.name, str(root), files, tuple(_split_states(source, root)))


def mismatch(file: RemoteFile, path: Path, progress: Progress | None = None, checksums: bool = True) -> str:
    """How a file on disk differs from the table, in words; empty where it doesn't, as far as is known."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes where {file.size:,} are expected"
    if not size:
        return "is empty"
    kind, wanted = ("sha256", file.sha256) if file.sha256 else ("md5", file.md5)
    if wanted and checksums:
        found = _digest(path, kind, progress)
        if found != wanted:
            return f"has the {kind} {found} where {wanted} is expected"
    return ""


def _digest(path: Path, kind: str, progress: Progress | None) -> str:
    digest, done, size = hashlib.new(kind, usedforsecurity=False), 0, path.stat().st_size
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


def _file_state(
    file: RemoteFile, source: DataSource, root: Path, progress: Progress | None, checksums: bool
) -> FileState:
    path = next((root / name for name in (file.name, *file.also) if (root / name).is_file()), None)
    if path is None:
        taken = [name for name in file.unpacks if (root / name).exists()]
        if taken:
            return FileState(file.name, "missing", f"not here; {', '.join(taken)} may come from it")
        return FileState(file.name, "missing", "only on request" if file.extra else "not here")
    known = bool(file.sha256 or file.md5) and checksums
    problem = mismatch(file, path, progress, checksums)
    if problem:
        for other in source.files:
            if other is not file and other.sha256 and not mismatch(other, path, progress):
                return FileState(file.name, "ok", f"holds {Path(other.name).name}: {other.holds}")
        return FileState(file.name, "wrong", f"{path.relative_to(root)} {problem}")
    size = readable(path.stat().st_size)
    if known:
        return FileState(file.name, "ok", f"{size}, checksum as expected")
    why = "no checksum is known" if checksums else "checksum not compared"
    return FileState(file.name, "unproven", f"{size}, {why}")


def _split_states(source: DataSource, root: Path) -> Iterable[SplitState]:
    read: dict[Path, Any] = {}
    for part in source.parts:
        places = annotation_places(source.name, part.split)
        place = first_there(root, places)
        problem = "" if place else f"no annotations: none of {', '.join(places)}"
        people, pictures = 0, list[str]()
        if place:
            try:
                people, pictures = _count(source, root / place, part, read)
            except (ValueError, OSError) as error:
                problem = " ".join(str(error).split())
        folders = [folder.format(split=part.split) for folder in _PICTURES.get(source.name, ("images",))]
        folder = next((root / folder for folder in folders if (root / folder).is_dir()), None)
        if folder is None:
            problem = problem or f"no pictures: there is no folder {' or '.join(folders)}"
        present = _present(pictures, folder) if folder is not None else 0
        yield SplitState(
            part.split, place, people, part.people, len(pictures), part.pictures, present, problem
        )


def _count(source: DataSource, file: Path, part: SplitSize, read: dict[Path, Any]) -> tuple[int, list[str]]:
    """People of a split, and the names of its pictures. A file is read once, however many splits it has."""
    if source.kind == "coco":
        return _count_coco(file)
    from hourglass.data.formats.annotation_files import read_annotations

    if file not in read:
        # HRNet's files don't tell whose split they are.
        is_hrnet = file.parent.name == "annot" and file.suffix == ".json"
        read[file] = read_annotations(file, part.split if is_hrnet else "")
    people = read[file]
    told = any(people.splits)
    rows = [n for n, split in enumerate(people.splits) if not told or split == part.split]
    labelled = people.labelled.any(axis=1)
    return int(labelled[rows].sum()), list(dict.fromkeys(people.names[n] for n in rows))


def _count_coco(file: Path) -> tuple[int, list[str]]:
    from hourglass.data.formats.coco import category_names, parse
    from hourglass.data.formats.read_files import check_file, read_json

    check_file(file, "annotations")
    content = read_json(file)
    people, names = 0, list[str]()
    # Animals have a category for each species.
    for category in (*category_names(content),) or (None,):
        found = parse(content, file, category)
        crowd = found.people.crowd
        kept = found.people.labelled.any(axis=1)
        people += int((kept if crowd is None else kept & ~crowd).sum())
        names = list(found.names)
    return people, names


def _present(pictures: Sequence[str], folder: Path) -> int:
    return len(find_pictures(folder, pictures)[0])
