"""Figures of training runs. matplotlib is imported inside, and without its global state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hourglass.weights.calibration import Bins

Rows = Sequence[Mapping[str, Any]]

FORMATS = ("png", "pdf", "svg")
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


def training_curve(log_rows: Rows, path: Path, title: str = "") -> None:
    """Draw a run's log: loss on a logarithmic axis, PCK of the validation people, learning rate.

    Args:
        log_rows: rows of the run's log. `{"kind": "train", "step", "loss", "stage_1", ..., "lr"}` and
            `{"kind": "val", "step", "PCK@0.2", "loss"}`; every key but `kind` and `step` may be
            missing, and rows of another kind are left aside.
        path: a .png, .pdf or .svg file; another ending gets PNG.

    Raises ValueError when there is no training row at all, OSError when `path` can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [row for row in log_rows if row.get("kind") == "train"]
    val = [row for row in log_rows if row.get("kind") == "val"]
    if not train:
        raise ValueError("the log has no training step to draw")
    kind = path.suffix.lower().lstrip(".")
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplot_mosaic([["loss", "score"], ["loss", "rate"]], height_ratios=[3, 1])
    last_step = max(float(row["step"]) for row in [*train, *val]) or 1.0
    _loss_panel(panels["loss"], train, val)
    _score_panel(panels["score"], val)
    _rate_panel(panels["rate"], train)
    for panel in panels.values():
        panel.set_xlim(0, last_step)
        _tidy(panel)
    if title:
        figure.suptitle(title, fontsize=10, fontweight="bold")
    figure.savefig(path, format=kind if kind in FORMATS else "png", dpi=160)


def scaling_curve(series: Mapping[str, Rows], path: Path, axis: str) -> None:
    """Draw how time and memory grow along one axis, both logarithmic, with a line of the fitted exponent.

    Args:
        series: by kind of run, rows of `value`, `seconds`, `megabytes` (None where unknown), `exponent`.
        path: a .png, .pdf or .svg file; another ending gets PNG.
        axis: what grows, in words.

    Raises OSError when `path` can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.lower().lstrip(".")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    time_panel, memory_panel = figure.subplots(1, 2)
    for (name, rows), color in zip(series.items(), (_BLUE, _ORANGE, _GREEN), strict=False):
        values = [float(row["value"]) for row in rows]
        seconds = [float(row["seconds"]) for row in rows]
        exponent = float(rows[0]["exponent"])
        label = f"{name}: {axis} to the {exponent:.2f}"
        time_panel.plot(values, seconds, "o-", color=color, markersize=4, linewidth=1.2, label=label)
        known = [(v, row["megabytes"]) for v, row in zip(values, rows, strict=True) if row["megabytes"]]
        if known:
            memory_panel.plot(
                *zip(*known, strict=True), "o-", color=color, markersize=4, linewidth=1.2, label=name
            )
    for panel, title, unit in ((time_panel, "Time", "seconds"), (memory_panel, "Peak memory added", "MB")):
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel(axis)
        panel.set_ylabel(unit)
        if panel.lines:
            panel.legend(fontsize=8, frameon=False)
        _tidy(panel)
    figure.savefig(path, format=kind if kind in FORMATS else "png", dpi=160)


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", labelsize=8)


def _series(rows: Rows, key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the rows that have the key."""
    found = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _loss_panel(axes: "Axes", train: Rows, val: Rows) -> None:
    stages = sorted({key for row in train for key in row if key.startswith("stage_")}, key=_number)
    if len(stages) > 1:
        for i, stage in enumerate(stages):
            shade = 0.25 + 0.35 * i / (len(stages) - 1)
            label = stage.replace("_", " ")
            axes.plot(*_series(train, stage), color=_BLUE, alpha=shade, linewidth=0.8, label=label)
    label = "training, all stages" if len(stages) > 1 else "training"
    axes.plot(*_series(train, "loss"), color=_BLUE, linewidth=1.4, label=label)
    steps, losses = _series(val, "loss")
    if steps:
        axes.plot(steps, losses, color=_ORANGE, linewidth=1.4, marker="o", markersize=3, label="validation")
    every = _series(train, "loss")[1] + losses
    # A likelihood's logarithm may be negative.
    if any(loss > 0 for loss in every) and min(every) >= 0:
        axes.set_yscale("log")
    axes.set_title("Loss", loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel("mean over cells")
    axes.legend(loc="upper right", fontsize=8, frameon=False)


def _score_panel(axes: "Axes", val: Rows) -> None:
    scores = sorted({key for row in val for key in row if key.startswith("PCK")}, reverse=True)
    for score, colour in zip(scores, (_ORANGE, _GREEN, _BLUE, _GREY), strict=False):
        steps, values = _series(val, score)
        axes.plot(steps, values, color=colour, linewidth=1.4, marker="o", markersize=3, label=score)
        if values:
            best = max(range(len(values)), key=values.__getitem__)
            axes.annotate(
                f"{values[best]:.1f}",
                (steps[best], values[best]),
                textcoords="offset points",
                xytext=(0, 6),
                ha="right",
                color=colour,
                fontweight="bold",
            )
    axes.set_title("Correct joints of the validation people", loc="left", fontsize=10)
    axes.set_ylabel("%")
    axes.set_ylim(0, 105)
    axes.tick_params(labelbottom=False)
    if scores:
        axes.legend(loc="lower right", fontsize=8, frameon=False)


def _rate_panel(axes: "Axes", train: Rows) -> None:
    axes.plot(*_series(train, "lr"), color=_GREY, linewidth=1.4)
    axes.set_title("Learning rate", loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylim(bottom=0)
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 3), useMathText=True)


def _number(stage: str) -> int:
    tail = stage.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


Curves = Mapping[str, Sequence[Sequence[tuple[float, float]]]]
"""Per name one or more runs, each as points (x, y)."""

_PALETTE = (_BLUE, _ORANGE, _GREEN, "#cc79a7", "#56b4e9", "#e69f00", "#000000", _GREY)


def compare_curves(
    curves: Curves,
    path: Path,
    title: str = "",
    x_label: str = "step",
    y_label: str = "%",
    whole: bool = False,
) -> None:
    """One line for each name, the mean of its runs, with a band from the lowest to the highest run.

    Args:
        curves: per name its runs; only the x that all runs of a name share are drawn.
        path: a .png, .pdf or .svg file; another ending gets PNG.
        whole: x counts things, such as stages: mark each and write whole numbers.

    Raises ValueError when there is no point at all, OSError when `path` can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    styles = ("-", "--", ":")
    drawn = 0
    for i, (name, runs) in enumerate(curves.items()):
        tables = [dict(run) for run in runs if run]
        if not tables:
            continue
        xs = sorted(set.intersection(*(set(table) for table in tables)))
        values = [[table[x] for table in tables] for x in xs]
        colour = _PALETTE[i % len(_PALETTE)]
        mean = [sum(v) / len(v) for v in values]
        style = styles[i // len(_PALETTE) % len(styles)]
        axes.plot(
            xs,
            mean,
            style,
            color=colour,
            linewidth=1.5,
            label=name,
            marker="o" if whole else "",
            markersize=4,
        )
        if len(tables) > 1:
            axes.fill_between(
                xs, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15
            )
        drawn += len(xs)
    if not drawn:
        raise ValueError("there is no point to draw")
    if whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _tidy(axes)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.legend(fontsize=8, frameon=False)
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    kind = path.suffix.lower().lstrip(".")
    figure.savefig(path, format=kind if kind in FORMATS else "png", dpi=160)


def pck_curves(
    thresholds: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    path: Path,
    x_label: str,
    title: str = "",
) -> None:
    """Shares of correct joints over the threshold, a panel for each group of joints (workshop figures 2, 3).

    Args:
        thresholds: (T,), ascending.
        panels: by name of the joints, then by name of the answers, (T,) percent; NaN is left out.
        path: a .png, .pdf or .svg file; another ending gets PNG.
        x_label: what a threshold is a share of.

    Raises ValueError when there is no panel, OSError when `path` can't be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("there are no joints to draw curves of")
    across = min(4, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(2.6 * across + 0.6, 2.4 * down + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    for axes, (name, answers) in zip(grid.flat, panels.items(), strict=False):
        for (answer, shares), colour in zip(answers.items(), _PALETTE, strict=False):
            axes.plot(thresholds, shares, color=colour, linewidth=1.4, label=answer)
        axes.set_title(name, loc="left", fontsize=9)
        axes.set(xlim=(0, thresholds[-1]), ylim=(0, 100))
        _tidy(axes)
    first = grid.flat[0]
    if len(next(iter(panels.values()))) > 1:
        first.legend(fontsize=7, frameon=False, loc="lower right")
    figure.supxlabel(x_label, fontsize=9)
    figure.supylabel("correct joints, %", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10, fontweight="bold")
    kind = path.suffix.lower().lstrip(".")
    figure.savefig(path, format=kind if kind in FORMATS else "png", dpi=160)


def reliability_diagram(
    before: "Bins", after: "Bins", joints: Mapping[str, tuple[float, float]], path: Path, title: str = ""
) -> None:
    """How often joints are right against how sure of them one was, before and after a calibration.

    On the left all joints together, a mark for each bin: on the diagonal said and happened agree. On the
    right each joint's expected calibration error.

    Args:
        before, after: of scores and of confidences, in bins of equal width.
        joints: by name the expected calibration error before and after.
        path: a .png, .pdf or .svg file; another ending gets PNG.

    Raises OSError when `path` can't be written.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.lower().lstrip(".")
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    left.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
    most = max(int(before.counts.max()), int(after.counts.max()))
    for bins, name, colour, marker in ((before, "scores", _ORANGE, "s"), (after, "confidences", _BLUE, "o")):
        seen = bins.counts > 0
        label = f"{name}: error {100 * bins.error:.1f} %"
        line = {"color": colour, "marker": marker, "markersize": 3, "linewidth": 1.3, "label": label}
        left.plot(bins.confidence[seen], bins.accuracy[seen], **line)
        sizes = 8 + 80 * bins.counts[seen] / most
        left.scatter(
            bins.confidence[seen], bins.accuracy[seen], s=sizes, color=colour, marker=marker, zorder=3
        )
    left.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    left.set_title("All joints; the larger, the more", loc="left", fontsize=10)
    left.set_xlabel("how sure")
    left.set_ylabel("how often right")
    left.legend(fontsize=8, frameon=False, loc="upper left")
    rows = range(len(joints))
    for row, (was, now) in zip(rows, joints.values(), strict=True):
        right.plot([100 * was, 100 * now], [row, row], color="#cccccc", linewidth=2, zorder=1)
    for index, colour, marker in ((0, _ORANGE, "s"), (1, _BLUE, "o")):
        right.scatter(
            [100 * pair[index] for pair in joints.values()], rows, s=26, color=colour, marker=marker
        )
    right.set_yticks(rows, [name.replace("_", " ") for name in joints])
    right.invert_yaxis()
    right.set_xlim(left=0)
    right.set_title("Expected calibration error of each joint", loc="left", fontsize=10)
    right.set_xlabel("%")
    for panel in (left, right):
        _tidy(panel)
    if title:
        figure.suptitle(title, fontsize=10, fontweight="bold")
    with rc_context({"svg.hashsalt": "hourglass"}):  # the same numbers give the same file
        figure.savefig(
            path,
            format=kind if kind in FORMATS else "png",
            dpi=160,
            metadata={"Date": None} if kind == "svg" else None,
        )
