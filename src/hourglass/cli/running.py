"""What every command that runs a network has: how many stacks, what int8 is measured on, a bar of people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hourglass.inference.runner import Stacks


def number_of_stacks(text: str) -> "Stacks":
    """`all`, `auto` or a number; raises ValueError naming the option."""
    if text == "all":
        return None
    if text == "auto":
        return "auto"
    if not text.isdigit():
        raise ValueError(f"--stacks {text!r} is not all, auto or a number")
    return int(text)


def calibrate(source: str, weights: str | Path | None) -> "npt.NDArray[np.uint8]":
    """Crops of the people in photos or a pack, with a bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hourglass.inference.calibration import calibration_crops

    columns = (TextColumn("calibrating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("calibrating", total=None)
        crops = calibration_crops(
            source, weights, lambda done, total: bar.update(task, completed=done, total=total)
        )
    console.print("measuring the ranges of int8, about a minute ...", highlight=False)
    return crops


@contextmanager
def people_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left on standard error, where that is a terminal; gives what moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("people", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
