"""Measure every row of docs/benchmarks.md on this machine and print the table and its JSON.

    python benchmarks/table.py [ROUNDS] > table.md

Takes about four minutes on two cores; let nothing else run meanwhile.
"""

import json
import sys

from hourglass.benchmark import benchmark_predicting, benchmark_training, numbers
from hourglass.recipe import NetworkRecipe

HG1, HG2 = NetworkRecipe(stacks=1), NetworkRecipe(stacks=2)
SMALL = NetworkRecipe(stacks=2, features=128)
TRAINING = ((HG1, 256, 8), (HG1, 256, 32), (HG2, 256, 8), (SMALL, 128, 16), (SMALL, 192, 16))
PREDICTING = ((HG2, 256, 1), (HG2, 256, 8), (SMALL, 128, 1), (SMALL, 128, 32), (SMALL, 192, 1))
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


def main() -> None:
    """Print the Markdown table, then the rows as JSON."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    rows = [benchmark_training(*case, rounds) for case in TRAINING]
    rows += [benchmark_predicting(*case, rounds) for case in PREDICTING]
    print("| " + " | ".join(HEAD) + " |")
    print("|" + "---|" * len(HEAD))
    for cells in numbers(rows):
        print("| " + " | ".join(cells) + " |")
    print("\n```json\n" + json.dumps(rows, indent=1) + "\n```")


if __name__ == "__main__":
    main()
