"""Rendered people with exact truth, from a seed and nothing else, for every built-in skeleton.

A person is a posed three-dimensional body of round cones in clothes, in some place, under some light,
with things standing in front. Where a joint is comes from the body; whether it can be seen comes from the
same depth buffer that drew the picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core.geometry import box_around
from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord
from hourglass.synthetic.cones import PARTS
from hourglass.synthetic.scene import PART_STRIDE, Actor, Drawing, cast, draw, walker


@dataclass(frozen=True, eq=False)
class SyntheticPerson:
    """The truth about one person of a scene; the fields that a `PersonRecord` has mean the same.

    Args:
        keypoints: (J, 2) float32 pixels of the picture, outside it too.
        visibility: (J,) uint8; 0 outside the picture, 1 hidden by something, 2 visible.
        center: (2,) float32, middle of the box around the labelled joints.
        side_px: the box's longer side times 1.25.
        joints_m: (J, 3) float32 metres from the pelvis: right in the picture, up, towards the viewer.
    """

    keypoints: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.uint8]
    center: npt.NDArray[np.float32]
    side_px: float
    joints_m: npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """A rendered picture and its truth.

    Args:
        image: (H, W, 3) uint8 RGB.
        parts: (H, W) int16, what each pixel shows: 0 the background, -1 something in front of
            everybody, or a person's body part (see `part_of`).
        people: nearest last.
        skeleton: names the people's joints.
    """

    image: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.int16]
    people: tuple[SyntheticPerson, ...]
    skeleton: Skeleton


def part_of(label: int) -> tuple[int, str]:
    """Person and part name of a positive label in `Scene.parts`."""
    return label // PART_STRIDE, PARTS[label % PART_STRIDE]


def _adjacent() -> dict[str, tuple[tuple[str, ...], float]]:
    """The parts that show a joint, and how far in front of it (share of the stature) their surface may be."""
    table: dict[str, tuple[tuple[str, ...], float]] = {
        "pelvis": (("pelvis", "torso", "left_thigh", "right_thigh", "skirt"), 0.11),
        "thorax": (("torso", "neck"), 0.09),
        "neck": (("neck", "head", "torso", "hair"), 0.075),
        "head_top": (("head", "hair"), 0.07),
        "nose": (("nose", "head"), 0.025),
    }
    for side in ("left", "right"):
        arm, thigh, shin = f"{side}_upper_arm", f"{side}_thigh", f"{side}_shin"
        table |= {
            f"{side}_eye": ((f"{side}_eye", "head"), 0.012),
            f"{side}_ear": ((f"{side}_ear", "head"), 0.025),
            f"{side}_shoulder": ((arm, "torso"), 0.06),
            f"{side}_elbow": ((arm, f"{side}_forearm"), 0.05),
            f"{side}_wrist": ((f"{side}_forearm", f"{side}_hand"), 0.05),
            f"{side}_hip": (("pelvis", "torso", thigh, "skirt"), 0.115),
            f"{side}_knee": ((thigh, shin, "skirt"), 0.09),
            f"{side}_ankle": ((shin, f"{side}_foot"), 0.05),
            f"{side}_heel": ((f"{side}_foot",), 0.04),
            f"{side}_toe": ((f"{side}_foot",), 0.04),
            f"{side}_fingertips": ((f"{side}_hand",), 0.04),
        }
    return table


ADJACENT = _adjacent()
"""Per anatomical point, the parts it is seen through and the greatest depth of their surface before it."""


def render(
    seed: int,
    skeleton: Skeleton = LSP14,
    height: int = 256,
    width: int = 256,
    people: int = 1,
    occluders: int | None = None,
) -> Scene:
    """Draw a scene; the same arguments give the same bytes.

    The picture doesn't depend on the skeleton, which only says whose joints are listed.

    Args:
        height, width: pixels, 32 at least.
        people: how many, 1 to 16.
        occluders: how many things stand in front; None draws it, mostly 0.

    Raises ValueError when an argument can't be met or the skeleton has a joint unknown here.
    """
    _check(seed, skeleton, height, width)
    if not 1 <= people <= 16:
        raise ValueError(f"people is {people}; a synthetic scene holds 1 to 16")
    if occluders is not None and occluders < 0:
        raise ValueError(f"occluders is {occluders}; it can't be negative")
    actors = cast(seed, height, width, people)
    return _scene(skeleton, actors, draw(seed, actors, height, width, occluders))


def load_records(skeleton: Skeleton, count: int, seed: int = 0, size_px: int = 256) -> list[PersonRecord]:
    """Single-person scenes as a dataset; the pictures travel as PNG bytes, so nothing is lost.

    Record i is the scene of seed `seed + i`, so two datasets overlap when their ranges of seeds do.

    Raises ValueError as `render` does.
    """
    if count < 0:
        raise ValueError(f"count is {count}; it can't be negative")
    _check(seed, skeleton, size_px, size_px)
    records = []
    for index in range(count):
        scene = render(seed + index, skeleton, size_px, size_px)
        _, encoded = cv2.imencode(".png", scene.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        person = scene.people[0]
        records.append(
            PersonRecord(
                image=encoded.tobytes(),
                image_id=f"synthetic-{seed + index}",
                person_id=seed + index,
                skeleton=skeleton,
                keypoints=person.keypoints,
                visibility=person.visibility,
                center=person.center,
                side_px=person.side_px,
            )
        )
    return records


def walk(
    seed: int,
    frames: int,
    skeleton: Skeleton = LSP14,
    height: int = 256,
    width: int = 256,
    occluders: int = 0,
) -> Iterator[Scene]:
    """A clip of one person walking an oval before a fixed camera, meant for 25 pictures a second.

    Frame i doesn't depend on how many frames are asked for.

    Raises ValueError as `render` does.
    """
    _check(seed, skeleton, height, width)
    if frames < 0:
        raise ValueError(f"frames is {frames}; it can't be negative")
    if occluders < 0:
        raise ValueError(f"occluders is {occluders}; it can't be negative")

    def scenes() -> Iterator[Scene]:
        for frame in range(frames):
            actors = [walker(seed, frame, height, width)]
            yield _scene(skeleton, actors, draw(seed, actors, height, width, occluders, frame))

    return scenes()


def _check(seed: int, skeleton: Skeleton, height: int, width: int) -> None:
    if seed < 0:
        raise ValueError(f"seed is {seed}; it can't be negative")
    if min(height, width) < 32:
        raise ValueError(f"a synthetic picture is 32 pixels at least each way, not {height} x {width}")
    for joint in skeleton.joints:
        if joint not in ADJACENT:
            known = ", ".join(ADJACENT)
            raise ValueError(
                f"skeleton {skeleton.name!r} has the joint {joint!r}; synthetic people have {known}"
            )


def _scene(skeleton: Skeleton, actors: Sequence[Actor], drawing: Drawing) -> Scene:
    people = tuple(_truth(skeleton, actor, index, drawing) for index, actor in enumerate(actors))
    return Scene(drawing.image, drawing.parts, people, skeleton)


def _truth(skeleton: Skeleton, actor: Actor, index: int, drawing: Drawing) -> SyntheticPerson:
    joints_m = np.stack([actor.figure.points_m[joint] for joint in skeleton.joints])
    placed = actor.place.points(joints_m)
    height, width = drawing.parts.shape
    visibility = np.full(len(skeleton), NOT_LABELLED, np.uint8)
    for row, joint in enumerate(skeleton.joints):
        x, y = (int(np.floor(value + 0.5)) for value in placed[row, :2])
        if not (0 <= x < width and 0 <= y < height):
            continue
        visibility[row] = OCCLUDED
        parts, reach = ADJACENT[joint]
        label = int(drawing.parts[y, x])
        if label > 0 and part_of(label)[0] == index and part_of(label)[1] in parts:
            before = float(drawing.depth[y, x]) - placed[row, 2]
            if before <= reach * actor.shape.stature_m * actor.place.scale:
                visibility[row] = VISIBLE
    keypoints = placed[:, :2].astype(np.float32)
    shown = visibility > NOT_LABELLED
    center, side = box_around(keypoints[shown] if shown.any() else keypoints)
    return SyntheticPerson(keypoints, visibility, center, max(1.25 * side, 1.0), joints_m.astype(np.float32))
