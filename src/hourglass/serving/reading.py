"""The body of a request, as it trickles in: bounded in bytes, memory and time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hourglass.serving.settings import Refused, Settings
from hourglass.serving.uploads import Budget

_COPIES = 2
"""A body is held twice: as it came, and as the files that were taken out of it."""


class Loan:
    """What one request holds of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0

    def take(self, count: int) -> None:
        """Hold more; raises Refused as `Budget.take` does, with 413 where this request alone is too much."""
        if self._held + count > self._budget.limit:
            self._budget.take(self._budget.limit + 1)
        self._budget.take(count)
        self._held += count

    def give_back(self) -> None:
        self._budget.give_back(self._held)
        self._held = 0


@contextmanager
def loan(budget: Budget) -> Iterator[Loan]:
    """A loan that is paid back when the block ends."""
    made = Loan(budget)
    try:
        yield made
    finally:
        made.give_back()


async def read_body(request: Any, settings: Settings, held: Loan) -> bytes:
    """The whole body of a Starlette request.

    Raises Refused: 400 for a client that left, 408 for a slow one, 413 for a large body, 503 for no memory.
    """
    told = request.headers.get("content-length", "")
    if told.isdigit() and int(told) > settings.max_bytes:
        raise _too_large(settings)
    try:
        return await asyncio.wait_for(_collect(request, settings, held), settings.timeout_s)
    except asyncio.TimeoutError:
        raise Refused(408, f"the request took longer than {settings.timeout_s:g} s to arrive") from None


async def _collect(request: Any, settings: Settings, held: Loan) -> bytes:
    from starlette.requests import ClientDisconnect

    chunks, total = [], 0
    try:
        async for chunk in request.stream():
            total += len(chunk)
            if total > settings.max_bytes:
                raise _too_large(settings)
            held.take(_COPIES * len(chunk))
            chunks.append(chunk)
    except ClientDisconnect:
        raise Refused(400, "the connection was closed before the request was whole") from None
    return b"".join(chunks)


def _too_large(settings: Settings) -> Refused:
    return Refused(413, f"the request is larger than {settings.max_mb:g} MB")
