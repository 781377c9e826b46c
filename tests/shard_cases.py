"""People whose picture tells who they are, packed in small groups, for tests of packs and shards."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hourglass.core.skeleton import LSP14, Skeleton
from hourglass.core.structs import PersonRecord
from hourglass.data.packs import write_pack as packing
from hourglass.data.packs.write_pack import PackReport, write_shards

GROUP = 4
"""People in a group of rows, where `small_groups` is used."""


def numbered(count: int, first: int = 0, skeleton: Skeleton = LSP14) -> list[PersonRecord]:
    """People with the numbers `first` on; each picture is a gradient in a colour of its own."""
    people = []
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        ramp = np.linspace(0.2, 1, 48)[:, None, None] * np.linspace(0.5, 1, 48)[None, :, None]
        picture = (ramp * rng.integers(60, 256, 3)).astype(np.uint8)
        photo = io.BytesIO()
        Image.fromarray(picture).save(photo, "PNG")
        people.append(
            PersonRecord(
                image=photo.getvalue(),
                image_id=f"photo{number}.png",
                person_id=number,
                skeleton=skeleton,
                keypoints=rng.uniform(8, 40, (len(skeleton), 2)).astype(np.float32),
                visibility=np.full(len(skeleton), 2, np.uint8),
                center=np.array([24, 24], np.float32),
                side_px=30.0,
            )
        )
    return people


def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", GROUP)


def sharded(folder: Path, train: int = 43, val: int = 9, shards: int = 5, **options: object) -> PackReport:
    """A set of shards `people` in a folder; validation people count from 1000."""
    people = {"train": numbered(train)} | ({"val": numbered(val, 1000)} if val else {})
    return write_shards(people, folder / "people.parquet", shards, **options)  # type: ignore[arg-type]
