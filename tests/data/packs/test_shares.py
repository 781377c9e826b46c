import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hourglass.core.skeleton import LSP14
from hourglass.data.packs.shares import ShareBatch, evaluation_share, put_together
from hourglass.evaluation.metrics.pck import pck, torso_length


@settings(max_examples=200, deadline=None)
@given(count=st.integers(0, 70), batch=st.integers(1, 16), ranks=st.integers(1, 6))
def test_everyone_is_real_once_and_ranks_keep_step(count: int, batch: int, ranks: int) -> None:
    shares = [list(evaluation_share(count, batch, rank, ranks)) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    every = [b for share in shares for b in share]
    assert all(b.rows.shape == b.real.shape == (batch,) for b in every)
    assert sorted(int(row) for b in every for row in b.rows[b.real]) == list(range(count))
    assert all(0 <= row < max(count, 1) for b in every for row in b.rows)
    # No rank runs further than it must.
    assert len(shares[0]) == int(np.ceil(np.ceil(count / batch) / ranks))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 70), batch=st.integers(1, 16), ranks=st.integers(1, 6))
def test_neighbours_in_a_batch_do_not_depend_on_the_ranks(count: int, batch: int, ranks: int) -> None:
    alone = {tuple(b.rows[b.real]) for b in evaluation_share(count, batch, 0, 1)}
    shared = {tuple(b.rows[b.real]) for r in range(ranks) for b in evaluation_share(count, batch, r, ranks)}
    assert shared - {()} == alone


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 60), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_the_score_is_the_same_on_any_number_of_ranks(count: int, batch: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 200, (count, 14, 2))
    labelled = rng.random((count, 14)) < 0.8
    answers = truth + rng.normal(0, 15, truth.shape)
    reference = torso_length(LSP14, truth, labelled)
    want = pck(answers, truth, labelled, reference)
    for ranks in (1, 2, 3, 5):
        batches = [b for rank in range(ranks) for b in evaluation_share(count, batch, rank, ranks)]
        together = put_together(count, batches, [answers[b.rows] for b in batches])
        got = pck(together, truth, labelled, reference)
        assert np.array_equal(got.per_joint, want.per_joint, equal_nan=True)
        assert np.array_equal(got.mean, want.mean, equal_nan=True)


def test_shares_that_are_none() -> None:
    for arguments in ((-1, 2, 0, 1), (3, 0, 0, 1), (3, 2, 2, 2), (3, 2, -1, 2), (3, 2, 0, 0)):
        with pytest.raises(ValueError, match="cannot share"):
            list(evaluation_share(*arguments))


def test_answers_that_miss_or_repeat_someone() -> None:
    batches = list(evaluation_share(5, 2, 0, 1))
    answers = [np.ones((2, 3)) for _ in batches]
    with pytest.raises(ValueError, match="person 2 was answered 0 times"):
        put_together(5, [batches[0], batches[2]], [answers[0], answers[2]])
    with pytest.raises(ValueError, match="person 0 was answered 2 times"):
        put_together(5, [*batches, batches[0]], [*answers, answers[0]])
    with pytest.raises(ValueError, match="no answers"):
        put_together(5, [], [])


def test_what_pads_is_not_taken() -> None:
    batches = [
        ShareBatch(np.array([0, 1]), np.array([True, True])),
        ShareBatch(np.array([2, 0]), np.array([True, False])),
    ]
    answers = [np.array([[1.0], [2.0]]), np.array([[3.0], [99.0]])]
    assert put_together(3, batches, answers).ravel().tolist() == [1, 2, 3]
