import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from hourglass.cli.models import models
from hourglass.models import catalogue
from hourglass.models.ablations import compare_designs

app = typer.Typer()
app.command()(models)

KEYS = ["name", "parameters", "gflops", "input_px", "joints", "scores", "source"]
KEYS += ["counts_published", "why", "recipe", "network"]


def run(*arguments: object, columns: int = 160) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": str(columns)})


def told(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json", "-")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def lines(result: Result) -> list[str]:
    """What was printed, without frames and surplus space."""
    assert result.exit_code == 0, result.output
    return [" ".join(line.replace("│", " ").split()) for line in result.stdout.splitlines()]


@pytest.fixture
def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole catalogue takes seconds; two entries show as much."""
    few = tuple(entry for entry in catalogue.PUBLISHED if entry.name in ("hg1", "hg1_flic"))
    monkeypatch.setattr(catalogue, "PUBLISHED", few)


@pytest.mark.usefixtures("two_networks")
def test_the_table_has_a_row_for_each_network() -> None:
    printed = lines(run(columns=250))
    assert any(line.startswith("hg1 3.426 10.30 256 px - Stacked Hourglass") for line in printed)
    assert any(line.startswith("hg1_flic 13.262 27.98 256 px PCK@0.2 wrist 95.2 FLIC") for line in printed)


@pytest.mark.usefixtures("two_networks")
def test_json_of_the_table_has_the_same_numbers_and_stable_keys(tmp_path: Path) -> None:
    answer = told()
    assert list(answer) == ["networks"]
    assert [list(row) for row in answer["networks"]] == [KEYS, KEYS]
    first = answer["networks"][0]
    assert first["name"] == "hg1"
    assert first["parameters"] == 3_426_448
    assert first["gflops"] == pytest.approx(10.300686, abs=1e-6)
    assert first["network"] == ["network.stacks=1"]
    file = tmp_path / "deep" / "models.json"
    assert "hg1_flic" in run("--json", file).stdout
    assert json.loads(file.read_text()) == answer


def test_one_network_in_detail() -> None:
    printed = lines(run("residual_stacked"))
    assert "measured 31.022 M parameters, 61.93 GFLOPs" in printed
    assert "for one crop of 256 px and 17 joints" in printed
    assert "published 31.1 M (slides); 31.092 M in the code that fits them" in printed
    assert "score PCK 81.1 COCO" in printed
    assert ("recipe hourglass train coco_residual_stacked data.root=FOLDER data.annotations=FILE") in printed
    assert "options network.build=residual_stacked network.stacks=5 network.blocks=2" in printed
    assert "hourglasses (x 5) 27.889 256 x 64 x 64" in printed


def test_json_of_one_network_has_its_parts() -> None:
    answer = told("hg1")
    assert list(answer) == [*KEYS, "parts"]
    assert answer["parts"][0] == {
        "name": "stem",
        "count": 1,
        "parameters": 352_640,
        "output": [256, 64, 64],
    }
    assert sum(part["parameters"] for part in answer["parts"]) == answer["parameters"]


def test_designs_are_compared() -> None:
    printed = lines(run("--designs"))
    assert "HG 209 26.109 HG-Stacked +1.5 % -0.4 %" in printed
    assert "HG-Stacked 206 26.212" in printed
    rows = told("--designs")["designs"]
    assert [row["name"] for row in rows] == [design.name for design in compare_designs()]
    assert list(rows[0]) == [
        "name",
        "convolutions",
        "parameters",
        "counterpart",
        "convolution_ratio",
        "parameter_ratio",
    ]


def test_a_diagram_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "hg1.svg"
    result = run("hg1", "--diagram", file)
    assert f"diagram: {file}" in "".join(result.stdout.split("\n"))
    assert "hg1: Stacked Hourglass Networks, ECCV 2016" in file.read_text()
    # JSON stays alone on standard output.
    assert told("hg1", "--diagram", tmp_path / "again.svg")["name"] == "hg1"
    assert (tmp_path / "again.svg").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hg3"], "no published network 'hg3'; known are hg1, "),
        (["hg1", "--designs"], "--designs compares five networks"),
        (["--diagram", "all.svg"], "--diagram draws one network"),
        (["hg1", "--diagram", "hg1.txt"], r"hg1\.txt: a diagram is a \.svg, \.png or \.pdf file"),
        (["hg1", "--json", "."], "is a folder"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, ValueError)
    assert not result.stdout
    with pytest.raises(ValueError, match=message):
        raise result.exception


def test_a_wrong_name_ends_with_exit_code_2() -> None:
    command = [sys.executable, "-m", "hourglass", "models", "hg3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hourglass: there is no published network 'hg3'")
    assert len(done.stderr.strip().splitlines()) == 1


def test_help_shows_an_example_and_does_not_wait_for_torch() -> None:
    result = run("--help")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "hourglass models hg2" in shown
    assert "hourglass models hg2 --diagram hg2.svg" in shown
    code = "import sys, hourglass.cli.models; sys.exit('torch' in sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, env={"PYTHONPATH": ":".join(sys.path)}
    )
