"""Pictures in, poses out: crops, batches, flip test and refinement around one network."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hourglass.core.arrays import RGB
from hourglass.core.geometry import apply, apply_covariance, box_around, crop_matrix, warp
from hourglass.core.skeleton import Skeleton
from hourglass.data.loading.images import read_image, to_rgb
from hourglass.data.loading.loader import ahead
from hourglass.inference.backends import Backend, Stacks, make_runnable
from hourglass.inference.detection.boxes import Boxes, Detector, box_rows, from_detections, score_row
from hourglass.inference.detection.detectors import load_detector
from hourglass.inference.detection.suppress import NMS_OKS, check_nms, distinct
from hourglass.inference.device import Precision, choose_device
from hourglass.inference.early_exit import answer_until_settled
from hourglass.inference.forward import CropAnswer, answer_crops
from hourglass.inference.people import FINDER, look
from hourglass.inference.poses.pose import Pose
from hourglass.models.build import channels_last
from hourglass.weights.checkpoint import WeightFacts
from hourglass.weights.load import check_finds_joints, load_pose_network

Picture = str | Path | npt.NDArray[Any]
"""A file, or an array (H, W), (H, W, 3) or (H, W, 4); see `hourglass.data.loading.images.to_rgb`."""
Matrix = npt.NDArray[np.float64]

MAX_PASSES = 3
SETTLED = 0.03
"""A crop has settled when its centre and its side change by less than this share of its side."""
WORSE = 0.8
"""A later pass looks closer, so it is the answer unless its mean score falls below this share."""
SEEN = 0.2
"""Joints that score below this don't shape the next pass's box."""
FEWEST_SEEN = 3
"""With fewer joints that score as much there is no next pass."""
SMALLEST_SIDE_PX = 8.0
"""No square is smaller."""


@dataclass(frozen=True, eq=False)
class Square:
    """A square crop: centre (2,) float64 and side, in pixels of the picture."""

    center: npt.NDArray[np.float64]
    side_px: float

    def settled(self, other: "Square") -> bool:
        """Whether another square is the same, but for the tolerance."""
        moved = float(np.abs(self.center - other.center).max()) / self.side_px
        return max(moved, abs(other.side_px / self.side_px - 1)) < SETTLED


@dataclass(frozen=True, eq=False)
class Request:
    """One picture that is ready to be answered.

    Args:
        image: (H, W, 3) uint8 RGB.
        squares: where to look for one person each.
        refine: the squares are only a first guess, to be refined.
        image_id: what the picture is called, or None.
        box_scores: a detector's, one for each square, or None.
        nms_oks: people who are more alike than this by OKS are one (`suppress.distinct`); None keeps all.
        guess: nobody was found, and the whole picture is looked at as if it showed one person.
    """

    image: RGB
    squares: tuple[Square, ...]
    refine: bool
    image_id: str | None = None
    box_scores: tuple[float, ...] | None = None
    nms_oks: float | None = None
    guess: bool = False


@dataclass(eq=False)
class _Person:
    """A person while being predicted: the next crop to look at, and the best answer so far."""

    request: Request
    next: Square | None
    pose: Pose | None = None


class Predictor:
    """Finds people's joints in pictures, in the pictures' own pixels.

    A person is looked for in a square: around a given box, the box's longer side times the margin that
    the network was trained with.

    With a detector, a picture without boxes holds the people whom it finds, perhaps nobody. Of two who come
    to lie on one another the surer one stays. Boxes that the caller gives keep one pose each.

    Without a detector, and where the bundled finder finds nobody, a picture is taken to show one person: the
    first square spans the whole picture, the next one the joints that were found, until that settles or after
    three passes. The last pass is the answer, unless its scores are clearly worse than an earlier one's.
    Where the finder found nobody this is a guess, and the pose says so (`Pose.guess`).

    Args:
        network: a heatmap network; it is moved to the device and set to evaluation.
        facts: what the network's weights say of it.
        device: `auto` (CUDA where there is one), `cpu`, or a CUDA device.
        precision: of the network alone; `auto` is bf16 where the device computes in it, else fp32.
        flip_test: average with the answer to the mirrored crop.
        batch_size: crops that go through the network at once; by default 8 on a CPU, 64 on a GPU.
        backend: `torch`, `onnxruntime` or `openvino`; `auto` is torch, or what an exported file was made for.
        stacks: use the first so many stacks only, or `auto`: each crop as many as it needs (`anytime`).
        calibration: crops (N, 3, S, S) uint8 on which int8 measures its ranges.
        detector: finds people in pictures that come without boxes: any callable (`boxes.Detector`), or what
            `detectors.load_detector` takes, a name or a file. None takes each picture to show one person.
        nms_oks: how alike, by OKS, two of the detector's people may be; None keeps all.

    Raises ValueError for a device that isn't there, and for a backend, precision, number of stacks or
    detector that can't be had.
    """

    def __init__(
        self,
        network: nn.Module,
        facts: WeightFacts,
        device: str = "auto",
        precision: Precision = "auto",
        flip_test: bool = True,
        batch_size: int | None = None,
        backend: Backend = "auto",
        stacks: Stacks = None,
        calibration: npt.NDArray[np.uint8] | None = None,
        detector: Detector | str | Path | None = None,
        nms_oks: float | None = NMS_OKS,
    ) -> None:
        if nms_oks is not None:
            check_nms(nms_oks)
        check_finds_joints(facts)
        self.nms_oks = nms_oks
        self.device = choose_device(device)
        if isinstance(detector, str | Path):
            detector = load_detector(detector, device=str(self.device))
        self.detector = detector
        runnable, self.precision = make_runnable(
            network, facts, self.device, backend, precision, stacks, calibration
        )
        self.network = channels_last(runnable).to(self.device).eval()
        self.facts = facts
        self.flip_test = flip_test
        # Earlier stacks score otherwise than the last one, on which the calibration was fitted.
        self.confidence = facts.calibration if stacks is None else None
        self.until_settled = stacks == "auto"
        self.batch_size = batch_size or (8 if self.device.type == "cpu" else 64)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "auto",
        flip_test: bool = True,
        backend: Backend = "auto",
        stacks: Stacks = None,
        calibration: npt.NDArray[np.uint8] | None = None,
        detector: Detector | str | Path | None = FINDER,
        nms_oks: float | None = NMS_OKS,
    ) -> "Predictor":
        """Load weights by bundled name, file, folder or hub id; None is the bundled default.

        The bundled finder looks for people in pictures without boxes; with `detector=None` each shows one.

        Raises FileNotFoundError or WeightsError, naming the weights, when they can't be had or read.
        """
        network, facts = load_pose_network(name)
        return cls(
            network,
            facts,
            device,
            precision,
            flip_test,
            backend=backend,
            stacks=stacks,
            calibration=calibration,
            detector=detector,
            nms_oks=nms_oks,
        )

    @property
    def skeleton(self) -> Skeleton:
        """The joints that are found."""
        return self.facts.skeleton

    @overload
    def __call__(
        self,
        images: Picture,
        boxes: Boxes | None = None,
        keep_heatmaps: bool = False,
        bgr: bool = False,
        nms_oks: float | None = None,
    ) -> list[Pose]: ...

    @overload
    def __call__(
        self,
        images: list[Any] | tuple[Any, ...],
        boxes: Sequence[Boxes | None] | None = None,
        keep_heatmaps: bool = False,
        bgr: bool = False,
        nms_oks: float | None = None,
    ) -> list[list[Pose]]: ...

    def __call__(
        self,
        images: Picture | list[Any] | tuple[Any, ...],
        boxes: Any = None,
        keep_heatmaps: bool = False,
        bgr: bool = False,
        nms_oks: float | None = None,
    ) -> list[Pose] | list[list[Pose]]:
        """Poses of one picture, one for each person; of a list of pictures, a list of those.

        Args:
            images: a file, an array, or a list of them.
            boxes: people's boxes (x, y, w, h) in the picture's pixels, one or several, or a
                `supervision.Detections`; for a list of pictures a list of the same length, None for a picture
                without. No boxes at all, `[]`, means that nobody is there.
            keep_heatmaps: let every pose carry its heatmaps and its crop.
            bgr: arrays come in OpenCV's colour order.
            nms_oks: for boxes that are given, how alike two people may be; None keeps one pose for each box.

        Raises ImageError, naming it, for a picture that can't be read and ValueError for one that is
        malformed, a box that lies outside or a detector's answer that is none; then nothing has been
        predicted.
        """
        if isinstance(images, str | Path | np.ndarray):
            return self.answer([self.prepare(images, boxes, bgr, nms_oks)], keep_heatmaps)[0]
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"{len(images)} pictures came with {len(boxes)} lists of boxes")
        each = [None] * len(images) if boxes is None else boxes
        requests = [self.prepare(image, b, bgr, nms_oks) for image, b in zip(images, each, strict=True)]
        return self.answer(requests, keep_heatmaps)

    def prepare(
        self,
        image: Picture,
        boxes: Boxes | None = None,
        bgr: bool = False,
        nms_oks: float | None = None,
        box_scores: Sequence[float] | None = None,
    ) -> Request:
        """Read and check one picture and its boxes, or ask the detector for them; raises as a call does.

        Args:
            box_scores: of the boxes, where they come from a detector.
        """
        image_id = None if isinstance(image, np.ndarray) else Path(image).name
        rgb = to_rgb(image, bgr) if isinstance(image, np.ndarray) else read_image(Path(image))
        height, width = rgb.shape[:2]
        where = "" if image_id is None else f"{image_id}: "
        if nms_oks is not None:
            check_nms(nms_oks)
        scores = None
        guess = False
        if boxes is not None:
            boxes, told = from_detections(boxes)
            box_scores = told if box_scores is None else box_scores
            rows = box_rows(boxes, width, height, where)
            scores = None if box_scores is None else score_row(box_scores, len(rows), where)
        elif self.detector is not None:
            found = look(self.detector, rgb, where)
            rows, scores, guess, nms_oks = found.boxes, found.scores, found.guess, self.nms_oks
        if boxes is None and (guess or self.detector is None):
            whole = Square(np.array([(width - 1) / 2, (height - 1) / 2]), float(max(height, width)))
            return Request(rgb, (whole,), True, image_id, guess=guess)
        squares = tuple(self._square(row) for row in rows)
        return Request(rgb, squares, False, image_id, scores, nms_oks)

    def answer(self, requests: Iterable[Request], keep_heatmaps: bool = False) -> list[list[Pose]]:
        """Poses of prepared pictures, in their order; crops of all of them share batches."""
        requests = list(requests)
        everyone = [[_Person(request, square) for square in request.squares] for request in requests]
        waiting = [person for people in everyone for person in people]
        for i in range(MAX_PASSES):
            chunks = [waiting[n : n + self.batch_size] for n in range(0, len(waiting), self.batch_size)]
            # The next chunk is cut out of its pictures while the network looks at this one.
            cut = ahead(self._cut_out, chunks, 1) if len(chunks) > 1 else map(self._cut_out, chunks)
            for people, views in zip(chunks, cut, strict=True):
                self._look(people, *views, keep_heatmaps)
            waiting = [p for p in waiting if p.next is not None]
            if not waiting or i == MAX_PASSES - 1:
                break
        return [_poses(request, people) for request, people in zip(requests, everyone, strict=True)]

    def _cut_out(self, people: Sequence[_Person]) -> tuple[list[Square], list[Matrix], RGB]:
        """Of each person the square to look at, the matrix to its crop, and all crops (B, S, S, 3)."""
        squares = [p.next for p in people if p.next is not None]
        size = self.facts.input_px
        matrices = [crop_matrix(s.center, s.side_px, size) for s in squares]
        crops = [warp(p.request.image, m, size) for p, m in zip(people, matrices, strict=True)]
        return squares, matrices, np.stack(crops)

    def _look(
        self,
        people: Sequence[_Person],
        squares: Sequence[Square],
        matrices: Sequence[Matrix],
        crops: RGB,
        keep_heatmaps: bool,
    ) -> None:
        """One pass over a batch: keep the better answer, and set the next square or None."""
        answer = self.answer_crops(crops)
        keypoints, scores = answer.keypoints.cpu().numpy(), answer.scores.cpu().numpy()
        confidences = None if self.confidence is None else self.confidence(scores)
        spreads = None if answer.covariances is None else answer.covariances.cpu().numpy()
        for i, (person, square) in enumerate(zip(people, squares, strict=True)):
            back = _inverse(matrices[i])
            pose = Pose(
                keypoints=apply(back, keypoints[i]).astype(np.float32),
                scores=scores[i],
                skeleton=self.skeleton,
                box=_box_of(square),
                image_id=person.request.image_id,
                confidences=None if confidences is None else confidences[i],
                covariances=None
                if spreads is None
                else apply_covariance(back, spreads[i]).astype(np.float32),
            )
            person.next = self._next_square(pose, square) if person.request.refine else None
            if person.pose is not None and pose.score < WORSE * person.pose.score:
                continue
            if keep_heatmaps:
                stages = tuple(stage[i].cpu().numpy() for stage in answer.stages)
                pose = replace(pose, heatmaps=stages, crop=crops[i])
            person.pose = pose

    def answer_crops(self, crops: npt.NDArray[np.uint8]) -> CropAnswer:
        """The network's answer to crops (B, S, S, 3) uint8 RGB, in crop pixels, with this one's settings."""
        batch = torch.from_numpy(crops).permute(0, 3, 1, 2).to(self.device)
        if self.until_settled:
            answer, _ = answer_until_settled(self.network, batch, self.facts, self.flip_test, self.precision)
            return answer
        return answer_crops(self.network, batch, self.facts, self.flip_test, self.precision)

    def _square(self, box: npt.NDArray[np.float64]) -> Square:
        x, y, width, height = box
        # A box counts pixels from their edges, the frame from their centres.
        center = np.array([x + width / 2 - 0.5, y + height / 2 - 0.5])
        side = max(float(max(width, height)) * self.facts.box_margin, SMALLEST_SIDE_PX)
        return Square(center, side)

    def _next_square(self, pose: Pose, square: Square) -> Square | None:
        """Around the joints that were seen, or None when that is where the network just looked."""
        seen = pose.keypoints[pose.scores >= SEEN]
        if len(seen) < min(FEWEST_SEEN, len(self.skeleton)):
            return None
        center, side = box_around(seen)
        found = Square(np.asarray(center, np.float64), max(side * self.facts.box_margin, SMALLEST_SIDE_PX))
        return None if square.settled(found) else found


def _inverse(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def _box_of(square: Square) -> npt.NDArray[np.float32]:
    corner = square.center - square.side_px / 2 + 0.5
    return np.array([*corner, square.side_px, square.side_px], np.float32)


def _poses(request: Request, people: Sequence[_Person]) -> list[Pose]:
    """What became of a picture's people, with their boxes' scores, each one once."""
    poses = [p.pose for p in people if p.pose is not None]
    if request.box_scores is not None:
        scored = zip(poses, request.box_scores, strict=True)
        poses = [replace(pose, box_score=score) for pose, score in scored]
    if request.guess:
        poses = [replace(pose, guess=True) for pose in poses]
    return poses if request.nms_oks is None else distinct(poses, request.nms_oks)
