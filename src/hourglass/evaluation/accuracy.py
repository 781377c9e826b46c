"""What weights are worth beside other programs: one table over several data sets, all answers scored alike.

PCK@0.2 of the torso, pooled over joints, with percentile intervals over people. Other programs' answers are
JSON files `{"network", "joints", "people": [{"file_name", "bbox", "keypoints": [x, y, score, ...]}]}`, in
pixels of the pictures, of people in true boxes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.structs import PersonRecord
from hourglass.data.formats.read_files import read_json
from hourglass.evaluation.metrics.pck import torso_length
from hourglass.evaluation.metrics.scores import intervals

LIMB_JOINTS = tuple(
    f"{side}_{part}"
    for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    for side in ("left", "right")
)
"""The 12 joints that the programs and data sets of this field have in common."""

THRESHOLD = 0.2
DRAWS = 1000

_Float = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """One program's joints for everybody of a set.

    Args:
        name: of the program or the weights.
        joints: names of the K joints that it answers.
        keypoints: (N, K, 2) pixels of the pictures, in the order of the set's people.
    """

    name: str
    joints: tuple[str, ...]
    keypoints: npt.NDArray[np.floating]


def read_answer(file: Path, records: Sequence[PersonRecord]) -> Answers | None:
    """Another program's answers for these people; None where the file is of other pictures.

    People are matched by picture, under any ending, and there by the box whose middle is nearest to that of
    the person's crop.

    Raises ValueError naming the file and the person where it has some of the pictures but not this person.
    """
    content = read_json(file)
    if not isinstance(content, dict) or not {"network", "joints", "people"} <= content.keys():
        raise ValueError(f"{file} is not a file of answers: it needs 'network', 'joints' and 'people'")
    joints = tuple(str(joint) for joint in content["joints"])
    by_picture: dict[str, list[Mapping[str, Any]]] = {}
    for row, person in enumerate(content["people"]):
        if not isinstance(person, dict) or len(person.get("keypoints", ())) != 3 * len(joints):
            raise ValueError(
                f"{file}: people, row {row}: 'keypoints' needs x, y, score of {len(joints)} joints"
            )
        by_picture.setdefault(Path(person["file_name"]).stem, []).append(person)
    known = [record for record in records if Path(record.image_id).stem in by_picture]
    if not known:
        return None
    rows = []
    for record in records:
        candidates = by_picture.get(Path(record.image_id).stem, [])
        apart = [float(np.linalg.norm(_middle(person) - record.center)) for person in candidates]
        # The only person of a picture needs no likeness: boxes around joints may hold a joint we left out.
        if not apart or (len(apart) > 1 and min(apart) > 0.25 * record.side_px):
            raise ValueError(f"{file} has no answer for person {record.person_id} in {record.image_id}")
        rows.append(candidates[int(np.argmin(apart))]["keypoints"])
    keypoints = np.asarray(rows, np.float64).reshape(len(records), len(joints), 3)[..., :2]
    return Answers(str(content["network"]), joints, keypoints)


def _middle(person: Mapping[str, Any]) -> _Float:
    x, y, width, height = (float(number) for number in person["bbox"])
    return np.array([x + (width - 1) / 2, y + (height - 1) / 2])


def groups_of(
    records: Sequence[PersonRecord], box: _Float | None = None, area: _Float | None = None
) -> dict[str, _Bool]:
    """Groups of people by name, each (N,) bool; those without anybody are left out.

    Sizes are the longer side of the person's box. Half bodies have no knee and no ankle labelled, whole
    ones a shoulder and an ankle.

    Args:
        box: (N, 4) annotated boxes, x, y, width, height.
        area: (N,) annotated areas in square pixels, COCO's measure of size.
    """
    longer_side_px = np.array([record.side_px for record in records]) / 1.25
    if box is not None:
        longer_side_px = np.where(np.isnan(box[:, 2]), longer_side_px, box[:, 2:].max(axis=1))

    def any_of(*parts: str) -> _Bool:
        return np.array(
            [
                any(
                    seen and joint.split("_")[-1] in parts
                    for joint, seen in zip(r.skeleton.joints, r.labelled, strict=True)
                )
                for r in records
            ]
        )

    found = {
        "all": np.ones(len(records), bool),
        "whole bodies": any_of("shoulder") & any_of("ankle"),
        "half bodies": ~any_of("knee", "ankle"),
        "below 96 px": longer_side_px < 96,
        "96 to 192 px": (longer_side_px >= 96) & (longer_side_px < 192),
        "192 px and more": longer_side_px >= 192,
    }
    if box is not None:
        found["taller than 80 px"] = box[:, 3] > 80
    if area is not None:
        found["larger than 96 x 96 px"] = area > 96**2
    return {name: rows for name, rows in found.items() if rows.any()}


def compare(
    records: Sequence[PersonRecord],
    answers: Sequence[Answers],
    groups: Mapping[str, _Bool],
    draws: int = DRAWS,
) -> dict[str, Any]:
    """Scores of several programs for the same people.

    A person without a labelled torso is not counted, nor is a joint that some program or the data don't know.

    Returns:
        for each group `{"people", "networks": {name: {"pooled", "low", "high", "joints": {joint: ...}}}}`, in
        percent; `people` are those with a torso. `low` and `high` bound 95 % of the bootstrap's draws.
    """
    skeleton = records[0].skeleton
    shared = [
        joint
        for joint in skeleton.joints
        if joint in LIMB_JOINTS and all(joint in answer.joints for answer in answers)
    ]
    truth = np.stack([record.keypoints for record in records]).astype(np.float64)
    labelled = np.stack([record.labelled for record in records])
    truth = np.where(labelled[..., None], truth, 0)
    length = torso_length(skeleton, truth, labelled)
    measured = length > 0
    rows = [skeleton.index(joint) for joint in shared]
    counted = labelled[:, rows] & measured[:, None]
    correct = {}
    for answer in answers:
        columns = [answer.joints.index(joint) for joint in shared]
        apart = np.linalg.norm(answer.keypoints[:, columns] - truth[:, rows], axis=-1)
        correct[answer.name] = (apart <= THRESHOLD * np.where(measured, length, 1)[:, None]) & counted
    report: dict[str, Any] = {}
    for name, chosen in groups.items():
        people = chosen & counted.any(axis=1)
        if not people.any():
            continue
        networks = {
            answer: _shares(shared, right[people], counted[people], draws)
            for answer, right in correct.items()
        }
        report[name] = {"people": int(people.sum()), "networks": networks}
    return report


def _shares(joints: Sequence[str], right: _Bool, counted: _Bool, draws: int) -> dict[str, Any]:
    hits, totals = right.sum(axis=1).astype(np.float64), counted.sum(axis=1).astype(np.float64)

    def pooled(weights: _Float) -> _Float:
        share: _Float = (weights @ hits / (weights @ totals))[:, None]
        return share

    (bounds,) = intervals([pooled], len(hits), draws)
    each: dict[str, float | None] = {}
    for part in dict.fromkeys(joint.split("_")[-1] for joint in joints):
        columns = [n for n, joint in enumerate(joints) if joint.endswith(part)]
        total = int(counted[:, columns].sum())
        each[part] = round(100 * float(right[:, columns].sum()) / total, 2) if total else None
    return {
        "pooled": round(100 * float(hits.sum() / totals.sum()), 2),
        "low": round(100 * float(bounds.low[0]), 2),
        "high": round(100 * float(bounds.high[0]), 2),
        "joints": each,
    }
