"""`hourglass predict`: joints of the people in pictures, or in a video."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hourglass.cli.options import DETECTOR_HELP, MIN_SCORE_HELP, NMS_HELP

if TYPE_CHECKING:
    from hourglass.inference.detection.box_files import Box, BoxFile
    from hourglass.inference.poses.pose import Pose
    from hourglass.inference.predictor import Predictor, Request

_CHUNK = 16
"""Pictures in memory at once."""


def predict(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Pictures, folders, globs; or one video, camera number or -."),
    ],
    weights: Annotated[
        str | None, typer.Option(help="Bundled name, file, folder or hub id; by default the bundled network.")
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y,W,H", help="A person's box, in every picture; may come several times."),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(help="File of people's boxes: COCO results or annotations (JSON), or a table (CSV)."),
    ] = None,
    detector: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=DETECTOR_HELP)] = None,
    min_score: Annotated[float | None, typer.Option(help=MIN_SCORE_HELP)] = None,
    nms: Annotated[float | None, typer.Option(help=NMS_HELP)] = None,
    out: Annotated[Path, typer.Option(help="Folder for the pictures that are drawn.")] = Path("out/predict"),
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the joints here; - is standard output.")
    ] = None,
    coco: Annotated[Path | None, typer.Option(help="Write COCO keypoint results here.")] = None,
    coco_annotations: Annotated[
        Path | None, typer.Option(help="Write a whole COCO annotation file here.")
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Draw the people on the pictures.")] = True,
    heatmaps: Annotated[bool, typer.Option("--heatmaps", help="Draw every stack's heatmaps.")] = False,
    flip_test: Annotated[bool, typer.Option(help="Average with the mirrored picture's answer.")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16, or int8 (openvino, with --calibration).")
    ] = "auto",
    backend: Annotated[
        str, typer.Option(help="What runs the network: torch, onnxruntime or openvino; auto is torch.")
    ] = "auto",
    stacks: Annotated[
        str, typer.Option(help="Use the first so many stacks; auto: as many as each person needs.")
    ] = "all",
    calibration: Annotated[
        str, typer.Option(metavar="PATH", help="int8: photos (folder, glob) or a pack to measure ranges on.")
    ] = "",
    threshold: Annotated[
        float | None,
        typer.Option(help="Joints less sure are drawn hollow, none is dropped; 0.5, of bare scores 0.3."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Video: the first frame and every so many-th.")] = 1,
    start: Annotated[str | None, typer.Option(help="Video: from here on; seconds or h:mm:ss.")] = None,
    end: Annotated[str | None, typer.Option(help="Video: before this time.")] = None,
    smooth: Annotated[
        str | None, typer.Option(help="Video: savitzky-golay (the default), one-euro or none.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Video: go on where a run was killed.")] = False,
    fps: Annotated[float | None, typer.Option(help="Frames a second, of pictures that make a video.")] = None,
    frame_size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Of raw frames on standard input (PATH is -).")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the joints as a table here.")] = None,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="Video: look for new people every so many frames; 25.")
    ] = None,
) -> None:
    """Find people's joints in pictures, or in a video.

    Without boxes everybody is found by the bundled people finder. Where it finds nobody the whole picture is
    taken to show one person, and that is said, since it is a guess.

    A picture that fails is named, the others are done, and the exit code is 1.

    Example: hourglass predict photos --json joints.json

    With a box: hourglass predict team.jpg --box 40,30,200,420 --box 260,25,190,430

    With another detector: hourglass predict team.jpg --detector yolox-tiny

    With another detector's boxes: hourglass predict photos --boxes results.json --min-score 0.5

    Quicker on a CPU: hourglass predict photos --backend openvino

    A table: hourglass predict photos --csv joints.csv

    A video: hourglass predict clip.mp4 --start 0:10 --csv joints.csv
    """
    from hourglass.cli.options import (
        NO_DETECTOR,
        calibrate,
        check_options,
        given_boxes,
        number_of_stacks,
        open_detector,
    )
    from hourglass.cli.predict_video import VideoOptions, is_video, predict_video
    from hourglass.inference.inputs_outputs import expand, output_folder, output_names

    check_options(box, boxes, detector, min_score, nms)
    given = given_boxes(box, boxes, min_score)
    chosen = number_of_stacks(stacks)

    def make_predictor() -> "Predictor":
        from hourglass.inference.detection.suppress import NMS_OKS
        from hourglass.inference.predictor import Predictor

        return Predictor.from_pretrained(
            weights,
            device,
            precision,  # type: ignore[arg-type]  # checked there, as the next one
            flip_test,
            backend=backend,  # type: ignore[arg-type]
            stacks=chosen,
            calibration=calibrate(calibration, weights) if precision == "int8" and calibration else None,
            detector=None if given is not None else open_detector(detector, min_score),
            nms_oks=NMS_OKS if nms is None else nms,
        )

    for option, path in (("--csv", csv), ("--coco", coco), ("--coco-annotations", coco_annotations)):
        if str(path) == "-":
            raise ValueError(f"{option} takes a file; only --json has - for standard output")
    video = VideoOptions(every, start, end, smooth, resume, fps, frame_size, csv, detect_every)
    if is_video(paths, video):
        for option, is_given in (
            ("--boxes", boxes),
            ("--coco", coco),
            ("--coco-annotations", coco_annotations),
            ("--heatmaps", heatmaps),
        ):
            if is_given:
                raise ValueError(f"{option} is for pictures, not for the video {paths[0]}")
        if detect_every is not None and (given is not None or detector == NO_DETECTOR):
            raise ValueError("--detect-every is about the people whom a detector finds, and there is none")
        found = f", detector {detector} {min_score} {nms} {detect_every}"
        settings = f"flip {flip_test}, {backend}, {precision}, stacks {stacks}{found}"
        first_boxes = given if isinstance(given, tuple) else None
        predict_video(
            paths[0], video, make_predictor, out, json_path, overlay, first_boxes, threshold, settings
        )
        return
    if not (overlay or heatmaps or json_path or csv or coco or coco_annotations):
        raise ValueError("there is nothing to write: ask for --json, --csv, --coco, --heatmaps or --overlay")
    files = expand(paths)
    names = output_names(files)
    if overlay or heatmaps:
        output_folder(out)
    predictor = make_predictor()
    if heatmaps and predictor.network.output == "coordinates":
        raise ValueError(
            f"{predictor.facts.name} answers with coordinates and has no heatmaps: leave out --heatmaps"
        )
    # Boxes of a detector may be of one person; those on the command line are meant as they stand.
    job = _Job(predictor, given, predictor.nms_oks if boxes else nms, out, overlay, heatmaps, threshold)
    _run(job, files, names)
    _write_results(job, json_path, csv, coco, coco_annotations)
    _tell_guesses(job)
    if overlay or heatmaps:
        typer.echo(f"{len(job.done)} of {len(files)} pictures drawn into {out}", err=True)
    if job.failed:
        raise typer.Exit(1)


@dataclass
class _Job:
    """What one run of the command works with, and what it has so far."""

    predictor: "Predictor"
    given: "tuple[Box, ...] | BoxFile | None"
    nms: float | None
    out: Path
    overlay: bool
    heatmaps: bool
    threshold: float | None
    done: "list[tuple[Path, int | str, tuple[int, int], list[Pose]]]" = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)

    def read(self, path: Path) -> "Request | str":
        """A picture that is ready to be answered, or in one sentence why it can't be."""
        from hourglass.inference.detection.box_files import BoxFile

        try:
            if isinstance(self.given, BoxFile):
                boxes, scores = self.given.of(path), self.given.scores_of(path)
                return self.predictor.prepare(path, boxes, nms_oks=self.nms, box_scores=scores)
            return self.predictor.prepare(path, self.given, nms_oks=self.nms)
        except ValueError as error:
            return str(error)

    def image_id(self, path: Path) -> int | str:
        """What COCO results call a picture: what the box file does, else the number or name of the file."""
        from hourglass.inference.detection.box_files import BoxFile
        from hourglass.inference.poses.pose import coco_image_id

        given = self.given.image_id(path) if isinstance(self.given, BoxFile) else None
        return coco_image_id(path.name) if given is None else given

    def image_ids(self, whole_file: bool) -> dict[Path, int | str]:
        """What COCO's files call the pictures; in a whole file by numbers, each picture by its own."""
        from hourglass.inference.poses.coco import numbered

        ids = {path: image_id for path, image_id, _, _ in self.done}
        if not whole_file:
            return ids
        uses = Counter(ids.values())
        own = {str(path): key for path, key in ids.items() if isinstance(key, int) and uses[key] == 1}
        numbers = numbered([str(path) for path in ids], own)
        return {path: numbers[str(path)] for path in ids}

    def file_names(self) -> dict[Path, str]:
        """The pictures' names; with their folders where two would be one."""
        uses = Counter(path.name for path, _, _, _ in self.done)
        return {path: path.name if uses[path.name] == 1 else str(path) for path, _, _, _ in self.done}

    def finish(self, path: Path, name: str, request: "Request", poses: "list[Pose]") -> None:
        """Draw one picture's poses, and keep them without their heatmaps."""
        from dataclasses import replace

        from hourglass.inference.inputs_outputs import write_picture

        if self.overlay:
            image = request.image
            for pose in poses:
                image = pose.draw(image, self.threshold)
            write_picture(self.out / f"{name}_pose.jpg", image)
        if self.heatmaps:
            for i, pose in enumerate(poses):
                person = "" if len(poses) == 1 else f"_person{i + 1}"
                write_picture(self.out / f"{name}{person}_heatmaps.png", pose.heatmap_panel(request.image))
        light = [replace(pose, heatmaps=None, crop=None) for pose in poses]
        height, width = request.image.shape[:2]
        self.done.append((path, self.image_id(path), (width, height), light))


def _run(job: _Job, files: Sequence[Path], names: Sequence[str]) -> None:
    """Predict chunk by chunk; a picture that can't be read is named at once and remembered."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from hourglass.data.loading.loader import ahead
    from hourglass.inference.detection.box_files import BoxFile

    if isinstance(job.given, BoxFile) and not any(job.given.names(file) for file in files):
        raise ValueError(f"the box file names none of the {len(files)} pictures, such as {files[0].name}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("pictures", total=len(files))
        named = list(zip(files, names, strict=True))
        # Threads read the next pictures while the network looks at these.
        read = ahead(job.read, [path for path, _ in named], workers=2, depth=_CHUNK // 2)
        for start in range(0, len(files), _CHUNK):
            chunk = []
            for (path, name), request in zip(named[start : start + _CHUNK], read, strict=False):
                if isinstance(request, str):
                    job.failed.append((path, request))
                    text = request if path.name in request else f"{path}: {request}"
                    console.print(f"failed: {text}", soft_wrap=True, markup=False, highlight=False)
                    progress.advance(task)
                else:
                    chunk.append((path, name, request))
            answers = job.predictor.answer([request for _, _, request in chunk], job.heatmaps)
            for (path, name, request), poses in zip(chunk, answers, strict=True):
                job.finish(path, name, request, poses)
                progress.advance(task)


def _tell_guesses(job: _Job) -> None:
    """Say in which pictures nobody was found."""
    guessed = [path for path, _, _, poses in job.done if any(pose.guess for pose in poses)]
    if guessed:
        others = f" and {len(guessed) - 1} more" if len(guessed) > 1 else ""
        typer.echo(
            f"nobody was found in {guessed[0]}{others}: the whole picture was taken to show one person, "
            "which is a guess; --box says where somebody is",
            err=True,
        )


def _write_results(
    job: _Job, json_path: Path | None, csv: Path | None, coco: Path | None, coco_annotations: Path | None
) -> None:
    import json
    from dataclasses import replace

    from hourglass.inference.poses.coco import save_coco_annotations
    from hourglass.inference.poses.csv_table import save_csv
    from hourglass.inference.poses.pose import write_json

    ids = job.image_ids(whole_file=coco_annotations is not None)
    if csv is not None:
        save_csv([replace(pose, image_id=str(path)) for path, _, _, poses in job.done for pose in poses], csv)
    if coco is not None:
        write_json(coco, [pose.to_coco(ids[path]) for path, _, _, poses in job.done for pose in poses])
    if coco_annotations is not None:
        names = job.file_names()
        save_coco_annotations(
            [replace(pose, image_id=names[path]) for path, _, _, poses in job.done for pose in poses],
            coco_annotations,
            {names[path]: size for path, _, size, _ in job.done},
            job.predictor.skeleton,
            job.threshold,
            {names[path]: image_id for path, image_id in ids.items()},
        )
    if json_path is None:
        return
    content = _summary(job)
    if str(json_path) == "-":
        json.dump(content, sys.stdout, indent=1, allow_nan=False)
        sys.stdout.write("\n")
    else:
        write_json(json_path, content)


def _summary(job: _Job) -> dict[str, Any]:
    """What `--json` holds."""
    return {
        "weights": job.predictor.facts.name,
        "skeleton": job.predictor.skeleton.to_dict(),
        "images": [
            {
                "image": str(path),
                "width": width,
                "height": height,
                "people": [pose.to_dict() for pose in poses],
            }
            for path, _, (width, height), poses in job.done
        ],
        "failed": [{"image": str(path), "error": error} for path, error in job.failed],
    }
