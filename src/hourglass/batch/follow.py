"""Seeing a run through: what it says meanwhile and at its end, and in one sentence what stopped it."""

import json
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from hourglass.batch.options import BatchProgress, Summary

Report = Callable[[BatchProgress], None]

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
    ray: Any, answers: Any, tally: Any, blank: BatchProgress, started: float, report: Report | None
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


def _look(ray: Any, tally: Any, before: BatchProgress) -> BatchProgress:
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


_LINE_S = 30.0
"""Between two lines where standard error is no terminal but a log."""


class Bar:
    """A bar on a terminal, or a line now and then in a log; on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Rich

        console = Console(stderr=True)
        columns = (TextColumn("pictures"), BarColumn(), TextColumn("{task.description}"))
        self._rich = Rich(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._rich.add_task("starting ...", total=None)
        self._lines = not console.is_terminal
        self._next_line = _LINE_S

    def __enter__(self) -> "Bar":
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()

    def report(self, progress: BatchProgress) -> None:
        """Show how far a run is."""
        text = how_far(progress)
        self._rich.update(self._task, completed=progress.images, total=progress.total, description=text)
        if self._lines and progress.seconds >= self._next_line:
            self._next_line = progress.seconds + _LINE_S
            print(f"hourglass: {text}", file=sys.stderr, flush=True)


def how_far(progress: BatchProgress) -> str:
    """`1,200 of 50,000, 3 failed, 35.2 images/s, 0:23:06 left`."""
    p = progress
    parts = [f"{p.images:,}" + ("" if p.total is None else f" of {p.total:,}")]
    if p.failed:
        parts.append(f"{p.failed:,} failed")
    if p.images and p.seconds:
        speed = p.images / p.seconds
        parts.append(f"{speed:.1f} images/s")
        if p.total is not None:
            parts.append(f"{clock((p.total - p.images) / speed)} left")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: `1:02:03`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def describe(summary: Summary) -> str:
    """One sentence for a run's end."""
    s = summary
    parts = [f"{s.images:,} images", f"{s.people:,} people", f"{s.failed:,} failed"]
    parts.append(f"{s.skipped:,} skipped as done before")
    if s.images:
        parts.append(f"{clock(s.seconds)}, {s.images_per_second:g} images/s")
    return f"{', '.join(parts)}: {s.output}"


def write_summary(summary: Summary, path: Path) -> None:
    """Write a run's summary as JSON; `-` is standard output."""
    if str(path) == "-":
        json.dump(summary.to_dict(), sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    from hourglass.inference.poses.pose import write_json

    write_json(path, summary.to_dict())
