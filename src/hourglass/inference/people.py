"""Who is there: the bundled people finder, a detector of our own that runs as any other network does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hourglass.core.arrays import RGB
from hourglass.inference.detection.boxes import Detector, detect
from hourglass.inference.detection.centers import boxes_of, in_picture, photo_matrix, whole_view
from hourglass.models.build import channels_last
from hourglass.weights.checkpoint import WeightFacts, WeightsError
from hourglass.weights.load import finds_people, load_network

FINDER = "people_finder"
"""The build of finders, and the bundled one's name."""
MIN_SCORE = 0.3
"""Boxes that score less are left out, unless the weights say another number."""

_OTHER_KIND = "{} finds joints, not people: give it as weights (--weights), and as detector a people finder"

_Float = npt.NDArray[np.float64]


class PeopleFinder:
    """Pictures (H, W, 3) uint8 RGB to people's boxes (N, 4), x, y, w, h, and scores (N,), the best first.

    A picture is looked at whole, once, as large as it goes into the network's square. Boxes end at the
    picture's edges. It may be called from several threads.

    Args:
        network: a people finder; it is moved to the device and set to evaluation.
        facts: what its weights say of it.
        min_score: boxes that score less are left out, 0 to 1; by default the threshold that was measured with
            the weights.
        precision: of the network alone.

    Raises WeightsError for weights of another kind, ValueError for a score outside 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        facts: WeightFacts,
        min_score: float | None = None,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float32,
    ) -> None:
        if not finds_people(facts):
            raise WeightsError(_OTHER_KIND.format(facts.name))
        if min_score is None:
            min_score = float(facts.metrics.get("threshold", MIN_SCORE))
        if not 0 <= min_score <= 1:
            raise ValueError(f"a box's lowest score is {min_score:g}; it must lie between 0 and 1")
        self.facts, self.min_score = facts, min_score
        self.device, self.precision = torch.device(device), precision
        self.network = network.to(self.device).eval()

    def __call__(self, image: RGB) -> tuple[_Float, _Float]:
        height, width = image.shape[:2]
        corners, scores = self.in_view(whole_view(image, self.facts.input_px)[0], width, height)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        seen = (boxes[:, 2:] >= 1).all(1)
        return boxes[seen], scores[seen]

    @torch.inference_mode()
    def in_view(self, view: RGB, width: int, height: int) -> tuple[_Float, _Float]:
        """By a picture's view (S, S, 3): corners (N, 4) in its `width` x `height` pixels, and scores (N,)."""
        crop = torch.from_numpy(view).permute(2, 0, 1)[None].to(self.device)
        crop = crop.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            maps = self.network(crop)[-1][0].float().cpu().numpy()
        side = self.facts.input_px
        corners, scores = boxes_of(maps, side / maps.shape[-1], self.min_score)
        return in_picture(corners, photo_matrix(width, height, side), width, height), scores


@dataclass(frozen=True, eq=False)
class Found:
    """Who is in a picture.

    Args:
        boxes: (N, 4) float64 x, y, w, h.
        scores: one for each box, or None where the detector gives none.
        guess: nobody was found, so that the picture may as well show one person whom the finder doesn't know.
    """

    boxes: _Float
    scores: tuple[float, ...] | None
    guess: bool = False


def look(detector: Detector, image: RGB, where: str = "") -> Found:
    """Whom a detector finds. That of our own finder nobody was found is no proof that nobody is there.

    Raises ValueError, with `where` before it, for an answer that is none.
    """
    boxes, scores = detect(detector, image, where)
    return Found(boxes, scores, not len(boxes) and isinstance(detector, PeopleFinder))


def load_finder(
    name: str | Path = FINDER, min_score: float | None = None, device: str = "cpu"
) -> PeopleFinder:
    """A finder by bundled name, file, folder or hub id.

    Raises FileNotFoundError or WeightsError, naming the weights, when they can't be had or are no finder's.
    """
    from hourglass.models.folding import fold_batch_norms

    network, facts = load_network(name)
    if not finds_people(facts):
        raise WeightsError(_OTHER_KIND.format(name))
    return PeopleFinder(channels_last(fold_batch_norms(network)), facts, min_score, device)
