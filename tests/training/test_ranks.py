"""Two processes do what one does: gradients, answers, and what they say when they don't fit together."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import rank_worker as worker
from hourglass.data.loading.loader import training_keys
from hourglass.training.ranks import explain_lost_rank
from hourglass.training.setup import TrainingError
from hourglass.training.validate import BATCH, share_of
from processes import run_ranks

WORKER = str(Path(worker.__file__))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    """As the processes have, so that sums are taken in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What two processes found, each on a machine of its own as far as the environment says."""
    folder = tmp_path_factory.mktemp("ranks")
    done = run_ranks([[WORKER, str(folder)]] * 2, nodes=2)
    assert [d.code for d in done] == [0, 0], done[0].err + done[1].err
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def assert_same_step(a: dict[str, Any], b: dict[str, Any], share: float) -> None:
    """Gradients may differ by this share of the largest: where they are nought, only rounding is left."""
    assert a["gradients"].keys() == b["gradients"].keys()
    largest = max(g.abs().max().item() for g in b["gradients"].values())
    assert largest > 0
    for name, gradient in b["gradients"].items():
        torch.testing.assert_close(a["gradients"][name], gradient, rtol=0, atol=share * largest, msg=name)
    torch.testing.assert_close(a["terms"], b["terms"])
    torch.testing.assert_close(a["norm"], b["norm"])


@pytest.mark.parametrize("case", worker.SYNCHRONISED)
def test_a_step_on_2_x_8_is_a_step_on_1_x_16(two: list[dict[str, Any]], case: str) -> None:
    alone = worker.one_step(worker.recipe(*worker.SYNCHRONISED[case]))
    for rank in two:
        assert_same_step(rank[case], alone, 1e-6)
        for name, value in alone["state"].items():
            # RMSprop divides by the gradient's own size: what is nought but for rounding moves a little.
            atol = 1e-3 if name.endswith("bias") else 2e-5
            torch.testing.assert_close(rank[case]["state"][name], value, rtol=1e-5, atol=atol, msg=name)


def test_without_synchronised_batch_norm_a_step_is_another_one(two: list[dict[str, Any]]) -> None:
    """Guards the test above: the comparison can tell."""
    alone = worker.one_step(worker.recipe())
    with pytest.raises(AssertionError):
        assert_same_step(two[0]["parts"], alone, 1e-2)


@pytest.mark.parametrize("case", worker.SHARED_ALIKE)
def test_micro_batches_are_to_one_process_what_processes_are_to_another(
    two: list[dict[str, Any]], case: str
) -> None:
    alone = worker.one_step(worker.recipe(*worker.SHARED_ALIKE[case][1]))
    for rank in two:
        assert_same_step(rank[case], alone, 1e-9)


def test_gradients_are_averaged_after_the_last_micro_batch_only(two: list[dict[str, Any]]) -> None:
    assert two[0]["parts"]["averaged"] == two[0]["parts of parts"]["averaged"] >= 1


def test_answers_are_the_same_on_any_number_of_processes(two: list[dict[str, Any]]) -> None:
    alone = worker.answers()
    assert len(alone["scores"]) == 36
    for rank in two:
        assert torch.equal(rank["answers"]["keypoints"], alone["keypoints"])
        assert torch.equal(rank["answers"]["scores"], alone["scores"])


@pytest.mark.parametrize(("case", "tolerance"), [("norm", 1e-5), ("norm in bf16", 0.05)])
def test_batch_norm_over_processes_is_that_of_the_whole_batch(
    two: list[dict[str, Any]], case: str, tolerance: float
) -> None:
    """Shares of 5 and 7 crops, against torch's own formula over all 12."""
    x, upstream = worker.norm_batch()
    dtype = torch.bfloat16 if case == "norm in bf16" else torch.float32
    x = x.to(dtype).float().requires_grad_()
    weight, bias = torch.linspace(0.5, 2, 5).requires_grad_(), torch.linspace(-1, 1, 5).requires_grad_()
    mean, var = torch.zeros(5), torch.ones(5)
    F.batch_norm(x.detach() * 0.5, mean, var, weight, bias, training=True, momentum=0.3)
    y = F.batch_norm(x, mean, var, weight, bias, training=True, momentum=0.3)
    (y * upstream).sum().backward()  # type: ignore[no-untyped-call]
    found = [rank[case] for rank in two]
    close = partial(torch.testing.assert_close, rtol=tolerance, atol=tolerance)
    close(torch.cat([f["y"] for f in found]).float(), y.detach())
    assert found[0]["y"].dtype == dtype
    assert x.grad is not None
    close(torch.cat([f["x"] for f in found]).float(), x.grad)
    for rank in found:
        gradients = torch.stack([weight.grad, bias.grad])  # type: ignore[list-item]
        torch.testing.assert_close(rank["parameters"], gradients, rtol=tolerance, atol=50 * tolerance)
        close(rank["running_mean"], mean)
        torch.testing.assert_close(rank["running_var"], var, rtol=tolerance, atol=10 * tolerance)
        assert rank["num_batches_tracked"] == 2


def test_batch_norms_without_statistics_are_not_synchronised() -> None:
    from hourglass.training.ranks import RankBatchNorm2d

    with pytest.raises(ValueError, match="with parameters, statistics and a momentum"):
        RankBatchNorm2d.like(nn.BatchNorm2d(3, track_running_stats=False))


def test_who_is_who_comes_from_the_environment(two: list[dict[str, Any]]) -> None:
    """Global rank, rank on its machine, machine, and processes in all, of two machines with one each."""
    assert [rank["ranks"] for rank in two] == [(0, 0, 0, 2), (1, 0, 1, 2)]


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("another recipe", "process 1 has train.seed=1 and process 0 has train.seed=0: start every process"),
        ("other people", "process 1 has training people=35 and process 0 has training people=36"),
        ("an uneven batch", "train.batch_size: 15 can't be shared by 2 processes"),
        (
            "uneven micro-batches",
            "train.batch_size: 15 can't be shared by 2 processes times 3 micro-batches (train.accumulate)",
        ),
        (
            "no bf16",
            "process 1 has the precision in use=float32 and process 0 has the precision in use=bfloat16",
        ),
    ],
)
def test_processes_that_do_not_fit_all_say_why(two: list[dict[str, Any]], case: str, sentence: str) -> None:
    for rank in two:
        assert sentence in rank["told"][case]
        assert "\n" not in rank["told"][case]


def test_a_process_that_can_not_read_its_data_is_named_by_the_others(two: list[dict[str, Any]]) -> None:
    reason = "people.json is not a whole JSON file"
    assert [rank["told"]["unreadable"] for rank in two] == [f"process 1: {reason}", reason]


@pytest.mark.slow
def test_unequal_processes_end_with_code_2(tmp_path: Path) -> None:
    """The whole program, with another recipe in the second process: no hang, one sentence each."""
    tiny = [f"--out={tmp_path / 'run'}", *worker.COMMON]
    command = ["-m", "hourglass", "train", "synthetic_tiny", *tiny]
    done = run_ranks([command, [*command, "optimiser.lr=2e-3"]], timeout_s=120)
    for process in done:
        assert process.code == 2, process.err
        assert (
            "hourglass: process 1 has optimiser.lr=0.002 and process 0 has optimiser.lr=0.001" in process.err
        )
        assert "Traceback" not in process.err
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_every_part_of_a_batch_is_somebodys() -> None:
    """Ranks times micro-batches: no crop twice, none left out, whatever the number of processes."""
    whole = list(islice(training_keys(1, 50, 12, 0), 5))
    for ranks, accumulate in ((2, 1), (1, 2), (2, 3), (3, 2), (6, 2)):
        own = [
            list(islice(training_keys(1, 50, 12, 0, rank, ranks, accumulate), 5 * accumulate))
            for rank in range(ranks)
        ]
        for step, batch in enumerate(whole):
            parts = [part for mine in own for part in mine[step * accumulate : (step + 1) * accumulate]]
            assert {len(part) for part in parts} == {12 // ranks // accumulate}
            assert sorted(key for part in parts for key in part) == sorted(batch)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_validation_is_shared_in_whole_batches(ranks: int) -> None:
    shares = [share_of(100, rank, ranks) for rank in range(ranks)]
    assert sorted(row for share in shares for row in share) == list(range(100))
    for share in shares:
        for start in range(0, len(share), BATCH):
            first, *_, last = share[start : start + BATCH]
            assert first % BATCH == 0
            assert last - first == len(share[start : start + BATCH]) - 1


class Several:
    """Stands for one of two processes."""

    world_size, global_rank = 2, 1


def test_a_lost_process_is_explained(tmp_path: Path) -> None:
    fabric: Any = Several()
    afresh = pytest.raises(TrainingError, match=r"has lost another one.*--resume, which starts afresh")
    with afresh, explain_lost_rank(fabric, tmp_path / "last.ckpt"):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1")
    (tmp_path / "last.ckpt").touch()
    goes_on = pytest.raises(TrainingError, match=r"--resume, which goes on from .*last\.ckpt")
    with goes_on, explain_lost_rank(fabric, tmp_path / "last.ckpt"):
        raise RuntimeError("NCCL communicator was aborted on rank 0.")
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explain_lost_rank(fabric, tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
