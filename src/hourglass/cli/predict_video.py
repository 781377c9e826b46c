"""The part of `hourglass predict` that is for a video, a camera, or frames on standard input."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from hourglass.inference.detection.box_files import Box
    from hourglass.inference.predictor import Predictor
    from hourglass.inference.video.frames import Clip
    from hourglass.inference.video.joints_log import Record
    from hourglass.inference.video.pipeline import Outputs, Progress

SMOOTH = "savitzky-golay"
"""What smooths by default."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, but for a camera, which nothing else ends."""


@dataclass(frozen=True)
class VideoOptions:
    """What `hourglass predict` takes for videos alone, and `--csv`; None, 1 and False are not given."""

    every: int = 1
    start: str | None = None
    end: str | None = None
    smooth: str | None = None
    resume: bool = False
    fps: float | None = None
    frame_size: str | None = None
    csv: Path | None = None
    detect_every: int | None = None

    def given(self) -> list[str]:
        """The options for videos alone that were given, as they are typed."""
        values = {
            "--every": self.every != 1,
            "--start": self.start is not None,
            "--end": self.end is not None,
            "--smooth": self.smooth is not None,
            "--resume": self.resume,
            "--fps": self.fps is not None,
            "--frame-size": self.frame_size is not None,
            "--detect-every": self.detect_every is not None,
        }
        return [option for option, is_given in values.items() if is_given]


def is_video(paths: Sequence[str], options: VideoOptions) -> bool:
    """Whether the paths mean one video rather than pictures; with `--fps` a folder or glob does too.

    Raises ValueError for a video among other paths, and for an option that pictures have no use for.
    """
    from hourglass.inference.video.open_video import kind_of

    videos = [path for path in paths if kind_of(path, sequence=options.fps is not None)]
    if videos and len(paths) > 1:
        raise ValueError(f"{videos[0]} is a video: give one video alone, without other paths")
    if not videos and options.given():
        raise ValueError(f"{', '.join(options.given())}: only for a video, and {paths[0]} is none")
    return bool(videos)


def predict_video(
    name: str,
    options: VideoOptions,
    make_predictor: "Callable[[], Predictor]",
    out: Path,
    json_path: Path | None = None,
    overlay: bool = True,
    boxes: "tuple[Box, ...] | None" = None,
    threshold: float | None = None,
    settings: str = "",
) -> None:
    """Find joints in every frame asked for, write them, and draw the video.

    Args:
        make_predictor: called once the options and the source are known to be good.
        out: folder for the drawn video, and for the joints where `json_path` doesn't say.
        boxes: people's boxes in the first frame.
        settings: other options that shape the joints, for telling whether a run may be resumed.

    Leaves with typer.Exit(1) when frames were broken, with code 130 after Ctrl-C. Raises ValueError and
    OSError in one sentence.
    """
    from hourglass.inference.inputs_outputs import output_folder
    from hourglass.inference.video.frames import Selection, parse_size, parse_time
    from hourglass.inference.video.open_video import open_clip
    from hourglass.inference.video.pipeline import Outputs, run_video
    from hourglass.inference.video.smooth import smoothing

    smooth = smoothing(options.smooth or SMOOTH)
    start_s = 0.0 if options.start is None else parse_time(options.start, "--start")
    end_s = None if options.end is None else parse_time(options.end, "--end")
    selection = Selection(options.every, start_s, end_s)
    size_px = None if options.frame_size is None else parse_size(options.frame_size)
    on_screen = json_path is not None and str(json_path) == "-"
    if on_screen and options.resume:
        raise ValueError("--resume goes on with a file: give --json a file instead of -")
    if overlay or json_path is None:
        output_folder(out)
    if options.csv is not None:
        # Written last, so that a mistake would be told after hours.
        if options.csv.is_dir():
            raise ValueError(f"--csv {options.csv} is a folder: name a file")
        output_folder(options.csv.parent)
    clip = open_clip(name, selection, options.fps, size_px, with_sound=overlay)
    try:
        if clip.total == 0:
            raise ValueError(f"no frame of {name} lies between --start and --end")
        stem = output_stem(name)
        joints = None if on_screen else json_path or out / f"{stem}_joints.jsonl"
        video = out / f"{stem}_pose" if overlay else None
        outputs = Outputs(joints, options.csv, video, _say if on_screen else None)
        predictor = make_predictor()
    except BaseException:
        clip.close()
        raise
    words = (
        clip.identity,
        f"weights {predictor.facts.name}",
        f"every {options.every}",
        f"start {start_s:g}",
        f"end {'-' if end_s is None else f'{end_s:g}'}",
        f"smooth {options.smooth or SMOOTH}",
        f"boxes {boxes or '-'}",
        settings,
    )
    run = ", ".join(word for word in words if word)
    with _progress(clip) as (console, watch):

        def on_broken(record: "Record") -> None:
            console.print(
                f"failed: frame {record.frame} ({record.time_s:.3f} s): {record.error}",
                soft_wrap=True,
                markup=False,
                highlight=False,
            )

        done = run_video(
            clip,
            predictor,
            outputs,
            run,
            smooth,
            boxes,
            start_s,
            options.resume,
            threshold,
            on_broken,
            watch,
            options.detect_every,
        )
    _report(clip, outputs, done, options.smooth or SMOOTH)


def output_stem(name: str) -> str:
    """What the results of a source are called: `clip`, `camera0`, `stdin`, the pictures' folder or prefix."""
    from hourglass.inference.video.open_video import kind_of

    if name == "-":
        return "stdin"
    if kind_of(name) == "camera":
        return f"camera{name}"
    path = Path(name)
    if path.is_file() or not any(c in path.name for c in "%*?["):
        return path.resolve().name if path.is_dir() else path.stem
    prefix = path.name.replace("[", "%").replace("*", "%").replace("?", "%").partition("%")[0].strip("_-. ")
    return prefix or path.resolve().parent.name or "frames"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def _progress(clip: "Clip") -> "Iterator[tuple[Console, Callable[[Progress], None]]]":
    """A bar on standard error with frames/s and the time that is left; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (
        TextColumn("frames"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed_text]}"),
        TimeElapsedColumn() if clip.total is None else TimeRemainingColumn(),
    )
    begun = monotonic()
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("frames", total=clip.total, speed_text="")

        def watch(progress: "Progress") -> None:
            # Frames that an earlier run did go by much faster and say nothing of the speed.
            new = max(progress.done - progress.known, 0)
            speed = f"{new / max(monotonic() - begun, 1e-9):.1f} frames/s" if new else ""
            bar.update(task, completed=progress.done, speed_text=speed)

        yield console, watch


def _report(clip: "Clip", outputs: "Outputs", done: "Progress", smooth: str) -> None:
    """What was done, in a few lines on standard error; leaves with the exit code that says so."""
    new = done.done - done.known
    known = f", {done.known} of them done before" if done.known else ""
    typer.echo(f"{done.done} frames of {clip.name}{known}", err=True)
    if done.smoothed_jitter and smooth != "none":
        change = f"{done.found_jitter:.0f} -> {done.smoothed_jitter:.0f} px/s^2"
        typer.echo(f"jitter (mean acceleration): {change} ({smooth})", err=True)
    for note in done.notes:
        typer.echo(note, err=True)
    for path in (done.video, outputs.joints, outputs.csv):
        if path is not None:
            typer.echo(f"  {path}", err=True)
    if done.dropped:
        typer.echo(f"{done.dropped} pictures of {clip.name} went by while the network was busy", err=True)
    if clip.damage:
        typer.echo(f"failed: {clip.name}: {clip.damage}", err=True)
    if done.interrupted and not clip.live:
        goes_on = "; --resume goes on from here" if outputs.joints and clip.identity else ""
        typer.echo(f"stopped by Ctrl-C after {new} new frames{goes_on}", err=True)
        raise typer.Exit(INTERRUPTED)
    if not done.done:
        raise ValueError(f"{clip.name} gave no frame" + ("" if clip.live else " in the range asked for"))
    if done.broken or clip.damage:
        typer.echo(f"{done.broken} of {done.done} frames are broken and have no joints", err=True)
        raise typer.Exit(1)
