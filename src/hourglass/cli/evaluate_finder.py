"""`hourglass evaluate-finder`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hourglass.evaluation.finding import FindingCurve

_LEAST_SCORE = 0.02
"""The curve begins with boxes that score so little."""


def evaluate_finder(
    detector: Annotated[
        str, typer.Argument(help="The bundled finder, a finder's weights, or a detector as predict takes it.")
    ] = "people_finder",
    root: Annotated[Path, typer.Option(help="Folder of the photos.")] = Path(),
    annotations: Annotated[
        Path, typer.Option(help="COCO's JSON: the photos, and bbox of everybody.")
    ] = Path(),
    split: Annotated[str, typer.Option(help="Only photos of this split, where the file names any.")] = "",
    sure_score: Annotated[
        float, typer.Option(min=0, max=1, help="A box whose score is lower is neither to be found nor false.")
    ] = 0.0,
    sure_joints: Annotated[
        float, typer.Option(min=0, max=1, help="Likewise of the better half of its keypoint_scores.")
    ] = 0.0,
    most_false: Annotated[float, typer.Option(min=0, help="False boxes a photo that are borne.")] = 0.25,
    figure: Annotated[Path | None, typer.Option(help="Draw the curves here (png, pdf or svg).")] = None,
    json: Annotated[str, typer.Option(metavar="FILE", help="Write the result as JSON; - prints it.")] = "",
) -> None:
    """Measure how well people are found: recall and false boxes a photo over the threshold, by size.

    A box finds a person whom it overlaps by half (IoU 0.5); each person is found once, by the surest box.
    Sizes are COCO's, of the box in the photo's pixels: large is above 96 x 96, medium above 32 x 32. Boxes in
    crowds count neither way.

    Example: hourglass evaluate-finder --root val2017 --annotations person_keypoints_val2017.json

    Another detector: hourglass evaluate-finder yolox-tiny --root photos --annotations people.json
    """
    if root == Path() or annotations == Path():
        raise ValueError("say where the photos lie (--root) and who is in them (--annotations)")
    from hourglass.cli.options import open_detector, people_bar
    from hourglass.data.formats.photos import read_photos
    from hourglass.data.loading.images import read_image
    from hourglass.data.loading.loader import ahead
    from hourglass.evaluation.finding import curve_of
    from hourglass.inference.detection.boxes import detect

    photos = read_photos(annotations, root, split, sure_score, sure_joints)
    finder = open_detector(detector, _LEAST_SCORE)
    if finder is None:
        raise ValueError("none finds nobody: give a detector")
    import numpy as np

    began, found = time.perf_counter(), []
    read = ahead(lambda photo: read_image(photo.image, photo.image_id), photos, workers=1)
    with people_bar() as progress:
        for photo, image in zip(photos, read, strict=True):
            boxes, told = detect(finder, image, f"{photo.image_id}: ")
            scores = np.ones(len(boxes)) if told is None else np.array(told)
            # The annotations may be of a larger copy of the photo.
            scale = np.array([photo.width / image.shape[1], photo.height / image.shape[0]] * 2)
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) * scale
            found.append((corners, scores))
            progress(len(found), len(photos))
    curve = curve_of(found, photos)
    report = {
        "detector": detector,
        "annotations": str(annotations),
        "split": split,
        **_summary(curve, most_false),
        "seconds": round(time.perf_counter() - began, 2),
    }
    if figure is not None:
        from hourglass.core.files import write_atomically
        from hourglass.drawing.finding_curves import finding_figure

        kind = figure.suffix.lower().lstrip(".")
        write_atomically(figure, lambda part: finding_figure(curve, part, kind, detector))
    _tell(report, json)


def _summary(curve: "FindingCurve", most_false: float) -> dict[str, Any]:
    """What the table shows, and the curve at a hundred thresholds."""
    import numpy as np

    _, threshold = curve.at_false(most_false)
    recall, false = curve.at_threshold(threshold)
    rows = []
    for value in np.arange(0.02, 1.0, 0.01):
        at, wrong = curve.at_threshold(float(value))
        rows.append({"threshold": round(float(value), 2), "false_per_photo": round(wrong, 4), **_percent(at)})
    return {
        "photos": curve.photos,
        "people": curve.people,
        "threshold": round(threshold, 4),
        "false_per_photo": round(false, 4),
        "recall": _percent(recall),
        "curve": rows,
    }


def _percent(recall: dict[str, float]) -> dict[str, float | None]:
    return {size: None if value != value else round(100 * value, 2) for size, value in recall.items()}


def _tell(report: dict[str, Any], json: str) -> None:
    """The table on standard output, unless JSON goes there; JSON into its file."""
    from json import dumps

    text = dumps(report, indent=1, allow_nan=False) + "\n"
    if json == "-":
        sys.stdout.write(text)
        return
    if json:
        from hourglass.core.files import write_text_atomically

        write_text_atomically(Path(json), text)
    from rich.console import Console
    from rich.table import Table

    table = Table("people", "number", "found (%)", title=f"{report['photos']} photos")
    for size, share in report["recall"].items():
        if report["people"][size]:
            table.add_row(size, str(report["people"][size]), f"{share:.1f}")
    Console().print(table)
    typer.echo(f"threshold {report['threshold']}, {report['false_per_photo']} false boxes a photo")
