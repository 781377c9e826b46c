"""COCO files of the people of `colours`, and a detector's boxes of them."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from colours import RGB, make_records

CATEGORY: dict[str, Any] = {
    "id": 4,
    "name": "rgb3",
    "keypoints": list(RGB.joints),
    "torso": [[0, 1]],
    "flip_pairs": [],
    "sigmas": [0.05, 0.05, 0.05],
}


def write_colours(folder: Path) -> tuple[Path, Path, Path]:
    """Annotations of five people in five photos and of nobody in a sixth, the photos, and boxes.

    Each person has a box of 100 to 140 px and is detected in another, a little off; the last box, in the
    photo without people, shows nothing.
    """
    photos = folder / "photos"
    photos.mkdir()
    people = make_records(photos)
    cv2.imwrite(str(photos / "nobody.png"), np.zeros((200, 240, 3), np.uint8))
    rng = np.random.default_rng(5)
    annotations, boxes = [], []
    for n, record in enumerate(people):
        half = np.abs(record.keypoints - record.center).max() + 14
        box = [*(record.center - half + 0.5).tolist(), 2 * float(half), 2 * float(half)]
        triples = np.column_stack([record.keypoints.astype(float), record.visibility])
        annotations.append(
            {
                "id": 31 + n,
                "image_id": 200 - n,
                "category_id": 4,
                "keypoints": triples.ravel().tolist(),
                "num_keypoints": 3,
                "bbox": box,
                "area": 95.0**2 + 400 * n,
                "iscrowd": 0,
            }
        )
        moved = (np.array(box) + rng.uniform(-6, 6, 4)).tolist()
        boxes.append({"image_id": 200 - n, "category_id": 4, "bbox": moved, "score": 0.9 - 0.1 * n})
    pictures = [
        {"id": 200 - n, "file_name": r.image_id, "width": 240, "height": 200} for n, r in enumerate(people)
    ]
    pictures.append({"id": 7, "file_name": "nobody.png", "width": 240, "height": 200})
    content = {"images": pictures, "annotations": annotations, "categories": [CATEGORY]}
    (folder / "people.json").write_text(json.dumps(content))
    boxes.append({"image_id": 7, "category_id": 4, "bbox": [0, 0, 30, 20], "score": 0.1})
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder / "people.json", photos, folder / "boxes.json"
