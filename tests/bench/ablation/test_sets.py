from dataclasses import replace
from pathlib import Path

import pytest

from hourglass.bench.ablation.sets import AblationSet, Claim, Design, bundled_sets, load_set
from hourglass.core.skeleton import FLIC11, LSP14
from hourglass.models.build import build_network
from hourglass.models.parts import trainable_parameters
from hourglass.recipe.network import RecipeError

TWO = (Design("One"), Design("Two", ("network.stacks=1",)))


@pytest.mark.parametrize("name", bundled_sets())
def test_every_design_of_a_bundled_set_makes_its_own_network_or_loss(name: str) -> None:
    ablation = load_set(name)
    recipes = [ablation.load(design, 0) for design in ablation.designs]
    assert len({(repr(r.network), repr(r.target)) for r in recipes}) == len(recipes)
    for recipe in recipes:
        build_network(recipe.network, FLIC11 if name.startswith("flic_") else LSP14)
        batch = recipe.train.batch_size
        assert recipe.train.length.in_steps(1, batch) * batch >= 6000 * 8  # one budget of crops, to be fair
    assert len({r.train.length.in_steps(1, r.train.batch_size) * r.train.batch_size for r in recipes}) == 1
    assert ablation.claim
    assert f"hourglass ablate {name}" in bundled_sets()[name].read_text()


def test_what_the_sets_compare() -> None:
    flic = {"flic_designs", "flic_capacity", "flic_mssh", "flic_systems", "flic_mssh8"}
    assert set(bundled_sets()) == {"designs", "capacity", "mssh", "systems", "sums", "hidden", *flic}
    assert len(load_set("designs").designs) == 5
    assert len(load_set("designs").seeds) >= 2
    assert [len(load_set(name).designs) for name in ("capacity", "mssh", "systems")] == [4, 7, 4]


@pytest.mark.parametrize("name", ["designs", "capacity", "mssh", "systems"])
def test_the_sets_on_flic_are_those_on_leeds_with_three_seeds(name: str) -> None:
    plain, flic = load_set(name), load_set(f"flic_{name}")
    assert [d.name for d in flic.designs] == [d.name for d in plain.designs]
    assert flic.claims == plain.claims
    assert flic.claims
    assert flic.seeds == (0, 1, 2)
    assert flic.thresholds == (0.2, 0.1)
    for a, b in zip(plain.designs, flic.designs, strict=True):
        one, other = plain.load(a, 0), flic.load(b, 0)
        # On FLIC a joint's box is one torso wide.
        assert replace(other.network, box_sigma=one.network.box_sigma) == one.network
        assert (other.target, other.optimiser) == (one.target, one.optimiser)
        assert (other.data.name, other.data.input_px) == ("flic", 128)
    baseline = load_set("mssh").designs[0]
    assert load_set("mssh").load(baseline, 0).network.stem == "wide"  # as mpii_mssh_baseline


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
    said = replace(ablation, claims=(Claim("One", "Two"),))
    assert said.only(["one", "two"]).claims == said.claims
    assert not said.only(["two"]).claims
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
        (
            "title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {name: B}]\n"
            "claims: [{better: A, worse: C}]",
            "claims: there is no design 'C' among A, B",
        ),
        (
            "title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {name: B}]\n"
            "claims: [{better: A, worse: B, joints: some}]",
            "bad.yaml: claims: joints: 'some' is not one of all, hidden",
        ),
        (
            "title: T\nrecipe: synthetic_tiny\ndesigns: [{name: A}, {name: B}]\nthresholds: [0]",
            "thresholds: give one or more positive",
        ),
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
