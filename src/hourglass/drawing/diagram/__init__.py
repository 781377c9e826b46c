"""Diagrams of networks, drawn from the modules themselves: what runs is what is shown."""

from pathlib import Path

from torch import nn

FORMATS = ("svg", "png", "pdf")


def draw_network(network: nn.Module, input_px: int, path: Path, title: str = "", folded: bool = True) -> None:
    """Draw a network's blocks and what flows between them.

    Time goes from left to right and resolution from top to bottom, so that an hourglass looks like one. The
    network runs once on torch's meta device, where nothing is computed; boxes and arrows are what ran.

    Args:
        network: takes (1, 3, input_px, input_px) and returns a list of tensors, each supervised.
        path: an .svg, .png or .pdf file; the same network gives the same bytes.
        folded: draw three or more equal stacks in a row once, with their number.

    Raises ValueError for another ending or a network that ignores its image, OSError when `path` can't
    be written.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise ValueError(f"{path}: a diagram is a .svg, .png or .pdf file")

    from hourglass.drawing.diagram.layout import arrange
    from hourglass.drawing.diagram.paint import paint
    from hourglass.drawing.diagram.record import fingerprint, record
    from hourglass.drawing.diagram.simplify import fold, simplify

    recorded = record(network, input_px)
    steps = simplify(recorded)
    steps, repeat = fold(steps) if folded else (steps, None)
    paint(steps, arrange(steps), repeat, path, kind, title, fingerprint(recorded))
