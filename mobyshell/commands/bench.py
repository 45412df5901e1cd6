"""`bench`: measuring against runc and others, on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mobyshell.commands.registry import FILE, NUMBER, READ, option, verb
from mobyshell.commands.results import Rows
from mobyshell.core.errors import Unsupported, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context


@verb(
    "bench", "run",
    option("-n --rounds", "how many starts of each contestant", NUMBER, default=60),
    option("--tasks", "how many tasks at once", NUMBER, default=100),
    option("--write", "write the page to this file, too", FILE),
    effect=READ, example="bench run -n 2 --tasks 2",
)  # fmt: skip
def run(ctx: Context, *, rounds: int, tasks: int, write: str | None) -> Rows:
    """Measure mobyshell against runc, crun, bubblewrap and containerd, taking turns in one run."""
    from mobyshell.bench.run import run_all, write_page

    if os.geteuid() != 0:
        raise Unsupported("bench compares with runc as root", hint="run it as root")
    if not 1 <= rounds <= 10_000 or not 1 <= tasks <= 1000:
        raise UsageError("bench: 1 to 10000 rounds, 1 to 1000 tasks")
    bench = run_all(rounds, tasks, ctx.say)
    if write is not None:
        write_page(write, bench)
    columns = (("name", "MEASURED", "id"), ("value", "MOBYSHELL", "text"), ("peer", "PEER", "text"),
               ("ratio", "RATIO", "text"), ("goal", "GOAL", "text"), ("met", "", "check"))  # fmt: skip
    rows = [
        {"name": one.name, "value": one.value, "peer": one.peer,
         "ratio": None if one.ratio is None else round(one.ratio, 3), "goal": one.goal,
         "met": one.met}
        for one in bench.found
    ]  # fmt: skip
    said = "\n".join(f"not measured: {line}" for line in bench.missing)
    return Rows(columns, rows, "name", said)
