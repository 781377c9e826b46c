"""Batches in a fixed order, prepared by threads while the network works.

Threads rather than processes: decoding, warping and colour work release the interpreter lock, decoded
pictures are shared without copies, and Ctrl-C leaves nothing behind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch

from hourglass.core.structs import Batch
from hourglass.data.loading.ahead import ahead
from hourglass.data.loading.augment import Mix
from hourglass.data.loading.dataset import Sample, TrainingCrops
from hourglass.data.loading.device_augment import Windows, collate_windows, window
from hourglass.data.loading.mixture import MixedCrops
from hourglass.data.packs.shards import StreamedCrops

Value = TypeVar("Value")
Images = npt.NDArray[np.uint8]
AnyCrops = TrainingCrops | StreamedCrops | MixedCrops
Share = tuple[TrainingCrops, list[tuple[int, int]]]


def collate(samples: Sequence[Sample], images: Images | None = None) -> Batch:
    """B samples as one batch; images become (B, 3, S, S) seen through their (B, S, S, 3) storage.

    Args:
        images: that storage, where the samples' crops were made in it.
    """
    stored = np.stack([s.image for s in samples]) if images is None else images
    return Batch(
        image=torch.from_numpy(stored).permute(0, 3, 1, 2),
        keypoints=torch.from_numpy(np.stack([s.keypoints for s in samples])),
        weight=torch.from_numpy(np.stack([s.weight for s in samples])),
        occluded=torch.from_numpy(np.stack([s.occluded for s in samples])),
    )


def epoch_order(seed: int, epoch: int, count: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """The order of `count` people in one epoch; a function of its arguments alone."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count)


def training_keys(
    seed: int,
    count: int,
    batch_size: int,
    start_step: int,
    rank: int = 0,
    ranks: int = 1,
    accumulate: int = 1,
    mix: Mix | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Endless batches of (epoch, index) from `start_step` on: this rank's share of each global batch.

    An epoch is `count // batch_size` steps; the people left over change from epoch to epoch. With
    `accumulate` a step's share comes as so many micro-batches, one after the other. Micro-batch m of rank r
    is part `m * ranks + r` of the global batch, which has `parts = ranks * accumulate` of them: its rows
    `part::parts`. The union over ranks and micro-batches is therefore the same however a batch is shared.

    Args:
        mix: how often people of several sources are drawn; then not epochs are told but passes of a source.
    """
    per_epoch = count // batch_size
    parts = ranks * accumulate
    step = start_step
    epoch, order = -1, list[tuple[int, int]]()
    while True:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            if mix is not None:
                order = mix.epoch(seed, epoch)
            else:
                order = [(epoch, index) for index in epoch_order(seed, epoch, count).tolist()]
        begin = (step % per_epoch) * batch_size
        batch = order[begin : begin + batch_size]
        for part in range(rank, parts, ranks):
            yield batch[part::parts]
        step += 1


def training_batches(
    crops: AnyCrops,
    batch_size: int,
    start_step: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pin: bool = False,
    accumulate: int = 1,
) -> Iterator[Batch]:
    """Endless training batches (with `accumulate`, micro-batches) from `start_step` on, for one rank."""

    def make(share: Share) -> Batch:
        source, keys = share
        images = np.empty((len(keys), source.input_px, source.input_px, 3), np.uint8)
        samples = [source.get(*key, out=image) for key, image in zip(keys, images, strict=True)]
        batch = collate(samples, images)
        return batch.pin() if pin else batch

    return _prepared(make, crops, batch_size, start_step, workers, rank, ranks, accumulate)


def training_windows(
    crops: AnyCrops,
    batch_size: int,
    start_step: int,
    workers: int,
    rank: int = 0,
    ranks: int = 1,
    pin: bool = False,
    accumulate: int = 1,
) -> Iterator[Windows]:
    """As `training_batches`, of crops that are made on the device."""

    def make(share: Share) -> Windows:
        source, keys = share
        windows = collate_windows([window(source, epoch, index) for epoch, index in keys], source.input_px)
        return windows.pin() if pin else windows

    return _prepared(make, crops, batch_size, start_step, workers, rank, ranks, accumulate)


def _prepared(
    make: Callable[[Share], Value],
    crops: AnyCrops,
    batch_size: int,
    start_step: int,
    workers: int,
    rank: int,
    ranks: int,
    accumulate: int,
) -> Iterator[Value]:
    """`make` of every share, by threads that are busy enough without OpenCV's own."""
    cv2.setNumThreads(1)
    if isinstance(crops, StreamedCrops | MixedCrops):
        shares = crops.walk(batch_size, start_step, rank, ranks, accumulate)
        with closing(shares):
            yield from ahead(make, shares, workers)
    else:
        keys = training_keys(
            crops.seed, len(crops), batch_size, start_step, rank, ranks, accumulate, crops.mix
        )
        yield from ahead(make, ((crops, share) for share in keys), workers)
