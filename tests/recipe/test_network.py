"""Options of the `network` section: which build has which, what is refused, what a network is said to be."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from hourglass.cli.main import app
from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.models.build import build_network
from hourglass.recipe.network import BUILDS, NetworkRecipe, RecipeError
from hourglass.recipe.recipe import load_recipe

FIVE = Skeleton("five", ("head", "left_hand", "right_hand", "left_foot", "right_foot"))
SINGLE = ("hg", "hg_int", "hg_stacked", "hg_stacked_int", "hg_stacked_add")
HOURGLASSES = {"eccv", "workshop", *SINGLE, "mssh", "residual_stacked", "cornernet", "people_finder"}

# By option: the builds that have it, and a value that is not the default.
OPTIONS: dict[str, tuple[set[str], Any]] = {
    "stacks": ({"eccv", "workshop", "mssh", "residual_stacked", "cornernet", "people_finder", "deeppose"}, 1),
    "features": (HOURGLASSES, 128),
    "depth": (HOURGLASSES, 3),
    "blocks": ({"eccv", "residual_stacked", "people_finder"}, 2),
    "stem": ({"eccv"}, "wide"),
    "norm": ({"eccv"}, "group"),
    "strides": ({"mssh"}, (8, 2)),
    "unit": ({"mssh"}, "inception_a"),
    "lateral": ({"mssh"}, True),
    "fusion": ({"mssh"}, "concat"),
    "dispatch": ({"mssh"}, "first"),
    "highways": ({"residual_stacked"}, "output"),
    "backbone": ({"deeppose", "chained"}, "resnet50"),
    "width": ({"deeppose", "chained"}, 32),
    "view_px": ({"deeppose"}, 64),
    "box_sigma": ({"deeppose"}, 1.0),
    "dropout": ({"deeppose"}, 0.5),
    "batch_norm": ({"deeppose"}, True),
    "pool": ({"deeppose"}, "windows"),
    "spread": ({"deeppose"}, True),
    "order": ({"chained"}, tuple(reversed(FIVE.joints))),
    "hidden": ({"chained"}, 32),
    "hidden_kernel": ({"chained"}, 3),
    "output_kernel": ({"chained"}, 3),
    "feedback": ({"chained"}, "raw"),
}

# What an option needs beside its build.
ALONG: dict[str, dict[str, Any]] = {"batch_norm": {"backbone": "alexnet"}}

# One narrow network of each build, and what it answers with: how many tensors, and of which kind.
TINY: dict[str, tuple[NetworkRecipe, int, str]] = {
    "eccv": (NetworkRecipe(stacks=3, features=8, depth=2), 3, "mse"),
    "workshop": (NetworkRecipe(build="workshop", stacks=2, features=8, depth=2), 2, "mse"),
    "hg": (NetworkRecipe(build="hg", features=8, depth=2), 1, "mse"),
    "hg_int": (NetworkRecipe(build="hg_int", features=8, depth=3), 3, "mse"),
    "hg_stacked": (NetworkRecipe(build="hg_stacked", features=8, depth=1), 1, "mse"),
    "hg_stacked_int": (NetworkRecipe(build="hg_stacked_int", features=8, depth=2), 2, "mse"),
    "hg_stacked_add": (NetworkRecipe(build="hg_stacked_add", features=8, depth=2), 1, "mse"),
    "mssh": (NetworkRecipe(build="mssh", stacks=4, features=8, depth=2), 4, "mse"),
    "residual_stacked": (NetworkRecipe(build="residual_stacked", stacks=3, features=8, depth=2), 3, "mse"),
    "cornernet": (NetworkRecipe(build="cornernet", stacks=2, features=8, depth=2), 2, "mse"),
    "people_finder": (NetworkRecipe(build="people_finder", stacks=2, features=8, depth=2), 2, "centers"),
    "deeppose": (
        NetworkRecipe(build="deeppose", stacks=3, width=2, view_px=32, dropout=0.0),
        3,
        "coordinates",
    ),
    "chained": (NetworkRecipe(build="chained", width=2, hidden=4), 1, "cross_entropy"),
}
MORE = {
    "one stack": (replace(TINY["eccv"][0], stacks=1, depth=3), 1, "mse"),
    "one workshop stack": (replace(TINY["workshop"][0], stacks=1), 1, "mse"),
    "a table of strides": (
        NetworkRecipe(build="mssh", stacks=3, strides=(8, 4, 4), unit="inception_b", features=8, depth=3),
        3,
        "mse",
    ),
    "one stage of deeppose": (replace(TINY["deeppose"][0], stacks=1), 1, "coordinates"),
    "raw chain": (replace(TINY["chained"][0], feedback="raw"), 1, "mse"),
}
NETWORKS = {**TINY, **MORE}


def read(tmp_path: Path, text: str, *overrides: str) -> None:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    load_recipe(tmp_path / "r.yaml", overrides)


def built(recipe: NetworkRecipe, skeleton: Skeleton = FIVE) -> nn.Module:
    torch.manual_seed(0)
    return build_network(recipe, skeleton)


# Which build has which option


def test_these_tests_know_every_option_and_every_build() -> None:
    assert {"build", *OPTIONS} == {f.name for f in fields(NetworkRecipe)}
    assert set(TINY) == set(BUILDS)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_another_build_is_refused(option: str) -> None:
    owners, value = OPTIONS[option]
    for build in BUILDS:
        given = {"build": build, option: value, **(ALONG.get(option, {}) if build in owners else {})}
        if build in owners:
            assert getattr(NetworkRecipe(**given), option) == value
            continue
        with pytest.raises(RecipeError, match=rf"^network\.{option}: the {build} build has no") as caught:
            NetworkRecipe(**given)
        assert set(str(caught.value).split("belongs to ")[1].split(", ")) == owners


def answers(network: nn.Module, image: Tensor) -> list[Tensor]:
    torch.manual_seed(1)
    found: list[Tensor] = network(image)
    return found


SMALLER = {"features": 16, "depth": 3, "width": 4}
ALEXNET = NetworkRecipe(build="deeppose", stacks=2, backbone="alexnet", width=2, view_px=64, dropout=0.1)


@pytest.mark.parametrize(
    ("build", "option"),
    [(build, option) for option, (owners, _) in OPTIONS.items() for build in sorted(owners)],
)
def test_every_option_changes_the_network(build: str, option: str) -> None:
    value = SMALLER.get(option, OPTIONS[option][1])
    base = TINY[build][0]
    if option == "strides":
        base = replace(base, stacks=2)
    if option == "stacks" and build == "residual_stacked":
        value = 2  # a highway needs two ends
    if option == "depth" and build == "hg_int":
        value = 4
    if option in ("view_px", "dropout", "batch_norm"):
        base, value = ALEXNET, {"view_px": 72, "dropout": 0.5, "batch_norm": True}[option]
    if option == "pool":
        base = replace(base, stacks=1, view_px=256)
    one, other = built(base), built(replace(base, **{option: value}))
    shapes = [{key: tensor.shape for key, tensor in n.state_dict().items()} for n in (one, other)]
    if shapes[0] != shapes[1]:
        return
    other.load_state_dict(one.state_dict())
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    first, second = answers(one, image), answers(other, image)
    same_answers = len(first) == len(second) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(first, second, strict=True)
    )
    assert not same_answers


# What a network is said to be


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_are_the_tensors_that_the_network_answers_with(name: str) -> None:
    recipe, stages, _ = NETWORKS[name]
    side = 64
    with torch.inference_mode():
        found = built(recipe).eval()(torch.zeros(1, 3, side, side))
    assert recipe.stages == len(found) == stages


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_takes_its_multiple_and_refuses_half_of_it(name: str) -> None:
    recipe = NETWORKS[name][0]
    network, side = built(recipe).eval(), recipe.input_multiple
    expected = 1 if recipe.build == "deeppose" else 32 if recipe.build == "chained" else 4 * 2**recipe.depth
    assert side == expected
    with torch.inference_mode():
        for some in (side, 3 * side):
            answer = network(torch.zeros(1, 3, some, some))[-1]
            assert torch.isfinite(answer).all()
        if side == 1:
            return
        for wrong in (side // 2, side + side // 2):
            with pytest.raises(ValueError, match="multiples"):
                network(torch.zeros(1, 3, wrong, wrong))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_that_fits_is_that_of_the_output(name: str) -> None:
    recipe, _, loss = NETWORKS[name]
    output = {
        "mse": "heatmap",
        "cross_entropy": "logits",
        "coordinates": "coordinates",
        "centers": "centers",
    }[loss]
    assert recipe.loss == (loss,)
    assert built(recipe).output == output


# What is refused


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("network: {build: hourglas}", r"network\.build: 'hourglas' is not one of eccv, workshop, hg,"),
        ("network: {norm: layer}", r"network\.norm: 'layer' is not one of batch, group"),
        ("network: {stem: narrow}", r"network\.stem: 'narrow' is not one of eccv, wide"),
        ("network: {build: mssh, unit: dense}", r"network\.unit: 'dense' is not one of residual, inc"),
        ("network: {build: mssh, fusion: sum}", r"network\.fusion: 'sum' is not one of add, concat"),
        ("network: {build: mssh, dispatch: last}", r"network\.dispatch: 'last' is not one of every, first"),
        ("network: {build: mssh, lateral: perhaps}", r"network\.lateral"),
        ("network: {build: residual_stacked, highways: all}", r"network\.highways: 'all' is not one of in"),
        ("network: {build: deeppose, backbone: vgg}", r"network\.backbone: 'vgg' is not one of alexnet, r"),
        ("network: {build: chained, backbone: alexnet}", r"network\.backbone: 'alexnet' is not one of resn"),
        ("network: {build: chained, feedback: hard}", r"network\.feedback: 'hard' is not one of softmax, r"),
        *(
            (f"network: {{build: {build}, {option}: 0}}", rf"network\.{option}: must be at least 1, not 0")
            for build, option in (
                *(("eccv", "stacks"), ("eccv", "features"), ("eccv", "depth"), ("eccv", "blocks")),
                *(("deeppose", "width"), ("deeppose", "view_px"), ("chained", "hidden")),
            )
        ),
        *(
            (f"network: {{build: chained, {option}: {size}}}", rf"network\.{option}: must be a .* odd")
            for option in ("hidden_kernel", "output_kernel")
            for size in (0, 2, -1)
        ),
        ("network: {build: deeppose, box_sigma: 0}", r"network\.box_sigma: must be positive, not 0"),
        ("network: {build: deeppose, dropout: 1}", r"network\.dropout: must lie in 0\.\.1 and below 1"),
        ("network: {build: deeppose, dropout: -0.1}", r"network\.dropout: .*not -0\.1"),
        (
            "network: {build: deeppose, batch_norm: true}",
            r"network\.batch_norm: is for network\.backbone=alexnet; resnet34 has batch-norms anyway",
        ),
        ("network: {build: deeppose, pool: max}", r"network\.pool: 'max' is not one of mean, windows"),
        (
            "network: {build: deeppose, backbone: alexnet, pool: windows}",
            r"network\.pool: windows is for residual encoders, not for alexnet",
        ),
        ("network: {build: workshop, stacks: 3}", r"network\.stacks: the workshop build has 1 or 2 stacks"),
        *(
            (
                f"network: {{build: mssh, unit: {unit}, features: 20}}",
                r"network\.features: 20 .* concatenated .* multiple of 8",
            )
            for unit in ("inception_a", "inception_b")
        ),
        ("network: {build: mssh, strides: [8, 4, 2]}", r"network\.strides: has 3 .* network\.stacks=2"),
        ("network: {build: mssh, stacks: 1, strides: [8, 4]}", r"network\.strides: has 2 .*stacks=1:"),
        ("network: {build: mssh, strides: [4, 8]}", r"network\.strides: \[4, 8\] goes back to a smaller"),
        ("network: {build: mssh, strides: [16, 8]}", r"network\.strides: \[16, 8\] may hold 8, 4 and 2"),
        ("network: {build: mssh, strides: 8}", r"network\.strides"),
        ("network: {build: chained, order: head}", r"network\.order"),
    ],
)
def test_a_wrong_network_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith("r.yaml: network")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        # sizes
        ("data: {input_px: 250}", r"data\.input_px: 250 px does not fit this eccv .* multiple of 64"),
        ("network: {depth: 5}\ndata: {input_px: 192}", r"data\.input_px: 192 .* multiple of 128"),
        ("network: {build: mssh, depth: 2}\ndata: {input_px: 24}", r"data\.input_px: 24 .* of 16"),
        (
            "network: {build: chained}\ntarget: {loss: cross_entropy}\ndata: {input_px: 240}",
            r"data\.input_px: 240 px does not fit this chained network: give a multiple of 32",
        ),
        # losses
        ("network: {build: deeppose}", r"target\.loss: mse .*build=deeppose, which .* coordinates"),
        ("network: {build: chained}", r"target\.loss: mse .*build=chained, which .* cross_entropy"),
        (
            "network: {build: chained, feedback: raw}\ntarget: {loss: cross_entropy}",
            r"target\.loss: cross_entropy .*build=chained, which answers for mse",
        ),
        ("target: {loss: coordinates}", r"target\.loss: coordinates .*build=eccv, which answers for mse"),
        ("target: {loss: cross_entropy}", r"target\.loss: cross_entropy does not fit"),
        ("target: {loss: mae}", r"target\.loss: 'mae' is not one of mse, cross_entropy, coordinates"),
        ("target: {distance: l3}", r"target\.distance: 'l3' is not one of l2, l1, smooth_l1, rle"),
        ("target: {distance: l1}", r"target\.distance: is an option of target\.loss=coordinates, not of mse"),
        *(
            (
                f"network: {{build: deeppose, spread: {spread}}}\n"
                f"target: {{loss: coordinates, distance: {word}}}",
                r"target\.distance: rle needs network\.spread=true",
            )
            for spread, word in (("true", "l2"), ("false", "rle"))
        ),
        (
            "network: {norm: group}\ntrain: {sync_batch_norm: true}",
            r"train\.sync_batch_norm: needs batch-norms, and network\.norm=group",
        ),
        # MSSH's weights and targets
        ("target: {occluded: half}", r"target\.occluded: 'half' is not one of visible, negative"),
        ("target: {adaptive: cubic}", r"target\.adaptive: 'cubic' is not one of none, linear, half_lin"),
        ("target: {cells: median}", r"target\.cells: 'median' is not one of mean, sum"),
        ("target: {sigmas: [2, 0]}", r"target\.sigmas: must be positive and finite"),
        (
            "target: {sigmas: [2, 1.5]}",
            r"target\.sigmas: ends with 1\.5, .* target\.sigma_hm=1: give the same",
        ),
        ("target: {sigmas: [3, 2, 1]}", r"target\.sigmas: has 3 entries, .*build=eccv has 2 stages"),
        ("target: {sigma_start: 0.5}", r"target\.sigma_start: 0\.5 can't fall to target\.sigma_hm=1"),
        ("target: {sigma_share: 0.7}", r"target\.sigma_share: belongs to target\.sigma_start, which is 0"),
        ("target: {sigma_start: 2, sigma_share: 1.5}", r"target\.sigma_share: must lie above 0 and up to 1"),
        *(
            (
                f"network: {{{network}}}\ntarget: {{adaptive: square}}",
                r"target\.adaptive: .*from stage to stage, .* has one stage",
            )
            for network in ("stacks: 1", "build: hg", "build: hg_stacked_add", "build: mssh, stacks: 1")
        ),
        *(
            (
                f"network: {{build: {build}}}\ntarget: {{loss: {loss}, {option}}}",
                rf"target\.{option.split(':')[0]}: is an option of target\.loss=mse, not of {loss}",
            )
            for build, loss in (("deeppose", "coordinates"), ("chained", "cross_entropy"))
            for option in (
                *("occluded: negative", "adaptive: square", "peak_weight: 9"),
                *("cells: sum", "sigmas: [1]", "sigma_start: 2"),
            )
        ),
        # truth fed back
        ("target: {truth_share: 0.5}", r"target\.truth_share: is an option of the chained build, not of ec"),
        *(
            (
                f"network: {{build: chained}}\ntarget: {{loss: cross_entropy, truth_share: {share}}}",
                r"target\.truth_share: must lie in 0\.\.1, got",
            )
            for share in (-0.1, 1.1)
        ),
    ],
)
def test_what_does_not_fit_the_network_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "network: {build: hg_int}\ntarget: {adaptive: half_linear, occluded: negative}",
        "network: {build: mssh, stacks: 3, strides: [8, 8, 8]}\ntarget: {adaptive: exponential}",
        "network: {build: chained}\ntarget: {loss: cross_entropy, truth_share: 1}\ndata: {input_px: 288}",
        "network: {build: chained, feedback: raw}\ntarget: {truth_share: 0.5, peak_weight: 9}",
        "network: {build: deeppose, backbone: alexnet}\ntarget: {loss: coordinates}\ndata: {input_px: 251}",
    ],
)
def test_what_fits_is_taken(tmp_path: Path, text: str) -> None:
    read(tmp_path, text)


@pytest.mark.parametrize(
    ("order", "named"),
    [
        (LSP14.joints[1:], r"network\.order lacks 'right_ankle'"),
        ((*LSP14.joints, "tail"), r"network\.order names 'tail', but the joints are right_ankle, "),
        ((*LSP14.joints, "neck"), r"network\.order names 'neck' 2 times"),
    ],
)
def test_an_order_that_is_not_the_skeletons_joints_is_refused(order: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build_network(replace(TINY["chained"][0], order=order), LSP14)


# From the command line

CHAIN = ["network.build=chained", "network.features=256", "network.depth=4", "target.peak_weight=0"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["mpii_mssh", "network.strides=[8,4]"], "network.strides: has 2 entries for network.stacks=8"),
        (["synthetic_tiny", *CHAIN], "target.loss: mse does not fit network.build=chained"),
        (
            [
                *("synthetic_tiny", *CHAIN, "target.loss=cross_entropy", "network.order=[neck]"),
                *("data.people=16", "data.val_people=1"),
            ],
            "network.order lacks 'right_ankle'",
        ),
    ],
    ids=["strides", "loss", "order"],
)
def test_a_mistake_is_one_sentence_that_names_the_key(
    arguments: list[str], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train", *arguments])
    assert isinstance(done.exception, ValueError)
    assert named in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not done.stdout
    assert not list(tmp_path.iterdir())
