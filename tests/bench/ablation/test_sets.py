from pathlib import Path

import pytest

from hourglass.bench.ablation.sets import AblationSet, Design, bundled_sets, load_set
from hourglass.core.skeleton import LSP14
from hourglass.models.build import build_network
from hourglass.models.size import trainable_parameters
from hourglass.recipe.network import RecipeError

TWO = (Design("One"), Design("Two", ("network.stacks=1",)))


@pytest.mark.parametrize("name", bundled_sets())
def test_every_design_of_a_bundled_set_makes_its_own_network_or_loss(name: str) -> None:
    ablation = load_set(name)
    recipes = [ablation.load(design, 0) for design in ablation.designs]
    assert len({(repr(r.network), repr(r.target)) for r in recipes}) == len(recipes)
    for recipe in recipes:
        build_network(recipe.network, LSP14)
        assert recipe.train.length.steps is not None
        assert recipe.train.length.steps >= 6000  # one budget, as the issue of fairness asks
    assert ablation.claim
    assert f"hourglass ablate {name}" in bundled_sets()[name].read_text()


def test_what_the_sets_compare() -> None:
    assert set(bundled_sets()) == {"designs", "capacity", "mssh", "systems"}
    assert len(load_set("designs").designs) == 5
    assert len(load_set("designs").seeds) >= 2
    assert [len(load_set(name).designs) for name in ("capacity", "mssh", "systems")] == [4, 7, 4]


def test_designs_of_equal_capacity_have_equal_capacity() -> None:
    ablation = load_set("capacity")
    counts = [
        trainable_parameters(build_network(ablation.load(d, 0).network, LSP14)) for d in ablation.designs
    ]
    assert max(counts) / min(counts) < 1.06


def test_overrides_of_the_set_come_before_those_of_a_design(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "title: Mine\nrecipe: synthetic_tiny\noverrides: [network.features=16, train.batch_size=3]\n"
        "designs:\n- {name: A}\n- {name: B, overrides: [network.features=8]}\n"
    )
    mine = load_set(str(tmp_path / "mine.yaml"))
    a, b = (mine.load(design, 7) for design in mine.designs)
    assert (a.network.features, b.network.features) == (16, 8)
    assert a.train.batch_size == b.train.batch_size == 3
    assert a.train.seed == 7
    assert mine.seeds == (0,)


def test_every_design_runs_once_before_any_runs_twice() -> None:
    ablation = AblationSet("s", "S", "synthetic_tiny", TWO, (3, 5))
    assert [(d.name, seed) for d, seed in ablation.runs()] == [("One", 3), ("Two", 3), ("One", 5), ("Two", 5)]
    assert [d.name for d in ablation.only(["two"]).designs] == ["Two"]
    assert Design("HG-Stacked Int!").folder == "hg-stacked-int"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: T", "designs: is missing"),
        ("title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}]", "two designs or more"),
        (
            "title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {name: a}]",
            "would be called 'a'",
        ),
        ("title: T\nrecipe: synthetic_tiny\nseeds: [1, 1]\ndesigns: [{name: A}, {name: B}]", "each once"),
        ("title: T\nrecipe: synthetic_tiny\nspeed: 3\ndesigns: [{name: A}, {name: B}]", "speed"),
        ("title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {nam: B}]", "nam"),
        ("title: [", "not a readable YAML"),
    ],
)
def test_malformed_sets_are_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        load_set(str(path))
    assert "bad" in str(caught.value)


def test_a_design_that_does_not_load_is_named() -> None:
    ablation = AblationSet("s", "S", "synthetic_tiny", (Design("Fine"), Design("Off", ("network.stacks=0",))))
    with pytest.raises(RecipeError, match=r"s, Off: .*network\.stacks"):
        ablation.load(ablation.designs[1], 0)
    with pytest.raises(RecipeError, match=r"no design 'Of'; it has Fine, Off"):
        ablation.only(["Of"])
    with pytest.raises(RecipeError, match=r"no set 'desings'.*designs"):
        load_set("desings")
