"""Networks loaded from weights or exported files, and the facts that go with new weights."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from hourglass.core.skeleton import Skeleton
from hourglass.data.formats.photos import PhotoRecord, read_photos
from hourglass.engines import onnx_engine, openvino_engine, torch_export_engine
from hourglass.models.build import build_network
from hourglass.recipe.data import DataRecipe, SourceRecipe
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, recipe_to_yaml
from hourglass.weights.checkpoint import WeightFacts, WeightsError, load_weights
from hourglass.weights.published import resolve

ENGINES = (".onnx", ".xml", ".pt2")
"""Endings of exported files, which hold a network that none of our modules runs."""


def network_from_facts(facts: WeightFacts) -> nn.Module:
    """The untrained network that the facts describe."""
    return build_network(facts.network, facts.skeleton, facts.mean, facts.std)


def load_network(name: str | Path | None = None) -> tuple[nn.Module, WeightFacts]:
    """A trained network in evaluation mode, by bundled name, file, folder or hub id; None is the default.

    An exported file (.onnx, OpenVINO's .xml, or .pt2) gives an engine that is called as the network is.

    Raises WeightsError, naming the weights, when they can't be found or don't fit their own facts.
    """
    path = resolve(name)
    if path.suffix in ENGINES:
        return _load_engine(path)
    state, facts = load_weights(path)
    try:
        network = network_from_facts(facts)
        network.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path}: the tensors don't fit the network that the facts describe") from error
    return network.eval(), facts


def load_pose_network(name: str | Path | None = None) -> tuple[nn.Module, WeightFacts]:
    """As `load_network`, of weights that find joints; WeightsError too for those of a people finder."""
    network, facts = load_network(name)
    check_finds_joints(facts)
    return network, facts


def check_finds_joints(facts: WeightFacts) -> None:
    """Raise WeightsError for the weights of a people finder."""
    if finds_people(facts):
        raise WeightsError(
            f"{facts.name} finds people, not joints: give it as a detector, and a pose network as weights"
        )


def finds_people(facts: WeightFacts) -> bool:
    """Whether weights find people in whole pictures, and not joints."""
    return facts.network.build == "people_finder"


def _load_engine(path: Path) -> tuple[nn.Module, WeightFacts]:
    network: nn.Module
    if path.suffix == ".onnx":
        raw, text, signature = onnx_engine.read(path)
        network = onnx_engine.OnnxNetwork(raw, signature)
    elif path.suffix == ".pt2":
        program, tensors, names, text, signature = torch_export_engine.read(path)
        network = torch_export_engine.TorchExportNetwork(program, tensors, names, signature)
    else:
        model, text, signature = openvino_engine.read(path)
        network = openvino_engine.OpenVinoNetwork(model, signature)
    try:
        facts = WeightFacts.from_json(text)
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path}: the facts beside the network can't be read: {error}") from error
    if facts.input_px != signature.input_px:
        raise WeightsError(
            f"{path} takes crops of {signature.input_px} px, but its facts say {facts.input_px}"
        )
    return network.eval(), facts


def load_photos(data: DataRecipe, training: bool) -> list[tuple[SourceRecipe, list[PhotoRecord]]]:
    """The whole photos of each source, as `load_sources` gives people."""
    found = []
    for source in data.sources:
        split = source.train_split if training else source.val_split
        if not split:
            continue
        place = data.of_source(source)
        if not (place.root and source.annotations):
            raise RecipeError(f"data.sources: {source.title}: give the photos (root) and their annotations")
        photos = read_photos(
            Path(place.annotations.replace("{split}", split)),
            Path(place.root.replace("{split}", split)),
            split,
            source.sure_score,
            source.sure_joints,
            source.partial,
        )
        if not any(len(photo.people) for photo in photos):
            raise ValueError(f"data.sources: {source.title}: nobody is boxed for sure in the {split} split")
        found.append((source, photos))
    return found


def facts_of(recipe: Recipe, skeleton: Skeleton, name: str) -> WeightFacts:
    """The facts of weights that this recipe trains; folders of the user's machine stay out of them."""
    data = recipe.data
    sources = tuple(
        replace(source, root=Path(source.root).name, annotations=Path(source.annotations).name)
        for source in data.sources
    )
    annotations = Path(data.annotations).name
    portable = replace(
        recipe,
        data=replace(data, root="", annotations=annotations, sources=sources),
        train=replace(recipe.train, encoder=Path(recipe.train.encoder).name),
    )
    names = [f"{s.title} {s.train_split}" for s in sources if s.train_split] or [
        f"{data.name} {data.train_split}"
    ]
    return WeightFacts(
        name=name,
        network=recipe.network,
        skeleton=skeleton,
        input_px=recipe.data.input_px,
        mean=recipe.data.mean,
        std=recipe.data.std,
        sigma_hm=recipe.target.sigma_hm,
        decoding=recipe.target.decoding,  # type: ignore[arg-type]  # checked by TargetRecipe
        signed=recipe.target.occluded == "negative",
        data=", ".join(names),
        recipe=recipe_to_yaml(portable),
    )
