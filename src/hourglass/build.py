"""The only place where a recipe's words become objects."""

from dataclasses import replace
from pathlib import Path

from torch import nn

from hourglass.checkpoint import WeightFacts, WeightsError, load_weights
from hourglass.data.formats.photos import PhotoRecord, read_photos
from hourglass.data.mixture import check_names, in_skeleton
from hourglass.engines import onnx_engine, openvino_engine, torch_export_engine
from hourglass.models.ablations import hg, hg_int, hg_stacked, hg_stacked_add, hg_stacked_int
from hourglass.models.chained import ChainedPrediction, default_order, order_from_names
from hourglass.models.cornernet_hourglass import CornerNetStackedHourglass
from hourglass.models.deeppose import DeepPose
from hourglass.models.multi_scale import MultiScaleStackedHourglass, default_strides
from hourglass.models.people_finder import people_finder
from hourglass.models.residual_stacked import ResidualStackedHourglass
from hourglass.models.stacked_hourglass import StackedHourglass
from hourglass.models.weights import resolve
from hourglass.models.workshop import WorkshopStackedHourglass
from hourglass.recipe import DataRecipe, NetworkRecipe, Recipe, RecipeError, SourceRecipe, recipe_to_yaml
from hourglass.skeleton import SKELETONS, Skeleton
from hourglass.structs import PersonRecord

ENGINES = (".onnx", ".xml", ".pt2")
"""Endings of exported files, which hold a network that none of our modules runs."""


def build_network(
    network: NetworkRecipe,
    skeleton: Skeleton,
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0),
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> nn.Module:
    """A freshly initialised network for these joints; raises ValueError for numbers that make none."""
    n, joints = network, len(skeleton)
    if n.build == "eccv":
        return StackedHourglass(joints, n.stacks, n.features, n.depth, n.blocks, mean, std, n.stem)
    if n.build == "workshop":
        return WorkshopStackedHourglass(joints, n.stacks, n.features, n.depth, mean, std)
    if n.build == "people_finder":
        return people_finder(n.stacks, n.features, n.depth, n.blocks, mean, std)
    if n.build == "residual_stacked":
        return ResidualStackedHourglass(
            joints, n.stacks, n.features, n.depth, n.blocks, n.highways, mean, std
        )
    if n.build == "cornernet":
        return CornerNetStackedHourglass(joints, n.stacks, n.features, n.depth, mean, std)
    if n.build == "mssh":
        return MultiScaleStackedHourglass(
            joints,
            strides=n.strides or default_strides(n.stacks),
            features=n.features,
            depth=n.depth,
            unit=n.unit,
            lateral=n.lateral,
            fusion=n.fusion,
            dispatch=n.dispatch,
            mean=mean,
            std=std,
        )
    if n.build == "deeppose":
        return DeepPose(
            joints,
            skeleton.torso_indices,
            stages=n.stacks,
            backbone=n.backbone,
            width=n.width,
            view_px=n.view_px,
            box_sigma=n.box_sigma,
            dropout=n.dropout,
            mean=mean,
            std=std,
        )
    if n.build == "chained":
        return ChainedPrediction(
            joints,
            order_from_names(skeleton.joints, n.order) if n.order else default_order(skeleton.joints),
            depth=int(n.backbone.removeprefix("resnet")),
            width=n.width,
            hidden=n.hidden,
            hidden_kernel=n.hidden_kernel,
            output_kernel=n.output_kernel,
            feedback=n.feedback,  # type: ignore[arg-type]
            mean=mean,
            std=std,
        )
    designs = {
        "hg": hg,
        "hg_int": hg_int,
        "hg_stacked": hg_stacked,
        "hg_stacked_int": hg_stacked_int,
        "hg_stacked_add": hg_stacked_add,
    }
    return designs[n.build](joints, n.features, n.depth, mean, std)


def channels_last(network: nn.Module) -> nn.Module:
    """The same network with its weights laid out for fast convolutions."""
    import torch

    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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


def load_sources(data: DataRecipe, training: bool) -> list[tuple[SourceRecipe, list[PersonRecord]]]:
    """The people of each source, under the skeleton of all: those to train on, or those to validate on.

    Sources that have no such split, or are read from shards as they are needed, are not among them.

    Raises ValueError or OSError, naming the source and the file, on bad data or joints of other names.
    """
    skeleton, found = SKELETONS[data.skeleton], []
    for source in data.sources:
        split = source.train_split if training else source.val_split
        if not split or (training and source.stream):
            continue
        records = load_records(data.of_source(source), split)
        check_names(records[0].skeleton, skeleton, f"data.sources: {source.title}")
        mapped = [in_skeleton(record, skeleton, source.weight) for record in records]
        kept = [record for record in mapped if record.labelled.sum() >= source.min_joints]
        if not kept:
            raise ValueError(
                f"data.sources: {source.title}: none of the {len(records)} people of the {split} split has "
                f"{source.min_joints} joints that {skeleton.name} knows"
            )
        found.append((source, kept))
    return found


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


def load_records(data: DataRecipe, split: str) -> list[PersonRecord]:
    """The annotated people of one split. Raises ValueError or OSError, naming the file, on bad data."""
    root = Path(data.root)
    if not data.root and data.name != "synthetic":
        raise RecipeError(f"data.root (--root) is missing: say where the {data.name} data lies")
    if data.name == "lspet":
        from hourglass.data.lspet import load_records as lspet

        records = lspet(root, split, data.crop, data.sides)
    elif data.name == "lsp":
        from hourglass.data.lsp import load_records as lsp

        records = lsp(root, split, data.crop, data.sides)
    elif data.name == "lsp_lspet":
        from hourglass.data.lsp_lspet import load_records as lsp_lspet

        records = lsp_lspet(root, split, data.crop, data.sides)
    elif data.name == "mpii":
        from hourglass.data.mpii import load_records as mpii

        records = mpii(root, split)
        if data.sides:
            from hourglass.data.sides import observer_records

            records = observer_records(records)
    elif data.name == "flic":
        from hourglass.data.flic import load_records as flic

        records = flic(root, split, data.sides)
    elif data.name == "coco":
        from hourglass.data.coco import load_records as coco

        if not data.annotations:
            raise RecipeError("data.annotations (--annotations) is missing: coco data needs a JSON file")
        annotations = Path(data.annotations.replace("{split}", split))
        images = Path(data.root.replace("{split}", split))
        records = coco(
            annotations, images, data.category or None, split=split, sides=data.sides, crop=data.crop
        )
    elif data.name == "pack":
        from hourglass.data.pack import load_records as pack

        records = pack(data.root, split)
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
    data = recipe.data
    sources = tuple(
        replace(source, root=Path(source.root).name, annotations=Path(source.annotations).name)
        for source in data.sources
    )
    annotations = Path(data.annotations).name
    portable = replace(recipe, data=replace(data, root="", annotations=annotations, sources=sources))
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
