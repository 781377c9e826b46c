"""One worker of a batch: holds the network, answers blocks of pictures, writes each as one whole file.

Ray starts a worker again when its process dies, and gives the new one the same block. Two notes make that
safe. A file is named by the ids of its pictures, so that a block which is answered twice is written once.
And a block that is being answered has a note in the store: whoever finds one there goes on picture by
picture, saying at which one, so that a picture that kills its worker is given up after a few deaths.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hourglass.batch.store import ATTEMPTS, NOBODY, ROWS, Store, locate, read_part, to_bytes

if TYPE_CHECKING:
    from hourglass.inference.poses.pose import Pose
    from hourglass.inference.predictor import Predictor, Request

DEATHS = 2
"""A picture that was the only one in work so many times when a worker died is given up."""

REPORT = pa.schema(
    [
        ("part", pa.string()),
        ("images", pa.int64()),
        ("people", pa.int64()),
        ("failed", pa.int64()),
        ("worker", pa.int64()),
        ("problem", pa.string()),
    ]
)
"""What a worker says of a block: its file and counts, its process, and why it can't work at all."""

_CHUNK = 16
"""Pictures in memory at once, unless the network takes more of them together."""
_READERS = 2


@dataclass(frozen=True)
class BatchJob:
    """What every worker of one run is given.

    Args:
        output: path or URL of the store.
        base: path or URL of the folder with the pictures that come without bytes.
        run: tells the files of this run from those of others.
        weights: names and contents of the weights' files; the first one is to be loaded.
        settings: keyword arguments of `Predictor.from_pretrained`.
        detector: the file of a detector for pictures without boxes, or None.
        detecting: its file's `name`, its `min_score`, None for its own, and the predictor's `nms_oks`.
        batch_size: crops that go through the network at once, or None for the predictor's own choice.
        threads: of torch, OpenVINO, ONNX Runtime and OpenCV.
        stamp: JSON for the metadata of every file.
    """

    output: str
    base: str
    run: str
    weights: Mapping[str, bytes]
    settings: Mapping[str, Any]
    detector: bytes | None = None
    detecting: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    threads: int = 1
    stamp: str = "{}"


@dataclass
class _Note:
    """What the store knows of a block in work: the picture that is in work alone, and deaths by picture."""

    at: str | None = None
    deaths: dict[str, int] = field(default_factory=dict)


class Worker:
    """Answers blocks of pictures; Ray Data calls it with tables of `items.ITEMS`.

    Args:
        job: see there.
        tally: a Ray actor with `add(images, people, failed)`, told as the work goes on, or None.
    """

    def __init__(self, job: BatchJob, tally: Any = None) -> None:
        self.job, self.tally = job, tally
        self.store = Store(job.output)
        self.problem: str | None = None
        try:
            self.predictor = _load(job)
        except (ValueError, OSError) as error:
            # Raised here it would come to the driver as pages of Ray's own words.
            self.problem = " ".join(str(error).split())

    def __call__(self, block: Any) -> Any:
        """A block of pictures (`ITEMS`) answered and written; gives one row of `REPORT`."""
        if self.problem is None and len(block):
            try:
                return self._answer_block(block.to_pylist())
            except OSError as error:
                self.problem = " ".join(str(error).split())
        return _report("", 0, 0, 0, self.problem)

    def _answer_block(self, items: Sequence[Mapping[str, Any]]) -> Any:
        ids = [item["image_id"] for item in items]
        key = f"{self.job.run}-{hashlib.blake2b(chr(0).join(ids).encode(), digest_size=12).hexdigest()}"
        part, note = f"part-{key}.parquet", f"{ATTEMPTS}/{key}.json"
        if self.store.exists(part):
            # Written, and then the worker died before it could say so.
            return self._count(part, read_part(self.store, part).to_pylist())
        raw = self.store.read(note)
        if raw is None:
            self.store.write(note, json.dumps(vars(_Note())).encode())
            rows = list(self._answer(items))
        else:
            rows = self._answer_carefully(items, note, _Note(**json.loads(raw)))
        table = pa.Table.from_pylist(rows, ROWS)
        self.store.write(part, to_bytes(table.replace_schema_metadata({"hourglass": self.job.stamp})))
        self.store.delete(note)
        return self._count(part, rows)

    def _answer_carefully(
        self, items: Sequence[Mapping[str, Any]], name: str, note: _Note
    ) -> list[dict[str, Any]]:
        """A worker died in this block: one picture after the other, each noted before it is touched."""
        if note.at is not None:
            note.deaths[note.at] = note.deaths.get(note.at, 0) + 1
        rows: list[dict[str, Any]] = []
        for item in items:
            note.at = item["image_id"]
            deaths = note.deaths.get(item["image_id"], 0)
            if deaths >= DEATHS:
                rows.append(_failed(item, f"the worker died {deaths} times on this picture", self._name))
                continue
            self.store.write(name, json.dumps(vars(note)).encode())
            rows += self._answer([item])
        return rows

    def _answer(self, items: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Rows of a block's pictures, in their order."""
        from hourglass.data.loading.ahead import ahead

        size = max(_CHUNK, self.predictor.batch_size)
        # Threads read the next pictures while the network looks at these.
        read = ahead(self._read, items, workers=_READERS, depth=size // _READERS)
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            requests = [request for _, request in zip(chunk, read, strict=False)]
            poses = self._poses([r for r in requests if not isinstance(r, str)])
            rows: list[dict[str, Any]] = []
            for item, request in zip(chunk, requests, strict=True):
                found = request if isinstance(request, str) else next(poses)
                if isinstance(found, str):
                    rows.append(_failed(item, found, self._name, request))
                else:
                    assert not isinstance(request, str)
                    rows += _rows(item, request, found, self._name)
            self._tell(rows)
            yield from rows

    def _read(self, item: Mapping[str, Any]) -> "Request | str":
        """A picture that is ready to be answered, or in one sentence why it can't be."""
        from hourglass.data.loading.images import read_image

        name = item["image_id"]
        if item["error"] is not None:
            return str(item["error"])
        try:
            data = item["data"] if item["data"] is not None else self._fetch(name)
            return self.predictor.prepare(read_image(data, name), item["boxes"])
        except ValueError as error:
            text = " ".join(str(error).split())
            return text if text.startswith(name) else f"{name}: {text}"
        except MemoryError:
            return f"{name} does not fit into memory"

    def _fetch(self, name: str) -> bytes:
        """A picture's bytes from the folder; raises ValueError where they can't be had."""
        files, base = locate(self.job.base)
        try:
            with files.open_input_stream(f"{base}/{name}", compression=None) as file:
                return bytes(file.read())
        except FileNotFoundError as error:
            raise ValueError(f"{name} does not exist in {self.job.base}") from error
        except OSError as error:
            raise ValueError(f"{name} can't be read ({str(error).strip()})") from error

    def _poses(self, requests: "Sequence[Request]") -> "Iterator[list[Pose] | str]":
        """What is found in each picture, or why nothing can be.

        Raises what the predictor raised when no picture at all can be answered: then it isn't the pictures.
        """
        try:
            yield from self.predictor.answer(requests)
            return
        except Exception as error:  # some layer below met a picture that it can't take
            together = error
        alone: list[list[Pose] | str] = []
        for request in requests:
            try:
                alone += self.predictor.answer([request])
            except Exception as error:
                alone.append(" ".join(f"{type(error).__name__}: {error}".split()))
        if all(isinstance(found, str) for found in alone) and len(alone) > 1:
            raise together
        yield from alone

    @property
    def _name(self) -> str:
        return self.predictor.facts.name

    def _tell(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if self.tally is not None:
            with suppress(Exception):  # Ray's; the bar may lag, the work must not stop
                self.tally.add.remote(*_counts(rows))

    def _count(self, part: str, rows: Sequence[Mapping[str, Any]]) -> Any:
        return _report(part, *_counts(rows))


def _load(job: BatchJob) -> "Predictor":
    """The predictor, with its threads set before anything is compiled for them."""
    import cv2

    from hourglass.inference.detection.detectors import load_detector
    from hourglass.inference.predictor import Predictor

    cv2.setNumThreads(job.threads)
    with tempfile.TemporaryDirectory(prefix="hourglass-weights-") as folder:
        for name, content in job.weights.items():
            (Path(folder) / name).write_bytes(content)
        predictor = Predictor.from_pretrained(
            Path(folder) / next(iter(job.weights)), **job.settings, threads=job.threads, detector=None
        )
        if job.detector is not None:
            path = Path(folder) / job.detecting.get("name", "detector.onnx")
            path.write_bytes(job.detector)
            min_score, device = job.detecting["min_score"], predictor.device
            predictor.detector = load_detector(path, min_score, threads=job.threads, device=device)
            predictor.nms_oks = job.detecting["nms_oks"]
    if job.batch_size is not None:
        predictor.batch_size = job.batch_size
    return predictor


def _rows(
    item: Mapping[str, Any], request: "Request", poses: "Sequence[Pose]", weights: str
) -> list[dict[str, Any]]:
    """A picture's people as rows of `store.ROWS`; without any, the one row that says so."""
    height, width = request.image.shape[:2]
    shared = {"image_id": item["image_id"], "width": width, "height": height, "weights": weights}
    people = [
        {
            **shared,
            "person": person,
            "keypoints": pose.keypoints.tolist(),
            "scores": pose.scores.tolist(),
            "confidences": None if pose.confidences is None else pose.confidences.tolist(),
            "box": pose.box.tolist(),
            "score": pose.score,
            "box_score": pose.box_score,
        }
        for person, pose in enumerate(poses)
    ]
    return people or [{**shared, "person": NOBODY}]


def _failed(
    item: Mapping[str, Any], error: str, weights: str, request: "Request | str" = ""
) -> dict[str, Any]:
    row = {"image_id": item["image_id"], "person": NOBODY, "error": error, "weights": weights}
    if not isinstance(request, str):
        row["height"], row["width"] = request.image.shape[:2]
    return row


def _counts(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Pictures, people and failed pictures among rows."""
    people = sum(row["person"] != NOBODY for row in rows)
    return len({row["image_id"] for row in rows}), people, sum(row.get("error") is not None for row in rows)


def _report(part: str, images: int, people: int, failed: int, problem: str | None = None) -> Any:
    row = dict(zip(REPORT.names, (part, images, people, failed, os.getpid(), problem), strict=True))
    return pa.Table.from_pylist([row], REPORT)
