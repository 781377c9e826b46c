"""People of any file of annotations as records: what `data.name: file` reads."""

from pathlib import Path

from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotation_files import of_split, read_annotations
from hourglass.data.formats.picture_places import records_of


def load_records(
    annotations: Path,
    images: Path | None = None,
    category: str | None = None,
    *,
    split: str = "",
    sides: str = "",
    crop: str = "",
) -> list[PersonRecord]:
    """The annotated people, in the file's order.

    Args:
        annotations: a file that `annotation_files.read_annotations` tells, or a labelling tool's folder.
        images: the folder that the pictures' names start from; None looks near the file.
        category: as of `read_annotations`.
        split: only these people, in a file that tells any splits; of others everybody.
        sides: `observer` makes left and right those of who looks at the picture, see `data.sides`.
        crop: `limbs` takes its side from the limbs' lengths, see `data.formats.person_scale`.

    Raises ValueError or FileNotFoundError naming the file, the person and the field.
    """
    people = read_annotations(annotations, category=category)
    if split and any(people.splits):
        people = of_split(people, split)
    return records_of(people, images, sides, crop)
