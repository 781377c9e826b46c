"""Measure how long 2,958 people take under every PCK protocol, apart from reading the file.

    python -m hourglass.bench.score [PREDICTIONS TRUTH]

Without files the people are made up; the time is the same. Nothing else should run meanwhile.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np

from hourglass.core.skeleton import MPII16
from hourglass.data.formats.annotations import Annotations
from hourglass.evaluation.metrics.protocols import MPII_OFFICIAL, PROTOCOLS
from hourglass.evaluation.metrics.scores import NotApplicable, evaluate_protocol, intervals
from hourglass.evaluation.scoring.predictions import read_predictions
from hourglass.evaluation.scoring.truth import read_truth

PEOPLE, ROUNDS, DRAWS = 2958, 21, 1000


def made_up() -> tuple[Annotations, np.ndarray]:
    """People of MPII's number, and predictions about a third of a head away."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(10, 900, (PEOPLE, 16, 2))
    visibility = rng.choice([0, 1, 2], (PEOPLE, 16), p=[0.07, 0.21, 0.72]).astype(np.uint8)
    head = rng.uniform(30, 120, PEOPLE)
    predicted = truth + head[:, None, None] * rng.normal(0, 0.25, truth.shape)
    return Annotations.of(MPII16, truth, visibility, True, {"head": head, "file-torso": 2 * head}), predicted


def main() -> None:
    """Print the median over the rounds and the fastest, for each protocol and for all of them."""
    if len(sys.argv) == 3:
        began = time.perf_counter()
        truth = read_truth(Path(sys.argv[2]))
        answers = read_predictions(Path(sys.argv[1]), truth)
        print(f"reading both files: {1000 * (time.perf_counter() - began):.0f} ms")
        assert answers.keypoints is not None
        people, predicted = truth.people, answers.keypoints
    else:
        people, predicted = made_up()
    spent: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        total = 0.0
        for rules in PROTOCOLS:
            began = time.perf_counter()
            try:
                evaluate_protocol(rules, people, predicted)
            except NotApplicable:
                continue
            seconds = time.perf_counter() - began
            spent.setdefault(rules.name, []).append(seconds)
            total += seconds
        spent.setdefault("all of them", []).append(total)
    for name, seconds_each in spent.items():
        print(
            f"{name}: {1000 * statistics.median(seconds_each):.1f} ms, at best {1000 * min(seconds_each):.1f}"
        )
    score = evaluate_protocol(MPII_OFFICIAL, people, predicted)
    began = time.perf_counter()
    intervals([score.resample], score.units, DRAWS)
    print(f"{DRAWS} bootstrap draws of {MPII_OFFICIAL.name}: {time.perf_counter() - began:.2f} s")


if __name__ == "__main__":
    main()
