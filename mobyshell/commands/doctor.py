"""`doctor`: what this machine can and cannot do."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import READ, switch, verb
from mobyshell.commands.results import Rows
from mobyshell.core.errors import Refused, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context


def _plan(ctx: Context, *, all: bool, store: bool, repair: bool) -> Rows:
    from mobyshell.commands.store import plan_of_check

    if not store:
        raise UsageError("there is a plan for a repair of the store only", hint="--store --plan")
    return plan_of_check(ctx, repair=repair)


@verb(
    "doctor", "",
    switch("--all", "what works, too"),
    switch("--store", "look at what is kept instead, as `store check` does"),
    switch("--repair", "with --store: mend what can be mended, as `store check --repair` does"),
    effect=READ, example="doctor --all", plan=_plan,
)  # fmt: skip
def doctor(ctx: Context, *, all: bool, store: bool, repair: bool) -> Rows:
    """Say what is missing on this machine, which feature that costs, and how to get it.

    With --store it looks at what is kept, and with --repair mends it: `--plan` shows what that would
    do, and at a terminal it is shown and asked about first.
    """
    if repair and ctx.readonly:
        raise Refused("doctor --repair is refused: this is read-only", hint="leave --readonly away")
    if store:
        from mobyshell.commands.store import checked

        return checked(ctx, repair=repair)
    if repair:
        raise UsageError("what is missing on a machine cannot be repaired", hint="--store --repair")
    from mobyshell.core.linux.probe import probe

    found = [
        {"ok": one.ok, "feature": one.feature, "detail": one.detail, "costs": one.costs,
         "remedy": one.remedy}
        for one in probe()
    ] + [_executor(), _criu(), *_places(ctx), *_owners(ctx)]  # fmt: skip
    rows = [one for one in found if all or not one["ok"]]
    works = sum(one["ok"] for one in found)
    said = f"{works} of {len(found)} work here" + ("" if all else "; --all shows them")
    columns = (("ok", "", "check"), ("feature", "FEATURE", "id"), ("detail", "FOUND", "prose"),
               ("costs", "COSTS", "prose"), ("remedy", "HOW TO GET IT", "prose"))  # fmt: skip
    return Rows(columns, rows, "feature", said)


_TRY = "from mobyshell.core.runtime.choose import choose; print(type(choose(print)).__name__)"


def _executor() -> dict[str, Any]:
    """What runs the plans here: tried, and so in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _TRY], capture_output=True, text=True, check=False)
    *why, name = (done.stdout or done.stderr).strip().splitlines() or ["it did not answer"]
    ok = name == "NativeExecutor"
    return {
        "ok": ok, "feature": "plans run without Python", "detail": "; ".join(why) or name,
        "costs": "" if ok else "a container takes tens of milliseconds more",
        "remedy": "" if ok else "x86-64, sysctl vm.memfd_noexec=0, MOBYSHELL_EXECUTOR not set",
    }  # fmt: skip


def _criu() -> dict[str, Any]:
    """Whether there is a criu, and its own check says that it works."""
    from mobyshell.core.checkpoint.criu import program
    from mobyshell.core.errors import Unsupported

    try:
        found = program.find()
        why = program.complaint(found)
        detail = f"{found}: {why}" if why else found
    except Unsupported:
        why = detail = "missing"
    return {
        "ok": not why, "feature": "criu", "detail": detail,
        "costs": "mobyshell-runc checkpoint and restore do not work" if why else "",
        "remedy": program.REMEDY if why else "",
    }  # fmt: skip


def _owners(ctx: Context) -> list[dict[str, Any]]:
    """For a user who is not root: whether files of the store can belong to several."""
    if os.geteuid() == 0:
        return []
    from pathlib import Path

    from mobyshell.core.errors import MobyshellError
    from mobyshell.core.store import owners
    from mobyshell.core.store.root import StoreRoot

    try:
        found = owners.of_store(StoreRoot(Path(ctx.root)))
        why, remedy = found.why, "a range for you in /etc/subuid and /etc/subgid, newuidmap"
        detail = why or f"{sum(count for _, _, count in found.uids)} users, by /etc/subuid"
    except MobyshellError as error:
        why = detail = error.message
        remedy = error.hint
    return [{
        "ok": not why, "feature": "files of several owners", "detail": detail,
        "costs": "all files of an image are yours, and root's inside" if why else "",
        "remedy": remedy if why else "",
    }]  # fmt: skip


def _places(ctx: Context) -> list[dict[str, Any]]:
    """Where this session keeps what it keeps, and whether it can."""
    places = (
        ("state of running tasks", "state", "--state DIR, MOBYSHELL_STATE or XDG_RUNTIME_DIR",
         "no task can be made"),
        ("store of what is kept", "root", "--root DIR, MOBYSHELL_ROOT or XDG_DATA_HOME",
         "no image can be kept"),
    )  # fmt: skip
    rows = []
    for feature, name, remedy, costs in places:
        try:
            path: str = getattr(ctx, name)
            above = path
            while not os.path.lexists(above):
                above = os.path.dirname(above)
            ok = os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK)
            detail = path if ok else f"{above} cannot be written"
        except UsageError as error:
            ok, detail = False, error.message
        rows.append({"ok": ok, "feature": feature, "detail": detail,
                     "costs": "" if ok else costs, "remedy": "" if ok else remedy})  # fmt: skip
    return rows
