"""Joint names and what hangs on them: flip pairs, limbs, head and torso references, OKS sigmas.

The skeleton travels with the data, the weights and the prediction; nothing guesses it from a number
of joints.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.joint_names import left_right_pairs

Pair = tuple[str, str]

log = logging.getLogger(__name__)


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

        `keypoints` (names, or objects with a `name`) and the 1-based `skeleton` are COCO's own. `flip_pairs`
        (pairs of names or of 0-based rows), `torso`, `head` and `sigmas` are read where present; where
        `flip_pairs` is missing or null the pairs are told from the names (`core.joint_names`), and an empty
        list says that there are none. Limbs are only drawn, so those that make no sense are left out with a
        warning; a row 0 among them shows that they count from 0.

        Raises ValueError naming the field or the joint.
        """
        names = category.get("keypoints")
        if not isinstance(names, Sequence) or isinstance(names, str) or not names:
            raise ValueError(f"category {category.get('name')!r} lists no 'keypoints'")
        joints = tuple(_joint_name(name, row) for row, name in enumerate(names))
        if category.get("name") == "person" and joints == COCO17.joints:
            return COCO17

        def named(field: str, entry: Any) -> str:
            if isinstance(entry, str):
                return entry
            if not isinstance(entry, int) or not 0 <= entry < len(joints):
                raise ValueError(f"'{field}' names keypoint {entry!r}, but there are {len(joints)} keypoints")
            return joints[entry]

        def pair(field: str, entry: Any) -> Pair:
            if not isinstance(entry, Sequence) or isinstance(entry, str) or len(entry) != 2:
                raise ValueError(f"'{field}' holds {entry!r}, which is not a pair of keypoints")
            return named(field, entry[0]), named(field, entry[1])

        def pairs(field: str) -> tuple[Pair, ...]:
            entries = category.get(field) or ()
            if not isinstance(entries, Sequence) or isinstance(entries, str):
                raise ValueError(f"'{field}' is not a list of pairs of keypoints")
            return tuple(pair(field, entry) for entry in entries)

        told = category.get("flip_pairs") is not None
        head = category.get("head")
        sigmas = category.get("sigmas")
        return cls(
            name=str(category.get("name", "custom")),
            joints=joints,
            flip_pairs=pairs("flip_pairs") if told else left_right_pairs(joints),
            limbs=_limbs_that_fit(category, joints),
            torso=pairs("torso") or _torso_by_name(joints),
            head=None if head is None else pair("head", head),
            oks_sigmas=None if sigmas is None else tuple(float(s) for s in sigmas),
        )

    @classmethod
    def of_names(
        cls,
        name: str,
        joints: Sequence[str],
        flip_pairs: Sequence[Pair] | None = None,
        limbs: Sequence[Pair] = (),
    ) -> "Skeleton":
        """The skeleton of joints of which little more than the names is known.

        Args:
            flip_pairs: None tells them from the names.
            limbs: those whose ends are joints are kept.
        """
        known = tuple(joints)
        return cls(
            name=name,
            joints=known,
            flip_pairs=left_right_pairs(known) if flip_pairs is None else tuple(flip_pairs),
            limbs=tuple((a, b) for a, b in limbs if a != b and {a, b} <= set(known)),
            torso=_torso_by_name(known),
        )


def _joint_name(entry: Any, row: int) -> str:
    name = entry.get("name") if isinstance(entry, Mapping) else entry
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise ValueError(f"'keypoints' holds {entry!r} in row {row}, which names no keypoint")
    return str(name)


def _limbs_that_fit(category: Mapping[str, Any], joints: tuple[str, ...]) -> tuple[Pair, ...]:
    """The limbs of a category's `skeleton` as names; a line in the log tells of those that are none."""
    found = category.get("skeleton") or []
    entries = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    pairs = [list(e) if isinstance(e, Sequence) and not isinstance(e, str) else [] for e in entries]
    base = 0 if any(end == 0 for pair in pairs for end in pair) else 1
    rows: dict[str | int | float, str] = {name: name for name in joints} | {
        base + row: name for row, name in enumerate(joints)
    }
    limbs = []
    for pair in pairs:
        ends = [rows.get(end) if isinstance(end, str | int | float) else None for end in pair]
        if len(ends) == 2 and ends[0] and ends[1] and ends[0] != ends[1]:
            limbs.append((ends[0], ends[1]))
    if len(limbs) < len(entries):
        log.warning(
            "category %r: %d of the %d limbs in 'skeleton' do not join two of its %d keypoints and are not "
            "drawn",
            category.get("name"),
            len(entries) - len(limbs),
            len(entries),
            len(joints),
        )
    return tuple(limbs)


def _pairs(raw: Sequence[Sequence[str]]) -> tuple[Pair, ...]:
    for pair in raw:
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"not a skeleton: {pair!r} is not a pair of joints")
    return tuple((str(a), str(b)) for a, b in raw)


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
