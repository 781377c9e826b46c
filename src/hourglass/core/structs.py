"""What travels between the parts: one annotated person, and one batch of crops."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from hourglass.core.skeleton import Skeleton

Decoding = Literal["argmax", "quarter", "dark", "soft"]
DECODINGS: tuple[Decoding, ...] = get_args(Decoding)

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import Tensor

NOT_LABELLED, OCCLUDED, VISIBLE = 0, 1, 2
"""COCO's visibility: not labelled; labelled, but hidden in the picture; labelled and visible."""


@dataclass(frozen=True, eq=False)
class PersonRecord:
    """One annotated person in one picture. Coordinates are 0-based pixels of that picture.

    Args:
        image: the picture: a file, or its encoded bytes (as a packed store holds them).
        image_id: what to call the picture in messages and result files.
        person_id: distinguishes people; unique within a dataset.
        skeleton: names the J rows.
        keypoints: (J, 2) float32, x and y; meaningless where the visibility is 0.
        visibility: (J,) uint8, COCO's 0, 1 or 2.
        center: (2,) float32, middle of the square crop.
        side_px: side of the square crop that a network of this dataset should see.
        weight: (J,) float32 in 0..1, how much each label counts in training (machine-made ones less);
            None where all count fully.

    Raises ValueError naming the picture, when shapes disagree or numbers are not finite or out of range.
    """

    image: Path | bytes
    image_id: str
    person_id: int
    skeleton: Skeleton
    keypoints: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.uint8]
    center: npt.NDArray[np.float32]
    side_px: float
    weight: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        joints = len(self.skeleton)
        if self.weight is not None:
            if self.weight.shape != (joints,):
                raise ValueError(
                    f"{self.image_id}: weight has shape {self.weight.shape}, expected ({joints},)"
                )
            if not ((self.weight >= 0) & (self.weight <= 1)).all():
                raise ValueError(f"{self.image_id}: the weight of a label must lie in 0..1")
        for name, array, shape in (
            ("keypoints", self.keypoints, (joints, 2)),
            ("visibility", self.visibility, (joints,)),
            ("center", self.center, (2,)),
        ):
            if array.shape != shape:
                raise ValueError(f"{self.image_id}: {name} has shape {array.shape}, expected {shape}")
        if not np.isin(self.visibility, (NOT_LABELLED, OCCLUDED, VISIBLE)).all():
            raise ValueError(f"{self.image_id}: visibility must be 0, 1 or 2")
        if not np.isfinite(self.keypoints[self.labelled]).all():
            joint = self.skeleton.joints[int(np.argmax(self.labelled & ~np.isfinite(self.keypoints).all(1)))]
            raise ValueError(f"{self.image_id}: the labelled joint {joint!r} is not a finite number")
        if not (np.isfinite(self.center).all() and np.isfinite(self.side_px) and self.side_px > 0):
            raise ValueError(f"{self.image_id}: the crop's centre or side is not a positive finite number")

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(J,) True where the joint has coordinates."""
        return self.visibility > NOT_LABELLED


@dataclass(frozen=True, eq=False)
class Batch:
    """B crops on their way to the network.

    Args:
        image: (B, 3, H, W) uint8 RGB.
        keypoints: (B, J, 2) float32, pixels of the crop.
        weight: (B, J) float32, 0 where a joint must not be learnt from.
        occluded: (B, J) bool, True where a labelled joint is hidden in the picture; None if nobody asked.
    """

    image: "Tensor"
    keypoints: "Tensor"
    weight: "Tensor"
    occluded: "Tensor | None" = None

    def __post_init__(self) -> None:
        batch, joints = self.weight.shape
        if self.image.ndim != 4 or self.image.shape[:2] != (batch, 3):
            raise ValueError(f"image has shape {tuple(self.image.shape)}, expected ({batch}, 3, H, W)")
        if self.keypoints.shape != (batch, joints, 2):
            raise ValueError(
                f"keypoints have shape {tuple(self.keypoints.shape)}, expected {(batch, joints, 2)}"
            )

    def to(self, device: "torch.device | str") -> "Batch":
        """The same batch on another device; copies run alongside the host where memory is pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin(self) -> "Batch":
        """The same batch in page-locked memory, from where a GPU copies without waiting."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: "Callable[[Tensor], Tensor]") -> "Batch":
        occluded = None if self.occluded is None else change(self.occluded)
        return Batch(change(self.image), change(self.keypoints), change(self.weight), occluded)
