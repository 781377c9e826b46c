"""Every layout with random weights: converted, each stage is what its own project computes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from hourglass.recipe.network import NetworkRecipe
from hourglass.weights.convert.importing import Imported, convert_file, import_checkpoint
from hourglass.weights.load import load_network, network_from_facts

State = dict[str, Tensor]
MEANS = {
    "bearpaw": (0.4404, 0.4440, 0.4327),
    "anibali": (0.4404, 0.4440, 0.4327),
    "princeton": (0.0, 0.0, 0.0),
    "mmpose": (123.675 / 255, 116.28 / 255, 103.53 / 255),
}
STDS = {"mmpose": (58.395 / 255, 57.12 / 255, 57.375 / 255)}


def picture(side: int = 64, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def prepared(source: str, image: Tensor) -> Tensor:
    """What that project feeds its network with, from the same bytes."""
    mean = torch.tensor(MEANS[source]).view(1, 3, 1, 1)
    std = torch.tensor(STDS.get(source, (1.0, 1.0, 1.0))).view(1, 3, 1, 1)
    return (image.float() / 255 - mean) / std


def check(
    path: Path, tmp_path: Path, source: str, expected: list[Tensor], image: Tensor, **options: Any
) -> Imported:
    """Convert, load as our own weights are loaded, and compare all stages."""
    out = tmp_path / "ours.safetensors"
    done = convert_file(path, out, source, **options)
    network, facts = load_network(out)
    assert facts == done.facts
    with torch.inference_mode():
        stages = network(image)
    assert len(stages) == len(expected)
    for ours, theirs in zip(stages, expected, strict=True):
        assert theirs.abs().max().item() > 0.1  # or the bound would mean nothing
        assert (ours - theirs).abs().max().item() < 1e-5
    return done


@pytest.mark.parametrize(("stacks", "depth", "blocks"), [(2, 4, 1), (1, 2, 3), (3, 1, 2)])
def test_bearpaw(others: SimpleNamespace, tmp_path: Path, stacks: int, depth: int, blocks: int) -> None:
    state = others.bearpaw(others.Writer(), 16, stacks, 16, depth, blocks)
    wrapped = {f"module.{key}": value for key, value in state.items()}
    optimizer = {"state": {0: {"step": 3, "square_avg": torch.ones(2)}}, "param_groups": [{"lr": 2.5e-4}]}
    file = {"epoch": 90, "arch": "hg", "state_dict": wrapped, "best_acc": 0.86, "optimizer": optimizer}
    torch.save(file, tmp_path / "model_best.pth.tar", _use_new_zipfile_serialization=False)
    image = picture()
    expected = others.bearpaw_forward(state, prepared("bearpaw", image), stacks, depth, blocks)
    done = check(tmp_path / "model_best.pth.tar", tmp_path, "bearpaw", expected, image)
    assert done.facts.network == NetworkRecipe("eccv", stacks, 16, depth, blocks, "wide")
    assert done.unused == 0


def test_anibali_without_counters_of_batches(others: SimpleNamespace, tmp_path: Path) -> None:
    state = others.bearpaw(others.Writer(counters=False))
    torch.save(state, tmp_path / "bearpaw_hg2.pth")
    image = picture()
    expected = others.bearpaw_forward(state, prepared("anibali", image))
    done = check(tmp_path / "bearpaw_hg2.pth", tmp_path, "anibali", expected, image)
    assert done.state["stem.0.1.num_batches_tracked"].item() == 0


def test_bearpaw_at_the_published_width(others: SimpleNamespace, tmp_path: Path) -> None:
    state = others.bearpaw(others.Writer(), f=256)
    save_file(state, tmp_path / "hg2.safetensors")
    image = picture(64, 1)
    expected = others.bearpaw_forward(state, prepared("bearpaw", image))
    (tmp_path / "out").mkdir()
    check(tmp_path / "hg2.safetensors", tmp_path / "out", "bearpaw", expected, image)


@pytest.mark.parametrize(("stacks", "depth"), [(2, 4), (1, 1), (3, 2)])
def test_princeton(others: SimpleNamespace, tmp_path: Path, stacks: int, depth: int) -> None:
    state = others.princeton(others.Writer(), 16, stacks, 16, depth)
    wrapped = {f"model.module.{key}": value for key, value in state.items()}
    torch.save({"state_dict": wrapped, "optimizer": {}, "epoch": 200}, tmp_path / "checkpoint.pt")
    image = picture()
    expected = others.princeton_forward(state, prepared("princeton", image), stacks, depth)
    done = check(tmp_path / "checkpoint.pt", tmp_path, "princeton", expected, image)
    assert done.facts.network == NetworkRecipe("eccv", stacks, 16, depth)
    # Residuals that keep their width: 1 in the stem, 3 a level, 1 at the bottom, 1 after the hourglass.
    assert done.unused == 2 * (1 + stacks * (3 * depth + 2))


def test_dead_skip_convolutions_have_no_say(others: SimpleNamespace, tmp_path: Path) -> None:
    state = others.princeton(others.Writer(), depth=1)
    torch.save(state, tmp_path / "a.pt")
    before = import_checkpoint(tmp_path / "a.pt", "princeton").state
    dead = [k for k in state if "skip_layer" in k and not k.startswith(("pre.1.", "pre.4."))]
    torch.save(state | {key: state[key] + 1 for key in dead}, tmp_path / "b.pt")
    after = import_checkpoint(tmp_path / "b.pt", "princeton").state
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    live = state | {"pre.4.skip_layer.conv.bias": state["pre.4.skip_layer.conv.bias"] + 1}
    torch.save(live, tmp_path / "c.pt")
    assert not torch.equal(
        import_checkpoint(tmp_path / "c.pt").state["stem.4.skip.bias"], before["stem.4.skip.bias"]
    )


@pytest.mark.parametrize(
    ("stacks", "head", "dead"), [(1, "keypoint_head", True), (2, "head", True), (1, "head", False)]
)
def test_mmpose(others: SimpleNamespace, tmp_path: Path, stacks: int, head: str, dead: bool) -> None:
    state = others.mmpose(others.Writer(), 17, stacks, 8, head, dead)
    torch.save({"meta": {"epoch": 210, "mmpose_version": "0.6.0"}, "state_dict": state}, tmp_path / "h52.pth")
    image = picture(128)
    expected = others.mmpose_forward(state, prepared("mmpose", image), stacks, head)
    done = check(tmp_path / "h52.pth", tmp_path, "mmpose", expected, image)
    assert done.facts.network == NetworkRecipe("cornernet", stacks, 8, 5)
    # One stack stores a block that stands between stacks: 2 convolutions, 2 norms of 5.
    assert done.unused == (12 if stacks == 1 and dead else 0)


@pytest.mark.parametrize("source", ["bearpaw", "princeton", "mmpose"])
def test_norms_are_those_of_the_sources(others: SimpleNamespace, tmp_path: Path, source: str) -> None:
    # No checkpoint says them: eps matters for answers, momentum for going on with training.
    torch.save(getattr(others, source)(others.Writer()), tmp_path / "x.pth")
    network = network_from_facts(import_checkpoint(tmp_path / "x.pth").facts)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) > 20
    assert {(norm.eps, norm.momentum, norm.affine) for norm in norms} == {(1e-5, 0.1, True)}


def test_levels_are_not_taken_for_one_another(others: SimpleNamespace, tmp_path: Path) -> None:
    # All levels have the same shapes, so only the answer shows a wrong order.
    state = others.bearpaw(others.Writer(), stacks=1, depth=2)
    turned = {
        key.replace(".hg.0.", ".hg.x.").replace(".hg.1.", ".hg.0."): value for key, value in state.items()
    }
    turned = {key.replace(".hg.x.", ".hg.1."): value for key, value in turned.items() if ".hg.x.3" not in key}
    turned |= {key: value for key, value in state.items() if ".hg.0.3" in key}
    assert turned.keys() == state.keys()
    answers = []
    for name, kept in (("a", state), ("b", turned)):
        torch.save(kept, tmp_path / f"{name}.pth")
        convert_file(tmp_path / f"{name}.pth", tmp_path / f"{name}.safetensors")
        with torch.inference_mode():
            answers.append(load_network(tmp_path / f"{name}.safetensors")[0](picture())[-1])
    assert (answers[0] - answers[1]).abs().max().item() > 0.01


def numbers(state: State) -> int:
    """Parameters, as the projects count them."""
    counted = (v for k, v in state.items() if "running_" not in k and "num_batches" not in k)
    return sum(value.numel() for value in counted)


def test_the_layouts_written_here_have_the_published_sizes(others: SimpleNamespace) -> None:
    def meta(counters: bool = True) -> Any:
        return others.Writer(counters, "meta")

    two = others.bearpaw(meta(), f=256)
    assert (len(two), numbers(two)) == (684, 6_730_912)
    assert len(others.bearpaw(meta(counters=False), f=256)) == 588
    assert numbers(others.bearpaw(meta(), 17, 4, 256)) == 13_020_612
    assert numbers(others.bearpaw(meta(), 17, 8, 256)) == 25_598_472
    stored = others.princeton(meta(), f=256)
    assert (len(stored), round(numbers(stored) / 1e6, 3)) == (742, 8.429)
    one = others.mmpose(meta(), f=256)
    assert round(numbers(one) / 1e6, 3) == round(94.844 + 0.004, 3)
    assert round(numbers(others.mmpose(meta(), stacks=2, f=256)) / 1e6, 1) == 187.7
