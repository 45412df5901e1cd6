"""What the experiments found, as docs/store.md tells it.

python -m tests.faults.record FILE     the table, of the lines that a sweep wrote
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any


def note(experiment: int, what: str, points: int, violations: int, worst: float = 0.0) -> None:
    """Keep a result: how many points of an experiment were tried, how many were in vain, and the
    longest recovery in seconds. To the file $MOBYSHELL_SWEEP_RECORD, if there is one."""
    path = os.environ.get("MOBYSHELL_SWEEP_RECORD")
    if path:
        line = {"experiment": experiment, "what": what, "points": points,
                "violations": violations, "worst": round(worst, 2)}  # fmt: skip
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown, a row for each experiment."""
    rows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        rows[line["experiment"]].append(line)
    said = ["| # | points | violations | worst recovery | of these |", "|---|---|---|---|---|"]
    for number in sorted(rows):
        found = rows[number]
        counted: Counter[str] = Counter()
        for one in found:
            counted[one["what"]] += one["points"]
        parts = ", ".join(f"{what} {points}" for what, points in counted.items())
        worst = max(one["worst"] for one in found)
        said.append(
            f"| {number} | {sum(one['points'] for one in found)} "
            f"| {sum(one['violations'] for one in found)} "
            f"| {f'{worst:.1f} s' if worst else '–'} | {parts} |"
        )
    return "\n".join(said)


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text()
    print(table([json.loads(line) for line in text.splitlines()]))
