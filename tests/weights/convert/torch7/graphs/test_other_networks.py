"""Torch7 files with other networks, or damaged ones: what differs is named, and nothing is taken on trust."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hourglass.weights.checkpoint import WeightsError
from hourglass.weights.convert.importing import import_checkpoint


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
        ("relu", "nn.ReLU", {"threshold": 0.5, "val": 0}, "this one has a threshold of its own"),
        ("relu", "nn.ReLU", {"threshold": 0, "val": 0.5}, "this one has a threshold of its own"),
    ],
)
def test_a_part_that_differs_is_described(
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    part: str,
    module: str,
    fields: dict[str, Any],
    words: str,
) -> None:
    lua = graphs.Lua()
    setattr(lua, part, lambda: torch7.Obj(module, **fields))
    assert words in refused(torch7.written(tmp_path / "x.t7", graphs.eccv(lua, stacks=1, depth=1)))


def without(key: str) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        module.fields.pop(key, None)

    return change


def striding(module: Any) -> None:
    if module.fields.get("kW") == 3:
        module.fields["dW"] = 2


def with_field(key: str, value: Any, where: str) -> Callable[[Any], None]:
    def change(module: Any) -> None:
        if where in module.fields:
            module.fields[key] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("nInputPlane"), "has no nInputPlane"),
        (without("running_mean"), "has no running_mean"),
        (without("weight"), "SpatialConvolution has no weight"),
        (without("bias"), "has no bias"),
        (without("eps"), "has no eps between 0 and 0.1"),
        (with_field("eps", 0.5, "running_mean"), "has no eps between 0 and 0.1"),
        (with_field("weight", None, "running_mean"), "SpatialBatchNormalization has no weight"),
        (with_field("groups", 2, "kW"), "convolution of stride 1 was expected"),
        (striding, "a 3x3 convolution of stride 1 was expected"),
    ],
)
def test_layers_that_lack_something_are_named(
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    change: Callable[[Any], None],
    words: str,
) -> None:
    lua = graphs.Lua()
    for part in ("conv", "norm"):
        build = getattr(lua, part)

        def changed(*arguments: Any, build: Any = build) -> Any:
            module = build(*arguments)
            change(module)
            return module

        setattr(lua, part, changed)
    assert words in refused(torch7.written(tmp_path / "x.t7", graphs.eccv(lua, stacks=1, depth=1)))


def test_both_known_networks_are_named(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    lua = graphs.Lua()
    said = refused(torch7.written(tmp_path / "one.t7", lua.sequence(lua.conv("a", 3, 4), lua.relu())))
    assert "not the workshop network (heads.0: a convolution was expected, but there is a ReLU)" in said
    assert "not the ECCV 2016 network (heads.0:" in said


def test_a_graph_with_one_other_connection_is_not_taken(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    # Every layer is there and of the right shape, but the hourglass pools what its skip branch has computed.
    lua = graphs.Lua()
    made: list[Any] = []
    plain = lua.node

    def node(module: Any, *sources: Any) -> Any:
        made.append((plain(module, *sources), sources))
        return made[-1][0]

    lua.node = node
    graph = graphs.eccv(lua, stacks=1, depth=1)
    pools = [i for i, (n, _) in enumerate(made) if "Pooling" in n.fields["data"]["module"].name]
    before = made[pools[1] - 1][0]
    made[pools[1]][0].fields["data"]["mapindex"] = torch7.Mapindex(before)
    said = refused(torch7.written(tmp_path / "swapped.t7", graph))
    assert "hourglasses.0: the two branches do not start from the same layer" in said


def test_circles_and_explosions_end(torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path) -> None:
    lua = graphs.Lua()
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
    ("depth", "words"), [(30, "an hourglass of 30 levels"), (90, "too deep in one another")]
)
def test_endless_hourglasses_end(
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    depth: int,
    words: str,
) -> None:
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(100_000)  # for the writer alone
        graph = graphs.eccv(graphs.Lua(), stacks=1, f=4, depth=depth)
        path = torch7.written(tmp_path / "deep.t7", graph)
        sys.setrecursionlimit(len(inspect.stack()) + 80)
        said = refused(path)
    finally:
        sys.setrecursionlimit(usual)
    assert words in said


def test_no_network_at_all(torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path) -> None:
    lua = graphs.Lua()
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


def rewired(
    graphs: SimpleNamespace, build: Callable[..., Any], change: Callable[[Any, list[Any]], Any]
) -> Any:
    """A graph in which `change` may give a node other sources; it gets the node's module and sources."""
    lua = graphs.Lua()
    plain = lua.node
    lua.node = lambda module, *sources: plain(module, *change(module, list(sources)))
    return build(lua)


def test_a_sum_that_leaves_out_the_stacks_input_is_not_taken(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    # The second stack gets what the stem's middle residual said instead of what the first stack got.
    between: list[Any] = []

    def change(module: Any, sources: list[Any]) -> list[Any]:
        if module.name == "nn.Sequential" and not between:
            between.append(sources[0])
        return [between[0], *sources[1:]] if len(sources) == 3 else sources

    graph = rewired(graphs, lambda lua: graphs.eccv(lua, stacks=2, depth=1), change)
    said = refused(torch7.written(tmp_path / "x.t7", graph))
    assert "hourglasses.0: its input does not reach the next stack" in said


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("order", "it does not read the first stack's features and the stem's"),
        ("source", "it does not read the pooled output of the stem"),
        ("axis", "it does not join channels"),
    ],
)
def test_a_concatenation_of_anything_else_is_not_taken(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path, part: str, words: str
) -> None:
    seen: list[Any] = []

    def change(module: Any, sources: list[Any]) -> list[Any]:
        if module.name.endswith("Pooling"):
            seen.append(sources[0])
        if module.name != "nn.JoinTable":
            return sources
        if part == "axis":
            module.fields["dimension"] = 3
        return {"order": sources[::-1], "source": [sources[0], seen[0]], "axis": sources}[part]

    graph = rewired(graphs, lambda lua: graphs.workshop(lua, depth=1), change)
    assert words in refused(torch7.written(tmp_path / "x.t7", graph))


def test_a_graph_that_splits_a_table_is_not_taken(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    graph = graphs.eccv(graphs.Lua(), stacks=1, depth=1)
    node = next(o for o in torch7.objects(graph) if "module" in o.fields.get("data", {}))
    node.fields["data"]["selectindex"] = 1
    assert "splits a table" in refused(torch7.written(tmp_path / "x.t7", graph))


def test_one_network_has_one_eps(torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path) -> None:
    graph = graphs.eccv(graphs.Lua(), stacks=1, depth=1)
    norm = next(o for o in torch7.objects(graph) if "eps" in o.fields)
    norm.fields["eps"] = 2e-5
    said = refused(torch7.written(tmp_path / "x.t7", graph))
    assert "have not one eps but 1e-05, 2e-05" in said


def test_the_train_repositorys_early_networks_are_told_from_the_known_ones(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    # Without the residual after the hourglass (pose-hg-train in 2016): no network of ours.
    graph = graphs.eccv(graphs.Lua(), stacks=1, depth=1, neck=False)
    said = refused(torch7.written(tmp_path / "x.t7", graph))
    assert "no residual follows the hourglass" in said
