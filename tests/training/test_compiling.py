"""torch.compile where it works, and one line and the eager network where it doesn't."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import compiling
from hourglass.training.compiling import compile_parts, parts_of, try_compile, try_out, undo
from hourglass.training.loop import CHECKPOINT, train
from hourglass.training.state import checkpoint_hourglasses
from hourglass.weights.checkpoint import load_checkpoint

IMAGE = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()

WITHOUT = "train.compile: training goes on without, since compiling failed: "


def network() -> StackedHourglass:
    torch.manual_seed(0)
    return StackedHourglass(4, 3, 8, 2)


def traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the compiler trace, but leave out its slow half; the list grows with every graph it makes."""
    graphs: list[int] = []
    real = torch.compile

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    def compile_(function: Any, mode: str | None = None, dynamic: bool = False) -> Any:
        assert mode is None
        return real(function, backend=backend, dynamic=dynamic)

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", compile_)
    return graphs


def test_parts_are_those_with_several_convolutions_and_none_lies_in_another() -> None:
    net = network()
    parts = parts_of(net)
    assert parts == [net.stem, *net.hourglasses, *net.necks]
    inside = [id(m) for part in parts for m in part.modules()]
    assert len(inside) == len(set(inside))
    for build in ("workshop", "hg", "residual_stacked", "cornernet"):
        other = build_network(NetworkRecipe(build=build, features=8, depth=2), LSP14)
        convolutions = sum(isinstance(m, nn.Conv2d) for m in other.modules())
        covered = sum(isinstance(m, nn.Conv2d) for part in parts_of(other) for m in part.modules())
        assert covered > 0.8 * convolutions


@pytest.mark.slow
def test_a_compiled_network_answers_and_learns_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = traced(monkeypatch)
    plain, fast = network(), network()
    names = list(fast.state_dict())
    said: list[str] = []
    assert try_compile(fast, IMAGE, torch.float32, False, lambda ok: ok, said.append)
    assert not said
    assert list(fast.state_dict()) == names
    # Tried out once already, and nothing of it is left.
    for name, value in plain.state_dict().items():
        assert torch.equal(fast.state_dict()[name], value), name
    assert all(p.grad is None for p in fast.parameters())
    made = len(graphs)
    assert 0 < made < len(parts_of(fast))  # equal hourglasses share one graph
    for net in (plain, fast):
        net(IMAGE)[-1].square().mean().backward()
    assert len(graphs) == made
    for (name, p), q in zip(plain.named_parameters(), fast.parameters(), strict=True):
        if p.grad is None:
            assert q.grad is None
        else:
            torch.testing.assert_close(q.grad, p.grad, rtol=1e-4, atol=1e-6, msg=name)
    checkpoint_hourglasses(fast)
    assert try_out(fast, IMAGE, torch.float32) is None


def test_where_compiling_fails_the_network_runs_as_written_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_compiler(function: Any, mode: str | None = None, dynamic: bool = False) -> Any:
        def fails(*_: Any) -> None:
            raise RuntimeError("no C++ compiler here\nand many lines more")

        return fails

    monkeypatch.setattr(torch, "compile", no_compiler)
    net, plain, said = network(), network(), list[str]()
    assert not try_compile(net, IMAGE, torch.float32, False, lambda ok: ok, said.append)
    assert said == [f"{WITHOUT}no C++ compiler here"]
    assert torch.equal(net(IMAGE)[-1], plain(IMAGE)[-1])


def test_all_processes_compile_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    net, said = network(), list[str]()
    assert not try_compile(net, IMAGE, torch.float32, False, lambda ok: False, said.append)
    assert said == [
        "train.compile: training goes on without, since compiling failed: another process couldn't"
    ]
    assert not any("forward" in vars(m) for m in net.modules())


def test_recorded_graphs_are_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | None] = []

    def note(function: Any, mode: str | None, dynamic: bool) -> Any:
        modes.append(mode)
        return function

    monkeypatch.setattr(torch, "compile", note)
    said: list[str] = []
    assert try_compile(network(), IMAGE, torch.float32, True, lambda ok: ok, said.append)
    assert said == ["train.cuda_graphs: there are none on cpu; compiling without"]
    assert set(modes) == {None}
    net = network()
    compile_parts(net, cuda_graphs=True)
    assert modes[-1] == "reduce-overhead"
    undo(net)


def tiny(*more: str) -> Recipe:
    keys = ["network.features=8", "network.depth=2", "data.input_px=32", "data.people=8", "data.val_people=2"]
    keys += ["train.length.steps=2", "train.validate_every.steps=2", "train.batch_size=4"]
    return load_recipe(bundled_recipes()["synthetic_tiny"], [*keys, "train.precision=fp32", *more])


def test_a_run_whose_network_does_not_compile_is_the_run_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny(), tmp_path / "plain", "t")

    monkeypatch.setattr(compiling, "compile_parts", lambda *_: torch.manual_seed(99))
    monkeypatch.setattr(compiling, "try_out", lambda *_: RuntimeError("backend 'inductor' failed"))
    with caplog.at_level(logging.WARNING):
        train(tiny("train.compile=on"), tmp_path / "run", "t")
    lines = [r.getMessage() for r in caplog.records if "compile" in r.getMessage()]
    assert lines == [f"{WITHOUT}backend 'inductor' failed"]
    a, b = (load_checkpoint(tmp_path / name / CHECKPOINT)["network"] for name in ("plain", "run"))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch about itself
def test_a_compiled_run_is_close_to_the_run_without(tmp_path: Path) -> None:
    """With the machine's own compiler."""
    for name, more in (("plain", "off"), ("fast", "on")):
        train(tiny(f"train.compile={more}"), tmp_path / name, "t")
    a, b = (load_checkpoint(tmp_path / name / CHECKPOINT)["network"] for name in ("plain", "fast"))
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(b[key].float(), a[key].float(), rtol=0.1, atol=1e-2)
