"""Checks of people's joints, one person at a time. All are vectorised over N people and open no picture.

The thresholds were set by looking at the people they mark in LSP-Extended (docs/doctor.md).
"""

import math
from itertools import combinations

import numpy as np

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.data.formats.person_scale import BOX_MARGIN, OUTSIDE_SHARE, row_quantile
from hourglass.doctor.people import (
    Body,
    DataSet,
    Finding,
    Suspect,
    box_side_px,
    of_person,
    of_suspects,
    relative,
    robust_z,
    rows_where,
    worst_first,
)

FEW = 3
"""A person with fewer labelled joints teaches little, and has no size to speak of."""

LONG = 2.5
"""A limb is too long beyond so many times what the person's other limbs let expect."""

CROP_MISS = 1 / 3
"""A crop is suspect when it misses more than this share of the person's labelled joints."""

SIZE_Z, LEAST_SPREAD = 5.0, 0.15
"""Sizes are suspect beyond so many robust standard deviations of their logarithm, which is taken as this at
least: in a data set of equals nobody is an outlier for a tenth more."""


def few_joints(people: DataSet) -> Finding:
    """People with one or two labelled joints; those with none are told, as readers leave them out anyway."""
    labelled = people.labelled.sum(axis=1)
    least = min(FEW, len(people.skeleton))
    few = (labelled > 0) & (labelled < least)
    bare, some = int((labelled == 0).sum()), int((labelled > 0).sum())
    suspects = [
        of_person(people, n, float(least - labelled[n]), f"{labelled[n]} labelled") for n in rows_where(few)
    ]
    none = f"; people with none, who are left out of training: {bare}" if bare else ""
    return of_suspects(
        "few-joints",
        worst_first(suspects),
        some,
        f"people with fewer than {least} labelled joints: {len(suspects)}{none}",
        {"without_labels": bare, "fewest": int(labelled[labelled > 0].min()) if some else 0},
        warn=0.2,
        stop=1.0,
    )


def areas(people: DataSet) -> Finding:
    """People whose area or box in the file is nothing: OKS divides by one, crops are made of the other."""
    some = people.labelled.any(axis=1)
    narrow = people.box.min(axis=1)
    told = some & (np.isfinite(people.area) | np.isfinite(narrow))
    if not told.any():
        return Finding("areas", "ok", 0, 0, "people", "the file tells no areas and no boxes")
    suspects = []
    for n in rows_where(told & ((people.area <= 0) | (narrow <= 0))):
        width, height = people.box[n]
        flat = people.area[n] <= 0
        what = f"an area of {people.area[n]:g}" if flat else f"a box of {width:g} x {height:g}"
        suspects.append(of_person(people, n, 1.0, what))
    return of_suspects(
        "areas",
        suspects,
        int(told.sum()),
        f"people whose area or box in the file is nothing: {len(suspects)}",
    )


def outside(people: DataSet) -> Finding:
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
    return of_suspects(
        "outside",
        worst_first(suspects),
        looked,
        f"of {int(known.sum())} joints {out} lie outside their picture, {int(far.sum())} by more than "
        f"{OUTSIDE_SHARE:.0%} of its longer side",
        {"joints_outside": out, "joints_far_outside": int(far.sum()), "joints": int(known.sum())},
    )


def coinciding_joints(people: DataSet, body: Body) -> Finding:
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
    return of_suspects(
        "one-spot",
        suspects,
        len(people),
        f"people with two joints in exactly the same place: {len(suspects)}; where a limb vanishes, first",
        {"pairs": sum(len(rows) for rows in same.values())},
    )


def long_limbs(people: DataSet, body: Body) -> Finding:
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
    return of_suspects(
        "long-limbs",
        worst_first(suspects),
        looked,
        f"people with a limb over {LONG:g} times as long as their other limbs let expect: {len(suspects)}",
        {"longest": round(float(ratio.max(initial=0.0)), 2)},
    )


def sizes(people: DataSet, body: Body) -> Finding:
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
    return of_suspects(
        "sizes",
        worst_first(suspects),
        looked,
        f"people more than {SIZE_Z:g} robust standard deviations larger or smaller than the middle of all "
        f"({middle:.3g} {unit}): {len(suspects)}",
        {"median": round(middle, 4), "unit": unit},
        stop=1.0,
    )


def crops(people: DataSet, body: Body) -> Finding:
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
    return of_suspects(
        "crops",
        worst_first(suspects),
        count,
        f"people whose crop misses more than a third of their joints, or is over {SIZE_Z:g} robust standard "
        f"deviations larger or smaller than their limbs let expect: {len(suspects)}",
        {"joints_missed": int((away & people.labelled)[looked].sum())},
    )


def _equal(points: Float64Array, a: int, b: int) -> "np.typing.NDArray[np.bool_]":
    return np.asarray((points[:, a] == points[:, b]).all(axis=1), bool)


def _name(people: DataSet, joint: int) -> str:
    return people.skeleton.joints[joint].replace("_", " ")


def _pair(people: DataSet, a: int, b: int) -> str:
    return f"{_name(people, a)} and {_name(people, b)}"


TWIST_DEG = 75.0
"""A torso turned by more between hips and shoulders is rather two exchanged pairs of names."""

GAIN_NEAR, GAIN_FAR, LONGER = 0.2, 0.45, 1.3
"""Limbs look exchanged when exchanging their lower joints would save so much of their usual length, next to
the torso and further out, and one of them is so many times its usual length. Folded arms and crossed legs
save something too, but have no limb longer than usual."""

OBSERVER_SHARE, MIRRORED_SHARE, UPRIGHT = 0.99, 0.45, 0.8
"""Of upright people (hips below shoulders, at most 37 degrees askew) whose shoulders clearly lie side by
side, the share that has the left one further right in the picture: from the first on sides are named after
the observer, below the second they look exchanged."""

LEAST_PEOPLE, LEAST_PER_SPLIT = 30, 100


def twisted(people: DataSet, body: Body) -> Finding:
    """Torsos whose shoulders and hips say the opposite about which way the person faces.

    The widths of shoulders and hips in the picture, over their full widths, are cosines of how far each is
    turned away from the picture's plane. Where they point in opposite directions, the turn from one to the
    other follows.
    """
    shoulders = people.column("left_shoulder") - people.column("right_shoulder")
    hips = people.column("left_hip") - people.column("right_hip")
    known = np.isfinite(shoulders).all(axis=1) & np.isfinite(hips).all(axis=1) & np.isfinite(body.body_px)
    if not known.any():
        return Finding("sides", "ok", 0, 0, "people", "nobody has both shoulders and both hips labelled")
    axis = shoulders - hips
    axis = axis / np.maximum(np.hypot(axis[:, 0], axis[:, 1]), 1e-9)[:, None]
    upper = (shoulders * axis).sum(axis=1) / _full_width(shoulders, body, known)
    lower = (hips * axis).sum(axis=1) / _full_width(hips, body, known)
    opposed = known & (np.nan_to_num((shoulders * hips).sum(axis=1)) < 0)
    deg = np.zeros(len(people))
    turn = np.arccos(np.clip(lower[opposed], -1, 1)) - np.arccos(np.clip(upper[opposed], -1, 1))
    deg[opposed] = np.degrees(turn)
    count = int(known.sum())
    suspects = [
        of_person(people, n, float(deg[n]), f"turned by {deg[n]:.0f} degrees between hips and shoulders")
        for n in rows_where(deg > TWIST_DEG)
    ]
    return of_suspects(
        "sides",
        worst_first(suspects),
        count,
        f"people whose shoulders and hips face opposite ways, more than {TWIST_DEG:g} degrees apart, so that "
        f"left and right are exchanged in one pair or a joint is wrong: {len(suspects)}",
        {"opposed": int(opposed.sum())},
    )


def crossed(people: DataSet, body: Body) -> Finding:
    """Pairs of limbs that would be much shorter with their lower joints' names exchanged."""
    skeleton, points = people.skeleton, people.keypoints
    flip = skeleton.flip_permutation.tolist()
    suspects: dict[int, Suspect] = {}
    looked = np.zeros(len(people), bool)
    done: set[frozenset[int]] = set()
    for limb, (a, b) in enumerate(body.limbs):
        if frozenset((a, b)) in done or flip[a] in (a, b) or flip[b] == b:
            continue
        done.add(frozenset((flip[a], flip[b])))
        usual_px = np.where(body.body_px > 0, body.body_px, np.nan) * body.usual[limb]
        left, right = _apart(points, a, b), _apart(points, flip[a], flip[b])
        saved = (left + right - _apart(points, a, flip[b]) - _apart(points, flip[a], b)) / (2 * usual_px)
        longer = np.maximum(left, right) / usual_px
        looked |= np.isfinite(saved)
        names = skeleton.joints[a], skeleton.joints[b]
        near = any(part in name for name in names for part in ("hip", "shoulder"))
        least = GAIN_NEAR if near else GAIN_FAR
        mask = (np.nan_to_num(saved) > least) & (np.nan_to_num(longer) > LONGER)
        words = " to ".join(_bare(name) for name in names)
        for n in rows_where(mask):
            if n not in suspects or saved[n] > suspects[n].number:
                suspects[n] = of_person(people, n, float(saved[n]), f"{words} crosses sides")
    count = int(looked.sum())
    return of_suspects(
        "crossed",
        worst_first(list(suspects.values())),
        count,
        f"people with a pair of limbs, one of them over {LONGER:g} times its usual length, that would be "
        f"shorter by {GAIN_NEAR:.0%} ({GAIN_FAR:.0%} for forearms and shanks) with the sides exchanged: "
        f"{len(suspects)}",
    )


def naming(people: DataSet, body: Body) -> Finding:
    """Whose left and right the names are: the person's own, the observer's, or exchanged."""
    right_of = _left_is_right(people, body)
    known = np.isfinite(right_of)
    count = int(known.sum())
    if count < LEAST_PEOPLE:
        said = (
            f"only {count} upright people show both shoulders side by side; {LEAST_PEOPLE} are needed to tell"
        )
        return Finding("naming", "ok", 0, count, "people", said)
    left = int(right_of[known].sum())
    share, kinds = left / count, _by_split(people, right_of)
    numbers: dict[str, float | int | str | None] = {"share": round(share, 4)}
    numbers |= {f"share_{split}": round(value, 4) for split, value in kinds.items()}
    kind, level = naming_of(left, count)
    numbers["names"] = kind
    told = {naming_of_share(value) for value in kinds.values()}
    first = f"in {share:.1%} of {count} upright people the left shoulder lies further right in the picture: "
    if "observer" in told and len(told) > 1:
        words = ", ".join(f"{split} {value:.1%}" for split, value in kinds.items())
        said = f"splits name sides differently ({words}): the observer's in one, the person's in another"
        numbers["names"], brief = "mixed", "mixed between splits"
        return Finding("naming", "error", left, count, "people", first + said, (), numbers, brief)
    said = {
        "observer": "sides are named after the observer",
        "person": "sides are the person's own",
        "mirrored": "left and right look exchanged, unless most people show their back",
        "exchanged": "left and right are exchanged throughout",
    }[kind]
    odd = 0 if level == "ok" else left
    brief = f"{said} ({share:.1%})"
    return Finding("naming", level, odd, count, "people", first + said, (), numbers, brief)


def naming_of(left: int, count: int) -> tuple[str, str]:
    """Kind of naming and level, of how many among `count` have the left shoulder further right."""
    share = left / count
    if share >= OBSERVER_SHARE:
        return "observer", "ok"
    # Of few people many may happen to show their back.
    margin = 3 * math.sqrt(max(share * (1 - share), 1 / count) / count)
    if share >= MIRRORED_SHARE or share + margin >= 0.5:
        return "person", "ok"
    if share <= 1 - OBSERVER_SHARE and count >= LEAST_PER_SPLIT:
        return "exchanged", "error"
    return "mirrored", "warning"


def naming_of_share(share: float) -> str:
    """Whose sides a split's share speaks for: `observer`, `person`, or "" for what lies between."""
    return "observer" if share >= OBSERVER_SHARE else "person" if share < OBSERVER_SHARE - 0.02 else ""


def _left_is_right(people: DataSet, body: Body) -> Float64Array:
    """(N,) 1 where the left shoulder lies further right, 0 where the right one does, NaN where unclear."""
    left, right = people.column("left_shoulder"), people.column("right_shoulder")
    torso = (people.column("left_hip") + people.column("right_hip") - left - right) / 2
    down = torso[:, 1] > UPRIGHT * np.hypot(torso[:, 0], torso[:, 1])
    across = left[:, 0] - right[:, 0]
    known = np.isfinite(across) & np.isfinite(body.body_px)
    if not known.any():
        return np.full(len(people), np.nan)
    clear = np.abs(np.nan_to_num(across / _full_width(left - right, body, known))) > 0.3
    return np.where(down & clear, (across > 0).astype(np.float64), np.nan)


def _by_split(people: DataSet, right_of: Float64Array) -> dict[str, float]:
    shares = {}
    for split in dict.fromkeys(people.splits):
        mine = right_of[people.rows_of(split) & np.isfinite(right_of)]
        if split and len(mine) >= LEAST_PER_SPLIT:
            shares[split] = float(mine.mean())
    return shares


def _full_width(gap: Float64Array, body: Body, known: BoolArray) -> Float64Array:
    """(N,) pixels of shoulders or hips (N, 2) that are not turned: 95 % are narrower for their size."""
    share = np.hypot(gap[:, 0], gap[:, 1])[known] / body.body_px[known]
    widest = float(row_quantile(share[None], 0.95)[0])
    return np.maximum(widest * body.body_px, 1e-9)


def _apart(points: Float64Array, a: int, b: int) -> Float64Array:
    gap = points[:, a] - points[:, b]
    return np.hypot(gap[:, 0], gap[:, 1])


def _bare(joint: str) -> str:
    """A joint's name without its side."""
    words = [w for w in joint.replace("_", " ").split() if w.lower() not in ("left", "right", "l", "r")]
    return " ".join(words) or joint
