"""What several tests of conversion check: damage is noticed, and commands answer as the source does."""

import json
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from hourglass.cli.main import app
from hourglass.core.skeleton import MPII16
from hourglass.weights.convert.importing import import_checkpoint
from hourglass.weights.convert.published_sources import DATA


def survive(whole: Path, state: dict[str, Tensor], count: int, checked: bool = False) -> Counter[str]:
    """Flip bits of a whole file, `count` times, and convert: what happened how often.

    Every flipped file must be refused in one sentence, or converted into what the whole file is converted
    into. Only a bit of a stored number that no checksum covers may go unnoticed, in this number alone;
    `checked` says that checksums cover all.
    """
    raw = np.frombuffer(whole.read_bytes(), np.uint8)
    right = import_checkpoint(whole)
    numbers = np.zeros(len(raw), bool)
    for tensor in state.values():
        stored, start = tensor.numpy().tobytes(), -1
        while tensor.is_floating_point() and (start := raw.tobytes().find(stored, start + 1)) >= 0:
            numbers[start : start + len(stored)] = True
    structure = np.flatnonzero(~numbers)
    rng = random.Random(count)
    bad = whole.with_name(f"flipped{whole.suffix}")
    happened: Counter[str] = Counter()
    for i in range(count):
        flipped, places = raw.copy(), []
        for _ in range(rng.choice((1, 1, 1, 3))):
            # Most bits are those of numbers; the others are worth more attempts.
            places.append(rng.choice(structure) if i % 4 else rng.randrange(len(raw)))
            flipped[places[-1]] ^= 1 << rng.randrange(8)
        bad.write_bytes(flipped.tobytes())
        try:
            got = import_checkpoint(bad)
        except ValueError as error:
            said = str(error)
            assert str(bad) in said
            assert "\n" not in said
            assert len(said) < 700
            happened["refused"] += 1
            continue
        assert replace(got.facts, name="", source="") == replace(right.facts, name="", source="")
        other = [
            key
            for key in right.state
            if not torch.equal(got.state[key], right.state[key]) and not key.endswith("num_batches_tracked")
        ]
        touched = 0 if checked else sum(bool(numbers[place]) for place in places)
        assert len(other) <= touched, f"{other} changed by a flip at {places}"
        happened["another number" if other else "the same"] += 1
    return happened


def hourglass(*arguments: object) -> Any:
    """Run a command that prints JSON; --json - is appended."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def joints_of(heatmaps: Tensor, mmpose: bool) -> list[tuple[float, float]]:
    """Pixels of the crop as the projects read a heatmap: the highest cell, a quarter to the higher side."""
    found = []
    for m in heatmaps.tolist():
        height, width = len(m), len(m[0])
        y, x = max(((y, x) for y in range(height) for x in range(width)), key=lambda p: m[p[0]][p[1]])
        cell = [float(x), float(y)]
        if 0 < x < width - 1:
            cell[0] += 0.25 * float(np.sign(m[y][x + 1] - m[y][x - 1]))
        if 0 < y < height - 1:
            cell[1] += 0.25 * float(np.sign(m[y + 1][x] - m[y - 1][x]))
        # MMPose's pixel is 4 x cell; the others' cells are squares of 4 pixels.
        found.append((4 * cell[0], 4 * cell[1]) if mmpose else (4 * cell[0] + 1.5, 4 * cell[1] + 1.5))
    return found


def answers_as(checkpoint: Path, source: str, expected: list[tuple[float, float]], image: Any) -> None:
    """Convert; then `predict` and `evaluate` must find the expected joints in the picture."""
    folder, side = checkpoint.parent, image.shape[0]
    weights = folder / "ours.safetensors"
    told = hourglass("convert", checkpoint, "--from", source, weights, "--input-px", side)
    assert (told["from"], told["input_px"], told["skeleton"]) == (source, side, "mpii16")

    photo = folder / "photo.png"
    Image.fromarray(image).save(photo)
    width = side / DATA["mpii"].box_margin  # of a box whose crop is the whole picture
    corner = (side - width) / 2
    box = ",".join(map(repr, (corner, corner, width, width)))
    plain = ("--no-flip-test", "--device", "cpu", "--precision", "fp32")
    told = hourglass("predict", photo, "--weights", weights, "--box", box, "--no-overlay", *plain)
    joints = told["images"][0]["people"][0]["joints"]
    assert list(joints) == list(MPII16.joints)
    found = [(joint["x"], joint["y"]) for joint in joints.values()]
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02)

    truth = {
        "images": [{"id": 1, "file_name": photo.name, "width": side, "height": side}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(MPII16.joints), "skeleton": []}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [0, 0, side, side],
                "iscrowd": 0,
                "num_keypoints": 16,
                "keypoints": [number for x, y in expected for number in (x, y, 2)],
                "crop": {"center": [(side - 1) / 2, (side - 1) / 2], "side_px": side},
            }
        ],
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    data = (
        "--data",
        "coco",
        "--root",
        folder,
        "--annotations",
        folder / "truth.json",
        "--out",
        folder / "eval",
    )
    told = hourglass("evaluate", weights, *data, "--out", folder / "eval", "--threshold", 0.01, *plain)
    assert (told["people"], told["decoding"]) == (1, "quarter")
    assert told["metrics"]["PCK@0.01"]["pooled"] == 100
