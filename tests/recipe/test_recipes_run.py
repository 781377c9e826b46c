"""Every bundled recipe takes two optimiser steps: narrow and on rendered people, else as it is written.

Of those with the same network and target, as twins on other data are, all but the first are slow tests.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from hourglass.core.structs import PersonRecord
from hourglass.data.loading import records
from hourglass.models import build
from hourglass.recipe.data import DataRecipe
from hourglass.recipe.network import HOURGLASSES
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training import loop, state
from hourglass.training.logs import read_rows
from hourglass.weights.load import load_network

BUNDLED = bundled_recipes()
SKELETONS = {"mpii": "mpii16", "flic": "flic11", "coco": "coco17"}
PEOPLE, BATCH, STEPS = 4, 2, 2

SMALL = [
    *(f"data.people={PEOPLE}", "data.val_people=2", "data.workers=1"),
    *(f"train.batch_size={BATCH}", f"train.length.steps={STEPS}", "train.precision=fp32", "train.init="),
    *(f"train.validate_every.steps={STEPS}", f"train.checkpoint_every.steps={STEPS}", "train.log_every=1"),
]


WHOLE_PHOTOS = {"people_finder"}
"""Rendered people come as crops; `training.test_finder_run` trains this one."""


def small(name: str) -> Recipe:
    """The recipe with fewer channels, cells and people; its build, stacks, blocks, losses and laws stay."""
    recipe = load_recipe(BUNDLED[name])
    keys = [
        *SMALL,
        "data.sources=[]",
        "data.name=synthetic",
        f"data.skeleton={SKELETONS.get(recipe.data.name, 'lsp14')}",
    ]
    if recipe.network.build in HOURGLASSES:
        # HG-Int supervises three levels on the way up; the others do with fewer.
        depth = 3 if recipe.network.build == "hg_int" else 2
        # Two cells at the bottom: a batch-norm over less has no gradient to give.
        keys += ["network.features=8", f"network.depth={depth}", f"data.input_px={8 * 2**depth}"]
    else:
        keys += ["network.width=4", "data.input_px=64"]
    if recipe.network.build == "deeppose":
        keys += ["network.view_px=64", f"train.length.steps={STEPS * recipe.network.stacks}"]
    if recipe.network.build == "chained":
        keys += ["network.hidden=4"]
    return load_recipe(BUNDLED[name], keys)


@pytest.fixture(scope="module")
def people() -> dict[tuple[str, str], list[PersonRecord]]:
    """By skeleton and split: rendered once."""
    return {}


Start = tuple[nn.Module, dict[str, Tensor]]


@pytest.fixture
def built(people: dict[tuple[str, str], list[PersonRecord]], monkeypatch: pytest.MonkeyPatch) -> list[Start]:
    """Every network that training builds, with a copy of the weights it starts from; the first is trained."""
    kept: list[Start] = []

    def load(data: DataRecipe, split: str) -> list[PersonRecord]:
        key = (data.skeleton, split)
        if key not in people:
            people[key] = records.load_records(data, split)
        return people[key]

    def build_and_keep(*arguments: object) -> nn.Module:
        network = build.build_network(*arguments)  # type: ignore[arg-type]
        kept.append((network, {name: p.detach().clone() for name, p in network.named_parameters()}))
        return network

    monkeypatch.setattr(loop, "load_records", load)
    monkeypatch.setattr(state, "build_network", build_and_keep)
    monkeypatch.setattr(loop, "_draw_curve", lambda out: None)  # half of a run's time, and the same for all
    return kept


def distinct_first() -> list[Any]:
    """Every recipe, marked slow where an earlier one has the same network and target."""
    seen: list[Any] = []
    marked = []
    for name, path in BUNDLED.items():
        if name in WHOLE_PHOTOS:
            continue
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
        what = (written["network"], written.get("target"))
        marked.append(pytest.param(name, marks=[pytest.mark.slow] if what in seen else []))
        seen.append(what)
    return marked


@pytest.mark.parametrize("name", distinct_first())
def test_a_bundled_recipe_trains(name: str, tmp_path: Path, built: list[Start]) -> None:
    recipe = small(name)
    loop.train(recipe, tmp_path, name, accelerator="cpu", watch=lambda row: None)
    stages, cascade = recipe.network.stages, recipe.network.build == "deeppose"

    rows = [row for row in read_rows(tmp_path / "log.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, STEPS * (stages if cascade else 1) + 1))
    for row in rows:
        terms = {key: value for key, value in row.items() if key.startswith("stage_")}
        # A cascade learns one stage at a time.
        assert list(terms) == [f"stage_{i + 1}" for i in range(1 if cascade else stages)]
        assert all(math.isfinite(value) and value > 0 for value in terms.values())

    trained, first = built[0]
    weights = dict(trained.named_parameters())
    still = {key for key, value in weights.items() if torch.equal(value, first[key])}
    # A batch-norm takes away the bias of the convolution before it, which then has no gradient to follow.
    idle = {key for key in weights if key.endswith(".bias") and weights[f"{key[:-4]}weight"].ndim > 1}
    assert not still - idle

    network, facts = load_network(tmp_path / loop.LAST)
    side = facts.input_px
    with torch.inference_mode():
        answers = network(torch.full((1, 3, side, side), 128, dtype=torch.uint8))
    assert len(answers) == stages
    cells = side // {"chained": 8, "mssh": 2}.get(recipe.network.build, 4)
    assert answers[-1].shape == (1, len(facts.skeleton), *((2,) if cascade else (cells, cells)))
    assert all(torch.isfinite(answer).all() for answer in answers)
    assert facts.network == recipe.network
