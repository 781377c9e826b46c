"""Scoring: a network's answer for annotated people, its PCK, its file, and pictures of best and worst.

Nothing here is random, and nothing of training (augmentation, targets) reaches it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hourglass.core import geometry
from hourglass.core.arrays import RGB
from hourglass.core.files import write_text_atomically
from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import OCCLUDED, VISIBLE, PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.data.formats.person_scale import BOX_MARGIN
from hourglass.data.formats.skeleton_map import describe_map
from hourglass.data.loading.ahead import ahead
from hourglass.data.loading.images import read_image
from hourglass.data.loading.mixture import in_skeleton
from hourglass.drawing.draw import contact_sheet, draw_pose
from hourglass.evaluation.metrics.pck import (
    box_length,
    group_curves,
    joint_groups,
    mean_of_groups,
    pck,
    person_errors,
    relative_distance,
    torso_length,
)
from hourglass.inference.forward import CropAnswer, answer_crops, answer_stages
from hourglass.weights.facts import WeightFacts

FORMAT = "hourglass-predictions-1"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was predicted for N annotated people, in pixels of their pictures.

    Args:
        person_id: (N,) int64, those of the records.
        image_id: N names of pictures.
        keypoints: (N, J, 2) float32, x and y.
        scores: (N, J) float32, peak heights.
        skeleton: names the J rows.
        weights: name of the weights that predicted them.
        occluded: (N, J) bool, joints said to be hidden, by weights that tell; else None.

    Raises ValueError when shapes disagree or a person occurs twice.
    """

    person_id: npt.NDArray[np.int64]
    image_id: tuple[str, ...]
    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    skeleton: Skeleton
    weights: str = ""
    occluded: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        people, joints = len(self.image_id), len(self.skeleton)
        for name, array, shape in (
            ("person_id", self.person_id, (people,)),
            ("keypoints", self.keypoints, (people, joints, 2)),
            ("scores", self.scores, (people, joints)),
            ("occluded", self.occluded, (people, joints)),
        ):
            if array is not None and array.shape != shape:
                raise ValueError(f"predictions: {name} has shape {array.shape}, expected {shape}")
        if len(np.unique(self.person_id)) != people:
            raise ValueError("predictions: a person occurs twice")

    def __len__(self) -> int:
        return len(self.image_id)


def check_skeleton(weights: Skeleton, data: Skeleton) -> None:
    """Raise ValueError naming both when the joints of weights and data are not the same rows."""
    if weights.joints != data.joints:
        raise ValueError(
            f"the weights predict the skeleton {weights.name!r} ({len(weights)} joints), "
            f"but the data has {data.name!r} ({len(data)} joints)"
        )


def under_skeleton(
    records: Sequence[PersonRecord], skeleton: Skeleton
) -> tuple[list[PersonRecord], tuple[str, ...]]:
    """People with the joints that weights predict, and those joints of theirs that the weights don't know.

    Joints are matched by name; what only the weights know is not labelled, so it is not scored. The torso
    stays that of the data, where the weights know its ends.

    Raises ValueError, naming both skeletons, when they have fewer than two joints in common.
    """
    have = records[0].skeleton if records else skeleton
    if have.joints == skeleton.joints:
        return list(records), ()
    torso = tuple(pair for pair in have.torso if set(pair) <= set(skeleton.joints))
    told = replace(skeleton, torso=torso or skeleton.torso)
    mapped = [replace(in_skeleton(record, skeleton), skeleton=told) for record in records]
    return mapped, describe_map(have, skeleton).dropped


def predict_records(
    network: nn.Module,
    facts: WeightFacts,
    records: Sequence[PersonRecord],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    flip_test: bool = True,
    precision: torch.dtype = torch.float32,
    workers: int = 2,
    images: Sequence[RGB] | None = None,
    progress: Progress | None = None,
) -> Predictions:
    """Run a network over every record's own crop: its centre and side, no box of ours.

    Args:
        network: already on `device`; runs in evaluation mode, its own mode is restored.
        flip_test: average with the mirrored crop.
        precision: of the network, float32 or bfloat16.
        workers: threads that read and crop pictures while the network runs.
        images: the records' decoded pictures, where the caller holds them already.
        progress: called with (people done, people in all) after every batch.

    Raises ValueError naming both skeletons when they differ, ImageError when a picture can't be read.
    """

    def answer(crops: torch.Tensor) -> list[CropAnswer]:
        return [answer_crops(network, crops, facts, flip_test, precision)]

    return _predict(
        answer, network, facts, records, torch.device(device), batch_size, workers, images, progress
    )[0]


def predict_stages(
    network: nn.Module,
    facts: WeightFacts,
    records: Sequence[PersonRecord],
    *,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    flip_test: bool = True,
    precision: torch.dtype = torch.float32,
    workers: int = 2,
    images: Sequence[RGB] | None = None,
    progress: Progress | None = None,
) -> list[Predictions]:
    """As `predict_records`, for every supervised stage of the network; the last one is its answer."""

    def answer(crops: torch.Tensor) -> list[CropAnswer]:
        return answer_stages(network, crops, facts, flip_test, precision)

    return _predict(
        answer, network, facts, records, torch.device(device), batch_size, workers, images, progress
    )


def _predict(
    answer: Callable[[torch.Tensor], list[CropAnswer]],
    network: nn.Module,
    facts: WeightFacts,
    records: Sequence[PersonRecord],
    device: torch.device,
    batch_size: int,
    workers: int,
    images: Sequence[RGB] | None,
    progress: Progress | None,
) -> list[Predictions]:
    """Predictions of one or several stages, as `answer` gives them for crops (B, 3, S, S) uint8."""
    for record in records:
        check_skeleton(facts.skeleton, record.skeleton)
    if batch_size < 1 or workers < 1:
        raise ValueError("batch_size and workers must be at least 1")
    keypoints: list[list[npt.NDArray[np.floating]]] = []
    scores: list[list[npt.NDArray[np.float32]]] = []
    hidden: list[list[npt.NDArray[np.bool_]]] = []
    was_training = network.training
    network.eval()
    try:
        done = 0
        for crops, matrices in _batches(records, images, facts.input_px, batch_size, workers):
            stages = answer(torch.from_numpy(crops).permute(0, 3, 1, 2).to(device))
            keypoints = keypoints or [[] for _ in stages]
            scores = scores or [[] for _ in stages]
            hidden = hidden or [[] for _ in stages]
            for stage, found, heights, flags in zip(stages, keypoints, scores, hidden, strict=True):
                on_crop = stage.keypoints.cpu().numpy()
                found += [geometry.apply(m, k) for m, k in zip(matrices, on_crop, strict=True)]
                heights += list(stage.scores.cpu().numpy())
                flags += [] if stage.occluded is None else list(stage.occluded.cpu().numpy())
            done += len(crops)
            if progress is not None:
                progress(done, len(records))
    finally:
        network.train(was_training)
    person_id = np.array([r.person_id for r in records], np.int64)
    image_id = tuple(r.image_id for r in records)
    joints = len(facts.skeleton)
    return [
        Predictions(
            person_id,
            image_id,
            np.asarray(found, np.float32).reshape(-1, joints, 2),
            np.asarray(heights, np.float32).reshape(-1, joints),
            facts.skeleton,
            facts.name,
            np.asarray(flags, bool).reshape(-1, joints) if flags else None,
        )
        for found, heights, flags in zip(keypoints or [[]], scores or [[]], hidden or [[]], strict=True)
    ]


def _batches(
    records: Sequence[PersonRecord],
    images: Sequence[RGB] | None,
    input_px: int,
    batch_size: int,
    workers: int,
) -> Iterator[tuple[RGB, list[npt.NDArray[np.float64]]]]:
    """Crops (B, input_px, input_px, 3) and B matrices back to the pictures; threads work ahead."""

    def prepare(start: int) -> tuple[RGB, list[npt.NDArray[np.float64]]]:
        crops, inverses = [], []
        for row in range(start, min(start + batch_size, len(records))):
            record = records[row]
            matrix = geometry.crop_matrix(record.center, record.side_px, input_px)
            image = read_image(record.image, record.image_id) if images is None else images[row]
            crops.append(geometry.warp(image, matrix, input_px))
            inverses.append(np.asarray(np.linalg.inv(matrix), np.float64))
        return np.stack(crops), inverses

    yield from ahead(prepare, range(0, len(records), batch_size), workers)


def score(
    predictions: Predictions, records: Sequence[PersonRecord], thresholds: Sequence[float] = (0.2,)
) -> dict[str, Any]:
    """PCK of predictions against the records, over every labelled joint, hidden ones included.

    The reference length is the torso: the first of the skeleton's shoulder-hip diagonals with both ends
    labelled (left shoulder to right hip, else right shoulder to left hip; FLIC the other way round). A
    person with neither is not counted. A skeleton without diagonals is measured by the longer side of the
    box around the labelled joints, or where these span none by that of the box that the crop was made of. A
    joint within `threshold` reference lengths is correct.

    Returns:
        `metrics`: per threshold, `{"PCK@0.2": {"mean": ..., "pooled": ..., "<joint>": ...}}` in percent
        with three decimals; `mean` is that of the joints, `pooled` the share over all of them; None where
        nothing was counted. `joint_metrics`: the joints alone, whatever they are called. `reference`: `torso`
        or `box`. `people`: all of them; `people_counted`: those with a reference length; `joints`: how many
        of each joint were counted. `hidden`: `hidden_joints` at the first threshold.

    Raises ValueError when a record has no prediction or the skeletons differ. Predictions of people
    outside `records` are left aside.
    """
    predicted, truth, labelled, reference = aligned(predictions, records)
    metrics: dict[str, dict[str, float | None]] = {}
    joint_metrics: dict[str, dict[str, float | None]] = {}
    names = predictions.skeleton.joints
    for threshold in thresholds:
        if not threshold > 0:
            raise ValueError(f"a PCK threshold must be positive, not {threshold:g}")
        result = pck(predicted, truth, labelled, reference, threshold)
        by_joint = dict(zip(names, result.per_joint.tolist(), strict=True))
        shares = {"mean": result.mean, "pooled": result.pooled}
        title = f"PCK@{threshold:g}"
        joint_metrics[title] = {joint: _percent(share) for joint, share in by_joint.items()}
        # A joint may be called "mean": there the mean stays that of all.
        metrics[title] = {key: _percent(share) for key, share in {**shares, **by_joint, **shares}.items()}
    counted = labelled & (reference > 0)[:, None]
    return {
        "metrics": metrics,
        "joint_metrics": joint_metrics,
        "reference": reference_name(records[0].skeleton),
        "people": len(records),
        "people_counted": int(counted.any(1).sum()),
        "joints": dict(zip(names, counted.sum(0).tolist(), strict=True)),
        "hidden": hidden_joints(predictions, records, thresholds[0]),
    }


def people_of(records: Sequence[PersonRecord]) -> Annotations:
    """Annotated people as the protocols of `metrics` take them, with the side of everybody's crop.

    Raises ValueError when there is nobody, or skeletons differ.
    """
    if not records:
        raise ValueError("there is nobody to score")
    skeleton = records[0].skeleton
    for record in records:
        check_skeleton(skeleton, record.skeleton)
    visibility = np.stack([r.visibility for r in records])
    return Annotations.of(
        skeleton,
        keypoints=np.stack([r.keypoints for r in records]).astype(np.float64),
        visibility=visibility,
        tells_hidden=bool((visibility == OCCLUDED).any()),
        lengths={"crop": np.array([r.side_px for r in records], np.float64)},
    )


def hidden_joints(
    predictions: Predictions, records: Sequence[PersonRecord], threshold: float = 0.2
) -> dict[str, Any] | None:
    """How many of the hidden joints were found, beside the visible ones; None where nobody hides a joint.

    Returns percent with three decimals, or None, over all kinds of joints together: `hidden` and `visible`
    each have `counted`, `found` (the share within `threshold` reference lengths) and `told` (the share that
    the weights called hidden; None unless they tell, as those with negative Gaussians do).
    """
    order = rows_of(predictions, records)
    seen = np.stack([r.visibility for r in records])
    if not (seen == OCCLUDED).any():
        return None
    distance, counted = relative_distance(*aligned(predictions, records))
    told = None if predictions.occluded is None else predictions.occluded[order]
    found: dict[str, Any] = {"threshold": threshold}
    for name, flag in (("hidden", OCCLUDED), ("visible", VISIBLE)):
        these = counted & (seen == flag)
        count = int(these.sum())
        right = distance[these] <= threshold
        found[name] = {
            "counted": count,
            "found": _percent(float(right.mean())) if count else None,
            "told": _percent(float(told[these].mean())) if count and told is not None else None,
        }
    return found


def curves(
    predictions: Predictions, records: Sequence[PersonRecord], end: float
) -> tuple[list[float], dict[str, list[float]]]:
    """101 thresholds from 0 to `end`, and PCK in percent at each, by group of joints, and the `mean`."""
    thresholds = np.linspace(0, end, 101)
    distance, counted = relative_distance(*aligned(predictions, records))
    found = group_curves(distance, counted, predictions.skeleton, thresholds)
    return thresholds.tolist(), {name: shares.tolist() for name, shares in found.items()}


def stage_scores(
    stages: Sequence[Predictions], records: Sequence[PersonRecord], threshold: float = 0.2
) -> list[dict[str, float | None]]:
    """PCK of every stage's answer in percent: by group of joints, and of all joints as `mean`."""
    rows = []
    for stage in stages:
        (each,) = score(stage, records, (threshold,))["metrics"].values()
        groups = mean_of_groups(each, joint_groups(stage.skeleton.joints), stage.skeleton.joints)
        rounded = {name: None if value is None else round(value, 3) for name, value in groups.items()}
        rows.append({**rounded, "mean": each["mean"]})
    return rows


def reference_name(skeleton: Skeleton) -> str:
    """What PCK measures by: the `torso`, or the `box` around the joints where a skeleton has none."""
    return "torso" if skeleton.torso else "box"


def _percent(share: float) -> float | None:
    return None if np.isnan(share) else round(100 * float(share), 3)


def rows_of(predictions: Predictions, records: Sequence[PersonRecord]) -> list[int]:
    """Row of the predictions for each record.

    Raises ValueError when a record has none, or there are no records, or the skeletons differ.
    """
    if not records:
        raise ValueError("there is nobody to score")
    rows = {int(person): row for row, person in enumerate(predictions.person_id)}
    order = []
    for record in records:
        check_skeleton(predictions.skeleton, record.skeleton)
        row = rows.get(record.person_id)
        if row is None or predictions.image_id[row] != record.image_id:
            raise ValueError(
                f"there is no prediction for person {record.person_id} in {record.image_id}: "
                "the predictions are of other data or of another split"
            )
        order.append(row)
    return order


def aligned(
    predictions: Predictions, records: Sequence[PersonRecord]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Predicted and true joints (N, J, 2), labelled (N, J), reference lengths (N,), in the records' order."""
    order = rows_of(predictions, records)
    truth = np.stack([r.keypoints for r in records])
    labelled = np.stack([r.labelled for r in records])
    # Unlabelled rows may hold anything, NaN included.
    truth = np.where(labelled[..., None], truth, np.float32(0))
    skeleton = records[0].skeleton
    by_torso = reference_name(skeleton) == "torso"
    reference = torso_length(skeleton, truth, labelled) if by_torso else box_length(truth, labelled)
    if not by_torso:
        # One joint spans no box; the person's crop was made of an annotated one.
        crops = np.array([r.side_px for r in records], np.float64) / BOX_MARGIN
        reference = np.where(reference > 0, reference, crops)
    return predictions.keypoints[order], truth, labelled, reference


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions as JSON, atomically; the numbers read back are the same to the last bit.

    `{"format", "skeleton", "weights", "people": [{"person_id", "image_id", "keypoints": [[x, y, score],
    ...]}]}`; of weights that tell hidden joints each person also has `occluded`, a flag for each joint.
    Raises ValueError naming the person when a number is not finite, OSError naming `path`.
    """
    numbers = np.concatenate([predictions.keypoints, predictions.scores[..., None]], -1)
    finite = np.isfinite(numbers).all((1, 2))
    if not finite.all():
        row = int(np.argmin(finite))
        raise ValueError(
            f"the prediction for person {predictions.person_id[row]} in {predictions.image_id[row]} "
            "is not a finite number: the weights are broken"
        )
    triples = shortest(numbers).tolist()
    people: list[dict[str, Any]] = [
        {"person_id": int(person), "image_id": image, "keypoints": joints}
        for person, image, joints in zip(predictions.person_id, predictions.image_id, triples, strict=True)
    ]
    if predictions.occluded is not None:
        for entry, flags in zip(people, predictions.occluded.tolist(), strict=True):
            entry["occluded"] = flags
    head = {"format": FORMAT, "skeleton": predictions.skeleton.to_dict(), "weights": predictions.weights}
    write_text_atomically(path, json.dumps({**head, "people": people}))


def shortest(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """The numbers with the fewest decimals that give the same float32; files of them stay small."""
    return np.asarray(numbers, np.float32).astype(str).astype(np.float64)


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote. Raises ValueError or OSError naming the file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file: {error}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ValueError(f"{path} is not a file of predictions ({FORMAT})")
    try:
        skeleton = Skeleton.from_dict(raw["skeleton"])
        people = raw["people"]
        numbers = np.array([p["keypoints"] for p in people], np.float32).reshape(
            len(people), len(skeleton), 3
        )
        return Predictions(
            person_id=np.array([p["person_id"] for p in people], np.int64),
            image_id=tuple(str(p["image_id"]) for p in people),
            keypoints=np.ascontiguousarray(numbers[..., :2]),
            scores=np.ascontiguousarray(numbers[..., 2]),
            skeleton=skeleton,
            weights=str(raw.get("weights", "")),
            occluded=_flags(people, len(skeleton)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the predictions can't be read: {error}") from error


def _flags(people: Sequence[dict[str, Any]], joints: int) -> npt.NDArray[np.bool_] | None:
    """(N, J) `occluded` of the file's people, where they have it."""
    if not people or "occluded" not in people[0]:
        return None
    flags = [person["occluded"] for person in people]
    for n, row in enumerate(flags):
        if not isinstance(row, list) or len(row) != joints or not all(isinstance(f, bool) for f in row):
            raise ValueError(f"row {n} of 'people': 'occluded' is not {joints} times true or false")
    return np.array(flags, bool).reshape(len(people), joints)


def extremes(
    predictions: Predictions, records: Sequence[PersonRecord], each: int
) -> list[tuple[str, int, float]]:
    """Best, median and worst people by mean error of their labelled joints, in reference lengths.

    Returns `each` (fewer where there are fewer than three times as many people) of each kind in this
    order, as (`best` | `median` | `worst`, row of `records`, error); the worst one first among the
    worst. People without a reference length are left out; empty when there is nobody else.
    """
    errors = person_errors(*aligned(predictions, records))
    order = np.argsort(errors, kind="stable")
    order = order[: int(np.isfinite(errors).sum())]
    each = min(each, max(1, len(order) // 3))
    first = (len(order) - each) // 2
    kinds = {"best": order[:each], "median": order[max(0, first) : first + each], "worst": order[::-1][:each]}
    return [(kind, int(row), float(errors[row])) for kind, rows in kinds.items() for row in rows]


def extremes_sheet(
    predictions: Predictions, records: Sequence[PersonRecord], each: int = 4, tile_px: int = 224
) -> RGB | None:
    """A picture (H, W, 3) of `extremes`: rows of best, median and worst people.

    Each person fills two tiles: the crop with the labelled joints, and the same with the predicted
    ones. None when nobody has a length to measure by. Raises ImageError when a picture can't be read.
    """
    chosen = extremes(predictions, records, each)
    if not chosen:
        return None
    rows = {int(person): row for row, person in enumerate(predictions.person_id)}
    tiles, titles = [], []
    for kind, index, error in chosen:
        record = records[index]
        tiles += _truth_and_answer(record, predictions.keypoints[rows[record.person_id]], tile_px)
        unit = {"torso": "torsos", "box": "boxes"}[reference_name(record.skeleton)]
        titles += [f"{kind}: {record.image_id}", f"predicted, off by {error:.2f} {unit}"]
    return contact_sheet(tiles, 2 * len(chosen) // 3, titles, cell_px=tile_px)


def _truth_and_answer(record: PersonRecord, predicted: npt.NDArray[np.float32], tile_px: int) -> list[RGB]:
    """The person's crop (tile_px, tile_px, 3) twice: with the labelled joints, with all predicted ones."""
    matrix = geometry.crop_matrix(record.center, record.side_px, tile_px)
    crop = geometry.warp(read_image(record.image, record.image_id), matrix, tile_px)
    truth = np.where(record.labelled[:, None], record.keypoints, np.float32(np.nan))
    poses = (geometry.apply(matrix, truth), geometry.apply(matrix, predicted))
    return [draw_pose(crop, pose, None, record.skeleton) for pose in poses]
