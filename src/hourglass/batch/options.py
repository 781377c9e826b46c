"""What a batch is asked for, and what it says of itself."""

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Workers:
    """Who answers.

    Args:
        actors: how many workers, or None for as many as the cluster has room for now.
        cpus: of each, also the number of its threads.
        gpus: of each; 0 runs the network on the CPU.
        batch_size: crops that go through the network at once, or None for the predictor's own choice.
        images_per_file: pictures in one file of the output, at most: what a dying worker has to do again.
    """

    actors: int | None = None
    cpus: float = 1
    gpus: float = 0
    batch_size: int | None = None
    images_per_file: int = 256

    def __post_init__(self) -> None:
        for name, least in (("actors", 1), ("batch_size", 1), ("images_per_file", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name.replace('_', '-')} is {value}, and must be at least {least}")
        if not (math.isfinite(self.cpus) and self.cpus > 0 and math.isfinite(self.gpus) and self.gpus >= 0):
            raise ValueError(f"a worker needs CPUs (--cpus-per-actor {self.cpus:g}) and no negative GPUs")


@dataclass(frozen=True)
class Answering:
    """What decides the answers; a second run into the same output must agree.

    Args:
        detector: finds people in pictures without boxes; a name or file, as for `detectors.load_detector`.
            None is the bundled finder, the word `none` takes each picture to show one person.
        min_score: of the detector's boxes, or None for its own.
        nms_oks: how alike two of the detector's people may be.
    """

    weights: str | None = None
    backend: str = "auto"
    precision: str = "auto"
    stacks: int | str | None = None
    flip_test: bool = True
    detector: str | None = None
    min_score: float | None = None
    nms_oks: float = 0.9


@dataclass(frozen=True)
class BatchProgress:
    """How far a run is: pictures of this run alone; `total` is None where only reading will tell."""

    images: int
    total: int | None
    people: int
    failed: int
    skipped: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """What a run did. `skipped` were done before; `workers` counts processes, those that died included."""

    output: str
    weights: str
    images: int
    people: int
    failed: int
    skipped: int
    files: int
    workers: int
    actors: int
    seconds: float
    images_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for JSON."""
        return asdict(self)
