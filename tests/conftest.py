"""Tests marked `realdata` read the data sets in the folder that HOURGLASS_DATA names."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
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
