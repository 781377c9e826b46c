"""Label Studio's JSON exports, the whole one and JSON-MIN.

A key point's label is its joint. It belongs to the rectangle that it was put in (`parentID`), or that it lies
in. Coordinates are percent of the picture's size, which the file states. Of several annotations of a task the
one marked as ground truth counts, else the first that isn't cancelled; predictions don't count.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hourglass.core.structs import VISIBLE
from hourglass.data.formats.annotations import Annotations, log_left_out
from hourglass.data.formats.labelled import (
    Labelled,
    LabelledBox,
    Mark,
    Size,
    annotations_of,
    grouped,
    number,
    picture_of_address,
    without_kinds,
)
from hourglass.data.formats.read_files import check_file, read_json

FORM = "labelstudio"

_POINT, _RECTANGLE = "keypointlabels", "rectanglelabels"
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic")


def is_labelstudio(content: Any) -> bool:
    """Whether a JSON file's content is a list of tasks."""
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return False
    first = content[0]
    whole = isinstance(first.get("data"), dict) and ("annotations" in first or "completions" in first)
    return whole or any(
        _is_region(value) for entry in content if isinstance(entry, dict) for value in entry.values()
    )


def read_export(file: Path, category: str | None = None, content: Any = None) -> Annotations:
    """The people or animals of an export.

    Args:
        category: the label of a rectangle; reads only points that belong to one of those.
        content: what the file holds, where it has been read already.

    Raises ValueError naming the file, the task and the field.
    """
    check_file(file, "labels")
    content = read_json(file) if content is None else content
    people: list[Labelled] = []
    sizes: dict[str, Size] = {}
    left_out = {"tasks without annotations": 0, "further annotations of a task": 0}
    for row, task in enumerate(content):
        where = f"{file}: task {task.get('id', f'in row {row}') if isinstance(task, dict) else row}"
        if not isinstance(task, dict):
            raise ValueError(f"{where} is no object")
        if isinstance(task.get("data"), dict):
            image = _image(task["data"], where)
            regions = _chosen(task, left_out)
        else:
            image = _image(task, where)
            regions = list(_of_min(task))
        people += grouped(where, image, *_shapes(regions, image, sizes, where))
    log_left_out(file, left_out)
    return annotations_of(file, FORM, without_kinds(people), category=category, sizes=sizes)


def _chosen(task: Mapping[str, Any], left_out: dict[str, int]) -> list[Any]:
    found = task.get("annotations") or task.get("completions") or []
    good = [a for a in found if isinstance(a, dict) and not a.get("was_cancelled") and a.get("result")]
    if not good:
        left_out["tasks without annotations"] += 1
        return []
    left_out["further annotations of a task"] += len(good) - 1
    best = next((a for a in good if a.get("ground_truth")), good[0])
    return list(best["result"])


def _of_min(task: Mapping[str, Any]) -> Iterator[Any]:
    """JSON-MIN's regions in the form of the whole export's."""
    for value in task.values():
        if _is_region(value):
            for region in value:
                kind = _POINT if _POINT in region else _RECTANGLE
                yield {
                    "type": kind,
                    "value": region,
                    **{k: region.get(k) for k in ("original_width", "original_height")},
                }


def _is_region(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(region, dict) and (_POINT in region or _RECTANGLE in region) for region in value)
    )


def _image(data: Mapping[str, Any], where: str) -> str:
    """The picture of a task: the value that ends like one, or the only text."""
    texts = [value for value in data.values() if isinstance(value, str)]
    named = [text for text in texts if text.split("?d=")[-1].split("?")[0].lower().endswith(_ENDINGS)]
    if len(named) != 1 and len(texts) != 1:
        raise ValueError(
            f"{where} doesn't tell its picture: none or several of its values are names of pictures"
        )
    address = (named or texts)[0]
    if "?d=" in address:  # a file on the server's disk
        return picture_of_address(address.split("?d=", 1)[1])
    name = picture_of_address(address.split("?")[0])
    return name.rpartition("/")[2] if name.startswith("data/upload/") else name


def _shapes(
    regions: list[Any], image: str, sizes: dict[str, Size], where: str
) -> tuple[list[Mark], list[LabelledBox]]:
    marks, frames = [], []
    parents = {r.get("parentID") for r in regions if isinstance(r, dict)} - {None, ""}
    for row, region in enumerate(regions):
        label = f"{where}, result {row}"
        if not isinstance(region, dict) or not isinstance(region.get("value"), dict):
            if isinstance(region, dict) and "value" not in region:
                continue  # a relation
            raise ValueError(f"{label} is no object with a 'value'")
        kind, value = region.get("type"), region["value"]
        if kind not in (_POINT, _RECTANGLE):
            continue
        if region.get("image_rotation"):
            raise ValueError(f"{label}: the picture was turned in Label Studio; label it as it is stored")
        width, height = (
            number(region.get(f"original_{side}"), f"{label}: 'original_{side}'")
            for side in ("width", "height")
        )
        sizes[image] = (int(width), int(height))
        names = value.get(kind) or [""]
        x, y = (number(value.get(axis), f"{label}: {axis!r}") for axis in ("x", "y"))
        at = (x * width / 100, y * height / 100)
        if kind == _POINT:
            if len(names) != 1 or not names[0]:
                raise ValueError(f"{label} has the labels {names}; a point is one joint")
            marks.append(Mark(str(names[0]), (*at, VISIBLE), region.get("parentID") or None))
            continue
        wide, high = (number(value.get(side), f"{label}: {side!r}") for side in ("width", "height"))
        group = region.get("id") if region.get("id") in parents else None
        frames.append(LabelledBox((*at, wide * width / 100, high * height / 100), group, str(names[0])))
    return marks, frames
