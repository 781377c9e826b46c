"""`hourglass calibrate`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.core.skeleton import Skeleton
    from hourglass.core.structs import PersonRecord
    from hourglass.evaluation.calibrate import Study
    from hourglass.evaluation.evaluate import Predictions
    from hourglass.weights.facts import WeightFacts

FIGURES = (".png", ".pdf", ".svg")


def calibrate(
    weights: Annotated[
        str | None,
        typer.Argument(help="Bundled name, file, folder or hub id; without one, the bundled network."),
    ] = None,
    data: Annotated[
        str, typer.Option(help="Kind: lspet, lsp, lsp_lspet, mpii, flic, coco, pack or synthetic.")
    ] = "lspet",
    root: Annotated[
        str, typer.Option(help="Dataset's folder, the pack file, or COCO's photos ({split} is replaced).")
    ] = "",
    split: Annotated[str, typer.Option(help="People the network was not trained on.")] = "val",
    recipe: Annotated[
        str,
        typer.Option(help="Instead of --data: the validation sets of this recipe's data.sources, together."),
    ] = "",
    annotations: Annotated[str, typer.Option(help="coco: the JSON file; {split} in it is replaced.")] = "",
    category: Annotated[str, typer.Option(help="coco: which category, where several have keypoints.")] = "",
    people: Annotated[int, typer.Option(min=0, help="Only the first so many people; 0: all.")] = 0,
    folds: Annotated[int, typer.Option(min=2, help="Fits that report on one another's people.")] = 5,
    seed: Annotated[int, typer.Option(help="Of who is in which fold.")] = 0,
    predictions: Annotated[
        Path | None,
        typer.Option(help="What hourglass evaluate found with these weights, flip test on; not run again."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops in one pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Write the weights with their calibration here (.safetensors); else only report."),
    ] = None,
    diagram: Annotated[
        Path | None, typer.Option(help="Draw the reliability diagram here: .svg, .png or .pdf.")
    ] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Make scores into probabilities: fit a temperature for each joint, report what it is worth, ship it.

    A joint's confidence is the probability that it lies within 0.2 torso lengths of where an annotator puts
    it. The report is of people whom the fit did not see (cross-fitting over pictures); what is written is the
    fit on all of them. The tensors stay as they are to the bit. Use a split that the network was not trained
    on.

    Example, without any data: hourglass calibrate --data synthetic --people 64

    On real photos: hourglass calibrate hg2_small --data lspet --root data/lspet --out calibrated.safetensors

    On several sets: hourglass calibrate people_hg2 --recipe people_hg2 --root data --out new.safetensors

    Then: hourglass predict photos --weights calibrated.safetensors
    """
    _check_places(out, diagram, json)
    from dataclasses import replace

    from hourglass.evaluation.calibrate import study
    from hourglass.recipe.data import DataRecipe
    from hourglass.weights.checkpoint import load_weights, replace_facts
    from hourglass.weights.load import ENGINES
    from hourglass.weights.published import resolve

    source = resolve(weights)
    if source.suffix in ENGINES:
        raise ValueError(
            f"{source} was exported and can't be given a calibration: calibrate the weights it was made of, "
            "then export those"
        )
    _, facts = load_weights(source)
    if recipe:
        if predictions is not None:
            raise ValueError("--predictions are of one set: give it with --data, not with --recipe")
        records, name = _sources(recipe, root, people, facts.skeleton)
    else:
        one = DataRecipe(
            name=data,
            root=root,
            annotations=annotations,
            category=category,
            skeleton=facts.skeleton.name,
            people=people,
        )
        records, name = _records(one, split, people), f"{data} {split}"
    found = _predictions(source, facts, records, predictions, batch_size, device)
    result = study(found, records, name, folds, seed)
    if out is not None:
        replace_facts(source, out, replace(facts, calibration=result.calibration))
    if diagram is not None:
        _draw(result, facts, diagram)
    report = {
        "weights": facts.name,
        "skeleton": facts.skeleton.name,
        **result.report,
        "split": "val" if recipe else split,
        "root": root,
        "out": None if out is None else str(out),
        "diagram": None if diagram is None else str(diagram),
    }
    _tell(report, json)


def _check_places(out: Path | None, diagram: Path | None, json: str) -> None:
    """Raise ValueError or OSError before the work, not after it, for what can't be written."""
    if out is not None and out.suffix != ".safetensors":
        raise ValueError(f"--out {out} must end in .safetensors")
    if diagram is not None and diagram.suffix.lower() not in FIGURES:
        raise ValueError(f"--diagram {diagram} must end in {', '.join(FIGURES)}")
    places = {"--out": out, "--diagram": diagram, "--json": None if json in ("", "-") else Path(json)}
    for option, place in places.items():
        if place is not None:
            if place.is_dir():
                raise IsADirectoryError(f"{option} {place} is a folder, not a file")
            place.parent.mkdir(parents=True, exist_ok=True)


def _records(recipe: Any, split: str, people: int) -> "list[PersonRecord]":
    from hourglass.data.loading.records import load_records

    records = load_records(recipe, split)
    if not any(record.labelled.any() for record in records):
        raise ValueError(
            f"the {split} split of {recipe.name} labels nobody's joints, so there is nothing to calibrate on"
        )
    return records[:people] if people else records


def _sources(recipe: str, root: str, people: int, skeleton: "Skeleton") -> "tuple[list[PersonRecord], str]":
    """The validation people of all sources of a recipe, numbered anew, and what to call them together."""
    from dataclasses import replace

    from hourglass.data.loading.records import load_sources
    from hourglass.evaluation.evaluate import under_skeleton
    from hourglass.recipe.recipe import find_recipe, load_recipe

    data = load_recipe(find_recipe(recipe), [f"data.root={root}"] if root else []).data
    if not data.sources:
        raise ValueError(f"the recipe {recipe} has no data.sources; name one set with --data and --root")
    sets = [
        (source, records[:people] if people else records) for source, records in load_sources(data, False)
    ]
    if not sets:
        raise ValueError(f"none of the data.sources of the recipe {recipe} has a val_split to calibrate on")
    together = [
        replace(record, image_id=f"{source.title}/{record.image_id}")
        for source, records in sets
        for record in under_skeleton(records, skeleton)[0]
    ]
    name = ", ".join(f"{source.title} {source.val_split}" for source, _ in sets)
    return [replace(record, person_id=row) for row, record in enumerate(together)], name


def _predictions(
    source: Path,
    facts: "WeightFacts",
    records: "list[PersonRecord]",
    given: Path | None,
    batch_size: int,
    device: str,
) -> "Predictions":
    """What the weights find, flip test on; from a file where there is one."""
    from hourglass.cli.options import people_bar
    from hourglass.evaluation.evaluate import check_skeleton, load_predictions, predict_records
    from hourglass.inference.device import choose_device
    from hourglass.models.build import channels_last
    from hourglass.weights.load import load_pose_network

    if given is not None:
        found = load_predictions(given)
        if found.weights != facts.name:
            raise ValueError(
                f"{given} was predicted by {found.weights or 'nobody knows whom'}, not {facts.name}"
            )
        check_skeleton(facts.skeleton, found.skeleton)
        return found
    network, _ = load_pose_network(source)
    if network.output == "coordinates":
        raise ValueError(
            f"{facts.name} answers with coordinates: it has no heatmaps and scores every joint 1, so there "
            "is nothing to calibrate"
        )
    where = choose_device(device)
    network = channels_last(network).to(where)
    with people_bar() as progress:
        return predict_records(
            network, facts, records, device=where, batch_size=batch_size, progress=progress
        )


def _draw(result: "Study", facts: "WeightFacts", path: Path) -> None:
    from hourglass.drawing.plots import reliability_diagram

    errors = {
        name: (row["ece_before"], row["ece_after"])
        for name, row in result.report["joints"].items()
        if row["counted"]
    }
    title = f"{facts.name} on {result.calibration.data}, {result.calibration.people} people, held out"
    reliability_diagram(result.before, result.after, errors, path, title)


def _tell(report: dict[str, Any], json: str) -> None:
    """The tables on standard output, unless JSON goes there; JSON into its file."""
    from json import dumps

    text = dumps(report, indent=2, allow_nan=False) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    _print(report)


def _print(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(
        title=f"{report['weights']} on {report['data']}: ECE in %, of scores and of held-out people"
    )
    table.add_column("joint", no_wrap=True)
    for column in ("counted", "right %", "score", "T", "offset", "before", "after"):
        table.add_column(column, justify="right", no_wrap=True)

    def percent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.1f}"

    for name, row in report["joints"].items():
        table.add_row(
            name.replace("_", " "),
            str(row["counted"]),
            percent(row["right"]),
            percent(row["mean_score"]),
            f"{row['temperature']:.2f}",
            f"{row['offset']:+.2f}",
            percent(row["ece_before"]),
            percent(row["ece_after"]),
        )
    console.print(table)
    kinds = Table(title=f"how sure that a joint lies {report['event']}")
    kinds.add_column("all joints", no_wrap=True)
    for column in ("ECE %", "equal counts", "of joints", "Brier", "log loss"):
        kinds.add_column(column, justify="right", no_wrap=True)
    for kind, row in report["kinds"].items():
        errors = (percent(row[key]) for key in ("ece", "ece_equal_counts", "ece_mean_of_joints"))
        style = "bold" if kind == report["chosen"] else ""
        label = {"score": "scores", "temperature": "temperature"}.get(kind, "and offset")
        kinds.add_row(label, *errors, f"{row['brier']:.4f}", f"{row['log_loss']:.4f}", style=style)
    console.print(kinds)
    lines = [
        f"{report['people']} people, {report['people'] - report['people_counted']} not counted for want of a "
        f"length to measure by; {report['folds']} folds, each reported by a fit on the others",
        f"perfect confidences would show an ECE of {percent(report['ece_by_chance'])} % by chance",
    ]
    lines += [f"{what}: {report[what]}" for what in ("out", "diagram") if report[what]]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
