"""The people on whose crops an exported file is held to torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from torch import nn

from hourglass.core.skeleton import LSP14, SKELETONS
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.dataset import make_sample
from hourglass.data.loading.images import read_image
from hourglass.data.loading.loader import ahead
from hourglass.data.packs import open_pack as pack
from hourglass.inference.inputs_outputs import expand
from hourglass.inference.predictor import Predictor
from hourglass.synthetic.render import load_records as render_records
from hourglass.weights.checkpoint import WeightFacts

RENDERED = 64
"""People that are drawn where no photos are given."""
_SEED = 2_500_000
"""Far from the rendered people of training, validation and test."""

Progress = Callable[[int, int], None]
Thing = TypeVar("Thing")


@dataclass(frozen=True, eq=False)
class People:
    """Crops of N people.

    Args:
        crops: (N, S, S, 3) uint8 RGB.
        records: their annotations, or () where they have none for these weights' joints.
        scale: (N,) pixels of the picture in one of the crop.
        source: where they come from, in a few words.
        rendered: they are drawn, not photographed.
    """

    crops: npt.NDArray[np.uint8]
    records: tuple[PersonRecord, ...]
    scale: npt.NDArray[np.float64]
    source: str
    rendered: bool = False

    def __len__(self) -> int:
        return len(self.crops)


def of_records(
    records: Sequence[PersonRecord],
    facts: WeightFacts,
    source: str,
    most: int = 0,
    progress: Progress | None = None,
    rendered: bool = False,
) -> People:
    """Annotated people in their own crops: up to `most` of them, evenly taken, or all for 0.

    Their annotations count where they name the joints of these weights. Raises ImageError naming a picture
    that can't be read.
    """
    chosen = evenly(records, most)

    def cut(record: PersonRecord) -> npt.NDArray[np.uint8]:
        return make_sample(read_image(record.image, record.image_id), record, facts.input_px).image

    crops = []
    for done, crop in enumerate(ahead(cut, chosen, workers=2), 1):
        crops.append(crop)
        if progress is not None:
            progress(done, len(chosen))
    known = all(record.skeleton.joints == facts.skeleton.joints for record in chosen)
    labelled = tuple(chosen) if known and any(record.labelled.any() for record in chosen) else ()
    scale = np.array([record.side_px for record in chosen], np.float64) / facts.input_px
    return People(np.stack(crops), labelled, scale, source, rendered)


def of_path(
    path: str, network: nn.Module, facts: WeightFacts, most: int = 0, progress: Progress | None = None
) -> People:
    """People in photos (a file, a folder or a glob), which the network finds itself, or of a pack.

    A pack (.parquet) gives its validation people, or else its first split.

    Raises ValueError or OSError, naming the file, when there is nothing to be had.
    """
    if path.endswith(".parquet"):
        splits = pack.read_facts(Path(path)).people
        split = "val" if splits.get("val") else next(iter(splits))
        return of_records(pack.load_records(Path(path), split), facts, f"{path}, {split}", most, progress)
    files = evenly(expand([path]), most)
    predictor = Predictor(network, facts, "cpu", "fp32", flip_test=False)
    crops, sides = [], []
    for done, request in enumerate(ahead(predictor.prepare, files, workers=2), 1):
        ((pose, *_),) = predictor.answer([request], keep_heatmaps=True)
        if pose.crop is not None and pose.box is not None:
            crops.append(pose.crop)
            sides.append(float(pose.box[2]))
        if progress is not None:
            progress(done, len(files))
    return People(np.stack(crops), (), np.array(sides) / facts.input_px, path)


def rendered(facts: WeightFacts, progress: Progress | None = None) -> People:
    """Drawn people, with the weights' joints where these are of a built-in skeleton."""
    known = SKELETONS.get(facts.skeleton.name)
    skeleton = known if known is not None and known.joints == facts.skeleton.joints else LSP14
    records = render_records(skeleton, RENDERED, _SEED)
    return of_records(records, facts, "rendered people", progress=progress, rendered=True)


def evenly(everyone: Sequence[Thing], most: int) -> list[Thing]:
    """Up to `most` things at even distances, or all for 0."""
    count = min(most or len(everyone), len(everyone))
    chosen = np.linspace(0, len(everyone) - 1, count).round().astype(int)
    return [everyone[i] for i in chosen.tolist()]
