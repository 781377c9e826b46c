"""People as crops: one dataset for training, with augmentation, and one for evaluation, without."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hourglass.core import geometry
from hourglass.core.arrays import RGB
from hourglass.core.structs import NOT_LABELLED, OCCLUDED, PersonRecord
from hourglass.data.formats.person_scale import BOX_MARGIN
from hourglass.data.loading.augment import IDENTITY, Augmentation, Mix, generator, kept_part, recolour, sample
from hourglass.data.loading.images import read_image
from hourglass.data.packs.pack_file import PackedPicture
from hourglass.recipe.recipe import AugmentRecipe

log = logging.getLogger(__name__)

# A joint this far outside the crop still leaves a tail of its Gaussian inside; beyond it is not learnt.
_OUTSIDE_SHARE = 0.03
_NOWHERE_PX = -1e4

_LOWER = ("hip", "knee", "ankle", "pelvis")
_HALF_JOINTS = 3
"""Labelled joints that make half a body."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One crop: image (S, S, 3) uint8 RGB, keypoints (J, 2) float32 in crop pixels, weight (J,) float32,
    occluded (J,) bool.
    """

    image: RGB
    keypoints: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    occluded: npt.NDArray[np.bool_]


def place(
    record: PersonRecord, input_px: int, view: Augmentation, absent: float = 0.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Where a view shows a person: matrix (3, 3) from the picture to the crop; keypoints, weight, occluded.

    The last three are those of `Sample`.

    Args:
        absent: weight of a labelled joint that is out of view: it is put so far away that nothing of its
            Gaussian is left, and so learnt to be nowhere.
    """
    middle, side_px = (record.center, record.side_px) if not view.half else _half_crop(record, view.half)
    center = middle + np.array(view.shift) * side_px
    matrix = geometry.crop_matrix(center, side_px / view.scale, input_px, view.rotate_deg, view.flip)
    keypoints = geometry.apply(matrix, record.keypoints)
    visibility, own = record.visibility, record.weight
    if view.flip:
        order = record.skeleton.flip_permutation
        keypoints, visibility = keypoints[order], visibility[order]
        own = None if own is None else own[order]
    slack = _OUTSIDE_SHARE * input_px
    left, top, right, bottom = (
        kept_part(view.cut, input_px, input_px) if view.cut else (0, 0, input_px, input_px)
    )
    low, high = np.array([left, top]) - slack, np.array([right, bottom]) - 1 + slack
    inside = ((keypoints > low) & (keypoints < high)).all(-1)
    labelled = visibility > NOT_LABELLED
    weight = (labelled & inside).astype(np.float32)
    if absent:
        # Just beyond the border may be a matter of pixels: neither here nor nowhere.
        far = ~((keypoints > low - slack) & (keypoints < high + slack)).all(-1) & labelled
        keypoints = np.where(far[:, None], _NOWHERE_PX, keypoints)
        weight[far] = absent
    if own is not None:
        weight *= own
    return matrix, keypoints.astype(np.float32), weight, visibility == OCCLUDED


def _half_crop(record: PersonRecord, half: str) -> tuple[npt.NDArray[np.float32], float]:
    """Centre and side of the crop around the labelled joints of one half of the body.

    The whole person's where fewer than `_HALF_JOINTS` of them are labelled.
    """
    lower = np.array([joint.split("_")[-1] in _LOWER for joint in record.skeleton.joints])
    chosen = record.labelled & (lower if half == "lower" else ~lower)
    if chosen.sum() < _HALF_JOINTS or not (record.labelled & ~chosen).any():
        return record.center, record.side_px
    middle, longer_side_px = geometry.box_around(record.keypoints[chosen])
    # Never closer than a third of the person: two shoulders and a neck are a line, not a half.
    return middle.astype(np.float32), max(longer_side_px * BOX_MARGIN, record.side_px / 3)


def make_sample(
    image: RGB,
    record: PersonRecord,
    input_px: int,
    view: Augmentation = IDENTITY,
    out: RGB | None = None,
    absent: float = 0.0,
) -> Sample:
    """Cut one person out of a picture, resampling once, with joints and weights to match.

    Args:
        out: (S, S, 3) uint8, contiguous, where the crop is to be made; without it, a new array.
        absent: as `place` has it.
    """
    matrix, keypoints, weight, occluded = place(record, input_px, view, absent)
    crop = np.empty((input_px, input_px, 3), np.uint8) if out is None else out
    warp_into(image, matrix, crop)
    return Sample(recolour(crop, view, inplace=True), keypoints, weight, occluded)


class _Scratch(threading.local):
    """Memory of one thread for pictures with four channels."""

    def __init__(self) -> None:
        self.picture = np.empty(0, np.uint8)
        self.crop = np.empty((0, 0, 4), np.uint8)


_scratch = _Scratch()
_SCRATCH_BYTES = 16_000_000
"""Larger pictures are warped as they are: a thread should not hold on to so much."""


def warp_into(image: RGB, matrix: npt.NDArray[np.float64], out: RGB) -> None:
    """`geometry.warp` into an array (S, S, 3) that is there, to the bit.

    OpenCV resamples four channels in half the time of three.
    """
    height, width = image.shape[:2]
    side, size = len(out), height * width * 4
    shrink = float(np.sqrt(abs(np.linalg.det(matrix[:2, :2]))))
    if shrink < 0.5 or not 0 < size <= _SCRATCH_BYTES:
        out[:] = geometry.warp(image, matrix, side)
        return
    if _scratch.picture.size < size:
        _scratch.picture = np.empty(size, np.uint8)
    if len(_scratch.crop) != side:
        _scratch.crop = np.empty((side, side, 4), np.uint8)
    four = _scratch.picture[:size].reshape(height, width, 4)
    cv2.cvtColor(image, cv2.COLOR_RGB2RGBA, dst=four)
    cv2.warpAffine(four, matrix[:2], (side, side), dst=_scratch.crop, flags=cv2.INTER_LINEAR)
    cv2.cvtColor(_scratch.crop, cv2.COLOR_RGBA2RGB, dst=out)


def read_picture(record: PersonRecord) -> RGB:
    """A person's decoded picture. Crops out of packs go to OpenCV, whose decoders give the same pixels as
    Pillow's in less time. Raises ImageError as `images.read_image`.
    """
    if isinstance(record.image, PackedPicture):
        image = _decoded(record.image)
        if image is not None:
            return image
    return read_image(record.image, record.image_id)


def _decoded(picture: PackedPicture) -> RGB | None:
    try:
        image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return image  # type: ignore[return-value]  # None where it is no picture; Pillow then says why


class TrainingCrops:
    """Augmented crops by (epoch, index); the same key always gives the same crop.

    Args:
        records: by index.
        images: their decoded pictures, where these fit in memory.
        mix: how often people of several sources are drawn, where not all alike.
    """

    def __init__(
        self,
        records: Sequence[PersonRecord] | Mapping[int, PersonRecord],
        input_px: int,
        augment: AugmentRecipe,
        seed: int,
        images: Sequence[RGB] | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.records, self.mix = records, mix
        self.input_px = input_px
        self.augment = augment
        self.seed = seed
        self.images = images

    def __len__(self) -> int:
        return len(self.records)

    @property
    def everybody(self) -> list[PersonRecord]:
        """The records in the order of their indices."""
        return [self.records[index] for index in range(len(self.records))]

    def picture(self, index: int) -> tuple[RGB, PersonRecord]:
        """One person, and the decoded picture. Raises ImageError where it can't be read."""
        record = self.records[index]
        image = read_picture(record) if self.images is None else self.images[index]
        return image, record

    def view(self, epoch: int, index: int) -> Augmentation:
        """How this person is seen in this epoch."""
        return sample(generator(self.seed, epoch, index), self.augment)

    def get(self, epoch: int, index: int, out: RGB | None = None) -> Sample:
        """One crop, made in `out` (S, S, 3) where it is given."""
        return make_sample(
            *self.picture(index), self.input_px, self.view(epoch, index), out, self.augment.absent
        )


def decode_all(records: Sequence[PersonRecord], limit_gb: float, workers: int) -> list[RGB] | None:
    """Every record's picture in memory, or None, with a log line, when they pass the limit.

    Raises ImageError naming the first picture that can't be read.
    """
    if not records or limit_gb <= 0:
        return None
    # One photo may show many people; crops out of packs are everybody's own.
    first = {
        record.image if isinstance(record.image, Path) else n: record for n, record in enumerate(records)
    }
    some = list(first.values())[:: max(1, len(first) // 32)]
    mean_bytes = float(np.mean([read_picture(r).nbytes for r in some]))
    need_gb = mean_bytes * len(first) / 1e9
    if need_gb > limit_gb:
        log.info(
            "%d pictures need about %.1f GB decoded, over the %.1f GB kept", len(first), need_gb, limit_gb
        )
        return None
    with ThreadPoolExecutor(workers) as pool:
        decoded = dict(zip(first, pool.map(read_picture, first.values()), strict=True))
    return [decoded[r.image if isinstance(r.image, Path) else n] for n, r in enumerate(records)]
