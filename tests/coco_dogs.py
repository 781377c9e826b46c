"""A small COCO file of dogs, with a skeleton of its own, and its two photos."""

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

DOG: dict[str, Any] = {
    "id": 7,
    "name": "dog",
    "keypoints": ["nose", "left_paw", "right_paw", "tail"],
    "skeleton": [[1, 2], [1, 3], [1, 4]],
}


def content() -> dict[str, Any]:
    """Two dogs in one photo of 80 x 60, and one in another."""
    return {
        "images": [
            {"id": 10, "file_name": "a.jpg", "width": 80, "height": 60},
            {"id": 11, "file_name": "deep/b.jpg"},
        ],
        "annotations": [
            dog(1, 10, [20, 10, 2, 30, 40, 1, 0, 0, 0, 12, 22, 2], bbox=[8, 6, 30, 40]),
            dog(2, 11, [20, 10, 2, 30, 40, 1, 0, 0, 0, 12, 22, 2]),
            dog(3, 10, [50, 50, 2, 60, 52, 2, 55, 44, 2, 0, 0, 0], bbox=[45, 40, 20, 15]),
        ],
        "categories": [copy.deepcopy(DOG)],
    }


def dog(identifier: int, image: int, keypoints: Sequence[float], **more: Any) -> dict[str, Any]:
    return {"id": identifier, "image_id": image, "category_id": 7, "keypoints": keypoints, **more}


def write(folder: Path, data: Any) -> tuple[Path, Path]:
    photos = folder / "photos"
    (photos / "deep").mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "deep/b.jpg"):
        Image.new("RGB", (80, 60)).save(photos / name)
    file = folder / "dogs.json"
    file.write_text(json.dumps(data))
    return file, photos


def changed(position: int, **fields: Any) -> dict[str, Any]:
    data = content()
    data["annotations"][position].update(fields)
    return data
