"""Addresses behind which there is no Ray; none of these connects, so they need no cluster."""

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from hourglass.batch import cluster as module
from hourglass.batch.cluster import ClusterError, cluster, import_ray, room


@pytest.fixture
def no_ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this process were not connected, which other tests of the session may have done."""
    ray = pytest.importorskip("ray", reason="Ray is not installed; pip install -e '.[batch]'")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody listens there and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def refused(address: str) -> str:
    with pytest.raises(ClusterError) as caught, cluster(address):
        pytest.fail("there is nothing to connect to")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.usefixtures("no_ray_here")
@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "auto"])
def test_where_nobody_answers_it_says_so_at_once(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = form.format(free_port())
    if form == "auto":
        address = f"127.0.0.1:{free_port()}"
        monkeypatch.setenv("RAY_ADDRESS", address)
    started = time.monotonic()
    said = refused("auto" if form == "auto" else address)
    assert said.startswith(f"no Ray cluster answers at {address}: ")
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("no_ray_here")
def test_where_something_else_answers_the_wait_is_bounded(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROBE_S", 3.0)
    started = time.monotonic()
    said = refused(f"127.0.0.1:{silent_port}")
    assert "does not speak Ray's language within 3 s" in said
    assert time.monotonic() - started < 20


@pytest.mark.usefixtures("no_ray_here")
@pytest.mark.parametrize("address", ["somewhere", "ray://", "host:", "host:port", ":1"])
def test_what_is_no_address(address: str) -> None:
    assert "is none of local, auto, host:port and ray://host:port" in refused(address)


@pytest.mark.usefixtures("no_ray_here")
def test_a_host_that_nobody_knows() -> None:
    assert refused("no-such-host.invalid:6379").startswith("no Ray cluster answers at no-such-host.invalid")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"a batch needs .*ray is not installed.* pip install .*\[batch\]"):
        import_ray()


class FakeRay:
    def __init__(self, *machines: dict[str, float]) -> None:
        self.machines = machines

    def nodes(self) -> list[dict[str, object]]:
        down = {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}
        return [{"Alive": True, "Resources": machine} for machine in self.machines] + [down]


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [(1, 0, 11), (4, 0, 2), (3, 0, 3), (0.5, 0, 22), (1, 1, 2), (1, 0.5, 4), (9, 0, 0)],
)
def test_workers_fit_on_machines_and_not_between_them(cpus: float, gpus: float, expected: int) -> None:
    ray = FakeRay({"CPU": 3.0}, {"CPU": 8.0, "GPU": 2.0}, {})
    assert room(ray, cpus, gpus) == expected
