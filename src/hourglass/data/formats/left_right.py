"""Whose left and right: the person's own, or those of who looks at the picture.

FLIC's published scores take the observer's: everybody who is seen from behind has left and right swapped,
the whole body at once. That the left shoulder ends up further right in the picture is the rule behind it: it
turns FLIC's person-centric files into its observer-centric ones exactly, for 199 of 3,987 and 48 of 1,016
people. There is no way back, as a swapped person looks like any other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations

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
