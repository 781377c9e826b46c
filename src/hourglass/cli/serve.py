"""`hourglass serve`: a network behind HTTP, with a page."""

from typing import Annotated

import typer

from hourglass.cli.options import DETECTOR_HELP, MIN_SCORE_HELP


def serve(
    weights: Annotated[
        str | None,
        typer.Argument(metavar="[WEIGHTS]", help="Bundled name, file, folder or hub id; else all bundled."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    backend: Annotated[
        str, typer.Option(help="What runs the network: auto, torch, onnxruntime or openvino.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16, or int8 (openvino, with --calibration).")
    ] = "auto",
    calibration: Annotated[
        str, typer.Option(metavar="PATH", help="int8: photos (folder, glob) or a pack to measure ranges on.")
    ] = "",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    flip_test: Annotated[
        bool, typer.Option(help="Average with the mirrored picture's answer, where a request doesn't say.")
    ] = True,
    detector: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=DETECTOR_HELP)] = None,
    min_score: Annotated[float | None, typer.Option(help=MIN_SCORE_HELP)] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="WEIGHTS", help="Offer this network, too; may be given several times."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN", help="Let pages of https://host ask, too (CORS); * for all; several times."
        ),
    ] = None,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Where a proxy puts the server, such as /pose.")
    ] = "",
    api_key: Annotated[
        str, typer.Option(envvar="HOURGLASS_API_KEY", show_envvar=True, help="What clients must know.")
    ] = "",
    max_mb: Annotated[float, typer.Option(help="Megabytes of a request.")] = 16,
    max_megapixels: Annotated[float, typer.Option(help="Million pixels of a picture.")] = 50,
    max_images: Annotated[int, typer.Option(help="Pictures of a request.")] = 16,
    max_boxes: Annotated[int, typer.Option(help="People of a request.")] = 64,
    memory_mb: Annotated[float, typer.Option(help="Megabytes for pictures of all requests together.")] = 1024,
    queue: Annotated[int, typer.Option(help="Requests inside at once; further ones get 503.")] = 64,
    batch_ms: Annotated[float, typer.Option(help="How long a request waits for others to join it.")] = 5,
    batch_size: Annotated[int, typer.Option(help="People that go through the network at once.")] = 8,
    timeout_s: Annotated[
        float, typer.Option(help="Seconds for sending, answering and taking a request.")
    ] = 30,
) -> None:
    """Answer pictures with poses over HTTP, and show a page to try it on.

    Only this machine can reach it, unless --host says otherwise; then give an --api-key, better in the
    environment variable, where a list of processes doesn't show it.

    SIGTERM or Ctrl-C finishes what is in flight.

    Example: hourglass serve

    Several networks to choose from: hourglass serve my.safetensors --also hg2_small

    With another detector for pictures without boxes: hourglass serve --detector yolox-tiny

    Then: curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8000/v1/pose
    """
    from hourglass.cli.options import check_options, open_detector
    from hourglass.serving.settings import Settings

    check_options(None, None, detector, min_score, None)
    # Before anything slow, so that a mistake is told at once.
    settings = Settings(
        api_key=api_key,
        max_mb=max_mb,
        max_megapixels=max_megapixels,
        max_images=max_images,
        max_boxes=max_boxes,
        queue=queue,
        batch_ms=batch_ms,
        batch_size=batch_size,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        flip_test=flip_test,
        allow_origin=tuple(allow_origin or ()),
        root_path=root_path,
    )
    check_extra()

    from hourglass.cli.options import calibrate
    from hourglass.serving.run import listen, run, url_of

    with listen(host, port) as listening:
        from hourglass.inference.predictor import Predictor
        from hourglass.serving.app import create_app

        finder = open_detector(detector, min_score)
        predictors = [
            Predictor.from_pretrained(
                name,
                device,
                precision,  # type: ignore[arg-type]  # checked there, as the next one
                backend=backend,  # type: ignore[arg-type]
                calibration=calibrate(calibration, name) if precision == "int8" and calibration else None,
                detector=finder,
            )
            for name in _networks(weights, also or [])
        ]
        predictor = predictors[0]
        app = create_app(predictor, settings, predictors[1:])
        if not api_key and not _is_loopback(listening.getsockname()[0]):
            typer.echo("hourglass: anybody who reaches this address is answered: give an --api-key", err=True)
        listening.listen()  # whoever comes from now on waits until the loop runs, which is soon
        typer.echo(f"{predictor.facts.name} answers at {url_of(listening)} (Ctrl-C ends it)", err=True)
        run(app, listening, settings)


def _networks(weights: str | None, also: list[str]) -> list[str | None]:
    """What is offered, the first one first; without a name all that are bundled."""
    from hourglass.weights.published import bundled_networks

    if weights is None:
        return [*bundled_networks(), *also]
    return [weights, *also]


def check_extra() -> None:
    """Raise ValueError, naming what to install, unless a server can be run."""
    from importlib.util import find_spec

    from hourglass.core.extras import missing

    absent = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if absent:
        raise ValueError(missing("the server", "serve", ImportError(name=", ".join(absent))))


def _is_loopback(address: str) -> bool:
    from ipaddress import ip_address

    return ip_address(address).is_loopback
