"""How people hold themselves: what joints can do, and the joint angles of everyday and athletic poses.

Angles are degrees, named in `Angles`; a joint that comes twice has `left_` or `right_` in front.
"""

from collections.abc import Mapping

import numpy as np

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
