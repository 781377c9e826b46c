"""Whole batches on a Ray cluster of this machine, with workers that are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from batch.samples import (
    POISON,
    assert_once,
    assert_pose,
    boxes_json,
    encoded,
    make_photos,
    make_shard,
    pixels,
    rows_of,
    workers_of,
)
from hourglass.batch.follow import BatchError
from hourglass.batch.options import Answering, BatchProgress, Summary, Workers
from hourglass.batch.run import run_batch
from hourglass.batch.submit import start_batch
from hourglass.core.skeleton import LSP14
from hourglass.inference.predictor import Predictor
from processes import running

pytestmark = [
    pytest.mark.usefixtures("ray_folder"),
    # Ray deprecates names that it uses itself, and leaves sockets and files to the collector.
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def batch(place: Path | str, output: Path, weights: Path, **rest: Any) -> Summary:
    answering = Answering(str(weights), precision="fp32", **rest.pop("answering", {}))
    workers = Workers(rest.pop("actors", 1), batch_size=1, images_per_file=rest.pop("images_per_file", 4))
    return run_batch(str(place), str(output), answering, workers, **rest)


@pytest.fixture
def predictor(weights: Path) -> Iterator[Predictor]:
    """What rows are compared with: on one thread and crop by crop, since random joints feel the rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    predictor = Predictor.from_pretrained(weights, "cpu", "fp32")
    predictor.batch_size = 1
    yield predictor
    torch.set_num_threads(threads)


def wait_for(condition: Callable[[], Any], seconds: float = 90) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s")


def test_a_folder_becomes_rows_and_a_second_run_does_only_what_is_left(
    weights: Path, predictor: Predictor, tmp_path: Path
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "out"
    names = make_photos(photos, 9)
    (photos / "broken.jpg").write_bytes(b"no picture")
    seen: list[int] = []
    first = batch(photos, output, weights, actors=2, report=lambda p: seen.append(p.images))
    assert (first.images, first.people, first.failed, first.skipped, first.actors) == (10, 9, 1, 0, 2)
    assert seen == sorted(seen)
    rows = rows_of(output)
    assert_once(rows, [*names, "broken.jpg"])
    by_id = {row["image_id"]: row for row in rows}
    for name, seed in names.items():
        image = pixels(seed)
        (pose,) = predictor(image)
        assert_pose(by_id[name], pose, (image.shape[1], image.shape[0]))
        assert (by_id[name]["person"], by_id[name]["weights"]) == (0, "tiny")
    broken = by_id["broken.jpg"]
    assert (broken["person"], broken["keypoints"], broken["width"]) == (-1, None, None)
    assert broken["error"] == "broken.jpg is not a picture in a format that can be read"
    # A file tells by itself what its rows are.
    part = min(output.glob("*.parquet"))
    stamp = json.loads(pq.read_schema(part).metadata[b"hourglass"])
    assert stamp == json.loads((output / "_hourglass.json").read_text())
    assert tuple(stamp["skeleton"]["joints"]) == LSP14.joints
    assert not list((output / "_attempts").iterdir())

    (photos / "late.png").write_bytes(encoded(50))
    (photos / "broken.jpg").write_bytes(encoded(51))
    second = batch(photos, output, weights)
    assert (second.images, second.skipped, second.failed) == (1, 10, 0)
    third = batch(photos, output, weights, retry_failed=True)
    assert (third.images, third.skipped, third.failed) == (1, 10, 0)
    rows = rows_of(output)
    assert_once(rows, [*names, "broken.jpg", "late.png"])
    assert not any(row["error"] for row in rows)
    nothing = batch(photos, output, weights)
    assert (nothing.images, nothing.skipped, nothing.files) == (0, 11, 0)

    with pytest.raises(ValueError, match=r"other settings \(flip_test: True, now False\)"):
        batch(photos, output, weights, answering={"flip_test": False})
    assert rows_of(output) == rows


def test_a_table_with_boxes(weights: Path, predictor: Predictor, tmp_path: Path) -> None:
    boxes = [[[5, 5, 40, 50], [30, 5, 40, 40]], [], None, [[500, 5, 10, 10]]]
    table = pa.table(
        {
            "image": pa.array([{"bytes": encoded(i), "path": "same.png"} for i in range(4)]),
            "boxes": pa.array(boxes, pa.list_(pa.list_(pa.float32()))),
        }
    )
    pq.write_table(table, tmp_path / "people.parquet", row_group_size=3)
    done = batch(tmp_path / "people.parquet", tmp_path / "out", weights)
    assert (done.images, done.people, done.failed) == (4, 3, 1)
    rows = rows_of(tmp_path / "out")
    assert [(row["image_id"], row["person"]) for row in rows] == [
        ("people.parquet#0", 0),
        ("people.parquet#0", 1),
        ("people.parquet#1", -1),
        ("people.parquet#2", 0),
        ("people.parquet#3", -1),
    ]
    for row, pose in zip(rows[:2], predictor(pixels(0), boxes[0]), strict=True):
        assert_pose(row, pose, (80, 60))
    assert (rows[2]["error"], rows[2]["keypoints"], rows[2]["width"]) == (None, None, 81)
    assert_pose(rows[3], predictor(pixels(2))[0], (82, 60))
    assert "the box 500,5,10,10 lies outside" in rows[4]["error"]
    again = batch(tmp_path / "people.parquet", tmp_path / "out", weights)
    assert (again.images, again.skipped) == (0, 4)


def test_shards_and_one_that_breaks_off(weights: Path, predictor: Predictor, tmp_path: Path) -> None:
    make_shard(
        tmp_path / "a.tar",
        [("x/1", {"png": encoded(1), "json": boxes_json([5, 5, 40, 50])}), ("x/2", {"png": encoded(2)})],
    )
    make_shard(tmp_path / "b.tar", [(f"{i}", {"png": encoded(i)}) for i in range(3)])
    whole = (tmp_path / "b.tar").read_bytes()
    member = 512 + -(-len(encoded(0)) // 512) * 512
    (tmp_path / "b.tar").write_bytes(whole[: member + 700])
    done = batch(tmp_path, tmp_path / "out", weights)
    assert (done.images, done.people, done.failed) == (4, 3, 1)
    rows = {row["image_id"]: row for row in rows_of(tmp_path / "out")}
    assert_pose(rows["a.tar/x/1"], predictor(pixels(1), [5, 5, 40, 50])[0], (81, 60))
    assert_pose(rows["b.tar/0"], predictor(pixels(0))[0], (80, 60))
    assert rows["b.tar"]["error"].startswith("b.tar is cut off or damaged")
    (tmp_path / "b.tar").write_bytes(whole)
    mended = batch(tmp_path, tmp_path / "out", weights, retry_failed=True)
    assert (mended.images, mended.failed, mended.skipped) == (2, 0, 3)
    assert_once(rows_of(tmp_path / "out"), ["a.tar/x/1", "a.tar/x/2", "b.tar/0", "b.tar/1", "b.tar/2"])


@pytest.mark.slow
def test_a_worker_is_killed_and_every_row_is_there_once(
    weights: Path, predictor: Predictor, tmp_path: Path, ray_folder: Path
) -> None:
    names = make_photos(tmp_path / "photos", 160)
    results: list[Summary] = []
    thread = threading.Thread(
        target=lambda: results.append(batch(tmp_path / "photos", tmp_path / "out", weights))
    )
    thread.start()
    wait_for(lambda: len(list((tmp_path / "out").glob("part-*"))) >= 3)
    (worker,) = workers_of(ray_folder)
    os.kill(worker, signal.SIGKILL)
    finished = len(list((tmp_path / "out").glob("part-*")))
    thread.join(120)
    assert finished < 40
    (done,) = results
    assert (done.images, done.people, done.failed, done.files) == (160, 160, 0, 40)
    assert done.workers == 2
    rows = rows_of(tmp_path / "out")
    assert_once(rows, list(names))
    for row in rows[::20]:
        image = pixels(names[row["image_id"]])
        assert_pose(row, predictor(image)[0], (image.shape[1], image.shape[0]))


@pytest.mark.slow
def test_a_picture_that_kills_every_worker_is_given_up(weights: Path, tmp_path: Path) -> None:
    names = make_photos(tmp_path / "photos", 6)
    (tmp_path / "photos" / "bad.png").write_bytes(POISON)
    done = batch(tmp_path / "photos", tmp_path / "out", weights, images_per_file=8)
    assert (done.images, done.people, done.failed) == (7, 6, 1)
    rows = rows_of(tmp_path / "out")
    assert_once(rows, [*names, "bad.png"])
    (bad,) = (row for row in rows if row["error"])
    assert (bad["image_id"], bad["error"]) == ("bad.png", "the worker died 2 times on this picture")


@pytest.mark.slow
def test_through_a_client_a_task_in_the_cluster_is_the_driver(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path / "photos", 3)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    seen: list[BatchProgress] = []
    answering = Answering(str(weights), precision="fp32")
    # This process is connected already, so the address decides only who drives.
    done = start_batch(
        "photos", "out", answering, Workers(actors=1), "ray://anywhere:10001", report=seen.append
    )
    assert (done.images, done.people, done.failed, done.actors) == (4, 3, 1, 1)
    assert_once(rows_of(tmp_path / "out"), [*names, "broken.png"])
    with pytest.raises(BatchError, match=r"there is no file or folder .*nowhere"):
        start_batch("nowhere", "out", answering, Workers(), "ray://anywhere:10001")


def test_what_only_a_worker_can_know_is_one_sentence_too(weights: Path, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    with pytest.raises(ValueError, match="fp8") as caught:
        run_batch(str(tmp_path / "photos"), str(tmp_path / "out"), Answering(str(weights), precision="fp8"))
    assert "\n" not in str(caught.value)
    assert not rows_of(tmp_path / "out")


def test_more_than_any_machine_has(weights: Path, tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", 3)
    with pytest.raises(ValueError, match="no machine of the cluster has 3 CPUs for a worker"):
        run_batch(str(tmp_path / "photos"), str(tmp_path / "out"), Answering(str(weights)), Workers(cpus=3))
    with pytest.raises(ValueError, match="room for 2 workers of 1 CPUs, not for 5"):
        batch(tmp_path / "photos", tmp_path / "out", weights, actors=5)


DRIVER = """
import sys
from hourglass.batch.run import Answering, Workers, run_batch
photos, output, weights = sys.argv[1:]
run_batch(photos, output, Answering(weights, precision="fp32"), Workers(actors=1, images_per_file=4))
"""


@pytest.mark.slow
def test_the_driver_is_killed_and_the_same_command_goes_on(weights: Path, tmp_path: Path) -> None:
    names = make_photos(tmp_path / "photos", 400)
    output = tmp_path / "out"
    words = [sys.executable, "-c", DRIVER, tmp_path / "photos", output, weights]
    with running(words, 300, stderr=subprocess.DEVNULL):
        wait_for(lambda: len(list(output.glob("part-*"))) >= 3, 240)
    before = len(rows_of(output))
    assert 12 <= before < 400
    done = batch(tmp_path / "photos", output, weights, images_per_file=16)
    assert done.images + done.skipped == 400
    assert done.skipped >= before
    assert_once(rows_of(output), list(names))
