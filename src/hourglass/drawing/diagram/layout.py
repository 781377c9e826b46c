"""Where the boxes and arrows of a diagram go: time from left to right, resolution from top to bottom.

Every resolution is a row. Within a row there are lanes, one above the other: boxes that follow one another
without a change of size stay in one lane, and what runs beside them gets a lane above. Arrows run along
lanes and turn only where they begin or end.
"""

from dataclasses import dataclass
from itertools import pairwise

from hourglass.drawing.diagram.record import Edge, Step
from hourglass.drawing.diagram.simplify import consumers

GAP, TURN = 0.5, 0.3
"""Between neighbours in a row, and between an arrow's turn and the box beside it."""
NARROW = 75.0
"""Diagrams wider than this are drawn with narrower boxes."""
LANE, LANE_BOX = 0.66, 0.44
"""Between the lanes above a row's first one, and the height of boxes in them."""
ROW_GAP = 0.75
ASIDE = 0.1
"""From a box's middle to where arrows come or go at its top or bottom."""
MERGES = ("add", "concatenate")

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Middle and size; y grows upwards."""

    x: float
    y: float
    width: float
    height: float
    lane: int
    """0 is the lowest of its row."""


@dataclass(frozen=True)
class Arrow:
    """A flow along its corners."""

    source: int
    target: int
    via: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """Everything that is drawn."""

    boxes: list[Box]
    arrows: list[Arrow]
    rows: dict[int, tuple[float, float]]
    """Cells to the bottom and top of their row."""
    narrow: bool
    """Boxes are too narrow for words."""


@dataclass
class _Strand:
    """What runs along a row from `left` to `right`: a chain of boxes, or arrows with a common end."""

    cells: int
    left: float
    right: float
    steps: list[int]
    lane: int = 0


def arrange(steps: list[Step]) -> Layout:
    """Place everything; the first step is at x = 0, the lowest row at y = 0."""
    widths = _Widths()
    x = _columns(steps, widths)
    if max(x) > NARROW:
        widths = _Widths(0.55)
        x = _columns(steps, widths)
    sides = sorted({step.cells for step in steps})
    heights = {cells: 0.5 + 0.5 * i / max(1, len(sides) - 1) for i, cells in enumerate(sides)}
    strands, lane_of_edge = _strands(steps, x, widths)
    _colour(strands)
    lane_of_step = {i: strand.lane for strand in strands for i in strand.steps}
    rows: dict[int, tuple[float, float]] = {}
    y = 0.0
    for cells in sides:
        lanes = max([s.lane for s in strands if s.cells == cells], default=0)
        rows[cells] = (y, y + heights[cells] + lanes * LANE + 0.1 * bool(lanes))
        y = rows[cells][1] + ROW_GAP

    def middle(cells: int, lane: int) -> float:
        low = rows[cells][0]
        return low + heights[cells] + (lane - 0.5) * LANE + 0.1 if lane else low + heights[cells] / 2

    boxes = []
    for i, step in enumerate(steps):
        width = widths.of(step)
        height = width if step.kind in (*MERGES, "pool", "resize") else heights[step.cells]
        lane = lane_of_step[i]
        boxes.append(
            Box(x[i], middle(step.cells, lane), width, min(height, LANE_BOX) if lane else height, lane)
        )
    arrows = []
    for i, step in enumerate(steps):
        for edge in step.inputs:
            strand = lane_of_edge.get((edge.source, i))
            run = None if strand is None else middle(strand.cells, strand.lane)
            arrows.append(_route(edge, i, steps, boxes, run))
    return Layout(boxes, arrows, rows, widths.scale < 1)


@dataclass(frozen=True)
class _Widths:
    """Of boxes and between them."""

    scale: float = 1.0

    def of(self, step: Step) -> float:
        if step.kind in MERGES:
            return 0.5 * max(self.scale, 0.8)
        return 0.3 if step.kind in ("pool", "resize") else self.scale

    def between(self, a: Step, b: Step) -> float:
        """Middle to middle, where b takes a's result."""
        if a.cells == b.cells or a.group != b.group:
            return (self.of(a) + self.of(b)) / 2 + GAP * self.scale
        # They may stand above one another, so only the arrow's turn needs room.
        if b.cells > a.cells:
            cards = 0.15 if a.count > 1 else 0.0
            return max(self.of(a), 0.4) / 2 + TURN * max(self.scale, 0.8) + cards
        return max(self.of(b), 0.4) / 2 + TURN * max(self.scale, 0.8)


def _columns(steps: list[Step], widths: _Widths) -> list[float]:
    """As early as the inputs allow; a branch that waits for others of its block stands in their middle."""
    x: list[float] = []
    for step in steps:
        x.append(max((x[e.source] + widths.between(steps[e.source], step) for e in step.inputs), default=0.0))
    users = consumers(steps)
    done: set[int] = set()
    for i, step in enumerate(steps):
        if i in done or len(step.inputs) != 1:
            continue
        chain = [i]
        while len(users[chain[-1]]) == 1 and len(steps[users[chain[-1]][0]].inputs) == 1:
            chain.append(users[chain[-1]][0])
        done.update(chain)
        if len(users[chain[-1]]) != 1 or steps[chain[-1]].supervised:
            continue
        target = users[chain[-1]][0]
        if steps[target].kind in MERGES and all(steps[j].block == steps[target].block for j in chain):
            slack = x[target] - x[chain[-1]] - widths.between(steps[chain[-1]], steps[target])
            for j in chain:
                x[j] += slack / 2
    return x


def _chains(steps: list[Step]) -> list[list[int]]:
    """All steps, in chains that stay in one row; of the ways through a row, first the one of most layers."""
    free = set(range(len(steps)))
    chains: list[list[int]] = []
    while free:
        layers: dict[int, float] = {}
        before: dict[int, int | None] = {}
        for i in sorted(free):
            level = [e.source for e in steps[i].inputs if e.source in free]
            level = [s for s in level if steps[s].cells == steps[i].cells]
            before[i] = max(level, key=lambda s: (layers[s], s), default=None)
            came = before[i]
            # Of two ways of one length the one to an answer is the main one.
            layers[i] = steps[i].count + 0.5 * steps[i].supervised + (layers[came] if came is not None else 0)
        end: int | None = max(sorted(free), key=lambda i: layers[i])
        chain: list[int] = []
        while end is not None:
            chain.insert(0, end)
            end = before[end]
        free -= set(chain)
        chains.append(chain)
    return chains


def _strands(
    steps: list[Step], x: list[float], widths: _Widths
) -> tuple[list[_Strand], dict[tuple[int, int], _Strand]]:
    """Everything that needs a lane, and for each arrow that runs along a row what it runs in."""

    def edges(i: int) -> tuple[float, float]:
        half = widths.of(steps[i]) / 2
        return x[i] - half, x[i] + half

    strands = []
    along: dict[tuple[int, int], _Strand] = {}
    first, last = set(), set()
    for chain in _chains(steps):
        strand = _Strand(steps[chain[0]].cells, edges(chain[0])[0], edges(chain[-1])[1], chain)
        strands.append(strand)
        along.update(dict.fromkeys(pairwise(chain), strand))
        first.add(chain[0])
        last.add(chain[-1])
    hubs: dict[tuple[bool, int, int], _Strand] = {}
    for i, step in enumerate(steps):
        for source in (e.source for e in step.inputs):
            flat = steps[source].cells == step.cells
            near = x[i] - x[source] < widths.between(steps[source], step) + 0.1
            if (source, i) in along or (near and not flat):
                continue
            # An arrow between rows runs along the lower one. It may pass where its own ends stand, unless the
            # lane goes on there.
            left = edges(source)[1] if source in last else x[source]
            right = edges(i)[0] if i in first else x[i]
            # Arrows from one box share a lane, and so do arrows that are put side by side in one.
            joins = step.kind == "concatenate"
            cells = min(steps[source].cells, step.cells)
            hub = (joins, i if joins else source, cells)
            if hub not in hubs:
                hubs[hub] = _Strand(cells, left, right, [])
                strands.append(hubs[hub])
            hubs[hub].left, hubs[hub].right = min(hubs[hub].left, left), max(hubs[hub].right, right)
            along[source, i] = hubs[hub]
    return strands, along


def _colour(strands: list[_Strand]) -> None:
    """Give each strand the lowest lane that is free along it: long chains of boxes first, then arrows."""
    order = sorted(strands, key=lambda s: (not s.steps, -len(s.steps), s.right - s.left, s.left))
    placed: list[_Strand] = []
    for strand in order:
        near = (s for s in placed if s.cells == strand.cells)
        taken = {s.lane for s in near if s.left < strand.right and strand.left < s.right}
        strand.lane = next(lane for lane in range(len(strands)) if lane not in taken)
        placed.append(strand)


def _route(edge: Edge, target: int, steps: list[Step], boxes: list[Box], run: float | None) -> Arrow:
    a, b = boxes[edge.source], boxes[target]
    if run is None:
        run = min(a.y, b.y) if steps[edge.source].cells != steps[target].cells else a.y
    points: list[Point] = []
    # What comes and what goes stand apart, or an arrow that ends would look as if it went on.
    if abs(run - a.y) < 1e-6:
        points.append((a.x + a.width / 2, a.y))
    else:
        points += [(a.x + ASIDE, a.y), (a.x + ASIDE, run)]
    if abs(run - b.y) < 1e-6:
        points.append((b.x - b.width / 2, b.y))
    else:
        high = b.height / 2
        if steps[target].kind == "add":
            high = (high**2 - ASIDE**2) ** 0.5
        points += [(b.x - ASIDE, run), (b.x - ASIDE, b.y + (high if run > b.y else -high))]
    kind = steps[target].kind
    via = edge.via or (kind if kind in ("pool", "resize") else "")
    return Arrow(edge.source, target, via, tuple(points))
