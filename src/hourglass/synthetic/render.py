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
from hourglass.synthetic.backdrop import backdrop, occluder, smooth_noise
from hourglass.synthetic.cones import PARTS, person_cones, sample_look, seat_cones
from hourglass.synthetic.poses import (
    SIDES,
    Figure,
    Shape,
    Vector,
    figure,
    limited,
    sample_pose,
    sample_shape,
    stride,
    turn,
)
from hourglass.synthetic.raster import Canvas, Cone, Float32, Light, Placement, add, empty_canvas, shade

OCCLUDER = -1
"""The label of a pixel that shows something in front of everybody."""

PART_STRIDE = 64
"""Person i's body parts are labelled `i * PART_STRIDE + PARTS.index(name)`."""

# Independent random streams, so that asking for other occluders or another size leaves the person as it is.
_BODY, _LOOK, _POSE, _PLACE, _BACKDROP, _LIGHT, _OCCLUDERS, _CAMERA = range(8)

# What an occluder is put in front of.
_COVERED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")

_SUPERSAMPLE = 2
_LAYER_M = 3.0  # distance between two people's depths, more than a body reaches


@dataclass(frozen=True)
class Actor:
    """One person, ready to be drawn.

    Args:
        shape, figure, cones: the body, its pelvis at the origin, in the viewer's metres.
        place: where the metres land on the picture.
        up: (3,) the ground's upward direction as the viewer sees it.
        ground_m: height of the ground along `up`.
        far_px: row of the picture that the place's floor must reach up to.
    """

    shape: Shape
    figure: Figure
    cones: list[Cone]
    place: Placement
    up: Vector
    ground_m: float
    far_px: float


@dataclass(frozen=True)
class Drawing:
    """A finished picture: (H, W, 3) uint8 RGB; per pixel, what it shows and how near that is (pixels)."""

    image: npt.NDArray[np.uint8]
    parts: npt.NDArray[np.int16]
    depth: Float32


def _rng(seed: int, *stream: int) -> np.random.Generator:
    return np.random.default_rng((seed, *stream))


def cast(seed: int, height: int, width: int, people: int) -> list[Actor]:
    """Cast, pose and place the people; the furthest comes first."""
    camera = _rng(seed, _CAMERA)
    elevation, lean = float(camera.uniform(0, 14)), float(camera.normal(0, 3))
    tilt = turn(2, lean) @ turn(0, elevation)
    up = tilt[:, 1]
    rng = _rng(seed, _PLACE)
    nearness = np.sort(rng.random(people)) if people > 1 else np.ones(1)
    slots = rng.permutation(people)
    actors = []
    for index in range(people):
        shape = sample_shape(_rng(seed, _BODY, index))
        look = sample_look(_rng(seed, _LOOK, index), shape)
        pose_rng = _rng(seed, _POSE, index)
        name, angles = sample_pose(pose_rng)
        facing = pose_rng.choice([0.0, 180.0, 90.0, -90.0], p=[0.52, 0.2, 0.14, 0.14])
        yaw = float(facing + pose_rng.normal(0, 28))
        body = figure(shape, angles, tilt @ turn(1, yaw))
        cones = person_cones(body, shape, look)
        ground = _lowest(cones, up)
        if name == "sitting":
            cones += seat_cones(body, look, up, ground, shape.stature_m)
        if name == "jumping":
            ground -= float(pose_rng.uniform(0.1, 0.4))
        box = _extent(cones)
        extent = max(box[1] - box[0])
        if people == 1:
            share = float(rng.uniform(0.66, 0.93))
            scale = share * min(height, width) / extent
            spare = np.array([width, height]) - scale * (box[1] - box[0])
            middle = np.array([width, height]) / 2 + rng.uniform(-0.4, 0.4, 2) * np.maximum(spare, 0)
            if rng.random() < 0.14:  # some people are cut off by the picture's edge
                scale *= 1.35
                middle += rng.normal(0, 0.12, 2) * (width, height)
            offset = middle - scale * (box[0] + box[1]) / 2 * np.array([1, -1])
        else:
            near = float(nearness[index])
            scale = (0.5 + 0.25 * near) * height / 1.75 * min(1.0, 1.6 * width / height / people**0.5)
            x = (slots[index] + 0.5 + float(rng.uniform(-0.45, 0.45))) / people * width
            y = (0.8 + 0.17 * near) * height
            offset = np.array([x - scale * (box[0][0] + box[1][0]) / 2, y + scale * float(up[1]) * ground])
        place = Placement(scale, float(offset[0]), float(offset[1]), index * _LAYER_M * scale)
        far_px = float(place.points(up * ground)[1])
        actors.append(Actor(shape, body, cones, place, up, ground, far_px))
    return actors


def _extent(cones: Sequence[Cone]) -> tuple[Vector, Vector]:
    """(2,) lower and upper x and y of everything, metres."""
    low = np.min([np.minimum(c.a - c.radius_a, c.b - c.radius_b)[:2] for c in cones], axis=0)
    high = np.max([np.maximum(c.a + c.radius_a, c.b + c.radius_b)[:2] for c in cones], axis=0)
    return low, high


def walker(seed: int, frame: int, height: int, width: int) -> Actor:
    """The seed's person at one moment of a walk round an oval, 25 moments a second."""
    shape = sample_shape(_rng(seed, _BODY, 0))
    look = sample_look(_rng(seed, _LOOK, 0), shape)
    rng = _rng(seed, _PLACE)
    size = shape.stature_m
    scale = 0.64 * min(height, width * 1.2) / size
    half_x, half_z = max(0.2, width / scale / 2 - 0.42 * size), 0.55
    pace_m = float(rng.uniform(0.024, 0.030)) * size
    way, start = float(rng.choice([-1.0, 1.0])), float(rng.uniform(0, 2 * np.pi))
    elevation = float(rng.uniform(6, 14))
    # The oval is walked at a constant turn of its angle; the stride follows the way that was covered.
    turned = start + way * pace_m / (half_x * half_z) ** 0.5 * np.arange(frame + 1)
    path = np.stack([half_x * np.cos(turned), half_z * np.sin(turned)], axis=1)
    covered = float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())
    forward = way * np.array([-half_x * np.sin(turned[-1]), half_z * np.cos(turned[-1])])
    yaw = float(np.rad2deg(np.arctan2(forward[0], forward[1])))
    angles = limited(stride(covered / (0.42 * size) * np.pi))
    tilt = turn(0, elevation)
    body = figure(shape, angles, tilt @ turn(1, yaw))
    cones = person_cones(body, shape, look)
    up = tilt[:, 1]
    ground = _lowest(cones, up)
    # Metres on the ground, seen from a little above: what is nearer stands lower in the picture.
    down = scale * np.sin(np.deg2rad(elevation))
    y_px = 0.9 * height - down * (half_z - path[-1, 1])
    place = Placement(scale, (width - 1) / 2 + scale * path[-1, 0], y_px + scale * float(up[1]) * ground)
    return Actor(shape, body, cones, place, up, ground, 0.9 * height - 2 * down * half_z)


def _lowest(cones: Sequence[Cone], up: Vector) -> float:
    return min(float(min(c.a @ up - c.radius_a, c.b @ up - c.radius_b)) for c in cones)


def draw(
    seed: int, actors: Sequence[Actor], height: int, width: int, occluders: int | None = None, frame: int = 0
) -> Drawing:
    """The picture of these people in the seed's place and light; `frame` changes the camera's noise only."""
    s = _SUPERSAMPLE
    canvas = empty_canvas(height * s, width * s)
    for index, actor in enumerate(actors):
        place = _on_canvas(actor.place)
        for cone in actor.cones:
            add(canvas, cone, place, index * PART_STRIDE)
    rng = _rng(seed, _LIGHT)
    toward, light = _light(rng)
    tile = smooth_noise(rng, 128, 128, 24, 3)
    scale = float(np.mean([actor.place.scale for actor in actors])) * s
    layer = shade(canvas, light, scale, tile)
    cover = _occlude(seed, canvas, layer, actors, light, occluders)
    behind = _behind(seed, actors, toward, height, width)
    front = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    image = behind * (1 - front[..., 3:]) + 255 * front[..., :3]
    picked = (slice(s // 2, None, s), slice(s // 2, None, s))
    parts = np.where(cover[picked] > 0, np.int16(OCCLUDER), canvas.part[picked])
    return Drawing(
        _develop(rng, image, _rng(seed, _CAMERA, 1 + frame)), parts, canvas.depth[picked] / np.float32(s)
    )


def _on_canvas(place: Placement) -> Placement:
    """The same placement on the supersampled canvas, whose pixel k is centred at `(k + 0.5) / s - 0.5`."""
    s = _SUPERSAMPLE
    return Placement(
        place.scale * s, (place.x_px + 0.5) * s - 0.5, (place.y_px + 0.5) * s - 0.5, place.z_px * s
    )


def _light(rng: np.random.Generator) -> tuple[Vector, Light]:
    """The direction towards the lamp in the viewer's axes (y up), and the light on the canvas."""
    around, above = np.deg2rad(rng.uniform(-65, 65)), np.deg2rad(rng.uniform(32, 68))
    toward = np.array([np.sin(around) * np.cos(above), np.sin(above), np.cos(around) * np.cos(above)])
    warmth, strength = float(rng.uniform(-0.08, 0.08)), float(rng.uniform(0.8, 1.02))
    shade_of = float(rng.uniform(0.46, 0.66))
    sun = (strength * (1 + warmth), strength, strength * (1 - warmth))
    sky = (shade_of * (1 - 0.7 * warmth), shade_of, shade_of * (1 + 0.7 * warmth))
    return toward, Light(toward * (1, -1, 1), sun, sky)


def _behind(seed: int, actors: Sequence[Actor], toward: Vector, height: int, width: int) -> Float32:
    """(height, width, 3) the place with the people's shadows on its ground, 0 to 255."""
    rng = _rng(seed, _BACKDROP)
    horizon = min(actor.far_px for actor in actors) - float(rng.uniform(0.05, 0.28)) * height
    image = backdrop(rng, height, width, horizon)
    mask = np.zeros((height, width), np.uint8)
    scale = 1.0
    for actor in actors:
        up, scale = actor.up, actor.place.scale
        for cone in actor.cones:
            ends = np.stack([cone.a, cone.b])
            heights = ends @ up - actor.ground_m
            cast_px = actor.place.points(ends - np.outer(heights / (up @ toward), toward))[:, :2]
            first, last = ((int(x * 8), int(y * 8)) for x, y in np.clip(cast_px, -4096, 4096))
            thick = max(1, int((cone.radius_a + cone.radius_b) * scale * 0.8))
            cv2.line(mask, first, last, 255, thick, cv2.LINE_8, 3)
    dark = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.6, 0.022 * scale)) / 255
    image *= 1 - float(rng.uniform(0.3, 0.5)) * dark[..., None]
    return image


def _occlude(
    seed: int, canvas: Canvas, layer: Float32, actors: Sequence[Actor], light: Light, count: int | None
) -> npt.NDArray[np.uint8]:
    """Draw the occluders into the layer; (h, w) nonzero where they cover the canvas."""
    rng = _rng(seed, _OCCLUDERS)
    drawn = int(rng.choice([0, 1, 2, 3], p=[0.62, 0.22, 0.11, 0.05]))
    cover = np.zeros(canvas.part.shape, np.uint8)
    for _ in range(drawn if count is None else count):
        actor = actors[int(rng.integers(len(actors)))]
        names = [f"{side}_{joint}" for side in SIDES for joint in _COVERED]
        place = _on_canvas(actor.place)
        anchor = place.points(actor.figure.points_m[names[int(rng.integers(len(names)))]])[:2]
        # Something that begins outside the picture would hide nothing.
        anchor = np.clip(anchor, 0, np.array(cover.shape[::-1]) - 1.0)
        color, mask = np.zeros((*cover.shape, 3), np.uint8), np.zeros(cover.shape, np.uint8)
        occluder(rng, color, mask, anchor, actor.shape.stature_m * place.scale)
        strength = np.array(light.color, np.float32) * 0.75 + np.array(light.ambient, np.float32) * 0.55
        hit = mask > 127
        layer[hit, :3] = np.minimum(color[hit] * strength / 255, 1)
        layer[hit, 3] = 1
        cover |= mask
    return np.asarray(np.where(cover > 127, 255, 0), np.uint8)


def _develop(rng: np.random.Generator, image: Float32, grain: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What a camera makes of it: contrast, brightness, a little blur and noise."""
    contrast, brightness = float(rng.uniform(0.88, 1.12)), float(rng.uniform(-14, 14))
    blur, noise = float(rng.uniform(-0.3, 0.75)), float(rng.uniform(0.5, 4))
    if blur > 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)
    image = (image - 128) * contrast + (128 + brightness)
    image += grain.standard_normal(image.shape[:2], dtype=np.float32)[..., None] * noise
    return np.asarray(np.clip(image + 0.5, 0, 255), np.uint8)


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
        raise ValueError(f"occluders must be 0 or more, got {occluders}")
    actors = cast(seed, height, width, people)
    return _scene(skeleton, actors, draw(seed, actors, height, width, occluders))


def load_records(skeleton: Skeleton, count: int, seed: int = 0, size_px: int = 256) -> list[PersonRecord]:
    """Single-person scenes as a dataset; the pictures travel as PNG bytes, so nothing is lost.

    Record i is the scene of seed `seed + i`, so two datasets overlap when their ranges of seeds do.

    Raises ValueError as `render` does.
    """
    if count < 0:
        raise ValueError(f"count must be 0 or more, got {count}")
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
        raise ValueError(f"frames must be 0 or more, got {frames}")
    if occluders < 0:
        raise ValueError(f"occluders must be 0 or more, got {occluders}")

    def scenes() -> Iterator[Scene]:
        for frame in range(frames):
            actors = [walker(seed, frame, height, width)]
            yield _scene(skeleton, actors, draw(seed, actors, height, width, occluders, frame))

    return scenes()


def _check(seed: int, skeleton: Skeleton, height: int, width: int) -> None:
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
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
