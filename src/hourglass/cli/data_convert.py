"""`hourglass data convert`."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.data.formats.annotations import Annotations
    from hourglass.data.formats.skeleton_map import SkeletonMap
    from hourglass.data.writers.shared import Losses


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN", help="A file of annotations or a labelling tool's folder, told by its content."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    to: Annotated[
        str, typer.Option(help="coco, mpii, hrnet, authors, lsp or lspet; else as the name of OUT says.")
    ] = "",
    skeleton: Annotated[
        str, typer.Option(help="Map the joints to mpii16, lsp14, coco17 or flic11; else they stay.")
    ] = "",
    split: Annotated[str, typer.Option(help="Only these people, where IN has several splits.")] = "",
    category: Annotated[str, typer.Option(help="Of files with several, where their joints differ.")] = "",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the pictures: COCO then tells their widths and heights.")
    ] = None,
    frames: Annotated[
        Path | None, typer.Option(help="Of a SLEAP project: write the labelled frames as pictures in here.")
    ] = None,
    lossy: Annotated[
        bool, typer.Option("--lossy", help="Leave out people and joints that OUT's form can't hold.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over OUT.")] = False,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the report as JSON; - prints it.")] = "",
) -> None:
    """Convert annotations: any data set's to COCO JSON and back without loss, and between skeletons.

    No pictures are needed. What a form can't hold is told; losing people or joints needs --lossy.

    Example: hourglass data convert lsp/joints.mat people.json

    And back: hourglass data convert people.json joints.mat

    With MPII's 16 joints: hourglass data convert lsp/joints.mat people.json --skeleton mpii16
    """
    from hourglass.core.skeleton import SKELETONS
    from hourglass.data.formats.skeleton_map import describe_map, map_skeleton
    from hourglass.data.writers.shared import Losses, check_free
    from hourglass.data.writers.write import TARGETS, picture_sizes, read_source, target_of, write_people

    if to and to not in TARGETS:
        raise ValueError(f"--to {to!r} is not one of {', '.join(TARGETS)}")
    if skeleton and skeleton not in SKELETONS:
        raise ValueError(f"--skeleton {skeleton!r} is not one of {', '.join(sorted(SKELETONS))}")
    if json not in ("", "-") and Path(json).is_dir():
        raise ValueError(f"--json {json} is a folder, not a file")
    check_free(out, force)
    found = read_source(source, split, category or None)
    target = to or target_of(out, found.people)
    if images is not None and target != "coco":
        raise ValueError(f"--images tells COCO the sizes of pictures, which the form {target} doesn't hold")
    people, plan = found.people, None
    if skeleton:
        plan = describe_map(people.skeleton, SKELETONS[skeleton])
        people = map_skeleton(people, SKELETONS[skeleton])
    if frames is not None:
        if people.form != "sleap" or source.suffix.lower() != ".slp":
            raise ValueError(f"--frames is for SLEAP's projects (.slp), not for {source}")
        from hourglass.data.formats.sleap import write_frames

        typer.echo(f"{frames}: {write_frames(source, frames)} frames written", err=True)
    sizes = None if images is None else picture_sizes(people, found, images)
    losses = Losses(lossy)
    written = write_people(people, out, target, found, losses, force, sizes)
    report = _report(source, out, target, written, plan, losses)
    report |= {"from": people.form, "left_out": len(people) - len(written)}
    _tell(report, plan, json)


def _report(
    source: Path,
    out: Path,
    target: str,
    people: "Annotations",
    plan: "SkeletonMap | None",
    losses: "Losses",
) -> dict[str, Any]:
    import numpy as np

    from hourglass.core.structs import OCCLUDED

    report: dict[str, Any] = {
        "in": str(source),
        "out": str(out),
        "to": target,
        "people": len(people),
        "pictures": len(set(people.names)),
        "splits": {name: count for name, count in Counter(people.splits).items() if name},
        "skeleton": people.skeleton.name,
        "flip_pairs": [list(pair) for pair in people.skeleton.flip_pairs],
        "labelled_joints": int(people.labelled.sum()),
        "hidden_joints": int(np.sum(people.visibility == OCCLUDED)),
        "notes": losses.notes,
    }
    if plan is not None:
        derived = {joint: list(sources) for joint, sources in plan.derived.items()}
        kept, absent, dropped = list(plan.kept), list(plan.absent), list(plan.dropped)
        report["joints"] = {"kept": kept, "derived": derived, "absent": absent, "dropped": dropped}
    if losses.rows:
        report["picture_of_row"] = losses.rows
    return report


def _tell(report: dict[str, Any], plan: "SkeletonMap | None", json: str) -> None:
    from json import dumps

    splits = ", ".join(f"{count} {name}" for name, count in report["splits"].items())
    typer.echo(
        f"{report['out']}: {report['people']} people{f' ({splits})' if splits else ''} in "
        f"{report['pictures']} pictures, {report['labelled_joints']} joints labelled, "
        f"{report['hidden_joints']} of them hidden; {report['from']} to {report['to']}",
        err=True,
    )
    pairs = ", ".join(f"{a} and {b}" for a, b in report["flip_pairs"])
    typer.echo(f"left and right: {pairs or 'no joints that change places in a mirror'}", err=True)
    if plan is not None:
        typer.echo(f"to {report['skeleton']}: {plan.sentence()}", err=True)
    for note in report["notes"]:
        typer.echo(f"hourglass: {note}", err=True)
    text = dumps(report, indent=2, allow_nan=False)
    if json == "-":
        typer.echo(text)
    elif json:
        Path(json).parent.mkdir(parents=True, exist_ok=True)
        Path(json).write_text(text + "\n", encoding="utf-8")
