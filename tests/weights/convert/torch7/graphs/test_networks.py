"""Networks out of Torch7 files: each stage is what the layers in the file compute, in any dialect."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hourglass.core.skeleton import MPII16
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe
from hourglass.synthetic.render import render
from hourglass.weights.convert.importing import import_checkpoint
from weights.convert.checks import answers_as, joints_of


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
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    stacks: int,
    joints: int,
    depth: int,
    package: str,
    kind: str,
    dialect: str,
    skip_first: bool,
) -> None:
    lua = graphs.Lua(package, dialect)
    graph = graphs.workshop(lua, joints, stacks, 8, depth, skip_first)
    path = torch7.written(tmp_path / "umich.t7", graph, kind)
    expected = graphs.workshop_forward(lua.weights.state, picture(), stacks, depth)
    assert compare(path, expected) == NetworkRecipe("workshop", stacks, 8, depth)


@pytest.mark.parametrize(("stacks", "depth", "blocks"), [(2, 4, 1), (1, 1, 2), (3, 2, 2)])
def test_the_eccv_network(
    torch7: SimpleNamespace,
    graphs: SimpleNamespace,
    tmp_path: Path,
    stacks: int,
    depth: int,
    blocks: int,
) -> None:
    lua = graphs.Lua()
    path = torch7.written(tmp_path / "model.t7", graphs.eccv(lua, 16, stacks, 8, depth, blocks))
    expected = graphs.eccv_forward(lua.weights.state, picture(), stacks, depth, blocks)
    assert compare(path, expected) == NetworkRecipe("eccv", stacks, 8, depth, blocks)


def test_weights_that_share_one_storage(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    # getParameters() puts all of a network's weights into one storage, and saving keeps that.
    lua = graphs.Lua()
    graph = graphs.eccv(lua, stacks=1, depth=1)
    shared = [value for key, value in lua.weights.state.items() if "running_" not in key]
    path = torch7.written(tmp_path / "flat.t7", graph, one_storage=shared)
    flat = b"".join(value.numpy().tobytes() for value in shared)
    assert path.read_bytes().count(flat) == 1
    compare(path, graphs.eccv_forward(lua.weights.state, picture(), 1, 1))


def test_a_graph_within_a_table(torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path) -> None:
    lua = graphs.Lua()
    graph = graphs.eccv(lua, stacks=1, depth=1)
    path = torch7.written(tmp_path / "both.t7", {"model": graph, "epoch": 3, "options": {"lr": 2.5e-4}})
    compare(path, graphs.eccv_forward(lua.weights.state, picture(), 1, 1))


def test_a_photos_joints_are_the_networks(
    torch7: SimpleNamespace, graphs: SimpleNamespace, tmp_path: Path
) -> None:
    image = render(3, MPII16, 64, 64).image
    lua = graphs.Lua()
    path = torch7.written(tmp_path / "umich.t7", graphs.workshop(lua, depth=2), "Cuda")
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    answer = graphs.workshop_forward(lua.weights.state, x, depth=2)[-1][0]
    answers_as(path, "torch7", joints_of(answer, mmpose=False), image)
