"""Work that threads do before it is asked for."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def ahead(
    make: Callable[[Key], Value], keys: Iterator[Key] | Sequence[Key], workers: int, depth: int = 2
) -> Iterator[Value]:
    """`map(make, keys)` in order, with `workers` threads up to `depth` results each ahead."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="hourglass-loader")
    waiting: deque[Future[Value]] = deque()
    try:
        for key in keys:
            waiting.append(pool.submit(make, key))
            if len(waiting) > workers * depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
