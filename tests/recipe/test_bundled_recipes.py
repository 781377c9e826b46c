"""The recipes that come with the package: what they say of themselves, and how they differ.

Names: the data (`mpii`, `flic`, `coco`), then the network. Names that recipes once had are spelt as one of
these with a preset for other data and overrides.
"""

import json
import re
import shlex
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16
from hourglass.data.formats import lsp, mpii
from hourglass.data.loading.records import load_records
from hourglass.models.build import build_network
from hourglass.recipe.network import NetworkRecipe, RecipeError
from hourglass.recipe.recipe import (
    Duration,
    Recipe,
    bundled_presets,
    bundled_recipes,
    find_recipe,
    load_recipe,
    old_names,
    recipe_to_yaml,
)
from hourglass.training.setup import lr_factor, make_optimiser

BUNDLED = bundled_recipes()
OURS = {"lspet_hg2_small", "lspet_hg2_small_192", "lspet_narrow", "synthetic_tiny"}
OURS |= {"people_finder", "people_hg2"}
PUBLISHED = sorted(set(BUNDLED) - OURS)
SKELETON = {"mpii": MPII16, "flic": FLIC11, "coco": COCO17, "lsp": LSP14, "lspet": LSP14}

DESIGNS = ("hg", "hg_int", "hg_stacked", "hg_stacked_int", "hg_stacked_add")
CAPACITIES = {"8x1": (8, 1), "4x2": (4, 2), "2x4": (2, 4), "1x8": (1, 8)}
SLIDES = ("deeppose", "chained", "stacked", "residual_stacked")


def read(name: str, *overrides: str) -> Recipe:
    return load_recipe(find_recipe(name), overrides)


def head(name: str) -> str:
    """The comment that a recipe opens with, as one line."""
    lines = BUNDLED[name].read_text(encoding="utf-8").split("\nnetwork:")[0].splitlines()
    assert all(line.startswith("# ") for line in lines)
    return " ".join(line.removeprefix("# ").strip().removesuffix("\\") for line in lines)


@cache
def millions(network: NetworkRecipe, data: str) -> str:
    """Parameters of the network, at its full size, for the joints of this data."""
    with torch.device("meta"):
        built = build_network(network, SKELETON[data])
    return f"{sum(p.numel() for p in built.parameters()) / 1e6:.2f}"


def differences(one: Recipe, other: Recipe) -> dict[str, Any]:
    """What `other` has where the two are not the same, by key."""
    a, b = asdict(one), asdict(other)
    return {f"{s}.{k}": b[s][k] for s in a for k in a[s] if a[s][k] != b[s][k]}


def test_every_published_experiment_has_one_recipe() -> None:
    originals = {
        *("mpii_hg8", "mpii_hg2", "mpii_hg2_pytorch", "mpii_workshop", "flic_hg1"),
        *(f"mpii_{name}" for name in (*DESIGNS, *CAPACITIES) if name != "8x1"),  # that is hg8
        *("mpii_mssh", "mpii_mssh_baseline"),
        *(f"coco_{name}" for name in SLIDES),
    }
    assert originals == set(PUBLISHED)
    assert set(bundled_presets()) == {"lspet", "lsp", "lsp_lspet", "mpii", "flic", "coco"}


def test_the_pytorch_releases_schedule_is_that_of_its_code() -> None:
    recipe, paper = read("mpii_hg2_pytorch"), read("mpii_hg2")
    assert (recipe.network, recipe.data) == (paper.network, paper.data)
    rate = [lr_factor(step, 200_000, recipe.schedule, 1390, 16) for step in (0, 99_999, 100_000, 199_999)]
    assert [1e-3 * factor for factor in rate] == pytest.approx([1e-3, 1e-3, 2e-4, 2e-4])
    assert recipe.train.batch_size == 16
    # Adam's betas, and no decay.
    optimiser = make_optimiser(torch.nn.Conv2d(1, 1, 1), recipe.optimiser)
    assert optimiser.defaults["betas"] == (0.9, 0.999)
    assert all(group["weight_decay"] == 0 for group in optimiser.param_groups)


# What a recipe says


@pytest.mark.parametrize("name", BUNDLED)
def test_it_opens_with_a_command_that_runs_it(name: str) -> None:
    found = re.search(rf"hourglass train {name}( +'?[a-z]+\.\w+=\S+)*", head(name))
    assert found
    command, action, recipe, *overrides = shlex.split(found[0])
    assert (command, action, recipe) == ("hourglass", "train", name)
    data = load_recipe(find_recipe(name), overrides).data
    assert data.name == "synthetic" or data.root.startswith("FOLDER")
    assert bool(data.annotations) == (data.name == "coco")
    assert data.train_split != data.val_split


@pytest.mark.parametrize("name", BUNDLED)
def test_it_is_complete_as_a_file_and_comes_back_from_one(name: str, tmp_path: Path) -> None:
    recipe = read(name)
    (tmp_path / "again.yaml").write_text(recipe_to_yaml(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe
    assert all(isinstance(drop, Duration) for drop in recipe.schedule.drops)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_as_many_parameters_as_it_says(name: str) -> None:
    said = re.search(r"(\d+\.\d\d) M parameters", head(name))
    assert said
    recipe = read(name)
    assert said[1] == millions(recipe.network, recipe.data.name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_says_what_was_published_and_measured(name: str) -> None:
    assert re.search(r"Not run to the end yet\.|Measured", head(name))
    assert "Published" in head(name)


def offers(name: str) -> list[str]:
    """Each `key=value` that the text gives, outside the command, as another reading of the sources."""
    found: list[str] = re.findall(r"(?<![\w'])[a-z]+\.\w+=\S+", head(name))
    return [offer.rstrip(".,;:)") for offer in found if not offer.startswith("data.")]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if offers(name)])
def test_other_readings_that_it_offers_are_recipes(name: str) -> None:
    other = read(name, *offers(name))
    assert differences(read(name), other).keys() == {offer.split("=")[0] for offer in offers(name)}
    assert float(millions(other.network, other.data.name)) > 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_splits_are_those_of_its_data(name: str) -> None:
    data = read(name).data
    known: dict[str, set[str]] = {
        "mpii": set(mpii.SPLITS),
        "flic": set(mpii.SPLITS),  # files of the same authors
        "lsp": set(lsp.LSP.splits),
        "lspet": set(lsp.LSPET.splits),
        "coco": {"train", "val"},  # parts of the files' names
    }
    assert {data.train_split, data.val_split} <= known[data.name]


def test_coco_recipes_read_both_splits(tmp_path: Path) -> None:
    recipe = read("coco_stacked", f"data.root={tmp_path}/{{split}}2017")
    triples = [n for i in range(17) for n in (10 + i, 20 + i, 2)]
    for number, split in enumerate(("train", "val")):
        photo = {"id": number, "file_name": f"{number:012d}.jpg", "width": 80, "height": 60}
        (tmp_path / f"{split}2017").mkdir()
        cv2.imwrite(
            str(tmp_path / f"{split}2017" / f"{number:012d}.jpg"), np.full((60, 80, 3), 128, np.uint8)
        )
        person = {
            "id": 5,
            "image_id": number,
            "category_id": 1,
            "bbox": [8, 18, 22, 22],
            "keypoints": triples,
        }
        category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
        content = {"images": [photo], "annotations": [person], "categories": [category]}
        (tmp_path / f"person_keypoints_{split}2017.json").write_text(json.dumps(content))
    pattern = tmp_path / Path(recipe.data.annotations).name
    data = replace(recipe.data, annotations=str(pattern))
    for number, split in enumerate((data.train_split, data.val_split)):
        (record,) = load_records(data, split)
        assert record.image_id == f"{number:012d}.jpg"
        assert record.skeleton.joints == COCO17.joints


# How recipes differ


def test_a_preset_changes_the_data_and_what_follows_from_them() -> None:
    for name in PUBLISHED:
        base = read(name)
        for preset, path in bundled_presets().items():
            other = read(name, f"+data={preset}", "data.workers=3")
            apart = {key for key in differences(base, other) if not key.startswith("data.")}
            assert apart <= {"network.order"} | ({"target.occluded"} if preset == "lspet" else set())
            assert (other.data.name, other.data.workers) == (preset, 3), path
            assert other.data.input_px == base.data.input_px
            assert bool(other.data.annotations) == (preset == "coco")
    assert read("people_hg2", "+data=lspet").data.sources == ()


def test_names_that_recipes_had_still_work_and_say_how_they_are_spelt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert len(old_names()) == 38
    for name in old_names():
        caplog.clear()
        recipe = read(name)
        assert f"recipe {name} is now spelt: {old_names()[name][0]}" in caplog.text
        preset = name.split("_")[0]
        assert recipe.data.name == preset
        if preset == "lspet" and name != "lspet_hg1":  # that has the passes of mpii_workshop
            # As many passes over its photos as the original makes over its own people.
            original = read(old_names()[name][0])
            people = {"mpii": 22_246, "flic": 3_987, "coco": 149_813}[original.data.name]
            epochs = [
                r.train.length.in_steps(count // r.train.batch_size, r.train.batch_size)
                * r.train.batch_size
                / count
                for r, count in ((original, people), (recipe, 8000))
            ]
            assert epochs[1] == pytest.approx(epochs[0], rel=0.02), name
            assert recipe.train.precision == "bf16"
    assert differences(read("lspet_hg8"), read("lspet_8x1")) == {}
    plain = read("lspet_mssh_concat", "train.batch_size=3")
    assert (plain.network.fusion, plain.train.batch_size) == ("concat", 3)


def test_presets_that_do_not_exist() -> None:
    for override in ("+data=cocoa", "+train=fast", "+data"):
        with pytest.raises(RecipeError, match=r"no preset|not of the form"):
            read("mpii_hg8", override)


@pytest.mark.parametrize("data", ["mpii", "lsp", "lspet"])
def test_each_variant_of_mssh_changes_what_its_name_says(data: str) -> None:
    base = read(f"{data}_mssh")
    for variant, changed in {
        "_equal_weights": {"target.adaptive": "none"},
        "_residual": {"network.unit": "residual"},
        "_inception_b": {"network.unit": "inception_b"},
        "_lateral": {"network.lateral": True},
        "_concat": {"network.fusion": "concat"},
    }.items():
        assert differences(base, read(f"{data}_mssh{variant}")) == changed
    plain = differences(base, read(f"{data}_mssh_baseline"))
    assert plain["network.build"] == "eccv"
    assert {key for key in plain if not key.startswith("network.")} <= {"target.adaptive", "target.occluded"}
    assert base.target.occluded == ("visible" if data == "lspet" else "negative")
    assert len(base.network.strides) == read(f"{data}_mssh_baseline").network.stacks == 8


def test_leeds_recipes_train_on_both_sets_too() -> None:
    for name in ("mpii_mssh", "mpii_mssh_baseline"):
        recipe = read(name, "+data=lsp_lspet", "data.root=BOTH")
        assert {recipe.data.train_split, recipe.data.val_split} <= set(lsp.BOTH_SPLITS)
        assert recipe.target.cells == "sum"


@pytest.mark.parametrize("data", ["mpii", "lspet"])
def test_designs_of_equal_size_differ_in_nothing_else(data: str) -> None:
    for name, (stacks, blocks) in CAPACITIES.items():
        recipe = read(f"{data}_{name}")
        assert (recipe.network.stacks, recipe.network.blocks) == (stacks, blocks)
        apart = differences(read(f"{data}_hg8"), recipe)
        assert apart.keys() <= {"network.stacks", "network.blocks"}
    for name in DESIGNS[1:]:
        assert differences(read(f"{data}_hg"), read(f"{data}_{name}")) == {"network.build": name}


def test_the_slides_rivals_share_data_and_augmentation() -> None:
    one, *others = (read(f"coco_{name}") for name in SLIDES)
    for other in others:
        # DeepPose cuts its later views out of a larger crop; all see 256 px or less at once.
        assert replace(other.data, input_px=512) == one.data
        assert (other.augment, other.optimiser) == (one.augment, one.optimiser)
        assert other.train.length == one.train.length
