"""Measure every row of docs/benchmarks.md on this machine and print the table and its JSON.

    python benchmarks/table.py [ROUNDS] > table.md

The same as `hourglass benchmark table --markdown`. Takes about fifteen minutes on two cores; let nothing else
run meanwhile.
"""

import json
import sys

from hourglass.benchmark.table import markdown, measure_table


def main() -> None:
    """Print the Markdown table, then the rows as JSON."""
    rows = measure_table(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    print(markdown(rows))
    print("\n```json\n" + json.dumps(rows, indent=1) + "\n```")


if __name__ == "__main__":
    main()
