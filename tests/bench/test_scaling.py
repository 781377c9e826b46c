"""Exponents of known laws, every axis at toy size, and the command; speed itself is not asserted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hourglass.bench import scaling
from hourglass.bench.scaling import EXPECTED, Point, growths, measure_axis
from hourglass.cli.main import app


def law(exponent: float, axis: str = "stacks") -> list[Point]:
    return [Point(axis, "predicting", value, 0.25 * value**exponent, None) for value in (1, 2, 4, 8)]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.6, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    (growth,) = growths(law(exponent))
    assert growth.exponent == pytest.approx(exponent)
    assert growth.last == pytest.approx(exponent)
    assert growth.worse == (exponent > 1.15)


def test_a_law_that_bends_upwards_at_its_end_is_told() -> None:
    bent = [*law(1.0)[:-1], Point("stacks", "predicting", 8, 0.25 * 14, None)]
    (growth,) = growths(bent)
    assert growth.exponent < 1.3
    assert growth.last == pytest.approx(1.807, abs=1e-3)
    assert growth.worse


def test_width_may_be_square_and_each_kind_of_run_has_its_own_exponent() -> None:
    points = law(2.0, "features") + [
        Point("features", "training", value, float(value), None) for value in (1, 2, 4, 8)
    ]
    found = {growth.what: growth for growth in growths(points)}
    assert found["predicting"].exponent == pytest.approx(2)
    assert found["training"].exponent == pytest.approx(1)
    assert not any(growth.worse for growth in found.values())


@pytest.mark.parametrize("axis", sorted(EXPECTED))
def test_every_axis_is_measured(axis: str) -> None:
    values = {"features": (8, 16), "input_px": (64, 128), "dataset": (2, 4)}.get(axis, (1, 2))
    points = measure_axis(axis, rounds=1, values=values)
    kinds = {"dataset": ["evaluating"], "people": ["predicting"]}.get(axis, ["predicting", "training"])
    assert [(p.value, p.what) for p in points] == [(v, kind) for v in values for kind in kinds]
    assert all(p.seconds > 0 for p in points)


def test_the_command_writes_figures_and_numbers_and_tells_what_grows_too_fast(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    laws = {"stacks": law(1.0), "people": law(1.5, "people")}
    monkeypatch.setattr(scaling, "measure_axis", lambda axis, rounds: laws[axis])
    command = ["benchmark", "scaling", "--out", str(tmp_path), "--json", "-", "--axis"]
    good = CliRunner().invoke(app, [*command, "stacks"])
    assert good.exit_code == 0, good.output
    told = json.loads(good.stdout)
    assert told["growths"][0]["exponent"] == pytest.approx(1)
    assert len(told["points"]) == 4
    assert (tmp_path / "stacks.svg").read_text().count("<svg") == 1
    bad = CliRunner().invoke(app, [*command, "people"])
    assert bad.exit_code == 1
    assert json.loads(bad.stdout)["growths"][0]["worse"]


def test_an_unknown_axis_is_named() -> None:
    with pytest.raises(ValueError, match="--axis 'depth' is not one of stacks, features"):
        measure_axis("depth")
