"""What `hourglass evaluate` prints."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table


def print_report(report: dict[str, Any]) -> None:
    """The tables of PCK and OKS, as far as there are any, and remarks under them, on standard output."""
    console = Console(highlight=False)
    if "metrics" in report:
        _print_pck(report, console)
    if report.get("stages"):
        _print_stages(report, console)
    if report.get("oks"):
        _print_oks(report, console)
    for line in _remarks(report):
        console.print(line, soft_wrap=True, markup=False)


def _title(report: dict[str, Any]) -> str:
    return f"{report['weights']} on {report['data']} {report['split']}".strip()


def _print_pck(report: dict[str, Any], console: Console) -> None:
    metrics = report["metrics"]
    table = Table("joint", title=_title(report))
    table.add_column("counted", justify="right")
    for metric in metrics:
        table.add_column(metric, justify="right")

    def row(label: str, shares: dict[str, Any], key: str, counted: int, style: str = "") -> None:
        cells = (_cell(shares[metric][key]) for metric in metrics)
        table.add_row(label.replace("_", " "), str(counted), *cells, style=style)

    for joint, counted in report["joints"].items():
        row(joint, report["joint_metrics"], joint, counted)
    table.add_section()
    total = sum(report["joints"].values())
    row("mean of joints", metrics, "mean", total, "bold")
    row("all joints pooled", metrics, "pooled", total)
    console.print(table)


def _print_stages(report: dict[str, Any], console: Console) -> None:
    """What each stage answers, by groups of joints: the first and the last are the papers' comparison."""
    stages, metric = report["stages"], next(iter(report["metrics"]))
    table = Table("stage", title=f"{metric} stage by stage: {_title(report)}")
    for group in stages[0]:
        table.add_column(group.replace("_", " "), justify="right", style="bold" if group == "mean" else "")
    for i, scores in enumerate(stages):
        table.add_row(str(i + 1), *(_cell(value) for value in scores.values()))
    console.print(table)


def _print_oks(report: dict[str, Any], console: Console) -> None:
    scores = report["oks"]["scores"]
    table = Table(title=f"OKS, {'detected' if report['boxes'] else 'annotated'} boxes: {_title(report)}")
    for name in scores:
        table.add_column(name, justify="right", no_wrap=True, style="bold" if name == "AP" else "")
    table.add_row(*(_cell(value) for value in scores.values()))
    console.print(table)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _hidden_line(told: dict[str, Any]) -> str:
    hidden, visible = told["hidden"], told["visible"]
    said = (
        f"hidden joints found at {told['threshold']:g}: {_cell(hidden['found'])} % of {hidden['counted']} "
        f"(visible ones {_cell(visible['found'])} % of {visible['counted']})"
    )
    if hidden["told"] is not None:
        said += (
            f"; said to be hidden {_cell(hidden['told'])} % of them, {_cell(visible['told'])} % of visible"
        )
    return said


def _remarks(report: dict[str, Any]) -> Iterator[str]:
    """What stands under the tables."""
    if "metrics" in report:
        without = report["people"] - report["people_counted"]
        yield f"{report['people']} people" + (
            f", {without} not counted for want of a {report['reference']}" if without else ""
        )
    if told := report.get("hidden"):
        yield _hidden_line(told)
    if oks := report.get("oks"):
        yield f"OKS: {oks['detections']} answers for {oks['people']} people in {oks['pictures']} pictures"
    elif report.get("oks_left_out"):
        yield f"no OKS: {report['oks_left_out']}"
    if "device" in report:
        yield (
            f"flip test {'on' if report['flip_test'] else 'off'}, input {report['input_px']} px, "
            f"{report['precision']} on {report['device']}: {report['people_per_s']:.1f} people/s, "
            f"{report['seconds']:.1f} s in all"
        )
    for what in ("predictions", "results", "extremes", "figure"):
        if report.get(what):
            yield f"{what}: {report[what]}"
