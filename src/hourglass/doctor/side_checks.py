"""Left and right: of one person at a time, and as the whole data set names them."""

import math

import numpy as np

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.data.formats.person_scale import row_quantile
from hourglass.doctor.findings import Finding, Suspect, of_person, of_suspects, rows_where, worst_first
from hourglass.doctor.people import Body, DataSet

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
