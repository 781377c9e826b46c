"""torchrun's own processes: a killed one ends the run with a message, and the run goes on with fewer."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hourglass.training.logs import read_rows
from hourglass.training.loop import BEST, CHECKPOINT
from hourglass.weights.checkpoint import load_checkpoint, load_weights
from processes import running
from rank_worker import COMMON

TINY = [
    *COMMON,
    "data.people=24",
    "data.val_people=4",
    "train.batch_size=4",
    "train.length.steps=100000",
    "train.validate_every.steps=100000",
    "train.checkpoint_every.steps=5",
    "train.log_every=5",
]


def command(out: Path, *more: str) -> list[str]:
    return ["-m", "hourglass", "train", "synthetic_tiny", *TINY, f"--out={out}", *more]


@contextmanager
def torchrun(arguments: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """Two processes in a session of their own, all of which are gone afterwards."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True, "env": environment()}
    with running([*run, *arguments], 300, **options) as agent:
        try:
            yield agent
        finally:
            for pid in [*children(agent.pid), agent.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def children(pid: int) -> list[int]:
    """Processes that this one started, by the system's own list."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def rank_of(pid: int) -> str | None:
    """What a process's environment says it is."""
    for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
        if pair.startswith(b"RANK="):
            return pair.removeprefix(b"RANK=").decode()
    return None


def wait_for(path: Path, process: "subprocess.Popen[str]", seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline, f"no {path.name} within {seconds} s"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_killed_process_ends_the_run_which_goes_on_with_one(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with torchrun(command(out)) as agent:
        wait_for(out / CHECKPOINT, agent)
        (second,) = [pid for pid in children(agent.pid) if rank_of(pid) == "1"]
        os.kill(second, signal.SIGKILL)
        _, message = agent.communicate(timeout=120)
    assert agent.returncode != 0
    assert "process 0 of 2 has lost another one and can't go on: start the run again with --resume" in message
    assert str(out / CHECKPOINT) in message
    step = load_checkpoint(out / CHECKPOINT)["step"]
    assert step % 5 == 0
    words = [sys.executable, *command(out, "--resume")]
    with running(words, stderr=subprocess.PIPE, text=True, env=environment()) as alone:
        deadline = time.monotonic() + 120
        while load_checkpoint(out / CHECKPOINT)["step"] < step + 10:
            assert alone.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        alone.send_signal(signal.SIGINT)
        _, message = alone.communicate(timeout=120)
    assert alone.returncode == 130, message
    rows = [row["step"] for row in read_rows(out / "log.jsonl") if row["kind"] == "train"]
    assert rows[:2] == [5, 10]
    assert rows == sorted(set(rows))
    assert step in rows


@pytest.mark.slow
def test_ctrl_c_stops_both_at_one_step_and_two_go_on_from_it(tmp_path: Path) -> None:
    """One Ctrl-C reaches every process twice, from the terminal and from torchrun."""
    out = tmp_path / "run"
    with torchrun(command(out)) as agent:
        wait_for(out / CHECKPOINT, agent)
        for pid in [*children(agent.pid), agent.pid]:
            os.kill(pid, signal.SIGINT)
        _, message = agent.communicate(timeout=120)
    assert "--resume goes on from" in message
    assert "lost another" not in message
    step = load_checkpoint(out / CHECKPOINT)["step"]
    assert read_rows(out / "log.jsonl")[-1]["step"] == step
    with torchrun(command(out, "--resume")) as agent:
        deadline = time.monotonic() + 120
        while load_checkpoint(out / CHECKPOINT)["step"] <= step:
            assert agent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.slow
def test_two_processes_share_a_run(tmp_path: Path) -> None:
    """Two processes of torchrun on a CPU: one log, one checkpoint, every step counted once."""
    out = tmp_path / "run"
    short = ["train.length.steps=20", "train.validate_every.steps=10"]
    with torchrun(command(out, *short)) as agent:
        _, message = agent.communicate(timeout=240)
    assert agent.returncode == 0, message
    assert load_checkpoint(out / CHECKPOINT)["step"] == 20
    assert [r["step"] for r in read_rows(out / "log.jsonl") if r["kind"] == "train"] == [5, 10, 15, 20]
    _, facts = load_weights(out / BEST)
    assert 0 <= facts.metrics["PCK@0.2"] <= 100
