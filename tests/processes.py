"""Processes that tests start: killed with the block that needs them, and never waited for without an end."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@contextmanager
def running(words: Sequence[Any], within_s: float = 180, **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """`subprocess.Popen(words, **options)`, killed when the block ends or the time is up.

    Whoever reads its output or waits for it therefore comes back.
    """
    process = subprocess.Popen([str(word) for word in words], **options)
    late = threading.Timer(within_s, process.kill)
    late.daemon = True
    late.start()
    try:
        yield process
    finally:
        late.cancel()
        process.kill()
        process.wait(30)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True)
class Done:
    """How one process ended."""

    code: int
    out: str
    err: str


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(rank: int, ranks: int, nodes: int, port: int) -> dict[str, str]:
    """What torchrun says to process `rank` of `ranks`, shared evenly by `nodes` machines."""
    local = ranks // nodes
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_RANK": str(rank % local),
        "LOCAL_WORLD_SIZE": str(local),
        "GROUP_RANK": str(rank // local),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }


def run_ranks(commands: Sequence[Sequence[str]], nodes: int = 1, timeout_s: float = 240) -> list[Done]:
    """Run `python ARGUMENTS` once for each entry, all at the same time, as ranks 0, 1 and so on.

    Raises TimeoutError when they have not all ended in time; none is left behind.
    """
    port = free_port()
    started = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=environment(rank, len(commands), nodes, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, arguments in enumerate(commands)
    ]
    try:
        done = []
        for process in started:
            out, err = process.communicate(timeout=timeout_s)
            done.append(Done(process.returncode, out, err))
        return done
    except subprocess.TimeoutExpired as late:
        raise TimeoutError(f"not all of {len(commands)} processes ended within {timeout_s} s") from late
    finally:
        for process in started:
            process.kill()
            process.wait(30)
