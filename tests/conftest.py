"""Tests marked `realdata` read the data sets in the folder that HOURGLASS_DATA names.

A shell's background job ignores Ctrl-C, and so would every process that a test starts and interrupts: the
signal's own handling is put back.
"""

import os
import signal
from pathlib import Path

import pytest

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
