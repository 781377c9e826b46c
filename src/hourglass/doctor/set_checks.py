"""Checks of the data set as a whole, without its pictures."""

from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import BoolArray, Float64Array
from hourglass.doctor.people import (
    LEAK_SHARE,
    Body,
    DataSet,
    Finding,
    Suspect,
    box_side_px,
    level_of,
    of_person,
    of_suspects,
    rows_where,
    worst_first,
)

RARE_SHARE = 0.01
"""A joint is rare when fewer of the people with any labels have it."""

SAME_SHARE, SAME_JOINTS = 0.01, 3
"""Two people are one when their shared joints, so many at least, differ by less than this share of their
size."""

CLICKED_SHARE = 0.98
"""A joint of whose coordinates so many are whole numbers was clicked on pixels; others were computed."""

EVIDENCE, CLEAR = 10, 10
"""So many coordinates must speak for an origin, and so many times more than for the other."""


def counts(people: DataSet) -> dict[str, Any]:
    """How much there is: people, pictures, joints, splits; plain numbers for the report."""
    labelled = people.labelled
    any_label = labelled.any(axis=1)
    in_picture = np.bincount(people.photo)
    total = int(labelled.sum())
    splits = {}
    for split in sorted(set(people.splits)):
        mine = people.rows_of(split)
        pictures = len(set(people.photo[mine].tolist()))
        splits[split] = {
            "people": int(mine.sum()),
            "labelled_people": int((mine & any_label).sum()),
            "pictures": pictures,
        }
    joints = {
        joint: {"labelled": int(labelled[:, j].sum()), "hidden": int(people.hidden[:, j].sum())}
        for j, joint in enumerate(people.skeleton.joints)
    }
    return {
        "people": len(people),
        "labelled_people": int(any_label.sum()),
        "pictures": int((in_picture > 0).sum()),
        "most_people_in_a_picture": int(in_picture.max()),
        "labelled_joints": total,
        "labelled_share": round(total / labelled.size, 4),
        "hidden_share": round(int(people.hidden.sum()) / max(total, 1), 4) if people.tells_hidden else None,
        "joints": joints,
        "splits": splits,
    }


def splits(people: DataSet) -> Finding:
    """Whether each split has people to learn from or to be scored on."""
    any_label = people.labelled.any(axis=1)
    names = sorted(set(people.splits))
    size = {name: int((people.rows_of(name) & any_label).sum()) for name in names}
    # A test split often has no labels on purpose: its scores are made elsewhere.
    empty = [name for name, count in size.items() if not count and name != "test"]
    told = ", ".join(f"{name} {count}".strip() for name, count in size.items())
    if empty:
        said = f"nobody in {', '.join(map(repr, empty))} has a labelled joint ({told})"
        return Finding("splits", "error", len(empty), len(names), "splits", said)
    alone = set(names) == {"train"}
    more = "; without people of another split nothing tells how well training goes" if alone else ""
    level = "note" if alone else "ok"
    said = f"people with labels: {told}{more}"
    return Finding("splits", level, 0, len(names), "splits", said, brief=told)


def labels(people: DataSet) -> Finding:
    """Joints that nobody of the training split has, and rare ones."""
    train = people.rows_of("train") if "train" in people.splits else np.ones(len(people), bool)
    labelled = people.labelled[train]
    some = int(labelled.any(axis=1).sum())
    have = labelled.sum(axis=0)
    joints = people.skeleton.joints
    never = [joints[j] for j in rows_where(have == 0)]
    rare = [joints[j] for j in rows_where((have > 0) & (have < RARE_SHARE * some))]
    numbers = {"least": int(have.min()), "most": int(have.max())}
    if never:
        said = f"no person to train on has {', '.join(never)}: a network can't learn it"
        return Finding("labels", "error", len(never), len(joints), "joints", said, (), numbers)
    if rare:
        said = f"fewer than {RARE_SHARE:.0%} of the people to train on have {', '.join(rare)}"
        return Finding("labels", "warning", len(rare), len(joints), "joints", said, (), numbers)
    share = labelled.sum() / max(some * len(joints), 1)
    brief = f"{share:.1%} labelled, each joint for {have.min()} people or more"
    return Finding(
        "labels", "ok", 0, len(joints), "joints", f"of people to train on {brief}", (), numbers, brief
    )


def leaks(people: DataSet) -> Finding:
    """Pictures with people of two splits, so that what is scored has been learnt."""
    seen: dict[str, dict[str, int]] = {}
    for row, (photo, split) in enumerate(zip(people.photo.tolist(), people.splits, strict=True)):
        seen.setdefault(people.photos[photo].original, {}).setdefault(split, row)
    both = [rows for rows in seen.values() if len(rows) > 1]
    suspects = [
        of_person(people, row, float(len(rows)), f"in {' and '.join(rows)}")
        for rows in both
        for row in rows.values()
    ]
    few = f"{LEAK_SHARE:.1%} of all"
    return Finding(
        "leaks",
        level_of(len(both), len(seen), warn=0.0, stop=LEAK_SHARE),
        len(both),
        len(seen),
        "pictures",
        f"pictures with people of more than one split: {len(both)}; up to {few} is a warning, more an error",
        worst_first(suspects),
    )


def twice(people: DataSet, body: Body) -> Finding:
    """People who are annotated twice: in one picture, and with (nearly) the same joints."""
    by_photo: dict[int, list[int]] = {}
    for row, photo in enumerate(people.photo.tolist()):
        by_photo.setdefault(photo, []).append(row)
    size = np.where(np.isfinite(body.body_px), body.body_px, box_side_px(people))
    suspects: dict[int, Suspect] = {}
    for rows in by_photo.values():
        if len(rows) < 2:
            continue
        gap = people.keypoints[rows][:, None] - people.keypoints[rows][None]
        apart = np.hypot(gap[..., 0], gap[..., 1])
        shared = np.isfinite(apart).sum(axis=2)
        mean = np.nan_to_num(apart).sum(axis=2) / np.maximum(shared, 1)
        for i, j in combinations(range(len(rows)), 2):
            scale = max(np.nan_to_num(size[[rows[i], rows[j]]]).max(), 1.0)
            if shared[i, j] >= SAME_JOINTS and mean[i, j] < SAME_SHARE * scale:
                what = f"the same joints as {people.where[rows[i]].rpartition(': ')[2]}"
                suspects.setdefault(rows[j], of_person(people, rows[j], float(shared[i, j]), what))
    return of_suspects(
        "twice",
        worst_first(list(suspects.values())),
        len(people),
        f"people with the joints of another in the same picture, less than {SAME_SHARE:.0%} of their size "
        f"away over {SAME_JOINTS} shared joints or more: {len(suspects)}",
        warn=0.001,
    )


def origin(people: DataSet) -> Finding:
    """Whether coordinates count from 0 or from 1, by what lies on the borders, against what was read.

    Joints that were clicked are whole numbers: from 0 they reach size - 1, from 1 they start at 1. Others
    reach half a pixel over: below 0.5 only when counting from 0, above size - 0.5 only when counting from 1.
    """
    assumed = {people.origin[f] for f in set(people.file.tolist())}
    if len(assumed) > 1:
        said = "files count from different numbers; look at them one by one"
        return Finding("origin", "note", 0, 0, "coordinates", said)
    start = assumed.pop()
    raw = people.keypoints + start
    size = np.broadcast_to(people.picture_size()[:, None, :], raw.shape)
    known = np.isfinite(raw)
    whole = known & (raw == np.round(raw))
    clicked = whole.sum(axis=(0, 2)) > CLICKED_SHARE * np.maximum(known.sum(axis=(0, 2)), 1)
    if clicked.any():
        zero, one = _clicked(raw[:, clicked], size[:, clicked], known[:, clicked])
        how = "whole numbers"
    else:
        zero, one = _between(raw, size, known)
        how = "fractions"
    says = None
    if zero >= EVIDENCE and zero > CLEAR * one:
        says = 0
    elif one >= EVIDENCE and one > CLEAR * zero:
        says = 1
    numbers: dict[str, float | int | str | None] = {
        "read_as": start,
        "looks_like": says,
        "for_0": zero,
        "for_1": one,
        "whole_share": round(float(whole.sum() / max(known.sum(), 1)), 4),
        "smallest": round(float(raw[known].min()), 3) if known.any() else None,
    }
    facts = f"coordinates are {how}; on the borders {zero} speak for counting from 0 and {one} for 1"
    total, level, brief = int(known.sum()), "ok", f"{how}, read as counting from {start}"
    if says is None:
        said = f"{facts}, too few to tell; they are read as counting from {start}"
    elif says == start:
        said = f"{facts}; they are read as counting from {start}"
    else:
        level, brief = "warning", f"look like counting from {says}, read as from {start}"
        said = f"{facts}, but they are read as counting from {start}: all joints may be a pixel off"
    wrong = max(zero, one) if level == "warning" else 0
    return Finding("origin", level, wrong, total, "coordinates", said, (), numbers, brief)


def _clicked(raw: Float64Array, size: Float64Array, known: BoolArray) -> tuple[int, int]:
    zeros, ones = int((raw[known] == 0).sum()), int((raw[known] == 1).sum())
    sized = known & np.isfinite(size)
    ends = int((raw[sized] == size[sized]).sum())
    # Who counts from 0 puts as many on 0 as on 1; ones alone speak for 1.
    return zeros, ends + (ones if ones > CLEAR * zeros else 0)


def _between(raw: Float64Array, size: Float64Array, known: npt.NDArray[np.bool_]) -> tuple[int, int]:
    sized = known & np.isfinite(size)
    low, high = raw[sized], size[sized] - raw[sized]
    return int(((low >= -0.5) & (low < 0.5)).sum()), int(((high >= -0.5) & (high < 0.5)).sum())


def photo_splits(people: DataSet) -> dict[int, set[str]]:
    """The splits of each picture's people; pictures without people have that of their file."""
    found: dict[int, set[str]] = {n: set() for n in range(len(people.photos))}
    for photo, words in Counter(zip(people.photo.tolist(), people.splits, strict=True)):
        found[photo].add(words)
    return {n: words or {people.photos[n].split} for n, words in found.items()}


def empty_pictures(people: DataSet) -> Finding:
    """Pictures that the annotations list without people: backgrounds, unless someone was forgotten."""
    has = np.zeros(len(people.photos), bool)
    has[people.photo] = True
    suspects = [Suspect(1.0, "nobody in it", None, n) for n in rows_where(~has)]
    level = "note" if suspects else "ok"
    said = f"pictures that the annotations list with nobody to train on: {len(suspects)}"
    return Finding("empty-pictures", level, len(suspects), len(has), "pictures", said, suspects)
