"""`debug`: what a running process of mobyshell is doing, holds, and spends its time on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    FILE,
    NUMBER,
    PROCESS,
    READ,
    SECONDS,
    option,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Rows
from mobyshell.core.errors import InvalidSpec, TimedOut, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobyshell.commands.context import Context
    from mobyshell.core.tasks.attachable import Attachable

_WHO = optional("process", PROCESS, "its pid; without, the shim of this state root", default="shim")


@verb("debug", "ls", effect=READ, example="debug ls")
def ls(ctx: Context) -> Rows:
    """List the processes that can be asked: shims, keepers, and faces at work."""
    from mobyshell.core.tasks import attachable

    rows = [
        {"pid": one.pid, "role": one.role, "state": one.state, "command": " ".join(one.command)}
        for one in attachable.processes()
    ]
    columns = (("pid", "PID", "number"), ("role", "ROLE", "text"), ("state", "STATE ROOT", "text"),
               ("command", "COMMAND", "text"))  # fmt: skip
    return Rows(columns, rows, "pid")


@verb("debug", "stacks", _WHO, effect=READ, example="debug stacks shim")
def stacks(ctx: Context, *, process: str) -> Rows:
    """Show the stack of each thread, and of what is suspended: generators and coroutines.

    A shim that hangs is asked another way, which says files and functions of its threads only; so is
    a keeper, always.
    """
    from mobyshell.core.debug.request import Request
    from mobyshell.core.tasks import attachable

    one = _find(ctx, process)
    if one.role == attachable.KEEPER:
        return _stack_rows(_last_words(one), "")
    try:
        told = attachable.ask(one, Request("stacks"))
    except TimedOut:
        if one.role != attachable.SHIM:
            raise
        return _stack_rows(_last_words(one), "it does not answer: this is where it is")
    rows, more = _told_stacks(told)
    return _stack_rows(rows, f"{more} more are suspended" if more else "")


@verb(
    "debug", "heap", _WHO,
    option("--seconds", "trace allocations for so long", SECONDS, default=5.0),
    option("--top", "rows of each kind", NUMBER, default=25),
    effect=READ, example="debug heap shim --seconds 0.1 --top 5",
)  # fmt: skip
def heap(ctx: Context, *, process: str, seconds: float, top: int) -> Rows:
    """Show what a process holds: the lines that allocate most, and its objects by type.

    Of allocations only those are known that were made while they were traced (--seconds; 0 does
    without) and that are still held at the end.
    """
    from mobyshell.core.debug.request import MAX_SECONDS, MAX_TOP, Request
    from mobyshell.core.tasks import attachable

    if not 0 <= seconds <= MAX_SECONDS or not 1 <= top <= MAX_TOP:
        raise UsageError(f"debug heap: 0 to {MAX_SECONDS:g} seconds, and 1 to {MAX_TOP} rows")
    told = attachable.ask(_find(ctx, process), Request("heap", seconds=seconds, top=top))
    try:
        rows = [
            {"kind": "allocated", "what": f"{one['file']}:{one['line']}", "bytes": int(one["bytes"]),
             "count": int(one["count"])}
            for one in told["allocated"]
        ] + [
            {"kind": "objects", "what": str(one["type"]), "bytes": int(one["bytes"]),
             "count": int(one["count"])}
            for one in told["objects"]
        ]  # fmt: skip
        since = told.get("since", "")
        said = f"resident: {int(told['resident']) >> 10} KiB"
        said += f"; {told['frozen']} objects of before the fork are not counted"
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidSpec("the process answered something that is no heap") from None
    if since:
        said += f"\nallocations are those since {since} that are still held, no earlier ones"
    columns = (("kind", "KIND", "text"), ("what", "WHERE, OR WHAT", "id"),
               ("bytes", "BYTES", "bytes"), ("count", "COUNT", "number"))  # fmt: skip
    return Rows(columns, rows, "what", said)


@verb(
    "debug", "flame", _WHO,
    option("--seconds", "watch for so long", SECONDS, default=10.0),
    option("--hertz", "samples a second", NUMBER, default=100),
    switch("--wall", "count all time, not the processor's: where it waits"),
    option("--svg", "write a flame graph, for a browser", FILE),
    option("--speedscope", "write a file for speedscope", FILE),
    option("--folded", "write folded stacks", FILE),
    effect=READ, example="debug flame shim --seconds 0.2 --svg shim.svg --speedscope shim.json",
)  # fmt: skip
def flame(
    ctx: Context, *, process: str, seconds: float, hertz: int, wall: bool, svg: str | None,
    speedscope: str | None, folded: str | None,
) -> Rows:  # fmt: skip
    """Sample a process, and show which functions took the time; as a picture, too, if asked for."""
    from mobyshell.core.debug.request import MAX_HERTZ, MAX_SECONDS, Request
    from mobyshell.core.debug.tree import totals
    from mobyshell.core.debug.values import from_wire
    from mobyshell.core.tasks import attachable

    if not 0 < seconds <= MAX_SECONDS or not 1 <= hertz <= MAX_HERTZ:
        raise UsageError(
            f"debug flame: up to {MAX_SECONDS:g} seconds, 1 to {MAX_HERTZ} samples each"
        )
    for path in (svg, speedscope, folded):
        if path is not None and (
            os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or ".")
        ):  # ten seconds later is late to learn it
            raise UsageError(f"{path!r:.100} cannot be a file",
                             hint="a name in a directory that is there")  # fmt: skip
    one = _find(ctx, process)
    request = Request("flame", seconds=seconds, hertz=hertz, clock="wall" if wall else "cpu")
    profile = from_wire(attachable.ask(one, request))
    written = _write(profile, f"{one.role} {one.pid}", svg, speedscope, folded)
    rows = [
        {"function": each.frame.name, "own": each.own_ns, "total": each.ns,
         "share": each.own_ns / profile.ns * 100 if profile.ns else 0.0, "place": each.frame.place}
        for each in totals(profile)
    ]  # fmt: skip
    said = f"{profile.ns / 1e9:.3f} s in {profile.seconds:.1f} s, {profile.samples} samples"
    if not profile.ns:
        said += "\nit used no processor; --wall shows where it waits"
    columns = (("function", "FUNCTION", "id"), ("own", "ITSELF", "duration"),
               ("share", "SHARE", "percent"), ("total", "WITH CALLS", "duration"),
               ("place", "PLACE", "text"))  # fmt: skip
    return Rows(columns, rows, "function", "\n".join((said, *written)))


def _find(ctx: Context, process: str) -> Attachable:
    from mobyshell.core.tasks import attachable

    if process == "shim":
        return attachable.shim_of(ctx.state)
    if not process.isdecimal() or not process.isascii() or len(process) > 9:
        raise UsageError(f"{process!r:.60} is neither a pid nor `shim`")
    return attachable.find(int(process))


def _write(profile: Any, title: str, svg: str | None, speedscope: str | None,
           folded: str | None) -> list[str]:  # fmt: skip
    from mobyshell.core.debug import folded as folding
    from mobyshell.core.debug import speedscope as scope
    from mobyshell.core.debug.request import document
    from mobyshell.core.debug.svg import draw

    makers: tuple[tuple[str | None, Callable[[], str]], ...] = (
        (svg, lambda: draw(profile, title)),
        (speedscope, lambda: document(scope.speedscope(profile))),
        (folded, lambda: folding.folded(profile)),
    )
    told = []
    for path, make in makers:
        if path is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(make())
            told.append(f"written: {os.path.abspath(path)}")
    return told


def _told_stacks(told: Any) -> tuple[list[dict[str, Any]], int]:
    from mobyshell.core.debug.values import Frame

    rows = []
    try:
        for kind in ("threads", "suspended"):
            for number, one in enumerate(told[kind]):
                for depth, (name, file, line) in enumerate(one["frames"]):
                    frame = Frame(str(name), str(file), int(line))
                    rows.append(
                        {"stack": f"{kind} {number}", "label": str(one["label"]), "depth": depth,
                         "function": frame.name, "place": frame.place}
                    )  # fmt: skip
        return rows, int(told["left_out"])
    except (KeyError, TypeError, ValueError):
        raise InvalidSpec("the process answered something that are no stacks") from None


_LINE = re.compile(r'  File "(.*)", line (\d+) in (.*)')


def _last_words(one: Attachable) -> list[dict[str, Any]]:
    """Rows of what faulthandler wrote: innermost first, of one thread."""
    from mobyshell.core.debug.values import Frame
    from mobyshell.core.tasks import attachable

    found = [match for line in attachable.last_words(one) if (match := _LINE.fullmatch(line))]
    return [
        {"stack": "threads 0", "label": "main", "depth": depth, "function": match[3],
         "place": Frame(match[3], match[1], int(match[2])).place}
        for depth, match in enumerate(reversed(found))
    ]  # fmt: skip


def _stack_rows(rows: list[dict[str, Any]], said: str) -> Rows:
    columns = (("stack", "STACK", "text"), ("label", "OF", "text"), ("depth", "#", "number"),
               ("function", "FUNCTION", "id"), ("place", "PLACE", "text"))  # fmt: skip
    return Rows(columns, rows, "function", said)
