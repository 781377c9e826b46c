"""Networks out of Torch7 files: each stage is what the layers in the file compute, in any dialect."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hourglass.build import build_network
from hourglass.checkpoint import WeightsError
from hourglass.convert.importing import import_checkpoint
from hourglass.network_recipe import NetworkRecipe


def picture() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def compare(path: Path, expected: list[Tensor]) -> NetworkRecipe:
    """Each stage of the converted file against what was expected; returns which network it was taken for."""
    done = import_checkpoint(path)
    assert done.source == "torch7"
    network = build_network(done.facts.network, done.facts.skeleton).eval()
    network.load_state_dict(done.state)
    with torch.inference_mode():
        stages = network(picture())
    assert len(stages) == len(expected)
    for ours, theirs in zip(stages, expected, strict=True):
        assert theirs.abs().max().item() > 0.1
        assert (ours - theirs).abs().max().item() < 1e-5
    return done.facts.network


@pytest.mark.parametrize(
    ("stacks", "joints", "depth", "package", "kind", "dialect", "skip_first"),
    [
        (2, 16, 4, "cudnn", "Cuda", "usual", False),
        (1, 11, 2, "nn", "Float", "eps", True),
        (2, 16, 1, "nn", "Double", "old", False),
    ],
)
def test_the_workshop_network(
    others: SimpleNamespace,
    torch7: SimpleNamespace,
    tmp_path: Path,
    stacks: int,
    joints: int,
    depth: int,
    package: str,
    kind: str,
    dialect: str,
    skip_first: bool,
) -> None:
    lua = torch7.Lua(others, package, dialect)
    graph = torch7.workshop(lua, joints, stacks, 8, depth, skip_first)
    path = torch7.written(tmp_path / "umich.t7", graph, kind)
    expected = torch7.workshop_forward(others, lua.weights.state, picture(), stacks, depth)
    assert compare(path, expected) == NetworkRecipe("workshop", stacks, 8, depth)


@pytest.mark.parametrize(("stacks", "depth", "blocks"), [(2, 4, 1), (1, 1, 2), (3, 2, 2)])
def test_the_eccv_network(
    others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path, stacks: int, depth: int, blocks: int
) -> None:
    lua = torch7.Lua(others)
    path = torch7.written(tmp_path / "model.t7", torch7.eccv(lua, 16, stacks, 8, depth, blocks))
    expected = torch7.eccv_forward(others, lua.weights.state, picture(), stacks, depth, blocks)
    assert compare(path, expected) == NetworkRecipe("eccv", stacks, 8, depth, blocks)


def test_weights_that_share_one_storage(
    others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # getParameters() puts all of a network's weights into one storage, and saving keeps that.
    lua = torch7.Lua(others)
    graph = torch7.eccv(lua, stacks=1, depth=1)
    state = lua.weights.state
    owners = [value for key, value in state.items() if "running_" not in key]
    flat = np.concatenate([value.numpy().ravel() for value in owners])
    views, place = {}, 0
    for value in owners:
        views[id(value)] = torch7.View(flat, place, list(value.shape), "Float")
        place += value.numel()
    plain = torch7.Writer.write
    monkeypatch.setattr(torch7.Writer, "write", lambda self, value: plain(self, views.get(id(value), value)))
    path = torch7.written(tmp_path / "flat.t7", graph)
    assert path.read_bytes().count(flat.tobytes()) == 1
    compare(path, torch7.eccv_forward(others, state, picture(), 1, 1))


def test_a_graph_within_a_table(others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path) -> None:
    lua = torch7.Lua(others)
    graph = torch7.eccv(lua, stacks=1, depth=1)
    path = torch7.written(tmp_path / "both.t7", {"model": graph, "epoch": 3, "options": {"lr": 2.5e-4}})
    compare(path, torch7.eccv_forward(others, lua.weights.state, picture(), 1, 1))


# Other networks


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path, "torch7")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("part", "module", "fields", "words"),
    [
        (
            "pool",
            "nn.SpatialMaxPooling",
            {"kW": 3, "kH": 3, "dW": 2, "dH": 2},
            "a pooling of 2x2 was expected",
        ),
        ("relu", "nn.Sigmoid", {}, "nn.Sigmoid is no layer of a stacked hourglass"),
        ("up", "nn.SpatialUpSamplingNearest", {"scale_factor": 3}, "an upsampling by 2 was expected"),
        ("add", "nn.CMulTable", {}, "nn.CMulTable is no layer"),
        ("relu", "nngraph.Node", {}, "nngraph.Node is no module"),
    ],
)
def test_a_part_that_differs_is_described(
    others: SimpleNamespace,
    torch7: SimpleNamespace,
    tmp_path: Path,
    part: str,
    module: str,
    fields: dict[str, Any],
    words: str,
) -> None:
    lua = torch7.Lua(others)
    setattr(lua, part, lambda: torch7.Obj(module, **fields))
    assert words in refused(torch7.written(tmp_path / "x.t7", torch7.eccv(lua, stacks=1, depth=1)))


def without(key: str) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        module.fields.pop(key, None)

    return change


def striding(module: Any) -> None:
    if module.fields.get("kW") == 3:
        module.fields["dW"] = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("nInputPlane"), "has no nInputPlane"),
        (without("running_mean"), "has no running_mean"),
        (without("weight"), "SpatialConvolution has no weight"),
        (striding, "a 3x3 convolution of stride 1 was expected"),
    ],
)
def test_layers_that_lack_something_are_named(
    others: SimpleNamespace,
    torch7: SimpleNamespace,
    tmp_path: Path,
    change: Callable[[Any], None],
    words: str,
) -> None:
    lua = torch7.Lua(others)
    for part in ("conv", "norm"):
        build = getattr(lua, part)

        def changed(*arguments: Any, build: Any = build) -> Any:
            module = build(*arguments)
            change(module)
            return module

        setattr(lua, part, changed)
    assert words in refused(torch7.written(tmp_path / "x.t7", torch7.eccv(lua, stacks=1, depth=1)))


def test_both_known_networks_are_named(
    others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path
) -> None:
    lua = torch7.Lua(others)
    said = refused(torch7.written(tmp_path / "one.t7", lua.sequence(lua.conv("a", 3, 4), lua.relu())))
    assert "not the workshop network (heads.0: a convolution was expected, but there is a ReLU)" in said
    assert "not the ECCV 2016 network (heads.0:" in said


def test_a_graph_with_one_other_connection_is_not_taken(
    others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path
) -> None:
    # Every layer is there and of the right shape, but the hourglass pools what its skip branch has computed.
    lua = torch7.Lua(others)
    made: list[Any] = []
    plain = lua.node

    def node(module: Any, *sources: Any) -> Any:
        made.append((plain(module, *sources), sources))
        return made[-1][0]

    lua.node = node
    graph = torch7.eccv(lua, stacks=1, depth=1)
    pools = [i for i, (n, _) in enumerate(made) if "Pooling" in n.fields["data"]["module"].name]
    before = made[pools[1] - 1][0]
    made[pools[1]][0].fields["data"]["mapindex"] = torch7.Mapindex(before)
    said = refused(torch7.written(tmp_path / "swapped.t7", graph))
    assert "hourglasses.0: the two branches do not start from the same layer" in said


def test_circles_and_explosions_end(others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path) -> None:
    lua = torch7.Lua(others)
    start = lua.node(torch7.Obj("nn.Identity"))
    one = lua.node(lua.relu(), start)
    two = lua.node(lua.relu(), one)
    graph = lua.graph(start, [two])
    one.fields["data"]["mapindex"] = torch7.Mapindex(two)
    assert "circle" in refused(torch7.written(tmp_path / "circle.t7", graph))
    within_itself = lua.sequence()
    within_itself.fields["modules"] = torch7.rows(within_itself)
    assert "too deep" in refused(torch7.written(tmp_path / "self.t7", within_itself))
    bomb = lua.relu()
    for _ in range(40):
        bomb = torch7.Obj("nn.ConcatTable", modules=torch7.rows(bomb, bomb))
    assert "unfolds to more than" in refused(torch7.written(tmp_path / "bomb.t7", bomb))


@pytest.mark.parametrize(
    ("depth", "words"), [(30, "an hourglass of 30 levels"), (300, "too deep in one another")]
)
def test_endless_hourglasses_end(
    others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path, depth: int, words: str
) -> None:
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(100_000)  # for the writer alone
        graph = torch7.eccv(torch7.Lua(others), stacks=1, f=4, depth=depth)
        path = torch7.written(tmp_path / "deep.t7", graph)
        sys.setrecursionlimit(len(inspect.stack()) + 200)
        said = refused(path)
    finally:
        sys.setrecursionlimit(usual)
    assert words in said


def test_no_network_at_all(others: SimpleNamespace, torch7: SimpleNamespace, tmp_path: Path) -> None:
    lua = torch7.Lua(others)
    empty = lua.graph(lua.node(torch7.Obj("nn.Identity")), [])
    for value, words in (
        ({"x": 3}, "a table with 0 nn.gModule"),
        ({"a": empty, "b": torch7.Obj("nn.gModule")}, "a table with 2 nn.gModule"),
        (torch.ones(3), "not a network"),
        ("hello", "a str, not a network"),
        (empty, "a node that reads nothing"),
        (torch7.Obj("nn.gModule"), "a node without data"),
    ):
        assert words in refused(torch7.written(tmp_path / "x.t7", value))
