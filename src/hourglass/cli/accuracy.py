"""`hourglass accuracy`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.core.structs import PersonRecord
    from hourglass.recipe.data import DataRecipe, SourceRecipe


def accuracy(
    weights: Annotated[
        list[str] | None,
        typer.Argument(help="Bundled names, files, folders or hub ids; without any, the bundled network."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="The recipe whose data.sources are reported on, by name or file.")
    ] = "people_hg2",
    root: Annotated[str, typer.Option(help="The folder that the sources' own folders start from.")] = "",
    peers: Annotated[
        Path | None, typer.Option(help="A folder of other programs' answers to score beside ours.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this source; may be repeated.")] = None,
    flip_test: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    draws: Annotated[int, typer.Option(min=2, help="Of the bootstrap.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops in one pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Score weights, and other programs' answers, on several data sets: by joint, by size, half bodies.

    PCK@0.2 of the torso over the joints that all of them know, in true boxes, with 95 % bootstrap intervals.
    Each source of the recipe is reported on its test split, else on its validation split.

    Example: hourglass accuracy hg2_people --root data --peers data/peers
    """
    from hourglass.recipe.recipe import find_recipe, load_recipe

    data = load_recipe(find_recipe(recipe), [f"data.root={root}"] if root else []).data
    titles = [source.title for source in data.sources]
    if not titles:
        raise ValueError(
            f"the recipe {recipe} has no data.sources to report on; `hourglass evaluate` scores one"
        )
    for title in only or []:
        if title not in titles:
            raise ValueError(f"--only {title}: the recipe's sources are {', '.join(titles)}")
    if peers is not None and not peers.is_dir():
        raise ValueError(f"--peers {peers} is not a folder")
    report = _report(weights or [""], data, peers, only, flip_test, draws, batch_size, device)
    _tell(report, json)


def _report(
    weights: list[str],
    data: "DataRecipe",
    peers: Path | None,
    only: list[str] | None,
    flip_test: bool,
    draws: int,
    batch_size: int,
    device: str,
) -> dict[str, Any]:
    from dataclasses import replace

    from hourglass.cli.options import people_bar
    from hourglass.data.loading.records import load_test_sets
    from hourglass.evaluation.accuracy import Answers, compare, groups_of, read_answer
    from hourglass.evaluation.evaluate import predict_records
    from hourglass.inference.device import choose_device
    from hourglass.models.build import channels_last
    from hourglass.weights.load import load_pose_network

    where = choose_device(device)
    networks = [load_pose_network(name or None) for name in weights]
    report: dict[str, Any] = {}
    for source, records in load_test_sets(data, only):
        answers: list[Answers] = []
        for network, facts in networks:
            with people_bar() as progress:
                found = predict_records(
                    channels_last(network).to(where),
                    facts,
                    [
                        replace(record, skeleton=facts.skeleton, **_blank(len(facts.skeleton)))
                        for record in records
                    ],
                    device=where,
                    batch_size=batch_size,
                    flip_test=flip_test,
                    progress=progress,
                )
            answers.append(Answers(facts.name, facts.skeleton.joints, found.keypoints))
        files = sorted(peers.glob("*.json")) if peers is not None else []
        answers += [answer for file in files if (answer := read_answer(file, records)) is not None]
        groups = groups_of(records, *_boxes(data, source, records))
        report[source.title] = {
            "split": source.test_split or source.val_split,
            "groups": compare(records, answers, groups, draws),
        }
    return {"metric": "PCK@0.2 of the torso", "draws": draws, "sets": report}


def _blank(joints: int) -> dict[str, Any]:
    """Labels of a person of whom only the crop is wanted."""
    import numpy as np

    return {
        "keypoints": np.zeros((joints, 2), np.float32),
        "visibility": np.zeros(joints, np.uint8),
        "weight": None,
    }


def _boxes(data: "DataRecipe", source: "SourceRecipe", records: "list[PersonRecord]") -> Any:
    """Annotated boxes (N, 4) and areas (N,), each None where the source has none."""
    import numpy as np

    from hourglass.data.formats.coco import read_annotations

    if source.name != "coco":
        return None, None
    one = data.of_source(source)
    split = source.test_split or source.val_split
    people = read_annotations(Path(one.annotations.replace("{split}", split)), one.category or None)
    row = {person: n for n, person in enumerate(people.ids.tolist())}
    rows = np.array([row[record.person_id] for record in records])
    return (
        None if people.box is None else people.box[rows],
        None if people.area is None else people.area[rows],
    )


def _tell(report: dict[str, Any], json: str) -> None:
    from json import dumps

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width of its own: what reads it wants whole rows.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for title, found in report["sets"].items():
        table = Table(title=f"{title} {found['split']}: PCK@0.2")
        for name in ("people", "", "counted", "pooled", "95 %"):
            table.add_column(name, justify="left" if name in ("people", "") else "right")
        first = next(iter(found["groups"].values()))["networks"]
        parts = list(next(iter(first.values()))["joints"])
        for part in parts:
            table.add_column(part, justify="right")
        for group, scored in found["groups"].items():
            for n, (name, shares) in enumerate(scored["networks"].items()):
                table.add_row(
                    group if n == 0 else "",
                    name,
                    str(scored["people"]) if n == 0 else "",
                    f"{shares['pooled']:.1f}",
                    f"{shares['low']:.1f} to {shares['high']:.1f}",
                    *(
                        "-" if (share := shares["joints"].get(part)) is None else f"{share:.1f}"
                        for part in parts
                    ),
                )
            table.add_section()
        console.print(table)
