"""What several commands ask for: weights and how they run, detectors, a bar of people."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hourglass.inference.detection.box_files import Box, BoxFile
    from hourglass.inference.detection.boxes import Detector
    from hourglass.inference.runner import Stacks


DETECTOR_HELP = (
    "Another detector than the bundled finder: a finder's weights, yolox-nano, yolox-tiny, yolox-s, or a "
    "YOLOX file in ONNX; none: each picture shows one person."
)
MIN_SCORE_HELP = "Boxes that score less are left out; of a detector its own threshold, of a file none."
NMS_HELP = (
    "Of two people more alike than this by OKS one stays, 0.9 where boxes come from a detector; 1: all."
)
NO_DETECTOR = "none"


def open_detector(name: str | None, min_score: float | None, threads: int = 0) -> "Detector | None":
    """The detector of `--detector`, downloaded where need be, with a bar on standard error.

    Without a name it is the bundled finder; None for the word `none`.
    """
    if name == NO_DETECTOR:
        return None
    from hourglass.cli.data_sources import byte_bars
    from hourglass.inference.detection.detectors import load_detector
    from hourglass.inference.people import FINDER

    with byte_bars() as progress:
        return load_detector(FINDER if name is None else name, min_score, progress, threads)


def check_options(
    box: list[str] | None,
    boxes: Path | None,
    detector: str | None,
    min_score: float | None,
    nms: float | None,
) -> None:
    """Raise ValueError where options contradict each other, miss one another, or hold what can't be."""
    given = {"--box": bool(box), "--boxes": boxes is not None, "--detector": detector is not None}
    several = [option for option, is_given in given.items() if is_given]
    if len(several) > 1:
        raise ValueError(f"{' and '.join(several)} each say where the people are; give one of them")
    if min_score is not None and (box or detector == NO_DETECTOR):
        raise ValueError("--min-score is about the boxes of a detector or of --boxes, and there are none")
    if min_score is not None and not boxes and not 0 <= min_score <= 1:
        raise ValueError(f"--min-score {min_score:g} must lie between 0 and 1")
    if nms is not None and detector == NO_DETECTOR:
        raise ValueError("--nms is about several people in a picture, and with --detector none there is one")
    if nms is not None and not 0 <= nms <= 1:
        raise ValueError(f"--nms {nms:g} must lie between 0 and 1")


def given_boxes(
    box: list[str] | None, boxes: Path | None, min_score: float | None
) -> "tuple[Box, ...] | BoxFile | None":
    """The boxes of `--box` or `--boxes`, or None; raises ValueError naming what is wrong."""
    from hourglass.inference.detection.box_files import parse_box, read_boxes

    if boxes is not None:
        return read_boxes(boxes, min_score)
    return tuple(parse_box(text) for text in box or ()) or None


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
def people_bar(title: str = "people") -> Iterator[Callable[[int, int | None], None]]:
    """A bar with the time left on standard error, where that is a terminal; gives what moves it on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
