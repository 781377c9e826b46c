"""The figure of how well people are found. matplotlib is imported inside, and without its global state."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

_COLOURS = {"large": "#0072b2", "medium": "#d55e00", "small": "#009e73", "all": "#777777"}
_MOST_FALSE = 2.0
"""Beyond so many false boxes a photo nobody would use a detector."""

_Float = npt.NDArray[np.float64]


class Curve(Protocol):
    """What is drawn, as `evaluation.finding.FindingCurve` holds it: arrays (T,), the highest threshold first,
    recall by size, and how many people there are of each size.
    """

    @property
    def thresholds(self) -> _Float: ...

    @property
    def recall(self) -> Mapping[str, _Float]: ...

    @property
    def false_per_photo(self) -> _Float: ...

    @property
    def people(self) -> Mapping[str, int]: ...


def finding_figure(curve: Curve, path: Path, kind: str = "png", title: str = "") -> None:
    """Draw recall by size against false boxes a photo, and both against the threshold.

    Args:
        kind: png, pdf or svg; another word gets PNG.

    Raises OSError when `path` can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    thresholds, false_per_photo = curve.thresholds, curve.false_per_photo
    for size, values in curve.recall.items():
        if not curve.people.get(size):
            continue
        colour, label = _COLOURS.get(size, "black"), f"{size} ({curve.people[size]})"
        left.step(false_per_photo, 100 * values, where="post", color=colour, label=label)
        right.step(thresholds, 100 * values, where="post", color=colour)
    left.set(xlim=(0, _MOST_FALSE), ylim=(0, 100), xlabel="false boxes a photo", ylabel="people found (%)")
    left.legend(frameon=False, fontsize=8)
    right.set(xlim=(0, 1), ylim=(0, 100), xlabel="threshold", ylabel="people found (%)")
    beside = right.twinx()
    beside.step(thresholds, false_per_photo, where="post", color="black", linestyle=":")
    beside.set(ylim=(0, _MOST_FALSE), ylabel="false boxes a photo (dotted)")
    for panel in (left, right):
        panel.grid(alpha=0.2)
    if title:
        figure.suptitle(title, fontsize=10, fontweight="bold")
    figure.savefig(path, format=kind if kind in ("png", "pdf", "svg") else "png", dpi=160)
