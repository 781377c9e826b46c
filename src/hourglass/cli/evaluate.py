"""`hourglass evaluate`."""

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.core.structs import PersonRecord
    from hourglass.data.formats.coco import CocoFile
    from hourglass.data.formats.photos import DetectedBoxes
    from hourglass.evaluation.evaluate import Predictions

PRECISIONS = ("fp32", "bf16", "int8")


def evaluate(
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
    split: Annotated[str, typer.Option(help="Which part of the data: train, val or test.")] = "val",
    annotations: Annotated[str, typer.Option(help="coco: the JSON file; {split} in it is replaced.")] = "",
    category: Annotated[str, typer.Option(help="coco: which category, where several have keypoints.")] = "",
    boxes: Annotated[
        Path | None, typer.Option(help="coco: look at a detector's boxes (COCO results) instead of people's.")
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(help="coco: look at whom a detector finds in whole photos, such as people_finder."),
    ] = None,
    nms: Annotated[
        float, typer.Option(min=0, max=1, help="--detector: of two more alike by OKS one stays; 1: all.")
    ] = 0.9,
    min_score: Annotated[
        float | None, typer.Option(min=0, help="Boxes of --boxes or --detector that score less are left out.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="coco: write COCO results here, for hourglass score or COCO's server.")
    ] = None,
    people: Annotated[int, typer.Option(min=0, help="Score only the first so many people; 0: all.")] = 0,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Share of the torso (0.2); may be repeated.")
    ] = None,
    flip_test: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops in one pass.")] = 32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="Of the network: fp32, bf16, or int8 (openvino, with --calibration).")
    ] = "fp32",
    backend: Annotated[
        str, typer.Option(help="What runs the network: torch, onnxruntime or openvino; auto is torch.")
    ] = "auto",
    stacks: Annotated[str, typer.Option(help="Use the first so many stacks only.")] = "all",
    calibration: Annotated[
        str, typer.Option(metavar="PATH", help="int8: photos (folder, glob) or a pack to measure ranges on.")
    ] = "",
    crop: Annotated[str, typer.Option(help="People's size from their box or their limbs.")] = "box",
    sides: Annotated[
        str, typer.Option(help="observer: left and right as seen in the picture; flic: or person.")
    ] = "",
    predictions: Annotated[
        Path | None, typer.Option(help="Score this file of predictions again, without a network.")
    ] = None,
    each_stage: Annotated[
        bool, typer.Option(help="Score what every stack answers as well, by groups of joints.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw PCK over the threshold for each joint: .png, .pdf or .svg.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of predictions.json and extremes.png.")] = Path(
        "out/evaluate"
    ),
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Score weights on annotated people: PCK of the torso, each joint and the mean; OKS too on COCO data.

    Writes predictions.json, which --predictions scores again, and extremes.png with the best, median
    and worst people, into --out. Every labelled joint counts, hidden ones too; a torso is the distance
    from left shoulder to right hip, or the other diagonal where one of them is not labelled. With --boxes
    nobody says who is in which box, so there is OKS alone, and no extremes.png.

    Example, without any data: hourglass evaluate --data synthetic --people 64

    On real photos: hourglass evaluate --data lspet --root data/lspet --split val --json score.json

    First answers against the last, with curves: hourglass evaluate --data synthetic --each-stage
    --figure curves.png

    COCO: hourglass evaluate --data coco --root val2017 --annotations person_keypoints_val2017.json --boxes
    detections.json

    Whole photos, no box given: the same with --detector people_finder instead of --boxes. The boxes that were
    found go into boxes.json in --out.
    """
    if predictions is not None and weights is not None:
        raise ValueError("give weights to run or --predictions to score again, not both")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    source = _Source(data, root, split, annotations, category, people, crop, sides)
    how = _How(flip_test, batch_size, device, precision, backend, stacks, calibration)
    if boxes is not None and detector is not None:
        raise ValueError("--boxes and --detector each say where the people are; give one of them")
    if predictions is not None and detector is not None:
        raise ValueError(
            "--predictions are of boxes that were found before: give those (--boxes), not --detector"
        )
    found_by = "--boxes" if boxes is not None else "--detector" if detector is not None else ""
    _check_coco_options(source, found_by, min_score, results, threshold)
    _check_stages_and_figure(each_stage, figure, how, predictions, boxes)
    _check_places(out, json, results, figure)

    from hourglass.evaluation.evaluate import (
        load_predictions,
        save_predictions,
        stage_scores,
        under_skeleton,
    )

    began = time.perf_counter()
    if detector is not None:
        boxes, min_score = _find(source, detector, min_score, out / "boxes.json"), None
    file, found = _coco(source, boxes, min_score or 0.0, results)
    stages: list[Predictions] = []
    if predictions is not None:
        answer = load_predictions(predictions)
        records, unknown = under_skeleton(_records(source, found, answer.skeleton.name), answer.skeleton)
        facts: dict[str, Any] = {"weights": answer.weights, "joints_left_out": list(unknown)}
    else:
        stages, records, facts = _run_network(weights, source, found, how, each_stage)
        answer = stages[-1]
        predictions = out / "predictions.json"
        save_predictions(predictions, answer)
    thresholds = threshold or [0.2]
    report: dict[str, Any] = {"people": len(records)}
    if found is None:
        report = _scored(answer, records, thresholds, out)
    if each_stage:
        report["stages"] = stage_scores(stages, records, thresholds[0])
    if figure is not None:
        _draw(figure, stages if each_stage else [answer], records, max(thresholds))
    report["figure"] = None if figure is None else str(figure)
    if file is not None:
        kept_once = nms if detector is not None else None
        report |= _scored_by_oks(file, answer, records, found, people, results, kept_once)
    report |= {
        **facts,
        "skeleton": answer.skeleton.name,
        "data": data,
        "root": root,
        "split": split,
        "boxes": None if boxes is None else str(boxes),
        "detector": detector,
        "predictions": str(predictions),
        "results": None if results is None else str(results),
        "seconds": round(time.perf_counter() - began, 3),
    }
    _tell(report, json)


@dataclass(frozen=True)
class _Source:
    """Which people, as the options say it."""

    data: str
    root: str
    split: str
    annotations: str
    category: str
    people: int
    crop: str
    sides: str


@dataclass(frozen=True)
class _How:
    """How the network is run."""

    flip_test: bool
    batch_size: int
    device: str
    precision: str
    backend: str
    stacks: str
    calibration: str


def _check_coco_options(
    source: _Source,
    found_by: str,
    min_score: float | None,
    results: Path | None,
    threshold: list[float] | None,
) -> None:
    """Raise ValueError naming an option that would change nothing, or make the score meaningless."""
    given = {found_by: bool(found_by), "--results": results is not None, "--category": source.category}
    for option, used in given.items():
        if used and source.data != "coco" and (option, source.data) != ("--category", "file"):
            raise ValueError(f"{option} is for --data coco, not for {source.data}")
    if not found_by:
        if min_score is not None:
            raise ValueError("--min-score is about --boxes or --detector; give both or neither")
        return
    if not (source.root and source.annotations):
        raise ValueError(f"{found_by} needs the photos (--root) and who is in them (--annotations)")
    if source.people:
        raise ValueError(
            f"--people leaves out people that OKS would count as missed; leave it away with {found_by}"
        )
    if threshold:
        raise ValueError(f"--threshold is of PCK, which there is none of with {found_by}; leave it away")


def _check_stages_and_figure(
    each_stage: bool, figure: Path | None, how: _How, predictions: Path | None, boxes: Path | None
) -> None:
    """Raise ValueError naming an option that can't be met."""
    if boxes is not None and (each_stage or figure is not None):
        option = "--each-stage" if each_stage else "--figure"
        raise ValueError(f"{option} is about PCK, which there is none of with --boxes; leave it away")
    if not each_stage:
        return
    if predictions is not None:
        raise ValueError("--each-stage needs the network; --predictions holds its last answer alone")
    if how.backend not in ("auto", "torch") or how.stacks != "all" or how.precision == "int8":
        raise ValueError("--each-stage runs the whole network by --backend torch, with all --stacks")


def _draw(figure: Path, stages: "list[Predictions]", records: "list[PersonRecord]", end: float) -> None:
    """The picture of `--figure`: a panel for each group of joints, a curve for each stage."""
    from hourglass.drawing.plots import pck_curves
    from hourglass.evaluation.evaluate import curves, reference_name

    panels: dict[str, dict[str, list[float]]] = {}
    thresholds: list[float] = []
    for i, stage in enumerate(stages):
        thresholds, found = curves(stage, records, end)
        for group, shares in found.items():
            panels.setdefault(group, {})[f"stage {i + 1}" if len(stages) > 1 else stage.weights] = shares
    label = f"distance / {reference_name(stages[0].skeleton)}"
    pck_curves(thresholds, panels, figure, label, stages[0].weights)


def _check_places(out: Path, json: str, results: Path | None, figure: Path | None) -> None:
    """Raise OSError before the work, not after it, when the results can't be put where they should go."""
    out.mkdir(parents=True, exist_ok=True)
    places = {"--json": "" if json == "-" else json, "--results": results, "--figure": figure}
    for option, place in places.items():
        if place:
            if Path(place).is_dir():
                raise IsADirectoryError(f"{option} {place} is a folder, not a file")
            Path(place).parent.mkdir(parents=True, exist_ok=True)


def _find(source: _Source, detector: str, min_score: float | None, path: Path) -> Path:
    """Write whom a detector finds in the photos to a file of boxes."""
    from json import dumps

    from hourglass.cli.options import open_detector, people_bar
    from hourglass.core.files import write_text_atomically
    from hourglass.evaluation.evaluate_coco import read_truth
    from hourglass.evaluation.finding import find_boxes

    opened = open_detector(detector, min_score)
    if opened is None:
        raise ValueError("--detector none finds nobody; leave it away to look at people's own boxes")
    annotations = Path(source.annotations.replace("{split}", source.split))
    file = read_truth(annotations, source.split, source.category or None)
    with people_bar() as progress:
        found = find_boxes(file, Path(source.root.replace("{split}", source.split)), opened, progress)
    write_text_atomically(path, dumps(found) + "\n")
    return path


def _coco(
    source: _Source, boxes: Path | None, min_score: float, results: Path | None
) -> "tuple[CocoFile | None, DetectedBoxes | None]":
    """Everybody annotated in COCO data, and the detector's boxes; refuses what can't be scored."""
    if source.data != "coco" or not (source.root and source.annotations):
        return None, None  # without the two, reading the people tells what is missing
    from hourglass.data.formats.picture_places import labels_upright
    from hourglass.evaluation.evaluate_coco import check_labelled, check_sigmas, load_boxes, read_truth

    annotations = Path(source.annotations.replace("{split}", source.split))
    file = read_truth(annotations, source.split, source.category or None)
    photos = Path(source.root.replace("{split}", source.split))
    file = replace(file, people=labels_upright(file.people, photos))
    if boxes is None:
        check_labelled(file)
        return file, None
    if results is None:
        check_labelled(file)
        check_sigmas(file)
    return file, load_boxes(file, photos, boxes, min_score)


def _records(source: _Source, found: "DetectedBoxes | None", skeleton: str) -> "list[PersonRecord]":
    if found is not None:
        return found.records
    from hourglass.data.loading.records import load_records
    from hourglass.recipe.data import DataRecipe

    recipe = DataRecipe(
        name=source.data,
        root=source.root,
        annotations=source.annotations,
        category=source.category,
        skeleton=skeleton,
        people=source.people,
        crop=source.crop,
        sides=source.sides,
    )
    records = load_records(recipe, source.split)
    if not any(record.labelled.any() for record in records):
        raise ValueError(
            f"the {source.split} split of {source.data} labels nobody's joints, so there is nothing to "
            "score; `hourglass predict` finds the joints in pictures"
        )
    return records[: source.people] if source.people else records


def _run_network(
    weights: str | None,
    source: _Source,
    found: "DetectedBoxes | None",
    how: _How,
    each_stage: bool,
) -> "tuple[list[Predictions], list[PersonRecord], dict[str, Any]]":
    """Predictions of the weights (of every stage, or the last), whose they are, and facts for the report."""
    from hourglass.cli.options import calibrate, number_of_stacks, people_bar
    from hourglass.evaluation.evaluate import predict_records, predict_stages, under_skeleton
    from hourglass.inference.backends import make_runnable
    from hourglass.inference.device import choose_device
    from hourglass.models.build import channels_last
    from hourglass.weights.load import load_pose_network

    where, stacks = choose_device(how.device), number_of_stacks(how.stacks)
    if stacks == "auto":
        raise ValueError("--stacks auto is scored by `hourglass benchmark anytime`; give a number here")
    network, facts = load_pose_network(weights)
    records, unknown = under_skeleton(_records(source, found, facts.skeleton.name), facts.skeleton)
    int8 = how.precision == "int8" and how.calibration
    runnable, dtype = make_runnable(
        network,
        facts,
        where,
        how.backend,
        how.precision,
        stacks,
        calibrate(how.calibration, weights) if int8 else None,
    )
    network = channels_last(runnable).to(where)
    began = time.perf_counter()
    with people_bar() as progress:
        options: dict[str, Any] = {
            "device": where,
            "batch_size": how.batch_size,
            "flip_test": how.flip_test,
            "precision": dtype,
            "progress": progress,
        }
        if each_stage:
            answers = predict_stages(network, facts, records, **options)
        else:
            answers = [predict_records(network, facts, records, **options)]
    seconds = time.perf_counter() - began
    told = {
        "weights": facts.name,
        "input_px": facts.input_px,
        "decoding": facts.decoding,
        "flip_test": how.flip_test,
        "precision": how.precision,
        "backend": how.backend,
        "stacks": how.stacks,
        "batch_size": how.batch_size,
        "device": str(where),
        "joints_left_out": list(unknown),
        "people_per_s": round(len(records) / seconds, 2),
    }
    return answers, records, told


def _scored(
    answer: "Predictions", records: "list[PersonRecord]", thresholds: list[float], out: Path
) -> dict[str, Any]:
    """PCK, and the picture of extremes where there are any."""
    from hourglass.evaluation.evaluate import extremes_sheet, score

    report = score(answer, records, thresholds)
    sheet = extremes_sheet(answer, records)
    if sheet is not None:
        _save_picture(out / "extremes.png", sheet)
    return {**report, "extremes": None if sheet is None else str(out / "extremes.png")}


def _scored_by_oks(
    file: "CocoFile",
    answer: "Predictions",
    records: "list[PersonRecord]",
    found: "DetectedBoxes | None",
    people: int,
    results: Path | None,
    nms: float | None,
) -> dict[str, Any]:
    """`oks`, or None and the reason in `oks_left_out`; writes the results.

    Args:
        nms: of two more alike by OKS one stays; None keeps all.
    """
    from hourglass.evaluation.evaluate_coco import results_of, save_results, score_oks
    from hourglass.evaluation.finding import without_doubles

    detections = results_of(answer, records, file, found)
    if nms is not None and found is not None:
        detections = without_doubles(detections, answer, records, found.scores.tolist(), nms)
    if results is not None:
        save_results(results, detections)
    if people:
        return {"oks": None, "oks_left_out": "--people leaves out people that OKS would count as missed"}
    try:
        return {"oks": score_oks(file, detections), "oks_left_out": None}
    except ValueError as error:
        if found is not None and results is None:
            raise
        return {"oks": None, "oks_left_out": str(error)}


def _save_picture(path: Path, image: Any) -> None:
    from PIL import Image

    from hourglass.core.files import write_atomically

    write_atomically(path, lambda part: Image.fromarray(image).save(part, format="PNG"))


def _tell(report: dict[str, Any], json: str) -> None:
    """The table on standard output, unless JSON goes there; JSON into its file."""
    from json import dumps

    text = dumps(report, indent=2) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    from hourglass.cli.output import print_report

    print_report(report)
