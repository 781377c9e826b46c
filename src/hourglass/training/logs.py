"""What a run leaves behind while it goes: JSONL rows, TensorBoard, and a progress display."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Row = Mapping[str, Any]


def read_rows(path: Path, up_to_step: int | None = None) -> list[dict[str, Any]]:
    """Rows of a JSONL log, up to a step; a last line cut off by a crash is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if up_to_step is None or row["step"] <= up_to_step:
            rows.append(row)
    return rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


class RunLog:
    """Writes rows to `log.jsonl` and TensorBoard, and shows progress on standard error.

    On resuming, rows after `start_step` are dropped, so the log reads as if nothing had happened.
    A quiet log (other ranks') writes nothing. With a `watch` function each row goes there instead of
    being shown. `metric` is the key of validation rows that is shown.
    """

    def __init__(
        self,
        folder: Path,
        total_steps: int,
        start_step: int,
        quiet: bool = False,
        watch: Callable[[Row], None] | None = None,
        metric: str = "PCK@0.2",
    ) -> None:
        self.folder, self.quiet, self.watch, self.metric = folder, quiet, watch, metric
        self._name = metric.partition("@")[0]
        self._shown: dict[str, Any] = {"loss": "-", self._name: "-", "rate": "-"}
        if quiet:
            return
        from torch.utils.tensorboard import SummaryWriter

        path = folder / "log.jsonl"
        kept = read_rows(path, start_step) if start_step else []
        self._file = open(path, "w")  # noqa: SIM115 - closed in __exit__
        for row in kept:
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for row in reversed(kept):
            if metric in row:
                self._shown[self._name] = _percent(row[metric])
                break
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step)
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(
                f"loss {{task.fields[loss]}}  {metric} {{task.fields[{self._name}]}}  "
                "{task.fields[rate]} images/s"
            ),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            disable=watch is not None or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=start_step, **self._shown)
        self._total = total_steps

    def __enter__(self) -> "RunLog":
        if not self.quiet:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.quiet:
            self._bar.stop()
            self._file.close()
            self._board.close()

    def advance(self, step: int) -> None:
        if not self.quiet:
            self._bar.update(self._task, completed=step)

    def write(self, row: Row) -> None:
        """Record one row; `kind` is `train` or `val`, `step` counts optimiser steps taken."""
        if self.quiet:
            return
        self._file.write(json.dumps(dict(row)) + "\n")
        self._file.flush()
        for key, value in row.items():
            if isinstance(value, int | float) and key not in ("step", "epoch"):
                self._board.add_scalar(f"{row['kind']}/{key}", value, row["step"])
        if self.watch is not None:
            self.watch(row)
            return
        if row["kind"] == "train":
            self._shown.update(loss=f"{row['loss']:.5f}", rate=f"{row['images_per_s']:.0f}")
        else:
            each = [
                f"{title} {_percent(source[self.metric])}" for title, source in row.get("sources", {}).items()
            ]
            self._shown[self._name] = _percent(row[self.metric]) + (f" ({', '.join(each)})" if each else "")
        self._bar.update(self._task, **self._shown)
        if self._bar.disable:
            left = row.get("eta_s")
            eta = f"  ETA {left / 60:.0f} min" if left is not None else ""
            shown = "  ".join(f"{k} {v}" for k, v in self._shown.items())
            self.say(f"step {row['step']}/{self._total}  epoch {row['epoch']:.2f}  {shown}{eta}")

    def say(self, text: str) -> None:
        if not self.quiet and self.watch is None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
