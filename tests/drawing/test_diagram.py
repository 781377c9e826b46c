"""Diagrams: what is recorded is what runs, and what is drawn lies where it should."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from hourglass.drawing.diagram import draw_network
from hourglass.drawing.diagram.layout import Box, Layout, arrange
from hourglass.drawing.diagram.record import Edge, Step, fingerprint, record
from hourglass.drawing.diagram.simplify import Repeat, fold, simplify
from hourglass.models.ablations import FinalLossHourglasses, SingleHourglass, SummedHourglasses
from hourglass.models.chained import ChainedPrediction
from hourglass.models.deeppose import DeepPose
from hourglass.models.multi_scale import MultiScaleStackedHourglass
from hourglass.models.residual_stacked import ResidualStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass


def on_meta(network: type[nn.Module], *args: object, **options: object) -> nn.Module:
    with torch.device("meta"):
        return network(*args, **options)


TOYS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "eccv": (lambda: on_meta(StackedHourglass, 3, 2, 16, 2), 32),
    "workshop": (lambda: on_meta(WorkshopStackedHourglass, 3, 2, 16, 2), 32),
    "single": (lambda: on_meta(SingleHourglass, 3, 16, 3, True), 32),
    "final loss": (lambda: on_meta(FinalLossHourglasses, 3, 16, 2), 32),
    "residual": (lambda: on_meta(ResidualStackedHourglass, 3, 5, 16, 2), 32),
    "mssh": (lambda: on_meta(MultiScaleStackedHourglass, 3, (8, 8, 4, 2, 2), 16, 2, "inception_a"), 64),
    "concat": (lambda: on_meta(MultiScaleStackedHourglass, 3, (8, 4, 2), 16, 2, fusion="concat"), 64),
    "lateral": (lambda: on_meta(MultiScaleStackedHourglass, 3, (8, 4, 2), 16, 2, lateral=True), 64),
    "deeppose": (lambda: on_meta(DeepPose, 3, ((0, 1),), 3, "alexnet", 2, 60), 64),
    "resnet": (lambda: on_meta(DeepPose, 3, ((0, 1),), 2, "resnet34", 2, 32), 64),
    "chained": (lambda: on_meta(ChainedPrediction, 5, (), 34, 2, 4), 64),
}
"""One small network of every family, with its input."""


@cache
def recorded(family: str) -> list[Step]:
    make, input_px = TOYS[family]
    return record(make(), input_px)


def count(steps: list[Step], kind: str) -> int:
    return sum(step.count for step in steps if step.kind == kind)


def supervised(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps if step.supervised]


# --- recording ----------------------------------------------------------------------------------------


class Flow(nn.Module):
    """One of everything; `spare` never runs and `twice` runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.left = nn.Conv2d(4, 4, 1)
        self.right = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.join = nn.Conv2d(8, 4, 1)
        self.spare = nn.Conv2d(4, 4, 1)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu(self.first(image / 2))
        small = self.right(F.max_pool2d(x, 2))
        large = F.interpolate(small, scale_factor=2.0) + self.left(x) + x
        y = self.twice(self.twice(large))
        z = self.join(torch.cat([y, x], 1)).flip(-1)
        return [self.head(z)]


def test_every_call_is_a_step_and_every_flow_an_edge() -> None:
    steps = record(Flow(), 16)
    told = [(s.kind, s.cells, s.features, tuple(e.source for e in s.inputs)) for s in steps]
    assert told == [
        ("image", 16, 3, ()),
        ("convolution", 8, 4, (0,)),
        ("pool", 4, 4, (1,)),
        ("convolution", 4, 4, (2,)),
        ("resize", 8, 4, (3,)),
        ("1x1 convolution", 8, 4, (1,)),
        ("add", 8, 4, (4, 5)),
        ("add", 8, 4, (6, 1)),
        ("convolution", 8, 4, (7,)),
        ("convolution", 8, 4, (8,)),
        ("concatenate", 8, 8, (9, 1)),
        ("1x1 convolution", 8, 4, (10,)),
        ("heatmaps", 8, 2, (11,)),
    ]
    assert supervised(steps) == ["heatmaps"]


def test_the_reader_gets_the_same_flow_with_fewer_boxes() -> None:
    steps = simplify(record(Flow(), 16))
    # Pooling and upsampling became arrows, and the two sums one.
    assert [(s.kind, s.inputs) for s in steps[2:5]] == [
        ("convolution", (Edge(1, "pool"),)),
        ("1x1 convolution", (Edge(1),)),
        ("add", (Edge(2, "resize"), Edge(3), Edge(1))),
    ]
    # The two calls of `twice` are no plain sequence, so they stay apart.
    assert [s.count for s in steps] == [1] * len(steps)


def test_recording_leaves_a_network_as_it_was() -> None:
    torch.manual_seed(0)
    network = StackedHourglass(3, 1, 16, 2).train()
    network.stem.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    record(network, 32)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    image = torch.rand(1, 3, 32, 32)
    assert network.eval()(image)[0].isfinite().all()


def test_a_network_that_ignores_its_image_is_refused() -> None:
    class Blind(nn.Module):
        def forward(self, image: Tensor) -> list[Tensor]:
            return [torch.zeros(1, 2, 4, 4)]

    with pytest.raises(ValueError, match="does not come from its image"):
        record(Blind(), 8)


@pytest.mark.parametrize(("stacks", "depth", "blocks"), [(1, 2, 1), (2, 3, 1), (3, 2, 2)])
def test_the_boxes_of_stacked_hourglasses_are_those_of_the_paper(
    stacks: int, depth: int, blocks: int
) -> None:
    steps = simplify(record(on_meta(StackedHourglass, 3, stacks, 16, depth, blocks), 64))
    # Three residuals in the stem; three at each level, one at the bottom and one behind each hourglass.
    assert count(steps, "residual") == 3 + stacks * (3 * depth + 1 + 1) * blocks
    assert count(steps, "convolution") == 1 + stacks
    assert count(steps, "heatmaps") == stacks
    assert count(steps, "1x1 convolution") == 2 * (stacks - 1)
    assert count(steps, "add") == stacks * depth + stacks - 1
    assert supervised(steps) == ["heatmaps"] * stacks
    # Each sum between stacks takes the stack's own input, its features and its heatmaps.
    merges = [s for s in steps if s.kind == "add" and len(s.inputs) == 3]
    assert len(merges) == stacks - 1
    assert sorted({s.cells for s in steps}) == sorted({64, 32, *(16 // 2**i for i in range(depth + 1))})


def test_losses_stand_where_they_are_applied() -> None:
    summed = simplify(record(on_meta(SummedHourglasses, 3, 2, 16, 2), 32))
    assert supervised(summed) == ["add"]
    assert count(summed, "heatmaps") == 2
    single = simplify(record(on_meta(SingleHourglass, 3, 16, 3, True), 64))
    assert [(s.kind, s.cells) for s in single if s.supervised] == [("heatmaps", c) for c in (4, 8, 16)]
    chained = simplify(record(on_meta(ChainedPrediction, 4, (), 34, 2, 4), 64))
    assert supervised(chained) == ["concatenate"]
    assert count(chained, "decoder") == 4
    cascade = simplify(record(on_meta(DeepPose, 3, ((0, 1),), 3, "alexnet", 2, 60), 64))
    assert supervised(cascade) == ["linear", "add", "add"]
    assert count(cascade, "cut out") == 2


def test_highways_are_edges_and_nothing_else() -> None:
    def edges(highways: str) -> list[tuple[Step, list[Step]]]:
        network = on_meta(ResidualStackedHourglass, 3, 5, 16, 2, 1, highways)
        steps = simplify(record(network, 32))
        return [(s, [steps[e.source] for e in s.inputs]) for s in steps]

    plain, with_highways = edges("none"), edges("input")
    assert len(plain) == len(with_highways)
    changed = [
        (new, olds, news)
        for (old, olds), (new, news) in zip(plain, with_highways, strict=True)
        if len(old.inputs) != len(new.inputs)
    ]
    # Of the four sums between five stacks only those before the fourth and the fifth take one thing more.
    assert [(s.kind, len(olds), len(news)) for s, olds, news in changed] == [("add", 3, 4), ("add", 3, 4)]


# --- folding ------------------------------------------------------------------------------------------


def test_equal_stacks_are_drawn_once() -> None:
    steps = simplify(record(on_meta(StackedHourglass, 3, 6, 16, 2), 32))
    folded, repeat = fold(steps)
    # All but the last stack, which merges nothing, are equal.
    two, _ = fold(simplify(record(on_meta(StackedHourglass, 3, 2, 16, 2), 32)))
    assert repeat is not None
    assert repeat.count == 5
    assert [(s.kind, s.inputs) for s in folded] == [(s.kind, s.inputs) for s in two]
    assert len(steps) == len(folded) + 4 * (repeat.last - repeat.first + 1)


@pytest.mark.parametrize("family", ["eccv", "workshop", "residual", "mssh", "concat", "deeppose", "chained"])
def test_what_only_looks_alike_is_not_folded(family: str) -> None:
    steps = simplify(recorded(family))
    assert fold(steps) == (steps, None)


def test_a_round_that_reaches_further_back_is_not_folded() -> None:
    def rounds(reach: int) -> list[Step]:
        steps = [Step("image", (), 8, 3, "", "")]
        for _ in range(6):
            start = len(steps) - 1
            for i in range(4):
                inputs = (Edge(start + i),) if i else (Edge(start), Edge(max(0, start - reach)))
                steps.append(Step("convolution", inputs, 8, 4, "", ""))
        return steps

    assert fold(rounds(0))[1] == Repeat(1, 4, 6)
    assert fold(rounds(5))[1] is None


def test_equal_neighbours_in_a_sequence_are_one_box() -> None:
    steps = simplify(record(on_meta(StackedHourglass, 3, 1, 16, 2, 4), 32))
    counts = [s.count for s in steps if s.kind == "residual"]
    assert counts[:3] == [1, 1, 1]
    assert set(counts[3:]) == {4}


# --- layout -------------------------------------------------------------------------------------------


def overlap(a: Box, b: Box) -> bool:
    return (
        abs(a.x - b.x) < (a.width + b.width) / 2 - 1e-6 and abs(a.y - b.y) < (a.height + b.height) / 2 - 1e-6
    )


def check(steps: list[Step], layout: Layout) -> None:
    boxes = layout.boxes
    assert not [(i, j) for i, j in combinations(range(len(boxes)), 2) if overlap(boxes[i], boxes[j])]
    for i, step in enumerate(steps):
        assert len([a for a in layout.arrows if a.target == i]) == len(step.inputs)
        low, high = layout.rows[step.cells]
        assert low - 1e-6 <= boxes[i].y - boxes[i].height / 2
        assert boxes[i].y + boxes[i].height / 2 <= high + 1e-6
    heights = sorted(layout.rows.items())
    assert all(a[1][1] < b[1][0] for a, b in pairwise(heights))
    for arrow in layout.arrows:
        source, target = boxes[arrow.source], boxes[arrow.target]
        assert source.x < target.x
        for (x0, y0), (x1, y1) in pairwise(arrow.points):
            assert abs(x0 - x1) < 1e-9 or abs(y0 - y1) < 1e-9
            path = Box((x0 + x1) / 2, (y0 + y1) / 2, abs(x0 - x1), abs(y0 - y1), 0)
            if abs(y0 - y1) < 1e-9:
                others = (b for i, b in enumerate(boxes) if i not in (arrow.source, arrow.target))
                assert not any(overlap(path, box) for box in others), (arrow, steps[arrow.target])


@pytest.mark.parametrize("family", TOYS)
def test_boxes_keep_apart_and_arrows_run_forward_and_around_them(family: str) -> None:
    steps = simplify(recorded(family))
    check(steps, arrange(steps))


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.sampled_from(["input", "merged", "output"])
)
def test_layout_of_any_stack(stacks: int, depth: int, blocks: int, highways: str) -> None:
    network = (
        on_meta(ResidualStackedHourglass, 3, stacks, 8, depth, blocks, highways)
        if stacks > 2
        else on_meta(StackedHourglass, 3, stacks, 8, depth, blocks)
    )
    steps = simplify(record(network, 32))
    layout = arrange(steps)
    check(steps, layout)
    # An hourglass: on the way through the residuals of one, resolution falls to the bottom, then rises.
    inner = [s for s in steps if s.group == "hourglasses.0" and s.kind == "residual"]
    order = sorted(inner, key=lambda s: layout.boxes[steps.index(s)].x)
    assert order[0].cells == 4 if depth == 1 else order[0].cells <= 4
    assert min(s.cells for s in inner) == 8 // 2**depth


def test_a_skip_stands_in_the_middle_of_its_way() -> None:
    steps = simplify(record(on_meta(StackedHourglass, 3, 1, 16, 3), 64))
    layout = arrange(steps)
    skips = [i for i, s in enumerate(steps) if s.kind == "residual" and "add" in kinds_after(steps, i)]
    level = [i for i in skips if steps[steps[i].inputs[0].source].cells == steps[i].cells]
    assert len(level) == 3
    for i in level:
        before = layout.boxes[steps[i].inputs[0].source]
        after = layout.boxes[next(j for j, s in enumerate(steps) if Edge(i) in s.inputs)]
        left = layout.boxes[i].x - before.x - before.width / 2
        right = after.x - after.width / 2 - layout.boxes[i].x
        assert left == pytest.approx(right, abs=0.01)


def kinds_after(steps: list[Step], index: int) -> set[str]:
    return {s.kind for s in steps if Edge(index) in s.inputs}


# --- pictures -----------------------------------------------------------------------------------------


def test_an_svg_is_the_same_each_time_and_says_what_is_in_it(tmp_path: Path) -> None:
    network = on_meta(StackedHourglass, 3, 5, 16, 2)
    for name in ("a.svg", "b.svg"):
        draw_network(network, 32, tmp_path / name, "five <stacks> & more")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    root = ET.parse(tmp_path / "a.svg").getroot()
    texts = {"".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")}
    assert {"five <stacks> & more", "residual", "a loss", "32 × 32", "2 × 2", "stem"} <= texts  # noqa: RUF001
    assert "4 times in a row, each with weights of its own" in texts
    assert fingerprint(record(network, 32)) in (tmp_path / "a.svg").read_text()
    draw_network(network, 32, tmp_path / "all.svg", folded=False)
    assert (tmp_path / "all.svg").stat().st_size > (tmp_path / "a.svg").stat().st_size
    assert "times in a row" not in (tmp_path / "all.svg").read_text()


def test_fingerprints_tell_networks_apart() -> None:
    prints = {family: fingerprint(recorded(family)) for family in TOYS}
    assert len(set(prints.values())) == len(prints)
    assert prints["eccv"] == fingerprint(record(TOYS["eccv"][0](), 32))


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("PDF", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_says_which_kind_of_picture(ending: str, start: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"network.{ending}"
    draw_network(TOYS["chained"][0](), 64, path)
    assert path.read_bytes().startswith(start)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    make, input_px = TOYS["eccv"]
    network = make()
    with pytest.raises(ValueError, match=r"network\.jpg: a diagram is a \.svg, \.png or \.pdf file"):
        draw_network(network, input_px, tmp_path / "network.jpg")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        draw_network(network, input_px, tmp_path / "file" / "network.svg")
