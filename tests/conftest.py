"""Tests marked `realdata` read the data sets in the folder that HOURGLASS_DATA names.

A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts: the
signal's own handling is put back.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from hourglass.core.skeleton import Skeleton
    from hourglass.core.structs import PersonRecord
    from hourglass.inference.predictor import Predictor

# How long an example takes says more of the machine than of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))
    folder = os.environ.get("HOURGLASS_DATA", "")
    if folder and Path(folder).is_dir():
        return
    reason = f"HOURGLASS_DATA is not a folder: {folder}" if folder else "HOURGLASS_DATA is not set"
    for item in items:
        if item.get_closest_marker("realdata"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; only for tests marked `realdata`."""
    return Path(os.environ["HOURGLASS_DATA"])


@pytest.fixture(scope="session", autouse=True)
def _rendered_once() -> Iterator[None]:
    """Rendered data sets are drawn once in a process, for all tests that train on them or score with them.

    Tests of the drawing itself have its functions by name before this is put in their place.
    """
    from hourglass.synthetic import render

    draw = render.load_records
    kept: dict[tuple[str, tuple[str, ...], int, int, int], list[PersonRecord]] = {}

    def load_records(
        skeleton: "Skeleton", count: int, seed: int = 0, size_px: int = 256
    ) -> "list[PersonRecord]":
        key = (skeleton.name, skeleton.joints, count, seed, size_px)
        if key not in kept:
            kept[key] = draw(skeleton, count, seed, size_px)
        return list(kept[key])

    render.load_records = load_records
    yield
    render.load_records = draw


@pytest.fixture(scope="session")
def trained() -> "Predictor":
    """The smaller bundled network in fp32 on the CPU, loaded once; for tests that run it themselves."""
    from hourglass.inference.predictor import Predictor

    return Predictor.from_pretrained("hg2_small", device="cpu", precision="fp32")
