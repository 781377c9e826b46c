"""Crops on which int8 measures its ranges: people as the network will see them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hourglass.data.loading.dataset import make_sample
from hourglass.data.loading.images import read_image
from hourglass.data.loading.loader import ahead
from hourglass.data.packs import open_pack as pack
from hourglass.inference.inputs_outputs import expand
from hourglass.inference.predictor import Predictor
from hourglass.weights.load import load_pose_network

MOST = 300
"""Crops that are measured; more change nothing."""

Thing = TypeVar("Thing")
Progress = Callable[[int, int], None]


def calibration_crops(
    source: str | Path, weights: str | Path | None = None, progress: Progress | None = None
) -> npt.NDArray[np.uint8]:
    """Crops (N, 3, S, S) uint8 of up to `MOST` people, evenly taken from a folder, a glob or a pack.

    A pack (`hourglass data pack`, .parquet) gives the crops of its first split. In photos, which show one
    person each, the network with these weights finds its own crop first.

    Raises ValueError or OSError, naming the file, when there is nothing to be had.
    """
    network, facts = load_pose_network(weights)
    if str(source).endswith(".parquet"):
        path = Path(source)
        people = _evenly(pack.load_records(path, next(iter(pack.read_facts(path).people))))
        crops = []
        for done, record in enumerate(people, 1):
            image = read_image(record.image, record.image_id)
            crops.append(make_sample(image, record, facts.input_px).image)
            if progress is not None:
                progress(done, len(people))
        return _stacked(crops)
    files = _evenly(expand([str(source)]))
    predictor = Predictor(network, facts, flip_test=False)
    crops = []
    for done, request in enumerate(ahead(predictor.prepare, files, workers=2), 1):
        ((pose, *_),) = predictor.answer([request], keep_heatmaps=True)
        if pose.crop is not None:
            crops.append(pose.crop)
        if progress is not None:
            progress(done, len(files))
    return _stacked(crops)


def _evenly(everyone: Sequence[Thing]) -> list[Thing]:
    chosen = np.linspace(0, len(everyone) - 1, min(MOST, len(everyone))).round().astype(int)
    return [everyone[i] for i in chosen.tolist()]


def _stacked(crops: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2))
