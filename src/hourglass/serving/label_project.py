"""A folder of pictures and the `labels.json` in it (COCO), edited one picture at a time."""

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from hourglass.core.files import write_text_atomically
from hourglass.core.skeleton import Skeleton
from hourglass.data.formats import coco
from hourglass.data.formats.annotation_files import read_annotations
from hourglass.data.formats.coco import id_of, of_categories
from hourglass.data.formats.labelled import natural
from hourglass.data.formats.picture_places import labels_upright, places
from hourglass.data.formats.read_files import FARTHEST_PX, find_pictures, read_json
from hourglass.data.loading.images import ImageError, image_size
from hourglass.data.writers.coco import category_of, to_coco
from hourglass.inference.inputs_outputs import IMAGE_SUFFIXES
from hourglass.inference.video.open_video import VIDEO_SUFFIXES

LABELS = "labels.json"
_OF_OTHER_JOINTS = {"hourglass", "crop", "lengths", "keypoint_scores", "num_keypoints"}
"""What an annotation says of the joints that it had, and not of those that replace them."""

Entry = dict[str, Any]
Joints = Mapping[str, tuple[float, float, int]]
"""The labelled joints of a person: x, y, and COCO's visibility, 1 or 2."""


class StaleError(Exception):
    """The picture was saved by somebody else since it was read."""


@dataclass(frozen=True, eq=False)
class LabelledPerson:
    """A person or animal in a picture: the joints, and the entry of the file, None for a new one."""

    joints: Joints
    entry: Entry | None

    @property
    def id(self) -> Any:
        return None if self.entry is None else self.entry["id"]


def folder_of(name: Path, make: bool = False) -> Path:
    """The project's folder; raises FileNotFoundError or NotADirectoryError in one sentence."""
    if name.exists() and not name.is_dir():
        raise NotADirectoryError(f"{name} is a file; give the folder that the pictures are in")
    if make:
        name.mkdir(parents=True, exist_ok=True)
    if not name.is_dir():
        raise FileNotFoundError(f"there is no folder {name}; make it and put the pictures into it")
    return name.resolve()


def pictures_in(folder: Path) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Width and height of the pictures in a folder and below it, by name, and a sentence for each bad one.

    Hidden files and folders don't count, nor do links that lead out of the folder.

    Raises ValueError when there are none.
    """
    below = [
        path for path in folder.rglob("*") if not any(p[0] == "." for p in path.relative_to(folder).parts)
    ]
    sizes, bad = {}, []
    for path in sorted(below, key=lambda path: natural(str(path))):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        try:
            if not path.resolve().is_relative_to(folder):
                raise ImageError(f"{path} is a link to a file outside of the project")
            sizes[name] = image_size(path)
        except ImageError as error:
            bad.append(str(error).replace(str(path), name))
    if not sizes:
        films = [path.relative_to(folder) for path in below if path.suffix.lower() in VIDEO_SUFFIXES]
        hint = f"; take frames of its video with --video {folder / films[0]} --frames 40" if films else ""
        reason = f"no picture that can be read ({bad[0]})" if bad else "no pictures"
        raise ValueError(f"the folder {folder} holds {reason}{hint}")
    return sizes, bad


def skeleton_in(folder: Path, category: str | None = None) -> Skeleton | None:
    """The skeleton of the project's labels, None where there are none yet; raises ValueError as `Project`."""
    file = folder / LABELS
    return coco.read_file(file, category).people.skeleton if file.exists() else None


def import_labels(folder: Path, file: Path, category: str | None = None) -> tuple[Skeleton, int]:
    """Begin the project's labels with those of any file of annotations, as far as its pictures are here.

    Returns the skeleton, and how many of its people are in no picture of the folder.

    Raises FileExistsError when the project has labels already, else as `read_annotations` does.
    """
    if (folder / LABELS).exists():
        raise FileExistsError(
            f"{folder / LABELS} exists and is gone on with; leave --labels away, or move it"
        )
    people = labels_upright(read_annotations(file, category=category), folder)
    found = {
        name: path.resolve().relative_to(folder).as_posix()
        for name, path in places(people, folder)[1].items()
        if path.resolve().is_relative_to(folder)
    }
    here = people.take(np.array([name in found for name in people.names], bool))
    if len(here):
        content = to_coco(replace(here, names=[found[name] for name in here.names], sizes={}))
        del content["hourglass"]  # what it says of the way back to the first form won't hold any more
        write_text_atomically(folder / LABELS, json.dumps(content, ensure_ascii=False) + "\n")
    return people.skeleton, len(people) - len(here)


class Project:
    """Pictures and their labels. Every change is on the disk when `save` returns.

    What it doesn't understand in the file, or has no picture for, stays as it is: other categories, crowds,
    people without labelled joints, fields of other tools.

    Args:
        folder: as `folder_of` gives it.
        skeleton: of the labels to come, where the file doesn't exist yet.
        category: of the file, where it has several with keypoints.

    Raises ValueError or OSError in one sentence when there are no pictures or the file can't be read.
    """

    def __init__(self, folder: Path, skeleton: Skeleton, category: str | None = None) -> None:
        self.folder = folder
        self.skeleton = skeleton
        self.file = folder / LABELS
        self.sizes, self.unreadable = pictures_in(folder)
        self._category = category
        self._lock = threading.RLock()
        self._stamp: tuple[int, int, int] | None = None
        self._removed: dict[Any, LabelledPerson] = {}
        self._blank: Entry = {"images": [], "annotations": [], "categories": [category_of(skeleton)]}
        self._content = self._blank
        self._category_id: Any = 1
        self._people: dict[str, list[LabelledPerson]] = {}
        self._images: dict[str, Entry] = {}
        self.elsewhere = 0
        self._refresh()

    def path(self, name: str) -> Path:
        """A picture's file; raises ImageError for what is none of the project's pictures."""
        path = (self.folder / name).resolve()
        if name not in self.sizes or not path.is_relative_to(self.folder):
            raise ImageError(f"{name} is no picture of the project")
        return path

    def is_labelled(self, name: str) -> bool:
        """Whether somebody said what is to be seen there; that may be nobody."""
        return bool(self._people.get(name) or self._images.get(name, {}).get("labelled"))

    def state(self, name: str) -> dict[str, Any]:
        """A picture's labels, and their version: a number that is another one for other labels."""
        with self._lock:
            self._refresh()
            width, height = self.sizes[name]
            people = [{"id": p.id, "joints": p.joints} for p in self._people.get(name, ())]
            labelled = self.is_labelled(name)
            digest = hashlib.sha256(
                json.dumps([labelled, sorted(people, key=lambda p: str(p["id"]))]).encode()
            ).hexdigest()
            version = int(digest[:13], 16)  # JavaScript's numbers are exact up to 2^53
            return {
                "name": name,
                "width": width,
                "height": height,
                "version": version,
                "labelled": labelled,
                "people": people,
            }

    def save(
        self, name: str, version: int, labelled: bool, people: Sequence[tuple[Any, Joints]]
    ) -> dict[str, Any]:
        """Replace a picture's labels, given the version that they were made from; the new state.

        Saying the same once more changes nothing, so that it can be repeated when the answer was lost.

        Args:
            people: ids, None for new ones, and labelled joints; who has none is left out.

        Raises StaleError when the picture has another version by now, ValueError for a joint that can't be,
        OSError when the file can't be written.
        """
        people = _checked(people, self.skeleton)
        with self._lock:
            now = self.state(name)
            there = self._people.get(name, [])
            same = [
                p.joints == joints and key in (None, p.id)
                for p, (key, joints) in zip(there, people, strict=False)
            ]
            if now["labelled"] == labelled and len(there) == len(people) and all(same):
                return now
            if now["version"] != version:
                raise StaleError(name)
            self._write(name, labelled, people)
            return self.state(name)

    def _write(self, name: str, labelled: bool, people: Sequence[tuple[Any, Joints]]) -> None:
        annotations, images = list(self._content["annotations"]), list(self._content["images"])
        old = self._people.get(name, [])
        image = dict(self._images.get(name, {}))
        if not image:
            width, height = self.sizes[name]
            image = {"id": _free(images), "file_name": name, "width": width, "height": height}
            images.append(image)
        else:
            images[next(n for n, entry in enumerate(images) if entry is self._images[name])] = image
        image.pop("labelled", None)
        if labelled:
            image["labelled"] = True
        mine, used = {p.id: p for p in old}, {entry.get("id") for entry in annotations}
        free, new = _free(annotations + [p.entry or {} for p in self._removed.values()]), []
        for key, joints in people:
            before = mine.get(key) or (self._removed.get(key) if key not in used else None)
            entry = self._entry(before, joints, image["id"])
            if "id" not in entry:
                entry["id"], free = free, free + 1
            new.append(LabelledPerson(joints, entry))
        rows = {p.id: p.entry for p in new}
        gone = {id(p.entry): rows.pop(p.id, None) for p in old}
        annotations = [gone.get(id(entry), entry) for entry in annotations]
        content = {
            **self._content,
            "images": images,
            "annotations": [entry for entry in annotations if entry is not None] + list(rows.values()),
        }
        write_text_atomically(self.file, json.dumps(content, ensure_ascii=False) + "\n")
        self._stamp = _stamp(self.file)
        self._content, self._images[name], self._people[name] = content, image, new
        self._removed |= {p.id: p for p in old if p.id not in {q.id for q in new}}

    def _entry(self, before: LabelledPerson | None, joints: Joints, image_id: Any) -> Entry:
        """An annotation of these joints: as it was where they are as they were."""
        if before is not None and before.entry is not None:
            if before.joints == joints:
                return before.entry
            entry = {key: value for key, value in before.entry.items() if key not in _OF_OTHER_JOINTS}
            ours = before.entry.get("hourglass")
            made = ours.get("made", {}) if isinstance(ours, dict) else {}
        else:
            entry, made = {"image_id": image_id, "category_id": self._category_id, "iscrowd": 0}, {}
        rows = [joints.get(joint, (0, 0, 0)) for joint in self.skeleton.joints]
        entry |= {"keypoints": [value for row in rows for value in row], "num_keypoints": len(joints)}
        xy = np.array([point[:2] for point in joints.values()])
        low, high = xy.min(axis=0), xy.max(axis=0) + 1  # a box covers whole pixels
        box = None if "bbox" in made else _box(entry.get("bbox"))
        if box is not None:  # drawn by somebody: it stays, but for joints that lie outside
            low, high = np.minimum(low, box[:2]), np.maximum(high, box[:2] + box[2:])
            if "area" in entry and "area" not in made:
                return entry | {"bbox": _plain([*low, *(high - low)])}
        size = high - low if len(joints) > 1 or box is not None else np.zeros(2)
        entry |= {"bbox": _plain([*low, *size]), "area": _plain(size.prod())}
        if box is None:  # so that whoever draws a crop around joints knows
            entry["hourglass"] = {"made": {"bbox": entry["bbox"], "area": entry["area"]}}
        return entry

    def _refresh(self) -> None:
        """Read the file where it isn't the one that was read or written last."""
        stamp = _stamp(self.file) if self.file.exists() else None
        if stamp == self._stamp:
            return
        content = self._blank if stamp is None else read_json(self.file)
        found = coco.parse(content, self.file, self._category, named=True)
        if found.people.skeleton.joints != self.skeleton.joints:
            raise ValueError(
                f"{self.file} labels the joints {', '.join(found.people.skeleton.joints)}, not "
                f"{', '.join(self.skeleton.joints)}; take a skeleton with the same joints, or move the file"
            )
        self.skeleton = found.people.skeleton
        entries = cast("list[Entry]", of_categories(content["annotations"], found.categories, self.file)[0])
        by_name = {str(entry["file_name"]): entry for entry in content["images"]}
        paths, _ = find_pictures(self.folder, found.names)
        names = {
            file_name: path.relative_to(self.folder).as_posix()
            for file_name, path in paths.items()
            if path.is_relative_to(self.folder)
        }
        people: dict[str, list[LabelledPerson]] = {}
        crowd = found.people.crowd
        for n, entry in enumerate(entries):
            name = names.get(found.people.names[n])
            seen = found.people.visibility[n]
            if name in self.sizes and seen.any() and not (crowd is not None and crowd[n]):
                joints = {
                    joint: (*found.people.keypoints[n, row].tolist(), int(seen[row]))
                    for row, joint in enumerate(self.skeleton.joints)
                    if seen[row]
                }
                people.setdefault(str(name), []).append(LabelledPerson(joints, entry))
        self._images = {names[f]: by_name[f] for f in found.names if names.get(f) in self.sizes}
        self.elsewhere = len(found.names) - len(self._images)
        self._content, self._people, self._stamp = content, people, stamp
        self._category_id = found.category


def _checked(people: Sequence[tuple[Any, Joints]], skeleton: Skeleton) -> list[tuple[Any, Joints]]:
    """Those with a joint, their joints in the skeleton's order; raises ValueError naming what can't be."""
    ids = [key for key, _ in people if key is not None]
    if len(set(ids)) < len(ids):
        raise ValueError("two people have the same id")
    for joint, (x, y, _) in (row for _, joints in people for row in joints.items()):
        if joint not in skeleton.joints:
            raise ValueError(f"{joint!r} is no joint of the skeleton {skeleton.name}")
        if max(abs(x), abs(y)) >= FARTHEST_PX:
            raise ValueError(f"{joint} is at {x:g}, {y:g}, where no picture reaches")
    ordered = [
        (key, {name: joints[name] for name in skeleton.joints if name in joints}) for key, joints in people
    ]
    return [(key, joints) for key, joints in ordered if joints]


def _free(entries: Sequence[Entry]) -> int:
    """A number that is no entry's id."""
    ids = (id_of(entry.get("id")) for entry in entries)
    return 1 + max((key for key in ids if isinstance(key, int)), default=0)


def _stamp(file: Path) -> tuple[int, int, int]:
    told = file.stat()
    return told.st_mtime_ns, told.st_size, told.st_ino


def _box(raw: Any) -> Any:
    """The numbers of a box, None for what is none or empty; the reader has checked that they are numbers."""
    if not raw or min(float(v) for v in raw[2:]) <= 0:
        return None
    return np.array([float(v) for v in raw])


def _plain(values: Any) -> Any:
    return np.round(np.asarray(values, np.float64), 2).tolist()
