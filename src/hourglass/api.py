"""Training and scoring from Python, as `hourglass train` and `hourglass evaluate` do them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hourglass.recipe.recipe import Recipe


def train(
    recipe: "str | Path | Recipe",
    overrides: Sequence[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    devices: str = "auto",
) -> Path:
    """Run a recipe and return the file of the best weights.

    Args:
        recipe: a bundled recipe's name, a YAML file, or a `Recipe`.
        overrides: `key=value`, such as `data.root=data/lspet`; not for a `Recipe`, which is complete.
        out: folder of the run; `runs/NAME` unless given.
        resume: go on from the folder's checkpoint, where there is one.
        accelerator, devices: Lightning Fabric's.

    Raises RecipeError, a ValueError, naming the key that doesn't fit; ValueError or OSError for data or a
    folder that can't be used; TrainingError where the loss is no longer finite; Interrupted after Ctrl-C.
    """
    from hourglass.recipe.recipe import Recipe, RecipeError, find_recipe, load_recipe
    from hourglass.training.loop import train as run

    if isinstance(recipe, Recipe):
        if overrides:
            raise RecipeError("overrides change a recipe by name or file; a Recipe is complete as it is")
        name, loaded = "recipe", recipe
    else:
        path = find_recipe(str(recipe))
        name, loaded = path.stem, load_recipe(path, overrides)
    folder = Path("runs") / name if out is None else Path(out)
    return run(loaded, folder, name, resume, accelerator, devices)


def evaluate(
    weights: str | Path | None = None,
    *,
    data: str = "lspet",
    root: str | Path = "",
    split: str = "val",
    annotations: str | Path = "",
    people: int = 0,
    thresholds: Sequence[float] = (0.2,),
    flip_test: bool = True,
    batch_size: int = 32,
    device: str = "auto",
) -> dict[str, Any]:
    """PCK of weights on annotated people, each in the crop of their own annotation.

    Args:
        weights: bundled name, file, folder or hub id; None is the bundled network.
        data: kind of data, as `hourglass evaluate --data` names them.
        root: folder of the data set, or of a COCO file's photos.
        annotations: `coco`: the JSON file.
        people: only the first so many; 0 is everybody.
        thresholds: of PCK, in torso lengths.

    Returns:
        the report of `evaluation.evaluate.score`, and `joints_left_out`: those that the weights don't know.

    Raises ValueError or OSError, naming the file, where weights or data can't be used.
    """
    from hourglass.data.loading.records import load_records
    from hourglass.evaluation.evaluate import predict_records, score, under_skeleton
    from hourglass.inference.device import choose_device
    from hourglass.models.build import channels_last
    from hourglass.recipe.data import DataRecipe
    from hourglass.weights.load import load_network

    where = choose_device(device)
    network, facts = load_network(weights)
    # Rendered people have the joints that are asked for, and only a built-in skeleton can be rendered.
    skeleton = facts.skeleton.name if data == "synthetic" else DataRecipe.skeleton
    chosen = DataRecipe(
        name=data, root=str(root), annotations=str(annotations), skeleton=skeleton, people=people
    )
    found = load_records(chosen, split)
    records, unknown = under_skeleton(found[:people] if people else found, facts.skeleton)
    network = channels_last(network).to(where)
    answer = predict_records(
        network, facts, records, device=where, batch_size=batch_size, flip_test=flip_test
    )
    return {**score(answer, records, thresholds), "joints_left_out": list(unknown)}
