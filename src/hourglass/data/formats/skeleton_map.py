"""People of one skeleton as people of another: joints by name, and two that can be derived.

A pelvis is the mean of the hips and a thorax the mean of the shoulders where a skeleton has none of its own.
LSP's 14 joints become MPII's 16 so, in the order of bearpaw's `gen_lsp.m`: rows 0-5, pelvis,
thorax, 12, 13, 6-11. LSP's `neck` is taken as MPII's upper neck there, and has the same name here; a thorax
is another joint, some way below, and never stands in for it. COCO has neither neck nor head top, and its
face points have no place in the others but FLIC's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, VISIBLE, PersonRecord
from hourglass.data.formats.annotations import Annotations

DERIVED = {"pelvis": ("left_hip", "right_hip"), "thorax": ("left_shoulder", "right_shoulder")}
"""What a joint is the middle of, for skeletons without it."""

FEWEST_KEPT = 2
"""Fewer joints in common are a mistake, not a map."""


@dataclass(frozen=True)
class SkeletonMap:
    """Where each joint comes from.

    Args:
        kept: joints of both skeletons.
        derived: joints that only the new one has, and what they are the middle of.
        absent: joints of the new one that can't be had: nobody has them labelled.
        dropped: joints that only the old one has. Those that others are derived from may be among them.
    """

    kept: tuple[str, ...]
    derived: dict[str, tuple[str, str]]
    absent: tuple[str, ...]
    dropped: tuple[str, ...]

    def sentence(self) -> str:
        """All four in words, those with anything in them."""
        derived = [f"{joint} (middle of {a} and {b})" for joint, (a, b) in self.derived.items()]
        parts: dict[str, Sequence[str]] = {"derived": derived, "absent": self.absent, "dropped": self.dropped}
        told = [f"{len(self.kept)} joints kept"]
        return "; ".join(told + [f"{what}: {', '.join(names)}" for what, names in parts.items() if names])


def describe_map(have: Skeleton, to: Skeleton) -> SkeletonMap:
    """What `map_skeleton` will make of each joint.

    Raises ValueError when the skeletons have fewer than two joints in common.
    """
    kept = tuple(joint for joint in to.joints if joint in have.joints)
    if len(kept) < FEWEST_KEPT:
        raise ValueError(
            f"the skeletons {have.name} and {to.name} have {len(kept)} joints in common, so people of one "
            f"can't become people of the other; joints are matched by name, and {have.name} has "
            f"{', '.join(have.joints)}"
        )
    derived = {
        joint: sources
        for joint, sources in DERIVED.items()
        if joint in to.joints and joint not in kept and set(sources) <= set(have.joints)
    }
    return SkeletonMap(
        kept=kept,
        derived=derived,
        absent=tuple(joint for joint in to.joints if joint not in kept and joint not in derived),
        dropped=tuple(joint for joint in have.joints if joint not in to.joints),
    )


def map_skeleton(people: Annotations, to: Skeleton) -> Annotations:
    """The same N people with the joints of another skeleton; crops, lengths, boxes and ids stay.

    A derived joint is labelled if both its sources are, and hidden if either is. What can't be made is not
    labelled. Columns with a row for each joint, or of anything but numbers and text, belong to the old joints
    and go with them.

    Raises ValueError when the skeletons have fewer than two joints in common.
    """
    have = people.skeleton
    if have == to:
        return people
    plan = describe_map(have, to)
    # An unlabelled joint means nothing; 0-based this is COCO's (0, 0).
    keypoints = np.full((len(people), len(to), 2), float(people.origin))
    visibility = np.full((len(people), len(to)), NOT_LABELLED, np.uint8)
    for joint in plan.kept:
        keypoints[:, to.index(joint)] = people.keypoints[:, have.index(joint)]
        visibility[:, to.index(joint)] = people.visibility[:, have.index(joint)]
    for joint, (a, b) in plan.derived.items():
        ends, row = [have.index(a), have.index(b)], to.index(joint)
        seen = people.visibility[:, ends]
        known = (seen > NOT_LABELLED).all(axis=1)
        flags = np.where((seen == OCCLUDED).any(axis=1), OCCLUDED, VISIBLE)
        visibility[:, row] = np.where(known, flags, NOT_LABELLED)
        keypoints[known, row] = people.keypoints[known][:, ends].mean(axis=1)
    weight = None
    if people.weight is not None:
        weight = np.ones((len(people), len(to)))
        for joint in plan.kept:
            weight[:, to.index(joint)] = people.weight[:, have.index(joint)]
        for joint, (a, b) in plan.derived.items():
            weight[:, to.index(joint)] = people.weight[:, [have.index(a), have.index(b)]].min(axis=1)
    columns = {
        name: column
        for name, column in people.columns.items()
        if have.joints == to.joints or _free_of_joints(column, len(have))
    }
    return replace(
        people, skeleton=to, keypoints=keypoints, visibility=visibility, weight=weight, columns=columns
    )


def _free_of_joints(column: npt.NDArray[np.generic], joints: int) -> bool:
    return column.dtype != object and joints not in column.shape[1:]


SIDES = ("", "observer")
"""The words of `data.sides` that every file of people can answer; `person` is FLIC's own."""

_LEFT, _RIGHT = "left_shoulder", "right_shoulder"


def observer_centric(people: Annotations) -> Annotations:
    """The people with left and right as the observer has them.

    Joints and visibility change rows, by the skeleton's flip permutation, for who has the left shoulder left
    of the right one. Who lacks a label of either stays as the file has it; so do lengths, boxes and crops.

    Raises ValueError when the skeleton has no pair of shoulders.
    """
    flip = people.skeleton.flip_permutation
    swapped = _from_behind(people.skeleton, people.keypoints, people.labelled)
    return replace(
        people,
        keypoints=np.where(swapped[:, None, None], people.keypoints[:, flip], people.keypoints),
        visibility=np.where(swapped[:, None], people.visibility[:, flip], people.visibility),
    )


def with_sides(people: Annotations, sides: str) -> Annotations:
    """The people with the sides that `data.sides` asks for; raises ValueError naming the option."""
    if sides == "person":
        raise ValueError(
            f"data.sides: the person's own sides of {people.what} are those of its file, or lost: observer-"
            "centric ones don't tell who was swapped; leave it empty"
        )
    if sides not in SIDES:
        raise ValueError(f"data.sides: {sides!r} is not one of '', observer")
    return observer_centric(people) if sides else people


def observer_records(records: Sequence[PersonRecord]) -> list[PersonRecord]:
    """`observer_centric` for records of one skeleton, whose reader takes no such option."""
    if not records:
        return []
    keypoints, labelled = np.stack([r.keypoints for r in records]), np.stack([r.labelled for r in records])
    swapped = _from_behind(records[0].skeleton, keypoints.astype(np.float64), labelled)
    flip = records[0].skeleton.flip_permutation
    return [
        replace(r, keypoints=r.keypoints[flip], visibility=r.visibility[flip]) if swap else r
        for r, swap in zip(records, swapped.tolist(), strict=True)
    ]


def _from_behind(
    skeleton: Skeleton, keypoints: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """(N,) True for who changes sides."""
    paired = {_LEFT, _RIGHT} <= set(skeleton.joints)
    if not paired or skeleton.flip_permutation[skeleton.index(_LEFT)] != skeleton.index(_RIGHT):
        raise ValueError(
            f"data.sides: skeleton {skeleton.name!r} has no pair of {_LEFT} and {_RIGHT}, by which sides are "
            "told; leave it empty"
        )
    left, right = skeleton.index(_LEFT), skeleton.index(_RIGHT)
    known = labelled[:, left] & labelled[:, right]
    return known & (keypoints[:, left, 0] < keypoints[:, right, 0])
