"""Pictures, tables and shards that the tests of the batch share, and how to find and kill a worker."""

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from PIL import Image

from hourglass.inference.poses.pose import Pose

POISON = b"poison: it kills whoever opens it"


def pixels(seed: int) -> npt.NDArray[np.uint8]:
    """A picture of noise, each of another size."""
    return np.random.default_rng(seed).integers(0, 255, (60, 80 + seed % 5, 3), dtype=np.uint8)


def encoded(seed: int) -> bytes:
    """The same as the bytes of a PNG file, which loses nothing."""
    file = io.BytesIO()
    Image.fromarray(pixels(seed)).save(file, "png")
    return file.getvalue()


def make_photos(folder: Path, count: int) -> dict[str, int]:
    """Pictures, every third in a folder inside; their ids and seeds."""
    (folder / "more").mkdir(parents=True)
    names = {f"more/{i:03d}.png" if i % 3 == 0 else f"{i:03d}.png": i for i in range(count)}
    for name, seed in names.items():
        (folder / name).write_bytes(encoded(seed))
    return names


def make_shard(path: Path, samples: Sequence[tuple[str, Mapping[str, bytes]]]) -> None:
    """A WebDataset shard: keys, and of each the contents by extension."""
    with tarfile.open(path, "w") as shard:
        for key, parts in samples:
            for extension, content in parts.items():
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))


def boxes_json(*boxes: Sequence[float]) -> bytes:
    return json.dumps({"boxes": boxes, "caption": "x"}).encode()


def rows_of(output: Path) -> list[dict[str, Any]]:
    """All rows of a batch's output, by picture and person."""
    parts = sorted(output.glob("*.parquet"))
    assert all(part.name.startswith("part-") for part in parts)
    rows: list[dict[str, Any]] = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return sorted(rows, key=lambda row: (row["image_id"], row["person"]))


def assert_once(rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> None:
    """Each picture is there, and none of its people twice."""
    assert {row["image_id"] for row in rows} == set(ids)
    assert set(Counter((row["image_id"], row["person"]) for row in rows).values()) == {1}


def assert_pose(row: Mapping[str, Any], pose: Pose, size: tuple[int, int]) -> None:
    """A row says what the predictor does."""
    assert row["error"] is None
    np.testing.assert_allclose(row["keypoints"], pose.keypoints, atol=1e-2)
    np.testing.assert_allclose(row["scores"], pose.scores, atol=1e-4)
    assert (row["confidences"] is None) == (pose.confidences is None)
    if pose.confidences is not None:
        np.testing.assert_allclose(row["confidences"], pose.confidences, atol=1e-3)
    np.testing.assert_allclose(row["box"], pose.box, atol=1e-2)
    assert abs(row["score"] - pose.score) < 1e-4
    assert (row["width"], row["height"]) == size


def workers_of(folder: Path) -> list[int]:
    """Processes that hold a network in the Ray cluster that keeps its files in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                    if str(folder).encode() in Path(f"/proc/{parent}/cmdline").read_bytes():
                        found.append(int(entry.name))
            except OSError:
                continue  # gone meanwhile
    return found
