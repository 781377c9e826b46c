"""A set from its first run to its report, on a few rendered people."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hourglass.bench.ablation.compare import load_outcome
from hourglass.bench.ablation.report import CURVES, JSON, PEOPLE, STAGES, write_report
from hourglass.bench.ablation.run import OUTCOME, RESULT, hard_joints, load_result, run_folder, run_set
from hourglass.bench.ablation.sets import AblationSet, Claim, Design
from hourglass.data.loading.records import load_records
from hourglass.evaluation.evaluate import people_of, predict_records, score
from hourglass.evaluation.metrics.protocols import JHU_SLIDES
from hourglass.evaluation.metrics.scores import evaluate_protocol
from hourglass.models.parts import trainable_parameters
from hourglass.recipe.network import RecipeError
from hourglass.training.loop import LAST, Interrupted, train
from hourglass.weights.load import load_network

TINY = (
    *("network.features=8", "network.depth=2", "data.input_px=32", "data.people=12", "data.val_people=2"),
    *("train.length.steps=4", "train.batch_size=4", "train.validate_every.steps=2", "train.log_every=2"),
    *("train.checkpoint_every.steps=2", "schedule.warmup.steps=1", "train.precision=fp32"),
)
DESIGNS = (
    Design("Two stacks", (), "a loss after each", "84.7"),
    Design("Sum", ("network.build=hg_stacked_add",), "a loss on the sum"),
)
SET = AblationSet(
    *("tiny", "A tiny set", "synthetic_tiny", DESIGNS, (0, 1), TINY, "Two stacks are best."),
    claims=(Claim("Two stacks", "Sum", source="figure 4"), Claim("Sum", "Two stacks", "hidden")),
    thresholds=(0.2, 0.5),
)


class Watched:
    def __init__(self) -> None:
        self.rows: list[tuple[str, int, Mapping[str, Any]]] = []

    def __call__(self, design: Design, seed: int, row: Mapping[str, Any]) -> None:
        self.rows.append((design.name, seed, row))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Watched]:
    out, watched = tmp_path_factory.mktemp("ablation"), Watched()
    run_set(SET, out, watched)
    return out, watched


def test_every_run_is_trained_and_scored_by_its_last_weights(finished: tuple[Path, Watched]) -> None:
    out, watched = finished
    done = [(name, seed) for name, seed, row in watched.rows if row["kind"] == "done"]
    assert done == [("Two stacks", 0), ("Sum", 0), ("Two stacks", 1), ("Sum", 1)]
    design = DESIGNS[0]
    folder = run_folder(out, design, 1)
    recipe = SET.load(design, 1)
    result = load_result(folder, recipe)
    assert result is not None
    network, facts = load_network(folder / LAST)
    records = load_records(recipe.data, "val")
    again = score(predict_records(network, facts, records), records)
    assert result.answer == again["metrics"]["PCK@0.2"]
    assert len(result.stages) == 2
    assert result.people == again["people_counted"]
    assert result.parameters == trainable_parameters(network)
    assert (result.steps, result.seed, result.design) == (4, 1, "Two stacks")
    assert result.seconds > 0
    assert result.hidden == again["hidden"]
    # Person by person, so that designs can be compared on the same people.
    outcome = load_outcome(folder / OUTCOME)
    assert outcome is not None
    assert outcome.distance.shape == (12, 14)
    right = (outcome.distance <= 0.2).sum(0) / (~np.isnan(outcome.distance)).sum(0)
    assert 100 * right.mean() == pytest.approx(result.answer["mean"], abs=1e-3)
    assert (outcome.hidden == np.stack([r.visibility == 1 for r in records])).all()
    people = people_of(records)
    found = predict_records(network, facts, records)
    slides = evaluate_protocol(JHU_SLIDES, people, found.keypoints)["PCK@0.05 of the crop", "Mean"]
    assert result.slides == pytest.approx(slides, abs=1e-3)


def test_what_is_finished_is_not_trained_again(finished: tuple[Path, Watched]) -> None:
    out, _ = finished
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    watched = Watched()
    results = run_set(SET, out, watched)
    assert len(results) == 4
    assert {row["kind"] for _, _, row in watched.rows} == {"done"}
    assert stamps == {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}


def test_a_stopped_run_goes_on(
    tmp_path: Path, finished: tuple[Path, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("hourglass.bench.ablation.run.train", partial(train, stop_after=3))
        with pytest.raises(Interrupted):
            run_set(SET, tmp_path, Watched())
    first = run_set(replace(SET, seeds=(0,)), tmp_path, Watched())[0]
    whole = load_result(run_folder(finished[0], DESIGNS[0], 0), SET.load(DESIGNS[0], 0))
    assert whole is not None
    assert replace(first, seconds=0) == replace(whole, seconds=0)


def test_other_settings_in_the_same_folder_are_refused(finished: tuple[Path, Watched]) -> None:
    other = replace(SET, overrides=(*TINY, "optimiser.lr=1e-4"))
    with pytest.raises(RecipeError, match="holds a run with other settings"):
        run_set(other, finished[0], Watched())
    moved = replace(SET, overrides=(*TINY, "data.workers=1"))
    assert len(run_set(moved, finished[0], Watched())) == 4


def test_a_broken_result_is_named(finished: tuple[Path, Watched], tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text('{"design": "Two')
    with pytest.raises(RecipeError, match=r"result\.json is not a whole result"):
        load_result(tmp_path, SET.load(DESIGNS[0], 0))
    assert load_result(tmp_path / "nothing", SET.load(DESIGNS[0], 0)) is None


def test_hard_joints_are_the_papers_four() -> None:
    scores = {
        "left_wrist": 10.0,
        "right_elbow": 20.0,
        "left_knee": 30.0,
        "right_ankle": None,
        "head_top": 90.0,
    }
    assert hard_joints(scores) == pytest.approx(20.0)
    assert hard_joints({"neck": 1.0}) is None


def test_the_report_holds_tables_curves_and_pictures(finished: tuple[Path, Watched]) -> None:
    out, _ = finished
    text = write_report(SET, out).read_text()
    runs = [load_result(run_folder(out, DESIGNS[0], seed), SET.load(DESIGNS[0], seed)) for seed in (0, 1)]
    means = [run.answer["mean"] for run in runs if run is not None]
    mean, spread = float(np.mean(means)), float(np.std(means, ddof=1))  # type: ignore[arg-type]
    (line,) = [row for row in text.splitlines() if row.startswith("| Two stacks | a loss")]
    assert f"| {mean:.1f} ± {spread:.1f} |" in line
    assert line.endswith("| 84.7 |")
    assert "Two stacks are best." in text
    assert "hourglass ablate tiny" in text
    # Each claim at each threshold, with an interval, and a verdict that it allows.
    claims = [row for row in text.splitlines() if row.startswith("| Two stacks (figure 4) | Sum | all |")]
    assert [row.split(" | ")[3] for row in claims] == ["0.2", "0.5"]
    told = json.loads((out / JSON).read_text())["claims"]
    assert [(c["better"], c["joints"], c["threshold"]) for c in told] == [
        *(("Two stacks", "all", 0.2), ("Two stacks", "all", 0.5)),
        *(("Sum", "hidden", 0.2), ("Sum", "hidden", 0.5)),
    ]
    for claim in told:
        low, high = claim["interval"]
        wanted = "confirmed" if low > 0 else "contradicted" if high < 0 else "not decided"
        assert claim["verdict"] == wanted
    # Stage by stage for groups of joints, as the paper's Figure 5.
    assert "| PCK@0.2 | stage | head | shoulder | elbow | wrist | hip | knee | ankle | mean |" in text
    assert len([row for row in text.splitlines() if row.startswith("| Two stacks | 1 |")]) == 1
    # Only a design with more than one supervised stage has a table of stages.
    assert "| PCK@0.2 | stage 1 | stage 2 |" in text
    assert len([row for row in text.splitlines() if row.startswith("| Sum | a loss")]) == 1
    for name in (CURVES, STAGES, PEOPLE):
        assert f"]({name})" in text
        with Image.open(out / name) as picture:
            assert min(picture.size) > 100
    assert len(json.loads((out / JSON).read_text())["runs"]) == 4


def test_an_unfinished_set_is_reported_as_such(tmp_path: Path, finished: tuple[Path, Watched]) -> None:
    run_set(replace(SET, seeds=(0,)).only(["Sum"]), tmp_path, Watched())
    text = write_report(SET, tmp_path).read_text()
    assert "| Two stacks | a loss after each | | | not run |" in text
    assert "| Two stacks (figure 4) | Sum | all | 0.2 |  |  | not measured |" in text
    assert "Stage by stage" not in text
    with pytest.raises(ValueError, match="no finished run"):
        write_report(SET, tmp_path / "empty")
