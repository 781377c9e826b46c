"""A people finder through the training loop: it learns, goes on to the bit, and says what it can't use."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from hourglass.inference.people import PeopleFinder
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, bundled_recipes, load_recipe
from hourglass.training.logs import read_rows
from hourglass.training.loop import BEST, CHECKPOINT, Interrupted, train
from hourglass.weights.checkpoint import load_checkpoint
from hourglass.weights.load import load_network

TINY = [
    "network.features=8",
    "network.depth=2",
    "network.stacks=1",
    "data.input_px=64",
    "data.workers=1",
    "schedule.warmup.steps=2",
    "train.length.steps=6",
    "train.batch_size=4",
    "train.validate_every.steps=3",
    "train.checkpoint_every.steps=3",
    "train.log_every=1",
    "train.precision=fp32",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of one to three bright rectangles on grey, some of which have a twin nobody boxed."""
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    images, people = [], []
    for n in range(24):
        pixels = rng.integers(60, 100, (120, 160, 3)).astype(np.uint8)
        for _ in range(int(rng.integers(1, 3))):
            w, h = rng.integers(24, 60), rng.integers(50, 100)
            x, y = rng.integers(0, 160 - w), rng.integers(0, 120 - h)
            pixels[y : y + h, x : x + w] = (230, 60, 40)
            people.append({"image_id": n, "bbox": [int(v) for v in (x, y, w, h)], "category_id": 1})
        Image.fromarray(pixels).save(folder / f"{n}.png")
        split = "val" if n % 4 == 0 else "train"
        images.append({"id": n, "file_name": f"{n}.png", "width": 160, "height": 120, "split": split})
    (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": people}))
    return folder


def source(folder: Path, **more: Any) -> dict[str, Any]:
    return {"name": "coco", "root": str(folder), "annotations": str(folder / "boxes.json"), **more}


def recipe(folder: Path, *sources: dict[str, Any], more: tuple[str, ...] = ()) -> Recipe:
    """The bundled recipe, small, on other sources."""
    written = yaml.safe_load(bundled_recipes()["people_finder"].read_text())
    written["data"]["sources"] = list(sources)
    path = folder / "recipe_of_the_test.yaml"
    path.write_text(yaml.safe_dump(written))
    return load_recipe(path, [*TINY, *more])


def test_resuming_is_exact(data: Path, tmp_path: Path) -> None:
    two = recipe(
        tmp_path, source(data, label="a", share=0.75), source(data, label="b", share=0.25, val_split="")
    )
    train(two, tmp_path / "whole", "finder")
    with pytest.raises(Interrupted):
        train(two, tmp_path / "parts", "finder", stop_after=2)
    train(two, tmp_path / "parts", "finder", resume=True)
    whole, parts = (load_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    assert whole["step"] == parts["step"] == 6
    for name in ("network", "ema"):
        for key, tensor in whole[name].items():
            assert torch.equal(tensor, parts[name][key]), key
    rows = [r for r in read_rows(tmp_path / "whole" / "log.jsonl") if r["kind"] == "val"]
    assert [row["step"] for row in rows] == [3, 6]
    assert (tmp_path / "whole" / "curve.png").is_file()


@pytest.mark.slow
def test_it_learns_to_find(data: Path, tmp_path: Path) -> None:
    """A few hundred steps find the rectangles, with few false boxes, and the weights do so by themselves."""
    long = recipe(
        tmp_path,
        source(data),
        more=(
            "train.length.steps=400",
            "train.validate_every.steps=400",
            "optimiser.lr=3e-3",
            "train.ema=0.98",
        ),
    )
    train(long, tmp_path, "finder")
    network, facts = load_network(tmp_path / BEST)
    finder = PeopleFinder(network, facts)
    assert facts.metrics["recall"] is not None
    assert finder.min_score == facts.metrics["threshold"]
    truth = json.loads((data / "boxes.json").read_text())
    found = false = 0
    people = [p for p in truth["annotations"] if p["image_id"] % 4 == 0]
    for n in range(0, 24, 4):
        boxes, _ = PeopleFinder(network, facts, 0.3)(np.asarray(Image.open(data / f"{n}.png")))
        mine = [np.array(p["bbox"]) for p in people if p["image_id"] == n]
        hits = [any(overlap(box, person) >= 0.5 for box in boxes) for person in mine]
        found += sum(hits)
        false += sum(all(overlap(box, person) < 0.5 for person in mine) for box in boxes)
    assert found >= 0.7 * len(people)
    assert false <= 2


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    size = np.clip(np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = float(size.prod())
    return shared / float(a[2:].prod() + b[2:].prod() - shared)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("people_finder", ["data.sources=[]"], "data.sources"),
        ("people_finder", ["data.sources=[{name: lspet, root: a}]"], "boxes in COCO's form"),
        ("people_finder", ["augment.rotate_probability=0.4"], "augment.rotate_probability"),
        ("people_finder", ["augment.scale=0.25"], "augment.scale"),
        ("people_finder", ["augment.zoom=[1.5,0.5]"], "augment.zoom"),
        ("people_finder", ["augment.zoom=[1.5]"], "augment.zoom"),
        ("people_finder", ["target.loss=mse"], "target.loss"),
        ("people_finder", ["data.sources=[{name: coco, sure_score: 2}]"], "sure_score must lie in 0..1"),
        ("people_finder", ["train.augment_on=device"], "train.augment_on"),
        ("people_hg2", ["augment.mosaic=0.5"], "augment.mosaic"),
        ("people_hg2", ["target.loss=centers"], "target.loss"),
        ("people_hg2", ["data.sources=[{name: coco, partial: true}]"], "options of target.loss=centers"),
    ],
)
def test_recipes_that_contradict_themselves(name: str, overrides: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(bundled_recipes()[name], overrides)


def test_a_source_in_which_nobody_is_sure_is_named(data: Path, tmp_path: Path) -> None:
    people = json.loads((data / "boxes.json").read_text())
    for entry in people["annotations"]:
        entry["score"] = 0.1
    (tmp_path / "boxes.json").write_text(json.dumps(people))
    doubtful = source(data, sure_score=0.5) | {"annotations": str(tmp_path / "boxes.json")}
    with pytest.raises(ValueError, match=r"data.sources: coco: nobody is boxed for sure"):
        train(recipe(tmp_path, doubtful), tmp_path / "run", "finder")
