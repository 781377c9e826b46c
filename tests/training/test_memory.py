import platform
import resource
import subprocess
import sys

import pytest

from hourglass.training.setup import keep_freed_memory

PROBE = """
import resource, numpy as np
from hourglass.training.setup import keep_freed_memory
if not keep_freed_memory({keep}): raise SystemExit(77)
def touch(): np.empty(64 << 20, np.uint8).fill(1)
touch(); touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4): touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(keep=keep)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this C library has no mallopt")
    return int(done.stdout)


def test_kept_memory_is_not_faulted_in_again() -> None:
    """Four buffers of 64 MB: page by page from the system, or none when the memory was kept."""
    pages = 4 * (64 << 20) // resource.getpagesize()
    assert faults(keep=True) < pages / 50
    # Huge pages may make the default cheaper than one fault per page, but not free.
    assert faults(keep=False) > 5 * max(1, faults(keep=True))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc knows these options")
def test_glibc_can_be_told() -> None:
    assert keep_freed_memory(True)
    assert keep_freed_memory(False)
