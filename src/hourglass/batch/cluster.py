"""Getting hold of a Ray cluster, in bounded time and with Ray's own output kept down."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hourglass.core.files import reason

CONNECT_S = 5.0
PROBE_S = 60.0
"""Ray itself tries for a quarter of an hour before it says that nobody answers."""

_STORE_BYTES = 1 << 30
_BLOCK_BYTES = 32 << 20
_INIT_DEATHS = 3
_ENVIRONMENT = {
    # No report about this machine leaves it because someone ran a batch.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Workers of a local cluster run like any other program; Ray would let everything else go before them.
    "RAY_worker_niceness": "0",
    # Ray's core writes past Python's logging. What it says of workers that die, the summary says too.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
"""Set unless the user has set it otherwise."""

_PROBE = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False); ray.cluster_resources()"


class ClusterError(OSError):
    """No cluster, or none that answers."""


def import_ray() -> Any:
    """The module; raises ClusterError where it isn't installed."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ClusterError(f"Ray is missing ({error}); pip install -e '.[batch]'") from error
    return ray


@contextmanager
def cluster(address: str = "local") -> Iterator[Any]:
    """Ray's module, connected; what was started or connected here is left again at the end.

    Args:
        address: `local` starts a cluster on this machine, `auto` is the one that RAY_ADDRESS names or that
            runs on this machine, else `host:port`, or `ray://host:port` for a client outside the cluster.

    A process that is connected already stays as it is. Raises ClusterError when nobody answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        _settle_data(ray)
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            size = min(_STORE_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4)
            with _silence():
                ray.init("local", include_dashboard=False, object_store_memory=size, **quiet)
        else:
            _check(address)
            with _silence():
                ray.init(address, **quiet)
    except ClusterError:
        raise
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(f"the Ray cluster {address} can't be used: {reason(error)}") from error
    try:
        _settle_data(ray)
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard error meanwhile, by this process's compiled code either."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _settle_data(ray: Any) -> None:
    """Ray Data without its bars and its talk on the terminal, and with blocks that a bar can follow."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    context.max_consecutive_actor_init_deaths = _INIT_DEATHS
    for handler in logging.getLogger("ray.data").handlers:
        # Ray's own only: others listen there too, pytest among them, and want to hear the rest of us.
        kind = type(handler)
        if kind.__module__.partition(".")[0] == "ray" and "File" not in kind.__name__:
            handler.setLevel(logging.CRITICAL)


def room(ray: Any, cpus: float, gpus: float) -> int:
    """How many workers of this size the cluster's machines can hold now."""
    total = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        fits = [int(has.get(name, 0) / size) for name, size in (("CPU", cpus), ("GPU", gpus)) if size]
        total += min(fits, default=0)
    return total


def _check(address: str) -> None:
    """Raise ClusterError, soon, for an address behind which there is no Ray."""
    known = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if known != "auto":
        host, _, port = known.removeprefix("ray://").rpartition(":")
        if not host or not port.isdigit():
            raise ClusterError(
                f"the Ray address {known!r} is none of local, auto, host:port and ray://host:port"
            )
        try:
            socket.create_connection((host, int(port)), CONNECT_S).close()
        except (OSError, OverflowError) as error:
            raise ClusterError(f"no Ray cluster answers at {known}: {error}") from error
    # Something listens there. Ray would wait for minutes for it to speak, or end this process.
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, address],
            capture_output=True,
            text=True,
            timeout=PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(
            f"what answers at {known} does not speak Ray's language within {PROBE_S:.0f} s: is it the port "
            "of `ray start --head` (6379), or for ray:// the client's (10001)?"
        ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise ClusterError(
            f"the Ray cluster {known} can't be used: {last} (if it wants a token: docs/batch.md)"
        )
