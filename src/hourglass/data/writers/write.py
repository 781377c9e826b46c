"""Annotations from one form of file to another: what `hourglass data convert` does.

| form | file | writer |
|---|---|---|
| `coco` | COCO keypoints JSON, any skeleton, also `.gz` | `coco.write_coco` |
| `mpii` | MPII's one list, `mpii_annotations.json`, also `.gz` | `mpii.write_list` |
| `hrnet` | HRNet's `valid.json` of MPII | `mpii.write_hrnet` |
| `authors` | the hourglass authors' `valid.h5` of MPII or FLIC | `mpii.write_authors_hdf5` |
| `lsp`, `lspet` | `joints.mat` | `lsp.write_joints` |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hourglass.data.formats import coco
from hourglass.data.formats.annotation_files import coco_content, of_split, read_annotations
from hourglass.data.formats.annotations import Annotations, find_photos
from hourglass.data.formats.coco import Key, id_of
from hourglass.data.formats.read_files import listed
from hourglass.data.loading.images import image_size
from hourglass.data.writers.coco import restored, write_coco
from hourglass.data.writers.mpii import write_authors_hdf5, write_hrnet, write_joints, write_list
from hourglass.data.writers.shared import Losses

TARGETS = ("coco", "mpii", "hrnet", "authors", "lsp", "lspet")
"""The forms that can be written."""

_KNOWN = {
    "images": {"id", "file_name", "width", "height"},
    "annotations": {
        *("id", "image_id", "category_id", "keypoints", "num_keypoints", "bbox", "area", "iscrowd"),
        *("crop", "split", "lengths", "hourglass"),
    },
}
"""The fields of COCO's entries that are carried on."""


@dataclass(frozen=True, eq=False)
class ReadPeople:
    """What was read.

    Args:
        people: as their native form had them, also where the file is COCO that came from one.
        is_coco: whether the file is COCO.
        image_ids: a COCO file's ids of pictures by name, those without people too.
        sizes: width and height of the pictures that a COCO file tells.
        category_id: of a COCO file.
        unread: fields of a COCO file that are not carried on.
    """

    people: Annotations
    is_coco: bool = False
    image_ids: Mapping[str, Key] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    category_id: Key = 1
    unread: tuple[str, ...] = ()


def read_source(file: Path, split: str = "", category: str | None = None) -> ReadPeople:
    """People out of any file of annotations; arguments and errors as of `annotation_files.read_annotations`.

    Of a COCO file pictures without people are kept, unless a split is asked for.
    """
    content = coco_content(file)
    if content is None:
        people = read_annotations(file, split, category)
        # Pictures without people stay, where the file names them.
        names = dict.fromkeys((*people.names, *(() if split else people.sizes)))
        ids: dict[str, Key] = {name: number for number, name in enumerate(names, 1)}
        return ReadPeople(people, image_ids=ids if people.sizes else {}, sizes=people.sizes)
    found = coco.parse(content, file, category)
    people = of_split(restored(found, content), split)
    wanted = set(people.names) if split else set(found.names)
    pictures = [row for row in zip(found.names, found.ids, found.sizes, strict=True) if row[0] in wanted]
    return ReadPeople(
        people=people,
        is_coco=True,
        image_ids={name: key for name, key, _ in pictures},
        sizes={name: size for name, _, size in pictures if size is not None},
        category_id=found.category,
        unread=_unread(content, found.categories),
    )


def target_of(out: Path, people: Annotations) -> str:
    """The form that a file's name asks for.

    That is `authors` for .h5; for .mat LSP's or LSPET's, if the people came from there; `mpii` for
    mpii_annotations.json, and `coco` for any other JSON. Raises ValueError where the name leaves it open.
    """
    name = out.name.lower()
    if name.endswith((".h5", ".hdf5")):
        return "authors"
    if name.endswith(".mat"):
        if people.form in ("lsp", "lspet"):
            return people.form
        raise ValueError(f"{out} could be of LSP's form or of LSPET's; give --to lsp or --to lspet")
    if name.endswith((".json", ".json.gz")):
        return "mpii" if name.startswith("mpii_annotations.") else "coco"
    raise ValueError(f"{out} tells no form; call it .json, .json.gz, .h5 or .mat, or give --to")


def picture_sizes(people: Annotations, source: ReadPeople, images: Path) -> dict[str, tuple[int, int]]:
    """Width and height of all pictures; raises FileNotFoundError or ImageError naming what is missing."""
    if not images.is_dir():
        raise FileNotFoundError(f"there is no folder {images}; it should hold the pictures")
    names = list(dict.fromkeys((*source.image_ids, *people.names)))
    photos = find_photos(images, names, str(people.file))
    return {name: image_size(path) for name, path in photos.items()}


def write_people(
    people: Annotations,
    out: Path,
    target: str,
    source: ReadPeople,
    losses: Losses,
    force: bool = False,
    sizes: Mapping[str, tuple[int, int]] | None = None,
) -> Annotations:
    """Write people in one of `TARGETS`; gives those who were written.

    Args:
        source: where they were read.
        losses: collects what the form can't hold.
        force: write over a file.
        sizes: of pictures, for COCO, instead of those that the source tells.

    Raises ValueError when the people don't fit the form, OSError when the file can't be written.
    """
    if target == "coco":
        if source.unread:
            losses.note(f"fields that aren't carried on: {listed(source.unread, 12)}")
        write_coco(people, out, force, sizes or source.sizes, source.image_ids, source.category_id)
        return people
    if target in ("lsp", "lspet"):
        return write_joints(people, out, target, force, losses)
    write = {"mpii": write_list, "hrnet": write_hrnet, "authors": write_authors_hdf5}[target]
    return write(people, out, force, losses)


def _unread(content: Mapping[str, Any], categories: Sequence[Key]) -> tuple[str, ...]:
    found = [name for name in content if name not in ("info", "hourglass", "categories", *_KNOWN)]
    if any(id_of(entry.get("id")) not in categories for entry in content["categories"]):
        found.append("other categories")
    if len(categories) > 1:
        found.append(f"which of the {len(categories)} categories somebody is of")
    for part, known in _KNOWN.items():
        fields = dict.fromkeys(name for entry in content[part] for name in entry if name not in known)
        found += [f"{name} of {part}" for name in fields]
    return tuple(found)
