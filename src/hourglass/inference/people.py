"""Who is there: the bundled people finder, a detector of our own that runs as any other network does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from hourglass.core.arrays import RGB
from hourglass.core.extras import need_torch
from hourglass.engines import onnx_file, openvino_file
from hourglass.inference.detection.boxes import Detector, detect
from hourglass.inference.detection.centers import boxes_of, in_picture, photo_matrix, whole_view
from hourglass.weights.exported import exported_facts, read_facts
from hourglass.weights.facts import WeightFacts, WeightsError, finds_people
from hourglass.weights.published import artifact_of, resolve

if TYPE_CHECKING:
    import torch
    from torch import nn

Maps = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""What runs a finder: a picture's view (1, 3, S, S) uint8 to its maps (C, h, w)."""

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
        network: a people finder's module, which is moved to the device and set to evaluation, or a function
            that answers in its place.
        facts: what its weights say of it.
        min_score: boxes that score less are left out, 0 to 1; by default the threshold that was measured with
            the weights.
        precision: of the module alone, torch's name; None is fp32.

    Raises WeightsError for weights of another kind, ValueError for a score outside 0 to 1.
    """

    def __init__(
        self,
        network: "nn.Module | Maps",
        facts: WeightFacts,
        min_score: float | None = None,
        device: "torch.device | str" = "cpu",
        precision: "torch.dtype | None" = None,
    ) -> None:
        if not finds_people(facts):
            raise WeightsError(_OTHER_KIND.format(facts.name))
        if min_score is None:
            min_score = float(facts.metrics.get("threshold", MIN_SCORE))
        if not 0 <= min_score <= 1:
            raise ValueError(f"a box's lowest score is {min_score:g}; it must lie between 0 and 1")
        self.facts, self.min_score = facts, min_score
        self.network = network
        if hasattr(network, "state_dict"):
            from hourglass.inference.torch_runner import maps_of

            self._maps: Maps = maps_of(cast("nn.Module", network), device, precision)
        else:
            self._maps = network

    def __call__(self, image: RGB) -> tuple[_Float, _Float]:
        height, width = image.shape[:2]
        corners, scores = self.in_view(whole_view(image, self.facts.input_px)[0], width, height)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
        seen = (boxes[:, 2:] >= 1).all(1)
        return boxes[seen], scores[seen]

    def in_view(self, view: RGB, width: int, height: int) -> tuple[_Float, _Float]:
        """By a picture's view (S, S, 3): corners (N, 4) in its `width` x `height` pixels, and scores (N,)."""
        maps = self._maps(np.ascontiguousarray(view.transpose(2, 0, 1)[None]))
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
    name: str | Path = FINDER, min_score: float | None = None, device: str = "cpu", threads: int = 0
) -> PeopleFinder:
    """A finder by bundled name, file, folder or hub id; the bundled one and exported files run without torch.

    Raises FileNotFoundError, WeightsError or EngineError, naming the weights, when they can't be had or are
    no finder's, or where what runs them is missing.
    """
    path = resolve(name)
    file = path if path.suffix == ".onnx" else artifact_of(path)
    if file is not None and not device.startswith("cuda"):
        model, text, signature = onnx_file.read(file)
        facts = exported_facts(file, text, signature)
        if not finds_people(facts):
            raise WeightsError(_OTHER_KIND.format(name))
        return PeopleFinder(_onnx_maps(model, file, threads), facts, min_score)
    facts = read_facts(path)
    if not finds_people(facts):
        raise WeightsError(_OTHER_KIND.format(name))
    need_torch(path)
    from hourglass.inference.torch_runner import finder_network

    return PeopleFinder(finder_network(path), facts, min_score, device)


def _onnx_maps(model: bytes, file: Path, threads: int) -> Maps:
    session = onnx_file.session(model, file, threads or openvino_file.cores())
    last = session.get_outputs()[-1].name

    def maps(view: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(session.run([last], {"image": view})[0][0], np.float32)

    return maps
