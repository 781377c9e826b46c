"""The annotated people of a named data set."""

from collections.abc import Sequence
from pathlib import Path

from hourglass.core.skeleton import SKELETONS
from hourglass.core.structs import PersonRecord
from hourglass.data.loading.mixture import check_names, in_skeleton
from hourglass.recipe.data import DataRecipe, SourceRecipe
from hourglass.recipe.network import RecipeError


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


def load_test_sets(
    data: DataRecipe, only: Sequence[str] | None = None
) -> list[tuple[SourceRecipe, list[PersonRecord]]]:
    """The people whom each source reports on, in the joints of its own file.

    Args:
        only: titles of the sources that are wanted; None or empty is all.

    Raises ValueError or OSError, naming the file, on bad data.
    """
    wanted = [source for source in data.sources if not only or source.title in only]
    chosen = [(source, source.test_split or source.val_split) for source in wanted]
    return [(source, load_records(data.of_source(source), split)) for source, split in chosen if split]


def load_records(data: DataRecipe, split: str) -> list[PersonRecord]:
    """The annotated people of one split. Raises ValueError or OSError, naming the file, on bad data."""
    root = Path(data.root)
    if not data.root and data.name not in ("synthetic", "file"):
        raise RecipeError(f"data.root (--root) is missing: say where the {data.name} data lies")
    if data.name == "lspet":
        from hourglass.data.formats.lsp import load_lspet

        records = load_lspet(root, split, data.crop, data.sides)
    elif data.name == "lsp":
        from hourglass.data.formats.lsp import load_lsp

        records = load_lsp(root, split, data.crop, data.sides)
    elif data.name == "lsp_lspet":
        from hourglass.data.formats.lsp import load_both

        records = load_both(root, split, data.crop, data.sides)
    elif data.name == "mpii":
        from hourglass.data.formats.mpii import load_records as mpii

        records = mpii(root, split)
        if data.sides:
            from hourglass.data.formats.skeleton_map import observer_records

            records = observer_records(records)
    elif data.name == "flic":
        from hourglass.data.formats.flic import load_records as flic

        records = flic(root, split, data.sides)
    elif data.name == "coco":
        from hourglass.data.formats.coco import load_records as coco

        if not data.annotations:
            raise RecipeError("data.annotations (--annotations) is missing: coco data needs a JSON file")
        annotations = Path(data.annotations.replace("{split}", split))
        images = Path(data.root.replace("{split}", split))
        records = coco(
            annotations, images, data.category or None, split=split, sides=data.sides, crop=data.crop
        )
    elif data.name == "file":
        from hourglass.data.formats.annotation_files import load_records as any_file

        if not (data.annotations or data.root):
            raise RecipeError("data.annotations (--annotations) is missing: say which file to read")
        # A folder of labels is enough by itself.
        file = Path((data.annotations or data.root).replace("{split}", split))
        folder = Path(data.root.replace("{split}", split)) if data.root else None
        records = any_file(file, folder, data.category or None, split=split, sides=data.sides, crop=data.crop)
    elif data.name == "pack":
        from hourglass.data.packs.open_pack import load_records as pack

        records = pack(data.root, split)
    else:
        from hourglass.synthetic.render import load_records as synthetic

        if data.skeleton not in SKELETONS:
            raise RecipeError(f"data.skeleton: {data.skeleton!r} is not one of {', '.join(SKELETONS)}")
        # Splits differ by seed, far enough apart that no two share a person.
        seed = {"train": 0, "val": 1_000_000, "test": 2_000_000}.get(split, 3_000_000)
        records = synthetic(SKELETONS[data.skeleton], data.people or 512, seed)
    if not records:
        raise ValueError(f"the {split} split of {data.name} at {data.root or 'no root'} has no people")
    return records
