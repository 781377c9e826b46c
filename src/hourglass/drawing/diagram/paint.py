"""Ink: a laid-out network to a picture file."""

from pathlib import Path as FilePath
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from hourglass.core.files import write_atomically
from hourglass.drawing.diagram.layout import MERGES, Box, Layout
from hourglass.drawing.diagram.record import Step
from hourglass.drawing.diagram.simplify import Repeat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

COLOURS = {
    "image": "#4d4d4d",
    "residual": "#4c86c6",
    "inception A": "#7a6bc0",
    "inception B": "#b06bc0",
    "convolution": "#2a9d8f",
    "1x1 convolution": "#a9d6cf",
    "linear": "#8d6e63",
    "decoder": "#e9a23b",
    "embedding": "#c9c26b",
    "cut out": "#9aa5b1",
    "heatmaps": "#e4572e",
    "add": "#ffffff",
    "concatenate": "#ffffff",
    "pool": "#777777",
    "resize": "#777777",
    "other": "#cccccc",
}
NAMES = {
    "heatmaps": "1x1 convolution to heatmaps",
    "convolution": "convolution with its norm and ReLU",
    "linear": "fully connected",
    "decoder": "transposed convolutions to one map",
    "embedding": "strided convolutions",
    "cut out": "squares cut out around the joints",
    "add": "sum",
    "concatenate": "side by side",
    "other": "other function",
}
"""For the legend, where the word alone says too little."""

LINE, DOWN, UP, LOSS = "#444444", "#b5651d", "#2e7d32", "#d62828"
INCHES = 0.27
"""Of one unit."""
SMALL = 6.5
"""Points of letters; larger in wide diagrams, which are shown smaller."""


def paint(
    steps: list[Step],
    layout: Layout,
    repeat: Repeat | None,
    path: FilePath,
    kind: str,
    title: str,
    about: str,
) -> None:
    """Write the picture; raises OSError when it can't be written."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    right = max(box.x + box.width / 2 for box in layout.boxes)
    top = max(high for _, high in layout.rows.values())
    text = max(1.0, INCHES * right / 15)
    right = max(right, 14.0)
    lines = wrap(title, int(2.75 * (right / text + 3)))
    handles = _legend_handles(steps, layout)
    columns = 5 if right > 22 else 3
    legend_rows = -(-len(handles) // columns)
    low_x, high_x, low_y, high_y = -0.6 - 2.7 * text, right + 0.8, -0.7 - 0.62 * text * legend_rows, top + 0.5
    if layout.narrow:  # names stand below their frames
        low_y -= 0.8 * text
    high_y += text * (0.6 * len(lines) + 0.4 * bool(lines))
    if repeat is not None:
        high_y += 1.3
    size = (INCHES * (high_x - low_x), INCHES * (high_y - low_y))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hourglass", "path.simplify": False}):
        figure = Figure(figsize=size, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(low_x, high_x)
        axes.set_ylim(low_y, high_y)
        axes.axis("off")
        _rows(axes, layout, low_x, high_x, text)
        _groups(axes, steps, layout, text)
        _arrows(axes, layout)
        _boxes(axes, steps, layout)
        _losses(axes, steps, layout)
        if repeat is not None:
            _bracket(axes, layout, repeat, top, text)
        _legend(axes, handles, columns, text)
        if title:
            axes.text(
                low_x + 0.3, high_y - 0.4, "\n".join(lines), fontsize=9 * text, fontweight="bold", va="top"
            )
        facts: dict[str, dict[str, Any]] = {
            "svg": {"Date": None, "Creator": None, "Description": about},
            "png": {"Software": None, "Description": about},
            "pdf": {"CreationDate": None, "Subject": about},
        }
        write_atomically(path, lambda part: figure.savefig(part, format=kind, dpi=200, metadata=facts[kind]))


def _fill(axes: "Axes", paths: "list[Path]", **style: Any) -> None:
    """Many shapes as one, which keeps files small."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if paths:
        axes.add_patch(PathPatch(Path.make_compound_path(*paths), **style))


def _rectangle(x: float, y: float, width: float, height: float) -> "Path":
    from matplotlib.path import Path

    left, low, right, high = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    corners = [(left, low), (right, low), (right, high), (left, high), (left, low)]
    return Path(corners, [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY])


def _disc(x: float, y: float, radius: float) -> "Path":
    from matplotlib.path import Path

    return Path.circle((x, y), radius)


def _lines(points: "list[tuple[tuple[float, float], ...]]") -> "list[Path]":
    from matplotlib.path import Path

    return [Path(list(p), [Path.MOVETO] + [Path.LINETO] * (len(p) - 1)) for p in points]


def _rows(axes: "Axes", layout: Layout, left: float, right: float, text: float) -> None:
    for i, (cells, (low, high)) in enumerate(sorted(layout.rows.items())):
        if i % 2 == 0:
            _fill(
                axes,
                [_rectangle((left + right) / 2, (low + high) / 2, right - left, high - low + 0.7)],
                facecolor="#f4f5f7",
                edgecolor="none",
                zorder=0,
            )
        name = f"{cells} × {cells}" if cells > 1 else "vectors"  # noqa: RUF001 - a product sign
        axes.text(left + 0.2, low + 0.25, name, fontsize=SMALL * text, color="#666666", va="bottom")


def _groups(axes: "Axes", steps: list[Step], layout: Layout, text: float) -> None:
    """A pale frame around each part of several boxes, with its name."""
    from matplotlib.patches import FancyBboxPatch

    members: dict[str, list[Box]] = {}
    for step, box in zip(steps, layout.boxes, strict=True):
        if step.group:
            members.setdefault(step.group, []).append(box)
    for group, boxes in members.items():
        if len(boxes) < 3:
            continue
        left, right = min(b.x - b.width / 2 for b in boxes), max(b.x + b.width / 2 for b in boxes)
        low, high = min(b.y - b.height / 2 for b in boxes), max(b.y + b.height / 2 for b in boxes)
        axes.add_patch(
            FancyBboxPatch(
                (left, low),
                right - left,
                high - low,
                boxstyle="round,pad=0.22,rounding_size=0.3",
                facecolor="#dfe7f1",
                edgecolor="#9fb3c8",
                linewidth=0.5,
                linestyle=(0, (3, 2)),
                alpha=0.6,
                zorder=1,
            )
        )
        place = low - (0.35 if layout.narrow else 0.05), "top" if layout.narrow else "bottom"
        axes.text(
            left - 0.05,
            place[0],
            _group_name(group),
            fontsize=SMALL * text,
            color="#48607a",
            va=place[1],
            zorder=6,
        )


def _group_name(group: str) -> str:
    name, _, number = group.partition(".")
    if number.isdigit():
        singular = {"hourglasses": "hourglass"}.get(name, name.removesuffix("s"))
        return f"{singular} {int(number) + 1}"
    return name


def _arrows(axes: "Axes", layout: Layout) -> None:
    for vias, colour in ((("",), LINE), (("pool",), DOWN), (("resize",), UP)):
        chosen = [a for a in layout.arrows if a.via in vias]
        style = {
            "edgecolor": colour,
            "facecolor": "none",
            "linewidth": 0.8,
            "joinstyle": "round",
            "zorder": 2,
        }
        _fill(axes, _lines([a.points for a in chosen]), **style)
        heads = [_head(*a.points[-2:]) for a in chosen]
        _fill(axes, heads, facecolor=colour, edgecolor="none", zorder=3)


def _head(before: tuple[float, float], tip: tuple[float, float]) -> "Path":
    from matplotlib.path import Path

    dx, dy = tip[0] - before[0], tip[1] - before[1]
    length = (dx * dx + dy * dy) ** 0.5 or 1.0
    dx, dy = 0.2 * dx / length, 0.2 * dy / length
    corners = [
        tip,
        (tip[0] - dx - dy / 2, tip[1] - dy + dx / 2),
        (tip[0] - dx + dy / 2, tip[1] - dy - dx / 2),
    ]
    return Path([*corners, tip], [Path.MOVETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY])


def _boxes(axes: "Axes", steps: list[Step], layout: Layout) -> None:
    shapes: dict[str, list[Path]] = {}
    behind: dict[str, list[Path]] = {}
    signs: list[Path] = []
    for i, (step, box) in enumerate(zip(steps, layout.boxes, strict=True)):
        if step.kind == "add":
            r = box.width * 0.28
            signs += _lines(
                [((box.x - r, box.y), (box.x + r, box.y)), ((box.x, box.y - r), (box.x, box.y + r))]
            )
            shapes.setdefault("add", []).append(_disc(box.x, box.y, box.width / 2))
        elif step.kind in ("pool", "resize"):
            shapes.setdefault(step.kind, []).append(_disc(box.x, box.y, box.width / 2))
        else:
            shapes.setdefault(step.kind, []).append(_rectangle(box.x, box.y, box.width, box.height))
            for card in range(min(step.count - 1, 2), 0, -1):
                off = 0.11 * card
                card_box = _rectangle(box.x + off, box.y + off, box.width, box.height)
                behind.setdefault(step.kind, []).append(card_box)
            if step.kind == "concatenate":
                half = box.height / 2
                signs += _lines([((box.x, box.y - half), (box.x, box.y + half))])
        if not layout.narrow:
            _label(axes, steps, i, box)
    for kind, paths in behind.items():
        _fill(axes, paths, facecolor=COLOURS[kind], edgecolor="white", linewidth=0.5, zorder=3.5)
    for kind, paths in shapes.items():
        edge = LINE if kind in MERGES else "white"
        _fill(axes, paths, facecolor=COLOURS[kind], edgecolor=edge, linewidth=0.6, zorder=4)
    _fill(axes, signs, edgecolor=LINE, facecolor="none", linewidth=0.7, zorder=5)


def _label(axes: "Axes", steps: list[Step], index: int, box: Box) -> None:
    step = steps[index]
    if step.kind in (*MERGES, "pool", "resize", "cut out", "other"):
        return
    came = {steps[e.source].features for e in step.inputs}
    words = [] if came == {step.features} else [str(step.features)]
    words += [f"×{step.count}"] if step.count > 1 else []  # noqa: RUF001 - a product sign
    dark = step.kind in ("1x1 convolution", "embedding", "decoder")
    if words:
        axes.text(
            box.x,
            box.y,
            ("\n" if box.height > 0.7 else " ").join(words),
            fontsize=5 if box.height > 0.7 or len(words) == 1 else 4.2,
            color="#222222" if dark else "white",
            ha="center",
            va="center",
            linespacing=0.95,
            zorder=6,
        )


def _losses(axes: "Axes", steps: list[Step], layout: Layout) -> None:
    """A target under every supervised answer; above it where something else is below."""
    for step, box in zip(steps, layout.boxes, strict=True):
        if step.supervised:
            side = 1 if box.lane else -1
            edge = box.y + side * box.height / 2
            y = edge + side * 0.42
            _fill(
                axes,
                _lines([((box.x, edge), (box.x, y))]),
                edgecolor=LOSS,
                facecolor="none",
                linewidth=0.8,
                zorder=4,
            )
            _fill(axes, [_disc(box.x, y, 0.2)], facecolor="white", edgecolor=LOSS, linewidth=1.0, zorder=5)
            _fill(axes, [_disc(box.x, y, 0.08)], facecolor=LOSS, edgecolor="none", zorder=6)


def _bracket(axes: "Axes", layout: Layout, repeat: Repeat, top: float, text: float) -> None:
    boxes = layout.boxes[repeat.first : repeat.last + 1]
    left, right = min(b.x - b.width / 2 for b in boxes), max(b.x + b.width / 2 for b in boxes)
    y = top + 0.55
    corners = ((left, y - 0.25), (left, y), (right, y), (right, y - 0.25))
    _fill(axes, _lines([corners]), edgecolor=LINE, facecolor="none", linewidth=0.9, zorder=4)
    note = f"{repeat.count} times in a row, each with weights of its own"
    axes.text((left + right) / 2, y + 0.12, note, fontsize=SMALL * text, ha="center", va="bottom", color=LINE)


def _legend_handles(steps: list[Step], layout: Layout) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = [
        kind for kind in COLOURS if any(s.kind == kind for s in steps) and kind not in ("pool", "resize")
    ]
    handles: list[Any] = []
    for kind in kinds:
        if kind in MERGES:
            sign = "$+$" if kind == "add" else "$|$"
            handles.append(
                Line2D([], [], color=LINE, marker=sign, linestyle="", markersize=5, label=NAMES[kind])
            )
        else:
            handles.append(Patch(facecolor=COLOURS[kind], label=NAMES.get(kind, kind)))
    vias = {arrow.via for arrow in layout.arrows}
    for via, colour, name in (("pool", DOWN, "pooling"), ("resize", UP, "upsampling")):
        if via in vias:
            handles.append(Line2D([], [], color=colour, linewidth=1, label=name))
    ring = {"marker": "o", "markerfacecolor": "white", "linestyle": "", "markersize": 5}
    return [*handles, Line2D([], [], color=LOSS, label="a loss", **ring)]  # type: ignore[arg-type]


def _legend(axes: "Axes", handles: list[Any], columns: int, text: float) -> None:
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.0, 0.0),
        ncols=columns,
        fontsize=SMALL * text,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.4,
    )
