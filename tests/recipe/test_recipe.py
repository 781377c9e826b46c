import ast
import inspect
import itertools
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from hourglass.recipe import recipe as module
from hourglass.recipe.data import (
    DataRecipe,
)
from hourglass.recipe.network import (
    NetworkRecipe,
    RecipeError,
)
from hourglass.recipe.recipe import (
    AugmentRecipe,
    Duration,
    OptimiserRecipe,
    Recipe,
    ScheduleRecipe,
    bundled_recipes,
    find_recipe,
    load_recipe,
    recipe_to_yaml,
)

BUNDLED = bundled_recipes()


def load(tmp_path: Path, text: str, *overrides: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(path, overrides)


# Writing


def test_the_defaults_are_a_recipe(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Recipe()
    assert load(tmp_path, recipe_to_yaml(Recipe())) == Recipe()


def test_every_written_recipe_names_every_option(tmp_path: Path) -> None:
    written = recipe_to_yaml(Recipe())
    for section in fields(Recipe):
        for option in fields(type(getattr(Recipe(), section.name))):
            assert f"  {option.name}:" in written


# Finding


def test_a_recipe_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_recipe("lspet_hg2_small") == BUNDLED["lspet_hg2_small"]
    (tmp_path / "mine.yaml").write_text("")
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"


def test_an_unknown_recipe_is_answered_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'lspet_hg3'.*lspet_hg2_small"):
        find_recipe("lspet_hg3")


# Values


def test_values_come_from_the_file_then_from_overrides(tmp_path: Path) -> None:
    text = "network: {stacks: 4}\ndata: {mean: [0, 0.5, 1]}\ntrain: {length: {steps: 30}, batch_size: 6}"
    recipe = load(tmp_path, text, "network.stacks=8", "optimiser.lr=1e-3", "data.root=a=b")
    assert recipe.network == NetworkRecipe(stacks=8)
    assert recipe.data.mean == (0.0, 0.5, 1.0)
    assert recipe.train.batch_size == 6
    assert recipe.train.length == Duration(steps=30)
    assert recipe.optimiser.lr == 1e-3
    assert recipe.data.root == "a=b"


def test_the_drops_of_a_schedule_are_durations(tmp_path: Path) -> None:
    text = "schedule: {name: step, drops: [{epochs: 3}, {steps: 40}]}"
    recipe = load(tmp_path, text)
    assert recipe.schedule.drops == (Duration(epochs=3), Duration(steps=40))
    assert load(tmp_path, recipe_to_yaml(recipe)) == recipe
    assert load(tmp_path, text, "schedule.drops=[{steps: 7}]").schedule.drops == (Duration(steps=7),)


def test_an_override_replaces_a_duration_in_another_unit(tmp_path: Path) -> None:
    text = "train: {length: {epochs: 10}}"
    assert load(tmp_path, text, "train.length.steps=5").train.length == Duration(steps=5)
    assert load(tmp_path, text, "train.validate_every.steps=5").train.validate_every == Duration(steps=5)


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (Duration(steps=7), 7),
        (Duration(epochs=2.5), 250),
        (Duration(examples=80), 10),
        (Duration(), 0),
        (Duration(steps=0), 0),
    ],
)
def test_a_duration_in_steps(duration: Duration, steps: int) -> None:
    assert duration.in_steps(steps_per_epoch=100, batch_size=8) == steps


NAMES = (
    *("2024_01_05", "007", "12:30", "0x1F", "1e3", "on", "yes", "null", "~", "a: b", "{set}", "[1]", "*star"),
    *(
        "ph #2",
        "${x}",
        "a\\${b}",
        "???",
        " lead",
        "'q'",
        '"',
        "a=b",
        "{split}.json",
        "",
        "1_000",
        "2024-01-05",
    ),
)
"""Folders and files may be called so; YAML reads something else in most of them."""


@pytest.mark.parametrize("name", NAMES)
def test_text_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    recipe = load(tmp_path, "data: {name: coco}", f"data.root={name}", f"train.init={name}")
    assert (recipe.data.root, recipe.train.init) == (name, name)
    # A run keeps its recipe as a file, and reads it again to go on.
    assert load(tmp_path, recipe_to_yaml(recipe)) == recipe


def test_text_in_a_file_is_taken_as_it_is_written(tmp_path: Path) -> None:
    text = "data: {name: coco, root: 007, annotations: 2024_01_05, category: on, train_split: 1e3}"
    data = load(tmp_path, text).data
    assert (data.root, data.annotations, data.category, data.train_split) == (
        "007",
        "2024_01_05",
        "on",
        "1e3",
    )
    (source,) = load(tmp_path, "data: {sources: [{name: coco, root: 12:30, annotations: 0x1F}]}").data.sources
    assert (source.root, source.annotations) == ("12:30", "0x1F")


# What is refused


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("network: {stcks: 2}", r"network\.stcks"),
        ("netwrk: {stacks: 2}", "netwrk"),
        ("network: {stacks: two}", r"network\.stacks.*'two'"),
        ("network: {stacks: 2.5}", r"network\.stacks.*2\.5"),
        ("network: {stacks: 0}", r"network\.stacks.*at least 1"),
        ("network: {build: resnet}", r"network\.build: 'resnet' is not one of eccv, workshop"),
        ("network: {build: workshop, blocks: 2}", r"network\.blocks"),
        ("network: 3", "network"),
        ("network:", "network"),
        ("network: [1]", "network"),
        ("[1, 2]", "mapping"),
        ("data: {name: imagenet}", r"data\.name: 'imagenet' is not one of lspet"),
        ("data: {workers: 0}", r"data\.workers"),
        ("data: {std: [0, 1, 1]}", r"data\.std"),
        ("data: {people: -1}", r"data\.people"),
        ("data: {crop: limb}", r"data\.crop: 'limb' is not one of box, limbs"),
        (
            "data: {name: mpii, crop: limbs}",
            r"data\.crop: limbs is no option of mpii, but of lspet, lsp",
        ),
        (
            "data: {name: pack, crop: limbs}",
            r"data\.crop: limbs is no option of .*; choose it when packing",
        ),
        ("data: {sides: left}", r"data\.sides: 'left' is not one of observer, person, or empty"),
        (
            "data: {name: synthetic, sides: observer}",
            r"data\.sides: observer is no option of synthetic",
        ),
        ("data: {sides: person}", r"data\.sides: person is no option of lspet, but of flic; .*no way back"),
        ("augment: {scale_law: cauchy}", r"augment\.scale_law: 'cauchy'"),
        ("augment: {flip_probability: 1.5}", r"augment\.flip_probability"),
        ("augment: {scale: 1.2, scale_law: uniform}", r"augment\.scale"),
        ("augment: {gain: 2}", r"augment\.gain"),
        ("augment: {erase: -0.1}", r"augment\.erase"),
        ("target: {sigma_hm: 0}", r"target\.sigma_hm"),
        ("target: {decoding: magic}", r"target\.decoding"),
        ("target: {peak_weight: -1}", r"target\.peak_weight"),
        ("optimiser: {name: sgd}", r"optimiser\.name"),
        ("optimiser: {lr: 0}", r"optimiser\.lr"),
        ("optimiser: {weight_decay: 0.1}", r"optimiser\.weight_decay.*adamw"),
        ("schedule: {name: cosine, drops: [{epochs: 3}]}", r"schedule\.drops"),
        ("schedule: {factor: 2}", r"schedule\.factor"),
        ("train: {batch_size: 0}", r"train\.batch_size"),
        ("train: {batch_size: null}", r"train\.batch_size"),
        ("train: {precision: fp8}", r"train\.precision"),
        ("train: {ema: 1}", r"train\.ema"),
        ("train: {accumulate: 0}", r"train\.accumulate.*at least 1"),
        ("train: {batch_size: 8, accumulate: 3}", r"train\.batch_size: 8 is no multiple of the 3 micro-b"),
        (
            "{target: {adaptive: square}, train: {accumulate: 2}}",
            r"train\.accumulate: must be 1 with target\.adaptive",
        ),
        ("train: {cuda_graphs: true}", r"train\.cuda_graphs: records what train\.compile made"),
        ("train: {compile: true, sync_batch_norm: true}", r"train\.compile: can't be used with train\.sync"),
        ("train: {augment_on: gpu}", r"train\.augment_on: 'gpu' is not one of auto, loader, device"),
        (
            "{network: {build: chained}, target: {loss: cross_entropy}, train: {compile: true}}",
            r"train\.compile: is made for networks of hourglasses, not for network\.build=chained",
        ),
        (
            "{network: {build: chained}, target: {loss: cross_entropy}, train: {checkpoint_hourglasses: on}}",
            r"train\.checkpoint_hourglasses: is made for networks of hourglasses",
        ),
        ("train: {channels_last: maybe}", r"train\.channels_last"),
        ("train: {length: {epoch: 3}}", r"train\.length\.epoch"),
        ("train: {length: {epochs: 0}}", r"train\.length"),
        ("train: {length: {epochs: -1}}", "epochs"),
        ("train: {length: {epochs: 1, steps: 4}}", "steps and epochs.*only one unit"),
        ("schedule: {warmup: {examples: 1, steps: 4}}", "steps and examples.*only one unit"),
        ("schedule: {drops: [{epochs: 3, steps: 4}]}", "steps and epochs.*only one unit"),
        ("data: {mean: 0.5}", r"data\.mean"),
        ("data: {sources: [{name: lspet}, {name: lspet}]}", "two are called 'lspet'"),
        ("data: {sources: [{name: lspet, share: 0.5}, {name: flic, share: 0.4}]}", "add up to 0.9, not to 1"),
        ("data: {sources: [{name: lspet, share: 1}, {name: flic}]}", "have a share and others don't"),
        ("data: {sources: [{name: lspet, share: 1.5}]}", r"lspet: the share 1\.5 must lie in 0\.\.1"),
        (
            "data: {sources: [{name: lspet, weight: 2}]}",
            r"lspet: the weight 2 of its labels must lie in 0\.\.1",
        ),
        ("data: {sources: [{name: lspet, train_split: ''}]}", "none is trained on"),
        ("data: {sources: [{name: lspet, val_split: ''}]}", "none is validated on"),
        (
            "data: {sources: [{name: lspet, train_split: '', val_split: ''}]}",
            "needs a train_split, a val_split",
        ),
        ("data: {sources: [{name: lspot}]}", r"data\.sources.*lspot"),
        (
            "data: {sources: [{name: lspet, sides: person}]}",
            r"data\.sources\.sides: person is no option of lspet",
        ),
        ("data: {skeleton: body, sources: [{name: lspet}]}", r"data\.skeleton: 'body' is not one of"),
        ("data: {name: flic, sources: [{name: lspet}]}", r"data\.name: must be left out with data\.sources"),
        (
            "augment: {absent: 0.5}\ntarget: {loss: coordinates}\nnetwork: {build: deeppose}",
            r"augment\.absent",
        ),
        ("augment: {grey: 0.5}\ntrain: {augment_on: device}", r"train\.augment_on: .*augment\.grey"),
        ("augment: {cut: 1.5}", r"augment\.cut"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "r.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("train.lr", "'train.lr' is not of the form"),
        ("train.lr=3", r"train\.lr"),
        ("networks.stacks=3", "networks"),
        ("network.stacks=three", r"network\.stacks"),
        ("data=3", "data"),
    ],
)
def test_a_wrong_override_is_refused_by_name(tmp_path: Path, override: str, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        load(tmp_path, "", override)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"a: b: c",
        b"\tx: 1",
        b"\xff\xfe\x00",
        b"network: !!python/object/apply:os.getcwd []",
        b"network: {stacks: 2}\nnetwork: {stacks: 3}",
    ],
)
def test_a_file_that_is_no_yaml_recipe_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"odd\.yaml is not a readable YAML recipe") as caught:
        load_recipe(tmp_path / "odd.yaml")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.yaml", tmp_path):
        with pytest.raises(RecipeError, match=str(path)):
            load_recipe(path)


@pytest.mark.parametrize("section", [DataRecipe, AugmentRecipe, OptimiserRecipe, ScheduleRecipe])
def test_recipes_cannot_be_changed_afterwards(section: type) -> None:
    with pytest.raises(AttributeError):
        section().name = "x"


# Documentation


def undocumented(section: type) -> set[str]:
    """Options whose name doesn't say all and that no string below explains."""
    (body,) = (n.body for n in ast.parse(inspect.getsource(section)).body if isinstance(n, ast.ClassDef))
    explained = set()
    for line, below in itertools.pairwise(body):
        if (
            isinstance(line, ast.AnnAssign)
            and isinstance(below, ast.Expr)
            and isinstance(line.target, ast.Name)
        ):
            explained.add(line.target.id)
    return {f.name for f in fields(section)} - explained


# Their name and their section's other lines say it.
PLAIN = {
    "DataRecipe": {"train_split", "val_split", "std"},
    "SourceRecipe": {"category", "crop", "sides"},
    "AugmentRecipe": {"rotate_law", "rotate_probability", "flip_probability"},
    "OptimiserRecipe": {"name"},
    "ScheduleRecipe": {"drops", "factor"},
    "TrainRecipe": {"length", "channels_last", "validate_every", "checkpoint_every", "seed"},
}


@pytest.mark.parametrize(
    "section",
    [c for c in vars(module).values() if isinstance(c, type) and is_dataclass(c) and c is not Recipe],
    ids=lambda c: c.__name__,
)
def test_every_option_is_explained(section: type) -> None:
    assert undocumented(section) <= PLAIN.get(section.__name__, set())
