"""One worker without Ray: what it writes, and what it does when its forerunner died."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from batch.samples import assert_once, assert_pose, encoded, make_photos, pixels, rows_of
from hourglass.batch.items import ITEMS, picture_items
from hourglass.batch.worker import BatchJob, Worker
from hourglass.inference.predictor import Predictor

SETTINGS = {"device": "cpu", "precision": "fp32", "flip_test": True, "backend": "auto", "stacks": None}


def alone(weights: Path) -> Predictor:
    """What rows are compared with: crop by crop, since random joints feel the rounding."""
    predictor = Predictor.from_pretrained(weights, "cpu", "fp32", detector=None)
    predictor.batch_size = 1
    return predictor


class Died(BaseException):
    """Instead of `kill -9`: nothing in a worker may catch it."""


def make(weights: Path, tmp_path: Path, batch_size: int | None = 1, **settings: Any) -> Worker:
    job = BatchJob(
        output=str(tmp_path / "out"),
        base=str(tmp_path / "photos"),
        run="run1",
        weights={weights.name: weights.read_bytes()},
        settings={**SETTINGS, **settings},
        batch_size=batch_size,
        threads=1,
    )
    return Worker(job)


def report_of(table: Any) -> dict[str, Any]:
    (row,) = table.to_pylist()
    assert isinstance(row, dict)
    return row


def items(*rows: Mapping[str, Any]) -> Any:
    return pa.Table.from_pylist(list(rows), ITEMS)


def deadly(worker: Worker, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> list[int]:
    """Let the worker die whenever it has to answer a picture of this width and height."""
    good = worker.predictor.answer
    calls: list[int] = []

    def answer(requests: Any, keep_heatmaps: bool = False) -> Any:
        requests = list(requests)
        calls.append(len(requests))
        if any(request.image.shape[1::-1] == size for request in requests):
            raise Died
        return good(requests, keep_heatmaps)

    monkeypatch.setattr(worker.predictor, "answer", answer)
    return calls


def test_every_picture_gets_its_rows(weights: Path, tmp_path: Path) -> None:
    names = make_photos(tmp_path / "photos", 40)
    (tmp_path / "photos" / "empty.png").touch()
    worker = make(weights, tmp_path)
    said = report_of(worker(picture_items([*names, "empty.png", "gone.png"])))
    assert (said["images"], said["people"], said["failed"], said["problem"]) == (42, 40, 2, None)
    rows = {row["image_id"]: row for row in rows_of(tmp_path / "out")}
    predictor = alone(weights)
    for name, seed in list(names.items())[::7]:
        image = pixels(seed)
        assert_pose(rows[name], predictor(image)[0], (image.shape[1], image.shape[0]))
    assert rows["empty.png"]["error"] == "empty.png is empty (0 bytes)"
    assert rows["gone.png"]["error"] == f"gone.png does not exist in {tmp_path / 'photos'}"


def test_bytes_boxes_and_errors_come_with_the_items(weights: Path, tmp_path: Path) -> None:
    worker = make(weights, tmp_path)
    worker(
        items(
            {"image_id": "a", "data": encoded(1), "boxes": [[5, 5, 40, 50], [1, 1, 9, 9]]},
            {"image_id": "b", "data": encoded(2), "boxes": []},
            {"image_id": "c", "error": "c has no bytes"},
            {"image_id": "d", "data": encoded(3), "boxes": [[1, 2, -3, 4]]},
        )
    )
    rows = rows_of(tmp_path / "out")
    assert [(row["image_id"], row["person"]) for row in rows] == [
        ("a", 0),
        ("a", 1),
        ("b", -1),
        ("c", -1),
        ("d", -1),
    ]
    assert (rows[2]["error"], rows[2]["width"], rows[2]["weights"]) == (None, 82, "tiny")
    assert rows[3]["error"] == "c has no bytes"
    assert rows[4]["error"] == "d: the box 1,2,-3,4 is not finite with a positive width and height"


def test_a_block_is_written_once_however_often_it_is_asked_for(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path / "photos", 3)
    block = picture_items(list(names))
    first = report_of(make(weights, tmp_path)(block))
    again = make(weights, tmp_path)
    monkeypatch.setattr(again.predictor, "answer", lambda *_: pytest.fail("it was answered already"))
    second = report_of(again(block))
    assert {**second, "worker": 0} == {**first, "worker": 0}
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1


def test_a_death_that_was_no_picture_s_fault_costs_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path / "photos", 5)
    worker = make(weights, tmp_path)
    block = picture_items(list(names))
    deadly(worker, monkeypatch, (80, 60))
    with pytest.raises(Died):
        worker(block)
    assert not list((tmp_path / "out").glob("*.parquet"))
    assert report_of(make(weights, tmp_path)(block))["failed"] == 0
    assert_once(rows_of(tmp_path / "out"), list(names))
    assert not list((tmp_path / "out" / "_attempts").iterdir())


def test_a_picture_that_kills_is_given_up_and_the_others_are_not(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path / "photos", 10)
    block = picture_items(list(names))
    # 002 and 007 are 82 pixels wide.
    for deaths in range(20):
        worker = make(weights, tmp_path)
        calls = deadly(worker, monkeypatch, (82, 60))
        try:
            said = report_of(worker(block))
            break
        except Died:
            assert calls == ([10] if deaths == 0 else [1] * len(calls))
    assert deaths == 5  # once together, and each of the two twice
    assert (said["images"], said["failed"]) == (10, 2)
    rows = rows_of(tmp_path / "out")
    assert_once(rows, list(names))
    failed = {row["image_id"]: row["error"] for row in rows if row["error"]}
    assert failed == dict.fromkeys(("002.png", "007.png"), "the worker died 2 times on this picture")


def test_what_one_picture_raises_is_its_error_and_what_all_raise_is_ours(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = make_photos(tmp_path / "photos", 5)
    worker = make(weights, tmp_path)
    good = worker.predictor.answer

    def answer(requests: Any, keep_heatmaps: bool = False) -> Any:
        if any(request.image.shape[1] == 82 for request in requests):
            raise RuntimeError("can't\nallocate")
        return good(requests, keep_heatmaps)

    monkeypatch.setattr(worker.predictor, "answer", answer)
    assert report_of(worker(picture_items(list(names))))["failed"] == 1
    (bad,) = (row for row in rows_of(tmp_path / "out") if row["error"])
    assert (bad["image_id"], bad["error"]) == ("002.png", "RuntimeError: can't allocate")

    def never(*_: Any) -> Any:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(worker.predictor, "answer", never)
    with pytest.raises(RuntimeError, match="the device is gone"):
        worker(picture_items(list(names)[:3]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp8"}, "the precision 'fp8' is not one of"),
        ({"backend": "abacus"}, "the backend 'abacus' is not one of"),
        ({"device": "cuda:99"}, "there is no CUDA device"),
        ({"stacks": 7}, "7"),
    ],
)
def test_a_worker_that_cannot_work_says_so_in_one_sentence(
    settings: dict[str, Any], message: str, weights: Path, tmp_path: Path
) -> None:
    worker = make(weights, tmp_path, **settings)
    said = report_of(worker(items({"image_id": "a", "data": encoded(1)})))
    assert message in said["problem"]
    assert "\n" not in said["problem"]
    assert said["images"] == 0


def test_an_output_that_cannot_be_written_is_a_problem(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    said = report_of(make(weights, tmp_path)(items({"image_id": "a", "data": encoded(1)})))
    assert str(tmp_path / "out") in said["problem"]


def test_threads_and_batch_size_are_the_job_s(weights: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        job = make(weights, tmp_path, batch_size=3).job
        worker = Worker(BatchJob(**{**vars(job), "threads": 2}))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert worker.predictor.batch_size == 3
    assert make(weights, tmp_path, None).predictor.batch_size == 8
