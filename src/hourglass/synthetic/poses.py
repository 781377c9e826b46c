"""How people hold themselves: what joints can do, and the joint angles of everyday and athletic poses.

Angles are degrees, named in `Angles`; a joint that comes twice has `left_` or `right_` in front.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Angles = dict[str, float]

SIDES = ("left", "right")

SINGLE_LIMITS = {
    "pelvis_pitch": (-180.0, 180.0),
    "pelvis_roll": (-180.0, 180.0),
    "spine_pitch": (-35.0, 75.0),
    "spine_roll": (-35.0, 35.0),
    "spine_twist": (-40.0, 40.0),
    "neck_pitch": (-40.0, 40.0),
    "neck_roll": (-30.0, 30.0),
    "neck_yaw": (-60.0, 60.0),
}
SIDED_LIMITS = {
    "arm_flex": (-55.0, 180.0),
    "arm_abduct": (-25.0, 175.0),
    "arm_twist": (-90.0, 80.0),
    "elbow": (3.0, 145.0),
    "hip_flex": (-35.0, 125.0),
    "hip_abduct": (-15.0, 85.0),
    "hip_twist": (-50.0, 35.0),
    "knee": (2.0, 145.0),
    "ankle": (-20.0, 50.0),
}
# Sideways angles of the trunk change sign in a mirror; those of the limbs are measured outwards already.
_MIRRORED = ("pelvis_roll", "spine_roll", "spine_twist", "neck_roll", "neck_yaw")

_RELAXED = {
    "pelvis_pitch": (-3, 4),
    "pelvis_roll": (-3, 3),
    "spine_pitch": (-3, 10),
    "spine_roll": (-6, 6),
    "spine_twist": (-12, 12),
    "neck_pitch": (-10, 18),
    "neck_roll": (-10, 10),
    "neck_yaw": (-35, 35),
    "arm_flex": (-18, 28),
    "arm_abduct": (6, 24),
    "arm_twist": (-10, 35),
    "elbow": (8, 45),
    "hip_flex": (-6, 12),
    "hip_abduct": (1, 11),
    "hip_twist": (-22, 4),
    "knee": (3, 14),
    "ankle": (-4, 6),
}

# What differs from the relaxed stance; (low, high) of a uniform draw. One of `left_` is one side only,
# and a coin decides afterwards which side it is.
_POSES: dict[str, dict[str, tuple[float, float]]] = {
    "standing": {},
    "hands_on_hips": {
        "arm_abduct": (40, 55),
        "arm_flex": (-25, -5),
        "arm_twist": (45, 70),
        "elbow": (85, 110),
    },
    "one_hand_up": {
        "left_arm_abduct": (95, 165),
        "left_arm_flex": (0, 25),
        "left_arm_twist": (-80, -30),
        "left_elbow": (15, 95),
    },
    "arms_raised": {
        "arm_abduct": (110, 172),
        "arm_flex": (0, 15),
        "arm_twist": (-70, 0),
        "elbow": (5, 70),
        "neck_pitch": (-25, 5),
    },
    "arms_out": {"arm_abduct": (70, 100), "arm_twist": (-60, 20), "elbow": (3, 50), "hip_abduct": (4, 22)},
    "reaching": {"arm_flex": (55, 125), "arm_abduct": (0, 30), "elbow": (5, 70), "spine_pitch": (0, 25)},
    "sitting": {
        "hip_flex": (78, 98),
        "hip_abduct": (2, 22),
        "knee": (70, 105),
        "hip_twist": (-15, 5),
        "spine_pitch": (-5, 20),
        "arm_flex": (5, 50),
        "elbow": (20, 85),
        "arm_twist": (0, 50),
    },
    "squatting": {
        "hip_flex": (75, 110),
        "hip_abduct": (12, 38),
        "knee": (85, 130),
        "ankle": (-20, -8),
        "pelvis_pitch": (15, 32),
        "spine_pitch": (5, 25),
        "arm_flex": (45, 95),
        "elbow": (10, 70),
    },
    "lunging": {
        "left_hip_flex": (60, 90),
        "left_knee": (65, 95),
        "right_hip_flex": (-30, -10),
        "right_knee": (20, 60),
        "right_ankle": (10, 40),
        "arm_abduct": (10, 110),
        "arm_flex": (-10, 60),
        "elbow": (5, 80),
    },
    "jumping": {
        "hip_flex": (-5, 60),
        "hip_abduct": (5, 40),
        "knee": (15, 100),
        "ankle": (10, 45),
        "arm_abduct": (60, 165),
        "arm_flex": (-20, 40),
        "arm_twist": (-60, 10),
        "elbow": (5, 60),
        "pelvis_pitch": (-10, 15),
        "spine_pitch": (-15, 20),
    },
    "star": {
        "hip_abduct": (25, 48),
        "arm_abduct": (95, 145),
        "elbow": (3, 25),
        "arm_twist": (-50, 0),
        "ankle": (5, 40),
    },
    "kicking": {
        "left_hip_flex": (60, 110),
        "left_hip_abduct": (0, 40),
        "left_knee": (5, 50),
        "left_ankle": (10, 40),
        "pelvis_pitch": (-25, 0),
        "arm_abduct": (30, 90),
        "elbow": (20, 90),
    },
    "arabesque": {
        "pelvis_pitch": (35, 70),
        "spine_pitch": (-30, -10),
        "left_hip_flex": (35, 70),
        "left_knee": (2, 12),
        "right_hip_flex": (-35, -20),
        "right_knee": (2, 15),
        "right_ankle": (25, 45),
        "arm_abduct": (60, 110),
        "arm_flex": (0, 60),
        "elbow": (3, 20),
        "neck_pitch": (-35, -10),
    },
    "handstand": {
        "pelvis_roll": (162, 198),
        "arm_abduct": (150, 172),
        "arm_flex": (0, 8),
        "elbow": (3, 12),
        "hip_flex": (-25, 45),
        "hip_abduct": (2, 45),
        "knee": (3, 60),
        "ankle": (15, 45),
        "neck_pitch": (-35, -5),
    },
    "cartwheel": {
        "pelvis_roll": (70, 160),
        "arm_abduct": (120, 165),
        "elbow": (3, 15),
        "hip_abduct": (35, 65),
        "ankle": (15, 45),
    },
    "toe_touch": {
        "pelvis_pitch": (40, 70),
        "hip_flex": (40, 70),
        "spine_pitch": (25, 55),
        "arm_flex": (70, 130),
        "elbow": (3, 25),
        "knee": (2, 15),
        "hip_abduct": (2, 25),
    },
}
_WEIGHTS = {"standing": 2.0, "walking": 3.0, "running": 3.0, "sitting": 1.6, "one_hand_up": 1.5}
POSE_NAMES = (*_POSES, "walking", "running")


def sample_pose(rng: np.random.Generator) -> tuple[str, Angles]:
    """A pose's name and its joint angles, within the limits of the joints."""
    weights = np.array([_WEIGHTS.get(name, 1.0) for name in POSE_NAMES])
    name = POSE_NAMES[int(rng.choice(len(POSE_NAMES), p=weights / weights.sum()))]
    if name in ("walking", "running"):
        angles = stride(float(rng.uniform(0, 2 * np.pi)), name == "running")
        angles = {joint: value + float(rng.normal(0, 5)) for joint, value in angles.items()}
    else:
        angles = _draw(_POSES[name], rng)
    if rng.random() < 0.5:
        angles = _mirrored(angles)
    return name, limited(angles)


def _draw(special: Mapping[str, tuple[float, float]], rng: np.random.Generator) -> Angles:
    angles = {}
    for joint in SINGLE_LIMITS:
        angles[joint] = float(rng.uniform(*special.get(joint, _RELAXED[joint])))
    for joint in SIDED_LIMITS:
        both = special.get(joint, _RELAXED[joint])
        for side in SIDES:
            angles[f"{side}_{joint}"] = float(rng.uniform(*special.get(f"{side}_{joint}", both)))
    return angles


def _mirrored(angles: Angles) -> Angles:
    out = {}
    for joint, value in angles.items():
        side, _, rest = joint.partition("_")
        other = {"left": "right", "right": "left"}.get(side)
        out[f"{other}_{rest}" if other else joint] = -value if joint in _MIRRORED else value
    return out


def limited(angles: Angles) -> Angles:
    """The same angles, each clipped to what the joint can do."""
    out = {}
    for joint, value in angles.items():
        limits = SINGLE_LIMITS.get(joint) or SIDED_LIMITS[joint.partition("_")[2]]
        out[joint] = float(np.clip(value, *limits))
    return out


def stride(phase: float, run: bool = False) -> Angles:
    """Angles of a walking or running body; 2 pi of phase are two steps, and the result is smooth in it."""
    swing, lean = (48.0, 12.0) if run else (26.0, 3.0)
    angles: Angles = dict.fromkeys(SINGLE_LIMITS, 0.0)
    angles |= {
        "pelvis_pitch": lean,
        "spine_pitch": lean / 2,
        "spine_twist": -8 * np.sin(phase),
        "neck_pitch": -lean / 2,
    }
    for side, shift in (("left", 0.0), ("right", np.pi)):
        forward, lift = np.sin(phase + shift), max(0.0, np.cos(phase + shift + 0.25)) ** 2
        angles |= {
            f"{side}_hip_flex": (swing * forward) + (14 if run else 4) + lean,
            f"{side}_hip_abduct": 2.0,
            f"{side}_hip_twist": -4.0,
            f"{side}_knee": (20 if run else 7) + (90 if run else 52) * lift,
            f"{side}_ankle": -4 + (35 if run else 18) * max(0.0, -forward) ** 2,
            f"{side}_arm_flex": -(swing * 0.95) * forward,
            f"{side}_arm_abduct": 10.0,
            f"{side}_arm_twist": 22.0 if run else 8.0,
            f"{side}_elbow": (88 if run else 20) - 16 * forward,
        }
    return angles


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
