"""Seeing a run through: how far it is meanwhile, and in one sentence what stopped it."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hourglass.batch.options import Progress

Report = Callable[[Progress], None]

_POLL_S = 0.5


class BatchError(ValueError):
    """A batch that could not go on; what is written stays, and the same command goes on from there."""


def start_tally(ray: Any) -> Any:
    """A process that counts along, for the bar only: a block that is done twice counts twice."""

    class Tally:
        def __init__(self) -> None:
            self.counts = (0, 0, 0)

        def add(self, *more: int) -> None:
            images, people, failed = (a + b for a, b in zip(self.counts, more, strict=True))
            self.counts = (images, people, failed)

        def read(self) -> tuple[int, int, int]:
            return self.counts

    return ray.remote(num_cpus=0, max_restarts=-1)(Tally).remote()


def follow(
    ray: Any, answers: Any, tally: Any, blank: Progress, started: float, report: Report | None
) -> list[dict[str, Any]]:
    """Run to the end, telling how far it is; the workers' reports, without the empty ones."""
    found: list[dict[str, Any]] = []
    failure: list[BaseException] = []

    def consume() -> None:
        try:
            for row in answers.iter_rows():
                if row["problem"]:
                    raise BatchError(row["problem"])
                if row["images"]:
                    found.append(row)
        except BaseException as error:  # to be raised where the user waits
            failure.append(error)

    thread = threading.Thread(target=consume, name="hourglass-batch", daemon=True)
    thread.start()
    progress = blank
    while thread.is_alive():
        thread.join(_POLL_S)
        if report is not None:
            progress = replace(_look(ray, tally, progress), seconds=time.monotonic() - started)
            report(progress)
    if failure:
        raise in_one_sentence(failure[0])
    return found


def _look(ray: Any, tally: Any, before: Progress) -> Progress:
    """What the tally says now, or what it said before where it doesn't answer at once."""
    with suppress(ray.exceptions.RayError):
        images, people, failed = ray.get(tally.read.remote(), timeout=_POLL_S)
        # Counted twice is still done once; and a tally that was started again begins at nothing.
        images = images if before.total is None else min(images, before.total)
        if images >= before.images:
            return replace(before, images=images, people=people, failed=failed)
    return before


def in_one_sentence(error: BaseException) -> BaseException:
    """What stopped Ray Data, by its innermost cause."""
    if isinstance(error, BatchError) or not isinstance(error, Exception):
        return error
    cause: BaseException = error
    while (deeper := getattr(cause, "cause", None) or cause.__cause__) is not None and str(deeper):
        cause = deeper
    last = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
    return BatchError(
        f"the batch stopped ({type(cause).__name__}: {last}); what is written stays, and the same command "
        "goes on"
    )
