"""`hourglass evaluate`."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.evaluate import Predictions, Progress
    from hourglass.structs import PersonRecord

PRECISIONS = ("fp32", "bf16")


def evaluate(
    weights: Annotated[
        str | None,
        typer.Argument(help="Bundled name, file, folder or hub id; without one, the bundled network."),
    ] = None,
    data: Annotated[str, typer.Option(help="Kind of data: lspet, coco, pack or synthetic.")] = "lspet",
    root: Annotated[str, typer.Option(help="Dataset's folder, or the pack file.")] = "",
    split: Annotated[str, typer.Option(help="Which part of the data: train, val or test.")] = "val",
    annotations: Annotated[str, typer.Option(help="coco: the JSON file; {split} in it is replaced.")] = "",
    people: Annotated[int, typer.Option(min=0, help="Score only the first so many people; 0: all.")] = 0,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Share of the torso (0.2); may be repeated.")
    ] = None,
    flip_test: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops in one pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="Of the network: fp32 or bf16.")] = "fp32",
    predictions: Annotated[
        Path | None, typer.Option(help="Score this file of predictions again, without a network.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of predictions.json and extremes.png.")] = Path(
        "out/evaluate"
    ),
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Score weights on annotated people: PCK of the torso, each joint and the mean.

    Writes predictions.json, which --predictions scores again, and extremes.png with the best, median
    and worst people, into --out. Every labelled joint counts, hidden ones too; a torso is the distance
    from left shoulder to right hip, or the other diagonal where one of them is not labelled.

    Example, without any data: hourglass evaluate --data synthetic --people 64

    On real photos: hourglass evaluate --data lspet --root data/lspet --split val --json score.json
    """
    if predictions is not None and weights is not None:
        raise ValueError("give weights to run or --predictions to score again, not both")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    _check_places(out, json)

    from hourglass.evaluate import extremes_sheet, load_predictions, save_predictions, score

    began = time.perf_counter()
    if predictions is not None:
        answer = load_predictions(predictions)
        records = _records(data, root, split, annotations, people, answer.skeleton.name)
        facts: dict[str, Any] = {"weights": answer.weights}
    else:
        answer, records, facts = _run_network(
            weights, (data, root, split, annotations, people), flip_test, batch_size, device, precision
        )
        predictions = out / "predictions.json"
        save_predictions(predictions, answer)
    result = score(answer, records, threshold or [0.2])
    sheet = extremes_sheet(answer, records)
    report = {
        **result,
        **facts,
        "skeleton": answer.skeleton.name,
        "data": data,
        "root": root,
        "split": split,
        "predictions": str(predictions),
        "extremes": None if sheet is None else str(out / "extremes.png"),
        "seconds": round(time.perf_counter() - began, 3),
    }
    if sheet is not None:
        _save_picture(out / "extremes.png", sheet)
    _tell(report, json)


def _check_places(out: Path, json: str) -> None:
    """Raise OSError before the work, not after it, when the results can't be put where they should go."""
    out.mkdir(parents=True, exist_ok=True)
    if json not in ("", "-"):
        if Path(json).is_dir():
            raise IsADirectoryError(f"--json {json} is a folder, not a file")
        Path(json).parent.mkdir(parents=True, exist_ok=True)


def _records(
    data: str, root: str, split: str, annotations: str, people: int, skeleton: str
) -> "list[PersonRecord]":
    from hourglass.build import load_records
    from hourglass.recipe import DataRecipe

    recipe = DataRecipe(name=data, root=root, annotations=annotations, skeleton=skeleton, people=people)
    records = load_records(recipe, split)
    return records[:people] if people else records


def _run_network(
    weights: str | None,
    source: tuple[str, str, str, str, int],
    flip_test: bool,
    batch_size: int,
    device: str,
    precision: str,
) -> "tuple[Predictions, list[PersonRecord], dict[str, Any]]":
    """Predictions of the weights, the people they are of, and the facts for the report."""
    import torch

    from hourglass.build import channels_last, load_network
    from hourglass.evaluate import predict_records
    from hourglass.inference.device import choose_device

    where = choose_device(device)
    network, facts = load_network(weights)
    records = _records(*source, facts.skeleton.name)
    network = channels_last(network).to(where)
    began = time.perf_counter()
    with _progress() as progress:
        answer = predict_records(
            network,
            facts,
            records,
            device=where,
            batch_size=batch_size,
            flip_test=flip_test,
            precision=torch.bfloat16 if precision == "bf16" else torch.float32,
            progress=progress,
        )
    seconds = time.perf_counter() - began
    told = {
        "weights": facts.name,
        "input_px": facts.input_px,
        "decoding": facts.decoding,
        "flip_test": flip_test,
        "precision": precision,
        "batch_size": batch_size,
        "device": str(where),
        "people_per_s": round(len(records) / seconds, 2),
    }
    return answer, records, told


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar with the time left on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("people", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _save_picture(path: Path, image: Any) -> None:
    from PIL import Image

    from hourglass.checkpoint import write_atomically

    write_atomically(path, lambda part: Image.fromarray(image).save(part, format="PNG"))


def _tell(report: dict[str, Any], json: str) -> None:
    """The table on standard output, unless JSON goes there; JSON into its file."""
    from json import dumps

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.checkpoint import write_text_atomically

        write_text_atomically(Path(json), text)
    _print_table(report)


def _print_table(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    metrics = report["metrics"]
    table = Table("joint", title=f"{report['weights']} on {report['data']} {report['split']}".strip())
    table.add_column("counted", justify="right")
    for metric in metrics:
        table.add_column(metric, justify="right")

    def row(label: str, key: str, counted: int, style: str = "") -> None:
        values = [metrics[metric][key] for metric in metrics]
        cells = ("-" if value is None else f"{value:.1f}" for value in values)
        table.add_row(label.replace("_", " "), str(counted), *cells, style=style)

    for joint, counted in report["joints"].items():
        row(joint, joint, counted)
    table.add_section()
    total = sum(report["joints"].values())
    row("mean of joints", "mean", total, "bold")
    row("all joints pooled", "pooled", total)
    console = Console(highlight=False)
    console.print(table)
    for line in _remarks(report):
        console.print(line, soft_wrap=True, markup=False)


def _remarks(report: dict[str, Any]) -> Iterator[str]:
    """What stands under the table."""
    without = report["people"] - report["people_counted"]
    yield f"{report['people']} people" + (
        f", {without} not counted for want of a {report['reference']}" if without else ""
    )
    if "device" in report:
        yield (
            f"flip test {'on' if report['flip_test'] else 'off'}, input {report['input_px']} px, "
            f"{report['precision']} on {report['device']}: {report['people_per_s']:.1f} people/s, "
            f"{report['seconds']:.1f} s in all"
        )
    for what in ("predictions", "extremes"):
        if report[what]:
            yield f"{what}: {report[what]}"
