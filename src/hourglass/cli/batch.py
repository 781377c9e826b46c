"""`hourglass batch`: joints of the people in very many pictures, on Ray Data."""

from pathlib import Path
from typing import Annotated

import typer

from hourglass.cli.options import DETECTOR_HELP, MIN_SCORE_HELP, NMS_HELP


def batch(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Folder, glob, Parquet table or WebDataset shards; or a URL."),
    ],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL for the Parquet files.")],
    weights: Annotated[
        str | None, typer.Option(help="Bundled name, file, folder or hub id; by default the bundled network.")
    ] = None,
    backend: Annotated[str, typer.Option(help="torch, onnxruntime or openvino; auto is torch.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, or int8 (of an exported file).")] = "auto",
    stacks: Annotated[
        str, typer.Option(help="Use the first so many stacks; auto: as many as each person needs.")
    ] = "all",
    flip_test: Annotated[bool, typer.Option(help="Average with the mirrored picture's answer.")] = True,
    detector: Annotated[str | None, typer.Option(metavar="NAME|FILE", help=DETECTOR_HELP)] = None,
    min_score: Annotated[float | None, typer.Option(help=MIN_SCORE_HELP)] = None,
    nms: Annotated[float | None, typer.Option(help=NMS_HELP)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Crops that go through the network at once.", min=1)
    ] = None,
    actors: Annotated[
        str, typer.Option(help="Number of workers; auto: as many as there is room for.")
    ] = "auto",
    cpus_per_actor: Annotated[float, typer.Option(help="CPUs, and threads, of each worker.")] = 1,
    gpus_per_actor: Annotated[float, typer.Option(help="GPUs of each worker; 0 runs on the CPU.")] = 0,
    images_per_file: Annotated[
        int, typer.Option(help="Pictures in one file of the output, at most.", min=1)
    ] = 256,
    address: Annotated[
        str, typer.Option(help="Ray cluster: local starts one here; auto, host:port or ray://host:port.")
    ] = "local",
    column: Annotated[
        str, typer.Option(help="Parquet: column of the pictures' bytes. WebDataset: their extension.")
    ] = "",
    id_column: Annotated[str, typer.Option(help="Parquet: column of the pictures' ids.")] = "",
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do pictures again that failed in an earlier run.")
    ] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="Write the summary here; - is standard output.")
    ] = None,
) -> None:
    """Find people's joints in very many pictures, on one machine or a Ray cluster.

    Each person becomes a row of Parquet, each broken picture a row with its error; then the exit code is 1.

    The same command goes on where a run was stopped, and skips what is done.

    Example: hourglass batch photos joints

    With another detector: hourglass batch photos joints --detector yolox-tiny

    On a cluster: hourglass batch s3://bucket/photos s3://bucket/joints --address auto --gpus-per-actor 1
    """
    from hourglass.batch.cluster import import_ray

    import_ray()
    from hourglass.batch.follow import Bar, describe, write_summary
    from hourglass.batch.options import Answering, Workers
    from hourglass.batch.submit import start_batch
    from hourglass.cli.options import check_options, number_of_stacks, open_detector

    if actors != "auto" and not actors.isdigit():
        raise ValueError(f"--actors {actors!r} is not auto or a number")
    check_options(None, None, detector, min_score, nms)
    if not address.startswith("ray://"):
        open_detector(detector, min_score)  # downloads it with a bar, once, before there are workers
    answering = Answering(
        weights,
        backend,
        precision,
        number_of_stacks(stacks),
        flip_test,
        detector,
        min_score,
        0.9 if nms is None else nms,
    )
    workers = Workers(
        None if actors == "auto" else int(actors), cpus_per_actor, gpus_per_actor, batch_size, images_per_file
    )
    with Bar() as bar:
        summary = start_batch(
            source, output, answering, workers, address, column, id_column, retry_failed, bar.report
        )
    typer.echo(describe(summary), err=True)
    if json_path is not None:
        write_summary(summary, json_path)
    if summary.failed:
        raise typer.Exit(1)
