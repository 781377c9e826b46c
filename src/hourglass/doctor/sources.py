"""From a folder to the people of its annotation files."""

import os
import re
from dataclasses import dataclass, replace
from glob import escape, glob
from pathlib import Path

from hourglass.core.skeleton import FLIC11, LSP14
from hourglass.data.formats.annotation_files import coco_content, read_annotations
from hourglass.data.formats.annotations import LABEL_FORMS, Annotations
from hourglass.data.formats.picture_places import places
from hourglass.data.formats.read_files import annotation_places, first_there, read_hdf5, read_json, read_mat
from hourglass.doctor.people import FileOfPeople, part_of_records

KINDS = ("lspet", "lsp", "mpii", "flic", "coco", "file", "pack", "synthetic")

RENDERED = 24
"""People of each split of `synthetic`."""

_LABEL_ENDINGS = (".csv", ".yaml", ".yml", ".xml", ".slp")
_PROJECTS = ("config.yaml", "data.yaml", "dataset.yaml")
_COCO = "annotations/person_keypoints_*.json"


class RefusedAnnotations(ValueError):
    """A file that can be read, but holds something that its reader refuses: a fault of the data set."""


@dataclass(frozen=True, eq=False)
class FoundData:
    """What lies in a folder.

    Args:
        kind: one of `KINDS`.
        parts: people, one part for each file.
        folders: where pictures were expected.
    """

    kind: str
    parts: tuple[FileOfPeople, ...]
    folders: tuple[Path, ...]


def find(
    root: str, data: str = "", annotations: str = "", category: str | None = None, split: str = ""
) -> FoundData:
    """Read all annotation files of a data set.

    Args:
        root: its folder, or a pack; for COCO the folder of the pictures, `{split}` in it is replaced. A
            labelling tool's file or folder is enough by itself.
        data: one of `KINDS`; empty tells it from what lies there.
        annotations: a file of any form, or several with `{split}` for what differs in their names.
        category: of COCO files with several.
        split: take `{split}` for this one only.

    Raises FileNotFoundError when there is nothing to read, ValueError when it is something else than `data`
    says or can't be read at all, and `RefusedAnnotations` when the reader refuses what is in it.
    """
    if data and data not in KINDS:
        raise ValueError(f"--data {data!r} is not one of {', '.join(KINDS)}")
    if data == "synthetic":
        return _rendered()
    if not root:
        raise ValueError("say where the data lies: hourglass data doctor ROOT")
    if annotations:
        files = _expanded(annotations, split)
    elif data == "file" or Path(root).suffix.lower() in _LABEL_ENDINGS or _is_project(Path(root)):
        files, root = _expanded(root, split), ""
    elif data == "pack" or Path(root).suffix == ".parquet":
        return _packed(Path(root))
    else:
        files = _files_below(Path(root), data)
    parts = tuple(_part(root, file, word, category, bool(annotations)) for word, file in files)
    kind = kind_of(parts[0].people)
    for part in parts:
        if data != "file" and kind_of(part.people) != (data or kind):
            raise ValueError(f"{part.people.file} is {kind_of(part.people)} data, not {data or kind}")
    folders = tuple(dict.fromkeys(part.folder for part in parts if part.folder is not None))
    return FoundData(kind, parts, folders)


def kind_of(people: Annotations) -> str:
    """The kind of data set that a file of this form belongs to."""
    if people.form.startswith("mpii"):
        return "mpii"
    if people.form == "authors-hdf5":
        return "flic" if people.skeleton.joints == FLIC11.joints else "mpii"
    return "file" if people.form in LABEL_FORMS else people.form


def _is_project(root: Path) -> bool:
    """Whether a folder is one of a labelling tool that is told without opening its files."""
    return any((root / name).is_file() for name in _PROJECTS) or any(root.glob("CollectedData_*"))


def _files_below(root: Path, data: str) -> list[tuple[str, Path]]:
    """Splits ("" where the file tells them) and files."""
    if not root.is_dir():
        raise FileNotFoundError(f"there is no folder {root}; give the folder of a data set, or a pack")
    found: list[tuple[str, Path]] = []
    if data in ("", "lsp", "lspet") and (root / "joints.mat").is_file():
        found = [("", root / "joints.mat")]
    elif data in ("", "mpii", "flic"):
        name = data or "mpii"  # FLIC's files are called as the authors' of MPII
        for is_official in (False, True):
            for split in ("train", "val"):
                wanted = [p for p in annotation_places(name, split) if p.endswith(".mat") == is_official]
                found += [(split, root / place) for place in [first_there(root, wanted)] if place]
            if found:
                break
        if len({file for _, file in found}) == 1 and found[0][1].name.startswith("mpii_"):
            found = [("", found[0][1])]  # one file with all splits
    if not found and data in ("", "coco"):
        found = [
            (re.sub(r"\d+$", "", file.stem.rpartition("_")[2]), file) for file in sorted(root.glob(_COCO))
        ]
    if not found:
        what = f"{data} annotations" if data else "annotations that are known by name"
        raise FileNotFoundError(
            f"{root} holds no {what} (joints.mat, annot/train.h5, {_COCO} and so on); "
            "name the file with --annotations"
        )
    return found


def _expanded(pattern: str, split: str) -> list[tuple[str, Path]]:
    """A pattern's files and what `{split}` stands for in each."""
    if "{split}" not in pattern:
        return [("", Path(pattern))]
    if split:
        return [(split, Path(pattern.replace("{split}", split)))]
    head, *tails = pattern.split("{split}")
    # The first {split} may be any word, the others the same one.
    shape = re.escape(head) + "(?P<word>.+?)" + "(?P=word)".join(map(re.escape, tails))
    files = sorted(glob("*".join(map(escape, (head, *tails)))))
    found = [(match["word"], Path(file)) for file in files if (match := re.fullmatch(shape, file))]
    if not found:
        raise FileNotFoundError(f"there is no file {pattern}, whatever {{split}} stands for")
    return found


def _part(root: str, file: Path, split: str, category: str | None, named: bool) -> FileOfPeople:
    people, names, sizes = _read(file, category)
    if people.form in LABEL_FORMS:
        folder, found = places(people, Path(root.replace("{split}", split)) if root else None)
        below = {name: Path(os.path.relpath(path, folder)).as_posix() for name, path in found.items()}
        people = replace(people, names=[below.get(name, name) for name in people.names])
        return FileOfPeople(
            people, split, folder, sizes={below.get(n, n): s for n, s in people.sizes.items()}
        )
    if people.form != "coco":
        folder = Path(root) / "images"
        return FileOfPeople(people, split, folder if folder.is_dir() or not named else Path(root))
    folder = Path(root.replace("{split}", split))
    if not named:
        word = file.stem.rpartition("_")[2]
        folder = next((f for f in (folder / word, folder / "images" / word) if f.is_dir()), folder / word)
    return FileOfPeople(people, split, folder, names=names, sizes=sizes)


def _read(
    file: Path, category: str | None
) -> tuple[Annotations, tuple[str, ...], dict[str, tuple[int, int]]]:
    """People, and of COCO files all pictures with their sizes."""
    try:
        content = coco_content(file)
        if content is None:
            return read_annotations(file, category=category), (), {}
        from hourglass.data.formats.coco import parse

        coco = parse(content, file, category)
        sizes = {name: size for name, size in zip(coco.names, coco.sizes, strict=True) if size is not None}
        return coco.people, coco.names, sizes
    except FileNotFoundError:
        raise
    except ValueError as error:
        if category is None and _can_be_read(file):
            raise RefusedAnnotations(str(error)) from error
        raise


def _can_be_read(file: Path) -> bool:
    readers = {".mat": read_mat, ".h5": read_hdf5, ".hdf5": read_hdf5, ".json": read_json, ".gz": read_json}
    try:
        readers[file.suffix](file)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _packed(file: Path) -> FoundData:
    from hourglass.data.packs.open_pack import load_records, read_facts

    parts = tuple(
        part_of_records(records, file, split)
        for split in read_facts(file).people
        if (records := load_records(file, split))
    )
    return FoundData("pack", parts, ())


def _rendered() -> FoundData:
    from hourglass.synthetic.render import load_records

    seeds = {"train": 0, "val": 1_000_000}
    parts = tuple(
        part_of_records(load_records(LSP14, RENDERED, seed), Path("rendered"), split)
        for split, seed in seeds.items()
    )
    return FoundData("synthetic", parts, ())
