import json
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat

from hourglass.core.skeleton import COCO17, FLIC11, LSP14, MPII16, Skeleton
from hourglass.data.loading.records import load_records
from hourglass.models.build import build_network
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.workshop import WorkshopStackedHourglass
from hourglass.recipe.data import DataRecipe
from hourglass.recipe.network import NetworkRecipe, RecipeError
from hourglass.recipe.recipe import Recipe, TargetRecipe, load_recipe
from hourglass.weights.checkpoint import WeightFacts, WeightsError, save_weights
from hourglass.weights.load import facts_of, load_network, network_from_facts
from leeds_archives import LSP, LSPET

TINY = WeightFacts(
    name="tiny",
    network=NetworkRecipe(stacks=2, features=8, depth=2),
    skeleton=LSP14,
    input_px=32,
    mean=(0.1, 0.2, 0.3),
    std=(0.4, 0.5, 0.6),
)


def saved(path: Path, facts: WeightFacts = TINY, built: WeightFacts = TINY) -> Path:
    save_weights(path, network_from_facts(built).state_dict(), facts, half=False)
    return path


FIVE = Skeleton("five", ("a", "b", "c", "d", "e"))

# Networks


def test_the_words_of_a_recipe_choose_the_build() -> None:
    eccv = build_network(NetworkRecipe(stacks=3, features=8, depth=2, blocks=2), FIVE)
    assert isinstance(eccv, StackedHourglass)
    assert len(eccv(torch.zeros(1, 3, 32, 32))) == 3
    workshop = build_network(NetworkRecipe(build="workshop", stacks=1, features=8, depth=2), FIVE)
    assert isinstance(workshop, WorkshopStackedHourglass)
    (answer,) = workshop(torch.zeros(1, 3, 32, 32))
    assert answer.shape == (1, 5, 8, 8)


@pytest.mark.parametrize(
    ("changed", "one", "other"),
    [("features", 8, 16), ("depth", 1, 2), ("stacks", 1, 2), ("blocks", 1, 2), ("build", "eccv", "workshop")],
)
def test_every_option_of_the_network_changes_it(changed: str, one: object, other: object) -> None:
    base = NetworkRecipe(stacks=2, features=8, depth=2)

    def parameters(value: object) -> int:
        network = build_network(replace(base, **{changed: value}), FIVE)  # type: ignore[arg-type]
        return sum(p.numel() for p in network.parameters())

    assert parameters(one) != parameters(other)


def test_a_network_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or 2 stacks, not 3"):
        build_network(NetworkRecipe(build="workshop", stacks=3, features=8), FIVE)
    with pytest.raises(ValueError, match="features must be a positive multiple of 4, not 6"):
        build_network(NetworkRecipe(features=6), FIVE)


def test_loaded_weights_answer_as_the_saved_network_did(tmp_path: Path) -> None:
    network = network_from_facts(TINY).eval()
    save_weights(tmp_path / "w.safetensors", network.state_dict(), TINY, half=False)
    loaded, facts = load_network(tmp_path)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert facts == TINY
    assert not loaded.training
    with torch.inference_mode():
        for one, other in zip(network(image), loaded(image), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "facts",
    [
        replace(TINY, skeleton=MPII16),
        replace(TINY, network=NetworkRecipe(stacks=1, features=8, depth=2)),
        replace(TINY, network=NetworkRecipe(build="workshop", stacks=2, features=8, depth=2)),
        replace(TINY, network=NetworkRecipe(stacks=2, features=6, depth=2)),
        replace(TINY, mean=(0.1, 0.2)),  # type: ignore[arg-type]
    ],
    ids=["joints", "stacks", "build", "impossible", "mean"],
)
def test_weights_that_contradict_their_facts_are_named(tmp_path: Path, facts: WeightFacts) -> None:
    path = saved(tmp_path / "odd.safetensors", facts)
    with pytest.raises(WeightsError, match=r"odd\.safetensors: the tensors don't fit"):
        load_network(path)


def test_an_unknown_name_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights 'hg99'"):
        load_network("hg99")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match=r"foreign\.safetensors"):
        load_network(tmp_path / "foreign.safetensors")


def test_facts_say_what_the_recipe_says(tmp_path: Path) -> None:
    recipe = Recipe(
        network=NetworkRecipe(stacks=4),
        data=DataRecipe(
            name="coco",
            root="/home/me/photos",
            annotations="/home/me/people.json",
            train_split="train2017",
            input_px=192,
            mean=(0.1, 0.2, 0.3),
        ),
        target=TargetRecipe(sigma_hm=1.75, decoding="quarter"),
    )
    facts = facts_of(recipe, COCO17, "mine")
    assert facts.name == "mine"
    assert facts.network == recipe.network
    assert facts.skeleton == COCO17
    assert facts.input_px == 192
    assert facts.mean == (0.1, 0.2, 0.3)
    assert facts.std == recipe.data.std
    assert (facts.sigma_hm, facts.decoding) == (1.75, "quarter")
    assert facts.data == "coco train2017"
    path = tmp_path / "recipe.yaml"
    path.write_text(facts.recipe)
    kept = load_recipe(path)
    assert (kept.network, kept.target, kept.data.input_px) == (recipe.network, recipe.target, 192)
    assert (kept.data.root, kept.data.annotations) == ("", "people.json")  # no folder of the user's


# Data


def picture(path: Path, height: int = 60, width: int = 80) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 128, np.uint8))


def test_records_of_lspet(tmp_path: Path) -> None:
    joints = np.zeros((14, 3, 4))
    joints[:, 0] = np.arange(10, 24)[:, None]
    joints[:, 1] = np.arange(20, 48, 2)[:, None]
    joints[:12, 2] = 1
    savemat(tmp_path / "joints.mat", {"joints": joints})
    for number in range(1, 5):
        picture(tmp_path / "images" / f"im{number:05d}.jpg")
    records = load_records(DataRecipe(name="lspet", root=str(tmp_path)), "train")
    assert len(records) == 4
    assert records[0].skeleton == LSP14
    # The file counts pixels from 1.
    np.testing.assert_allclose(records[0].keypoints[3], [12, 25])
    assert records[0].labelled.tolist() == [True] * 12 + [False] * 2


def coco_file(path: Path) -> None:
    keypoints = [[10 + i, 20 + i, 2] for i in range(17)]
    annotation = {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "bbox": [8, 18, 22, 22],
        "area": 400.0,
        "iscrowd": 0,
        "num_keypoints": 17,
        "keypoints": [number for triple in keypoints for number in triple],
    }
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints), "skeleton": []}
    image = {"id": 1, "file_name": "a.jpg", "height": 60, "width": 80}
    path.write_text(json.dumps({"images": [image], "annotations": [annotation], "categories": [category]}))


def test_records_of_coco_and_the_split_in_the_file_name(tmp_path: Path) -> None:
    coco_file(tmp_path / "people_val.json")
    picture(tmp_path / "images" / "a.jpg")
    recipe = DataRecipe(
        name="coco", root=str(tmp_path / "images"), annotations=str(tmp_path / "people_{split}.json")
    )
    (record,) = load_records(recipe, "val")
    assert record.skeleton == COCO17
    np.testing.assert_allclose(record.keypoints[4], [14, 24])
    with pytest.raises((OSError, ValueError), match=r"people_train\.json"):
        load_records(recipe, "train")


def test_coco_needs_its_annotations() -> None:
    with pytest.raises(RecipeError, match=r"data\.annotations"):
        load_records(DataRecipe(name="coco", root="images"), "val")


def test_records_of_synthetic_people() -> None:
    recipe = DataRecipe(name="synthetic", skeleton="mpii16", people=2)
    train, val = load_records(recipe, "train"), load_records(recipe, "val")
    assert len(train) == len(val) == 2
    assert train[0].skeleton == MPII16
    assert not np.array_equal(train[0].keypoints, val[0].keypoints)
    again = load_records(recipe, "train")
    np.testing.assert_array_equal(train[1].keypoints, again[1].keypoints)


def test_synthetic_people_of_an_unknown_skeleton_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"data\.skeleton: 'horse' is not one of mpii16, lsp14"):
        load_records(DataRecipe(name="synthetic", skeleton="horse"), "train")


@pytest.mark.parametrize("name", ["lspet", "pack"])
def test_data_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    gone = tmp_path / "gone"
    with pytest.raises((OSError, ValueError), match="gone"):
        load_records(DataRecipe(name=name, root=str(gone)), "val")


# Options of the data

MIRROR = {
    "lsp14": [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13],
    "mpii16": [5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 15, 14, 13, 12, 11, 10],
    "flic11": [3, 4, 5, 0, 1, 2, 7, 6, 9, 8, 10],
    "coco17": [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
}
"""Joints in a mirror, written out (FACTS B1)."""


def authors_file(path: Path, skeleton: Skeleton) -> None:
    """One person with joints on a slant, seen from behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = np.arange(1.0, 1 + 2 * len(skeleton)).reshape(1, -1, 2)
    if skeleton == MPII16:  # where, other than in FLIC, the right shoulder comes first
        part[..., 0] = part[:, ::-1, 0].copy()
        part[0, 9] = 0  # without the top of the head nobody can check the scale
    fields = {"part": part, "visible": np.ones(part.shape[:2]), "imgname": np.array(["a.jpg"], "S")}
    fields |= {"center": np.array([[20.0, 20]]), "scale": np.array([1.0])}
    fields |= {"index": np.zeros(1, int), "person": np.zeros(1, int), "normalize": np.array([30.0])}
    with h5py.File(path, "w") as file:
        for name, value in fields.items():
            file[name] = value


def people_of(name: str, root: Path) -> DataRecipe:
    """A recipe for one or two people of each kind of data, all seen from behind."""
    for kind in (LSP, LSPET):
        joints = kind.people(1)
        joints[:, :, 0] = joints[:, ::-1, 0]
        kind.write(root / str(kind), joints)
    authors_file(root / "flic" / "train.h5", FLIC11)
    authors_file(root / "mpii" / "train.h5", MPII16)
    for kind_of in ("flic", "mpii"):
        picture(root / kind_of / "images" / "a.jpg")
    coco_file(root / "coco.json")
    picture(root / "coco" / "a.jpg")
    folder = root if name == "lsp_lspet" else root / name
    return DataRecipe(name=name, root=str(folder), annotations=str(root / "coco.json") * (name == "coco"))


@pytest.mark.parametrize("name", ["lsp", "lspet", "lsp_lspet", "mpii", "flic", "coco"])
def test_the_sides_of_the_observer(tmp_path: Path, name: str) -> None:
    recipe = people_of(name, tmp_path)
    usual = load_records(recipe, "train")
    seen = load_records(replace(recipe, sides="observer"), "train")
    assert len(usual) == len(seen) == (2 if name == "lsp_lspet" else 1)
    for a, b in zip(usual, seen, strict=True):
        left, right = (a.skeleton.index(f"{side}_shoulder") for side in ("left", "right"))
        assert a.keypoints[left, 0] < a.keypoints[right, 0]
        np.testing.assert_array_equal(b.keypoints, a.keypoints[MIRROR[a.skeleton.name]])
        np.testing.assert_array_equal(b.visibility, a.visibility[MIRROR[a.skeleton.name]])
        assert (a.side_px, a.person_id, a.image_id) == (b.side_px, b.person_id, b.image_id)


def test_flic_has_the_persons_own_sides_in_a_file_of_their_own(tmp_path: Path) -> None:
    recipe = replace(people_of("flic", tmp_path), sides="person")
    with pytest.raises(FileNotFoundError, match=r"train_personcentric\.h5"):
        load_records(recipe, "train")
    authors_file(tmp_path / "flic" / "train_personcentric.h5", FLIC11)
    (record,) = load_records(recipe, "train")
    np.testing.assert_array_equal(record.keypoints[:2], [(1, 2), (3, 4)])


@pytest.mark.parametrize("name", ["lsp", "lspet", "lsp_lspet", "coco"])
def test_crops_by_limbs(tmp_path: Path, name: str) -> None:
    recipe = people_of(name, tmp_path)
    usual = load_records(recipe, "train")
    by_limbs = load_records(replace(recipe, crop="limbs"), "train")
    references = {("shoulder", "elbow"): 36.5, ("elbow", "wrist"): 30.8, ("hip", "knee"): 52.4}
    references |= {("knee", "ankle"): 50.6, ("shoulder", "hip"): 65.9}
    for a, b in zip(usual, by_limbs, strict=True):
        places = dict(zip(a.skeleton.joints, a.keypoints.tolist(), strict=True))
        ratios = []
        for side in ("left_", "right_"):
            for (start, end), px in references.items():
                ratios.append(np.hypot(*np.subtract(places[side + start], places[side + end])) / px)
        if "neck" in places:
            ratios.append(np.hypot(*np.subtract(places["neck"], places["head_top"])) / 33.3)
        assert b.side_px == pytest.approx(max(250 * np.quantile(ratios, 0.75), 8), rel=1e-5)
        assert a.side_px != pytest.approx(b.side_px, rel=0.05)
        np.testing.assert_array_equal(a.center, b.center)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("option", [{"crop": "limbs"}, {"sides": "observer"}])
def test_a_skeleton_that_an_option_cannot_work_on(tmp_path: Path, option: dict[str, str]) -> None:
    recipe = people_of("coco", tmp_path)
    content = json.loads((tmp_path / "coco.json").read_text())
    content["categories"][0] |= {"name": "horse", "keypoints": ["nose", "tail"]}
    content["annotations"][0]["keypoints"] = [10, 20, 2, 30, 40, 2]
    (tmp_path / "coco.json").write_text(json.dumps(content))
    assert len(load_records(recipe, "train")) == 1
    with pytest.raises(ValueError, match=rf"data\.{next(iter(option))}: skeleton 'horse' has no"):
        load_records(replace(recipe, **option), "train")  # type: ignore[arg-type]


def test_a_coco_file_that_names_splits_is_read_by_them(tmp_path: Path) -> None:
    recipe = people_of("coco", tmp_path)
    content = json.loads((tmp_path / "coco.json").read_text())
    other = content["annotations"][0] | {"id": 8, "split": "val"}
    content["annotations"][0]["split"] = "train"
    content["annotations"].append(other)
    (tmp_path / "coco.json").write_text(json.dumps(content))
    assert [r.person_id for r in load_records(recipe, "train")] == [7]
    assert [r.person_id for r in load_records(recipe, "val")] == [8]
