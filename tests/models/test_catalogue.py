"""The catalogue against published counts, bundled recipes and the pages that print its numbers."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from hourglass.core.skeleton import COCO17, FLIC11, MPII16
from hourglass.drawing.diagram.record import fingerprint, record
from hourglass.models.ablations import compare_designs
from hourglass.models.build import build_network
from hourglass.models.catalogue import PUBLISHED, Published, find, measure, on_meta
from hourglass.models.multi_scale import default_strides
from hourglass.models.parts import NetworkPart, ShapesOnly, forward_flops, parts
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.recipe.network import NetworkRecipe
from hourglass.recipe.recipe import find_recipe, load_recipe

PAGES = Path(__file__).parents[2] / "docs" / "models"
NAMES = [entry.name for entry in PUBLISHED]
SKELETONS = {len(skeleton): skeleton for skeleton in (MPII16, FLIC11, COCO17)}

# Millions of parameters and billions of multiply-adds, counted from the authors' and the ports' own code.
COUNTED = {
    "hg1": (3.426, 5.15),
    "hg2": (6.570, 8.33),
    "hg4": (12.858, 14.70),
    "hg8": (25.434, 27.44),
    "hg_4x2": (24.872, 25.16),
    "hg_2x4": (24.591, 24.02),
    "hg_1x8": (24.450, 23.45),
    "hg1_wide": (3.587, 5.80),
    "hg2_wide": (6.731, 8.99),
    "hg4_wide": (13.019, 15.36),
    "hg8_wide": (25.595, 28.09),
    "hg2_workshop": (26.371, 26.20),
    "hg_stacked": (26.212, 25.55),
    "hg_stacked_int": (26.371, 26.20),
    "hg_stacked_add": (26.371, 26.20),
}
# The same where the public code holds layers that it never uses: their parameters, in millions.
COUNTED_WITH_DEAD = {
    "hg_slides": (12.648, 0.070),
    "residual_stacked": (31.092, 0.070),
    "chained": (24.718, 0.152),
    "chained_5x5": (26.389, 0.250),
    "deeppose_slides": (21.354, 0.0),
    "deeppose_resnet34": (21.302, 0.0),
    "deeppose_resnet50": (23.578, 0.0),
    "deeppose_resnet101": (42.570, 0.0),
    "deeppose": (3 * 58.42, 0.0),
}


@cache
def network(name: str) -> nn.Module:
    return on_meta(find(name))


# --- entries ------------------------------------------------------------------------------------------


def test_every_published_network_is_there_once() -> None:
    wanted = set(COUNTED) | set(COUNTED_WITH_DEAD) | {"hg1_flic", "hg", "hg_int", "mssh"}
    wanted |= {f"mssh_{variant}" for variant in ("residual", "inception_b", "lateral", "concat")}
    assert set(NAMES) == wanted
    assert len(NAMES) == len(wanted)


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="no published network 'hg3'; known are hg1, hg2, "):
        find("hg3")
    assert find("hg8").joints == 16


@pytest.mark.parametrize("name", COUNTED)
def test_sizes_are_those_of_the_public_code(name: str) -> None:
    parameters, gmac = COUNTED[name]
    size = measure(find(name))
    assert size.parameters / 1e6 == pytest.approx(parameters, abs=0.0006)
    assert size.gflops / 2 == pytest.approx(gmac, rel=0.01)


@pytest.mark.parametrize("name", COUNTED_WITH_DEAD)
def test_sizes_are_those_of_the_public_code_without_what_it_never_uses(name: str) -> None:
    parameters, dead = COUNTED_WITH_DEAD[name]
    assert measure(find(name)).parameters / 1e6 == pytest.approx(parameters - dead, abs=0.003)


def test_flic_differs_from_its_count_by_the_heatmaps_only() -> None:
    # 13.265 M is for 16 joints; a heatmap of the last layer has 512 weights and a bias.
    assert measure(find("hg1_flic")).parameters / 1e6 == pytest.approx(13.265 - 5 * 513e-6, abs=0.0006)


@pytest.mark.parametrize("name", ["hg1", "hg1_flic", "deeppose", "chained_5x5"])
def test_flops_are_those_that_torch_counts(name: str) -> None:
    entry = find(name)
    assert measure(entry).gflops == pytest.approx(
        forward_flops(network(name), entry.input_px) / 1e9, rel=1e-9
    )


def test_shortcuts_end_with_their_context() -> None:
    torch.manual_seed(0)
    toy = StackedHourglass(3, 2, 16, 2).eval()
    image = torch.rand(1, 3, 64, 64)
    with ShapesOnly():
        fast = toy(image)
    plain = toy(image)
    assert [out.shape for out in fast] == [out.shape for out in plain]
    assert not torch.allclose(fast[-1], plain[-1])
    assert torch.equal(toy(image)[-1], plain[-1])


# --- recipes ------------------------------------------------------------------------------------------


def shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("entry", PUBLISHED, ids=NAMES)
def test_recipe_and_options_build_the_same_network(entry: Published) -> None:
    name, *overrides = entry.recipe.split()
    recipe = load_recipe(find_recipe(name), overrides)
    skeleton = SKELETONS[entry.joints]
    assert recipe.data.name == {16: "mpii", 11: "flic", 17: "coco"}[entry.joints]
    wanted = shapes(network(entry.name))
    with torch.device("meta"):
        assert shapes(build_network(entry.network, skeleton)) == wanted
        told = recipe.network
        if told.strides == default_strides(told.stacks):
            told = replace(told, strides=())  # the recipe spells the default out
        if told != entry.network:
            assert shapes(build_network(told, skeleton)) == wanted


def test_options_are_what_a_recipe_must_say() -> None:
    assert find("hg2").options == ()
    assert find("hg_4x2").options == ("network.stacks=4", "network.blocks=2")
    path = find_recipe("synthetic_tiny")
    keys = ("network.features=256", "network.depth=4", "data.input_px=256")
    for name in ("hg8", "hg1_wide", "hg_int", "mssh_concat", "residual_stacked"):
        entry = find(name)
        usual = NetworkRecipe()
        recipe = load_recipe(path, (*keys, f"network.stacks={usual.stacks}", *entry.options))
        assert recipe.network == entry.network


# --- parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hg8", "hg2_workshop", "mssh", "deeppose", "chained"])
def test_parts_add_up_to_the_network(name: str) -> None:
    entry = find(name)
    lines = parts(network(entry.name), entry.input_px)
    assert sum(part.parameters for part in lines) == measure(entry).parameters


def test_equal_neighbours_are_one_part() -> None:
    found = {part.name: part for part in parts(network("hg8"), 256)}
    # Thirteen residuals of 214,528 parameters each.
    assert found["hourglasses"] == NetworkPart("hourglasses", 8, 8 * 13 * 214_528, (256, 64, 64))
    assert found["heads"] == NetworkPart("heads", 8, 8 * (256 * 16 + 16), (16, 64, 64))
    assert found["merge_features"].count == 7
    by_scale = [part for part in parts(network("mssh"), 256) if part.name.startswith("heads")]
    assert [(part.name, part.count, part.output) for part in by_scale] == [
        ("heads 1 to 3", 3, (16, 32, 32)),
        ("heads 4 to 6", 3, (16, 64, 64)),
        ("heads 7 to 8", 2, (16, 128, 128)),
    ]
    # Each embedding is narrower than the one before: one line, without a shape.
    chain = {part.name: part for part in parts(network("chained"), 256)}
    assert (chain["embeddings"].count, chain["embeddings"].output) == (16, None)


# --- pages --------------------------------------------------------------------------------------------

TEXTS = {path: path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))}


def tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Header and rows of each table."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines())
        yield header, rows


def test_pages_print_what_is_measured() -> None:
    seen: set[str] = set()
    for path, text in TEXTS.items():
        for header, rows in tables(text):
            if header[:3] != ["network", "M parameters", "GFLOPs"]:
                continue
            for name, parameters, gflops, published, scores, *_ in rows:
                entry = find(name.strip("`"))
                size = measure(entry)
                told = (parameters, gflops, published, scores)
                assert told == (
                    f"{size.parameters / 1e6:.3f}",
                    f"{size.gflops:.2f}",
                    entry.counts_published or "none",
                    entry.scores or "none known",
                ), f"{path.name}: {name}"
                seen.add(entry.name)
    assert seen == set(NAMES)


def test_pages_print_the_parts_that_there_are() -> None:
    checked = []
    for path, text in TEXTS.items():
        for header, rows in tables(text):
            if not header[0].startswith("parts of"):
                continue
            entry = find(header[0].split("`")[1])
            wanted = [
                [
                    f"`{part.name}`" + (f" (x {part.count})" if part.count > 1 else ""),
                    f"{part.parameters / 1e6:.3f}",
                    "varies" if part.output is None else " x ".join(map(str, part.output)),
                ]
                for part in parts(network(entry.name), entry.input_px)
            ]
            assert rows == wanted, f"{path.name}: {entry.name}"
            checked.append(entry.name)
    assert len(checked) >= 6


def test_the_page_of_the_designs_prints_their_comparison() -> None:
    [rows] = [
        rows for header, rows in tables(TEXTS[PAGES / "workshop_ablations.md"]) if header[1] == "convolutions"
    ]
    assert [row[:3] for row in rows] == [
        [design.name, str(design.convolutions), f"{design.parameters / 1e6:.3f}"]
        for design in compare_designs()
    ]


def test_links_of_the_pages_lead_somewhere() -> None:
    pictures = set()
    for path, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if not target.startswith("https://"):
                assert (path.parent / target).resolve().is_file(), f"{path.name} links to {target}"
                pictures |= {Path(target).stem} if target.endswith(".svg") else set()
    assert pictures == {path.stem for path in (PAGES.parent / "images" / "models").iterdir()}


@pytest.mark.parametrize(
    "picture", sorted((PAGES.parent / "images" / "models").glob("*.svg")), ids=lambda path: path.stem
)
def test_diagrams_are_of_the_networks_as_they_are(picture: Path) -> None:
    entry = find(picture.stem)
    assert picture.stat().st_size < 150_000
    drawn = fingerprint(record(network(entry.name), entry.input_px))
    assert drawn in picture.read_text(encoding="utf-8"), (
        f"out of date: hourglass models {entry.name} --diagram docs/images/models/{picture.name}"
    )


def test_recipes_that_the_pages_name_exist() -> None:
    named = set()
    for text in TEXTS.values():
        named |= set(re.findall(r"hourglass train (\w+)", text))
    assert len(named) > 10
    for name in named:
        find_recipe(name)
