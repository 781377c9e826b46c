"""`hourglass evaluate`."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.core.structs import PersonRecord
    from hourglass.data.formats.coco import CocoFile
    from hourglass.data.formats.coco_boxes import DetectedBoxes
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
    min_score: Annotated[float, typer.Option(min=0, help="--boxes that score less are left out.")] = 0.0,
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

    COCO: hourglass evaluate --data coco --root val2017 --annotations person_keypoints_val2017.json --boxes
    detections.json
    """
    if predictions is not None and weights is not None:
        raise ValueError("give weights to run or --predictions to score again, not both")
    if precision not in PRECISIONS:
        raise ValueError(f"--precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    source = _Source(data, root, split, annotations, category, people, crop, sides)
    how = _How(flip_test, batch_size, device, precision, backend, stacks, calibration)
    _check_coco_options(source, boxes, min_score, results, threshold)
    _check_places(out, json, results)

    from hourglass.evaluation.evaluate import load_predictions, save_predictions, under_skeleton

    began = time.perf_counter()
    file, found = _coco(source, boxes, min_score, results)
    if predictions is not None:
        answer = load_predictions(predictions)
        records, unknown = under_skeleton(_records(source, found, answer.skeleton.name), answer.skeleton)
        facts: dict[str, Any] = {"weights": answer.weights, "joints_left_out": list(unknown)}
    else:
        answer, records, facts = _run_network(weights, source, found, how)
        predictions = out / "predictions.json"
        save_predictions(predictions, answer)
    report = _scored(answer, records, threshold or [0.2], out) if found is None else {"people": len(records)}
    if file is not None:
        report |= _scored_by_oks(file, answer, records, found, people, results)
    report |= {
        **facts,
        "skeleton": answer.skeleton.name,
        "data": data,
        "root": root,
        "split": split,
        "boxes": None if boxes is None else str(boxes),
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
    boxes: Path | None,
    min_score: float,
    results: Path | None,
    threshold: list[float] | None,
) -> None:
    """Raise ValueError naming an option that would change nothing, or make the score meaningless."""
    given = {"--boxes": boxes is not None, "--results": results is not None, "--category": source.category}
    for option, used in given.items():
        if used and source.data != "coco":
            raise ValueError(f"{option} is for --data coco, not for {source.data}")
    if boxes is None:
        if min_score:
            raise ValueError("--min-score is about --boxes; give both or neither")
        return
    if not (source.root and source.annotations):
        raise ValueError("--boxes needs the photos (--root) and who is in them (--annotations)")
    if source.people:
        raise ValueError(
            "--people leaves out people that OKS would count as missed; leave it away with --boxes"
        )
    if threshold:
        raise ValueError("--threshold is of PCK, which there is none of with --boxes; leave it away")


def _check_places(out: Path, json: str, results: Path | None) -> None:
    """Raise OSError before the work, not after it, when the results can't be put where they should go."""
    out.mkdir(parents=True, exist_ok=True)
    for option, place in (("--json", "" if json == "-" else json), ("--results", str(results or ""))):
        if place:
            if Path(place).is_dir():
                raise IsADirectoryError(f"{option} {place} is a folder, not a file")
            Path(place).parent.mkdir(parents=True, exist_ok=True)


def _coco(
    source: _Source, boxes: Path | None, min_score: float, results: Path | None
) -> "tuple[CocoFile | None, DetectedBoxes | None]":
    """Everybody annotated in COCO data, and the detector's boxes; refuses what can't be scored."""
    if source.data != "coco" or not (source.root and source.annotations):
        return None, None  # without the two, reading the people tells what is missing
    from hourglass.evaluation.evaluate_coco import check_labelled, check_sigmas, load_boxes, read_truth

    annotations = Path(source.annotations.replace("{split}", source.split))
    file = read_truth(annotations, source.split, source.category or None)
    if boxes is None:
        check_labelled(file)
        return file, None
    if results is None:
        check_labelled(file)
        check_sigmas(file)
    return file, load_boxes(file, Path(source.root.replace("{split}", source.split)), boxes, min_score)


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
) -> "tuple[Predictions, list[PersonRecord], dict[str, Any]]":
    """Predictions of the weights, the people they are of, and the facts for the report."""
    from hourglass.cli.running import calibrate, number_of_stacks, people_bar
    from hourglass.evaluation.evaluate import predict_records, under_skeleton
    from hourglass.inference.backends import make_runnable
    from hourglass.inference.device import choose_device
    from hourglass.models.build import channels_last
    from hourglass.weights.load import load_network

    where, stacks = choose_device(how.device), number_of_stacks(how.stacks)
    if stacks == "auto":
        raise ValueError("--stacks auto is scored by `hourglass benchmark anytime`; give a number here")
    network, facts = load_network(weights)
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
        answer = predict_records(
            network,
            facts,
            records,
            device=where,
            batch_size=how.batch_size,
            flip_test=how.flip_test,
            precision=dtype,
            progress=progress,
        )
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
    return answer, records, told


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
) -> dict[str, Any]:
    """`oks`, or None and the reason in `oks_left_out`; writes the results."""
    from hourglass.evaluation.evaluate_coco import results_of, save_results, score_oks

    detections = results_of(answer, records, file, found)
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
