"""What a cold start costs: python tools/measure_start.py, in the environment that is to be measured.

CPU seconds of whole processes (user and system), their best and median of several; size and packages of the
environment; with --folders the folders of rendered photos of docs/benchmarks.md, by backend, paired.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

from PIL import Image

from hourglass.cli.demo_pictures import photo_path
from hourglass.synthetic.render import render

IMPORTS = ("numpy", "cv2", "onnxruntime", "hourglass", "hourglass.inference.predictor")


def cost(words: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds of one process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, time.perf_counter() - began


def repeated(words: list[str], folder: Path, times: int) -> dict[str, float]:
    """Median and best CPU seconds, and median wall seconds, of a process that has run once before."""
    cost(words, folder)  # writes the byte code
    found = [cost(words, folder) for _ in range(times)]
    cpu = [seconds for seconds, _ in found]
    wall = [seconds for _, seconds in found]
    return {
        "cpu_s": round(statistics.median(cpu), 3),
        "cpu_best_s": round(min(cpu), 3),
        "wall_s": round(statistics.median(wall), 3),
    }


def environment() -> dict[str, float]:
    """Size and number of packages of the environment that this runs in."""
    files = (path for path in Path(sys.prefix).rglob("*") if path.is_file() and not path.is_symlink())
    return {
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6),
        "packages": len({dist.metadata["Name"].lower() for dist in metadata.distributions()}),
    }


def folders(folder: Path, counts: list[int], backends: list[str], rounds: int) -> list[dict[str, object]]:
    """Every backend on every folder, one after the other in each round: they meet the same machine."""
    rows: list[dict[str, object]] = []
    for count in counts:
        place = folder / f"photos-{count}"
        place.mkdir()
        for number in range(count):
            image = render(number % 100, height=480, width=360).image
            Image.fromarray(image).save(place / f"{number:04}.jpg", quality=92)
        found: dict[str, list[tuple[float, float]]] = {backend: [] for backend in backends}
        for _ in range(rounds):
            for backend in backends:
                words = ["predict", str(place), "--no-overlay", "--json", "out.json", "--backend", backend]
                found[backend].append(cost(["-m", "hourglass", *words], folder))
        for backend, costs in found.items():
            cpu = statistics.median(seconds for seconds, _ in costs)
            wall = statistics.median(seconds for _, seconds in costs)
            row = {"pictures": count, "backend": backend, "cpu_s": round(cpu, 2), "wall_s": round(wall, 2)}
            rows.append(row)
            print(json.dumps(row), flush=True)
    return rows


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument("--folders", type=int, nargs="*", default=[], metavar="PICTURES")
    parser.add_argument("--backends", nargs="*", default=["auto", "onnxruntime", "openvino", "torch"])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        photo = str(photo_path())
        hourglass = ["-m", "hourglass"]
        commands = {
            "python -c pass": ["-c", "pass"],
            **{f"import {name}": ["-c", f"import {name}"] for name in IMPORTS},
            "hourglass --help": [*hourglass, "--help"],
            "predict photo": [*hourglass, "predict", photo],
            "predict photo, JSON alone": [*hourglass, "predict", photo, "--no-overlay", "--json", "out.json"],
        }
        told: dict[str, object] = {"environment": environment()}
        print(json.dumps(told), flush=True)
        for name, words in commands.items():
            print(json.dumps({name: repeated(words, folder, options.times)}), flush=True)
        if options.folders:
            folders(folder, options.folders, options.backends, options.rounds)


if __name__ == "__main__":
    main()
