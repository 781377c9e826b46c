"""One person's joints in one picture, and the files they are written to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB
from hourglass.core.files import write_text_atomically
from hourglass.core.geometry import crop_matrix, warp
from hourglass.core.skeleton import SKELETONS, Skeleton
from hourglass.data.loading.images import read_image, to_rgb
from hourglass.drawing import draw
from hourglass.weights import calibration as confidence

THRESHOLD = draw.THRESHOLD
_PANEL_PX = 288


@dataclass(frozen=True, eq=False)
class Pose:
    """The J joints of one person.

    Args:
        keypoints: (J, 2) float32, x and y in 0-based pixels of the original picture; they may lie
            outside it.
        scores: (J,) float32, heights of the heatmaps' peaks, about 0 to 1.
        skeleton: names the joints.
        box: (4,) float32, x, y, width and height of the square crop that the network saw at last, in
            pixels of the original picture; the whole picture is (0, 0, W, H).
        image_id: what the picture is called, where that is known.
        heatmaps: per stage (J, h, w) float32 over the crop, where they were asked for.
        crop: (S, S, 3) uint8 RGB, what the network saw, where heatmaps were asked for.
        confidences: (J,) float32, the calibrated probability, 0 to 1, that a joint lies within 0.2 torsos of
            where an annotator would put it (`hourglass.weights.calibration`); None where the weights carry no
            calibration.
        covariances: (J, 2, 2) float32, how far and in which direction each heatmap spreads around the joint,
            in squared pixels of the original picture (`heatmap.spread`); None for weights without heatmaps.
        box_score: a detector's, of the box that the person was first looked for in; None where there is none.
        guess: nobody was found in the picture, and this is what the whole of it shows if it shows one person.

    Raises ValueError, naming the picture, when shapes disagree, numbers are not finite, a confidence lies
    outside 0 to 1 or a covariance is none.
    """

    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    skeleton: Skeleton
    box: npt.NDArray[np.float32]
    image_id: str | None = None
    heatmaps: tuple[npt.NDArray[np.float32], ...] | None = None
    crop: RGB | None = None
    confidences: npt.NDArray[np.float32] | None = None
    covariances: npt.NDArray[np.float32] | None = None
    box_score: float | None = None
    guess: bool = False

    def __post_init__(self) -> None:
        joints = len(self.skeleton)
        where = "" if self.image_id is None else f"{self.image_id}: "
        for name, array, shape in (
            ("keypoints", self.keypoints, (joints, 2)),
            ("scores", self.scores, (joints,)),
            ("box", self.box, (4,)),
            ("confidences", self.confidences, (joints,)),
            ("covariances", self.covariances, (joints, 2, 2)),
        ):
            if array is None:
                continue
            if array.shape != shape:
                raise ValueError(f"{where}{name} has shape {array.shape}, expected {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{where}{name} holds a number that is not finite")
        if self.confidences is not None and not ((self.confidences >= 0) & (self.confidences <= 1)).all():
            raise ValueError(f"{where}confidences holds a number outside 0 to 1")
        if self.covariances is not None and not _are_covariances(self.covariances):
            raise ValueError(f"{where}covariances holds a matrix that is not symmetric with variances >= 0")
        if self.box_score is not None and not math.isfinite(self.box_score):
            raise ValueError(f"{where}box_score is {self.box_score}")
        for i, stage in enumerate(self.heatmaps or ()):
            if stage.ndim != 3 or len(stage) != joints:
                raise ValueError(f"{where}heatmaps[{i}] has shape {stage.shape}, expected ({joints}, h, w)")

    @property
    def score(self) -> float:
        """Mean of the joints' scores."""
        return float(self.scores.mean())

    def sure(self, threshold: float | None = None) -> npt.NDArray[np.bool_]:
        """(J,) which joints are drawn full rather than hollow.

        Those whose confidence is at least `threshold`, by default 0.5: no more likely wrong than right. Where
        there are no confidences it is the score, and the default is 0.3.
        """
        if self.confidences is None:
            return np.asarray(self.scores >= (THRESHOLD if threshold is None else threshold))
        return np.asarray(self.confidences >= (confidence.THRESHOLD if threshold is None else threshold))

    def draw(self, image: str | Path | npt.NDArray[Any], threshold: float | None = None) -> RGB:
        """The picture, a file or an RGB array, with this person on it: a new (H, W, 3) uint8 RGB array.

        Joints that are not `sure` are drawn hollow.
        """
        rgb = to_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
        sure = self.sure(threshold).astype(np.float32)
        return draw.draw_pose(rgb, self.keypoints, sure, self.skeleton)

    def heatmap_panel(self, image: str | Path | npt.NDArray[Any] | None = None) -> RGB:
        """The heatmaps of every stage, as one labelled picture.

        With the picture they lie over the part of it that the network saw, sharp and without what the
        crop holds beyond its edges; else over the crop.

        Raises ValueError unless the prediction was made with `keep_heatmaps=True`, by weights that have
        heatmaps at all.
        """
        if self.heatmaps == ():
            raise ValueError("the weights that found this pose answer with coordinates and have no heatmaps")
        if self.heatmaps is None or self.crop is None:
            raise ValueError("this pose carries no heatmaps; predict with keep_heatmaps=True")
        if image is None:
            return draw.heatmap_panel(self.crop, self.heatmaps, self.skeleton)
        rgb = to_rgb(image) if isinstance(image, np.ndarray) else read_image(Path(image))
        center, side = _part_inside(self.box, rgb.shape[1], rgb.shape[0])
        view = crop_matrix(center, side, _PANEL_PX)
        corner, width = self.box[:2], float(self.box[2])
        stages: list[npt.NDArray[np.float32]] = []
        for stage in self.heatmaps:
            # Cells are a crop of as many pixels.
            cells = crop_matrix(corner + width / 2 - 0.5, width, stage.shape[-1])
            matrix = np.asarray(view @ np.linalg.inv(cells), np.float64)
            stages.append(np.stack([_warp_heat(heat, matrix) for heat in stage]))
        peaks = [stage.max(axis=(1, 2)) for stage in self.heatmaps]
        return draw.heatmap_panel(warp(rgb, view, _PANEL_PX), stages, self.skeleton, peaks)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for JSON; the heatmaps and the crop are left out.

        `joints` maps a joint's name to x, y and score, and to `confidence` and `covariance` (two rows of
        two) where there are any. `box_score` is there where a detector gave one, and `guess` where the
        pose is one. `skeleton` is a built-in skeleton's name, or a skeleton in full.
        """
        known = SKELETONS.get(self.skeleton.name) == self.skeleton
        return {
            "image_id": self.image_id,
            "score": _rounded(self.score),
            "box": [_rounded(v) for v in self.box.tolist()],
            **({} if self.box_score is None else {"box_score": _rounded(self.box_score)}),
            **({"guess": True} if self.guess else {}),
            "skeleton": self.skeleton.name if known else self.skeleton.to_dict(),
            "joints": {name: self._joint_row(i) for i, name in enumerate(self.skeleton.joints)},
        }

    def _joint_row(self, joint: int) -> dict[str, Any]:
        x, y = self.keypoints[joint].tolist()
        row: dict[str, Any] = {"x": _rounded(x), "y": _rounded(y), "score": _rounded(self.scores[joint])}
        if self.confidences is not None:
            row["confidence"] = _rounded(self.confidences[joint])
        if self.covariances is not None:
            row["covariance"] = [[_rounded(v) for v in pair] for pair in self.covariances[joint].tolist()]
        return row

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Pose":
        """The inverse of `to_dict`; raises ValueError naming the field that is missing or malformed."""
        try:
            skeleton = _skeleton(raw["skeleton"])
            joints = [raw["joints"][name] for name in skeleton.joints]
            return cls(
                keypoints=_numbers([(j["x"], j["y"]) for j in joints], "a joint's x or y"),
                scores=_numbers([j["score"] for j in joints], "a joint's score"),
                skeleton=skeleton,
                box=_numbers(raw["box"], "box"),
                image_id=raw.get("image_id"),
                confidences=_where_given(joints, "confidence"),
                covariances=_where_given(joints, "covariance"),
                box_score=None
                if raw.get("box_score") is None
                else _numbers(raw["box_score"], "box_score").item(),
                guess=raw.get("guess") is True,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a pose: {error} is missing or malformed") from error

    def to_coco(self, image_id: int | str, category_id: int = 1) -> dict[str, Any]:
        """One row of a COCO keypoint results file: x, y and score of each joint in `keypoints`."""
        rows = np.column_stack([self.keypoints, self.scores]).ravel()
        return {
            "image_id": image_id,
            "category_id": category_id,
            "keypoints": [_rounded(v) for v in rows.tolist()],
            "score": _rounded(self.score),
        }


def save_coco(poses: Sequence[Pose], path: str | Path, category_id: int = 1) -> None:
    """Write poses as COCO keypoint results, atomically; each pose's `image_id` names its picture.

    Raises ValueError when a pose has no `image_id`, OSError naming the file when it can't be written.
    """
    rows = []
    for i, pose in enumerate(poses):
        if pose.image_id is None:
            raise ValueError(f"pose {i} has no image_id, so its COCO row can't name its picture")
        rows.append(pose.to_coco(coco_image_id(pose.image_id), category_id))
    write_json(Path(path), rows)


def coco_image_id(image_id: str) -> int | str:
    """COCO's numeric id where the file is called by one (`000000000139.jpg` is 139), else the name."""
    stem = Path(image_id).stem
    return int(stem) if stem.isascii() and stem.isdigit() else Path(image_id).name


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically; raises OSError naming the file when it can't be written."""
    write_text_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _rounded(value: float) -> float:
    """Enough digits for a thousandth of a pixel, and no float32 tails in the files."""
    return round(float(value), 4)


def _are_covariances(matrices: npt.NDArray[np.float32]) -> bool:
    """Whether all (J, 2, 2) are symmetric and positive semidefinite, but for the rounding of a file."""
    each = matrices.astype(np.float64)
    slack = 2e-4 + 1e-6 * np.abs(each).max((1, 2))
    symmetric = np.abs(each[:, 0, 1] - each[:, 1, 0]) <= slack
    lowest = np.linalg.eigvalsh(each)[:, 0]
    return bool((symmetric & (lowest >= -slack)).all())


def _where_given(joints: Sequence[Mapping[str, Any]], key: str) -> npt.NDArray[np.float32] | None:
    """What every joint says under a key, or None when none says it; raises KeyError when some don't."""
    if not any(key in joint for joint in joints):
        return None
    return _numbers([joint[key] for joint in joints], f"a joint's {key}")


def _numbers(raw: Any, what: str) -> npt.NDArray[np.float32]:
    try:
        return np.array(raw, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"not a pose: {what} is no number: {error}") from error


def _warp_heat(heat: npt.NDArray[np.float32], matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    resample: Any = warp  # typed for pictures, good for any kind of number
    return np.asarray(resample(heat, matrix, _PANEL_PX), np.float32)


def _part_inside(
    box: npt.NDArray[np.float32], width: int, height: int
) -> tuple[npt.NDArray[np.float64], float]:
    """Centre (2,) and side of the square around a box's part inside a picture, or of a box outside it."""
    low = np.clip(box[:2], 0, (width, height))
    high = np.clip(box[:2] + box[2:], 0, (width, height))
    if (high - low).min() < 1:
        low, high = box[:2], box[:2] + box[2:]
    return np.asarray((low + high) / 2 - 0.5, np.float64), float((high - low).max())


def _skeleton(raw: Any) -> Skeleton:
    if isinstance(raw, str):
        if raw not in SKELETONS:
            raise ValueError(f"not a pose: skeleton {raw!r} is not one of {', '.join(SKELETONS)}")
        return SKELETONS[raw]
    return Skeleton.from_dict(raw)
