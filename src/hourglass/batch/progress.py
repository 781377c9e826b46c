"""What a batch says while it runs and at its end."""

import json
import sys
from pathlib import Path
from types import TracebackType

from hourglass.batch.options import Progress, Summary

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

    def report(self, progress: Progress) -> None:
        """Show how far a run is."""
        text = how_far(progress)
        self._rich.update(self._task, completed=progress.images, total=progress.total, description=text)
        if self._lines and progress.seconds >= self._next_line:
            self._next_line = progress.seconds + _LINE_S
            print(f"hourglass: {text}", file=sys.stderr, flush=True)


def how_far(progress: Progress) -> str:
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
