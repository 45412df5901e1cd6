"""`task`: containers alive, from create to delete."""

from __future__ import annotations

import os

from mobyshell.commands.registry import (
    BUNDLE,
    DESTROY,
    NUMBER,
    READ,
    SECONDS,
    SIGNAL,
    TASK,
    TEXT,
    WRITE,
    Parameter,
    argument,
    command,
    option,
    optional,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Rows, Stream, done_each
from mobyshell.commands.rows import task_row
from mobyshell.commands.task_surroundings import OPTIONS, RESTART, create_task
from mobyshell.core.errors import NotFound, TimedOut, UsageError, WrongState

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from mobyshell.commands.context import Context
    from mobyshell.core.tasks.service import LogLine

N = "task"
_ID = argument("id", TASK, "the id of the task")
_IDS = argument("id", TASK, "the ids of tasks", many=True)
_BUNDLE = argument("bundle", BUNDLE, "the directory of the bundle")
_RUNTIME = option(
    "--runtime", "what runs it: mobyshell, runc, crun, or the path of an OCI runtime", TEXT,
    default="mobyshell",
)  # fmt: skip
_COMMAND = command("run this instead of the config's args")
_NOTHING: dict[str, tuple[str, ...]] = {"network": (), "publish": (), "volume": ()}


@verb(
    N, "ls",
    switch("-a --all", "stopped tasks too"),
    effect=READ, example="task ls -a",
)  # fmt: skip
def ls(ctx: Context, *, all: bool) -> Rows:
    """List tasks; those that have stopped only with --all."""
    columns = [("id", "ID", "id"), ("status", "STATUS", "state"), ("pid", "PID", "number"),
               ("exit", "EXIT", "number"), ("created", "CREATED", "ago"),
               ("runtime", "RUNTIME", "text"), ("command", "COMMAND", "text"),
               ("bundle", "BUNDLE", "text")]  # fmt: skip
    rows = [task_row(one) for one in ctx.listed()]
    if any(row["restart"] for row in rows):
        columns.insert(4, ("restarts", "RESTARTS", "number"))
    if any(row["health"] for row in rows):
        columns.insert(2, ("health", "HEALTH", "state"))
    return Rows(columns, [row for row in rows if all or row["status"] != "stopped"])


def _new_id(ctx: Context, bundle: str) -> str:
    """The bundle's name, with a number if there is such a task."""
    name = os.path.basename(os.path.abspath(bundle))
    base = "".join(
        ch for ch in name if ch.isascii() and (ch.isalnum() or ch in "_.-")
    ).lstrip(".-")[:60] or ctx.clock.new_id()  # fmt: skip
    return first_free(base, {one.id for one in ctx.tasks.ls()})


def first_free(base: str, taken: set[str]) -> str:
    """`base`, or with the first number behind it that makes it none of `taken`."""
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def plan_task(
    ctx: Context, *, bundle: str, command: tuple[str, ...], name: str | None,
    network: tuple[str, ...], publish: tuple[str, ...], volume: tuple[str, ...], **_: Any,
) -> Rows:  # fmt: skip
    from mobyshell.commands import task_surroundings
    from mobyshell.commands.bundle import plan_of, plan_rows
    from mobyshell.core.oci import load_spec

    id = name or _new_id(ctx, bundle)
    spec, before = task_surroundings.foresee(ctx, id, load_spec(bundle), network=network,
                                             publish=publish, volume=volume)  # fmt: skip
    rows = plan_rows(plan_of(ctx, bundle, args=command, spec=spec))
    return Rows(rows.columns, [*before, *rows.rows], rows.key, rows.said)


@verb(
    N, "create",
    _BUNDLE,
    option("--name", "the id of the task (default: the bundle's name)", TASK),
    switch("-t --tty", "give it a terminal"),
    switch("-i --interactive", "keep its standard input open"),
    *OPTIONS, RESTART, _RUNTIME, _COMMAND,
    effect=WRITE, example="task create --name made first", plan=plan_task,
)  # fmt: skip
def create(
    ctx: Context, *, bundle: str, name: str | None, tty: bool, interactive: bool, runtime: str,
    restart: str, command: tuple[str, ...], **around: tuple[str, ...],
) -> Done:  # fmt: skip
    """Make a container from a bundle, up to the point before its program runs."""
    path = _bundle(bundle)
    info = create_task(ctx, name or _new_id(ctx, path), path, args=command or None, terminal=tty,
                       stdin=interactive, runtime=runtime, restart=restart, **around)  # fmt: skip
    return Done(info.id)


def _bundle(bundle: str) -> str:
    """The absolute path of a bundle that can be run. NotFound, with what images will need."""
    from mobyshell.core.runtime.bundle import load_bundle

    if not os.path.isdir(bundle) and "/" not in bundle.rstrip("/").partition("./")[0]:
        raise NotFound(f"no bundle {bundle!r} here",
                       hint="`mobyshell bundle new NAME` makes one; `mobyshell run` runs images")  # fmt: skip
    return load_bundle(bundle).directory


@verb(N, "start", _IDS, effect=WRITE, example="task start made", key="S")
def start(ctx: Context, *, id: tuple[str, ...]) -> Done:
    """Let the program of created tasks run."""
    for one in id:
        try:
            ctx.tasks.start(one)
        except WrongState as error:
            again = f"`container start {one}` runs a container again; a bundle is run anew"
            raise WrongState(error.message, hint=error.hint or again) from None
    return Done(" ".join(id))


@verb(
    N, "run",
    switch("-d --detach", "do not wait for it; print its id"),
    switch("-t --tty", "give it a terminal"),
    switch("-i --interactive", "keep its standard input open"),
    switch("--rm", "forget it when it has ended"),
    option("--name", "the id of the task (default: the bundle's name)", TASK),
    *OPTIONS, RESTART, _RUNTIME,
    option("--detach-keys", "what leaves it running", TEXT, default="ctrl-p,ctrl-q"),
    _BUNDLE, _COMMAND,
    effect=WRITE, example="task run --rm first -- echo hello", plan=plan_task,
)  # fmt: skip
def run(
    ctx: Context, *, bundle: str, detach: bool, tty: bool, interactive: bool, rm: bool,
    name: str | None, runtime: str, restart: str, detach_keys: str, command: tuple[str, ...],
    **around: tuple[str, ...],
) -> Done:  # fmt: skip
    """Run a bundle as a task: create, start, and stay with it until it ends.

    Its exit code is passed on (128+n for signal n). In a terminal, a bundle whose config asks for
    one gets it without -t and -i; ctrl-p ctrl-q leaves it running. Networks, ports and volumes are
    the task's until it is deleted.
    """
    implied = None if not (tty or interactive or detach) else False
    return run_task(ctx, bundle, name=name, detach=detach, tty=tty or implied,
                    stdin=interactive or implied, rm=rm, command=command, keys=detach_keys,
                    runtime=runtime, restart=restart, around=around)  # fmt: skip


def run_task(
    ctx: Context, bundle: str, *, name: str | None, detach: bool, tty: bool | None,
    stdin: bool | None, rm: bool, command: tuple[str, ...], keys: str = "ctrl-p,ctrl-q",
    runtime: str = "mobyshell", restart: str = "",
    around: Mapping[str, tuple[str, ...]] | None = None,
) -> Done:  # fmt: skip
    """Create and start; `tty` or `stdin` None: as the bundle's config says, if we are at a terminal."""
    from mobyshell.commands.foreground import start_and_stay, window_size
    from mobyshell.core.runtime.bundle import load_bundle
    from mobyshell.core.tasks.restarts import parse

    if rm and parse(restart):
        raise UsageError("--rm and --restart are at odds: what is forgotten is not started again",
                         hint="leave one of them away")  # fmt: skip
    path = _bundle(bundle)
    process = load_bundle(path).spec.process
    asks = bool(process and process.terminal) and ctx.interactive and not detach
    terminal = asks if tty is None else tty
    reads = asks if stdin is None else stdin
    if terminal and not detach and not ctx.interactive:
        raise UsageError("-t needs a terminal, and standard input is none", hint="leave -t away")
    rows, columns = window_size() if terminal and ctx.interactive else (0, 0)
    id = name or _new_id(ctx, path)
    create_task(ctx, id, path, args=command or None, terminal=terminal, stdin=reads or terminal,
                rows=rows, columns=columns, runtime=runtime, restart=restart,
                **(around or _NOTHING))  # fmt: skip
    return start_and_stay(
        ctx, id, detach=detach, terminal=terminal, stdin=reads, keys=keys,
        forget=(lambda: ctx.tasks.delete(id)) if rm else None,
    )  # fmt: skip


@verb(
    N, "exec",
    switch("-d --detach", "do not wait for it; print its name"),
    switch("-t --tty", "give it a terminal"),
    switch("-i --interactive", "keep its standard input open"),
    option("-e --env", "NAME=VALUE", TEXT, many=True),
    option("-w --cwd --workdir", "its working directory", TEXT, default=""),
    option("-u --user", "UID[:GID]", TEXT, default=""),
    option("--exec-id", "a name for the process", TASK, default=""),
    _ID,
    Parameter("command", TEXT, "the command", rest=True, required=True),
    effect=WRITE, example="task exec up echo hi", key="s", greedy=True,
)  # fmt: skip
def exec(
    ctx: Context, *, id: str, detach: bool, tty: bool, interactive: bool, env: tuple[str, ...],
    cwd: str, user: str, exec_id: str, command: tuple[str, ...],
) -> Done:  # fmt: skip
    """Run one more process in a task, and pass its exit code on."""
    from mobyshell.commands.foreground import follow, window_size

    if tty and not detach and not ctx.interactive:
        raise UsageError("-t needs a terminal, and standard input is none", hint="leave -t away")
    rows, columns = window_size() if tty and ctx.interactive else (0, 0)
    made = ctx.tasks.exec(id, command, exec_id=exec_id, terminal=tty, stdin=interactive or tty,
                          env=env, cwd=cwd, user=user, rows=rows, columns=columns)  # fmt: skip
    if detach:
        return Done(made.exec_id)
    attachment = ctx.tasks.attach(id, exec_id=made.exec_id)
    status = follow(ctx, id, attachment, exec_id=made.exec_id, terminal=tty,
                    stdin=interactive or tty)  # fmt: skip
    return Done(made.exec_id, said="left it running") if status is None else Done(code=status)


@verb(
    N, "attach",
    _ID,
    option("--exec-id", "attach to this process of it", TASK, default=""),
    option("--detach-keys", "what leaves it running", TEXT, default="ctrl-p,ctrl-q"),
    effect=WRITE, example="task attach done", key="a",
)  # fmt: skip
def attach(ctx: Context, *, id: str, exec_id: str, detach_keys: str) -> Done:
    """Connect this terminal to a task; ctrl-p ctrl-q leaves it running."""
    from mobyshell.commands.foreground import follow

    info = ctx.tasks.get(id)
    attachment = ctx.tasks.attach(id, exec_id=exec_id)
    status = follow(ctx, id, attachment, exec_id=exec_id, terminal=info.terminal, stdin=True,
                    keys=detach_keys)  # fmt: skip
    return Done(said=f"left {id} running") if status is None else Done(code=status)


@verb(
    N, "logs",
    _ID,
    switch("-f --follow", "go on until the task ends"),
    option("-n --tail", "only the last lines", NUMBER),
    switch("-t --timestamps", "the time before each line"),
    effect=READ, example="task logs done", key="l",
)  # fmt: skip
def logs(ctx: Context, *, id: str, follow: bool, tail: int | None, timestamps: bool) -> Stream:
    """Print what a task wrote: its standard output and standard error, line by line."""
    from mobyshell.core.clock import rfc3339

    def show(line: LogLine) -> str:
        text = line.data.decode(errors="replace")
        return f"{rfc3339(line.time_ns)} {text}" if timestamps else text

    def rows() -> Iterator[LogLine]:
        yield from ctx.tasks.logs(id, follow=follow, tail=tail)

    ctx.tasks.get(id)
    return Stream(rows(), show, document=True)


@verb(
    N, "wait",
    _ID,
    option("--timeout", "give up after so long", SECONDS),
    option("--exec-id", "wait for this process of it", TASK, default=""),
    effect=READ, example="task wait done",
)  # fmt: skip
def wait(ctx: Context, *, id: str, timeout: float | None, exec_id: str) -> Done:
    """Wait until a task has ended, and pass its exit code on."""
    return Done(code=ctx.tasks.wait(id, exec_id=exec_id, timeout=timeout) & 0xFF)


@verb(N, "pause", _IDS, effect=WRITE, example="task pause up", key="p")
def pause(ctx: Context, *, id: tuple[str, ...]) -> Done:
    """Freeze every process of tasks."""
    for one in id:
        ctx.tasks.pause(one)
    return Done(" ".join(id))


@verb(N, "resume", _IDS, effect=WRITE, example="task resume up", key="p")
def resume(ctx: Context, *, id: tuple[str, ...]) -> Done:
    """Let frozen tasks run again."""
    for one in id:
        ctx.tasks.resume(one)
    return Done(" ".join(id))


@verb(
    N, "kill",
    _ID,
    optional("signal", SIGNAL, "a number, or a name such as TERM", default=15),
    option("-s --signal", "the same, as other engines have it", SIGNAL, name="sig"),
    switch("-a --all", "every process in it"),
    option("--exec-id", "only this process of it", TASK, default=""),
    effect=DESTROY, example="task kill up HUP", key="K",
)  # fmt: skip
def kill(
    ctx: Context, *, id: str, signal: int, sig: int | None, all: bool, exec_id: str
) -> Done:  # fmt: skip
    """Send a signal to a task (default: TERM); `-9` and `-KILL` are understood as by kill(1)."""
    ctx.tasks.kill(id, signal if sig is None else sig, all_processes=all, exec_id=exec_id)
    return Done(id)


@verb(
    N, "stop",
    _IDS,
    option("-t --time", "seconds until KILL follows TERM", SECONDS, default=10.0),
    effect=DESTROY, example="task stop -t 0.5 up",
)  # fmt: skip
def stop(ctx: Context, *, id: tuple[str, ...], time: float) -> Done:
    """Ask tasks to end with TERM (or their image's own signal), and later make them with KILL.

    They are not started again.
    """
    from mobyshell.core.tasks.restarts import stop_signal

    for one in id:
        info = ctx.tasks.get(one)
        if info.status == "stopped":
            continue
        if info.status == "paused":
            ctx.tasks.resume(one)
        ctx.tasks.kill(one, stop_signal(info.annotations))
        try:
            ctx.tasks.wait(one, timeout=time)
        except TimedOut:
            ctx.tasks.kill(one, 9)
            ctx.tasks.wait(one, timeout=30)
    return Done(" ".join(id))


@verb(
    N, "delete",
    _IDS,
    switch("-f --force", "kill it first, if it runs"),
    effect=DESTROY, example="task delete done", key="D",
)  # fmt: skip
def delete(ctx: Context, *, id: tuple[str, ...], force: bool) -> Done:
    """Forget stopped tasks: their state, their cgroups, their logs."""
    return done_each(id, lambda one: ctx.tasks.delete(one, force=force))
