"""The driver of a batch: which pictures are left, who answers them, and how far they are."""

import hashlib
import json
import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hourglass.batch.cluster import cluster, import_ray, room
from hourglass.batch.follow import BatchError, Report, follow, start_tally
from hourglass.batch.items import (
    PictureSource,
    find,
    inspect_tables,
    open_units,
    picture_items,
    read_units,
    shard_units,
)
from hourglass.batch.options import Answering, BatchProgress, Summary, Workers
from hourglass.batch.store import Store, agree, settle
from hourglass.batch.worker import BatchJob, Worker

_FEWEST = 8


def run_batch(
    place: str,
    output: str,
    answering: Answering | None = None,
    workers: Workers | None = None,
    address: str = "local",
    column: str = "",
    id_column: str = "",
    retry_failed: bool = False,
    report: Report | None = None,
) -> Summary:
    """Answer every picture of `place` that `output` doesn't hold yet, on a Ray cluster.

    Args:
        place: a folder, glob, Parquet file or folder, WebDataset shards; a path or a URL.
        output: folder or URL that every worker can write into.
        answering: weights and settings of the predictor.
        workers: number and size of the workers.
        address: of the cluster, see `cluster.cluster`.
        column: of Parquet the column with the pictures, of WebDataset their extension; found where empty.
        id_column: of Parquet the column with the pictures' ids.
        retry_failed: pictures that failed in an earlier run are done again.
        report: told about once in half a second how far the run is.

    Raises ValueError or OSError, in one sentence, for a request that can't be met, and BatchError when Ray
    gave up half-way.
    """
    if address.startswith("ray://"):
        raise ValueError("Ray Data can't be driven through Ray's client: use submit.start_batch for ray://")
    answering, workers = answering or Answering(), workers or Workers()
    import_ray()
    source, units = _inspect(place, output, column, id_column)
    weights, name, settings = _settings(answering, source, place, workers.gpus > 0)
    detector, settings["detector"], named = _detector(answering, workers.gpus > 0)
    store = Store(output)
    _prepare(store)
    agree(store, settings)
    done = settle(store, retry_failed)
    store.clear_attempts()
    total: int | None
    if units is None:
        source = replace(source, names=tuple(image for image in source.names if image not in done))
        total = len(source.names)
    else:
        units, total = open_units(source, units, done)
    if total == 0:
        return _summary([], output, name, len(done), 0, 0.0)
    job = BatchJob(
        output=output if "://" in output else store.path,
        base=source.base,
        run=uuid.uuid4().hex[:8],
        weights=weights,
        settings={
            "device": "cuda" if workers.gpus else "cpu",
            "precision": answering.precision,
            "flip_test": answering.flip_test,
            "backend": answering.backend,
            "stacks": answering.stacks,
        },
        detector=detector,
        detecting={**(settings["detector"] or {}), "name": named},
        batch_size=workers.batch_size,
        threads=max(1, int(workers.cpus)),
        stamp=json.dumps(settings),
    )
    with cluster(address) as ray:
        actors, per_file = _share(ray, workers, address, total)
        data = _items(ray, source, units, done, per_file, actors)
        tally = start_tally(ray)
        started = time.monotonic()
        answers = data.map_batches(
            Worker,
            batch_size=per_file,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(size=actors),
            fn_constructor_args=[job, tally],
            num_cpus=workers.cpus,
            num_gpus=workers.gpus or None,
            # Ray Data's own defaults start a dead worker again, and its block, for as long as it takes:
            # a block's note bounds what a picture can kill, and the loss of a machine is no picture's fault.
        )
        blank = BatchProgress(0, total, 0, 0, len(done), 0.0)
        found = follow(ray, answers, tally, blank, started, report)
        seconds = time.monotonic() - started
    missing = {row["part"] for row in found} - set(store.parts())
    if missing:
        raise BatchError(
            f"{len(missing)} of the workers' files are not in {output}: it must be a folder that all "
            "machines share, or a bucket"
        )
    return _summary(found, output, name, len(done), actors, seconds)


def _inspect(place: str, output: str, column: str, id_column: str) -> tuple[PictureSource, Any]:
    """The input, and the units of tables and shards; None for pictures."""
    source = find(place, output)
    if source.kind == "parquet":
        return inspect_tables(source, column, id_column)
    if id_column:
        raise ValueError(f"--id-column is for Parquet tables, and {place} holds {source.kind}")
    if source.kind == "webdataset":
        source = replace(source, column=column.lower().lstrip("."))
        return source, shard_units(source)
    if column:
        raise ValueError(f"--column is for Parquet tables and shards, and {place} holds {source.kind}")
    return source, None


def _settings(
    answering: Answering, source: PictureSource, place: str, gpu: bool
) -> tuple[dict[str, bytes], str, dict[str, Any]]:
    """The weights' files, their name, and everything that a second run must agree with."""
    from hourglass.weights.exported import read_facts
    from hourglass.weights.published import artifact_of, resolve

    path = resolve(answering.weights)
    if answering.precision == "int8" and path.suffix != ".xml":
        raise ValueError(
            "int8 in a batch needs an OpenVINO file that was exported with int8: --weights FILE.xml"
        )
    facts = read_facts(path)
    files = [path, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])]
    weights = {file.name: file.read_bytes() for file in files}
    digest = hashlib.sha256(b"".join(weights.values())).hexdigest()
    plain = answering.backend != "torch" and answering.stacks is None
    light = artifact_of(path)
    if light is not None and plain and answering.precision in ("auto", "fp32") and not gpu:
        weights = {light.name: light.read_bytes()}  # the same network; runs without torch
    inside = place if "://" in place else str(Path(place).absolute())
    settings = {
        "weights": {"name": facts.name, "sha256": digest},
        "backend": answering.backend,
        "precision": answering.precision,
        "stacks": "all" if answering.stacks is None else answering.stacks,
        "flip_test": answering.flip_test,
        "input": inside,
        "kind": source.kind,
        "column": source.column,
        "id_column": source.id_column,
        "skeleton": facts.skeleton.to_dict(),
    }
    return weights, facts.name, settings


def _detector(answering: Answering, gpu: bool) -> tuple[bytes | None, dict[str, Any] | None, str]:
    """The detector's file, what a second run must agree with, the file's name; None where there is none."""
    if answering.detector == "none":
        return None, None, ""
    from hourglass.inference.detection.detectors import detector_file, load_detector
    from hourglass.inference.detection.suppress import check_nms
    from hourglass.inference.people import FINDER
    from hourglass.weights.published import artifact_of

    check_nms(answering.nms_oks)
    path = detector_file(FINDER if answering.detector is None else answering.detector)
    # What is no detector is refused here and not by each worker.
    min_score = getattr(load_detector(path, answering.min_score), "min_score", answering.min_score)
    content = path.read_bytes()
    said = {"name": path.name, "sha256": hashlib.sha256(content).hexdigest()}
    light = artifact_of(path)
    if light is not None and not gpu:
        path, content = light, light.read_bytes()
    return content, {**said, "min_score": min_score, "nms_oks": answering.nms_oks}, path.name


def _prepare(store: Store) -> None:
    """Make sure now that the output can be written into, and not when the first hour's work is done."""
    if store.local:
        from hourglass.inference.inputs_outputs import output_folder

        output_folder(Path(store.path))
    else:
        store.files.create_dir(store.path)


def _share(ray: Any, workers: Workers, address: str, total: int | None) -> tuple[int, int]:
    """How many workers there will be, and how many pictures in a block."""
    fits = room(ray, workers.cpus, workers.gpus)
    size = f"{workers.cpus:g} CPUs" + (f" and {workers.gpus:g} GPUs" if workers.gpus else "")
    if fits == 0:
        raise ValueError(f"no machine of the cluster has {size} for a worker")
    if workers.actors is not None and workers.actors > fits and address == "local":
        raise ValueError(f"this machine has room for {fits} workers of {size}, not for {workers.actors}")
    actors, per_file = workers.actors or fits, workers.images_per_file
    if total is None:
        return actors, per_file
    # Enough blocks that nobody waits long for the last one, and no worker without any.
    per_file = min(per_file, max(_FEWEST, math.ceil(total / (4 * actors))))
    return min(actors, math.ceil(total / per_file)), per_file


def _items(
    ray: Any, source: PictureSource, units: Any, done: frozenset[str], per_file: int, actors: int
) -> Any:
    """The pictures as a Ray dataset; tables and shards are read by tasks beside the workers."""
    if units is None:
        starts = range(0, len(source.names), per_file)
        return ray.data.from_arrow([picture_items(source.names[i : i + per_file]) for i in starts])
    held = ray.put(done)

    def read(batch: Any) -> Any:
        yield from read_units(batch, source, ray.get(held))

    data = ray.data.from_arrow([units.slice(i, 1) for i in range(len(units))])
    return data.map_batches(
        read,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=max(2, actors)),
        # The workers may hold every CPU, and would wait for ever for what nobody could read.
        num_cpus=0,
    )


def _summary(
    found: list[dict[str, Any]], output: str, weights: str, skipped: int, actors: int, seconds: float
) -> Summary:
    # A block whose report was lost with its machine is reported again: count each file once.
    by_part: Mapping[str, dict[str, Any]] = {row["part"]: row for row in found}
    images, people, failed = (sum(r[k] for r in by_part.values()) for k in ("images", "people", "failed"))
    return Summary(
        output=output,
        weights=weights,
        images=images,
        people=people,
        failed=failed,
        skipped=skipped,
        files=len(by_part),
        workers=len({row["worker"] for row in found}),
        actors=actors,
        seconds=round(seconds, 2),
        images_per_second=round(images / seconds, 2) if seconds else 0.0,
    )
