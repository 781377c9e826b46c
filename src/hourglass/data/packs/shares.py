"""How people are shared out for evaluation, so that scores are the same on any number of ranks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class ShareBatch:
    """One batch of one rank: rows (B,) int64 of the people, real (B,) bool, False where a row only pads."""

    rows: npt.NDArray[np.int64]
    real: npt.NDArray[np.bool_]


def evaluation_share(count: int, batch_size: int, rank: int, ranks: int) -> Iterator[ShareBatch]:
    """One rank's batches of `count` people: every `ranks`-th of the batches that a single rank would have.

    A person is answered beside the same others whatever the number of ranks. All ranks get as many batches,
    all of `batch_size` rows: what lacks at the end is padded with person 0 and not `real`.

    Raises ValueError for a size, a rank or a number of ranks that is none.
    """
    if count < 0 or batch_size < 1 or not 0 <= rank < ranks:
        raise ValueError(f"cannot share {count} people in batches of {batch_size}: rank {rank} of {ranks}")
    batches = -(-count // batch_size)
    for turn in range(-(-batches // ranks)):
        rows = np.arange(batch_size, dtype=np.int64) + (turn * ranks + rank) * batch_size
        real = rows < count
        yield ShareBatch(np.where(real, rows, 0), real)


def put_together(
    count: int, batches: Sequence[ShareBatch], answers: Sequence[npt.NDArray[np.floating]]
) -> npt.NDArray[np.floating]:
    """All ranks' answers (B, ...) of their batches, in any order, as (count, ...) in the people's own order.

    Raises ValueError naming the first person whom nobody has answered, or who was answered twice.
    """
    if not batches:
        raise ValueError("there are no answers to put together")
    together = np.zeros((count, *answers[0].shape[1:]), answers[0].dtype)
    times = np.zeros(count, np.int64)
    for batch, answer in zip(batches, answers, strict=True):
        together[batch.rows[batch.real]] = answer[batch.real]
        np.add.at(times, batch.rows[batch.real], 1)
    if (times != 1).any():
        row = int(np.argmax(times != 1))
        raise ValueError(f"person {row} was answered {times[row]} times, not once")
    return together
