"""The rows of docs/benchmarks.md, measured on the machine at hand, and how they are printed."""

from collections.abc import Callable, Sequence
from typing import Any

from hourglass.bench.predicting import benchmark_predicting
from hourglass.bench.training import benchmark_training
from hourglass.recipe.network import NetworkRecipe

HG1, HG2 = NetworkRecipe(stacks=1), NetworkRecipe(stacks=2)
SMALL = NetworkRecipe(stacks=2, features=128)

TRAINING = ((HG1, 256, 32), (HG2, 256, 8), (HG2, 256, 32), (SMALL, 128, 16), (SMALL, 192, 16))
"""Network, side of the crop, batch."""

PREDICTING = (
    (HG2, 256, 1, "torch", "auto"),
    (HG2, 256, 1, "onnxruntime", "fp32"),
    (HG2, 256, 1, "openvino", "fp32"),
    (HG2, 256, 1, "openvino", "bf16"),
    (HG2, 256, 1, "openvino", "int8"),
    (HG2, 256, 32, "torch", "auto"),
    (HG2, 256, 32, "onnxruntime", "fp32"),
    (HG2, 256, 32, "openvino", "fp32"),
    (HG2, 256, 32, "openvino", "bf16"),
    (HG2, 256, 32, "openvino", "int8"),
    (SMALL, 128, 1, "torch", "auto"),
    (SMALL, 128, 1, "openvino", "bf16"),
    (SMALL, 192, 1, "torch", "auto"),
    (SMALL, 192, 1, "openvino", "bf16"),
    (SMALL, 192, 1, "openvino", "int8"),
)
"""Network, side of the crop, batch, backend, precision."""

HEAD = (
    "what",
    "network",
    "input x batch",
    "images/s",
    "plain images/s",
    "ratio (range)",
    "of the matmul rate",
    "loader",
)


def measure_table(rounds: int, watch: Callable[[int, int], None] | None = None) -> list[dict[str, Any]]:
    """Every row, one after the other; `watch` is called with (rows done, rows in all).

    Raises EngineError, saying what to install, where a backend is missing.
    """
    rows: list[dict[str, Any]] = []
    total = len(TRAINING) + len(PREDICTING)
    for network, input_px, batch_size in TRAINING:
        rows.append(benchmark_training(network, input_px, batch_size, rounds))
        if watch is not None:
            watch(len(rows), total)
    for network, input_px, batch_size, backend, precision in PREDICTING:
        rows.append(
            benchmark_predicting(network, input_px, batch_size, rounds, backend=backend, precision=precision)
        )
        if watch is not None:
            watch(len(rows), total)
    return rows


def numbers(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows for people, one cell for each word of `HEAD`."""
    table: list[tuple[str, ...]] = []
    for row in rows:
        low, high = row["ratio_range"]
        share = row.get("share_of_bf16_matmul", row.get("share_of_matmul"))
        how = f", {row['backend']} {row['precision']}" if "backend" in row else ""
        table.append(
            (
                row["what"] + how,
                row["network"],
                f"{row['input_px']} px x {row['batch_size']}",
                f"{row['images_per_s']:.1f}",
                f"{row['plain_images_per_s']:.1f}",
                f"{row['ratio']:.2f} ({low:.2f} to {high:.2f}, {row['rounds']} rounds)",
                f"{share:.0%}",
                f"{row['loader_over_step']:.1f} x the step" if "loader_over_step" in row else "",
            )
        )
    return table


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table as docs/benchmarks.md has it."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    lines += ["| " + " | ".join(cells) + " |" for cells in numbers(rows)]
    return "\n".join(lines)
