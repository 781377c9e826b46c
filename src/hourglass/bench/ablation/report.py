"""What a set of runs says: a Markdown report with tables, curves and pictures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from hourglass.bench.ablation.compare import DRAWS, Difference, Outcome, difference, load_outcome
from hourglass.bench.ablation.run import OUTCOME, RunResult, hard_joints, load_result, run_folder
from hourglass.bench.ablation.sets import AblationSet, Claim, Design
from hourglass.bench.compare import machine
from hourglass.core import geometry
from hourglass.core.arrays import RGB
from hourglass.core.files import write_atomically, write_text_atomically
from hourglass.core.skeleton import SKELETONS
from hourglass.data.loading.images import read_image
from hourglass.drawing.draw import contact_sheet, draw_pose
from hourglass.drawing.plots import compare_curves
from hourglass.evaluation.evaluate import predict_stages
from hourglass.evaluation.metrics.pck import joint_groups, mean_of_groups
from hourglass.inference.inputs_outputs import write_picture
from hourglass.training.logs import read_rows
from hourglass.training.loop import LAST
from hourglass.weights.load import load_network

REPORT, JSON = "report.md", "report.json"
CURVES, STAGES, PEOPLE = "curves.png", "stages.png", "people.png"
_SHOWN_PEOPLE = 4
_PEOPLE_SEED = 4_000_000


@dataclass(frozen=True)
class Row:
    """One design and its finished runs."""

    design: Design
    results: tuple[RunResult, ...]
    outcomes: tuple[Outcome, ...] = ()
    """Of the runs that kept them, in the order of `results`; older versions kept none."""

    def mean_of(self, values: Sequence[float | None]) -> str:
        """Mean, and the standard deviation over seeds where there are several, in percent."""
        known = [v for v in values if v is not None]
        if not known:
            return "-"
        spread = f" ± {stdev(known):.1f}" if len(known) > 1 else ""
        return f"{fmean(known):.1f}{spread}"


def collect(ablation: AblationSet, out: Path) -> list[Row]:
    """Every design with what is finished of it below `out`; raises as `load_result` does."""
    rows = []
    for design in ablation.designs:
        found, outcomes = [], []
        for seed in ablation.seeds:
            folder = run_folder(out, design, seed)
            result = load_result(folder, ablation.load(design, seed))
            if result is not None:
                found.append(result)
                outcome = load_outcome(folder / OUTCOME)
                outcomes += [] if outcome is None else [outcome]
        rows.append(Row(design, tuple(found), tuple(outcomes)))
    return rows


@dataclass(frozen=True)
class Tested:
    """A claim at one threshold, and what the runs say of it; None where a design has no run to compare."""

    claim: Claim
    threshold: float
    found: Difference | None


def tested_claims(ablation: AblationSet, rows: Sequence[Row]) -> list[Tested]:
    """Every claim of the set at each of its thresholds; raises as `difference` does."""
    outcomes = {row.design.name: row.outcomes for row in rows}
    tested = []
    for claim in ablation.claims:
        better, worse = outcomes[claim.better], outcomes[claim.worse]
        for threshold in ablation.thresholds:
            found = difference(better, worse, threshold, claim.joints) if better and worse else None
            tested.append(Tested(claim, threshold, found))
    return tested


def write_report(ablation: AblationSet, out: Path) -> Path:
    """Write report.md, report.json and the figures beside the runs, and return the first.

    Designs without a finished run are listed as such. Raises ValueError when nothing is finished, and
    OSError naming the file that can't be written.
    """
    rows = collect(ablation, out)
    done = [row for row in rows if row.results]
    if not done:
        raise ValueError(f"{out} holds no finished run of {ablation.name}")
    write_atomically(out / CURVES, lambda part: _draw_curves(done, out, part))
    staged = [row for row in done if len(row.results[0].stages) > 1]
    if staged:
        write_atomically(out / STAGES, lambda part: _draw_stages(staged, part))
        sheet = people_sheet(ablation, staged, out)
        if sheet is not None:
            write_picture(out / PEOPLE, sheet)
    results = [asdict(result) for row in done for result in row.results]
    tested = tested_claims(ablation, rows)
    claims = [
        {
            **asdict(one.claim),
            "threshold": one.threshold,
            "difference": None if one.found is None else round(one.found.mean, 3),
            "interval": None if one.found is None else [round(one.found.low, 3), round(one.found.high, 3)],
            "verdict": None if one.found is None else one.found.verdict,
        }
        for one in tested
    ]
    content = {**machine(), "runs": results, "claims": claims}
    write_text_atomically(out / JSON, json.dumps(content, indent=1) + "\n")
    write_text_atomically(out / REPORT, _markdown(ablation, rows, staged, tested, (out / PEOPLE).exists()))
    return out / REPORT


def _draw_curves(rows: Sequence[Row], out: Path, path: Path) -> None:
    curves = {}
    for row in rows:
        runs = []
        for result in row.results:
            log = read_rows(run_folder(out, row.design, result.seed) / "log.jsonl")
            points = [(r["step"], hard_joints(r["joints"])) for r in log if r["kind"] == "val"]
            runs.append([(step, value) for step, value in points if value is not None])
        curves[row.design.name] = runs
    compare_curves(curves, path, "PCK@0.2 of wrists, elbows, knees and ankles", "step", "%")


def _draw_stages(rows: Sequence[Row], path: Path) -> None:
    curves = {
        row.design.name: [
            [(i + 1, scores["mean"]) for i, scores in enumerate(r.stages) if scores["mean"] is not None]
            for r in row.results
        ]
        for row in rows
    }
    compare_curves(curves, path, "PCK@0.2 of each stage's answer", "stage", "%", whole=True)


def people_sheet(ablation: AblationSet, rows: Sequence[Row], out: Path, tile_px: int = 176) -> RGB | None:
    """First and last stage's answers of each design, on rendered people, so that it may be published.

    None where the skeleton is none that can be rendered. Raises as `load_network` does.
    """
    from hourglass.synthetic.render import load_records

    tiles: list[RGB] = []
    titles: list[str] = []
    for row in rows:
        network, facts = load_network(run_folder(out, row.design, row.results[0].seed) / LAST)
        if facts.skeleton.name not in SKELETONS:
            return None
        people = load_records(facts.skeleton, _SHOWN_PEOPLE, _PEOPLE_SEED)
        stages = predict_stages(network, facts, people)
        for i, person in enumerate(people):
            matrix = geometry.crop_matrix(person.center, person.side_px, tile_px)
            crop = geometry.warp(read_image(person.image, person.image_id), matrix, tile_px)
            for name, stage in (("first", stages[0]), ("last", stages[-1])):
                joints = geometry.apply(matrix, stage.keypoints[i]).astype(np.float32)
                tiles.append(draw_pose(crop, joints, None, facts.skeleton))
                titles.append(f"{row.design.name}, {name} stage")
    return contact_sheet(tiles, 2 * _SHOWN_PEOPLE, titles, cell_px=tile_px)


def _markdown(
    ablation: AblationSet,
    rows: Sequence[Row],
    staged: Sequence[Row],
    tested: Sequence[Tested],
    pictures: bool,
) -> str:
    recipe = ablation.load(Design("what all share"), ablation.seeds[0])
    done = [row for row in rows if row.results]
    first = done[0].results[0]
    here = machine()
    seeds = ", ".join(map(str, ablation.seeds))
    spread = (
        f"± is the standard deviation over seeds {seeds}" if len(ablation.seeds) > 1 else f"One seed, {seeds}"
    )
    lines = [
        f"# {ablation.title}",
        "",
        f"`hourglass ablate {ablation.name}`, report of {here['date']}, {here['device']}, "
        f"{here['threads']} thread(s), torch {here['torch']}. Every run: {first.steps} steps of "
        f"{recipe.train.batch_size} crops of {recipe.data.input_px} px unless the design says otherwise, "
        f"{recipe.data.name} {recipe.data.train_split}, {recipe.optimiser.name}, {recipe.train.precision}. "
        f"Scored: the last weights, not the best, on {recipe.data.val_split}, {first.people} people, PCK@0.2 "
        f"of the torso in percent, mean of the joints, flip test. {spread}.",
        "",
        f"What the sources say: {ablation.claim}",
        "",
        "| design | what | M parameters | GFLOPs | PCK@0.2 | wrists, elbows, knees, ankles "
        "| slides' PCK | hidden found / told | minutes | published |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_table_row(row) for row in rows),
        "",
        "The slides' PCK is `jhu-slides`: within a twentieth of the crop. Of hidden joints, where the data "
        "tell them, the share that was found and the share that was called hidden.",
        "",
        f"![curves]({CURVES})",
        "",
    ]
    if tested:
        lines += ["## What is confirmed", "", *_claims_table(ablation, tested), ""]
    if staged:
        lines += [
            "## Stage by stage",
            "",
            *_stage_table(staged),
            "",
            *_joint_table(staged),
            "",
            f"![stages]({STAGES})",
            "",
        ]
    if pictures:
        lines += ["First and last stage on rendered people:", "", f"![people]({PEOPLE})", ""]
    return "\n".join(lines)


def _table_row(row: Row) -> str:
    design = row.design
    if not row.results:
        return f"| {design.name} | {design.about} | | | not run | | | | | {design.published} |"
    first = row.results[0]
    cells = (
        design.name,
        design.about,
        f"{first.parameters / 1e6:.3f}",
        f"{first.gflops:.3f}",
        row.mean_of([r.answer["mean"] for r in row.results]),
        row.mean_of([hard_joints(r.answer) for r in row.results]),
        row.mean_of([r.slides for r in row.results]),
        _hidden_cell(row),
        f"{fmean(r.seconds for r in row.results) / 60:.1f}",
        design.published,
    )
    return f"| {' | '.join(cells)} |"


def _hidden_cell(row: Row) -> str:
    """Shares of the hidden joints, in percent; empty where the data hide none."""
    told = [r.hidden["hidden"] for r in row.results if r.hidden is not None]
    if not told:
        return ""
    return " / ".join(row.mean_of([shares[key] for shares in told]) for key in ("found", "told"))


def _claims_table(ablation: AblationSet, tested: Sequence[Tested]) -> list[str]:
    """Each claim with its difference and interval; only an interval without zero confirms anything."""
    seeds = len(ablation.seeds)
    about = "people and seeds" if seeds > 1 else "people alone, so that nothing is decided with one seed"
    lines = [
        f"Difference in points of PCK, mean of joints; 95 % of {DRAWS} paired draws, of {about}. Confirmed "
        "is what the sources say where the whole interval is above zero, contradicted where it is below.",
        "",
        "| said to be better | than | joints | PCK@ | difference | 95 % | |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in tested:
        claim, found = one.claim, one.found
        said = f"{claim.better}{f' ({claim.source})' if claim.source else ''}"
        cells = [said, claim.worse, claim.joints, f"{one.threshold:g}"]
        if found is None:
            cells += ["", "", "not measured"]
        else:
            cells += [f"{found.mean:+.2f}", f"{found.low:+.2f} to {found.high:+.2f}", found.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _joint_table(rows: Sequence[Row]) -> list[str]:
    """Every stage of every design by groups of joints: as the workshop paper's Figure 5."""
    joints = [name for name in rows[0].results[0].answer if name not in ("mean", "pooled")]
    groups = joint_groups(joints)
    lines = [
        f"| PCK@0.2 | stage | {' | '.join(groups)} | mean |",
        f"|---|---|{'---|' * (len(groups) + 1)}",
    ]
    for row in rows:
        for i in range(len(row.results[0].stages)):
            every = [mean_of_groups(r.stages[i], groups, joints) for r in row.results]
            cells = [row.mean_of([of_run[name] for of_run in every]) for name in groups]
            cells.append(row.mean_of([r.stages[i]["mean"] for r in row.results]))
            lines.append(f"| {row.design.name} | {i + 1} | {' | '.join(cells)} |")
    return lines


def _stage_table(rows: Sequence[Row]) -> list[str]:
    most = max(len(row.results[0].stages) for row in rows)
    lines = [
        f"| PCK@0.2 | {' | '.join(f'stage {i + 1}' for i in range(most))} |",
        f"|---|{'---|' * most}",
    ]
    for row in rows:
        count = len(row.results[0].stages)
        cells = [row.mean_of([r.stages[i]["mean"] for r in row.results]) for i in range(count)]
        lines.append(f"| {row.design.name} | {' | '.join(cells + [''] * (most - count))} |")
    return lines
