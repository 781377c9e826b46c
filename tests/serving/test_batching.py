import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
import torch
from torch import nn

from hourglass.inference.predictor import Predictor, Request
from hourglass.serving.batching import Batcher, Job, Poses
from hourglass.serving.settings import Refused

BOXES = [[10.0, 20.0, 60.0, 90.0], [30.0, 5.0, 50.0, 120.0], [0.0, 0.0, 120.0, 160.0]]


class Counter:
    """How many crops each forward pass of a network held; it can hold the passes up."""

    def __init__(self, network: nn.Module) -> None:
        self.passes: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.started = threading.Event()
        network.register_forward_pre_hook(self._seen)

    def _seen(self, _: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        self.started.set()
        assert self.go.wait(20)
        self.passes.append(len(inputs[0]))


def jobs(predictor: Predictor, photo: np.ndarray, flip_test: bool = False) -> list[Job]:
    return [Job([predictor.prepare(photo, box)], flip_test) for box in BOXES]


def results(futures: list["Future[Poses]"]) -> list[Poses]:
    return [future.result(20) for future in futures]


def test_jobs_that_arrive_together_share_one_pass(predictor: Predictor, photo: np.ndarray) -> None:
    alone = [predictor(photo, box)[0] for box in BOXES]
    predictor.flip_test = False
    plain = [predictor(photo, box)[0] for box in BOXES]
    counter = Counter(predictor.network)
    batcher = Batcher(predictor, batch_ms=500)
    found = results([batcher.submit(job) for job in jobs(predictor, photo)])
    assert counter.passes == [3]
    flipped = results([batcher.submit(job) for job in jobs(predictor, photo, True)])
    assert counter.passes == [3, 6]  # with the mirrored crops
    batcher.close()
    for expected, answers in ((plain, found), (alone, flipped)):
        for pose, answer in zip(expected, answers, strict=True):
            np.testing.assert_allclose(answer[0][0].keypoints, pose.keypoints, atol=1e-3)
            np.testing.assert_allclose(answer[0][0].scores, pose.scores, atol=1e-5)


def test_a_full_batch_does_not_wait_for_the_clock(predictor: Predictor, photo: np.ndarray) -> None:
    predictor.batch_size = 3
    batcher = Batcher(predictor, batch_ms=100_000)
    began = time.monotonic()
    results([batcher.submit(job) for job in jobs(predictor, photo)])
    assert time.monotonic() - began < 50
    batcher.close()


def test_what_arrives_while_the_network_is_busy_goes_together(
    predictor: Predictor, photo: np.ndarray
) -> None:
    counter = Counter(predictor.network)
    batcher = Batcher(predictor, batch_ms=0)
    counter.go.clear()
    first, *others = jobs(predictor, photo)
    futures = [batcher.submit(first)]
    assert counter.started.wait(20)
    futures += [batcher.submit(job) for job in others]
    counter.go.set()
    results(futures)
    assert counter.passes == [1, 2]
    batcher.close()


def test_without_a_flip_test_and_with_one_are_different_batches(
    predictor: Predictor, photo: np.ndarray
) -> None:
    seen: list[tuple[int, int]] = []
    batcher = Batcher(
        predictor, batch_ms=300, watch=lambda requests, people, _: seen.append((requests, people))
    )
    plain, flipped = jobs(predictor, photo), jobs(predictor, photo, True)
    mixed = [job for pair in zip(plain, flipped, strict=True) for job in pair]
    results([batcher.submit(job) for job in mixed])
    batcher.close()
    assert seen == [(3, 3), (3, 3)]


def test_a_job_larger_than_a_batch_is_answered_whole(predictor: Predictor, photo: np.ndarray) -> None:
    predictor.batch_size = 2
    batcher = Batcher(predictor, batch_ms=0)
    big = Job(
        [predictor.prepare(photo, BOXES), predictor.prepare(photo, []), predictor.prepare(photo, BOXES)]
    )
    assert [len(people) for people in batcher.submit(big).result(20)] == [3, 0, 3]
    batcher.close()


def test_one_bad_job_does_not_spoil_the_others(predictor: Predictor, photo: np.ndarray) -> None:
    batcher = Batcher(predictor, batch_ms=300)
    good = jobs(predictor, photo)
    square = good[0].pictures[0].squares
    bad = Job([Request(np.zeros((0, 0, 3), np.uint8), square, False)])
    futures = [batcher.submit(job) for job in (good[0], bad, good[1])]
    results([futures[0], futures[2]])
    with pytest.raises(Exception, match=r"."):
        futures[1].result(20)
    assert batcher.alive
    batcher.close()


def test_a_cancelled_job_is_left_out(predictor: Predictor, photo: np.ndarray) -> None:
    counter = Counter(predictor.network)
    batcher = Batcher(predictor, batch_ms=200)
    futures = [batcher.submit(job) for job in jobs(predictor, photo)]
    assert futures[1].cancel()
    results([futures[0], futures[2]])
    batcher.close()
    assert counter.passes == [2]


def test_closing_answers_what_waits_and_takes_nothing_new(predictor: Predictor, photo: np.ndarray) -> None:
    batcher = Batcher(predictor, batch_ms=100_000)
    futures = [batcher.submit(job) for job in jobs(predictor, photo)]
    began = time.monotonic()
    batcher.close()
    assert time.monotonic() - began < 50
    assert all(future.done() for future in futures)
    assert not batcher.alive
    with pytest.raises(Refused, match="shutting down") as refused:
        batcher.submit(jobs(predictor, photo)[0])
    assert (refused.value.status, refused.value.retry_s) == (503, 5)
    with pytest.raises(Refused, match="shutting down"), batcher.place():
        pass


def test_places_run_out_and_come_back(predictor: Predictor) -> None:
    batcher = Batcher(predictor, queue=2)
    with batcher.place():
        with batcher.place():
            assert batcher.full
            with pytest.raises(Refused, match="2 requests are waiting") as refused, batcher.place():
                pass
        assert batcher.inside == 1
    assert refused.value.status == 503
    assert refused.value.retry_s is not None
    assert 1 <= refused.value.retry_s <= 60
    batcher.close()


def test_counting_that_fails_does_not_end_the_answers(predictor: Predictor, photo: np.ndarray) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no counting today")

    batcher = Batcher(predictor, batch_ms=0, watch=fail)
    for job in jobs(predictor, photo):
        batcher.submit(job).result(20)
    assert batcher.alive
    batcher.close()
