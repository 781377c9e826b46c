"""Checks of people's joints, one person at a time. All are vectorised over N people and open no picture.

The thresholds were set by looking at the people they mark in LSP-Extended (docs/doctor.md).
"""

from itertools import combinations

import numpy as np

from hourglass.data.crops import BOX_MARGIN, OUTSIDE_SHARE
from hourglass.doctor.body import Body, box_side_px, relative, robust_z
from hourglass.doctor.findings import Finding, Suspect, level_of, of_person, rows_where, worst_first
from hourglass.doctor.people import Float, People

FEW = 3
"""A person with fewer labelled joints teaches little, and has no size to speak of."""

LONG = 2.5
"""A limb is too long beyond so many times what the person's other limbs let expect."""

CROP_MISS = 1 / 3
"""A crop is suspect when it misses more than this share of the person's labelled joints."""

SIZE_Z, LEAST_SPREAD = 5.0, 0.15
"""Sizes are suspect beyond so many robust standard deviations of their logarithm, which is taken as this at
least: in a data set of equals nobody is an outlier for a tenth more."""


def few_joints(people: People) -> Finding:
    """People with one or two labelled joints; those with none are told, as readers leave them out anyway."""
    labelled = people.labelled.sum(axis=1)
    least = min(FEW, len(people.skeleton))
    few = (labelled > 0) & (labelled < least)
    bare, some = int((labelled == 0).sum()), int((labelled > 0).sum())
    suspects = [
        of_person(people, n, float(least - labelled[n]), f"{labelled[n]} labelled") for n in rows_where(few)
    ]
    none = f"; people with none, who are left out of training: {bare}" if bare else ""
    return Finding(
        "few-joints",
        level_of(len(suspects), some, warn=0.2, stop=1.0),
        len(suspects),
        some,
        "people",
        f"people with fewer than {least} labelled joints: {len(suspects)}{none}",
        worst_first(suspects),
        {"without_labels": bare, "fewest": int(labelled[labelled > 0].min()) if some else 0},
    )


def areas(people: People) -> Finding:
    """People who take up no room: an area or a box of nothing in the file, or all joints in one place.

    OKS divides by the area, and crops are made of boxes or joints.
    """
    labelled = people.labelled
    some = labelled.any(axis=1)
    low = np.where(labelled[..., None], people.keypoints, np.inf).min(axis=1)
    high = np.where(labelled[..., None], people.keypoints, -np.inf).max(axis=1)
    whats: dict[int, str] = {}
    for n in rows_where((labelled.sum(axis=1) >= 2) & (low == high).all(axis=1)):
        whats[n] = "all joints in one place"
    for n in rows_where(some & (people.box.min(axis=1) <= 0)):
        whats[n] = f"a box of {people.box[n, 0]:g} x {people.box[n, 1]:g}"
    for n in rows_where(some & (people.area <= 0)):
        whats[n] = f"an area of {people.area[n]:g}"
    count = int(some.sum())
    return Finding(
        "areas",
        level_of(len(whats), count),
        len(whats),
        count,
        "people",
        f"people with an area or a box of nothing in the file, or all joints in one place: {len(whats)}",
        [of_person(people, n, 1.0, whats[n]) for n in sorted(whats)],
    )


def outside(people: People) -> Finding:
    """Joints outside their picture; further than 5 % of its longer side is a slip, not a border."""
    size = people.picture_size()[:, None, :]
    points = people.keypoints
    beyond_px = np.maximum(-0.5 - points, points - (size - 0.5)).max(axis=2)
    known = np.isfinite(beyond_px)
    if not known.any():
        return Finding(
            "outside", "ok", 0, 0, "people", "the sizes of the pictures are not known, so not looked at"
        )
    beyond_px = np.where(known, beyond_px, -np.inf)
    far = beyond_px > OUTSIDE_SHARE * size.max(axis=2)
    suspects = []
    for n in rows_where(far.any(axis=1)):
        worst = int(beyond_px[n].argmax())
        share = float(beyond_px[n, worst] / size[n].max())
        what = f"{_name(people, worst)} {beyond_px[n, worst]:.0f} px outside"
        suspects.append(of_person(people, n, share, what))
    out, looked = int((beyond_px > 0).sum()), int(known.any(axis=1).sum())
    return Finding(
        "outside",
        level_of(len(suspects), looked),
        len(suspects),
        looked,
        "people",
        f"of {int(known.sum())} joints {out} lie outside their picture, {int(far.sum())} by more than "
        f"{OUTSIDE_SHARE:.0%} of its longer side",
        worst_first(suspects),
        {"joints_outside": out, "joints_far_outside": int(far.sum()), "joints": int(known.sum())},
    )


def one_spot(people: People, body: Body) -> Finding:
    """Different joints in exactly the same place; worse between the ends of one limb.

    A joint and its twin of the other side come last: in profile they do lie behind one another.
    """
    points, joints = people.keypoints, len(people.skeleton)
    flip = people.skeleton.flip_permutation
    limb_of = {frozenset(limb): i for i, limb in enumerate(body.limbs)}
    same = {
        (a, b): rows for a, b in combinations(range(joints), 2) if (rows := rows_where(_equal(points, a, b)))
    }
    found: dict[int, list[tuple[float, str]]] = {}
    for (a, b), rows in same.items():
        limb = limb_of.get(frozenset((a, b)))
        for n in rows:
            size = body.body_px[n] * body.usual[limb] if limb is not None and flip[a] != b else 0.0
            found.setdefault(n, []).append((float(np.nan_to_num(size)), _pair(people, a, b)))
    labelled = people.labelled.sum(axis=1)
    order: list[tuple[bool, float, Suspect]] = []
    for n, pairs in found.items():
        pairs.sort(key=lambda pair: -pair[0])
        whole = len(pairs) == labelled[n] * (labelled[n] - 1) // 2 and labelled[n] > 2
        what = "all joints in one place" if whole else f"{pairs[0][1]} in one place"
        order.append((not whole, -pairs[0][0], of_person(people, n, float(len(pairs)), what)))
    suspects = [suspect for *_, suspect in sorted(order, key=lambda entry: entry[:2])]
    return Finding(
        "one-spot",
        level_of(len(suspects), len(people)),
        len(suspects),
        len(people),
        "people",
        f"people with two joints in exactly the same place: {len(suspects)}; where a limb vanishes, first",
        suspects,
        {"pairs": sum(len(rows) for rows in same.values())},
    )


def long_limbs(people: People, body: Body) -> Finding:
    """Limbs much longer than the person's other limbs let expect: a joint of somebody else, or none."""
    ratio = relative(body)
    known = np.isfinite(ratio)
    ratio[~known] = 0.0
    looked = int(known.any(axis=1).sum())
    suspects = []
    for n in rows_where(np.asarray((ratio > LONG).any(axis=1), bool)):
        limb = int(ratio[n].argmax())
        what = f"{_pair(people, *body.limbs[limb])} {ratio[n, limb]:.1f} times too long"
        suspects.append(of_person(people, n, float(ratio[n, limb]), what))
    return Finding(
        "long-limbs",
        level_of(len(suspects), looked),
        len(suspects),
        looked,
        "people",
        f"people with a limb over {LONG:g} times as long as their other limbs let expect: {len(suspects)}",
        worst_first(suspects),
        {"longest": round(float(ratio.max(initial=0.0)), 2)},
    )


def sizes(people: People, body: Body) -> Finding:
    """People far larger or smaller than all others, in pixels or, where sizes are known, in their picture."""
    longer = people.picture_size().max(axis=1)
    whole = np.isfinite(longer).all()
    size = body.body_px / longer if whole else body.body_px
    enough = people.labelled.sum(axis=1) > FEW
    z = robust_z(np.log(size), enough, LEAST_SPREAD)
    middle = float(np.exp(np.nanmedian(np.log(size[enough])))) if np.isfinite(size[enough]).any() else 0.0
    suspects = []
    for n in rows_where(np.abs(np.nan_to_num(z)) > SIZE_Z):
        what = f"{size[n] / middle:.3g} times the usual size"
        suspects.append(of_person(people, n, float(abs(z[n])), what))
    looked = int(np.isfinite(z).sum())
    unit = "of the picture's longer side" if whole else "px"
    return Finding(
        "sizes",
        level_of(len(suspects), looked, stop=1.0),
        len(suspects),
        looked,
        "people",
        f"people more than {SIZE_Z:g} robust standard deviations larger or smaller than the middle of all "
        f"({middle:.3g} {unit}): {len(suspects)}",
        worst_first(suspects),
        {"median": round(middle, 4), "unit": unit},
    )


def crops(people: People, body: Body) -> Finding:
    """Crops that miss their person: told sizes and centres that don't fit the joints."""
    with np.errstate(invalid="ignore"):
        made = np.abs(people.side_px / (BOX_MARGIN * box_side_px(people)) - 1) < 0.01
        away = np.abs(people.keypoints - people.center[:, None]).max(axis=2) > people.side_px[:, None] / 2
    looked = np.isfinite(people.side_px) & people.labelled.any(axis=1)
    count = int(looked.sum())
    if not count or made[looked].mean() > 0.95:
        why = "nobody has a crop" if not count else "the file tells no crops: they are made of the joints"
        return Finding("crops", "ok", 0, count, "people", why)
    missed = (away & people.labelled).sum(axis=1) / np.maximum(people.labelled.sum(axis=1), 1)
    z = np.nan_to_num(robust_z(np.log(people.side_px / body.body_px), looked, LEAST_SPREAD))
    off = np.abs(z) > SIZE_Z
    suspects = []
    for n in rows_where(looked & (off | (missed > CROP_MISS))):
        what = f"misses {missed[n]:.0%} of the joints" if missed[n] > CROP_MISS else f"{z[n]:+.1f} deviations"
        suspects.append(of_person(people, n, float(max(abs(z[n]) / SIZE_Z, missed[n] / CROP_MISS)), what))
    return Finding(
        "crops",
        level_of(len(suspects), count),
        len(suspects),
        count,
        "people",
        f"people whose crop misses more than a third of their joints, or is over {SIZE_Z:g} robust standard "
        f"deviations larger or smaller than their limbs let expect: {len(suspects)}",
        worst_first(suspects),
        {"joints_missed": int((away & people.labelled)[looked].sum())},
    )


def _equal(points: Float, a: int, b: int) -> "np.typing.NDArray[np.bool_]":
    return np.asarray((points[:, a] == points[:, b]).all(axis=1), bool)


def _name(people: People, joint: int) -> str:
    return people.skeleton.joints[joint].replace("_", " ")


def _pair(people: People, a: int, b: int) -> str:
    return f"{_name(people, a)} and {_name(people, b)}"
