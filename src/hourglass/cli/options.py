"""Options of the commands that can look for people by themselves: which detector, and how sure it must be."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hourglass.inference.detection.box_files import Box, BoxFile
    from hourglass.inference.detection.boxes import Detector

DETECTOR_HELP = "Find the people with yolox-nano, yolox-tiny, yolox-s, or a YOLOX file in ONNX."
MIN_SCORE_HELP = "Boxes that score less are left out; of a detector 0.3, of a file none."
NMS_HELP = (
    "Of two people more alike than this by OKS one stays, 0.9 where boxes come from a detector; 1: all."
)


def open_detector(name: str | None, min_score: float | None, threads: int = 0) -> "Detector | None":
    """The detector of `--detector`, downloaded where need be, with a bar on standard error; None for None."""
    if name is None:
        return None
    from hourglass.cli.data_sources import byte_bars
    from hourglass.inference.detection.detectors import load_detector
    from hourglass.inference.detection.yolox import MIN_SCORE

    with byte_bars() as progress:
        return load_detector(name, MIN_SCORE if min_score is None else min_score, progress, threads)


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
    if min_score is not None and not (boxes or detector):
        raise ValueError("--min-score is about the boxes of --detector or --boxes; give one of them")
    if min_score is not None and detector and not 0 <= min_score <= 1:
        raise ValueError(f"--min-score {min_score:g} must lie between 0 and 1")
    if nms is not None and not several:
        raise ValueError("--nms is about the people of --detector, --boxes or --box; give one of them")
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
