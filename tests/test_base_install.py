"""What predicting needs, and nothing else, in a fresh environment: the commands and lines that README has."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hourglass.cli.demo_pictures import photo_path

ROOT = Path(__file__).parents[1]
LARGEST_MB = 380
MOST_PACKAGES = 24
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""The environment's programs find what is installed there, and not this checkout."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the base alone, installed as a package through the constraints."""
    folder = tmp_path_factory.mktemp("base") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install(folder, str(ROOT))
    return folder


def install(environment: Path, what: str) -> None:
    words = ["-m", "pip", "install", "--disable-pip-version-check", "-q", "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [str(environment / "bin" / "python"), *words, what],
        env=ALONE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def run(environment: Path, folder: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A program of the environment, by name, in a folder; its exit code must be `code`."""
    program = str(environment / "bin" / words[0])
    done = subprocess.run(
        [program, *words[1:]], cwd=folder, env=ALONE, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == code, f"{words}: {done.stdout[-1000:]} {done.stderr[-2000:]}"
    return done


def test_it_is_small_and_has_no_torch(environment: Path, tmp_path: Path) -> None:
    listed = json.loads(run(environment, tmp_path, "pip", "list", "--format", "json").stdout)
    names = {row["name"].lower() for row in listed}
    assert not names & {
        "torch",
        "scipy",
        "matplotlib",
        "safetensors",
        "omegaconf",
        "pyarrow",
        "huggingface-hub",
    }
    assert len(names) <= MOST_PACKAGES, sorted(names)
    size = sum(path.stat().st_size for path in environment.rglob("*") if path.is_file())
    assert size < LARGEST_MB * 1e6


def test_the_demo_runs(environment: Path, tmp_path: Path) -> None:
    run(environment, tmp_path, "hourglass", "demo", "--out", "demo", "--people", "2")
    joints = json.loads((tmp_path / "demo" / "joints.json").read_text())
    assert len(joints["rendered"]) == 2
    assert all(person["median_error_px"] < 30 for person in joints["rendered"])
    assert len(list((tmp_path / "demo").glob("*.png"))) == 4


def test_predict_and_the_readmes_python_agree(environment: Path, tmp_path: Path) -> None:
    shutil.copy(photo_path(), tmp_path / "photo.jpg")
    told = json.loads(run(environment, tmp_path, "hourglass", "predict", "photo.jpg", "--json", "-").stdout)
    (person,) = told["images"][0]["people"]
    assert (tmp_path / "out" / "predict" / "photo_pose.jpg").is_file()
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    (tmp_path / "lines.py").write_text(
        code + "\nimport json, sys\nassert 'torch' not in sys.modules\nprint(json.dumps(pose.to_dict()))\n"
    )
    found = json.loads(run(environment, tmp_path, "python", "lines.py").stdout)
    assert found["joints"] == person["joints"]


@pytest.mark.parametrize(
    ("words", "extra"),
    [(("train", "synthetic_tiny"), "train"), (("serve",), "serve"), (("predict", "clip.mp4"), "video")],
)
def test_what_is_missing_is_one_sentence_with_the_command(
    environment: Path, tmp_path: Path, words: tuple[str, ...], extra: str
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0" * 100)
    if extra == "serve" and (environment / "bin" / "uvicorn").exists():
        pytest.skip("the server's packages are there already")
    told = run(environment, tmp_path, "hourglass", *words, code=2).stderr
    assert told.count("\n") == 1
    assert f"-m pip install 'hourglass-pose[{extra}]'" in told


def test_the_server_answers_with_its_extra(environment: Path, tmp_path: Path) -> None:
    install(environment, f"{ROOT}[serve]")
    words = [str(environment / "bin" / "hourglass"), "serve", "--port", "0"]
    server = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=ALONE)
    try:
        assert server.stderr is not None
        address = re.search(r"http://\S+", server.stderr.readline())
        assert address is not None
        request = urllib.request.Request(
            f"{address[0]}/v1/pose", photo_path().read_bytes(), {"Content-Type": "image/jpeg"}
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer: dict[str, Any] = json.load(response)
    finally:
        server.terminate()
        server.communicate(timeout=60)
    assert server.returncode == 0
    (person,) = answer["images"][0]["people"]
    shutil.copy(photo_path(), tmp_path / "photo.jpg")
    told = json.loads(run(environment, tmp_path, "hourglass", "predict", "photo.jpg", "--json", "-").stdout)
    (alone,) = told["images"][0]["people"]
    for name, joint in alone["joints"].items():
        np.testing.assert_allclose(
            [person["joints"][name][key] for key in "xy"], [joint[key] for key in "xy"], atol=0.1
        )
