"""Joint names and what hangs on them: flip pairs, limbs, head and torso references, OKS sigmas.

The skeleton travels with the data, the weights and the prediction; nothing guesses it from a number
of joints.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Pair = tuple[str, str]


@dataclass(frozen=True)
class Skeleton:
    """A named set of J joints.

    Args:
        name: short name, such as `lsp14`.
        joints: J distinct joint names, in the order of the data's rows.
        flip_pairs: joints that change places in a mirrored image, (left, right) or (right, left).
        limbs: pairs to draw a line between.
        torso: the shoulder-hip diagonals whose length normalises PCK, the preferred one first; a
            person's reference is the first one with both ends labelled.
        head: the two joints of the head stick (upper neck, head top), or None.
        oks_sigmas: J per-joint standard deviations of OKS as a share of the object's size, or None.

    Raises ValueError, naming the joint, when the parts contradict each other.
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[Pair, ...] = ()
    limbs: tuple[Pair, ...] = ()
    torso: tuple[Pair, ...] = ()
    head: Pair | None = None
    oks_sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        where = f"skeleton {self.name!r}"
        if not self.joints:
            raise ValueError(f"{where} has no joints")
        seen: set[str] = set()
        for joint in self.joints:
            if joint in seen:
                raise ValueError(f"{where} names the joint {joint!r} twice")
            seen.add(joint)
        head = () if self.head is None else (self.head,)
        parts = {"flip_pairs": self.flip_pairs, "limbs": self.limbs, "torso": self.torso, "head": head}
        for part, pairs in parts.items():
            for pair in pairs:
                for joint in pair:
                    if joint not in seen:
                        raise ValueError(f"{where} has no joint {joint!r}, which {part} names")
                if pair[0] == pair[1]:
                    raise ValueError(f"{where} pairs the joint {pair[0]!r} with itself in {part}")
        paired: set[str] = set()
        for joint in (j for pair in self.flip_pairs for j in pair):
            if joint in paired:
                raise ValueError(f"{where} has the joint {joint!r} in two flip pairs")
            paired.add(joint)
        if self.oks_sigmas is not None:
            if len(self.oks_sigmas) != len(self.joints):
                raise ValueError(
                    f"{where} has {len(self.joints)} joints but {len(self.oks_sigmas)} OKS sigmas"
                )
            for joint, sigma in zip(self.joints, self.oks_sigmas, strict=True):
                if not sigma > 0:
                    raise ValueError(
                        f"{where} has the OKS sigma {sigma} at joint {joint!r}; it must be positive"
                    )

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """Row of a joint; raises ValueError with the known names."""
        if joint not in self.joints:
            raise ValueError(
                f"skeleton {self.name!r} has no joint {joint!r}; it has {', '.join(self.joints)}"
            )
        return self.joints.index(joint)

    @cached_property
    def flip_permutation(self) -> npt.NDArray[np.int64]:
        """(J,) rows to take so that a mirrored person's joints carry their right names; an involution."""
        order = np.arange(len(self.joints))
        for left, right in self.flip_pairs:
            i, j = self.index(left), self.index(right)
            order[i], order[j] = j, i
        return order

    @cached_property
    def limb_indices(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.index(a), self.index(b)) for a, b in self.limbs)

    @cached_property
    def torso_indices(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.index(a), self.index(b)) for a, b in self.torso)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, for JSON beside data and weights."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "flip_pairs": [list(p) for p in self.flip_pairs],
            "limbs": [list(p) for p in self.limbs],
            "torso": [list(p) for p in self.torso],
            "head": None if self.head is None else list(self.head),
            "oks_sigmas": None if self.oks_sigmas is None else list(self.oks_sigmas),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Skeleton":
        """The inverse of `to_dict`; raises ValueError when a field is missing or malformed."""
        if not isinstance(raw.get("joints"), Sequence) or isinstance(raw["joints"], str):
            raise ValueError("not a skeleton: 'joints' is not a list of names")
        try:
            return cls(
                name=str(raw["name"]),
                joints=tuple(str(j) for j in raw["joints"]),
                flip_pairs=_pairs(raw.get("flip_pairs", ())),
                limbs=_pairs(raw.get("limbs", ())),
                torso=_pairs(raw.get("torso", ())),
                head=None if raw.get("head") is None else _pairs([raw["head"]])[0],
                oks_sigmas=None
                if raw.get("oks_sigmas") is None
                else tuple(float(s) for s in raw["oks_sigmas"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a skeleton: {error!r} is missing or malformed") from error

    @classmethod
    def from_coco_category(cls, category: Mapping[str, Any]) -> "Skeleton":
        """Read one entry of a COCO file's `categories`.

        `keypoints` and the 1-based `skeleton` are COCO's own. `flip_pairs` (pairs of names or of
        0-based rows), `torso`, `head` and `sigmas` are read where present; without `flip_pairs` the
        pairs are the names that differ only in left and right.

        Raises ValueError naming the field or the joint.
        """
        names = category.get("keypoints")
        if not isinstance(names, Sequence) or isinstance(names, str) or not names:
            raise ValueError(f"category {category.get('name')!r} lists no 'keypoints'")
        joints = tuple(str(n) for n in names)
        if category.get("name") == "person" and joints == COCO17.joints:
            return COCO17

        def named(field: str, entry: Any, base: int) -> str:
            if isinstance(entry, str):
                return entry
            if not isinstance(entry, int) or not 0 <= entry - base < len(joints):
                raise ValueError(f"'{field}' names keypoint {entry!r}, but there are {len(joints)} keypoints")
            return joints[entry - base]

        def pair(field: str, entry: Any, base: int) -> Pair:
            if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
                raise ValueError(f"'{field}' holds {entry!r}, which is not a pair of keypoints")
            return named(field, entry[0], base), named(field, entry[1], base)

        def pairs(field: str, base: int) -> tuple[Pair, ...]:
            entries = category.get(field) or ()
            if not isinstance(entries, Sequence) or isinstance(entries, str):
                raise ValueError(f"'{field}' is not a list of pairs of keypoints")
            return tuple(pair(field, entry, base) for entry in entries)

        flips = pairs("flip_pairs", 0) if "flip_pairs" in category else _pairs_by_name(joints)
        head = category.get("head")
        sigmas = category.get("sigmas")
        return cls(
            name=str(category.get("name", "custom")),
            joints=joints,
            flip_pairs=flips,
            limbs=pairs("skeleton", 1),
            torso=pairs("torso", 0) or _torso_by_name(joints),
            head=None if head is None else pair("head", head, 0),
            oks_sigmas=None if sigmas is None else tuple(float(s) for s in sigmas),
        )


def _pairs(raw: Sequence[Sequence[str]]) -> tuple[Pair, ...]:
    for pair in raw:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"not a skeleton: {pair!r} is not a pair of joints")
    return tuple((str(a), str(b)) for a, b in raw)


def _pairs_by_name(joints: tuple[str, ...]) -> tuple[Pair, ...]:
    """Names that differ only in the word left or right, or in a leading or trailing L or R."""
    found = []
    for joint in joints:
        for left, right in (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT")):
            other = joint.replace(left, right)
            if other != joint and other in joints:
                found.append((joint, other))
        for left, right in (("l_", "r_"), ("L_", "R_")):
            if joint.startswith(left) and right + joint[2:] in joints:
                found.append((joint, right + joint[2:]))
        for left, right in (("_l", "_r"), ("_L", "_R")):
            if joint.endswith(left) and joint[:-2] + right in joints:
                found.append((joint, joint[:-2] + right))
    return tuple(found)


def _torso_by_name(joints: tuple[str, ...]) -> tuple[Pair, ...]:
    diagonals = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))
    return tuple(pair for pair in diagonals if pair[0] in joints and pair[1] in joints)


_TORSO = (("left_shoulder", "right_hip"), ("right_shoulder", "left_hip"))

_LIMB_SIGMAS = {
    "shoulder": 0.079,
    "elbow": 0.072,
    "wrist": 0.062,
    "hip": 0.107,
    "knee": 0.087,
    "ankle": 0.089,
}
_OTHER_SIGMAS = {
    "nose": 0.026,
    "left_eye": 0.025,
    "right_eye": 0.025,
    "left_ear": 0.035,
    "right_ear": 0.035,
    # COCO has none of these four: each borrows from the nearest COCO joint (ours).
    "pelvis": 0.107,
    "thorax": 0.079,
    "neck": 0.079,
    "head_top": 0.035,
}


def _sides(*parts: str) -> tuple[Pair, ...]:
    return tuple((f"left_{part}", f"right_{part}") for part in parts)


def _sigmas(joints: tuple[str, ...]) -> tuple[float, ...]:
    return tuple(_OTHER_SIGMAS[j] if j in _OTHER_SIGMAS else _LIMB_SIGMAS[j.split("_")[1]] for j in joints)


_RIGHT_LEG_LEFT_LEG = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle")
_RIGHT_ARM_LEFT_ARM = (
    "right_wrist",
    "right_elbow",
    "right_shoulder",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
)
_LEG_LIMBS = (
    ("right_ankle", "right_knee"),
    ("right_knee", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
)
_ARM_LIMBS = (
    ("right_wrist", "right_elbow"),
    ("right_elbow", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
)
_ALL_SIDES = _sides("ankle", "knee", "hip", "wrist", "elbow", "shoulder")

_MPII_JOINTS = (*_RIGHT_LEG_LEFT_LEG, "pelvis", "thorax", "neck", "head_top", *_RIGHT_ARM_LEFT_ARM)
MPII16 = Skeleton(
    name="mpii16",
    joints=_MPII_JOINTS,
    flip_pairs=_ALL_SIDES,
    limbs=(
        *_LEG_LIMBS,
        ("right_hip", "pelvis"),
        ("left_hip", "pelvis"),
        ("pelvis", "thorax"),
        ("thorax", "neck"),
        ("neck", "head_top"),
        *_ARM_LIMBS,
        ("right_shoulder", "thorax"),
        ("left_shoulder", "thorax"),
    ),
    torso=_TORSO,
    head=("neck", "head_top"),
    oks_sigmas=_sigmas(_MPII_JOINTS),
)

_LSP_JOINTS = (*_RIGHT_LEG_LEFT_LEG, *_RIGHT_ARM_LEFT_ARM, "neck", "head_top")
LSP14 = Skeleton(
    name="lsp14",
    joints=_LSP_JOINTS,
    flip_pairs=_ALL_SIDES,
    limbs=(
        *_LEG_LIMBS,
        ("right_hip", "left_hip"),
        *_ARM_LIMBS,
        ("right_shoulder", "neck"),
        ("left_shoulder", "neck"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("neck", "head_top"),
    ),
    torso=_TORSO,
    head=("neck", "head_top"),
    oks_sigmas=_sigmas(_LSP_JOINTS),
)

_FLIC_JOINTS = (
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_eye",
    "right_eye",
    "nose",
)
FLIC11 = Skeleton(
    name="flic11",
    joints=_FLIC_JOINTS,
    flip_pairs=_sides("shoulder", "elbow", "wrist", "hip", "eye"),
    limbs=(
        *_ARM_LIMBS,
        ("left_shoulder", "right_shoulder"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_hip", "right_hip"),
        ("left_eye", "nose"),
        ("right_eye", "nose"),
    ),
    # FLIC's own normaliser runs from the right shoulder to the left hip (FLIC `normalize`).
    torso=(("right_shoulder", "left_hip"), ("left_shoulder", "right_hip")),
    oks_sigmas=_sigmas(_FLIC_JOINTS),
)

_COCO_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO_JOINTS = ("nose", *(f"{side}_{part}" for part in _COCO_PARTS for side in ("left", "right")))
COCO17 = Skeleton(
    name="coco17",
    joints=_COCO_JOINTS,
    flip_pairs=_sides(*_COCO_PARTS),
    limbs=(
        *_LEG_LIMBS,
        ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"),
        ("right_shoulder", "right_hip"),
        ("left_shoulder", "right_shoulder"),
        *_ARM_LIMBS,
        ("nose", "left_eye"),
        ("nose", "right_eye"),
        ("left_eye", "right_eye"),
        ("left_eye", "left_ear"),
        ("right_eye", "right_ear"),
        ("left_ear", "left_shoulder"),
        ("right_ear", "right_shoulder"),
    ),
    torso=_TORSO,
    oks_sigmas=_sigmas(_COCO_JOINTS),
)

_BODY_JOINTS = (*_COCO_JOINTS, "neck", "head_top")
BODY19 = Skeleton(
    name="body19",
    joints=_BODY_JOINTS,
    flip_pairs=_sides(*_COCO_PARTS),
    limbs=(*COCO17.limbs, ("neck", "head_top"), ("left_shoulder", "neck"), ("right_shoulder", "neck")),
    torso=_TORSO,
    head=("neck", "head_top"),
    oks_sigmas=_sigmas(_BODY_JOINTS),
)
"""COCO's 17 joints, then LSP's neck and head top (ours): all that these data sets know between them."""

SKELETONS = {s.name: s for s in (MPII16, LSP14, FLIC11, COCO17, BODY19)}
"""The built-in skeletons by name."""
