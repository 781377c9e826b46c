"""What `hourglass demo` makes: the network's answers to a photo and to rendered people, as pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hourglass.core.arrays import RGB
from hourglass.core.geometry import box_around
from hourglass.data.loading.images import read_image
from hourglass.drawing import draw
from hourglass.inference.inputs_outputs import write_picture
from hourglass.inference.poses.pose import Pose, write_json
from hourglass.inference.predictor import Predictor
from hourglass.synthetic.render import Scene, render

PHOTO = "grace_hopper.jpg"
"""A portrait, in the public domain, that matplotlib carries."""
PHOTO_BOX = (-80.0, 28.0, 672.0, 1344.0)
"""x, y, w, h of her whole body, most of it below the frame: networks of whole people know a portrait only at
that size."""
RENDERED_PX = 320


def run_demo(
    out: Path, weights: str | None = None, people: int = 6, seed: int = 107, device: str = "auto"
) -> list[tuple[Path, str]]:
    """Predict and draw a photo and rendered people; the files that were written, and what each shows.

    Args:
        out: folder of the results.
        people: how many to render, each in a picture of their own.
        seed: of the first rendered person.

    Raises FileNotFoundError or WeightsError when the weights can't be had, OSError when a file can't be
    written.
    """
    predictor = Predictor.from_pretrained(weights, device)
    photo = read_image(photo_path())
    scenes = [render(seed + i, predictor.skeleton, RENDERED_PX, RENDERED_PX) for i in range(people)]
    portrait = replace(predictor(photo, PHOTO_BOX, keep_heatmaps=True)[0], image_id=PHOTO)
    found = predictor([s.image for s in scenes], [_box(s) for s in scenes], keep_heatmaps=True)
    rendered = [replace(poses[0], image_id=f"rendered_{seed + i}") for i, poses in enumerate(found)]
    pictures = {
        "photo.png": (portrait.draw(photo), "the photo with its joints; hollow ones are unsure"),
        "photo_heatmaps.png": (portrait.heatmap_panel(photo), "what each stack sees in the photo"),
        "people.png": (_sheet(scenes, rendered), "rendered people with their joints"),
        "people_heatmaps.png": (
            rendered[0].heatmap_panel(scenes[0].image),
            "what each stack sees in the first",
        ),
    }
    written = []
    for name, (image, what) in pictures.items():
        write_picture(out / name, image)
        written.append((out / name, what))
    write_json(out / "joints.json", _joints(predictor.facts.name, portrait, rendered, scenes))
    return [*written, (out / "joints.json", "every joint's x, y and score")]


def photo_path() -> Path:
    """Where matplotlib keeps the photo."""
    from matplotlib.cbook import get_sample_data

    return Path(str(get_sample_data(PHOTO, asfileobj=False)))


def _box(scene: Scene) -> list[float]:
    """Around the only person's labelled joints, in pixels of the picture."""
    person = scene.people[0]
    points = person.keypoints[person.visibility > 0]
    center, side = box_around(points)
    return [*(center - side / 2 + 0.5).tolist(), max(side, 1.0), max(side, 1.0)]


def _errors(pose: Pose, scene: Scene) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Distances of the labelled joints from the truth, in pixels."""
    person = scene.people[0]
    apart = np.linalg.norm(pose.keypoints.astype(np.float64) - person.keypoints, axis=1)
    return np.asarray(apart[person.visibility > 0], np.float64)


def _sheet(scenes: list[Scene], poses: list[Pose]) -> RGB:
    tiles = [pose.draw(scene.image) for scene, pose in zip(scenes, poses, strict=True)]
    titles = [
        f"median error {np.median(_errors(pose, scene)):.1f} px"
        for scene, pose in zip(scenes, poses, strict=True)
    ]
    return draw.contact_sheet(tiles, 3, titles, cell_px=RENDERED_PX)


def _joints(weights: str, portrait: Pose, rendered: list[Pose], scenes: list[Scene]) -> dict[str, Any]:
    truths = [_errors(pose, scene) for scene, pose in zip(scenes, rendered, strict=True)]
    people = [
        {**pose.to_dict(), "median_error_px": round(float(np.median(errors)), 2)}
        for pose, errors in zip(rendered, truths, strict=True)
    ]
    return {"weights": weights, "photo": portrait.to_dict(), "rendered": people}
