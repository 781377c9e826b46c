"""Requests that arrive together go through the network together: one thread around one Predictor."""

import copy
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

from hourglass.inference.poses.pose import Pose
from hourglass.inference.predictor import Predictor, Request
from hourglass.serving.settings import Refused

_log = logging.getLogger(__name__)

Poses = list[list[Pose]]
"""For each picture of a request its people."""
Watcher = Callable[[int, int, float], None]
"""Is told of every batch: how many requests and people it held, and the seconds it took."""


@dataclass(eq=False)
class Job:
    """One request's pictures on their way through the network.

    Args:
        pictures: prepared by `Predictor.prepare`.
        flip_test: only jobs that agree on it share a batch.
        keep_heatmaps: let its poses carry their heatmaps.
        answer: becomes the poses, or what went wrong.
    """

    pictures: Sequence[Request]
    flip_test: bool = True
    keep_heatmaps: bool = False
    answer: "Future[Poses]" = field(default_factory=Future)
    arrived_s: float = field(default_factory=time.monotonic)

    @property
    def people(self) -> int:
        return sum(len(picture.squares) for picture in self.pictures)


class Batcher:
    """Collects jobs for a few milliseconds and answers them in one go.

    A batch is closed when its first job has waited `batch_ms`, or when it holds the predictor's batch size of
    people. While the network is busy the next batch grows, so under load nobody waits for the clock.

    Args:
        predictor: only this object's thread runs it from now on.
        batch_ms: how long the first job of a batch waits for others.
        queue: how many requests may hold a `place` at once.
        watch: is told of every batch.
    """

    def __init__(
        self, predictor: Predictor, batch_ms: float = 5, queue: int = 64, watch: Watcher | None = None
    ) -> None:
        # Two views of one network, so that no thread ever sees a setting change under it.
        self._by_flip = {flip: _with_flip_test(predictor, flip) for flip in (False, True)}
        self._batch_size = predictor.batch_size
        self._batch_s = batch_ms / 1000
        self._queue = queue
        self._watch = watch
        self._waiting: deque[Job] = deque()
        self._inside = 0
        self._closing = False
        self._changed = threading.Condition()
        self._seconds_per_job = 0.05
        self._thread = threading.Thread(target=self._run, name="hourglass-batches", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether jobs are still answered."""
        return self._thread.is_alive()

    @property
    def inside(self) -> int:
        """How many requests hold a place."""
        return self._inside

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._inside >= self._queue

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue for as long as the block runs; raises Refused (503) when all are taken."""
        with self._changed:
            if self._closing:
                raise Refused(503, "the server is shutting down", 5)
            if self.full:
                retry_s = min(60, max(1, ceil(self._inside * self._seconds_per_job)))
                raise Refused(503, f"{self._inside} requests are waiting already; try again", retry_s)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1

    def submit(self, job: Job) -> "Future[Poses]":
        """Hand a job in; raises Refused (503) once the batcher is closing."""
        with self._changed:
            if self._closing:
                raise Refused(503, "the server is shutting down", 5)
            self._waiting.append(job)
            self._changed.notify_all()
        return job.answer

    def close(self) -> None:
        """Answer what is waiting, take nothing new, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            live = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if live:
                began_s = time.monotonic()
                self._answer(live)
                self._tell(live, time.monotonic() - began_s)

    def _next_batch(self) -> list[Job]:
        """The jobs of the next batch, the oldest first; none when the batcher is closed."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return []
            until_s = self._waiting[0].arrived_s + self._batch_s
            while not self._closing and sum(job.people for job in self._waiting) < self._batch_size:
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            return self._take()

    def _take(self) -> list[Job]:
        batch: list[Job] = []
        rest, people = deque[Job](), 0
        for job in self._waiting:
            fits = not batch or people + job.people <= self._batch_size
            if fits and (not batch or job.flip_test == batch[0].flip_test):
                batch.append(job)
                people += job.people
            else:
                rest.append(job)
        self._waiting = rest
        return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        try:
            answers = self._predict(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            # One bad request must not spoil the others'.
            for job in batch:
                self._answer([job])
            return
        for job, poses in zip(batch, answers, strict=True):
            job.answer.set_result(poses)

    def _predict(self, batch: Sequence[Job]) -> list[Poses]:
        predictor = self._by_flip[batch[0].flip_test]
        pictures = [picture for job in batch for picture in job.pictures]
        answers = iter(predictor.answer(pictures, any(job.keep_heatmaps for job in batch)))
        return [[next(answers) for _ in job.pictures] for job in batch]

    def _tell(self, batch: Sequence[Job], seconds: float) -> None:
        self._seconds_per_job += 0.1 * (seconds / len(batch) - self._seconds_per_job)
        if self._watch is None:
            return
        try:
            self._watch(len(batch), sum(job.people for job in batch), seconds)
        except Exception:  # counting must not end the answering
            _log.exception("a batch could not be counted")


def _with_flip_test(predictor: Predictor, flip_test: bool) -> Predictor:
    view = copy.copy(predictor)
    view.flip_test = flip_test
    return view
