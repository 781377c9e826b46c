"""COCO keypoints JSON: COCO's own files, and anyone's data in that form, with any skeleton.

Keypoint coordinates are read as 0-based pixel indexes, as nearly all code does: COCO's annotators clicked
whole pixels. A `bbox` is an area: x to x + width covers the pixels x to x + width - 1.

Ours on top of COCO's fields: an annotation may tell its own `crop` (`center` and `side_px`, 0-based pixels),
its `split` (else its picture's counts), `keypoint_scores` in 0..1 (how much each label counts in training,
for labels that a machine made), and `lengths` in pixels, such as `head`; the file may hold an object
`hourglass` that says where the people came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import NOT_LABELLED, PersonRecord
from hourglass.data.formats import coco_fields as fields
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.person_scale import made_crops
from hourglass.data.formats.picture_places import records_of
from hourglass.data.formats.read_files import (
    Where,
    check_file,
    check_finite,
    check_pixels,
    listed,
    read_json,
)

Key = int | str


@dataclass(frozen=True, eq=False)
class CocoFile:
    """Everybody of one category, and the pictures they are in.

    Args:
        people: N of them in the file's order with their `image`, crowds and people without labelled joints
            included. A crop is 1.25 times the longer side of `bbox`, or of the box around the labelled joints
            where there is none, unless the annotation tells its own.
        own_crop: (N,) True where the annotation tells its own crop.
        names: file names of all P pictures, in the order of their ids; the id itself where there is none.
        ids: their ids.
        sizes: their width and height in pixels, or None where the file tells none.
        keys: id and file name of each picture to its number.
        categories: ids of the categories that were read, one or several with the same joints.
        ours: the file's object `hourglass`, if it has one.
    """

    people: Annotations
    own_crop: npt.NDArray[np.bool_]
    names: tuple[str, ...]
    ids: tuple[Key, ...]
    sizes: tuple[tuple[int, int] | None, ...]
    keys: Mapping[Key, int]
    categories: tuple[Key, ...]
    ours: Mapping[str, Any] = field(default_factory=dict)

    @property
    def category(self) -> Key:
        """The first of the categories, which results are of."""
        return self.categories[0]

    def take(self, rows: Sequence[int] | npt.NDArray[Any]) -> "CocoFile":
        """The same pictures with some of the people: by row numbers, or (N,) bool."""
        index = np.arange(len(self.people))[np.asarray(rows, None if len(rows) else np.int64)]
        return replace(self, people=self.people.take(index), own_crop=self.own_crop[index])

    @property
    def image(self) -> npt.NDArray[np.int64]:
        """(N,) number of each person's picture."""
        assert self.people.image is not None
        return self.people.image


def read_file(file: Path, category: str | None = None) -> CocoFile:
    """Read everybody of a category.

    Args:
        file: JSON, packed with gzip or not.
        category: its name; needed only where several have keypoints that differ.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    check_file(file, "annotations")
    return parse(read_json(file), file, category)


def read_annotations(file: Path, category: str | None = None) -> Annotations:
    """The people of `read_file`."""
    return read_file(file, category).people


def load_records(
    annotations: Path,
    images: Path,
    category: str | None = None,
    *,
    split: str = "",
    sides: str = "",
    crop: str = "",
) -> list[PersonRecord]:
    """The annotated people, in the file's order; `image_id` is the photo's file name, `person_id` the
    annotation's id.

    Crowds and people without labelled keypoints are left out, and people with a single joint and no box. A
    joint far outside its picture counts as not labelled (see `person_scale.without_far_outside`).

    Args:
        annotations: the JSON file.
        images: the folder that its `file_name`s start from.
        category: which category to read; needed only where several have keypoints that differ.
        split: only people whose annotation names this split, in a file where any annotation names one.
        sides: `observer` makes left and right those of who looks at the picture, see `sides`; empty leaves
            them.
        crop: `limbs` takes its side from the limbs' lengths, see `limbs`; empty or `box` is as above.

    Raises ValueError or FileNotFoundError naming the file, the annotation's id and the field.
    """
    check_file(annotations, "annotations")
    file = parse(read_json(annotations), annotations, category, named=True)
    return records_of(of_split(file, split).people, images, sides, crop)


def category_names(content: Any) -> list[str]:
    """Names of a file's categories with keypoints, in its order; [] of what isn't a COCO file."""
    categories = content.get("categories") if isinstance(content, dict) else None
    named = categories if isinstance(categories, list) else []
    return [str(c.get("name")) for c in named if isinstance(c, dict) and c.get("keypoints")]


def of_split(file: CocoFile, split: str) -> CocoFile:
    """The people of a split, by their own words; everybody where nobody says any, or none is asked for.

    Raises ValueError, with the splits that there are, when it has nobody.
    """
    told = sorted(set(file.people.splits) - {""})
    if not split or not told:
        return file
    rows = np.array([word == split for word in file.people.splits], bool)
    if not rows.any():
        raise ValueError(f"{file.people.file} has nobody of the split {split!r}; it has {listed(told)}")
    return file.take(rows)


def parse(content: Any, file: Path, category: str | None = None, named: bool = False) -> CocoFile:
    """As `read_file`, of content that is read already.

    Args:
        file: for messages.
        named: refuse pictures without a file name.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a JSON {type(content).__name__}, not an object as COCO's files do")
    images, annotations, categories = (
        fields.objects(content, name, file) for name in ("images", "annotations", "categories")
    )
    category_ids, skeleton = fields.choose_category(categories, file, category)
    ids, names, sizes = fields.pictures(images, file, named)
    # By file name, by the id as it is compared, and by the id as it stands, which goes before the others.
    keys: dict[Key, int] = {name: number for number, name in enumerate(names)}
    keys |= {key: number for number, key in enumerate(map(fields.id_of, ids)) if key is not None}
    keys |= {key: number for number, key in enumerate(ids)}
    entries, people_keys = fields.of_categories(annotations, category_ids, file)
    people_ids = fields.numbered(people_keys)
    labels = [f"{file}: annotation {key}" for key in people_keys]
    where: Where = labels.__getitem__
    image = [fields.picture_number(entry, keys, where, row) for row, entry in enumerate(entries)]
    by_id = {fields.as_written(entry["id"]): entry for entry in images}
    images_by_number = [by_id[key] for key in ids]
    keypoints, visibility = fields.joints(entries, skeleton, where)
    check_pixels(file, keypoints[visibility > NOT_LABELLED])
    box, has_box = fields.optional(entries, "bbox", (4,), where)
    check_finite(box[:, None], has_box[:, None], ["'bbox'"], where)
    area, has_area = fields.optional(entries, "area", (), where)
    center, side_px, own_crop = fields.own_crops(entries, where)
    made_center, made_side_px = made_crops(keypoints, visibility > NOT_LABELLED, box)
    ours = content.get("hourglass")
    ours = ours if isinstance(ours, dict) else {}
    people = Annotations(
        file=file,
        form="coco",
        what=f"the category {skeleton.name!r}",
        skeleton=skeleton,
        where=labels,
        names=[names[number] for number in image],
        ids=np.array(people_ids, np.int64),
        splits=fields.splits(entries, [images_by_number[number] for number in image], where),
        keypoints=keypoints,
        visibility=visibility,
        tells_hidden=ours.get("tells_hidden") is not False,
        origin=0,
        center=np.where(own_crop[:, None], center, made_center),
        side_px=np.where(own_crop, side_px, made_side_px),
        lengths=fields.lengths(entries, where),
        box=box if has_box.any() else None,
        area=area if has_area.any() else None,
        crowd=fields.crowds(entries, where),
        weight=fields.label_weights(entries, skeleton, where),
        sizes={name: size for name, size in zip(names, sizes, strict=True) if size is not None},
        image=np.array(image, np.int64),
        images=len(names),
    )
    return CocoFile(people, own_crop, names, ids, sizes, keys, category_ids, ours)
