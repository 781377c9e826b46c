from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hourglass.core.skeleton import LSP14
from hourglass.core.structs import PersonRecord
from hourglass.data.formats.annotations import Annotations
from hourglass.doctor.people import DataSet, FileOfPeople, gather
from hourglass.synthetic.render import load_records

SIZE = 64


@pytest.fixture(scope="session")
def rendered() -> list[PersonRecord]:
    """120 people in pictures of 64 x 64."""
    return load_records(LSP14, 120, size_px=SIZE)


@pytest.fixture(scope="session")
def clean(rendered: list[PersonRecord]) -> DataSet:
    """The same as the doctor sees them, with known sizes; 100 of them train, 20 val."""
    people = Annotations(
        file=Path("people.json"),
        form="coco",
        what="rendered people",
        skeleton=LSP14,
        where=[f"people.json: annotation {r.person_id}" for r in rendered],
        names=[f"{r.person_id}.png" for r in rendered],
        ids=np.array([r.person_id for r in rendered], np.int64),
        splits=["train" if n < 100 else "val" for n in range(len(rendered))],
        keypoints=np.stack([r.keypoints for r in rendered]).astype(np.float64),
        visibility=np.stack([r.visibility for r in rendered]),
        tells_hidden=True,
        origin=0,
        center=np.stack([r.center for r in rendered]).astype(np.float64),
        side_px=np.array([r.side_px for r in rendered]),
    )
    return gather([FileOfPeople(people, sizes={f"{r.person_id}.png": (SIZE, SIZE) for r in rendered})])


@pytest.fixture(scope="session")
def exchange() -> Callable[[np.typing.NDArray[np.float64], list[int], tuple[str, ...]], None]:
    """Exchange left and right of some joints of some people, in place."""

    def exchanged(points: np.typing.NDArray[np.float64], rows: list[int], parts: tuple[str, ...]) -> None:
        for part in parts:
            left, right = LSP14.index(f"left_{part}"), LSP14.index(f"right_{part}")
            points[rows, left], points[rows, right] = points[rows, right].copy(), points[rows, left].copy()

    return exchanged
