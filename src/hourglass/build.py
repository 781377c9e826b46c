"""The only place where a recipe's words become objects."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from hourglass.checkpoint import WeightFacts, WeightsError, load_weights
from hourglass.models.stacked_hourglass import StackedHourglass, WorkshopStackedHourglass
from hourglass.models.weights import resolve
from hourglass.recipe import DataRecipe, NetworkRecipe, Recipe, RecipeError, recipe_to_yaml
from hourglass.skeleton import SKELETONS, Skeleton
from hourglass.structs import PersonRecord


def build_network(
    network: NetworkRecipe,
    joints: int,
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> nn.Module:
    """A freshly initialised network; raises ValueError for numbers that make none."""
    if network.build == "workshop":
        return WorkshopStackedHourglass(joints, network.stacks, network.features, network.depth, mean, std)
    return StackedHourglass(
        joints, network.stacks, network.features, network.depth, network.blocks, mean, std
    )


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its weights laid out for fast convolutions."""
    import torch

    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def network_from_facts(facts: WeightFacts) -> nn.Module:
    """The untrained network that the facts describe."""
    return build_network(facts.network, len(facts.skeleton), facts.mean, facts.std)


def load_network(name: str | Path | None = None) -> tuple[nn.Module, WeightFacts]:
    """A trained network in evaluation mode, by bundled name, file, folder or hub id; None is the default.

    Raises WeightsError, naming the weights, when they can't be found or don't fit their own facts.
    """
    path = resolve(name)
    state, facts = load_weights(path)
    try:
        network = network_from_facts(facts)
        network.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: the tensors don't fit the network that the facts describe") from error
    return network.eval(), facts


def load_records(data: DataRecipe, split: str) -> list[PersonRecord]:
    """The annotated people of one split. Raises ValueError or OSError, naming the file, on bad data."""
    root = Path(data.root)
    if not data.root and data.name != "synthetic":
        raise RecipeError(f"data.root (--root) is missing: say where the {data.name} data lies")
    if data.name == "lspet":
        from hourglass.data.lspet import load_records as lspet

        records = lspet(root, split)
    elif data.name == "coco":
        from hourglass.data.coco import load_records as coco

        if not data.annotations:
            raise RecipeError("data.annotations (--annotations) is missing: coco data needs a JSON file")
        annotations = Path(data.annotations.replace("{split}", split))
        records = coco(annotations, root, data.category or None)
    elif data.name == "pack":
        from hourglass.data.pack import load_records as pack

        records = pack(root, split)
    else:
        from hourglass.data.synthetic import load_records as synthetic

        if data.skeleton not in SKELETONS:
            raise RecipeError(f"data.skeleton: {data.skeleton!r} is not one of {', '.join(SKELETONS)}")
        # Splits differ by seed, far enough apart that no two share a person.
        seed = {"train": 0, "val": 1_000_000, "test": 2_000_000}.get(split, 3_000_000)
        records = synthetic(SKELETONS[data.skeleton], data.people or 512, seed)
    if not records:
        raise ValueError(f"the {split} split of {data.name} at {data.root or 'no root'} has no people")
    return records


def facts_of(recipe: Recipe, skeleton: Skeleton, name: str) -> WeightFacts:
    """The facts of weights that this recipe trains; folders of the user's machine stay out of them."""
    annotations = Path(recipe.data.annotations).name
    portable = replace(recipe, data=replace(recipe.data, root="", annotations=annotations))
    return WeightFacts(
        name=name,
        network=recipe.network,
        skeleton=skeleton,
        input_px=recipe.data.input_px,
        mean=recipe.data.mean,
        std=recipe.data.std,
        sigma_hm=recipe.target.sigma_hm,
        decoding=recipe.target.decoding,  # type: ignore[arg-type]  # checked by TargetRecipe
        data=f"{recipe.data.name} {recipe.data.train_split}",
        recipe=recipe_to_yaml(portable),
    )
