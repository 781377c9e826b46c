"""`hourglass label`: the page as an editor of a folder's labels."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hourglass.cli.options import DETECTOR_HELP

if TYPE_CHECKING:
    from hourglass.core.skeleton import Skeleton
    from hourglass.inference.predictor import Predictor

NO_WEIGHTS = "none"


def label(
    project: Annotated[
        Path, typer.Argument(help="Folder of pictures; its labels.json is made or gone on with.")
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="What suggests joints: bundled name, file, folder or hub id; none: nothing does."),
    ] = None,
    skeleton: Annotated[
        str,
        typer.Option(
            metavar="NAME|JOINTS", help="A built-in skeleton, or joints: nose,left_ear,right_ear,tail."
        ),
    ] = "",
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin with these labels and their joints, of any tool."),
    ] = None,
    category: Annotated[str | None, typer.Option(help="Of labels with several categories.")] = None,
    video: Annotated[
        list[Path] | None, typer.Option(help="Take frames of this video; several times for several.")
    ] = None,
    frames: Annotated[
        int, typer.Option(min=1, help="How many frames of each video the project is to have.")
    ] = 20,
    detector: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=DETECTOR_HELP)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; 0 takes a free one.")
    ] = 8010,
) -> None:
    """Label joints in pictures, or correct those that a network suggests, on a page on this machine.

    PROJECT/labels.json is COCO: `hourglass train`, `hourglass data doctor` and other tools read it. Every
    stroke is saved. Then train, and come back with --weights to correct what the new network suggests.

    Example: hourglass label photos

    A video's frames, where much moves and where the network is in doubt:
    hourglass label mouse --video mouse.mp4 --frames 40 --skeleton nose,left_ear,right_ear,tail

    Another tool's labels: hourglass label frames --labels CollectedData_me.csv --weights mine.safetensors
    """
    from hourglass.cli.options import check_options
    from hourglass.cli.serve import check_extra
    from hourglass.serving.label import create_label_app
    from hourglass.serving.label_project import Project, folder_of, import_labels, pictures_in, skeleton_in
    from hourglass.serving.run import listen, run, url_of
    from hourglass.serving.settings import Settings

    check_options(None, None, detector, None, None)
    if labels is not None and skeleton:
        raise ValueError("--labels and --skeleton each say which joints there are; give one of them")
    check_extra()
    folder = folder_of(project, make=bool(video))
    with _only_one(folder), listen("127.0.0.1", port) as listening:
        chosen = _skeleton(skeleton) if skeleton else skeleton_in(folder, category)
        if not video:
            pictures_in(folder)  # nothing slow before it is known that there are any
        if labels is not None:
            chosen, away = import_labels(folder, labels, category)
            if away:
                typer.echo(f"hourglass: {away} people of {labels} are in no picture of {folder}", err=True)
        predictor = None if weights == NO_WEIGHTS else _predictor(weights, detector, device)
        if chosen is None and predictor is not None:
            chosen = predictor.skeleton
        if chosen is None:
            raise ValueError("nothing says which joints there are: give --skeleton, --labels or --weights")
        fits = predictor is not None and set(predictor.skeleton.joints) & set(chosen.joints)
        for film in video or ():
            _take_frames(film, folder, frames, predictor if fits else None)
        opened = Project(folder, chosen, category)
        app = create_label_app(opened, predictor)
        listening.listen()
        typer.echo(
            f"{len(opened.sizes)} pictures of {folder} at {url_of(listening)} (Ctrl-C ends it)", err=True
        )
        run(app, listening, Settings())


def _skeleton(text: str) -> "Skeleton":
    """A built-in skeleton, or one of joints with commas between; raises ValueError."""
    from hourglass.core.skeleton import SKELETONS, Skeleton

    if text in SKELETONS:
        return SKELETONS[text]
    if "," not in text:
        raise ValueError(
            f"--skeleton {text!r} is none of {', '.join(SKELETONS)}, nor joints with commas between"
        )
    joints = [name.strip() for name in text.split(",") if name.strip()]
    return Skeleton.of_names("own", joints)


def _predictor(weights: str | None, detector: str | None, device: str) -> "Predictor":
    from hourglass.cli.options import open_detector
    from hourglass.inference.predictor import Predictor

    return Predictor.from_pretrained(weights, device, detector=open_detector(detector, None))


def _take_frames(video: Path, folder: Path, count: int, predictor: "Predictor | None") -> None:
    """Frames of a video, which may lie in the project, with a bar on standard error."""
    from hourglass.cli.options import people_bar
    from hourglass.inference.video.pick import pick_frames

    film = video if video.exists() else folder / video
    if not film.is_file():
        raise FileNotFoundError(f"there is no video file {video}")
    with people_bar("looking for frames") as show:
        new = pick_frames(str(film), folder, count, predictor, show)
    typer.echo(f"{len(new)} new frames of {film}", err=True)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Raise OSError while another `hourglass label` has the folder: they would write over each other."""
    import fcntl
    import os

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise OSError(f"another hourglass label has {folder} open; use its page, or end it first") from error
    try:
        yield
    finally:
        os.close(handle)
