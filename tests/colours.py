"""A network whose right answer is known without any training, and pictures of people made for it."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.core.skeleton import Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.evaluation.evaluate import Predictions
from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.checkpoint import WeightFacts

# Red, green and blue blobs stand for the three joints of a person.
RGB = Skeleton(
    "rgb3",
    ("left_shoulder", "right_hip", "nose"),
    limbs=(("left_shoulder", "right_hip"),),
    torso=(("left_shoulder", "right_hip"),),
)
FACTS = WeightFacts(
    name="colours",
    network=NetworkRecipe(),
    skeleton=RGB,
    input_px=64,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    sigma_hm=1.25,
)


class Colours(nn.Module):
    """Sees red, green and blue: a network whose right answer is known without any training."""

    output = "heatmap"

    def forward(self, image: Tensor) -> list[Tensor]:
        assert not self.training
        return [F.avg_pool2d(image.float() / 255, 4)]


def painted(joints: npt.NDArray[np.float64], height: int = 200, width: int = 240) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    squared = (columns[..., None] - joints[:, 0]) ** 2 + (rows[..., None] - joints[:, 1]) ** 2
    image: npt.NDArray[np.uint8] = np.rint(255 * np.exp(-squared / (2 * 12.0**2))).astype(np.uint8)
    return image


def make_records(folder: Path, count: int = 5) -> list[PersonRecord]:
    """People off the middle of their crops, in crops that shrink them 2.2 to 3 times."""
    rng = np.random.default_rng(3)
    records = []
    for i in range(count):
        center = rng.uniform(90, 110, 2)
        joints = center + rng.uniform(-45, 45, (3, 2))
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), painted(joints)[..., ::-1])
        records.append(
            PersonRecord(
                image=path,
                image_id=path.name,
                person_id=100 - i,
                skeleton=RGB,
                keypoints=joints.astype(np.float32),
                visibility=np.array([2, 1, 2], np.uint8),
                center=center.astype(np.float32),
                side_px=float(rng.uniform(140, 190)),
            )
        )
    return records


def record(person: int, keypoints: object, visibility: object = (2, 2, 2)) -> PersonRecord:
    return PersonRecord(
        image=Path("none.png"),
        image_id=f"{person}.png",
        person_id=person,
        skeleton=RGB,
        keypoints=np.array(keypoints, np.float32),
        visibility=np.array(visibility, np.uint8),
        center=np.zeros(2, np.float32),
        side_px=10.0,
    )


def answers(*people: tuple[int, object]) -> Predictions:
    keypoints = np.array([joints for _, joints in people], np.float32)
    return Predictions(
        person_id=np.array([person for person, _ in people], np.int64),
        image_id=tuple(f"{person}.png" for person, _ in people),
        keypoints=keypoints,
        scores=np.ones(keypoints.shape[:2], np.float32),
        skeleton=RGB,
    )


# Torsos of 100, 50 and, with the hip not labelled, none.
TRUTH = [
    record(1, [[0, 0], [100, 0], [50, 50]]),
    record(2, [[0, 0], [0, 50], [7, 7]], (2, 1, 0)),
    record(3, [[0, 0], [np.nan, np.nan], [0, 9]], (2, 0, 2)),
]
ANSWERS = answers(
    (3, [[0, 0], [0, 0], [0, 9]]),
    (2, [[0, 10], [0, 61], [900, 900]]),
    (1, [[0, 0], [100, 21], [50, 50]]),
    (77, [[0, 0], [0, 0], [0, 0]]),
)
