"""Train and measure every design of a set; what is finished is not done again."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hourglass.bench.ablation.compare import Outcome, save_outcome
from hourglass.bench.ablation.sets import AblationSet, Design
from hourglass.core.files import write_text_atomically
from hourglass.core.structs import OCCLUDED
from hourglass.data.loading.records import load_records
from hourglass.evaluation.evaluate import aligned, hidden_joints, people_of, predict_stages, score
from hourglass.evaluation.metrics.pck import relative_distance
from hourglass.evaluation.metrics.protocols import JHU_SLIDES
from hourglass.evaluation.metrics.scores import evaluate_protocol
from hourglass.models.build import channels_last
from hourglass.models.parts import forward_flops, trainable_parameters
from hourglass.recipe.network import RecipeError
from hourglass.recipe.recipe import Recipe, recipe_to_yaml
from hourglass.training.logs import read_rows
from hourglass.training.loop import CHECKPOINT, LAST, METRIC, train
from hourglass.weights.facts import WeightFacts
from hourglass.weights.load import load_network

RESULT, OUTCOME = "result.json", "people.npz"
HARD_PARTS = ("wrist", "elbow", "knee", "ankle")
"""What the papers average in their ablation curves (workshop figure 4, ECCV figure 8)."""

Watch = Callable[[Design, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class RunResult:
    """What one design with one seed came to.

    Args:
        design, seed: which run.
        parameters: trainable ones.
        gflops: of one forward pass on one crop, 2 for a multiply-add.
        steps, seconds: of training, validation while training included.
        stages: per supervised stage PCK@0.2 in percent over the validation people with a flip test:
            `{"mean": ..., "<joint>": ...}`; the last stage is the answer.
        people: how many validation people were counted.
        slides: the answer's PCK by the protocol `jhu-slides`, in percent; None in results of older versions.
        hidden: what `evaluate.hidden_joints` says of the answer; None where nobody hides a joint.
    """

    design: str
    seed: int
    parameters: int
    gflops: float
    steps: int
    seconds: float
    stages: tuple[dict[str, float | None], ...]
    people: int
    slides: float | None = None
    hidden: dict[str, Any] | None = None

    @property
    def answer(self) -> dict[str, float | None]:
        """The last stage's scores."""
        return self.stages[-1]


def run_folder(out: Path, design: Design, seed: int) -> Path:
    """Where one run of a set lives."""
    return out / f"{design.folder}-seed{seed}"


def hard_joints(scores: Mapping[str, float | None]) -> float | None:
    """Mean over wrists, elbows, knees and ankles of per-joint scores; None where none was counted."""
    found = [v for joint, v in scores.items() if joint.endswith(HARD_PARTS) and v is not None]
    return sum(found) / len(found) if found else None


def load_result(folder: Path, recipe: Recipe) -> RunResult | None:
    """A finished run's result, or None. Raises RecipeError when it was run with another recipe."""
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        then, result = raw.pop("recipe"), RunResult(**{**raw, "stages": tuple(raw["stages"])})
    except (ValueError, TypeError, KeyError) as error:
        raise RecipeError(f"{path} is not a whole result: remove it to measure again") from error
    if then != _portable(recipe):
        raise RecipeError(f"{folder} holds a run with other settings: remove it, or give another --out")
    return result


def run_set(ablation: AblationSet, out: Path, watch: Watch, accelerator: str = "auto") -> list[RunResult]:
    """Train and measure what is not finished yet, and return every run's result.

    Each run has a folder of its own below `out`, as `hourglass train` writes it, with `result.json` once
    it is measured. Stopped runs go on from their checkpoints. `watch` gets every log row of every run,
    and `{"kind": "done", ...}` when one is finished. Raises as `training.loop.train` does.
    """
    recipes = {(d.name, seed): ablation.load(d, seed) for d, seed in ablation.runs()}
    results = []
    for design, seed in ablation.runs():
        recipe = recipes[design.name, seed]
        folder = run_folder(out, design, seed)
        result = load_result(folder, recipe)
        if result is None:
            result = _run(design, seed, recipe, folder, watch, accelerator)
        results.append(result)
        watch(design, seed, {"kind": "done", METRIC: result.answer["mean"], "seconds": result.seconds})
    return results


def _run(
    design: Design, seed: int, recipe: Recipe, folder: Path, watch: Watch, accelerator: str
) -> RunResult:
    def tell(row: Mapping[str, Any]) -> None:
        watch(design, seed, row)

    resume = (folder / CHECKPOINT).exists()
    train(recipe, folder, design.folder, resume, accelerator, watch=tell)
    rows = read_rows(folder / "log.jsonl")
    steps = max(int(row["step"]) for row in rows)
    network, facts = load_network(folder / LAST)
    measured = measure(network, facts, recipe)
    save_outcome(folder / OUTCOME, measured.outcome)
    result = RunResult(
        design.name,
        seed,
        trainable_parameters(network),
        round(forward_flops(network, recipe.data.input_px) / 1e9, 4),
        steps,
        round(_seconds(rows, recipe.train.batch_size), 1),
        measured.stages,
        measured.people,
        measured.slides,
        measured.hidden,
    )
    text = json.dumps({**asdict(result), "recipe": _portable(recipe)}, indent=1)
    write_text_atomically(folder / RESULT, text + "\n")
    return result


@dataclass(frozen=True)
class Measured:
    """What a network scores; `outcome` is its answer person by person, the rest as in `RunResult`."""

    stages: tuple[dict[str, float | None], ...]
    people: int
    slides: float | None
    hidden: dict[str, Any] | None
    outcome: Outcome


def measure(network: nn.Module, facts: WeightFacts, recipe: Recipe) -> Measured:
    """Score a network on all of the recipe's validation people, with a flip test."""
    records = load_records(recipe.data, recipe.data.val_split)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = torch.bfloat16 if recipe.train.precision == "bf16" else torch.float32
    network = channels_last(network).to(device)
    stages = predict_stages(
        network, facts, records, device=device, precision=precision, workers=recipe.data.workers
    )
    scored = [score(predictions, records) for predictions in stages]
    people, answer = people_of(records), stages[-1]
    distance, counted = relative_distance(*aligned(answer, records))
    outcome = Outcome(np.where(counted, distance, np.nan).astype(np.float32), people.visibility == OCCLUDED)
    slides = float(evaluate_protocol(JHU_SLIDES, people, answer.keypoints).values[0])
    return Measured(
        tuple(s["metrics"][METRIC] for s in scored),
        scored[-1]["people_counted"],
        round(slides, 3) if np.isfinite(slides) else None,
        hidden_joints(answer, records),
        outcome,
    )


def _seconds(rows: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    """Wall time of a run from its log: steps at the rates that were measured, and validations."""
    total, step = 0.0, 0
    for row in rows:
        if row["kind"] == "val":
            total += float(row["seconds"])
        else:
            total += (row["step"] - step) * batch_size / float(row["images_per_s"])
            step = row["step"]
    return total


def _portable(recipe: Recipe) -> str:
    """The recipe without what moves the work but not its result."""
    data = replace(recipe.data, root="", workers=1, cache_gb=0.0)
    return recipe_to_yaml(replace(recipe, data=data))
