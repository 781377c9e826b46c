"""A body in three dimensions: proportions, and forward kinematics.

The frame is the viewer's: x to the right of the picture, y up, z towards the viewer, metres. A body at
rest stands upright and faces the viewer, so its left is at positive x. Angles are degrees.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hourglass.synthetic.poses import Angles

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Proportions of one person; lengths are shares of the stature, factors are about 1.

    Args:
        stature_m: height of the standing body, metres.
        build: thickness of limbs and trunk.
        shoulder: half distance between the shoulder joints.
        hip: half distance between the hip joints.
        head: size of the head; children have larger ones.
        bust: size of the breasts, 0 for none.
    """

    stature_m: float
    build: float
    shoulder: float
    hip: float
    head: float
    bust: float


@dataclass(frozen=True)
class Figure:
    """A posed body.

    Args:
        points_m: (3,) metres of every anatomical point, by name.
        frames: (3, 3) rotation of every body part, columns are its own x (left), y (up), z (front).
    """

    points_m: dict[str, Vector]
    frames: dict[str, Vector]


def sample_shape(rng: np.random.Generator) -> Shape:
    """Anybody: a woman, a man, now and then a child."""
    woman, child = bool(rng.random() < 0.5), bool(rng.random() < 0.1)
    stature = rng.normal(1.65 if woman else 1.78, 0.06) - (0.45 * rng.random() + 0.1 if child else 0)
    return Shape(
        stature_m=float(stature),
        build=float(np.clip(rng.normal(1.0, 0.11), 0.82, 1.32)),
        shoulder=float(rng.normal(0.103 if woman else 0.112, 0.004)),
        hip=float(rng.normal(0.054 if woman else 0.051, 0.002)),
        head=float(1.22 if child else rng.normal(1.03, 0.03)),
        bust=float(rng.uniform(0.7, 1.15)) if woman and not child else 0.0,
    )


def turn(axis: int, degrees: float) -> Vector:
    """(3, 3) right-handed rotation about x, y or z (0, 1, 2)."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(3)
    out[i, i] = out[j, j] = cos
    out[i, j], out[j, i] = -sin, sin
    return out


def figure(shape: Shape, angles: Angles, view: Vector) -> Figure:
    """Forward kinematics: where every anatomical point is, with the pelvis at the origin.

    Args:
        view: (3, 3) rotation of the whole body, from its own frame to the viewer's.
    """
    size = shape.stature_m
    pelvis = view @ turn(2, angles["pelvis_roll"]) @ turn(0, angles["pelvis_pitch"])
    twist = turn(1, angles["spine_twist"])
    chest = pelvis @ twist @ turn(2, angles["spine_roll"]) @ turn(0, angles["spine_pitch"])
    nod = turn(2, angles["neck_roll"]) @ turn(0, angles["neck_pitch"])
    head = chest @ turn(1, angles["neck_yaw"]) @ nod
    neck = chest @ turn(1, angles["neck_yaw"] / 2) @ turn(0, angles["neck_pitch"] / 2)
    frames = {"pelvis": pelvis, "torso": chest, "neck": neck, "head": head}

    def at(start: Vector, frame: Vector, x: float, y: float, z: float) -> Vector:
        return np.asarray(start + frame @ np.array([x, y, z]) * size)

    points = {"pelvis": np.zeros(3)}
    points["waist"] = at(points["pelvis"], pelvis, 0, 0.095, 0)
    points["thorax"] = at(points["waist"], chest, 0, 0.188, 0)
    points["neck_base"] = at(points["thorax"], chest, 0, 0.012, -0.004)
    points["neck"] = at(points["neck_base"], neck, 0, 0.045, 0.008)
    big = shape.head
    for name, place in _HEAD.items():
        points[name] = at(points["neck"], head, *(big * value for value in place))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        _add_arm(points, frames, angles, shape, side, sign)
        _add_leg(points, frames, angles, shape, side, sign)
    return Figure(points, frames)


# Shares of the stature from the upper neck, in the head's frame.
_HEAD = {
    "head_top": (0.0, 0.124, -0.004),
    "cranium": (0.0, 0.080, -0.004),
    "jaw": (0.0, 0.035, 0.012),
    "nose": (0.0, 0.049, 0.056),
    "nose_bridge": (0.0, 0.066, 0.045),
    "left_eye": (0.0175, 0.066, 0.0400),
    "right_eye": (-0.0175, 0.066, 0.0400),
    "left_ear": (0.043, 0.058, -0.004),
    "right_ear": (-0.043, 0.058, -0.004),
}


def _add_arm(
    points: dict[str, Vector], frames: dict[str, Vector], angles: Angles, shape: Shape, side: str, sign: float
) -> None:
    size, chest = shape.stature_m, frames["torso"]
    swing = turn(2, sign * angles[f"{side}_arm_abduct"]) @ turn(0, -angles[f"{side}_arm_flex"])
    upper = chest @ swing @ turn(1, -sign * angles[f"{side}_arm_twist"])
    fore = upper @ turn(0, -angles[f"{side}_elbow"])
    hand = fore @ turn(0, -8.0)
    # The shoulder girdle lifts and narrows when the arm goes overhead.
    raised = max(0.0, float(-swing[1, 1]) + 0.3) / 1.3
    shoulder = np.array([sign * (shape.shoulder - 0.012 * raised), 0.03 * raised, 0.0])
    points[f"{side}_shoulder"] = points["thorax"] + chest @ shoulder * size
    down = np.array([0.0, -size, 0.0])
    points[f"{side}_elbow"] = points[f"{side}_shoulder"] + upper @ down * 0.176
    points[f"{side}_wrist"] = points[f"{side}_elbow"] + fore @ down * 0.147
    points[f"{side}_knuckles"] = points[f"{side}_wrist"] + hand @ down * 0.048
    points[f"{side}_fingertips"] = points[f"{side}_knuckles"] + hand @ turn(0, -18.0) @ down * 0.042
    thumb = hand @ np.array([-sign * 0.3, -0.72, 0.62]) * 0.045 * size
    points[f"{side}_thumb"] = points[f"{side}_wrist"] + thumb
    frames[f"{side}_upper_arm"], frames[f"{side}_forearm"], frames[f"{side}_hand"] = upper, fore, hand


def _add_leg(
    points: dict[str, Vector], frames: dict[str, Vector], angles: Angles, shape: Shape, side: str, sign: float
) -> None:
    size, pelvis = shape.stature_m, frames["pelvis"]
    swing = turn(2, sign * angles[f"{side}_hip_abduct"]) @ turn(0, -angles[f"{side}_hip_flex"])
    thigh = pelvis @ swing @ turn(1, -sign * angles[f"{side}_hip_twist"])
    shin = thigh @ turn(0, angles[f"{side}_knee"])
    foot = shin @ turn(0, angles[f"{side}_ankle"])
    down = np.array([0.0, -size, 0.0])
    points[f"{side}_hip"] = pelvis @ np.array([sign * shape.hip * size, 0.0, 0.0])
    points[f"{side}_knee"] = points[f"{side}_hip"] + thigh @ down * 0.245
    points[f"{side}_ankle"] = points[f"{side}_knee"] + shin @ down * 0.246
    points[f"{side}_heel"] = points[f"{side}_ankle"] + foot @ np.array([0.0, -0.020, -0.016]) * size
    points[f"{side}_toe"] = points[f"{side}_ankle"] + foot @ np.array([0.0, -0.026, 0.100]) * size
    frames[f"{side}_thigh"], frames[f"{side}_shin"], frames[f"{side}_foot"] = thigh, shin, foot
