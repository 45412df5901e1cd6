"""`doctor`: what this machine can and cannot do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobyshell.commands.registry import READ, switch, verb
from mobyshell.commands.results import Rows

if TYPE_CHECKING:
    from mobyshell.commands.context import Context


@verb(
    "doctor", "",
    switch("--all", "what works, too"),
    effect=READ, example="doctor --all",
)  # fmt: skip
def doctor(ctx: Context, *, all: bool) -> Rows:
    """Say what is missing on this machine, which feature that costs, and how to get it."""
    from mobyshell.core.linux.probe import probe

    found = probe()
    rows = [
        {"ok": one.ok, "feature": one.feature, "detail": one.detail, "costs": one.costs,
         "remedy": one.remedy}
        for one in found
        if all or not one.ok
    ]  # fmt: skip
    works = sum(one.ok for one in found)
    ctx.say(f"{works} of {len(found)} work here" + ("" if all else "; --all shows them"))
    columns = (("ok", "", "check"), ("feature", "FEATURE", "id"), ("detail", "FOUND", "text"),
               ("costs", "COSTS", "text"), ("remedy", "HOW TO GET IT", "text"))  # fmt: skip
    return Rows(columns, rows, "feature")
