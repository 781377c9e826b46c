"""Memory that training on a CPU frees and takes again at every step."""

import ctypes
import sys

# glibc's names for mallopt's options, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_DEFAULT_MMAP_MAX = 65536
_DEFAULT_THRESHOLD = 32 << 20  # where glibc's own adaptation ends on 64 bits


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the C library keep freed memory instead of handing it back, and say whether it could be told.

    By default glibc maps every tensor over 32 MB afresh and unmaps it when it is freed, so that each
    step touches new pages, which the system must find and clear. Only glibc (most Linux systems) knows
    these options; elsewhere nothing happens. `keep=False` restores glibc's own limits.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    told = mallopt(_M_MMAP_THRESHOLD, _DEFAULT_THRESHOLD)
    told &= mallopt(_M_MMAP_MAX, 0 if keep else _DEFAULT_MMAP_MAX)
    # An int of -1 is read as the largest size there is: never trim.
    told &= mallopt(_M_TRIM_THRESHOLD, -1 if keep else 2 * _DEFAULT_THRESHOLD)
    return bool(told)
