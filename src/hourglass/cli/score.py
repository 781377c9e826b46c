"""`hourglass score`."""

import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer


def score(
    predictions: Annotated[
        Path, typer.Argument(help="Predictions: .h5, .mat, .npy, .csv, COCO results or our own .json.")
    ],
    truth: Annotated[
        Path, typer.Option(help="Annotations: MPII's .mat, .h5 or .json, LSP's joints.mat, FLIC's .h5, COCO.")
    ],
    protocol: Annotated[
        str, typer.Option(help="Whose scoring: mpii-official, bearpaw, hrnet, mmpose, ... or all that fit.")
    ] = "all",
    split: Annotated[
        str, typer.Option(help="Of MPII's list (val), LSP (test) or LSPET (all), where a file has several.")
    ] = "",
    only: Annotated[str, typer.Option(help="Joints to score: all, visible or hidden.")] = "all",
    visibility: Annotated[
        Path | None, typer.Option(help="Annotations that tell hidden joints, where the truth doesn't.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="Another length: head, head-stick, torso, other-torso, any-torso, file-torso, box or crop."
        ),
    ] = "",
    threshold: Annotated[
        list[float] | None, typer.Option(help="Instead of the protocol's own; may be repeated.")
    ] = None,
    count_from: Annotated[
        int | None,
        typer.Option(min=0, max=1, help="What arrays and CSV call the first pixel; else as the truth does."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Draws of people for 95 % intervals; 0: none.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    against: Annotated[Path | None, typer.Option(help="Other predictions of the same people.")] = None,
    curves: Annotated[bool, typer.Option(help="Put the curves over all thresholds into the JSON.")] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw PCK over the threshold, .png, .pdf or .svg; with --protocol.")
    ] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Score a file of predictions as other codes do, one protocol or all side by side.

    No pictures and no network are needed. docs/metrics.md has every protocol's formula and says where codes
    disagree.

    Example: hourglass score valid-ours.h5 --truth detections_our_format.mat

    Curves of each joint: hourglass score valid-ours.h5 --truth valid.h5 --protocol hrnet --figure curves.png

    Which of two is better: hourglass score new.json --truth valid.h5 --against old.json --bootstrap 1000
    """
    from hourglass.evaluation.scoring.predictions import read_predictions
    from hourglass.evaluation.scoring.report import (
        ScoreRequest,
        as_report,
        draw_curves,
        print_scores,
        score_all,
    )
    from hourglass.evaluation.scoring.truth import read_truth, with_visibility_of

    request = ScoreRequest(
        protocols=protocol,
        only=cast(Literal["all", "visible", "hidden"], only),
        length=by,
        thresholds=tuple(threshold or ()),
        draws=bootstrap,
        seed=seed,
        curves=curves,
    )
    _check_json(json, curves)
    _check_figure(figure, protocol)
    annotations = read_truth(truth, split)
    if visibility is not None:
        annotations = with_visibility_of(annotations, read_truth(visibility))
    answers = read_predictions(predictions, annotations, count_from)
    others = None if against is None else read_predictions(against, annotations, count_from)
    scored, left_out = score_all(request, annotations, answers, others)
    names = (str(predictions), "" if against is None else str(against))
    if figure is not None:
        short = (predictions.name, "" if against is None else against.name)
        if short[0] == short[1]:
            short = names
        draw_curves(scored[0], annotations.people.skeleton, short, figure)
    if json:
        _write_json(json, as_report(scored, left_out, annotations, answers, others, request))
    if json != "-":
        print_scores(scored, left_out, annotations, request, names)


def _check_figure(figure: Path | None, protocol: str) -> None:
    """Raise before the work, not after it."""
    if figure is None:
        return
    if protocol in ("all", "coco"):
        raise ValueError("--figure draws the curves of one protocol of joints; name it with --protocol")
    if figure.is_dir():
        raise IsADirectoryError(f"--figure {figure} is a folder, not a file")
    figure.parent.mkdir(parents=True, exist_ok=True)


def _check_json(json: str, curves: bool) -> None:
    """Raise before the work, not after it."""
    if curves and not json:
        raise ValueError("--curves go into the JSON; give --json FILE or --json -")
    if json not in ("", "-"):
        if Path(json).is_dir():
            raise IsADirectoryError(f"--json {json} is a folder, not a file")
        Path(json).parent.mkdir(parents=True, exist_ok=True)


def _write_json(json: str, report: dict[str, object]) -> None:
    from json import dumps

    text = dumps(report, indent=2, allow_nan=False) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    from hourglass.core.files import write_text_atomically

    write_text_atomically(Path(json), text)
