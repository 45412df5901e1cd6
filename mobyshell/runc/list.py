"""list: every container of the root."""

from __future__ import annotations

import json
import sys

from mobyshell.core.runtime.list import list_states
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Status
from mobyshell.runc.call import Call, Failure
from mobyshell.runc.state import described

_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


def run(call: Call) -> int:
    """`list`."""
    form = call.flags.text("format", "table")
    root = call.root()
    if call.options.text("root") and not root.is_dir():
        raise Failure(f"open {root}: no such file or directory")
    found = list_states(root)
    if call.flags.on("quiet"):
        sys.stdout.writelines(f"{state.id}\n" for state, _ in found)
    elif form == "table":
        sys.stdout.write(_table(found))
    elif form == "json":
        sys.stdout.write(_json(found))
    else:
        raise Failure("invalid format option")
    return 0


def _json(found: list[tuple[State, Status]]) -> str:
    """One compact array; null for none, as Go writes it."""
    documents = [described(state, now) for state, now in found]
    text = json.dumps(documents or None, separators=(",", ":"), ensure_ascii=False)
    return text + "\n"


def _table(found: list[tuple[State, Status]]) -> str:
    rows = [_COLUMNS]
    for state, now in found:
        one = described(state, now)
        rows.append((one["id"], str(one["pid"]), one["status"], one["bundle"], one["created"],
                     one["owner"]))  # fmt: skip
    # as text/tabwriter does it: at least 12 wide, three spaces between, the last column as it is
    widths = [max(12, *(len(row[n]) + 3 for row in rows)) for n in range(len(_COLUMNS) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)
