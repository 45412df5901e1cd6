"""`bundle`: a config.json and a root filesystem, from nothing to a plan to a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    BUNDLE,
    DESTROY,
    FILE,
    READ,
    SOURCE,
    TASK,
    WRITE,
    argument,
    command,
    option,
    optional,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, Text
from mobyshell.core.errors import InvalidSpec, Refused

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.oci import Spec
    from mobyshell.core.runtime import Plan

N = "bundle"
_BUNDLE = argument("bundle", BUNDLE, "the directory of the bundle")


@verb(
    N, "new",
    argument("name", FILE, "the directory to make"),
    option("--from", "what the root filesystem is made of: busybox, host:PROG,… or tar:FILE "
           "(default: busybox, or programs of this machine where there is none)", SOURCE,
           name="source"),
    switch("--rootless", "for an unprivileged user (the default if you are one)"),
    option("--config", "a file to be its config.json, as in recipes/bundles", FILE),
    effect=WRITE, example="bundle new fresh", key="n",
)  # fmt: skip
def new(ctx: Context, *, name: str, source: str | None, rootless: bool, config: str | None) -> Done:
    """Make a bundle from what this machine has: no network, no image.

    `busybox` takes a static busybox; `host:sh,ls,…` takes programs of this machine with the
    libraries they need; `tar:FILE` unpacks an archive. With `--config` the bundle gets a config.json
    of yours; where that maps one user or group, it becomes you.
    """
    from mobyshell.core.runtime.bundle import default_source, new_bundle

    if source is None:
        source, why = default_source()
        if why:
            ctx.say(f"note: {why}")
    path = new_bundle(name, source, rootless=rootless or None, config=config,
                      notice=lambda text: ctx.say(f"note: {text}"))  # fmt: skip
    return Done(str(path), said=f"made {path}; look at it with `mobyshell bundle plan {name}`")


@verb(
    N, "ls",
    optional("directory", FILE, "where to look", default="."),
    effect=READ, example="bundle ls",
)  # fmt: skip
def ls(ctx: Context, *, directory: str) -> Rows:
    """List the bundles below a directory (three levels deep)."""
    rows = []
    for path in find_bundles(directory):
        row = {"path": os.path.relpath(path, directory), "program": "", "problem": ""}
        try:
            row["program"] = _program(path)
        except InvalidSpec as error:
            row["problem"] = error.message
        rows.append(row)
    columns = (("path", "BUNDLE", "id"), ("program", "PROGRAM", "text"),
               ("problem", "PROBLEM", "prose"))  # fmt: skip
    return Rows(columns, rows, "path")


def _program(path: str) -> str:
    from mobyshell.core.oci import load_spec

    process = load_spec(path).process
    return " ".join(process.args or ()) if process else ""


def find_bundles(directory: str, depth: int = 3) -> list[str]:
    """Directories with a config.json beside a root filesystem, sorted; links are not followed."""
    from mobyshell.core.tasks.listing import natural

    found: list[str] = []
    pending = [(os.path.abspath(directory), depth)]
    while pending:
        path, left = pending.pop()
        try:
            entries = sorted(os.scandir(path), key=lambda one: one.name)
        except OSError:
            continue
        if any(one.name == "config.json" and _is_file(one) for one in entries):
            found.append(path)
            continue
        if left:
            pending += [
                (one.path, left - 1)
                for one in entries
                if one.is_dir(follow_symlinks=False) and not one.name.startswith(".")
            ]
    return sorted(found, key=natural)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


@verb(
    N, "spec",
    switch("--rootless", "as for an unprivileged user"),
    effect=READ, example="bundle spec",
)  # fmt: skip
def spec(ctx: Context, *, rootless: bool) -> Text:
    """Print the default config.json, as `runc spec` writes it."""
    from mobyshell.core.oci import default_spec, dump_spec

    return Text(dump_spec(default_spec(rootless)) + "\n")


@verb(N, "validate", _BUNDLE, effect=READ, example="bundle validate first", key="v")
def validate(ctx: Context, *, bundle: str) -> Rows | Done:
    """Check a config.json: every problem, with what was found, what is allowed, and where it says so.

    What is allowed but has no effect, or is deprecated, is a warning; warnings alone are no failure.
    """
    from mobyshell.core.oci import examine

    path = os.path.join(bundle, "config.json")
    problems, warnings = examine(bundle)
    rows = [
        {"severity": severity, "path": one.path, "found": one.found, "allowed": one.allowed,
         "section": one.section}
        for severity, some in (("problem", problems), ("warning", warnings))
        for one in some
    ]  # fmt: skip
    columns = (("severity", "SEVERITY", "text"), ("path", "PATH", "id"), ("found", "FOUND", "prose"),
               ("allowed", "ALLOWED", "text"), ("section", "SPEC", "text"))  # fmt: skip
    if problems:
        raise Problems(f"{path} has {_number(problems, 'problem')}", Rows(columns, rows, "path"))
    if not warnings:
        return Done(said=f"{path} is valid")
    return Rows(columns, rows, "path",
                said=f"{path} is valid, with {_number(warnings, 'warning')}")  # fmt: skip


def _number(things: list[Any], what: str) -> str:
    return f"{len(things)} {what}{'s'[: len(things) != 1]}"


class Problems(InvalidSpec):
    """A config.json that is not valid, with the table of what is wrong."""

    def __init__(self, message: str, rows: Rows) -> None:
        super().__init__(message)
        self.rows = rows


@verb(N, "show", _BUNDLE, effect=READ, example="bundle show first")
def show(ctx: Context, *, bundle: str) -> Record:
    """Show what a bundle's config.json says, as this version understands it."""
    from mobyshell.core.oci import spec_to_json
    from mobyshell.core.runtime.bundle import load_bundle

    loaded = load_bundle(bundle)
    return Record(
        {"bundle": loaded.directory, "rootfs": loaded.rootfs, "spec": spec_to_json(loaded.spec)},
        "bundle",
    )


def plan_of(ctx: Context, bundle: str, id: str = "", args: tuple[str, ...] = (),
            terminal: bool | None = None, spec: Spec | None = None) -> Plan:  # fmt: skip
    """The plan of a bundle, for this machine; with `spec` instead of its own."""
    from mobyshell.core.oci import with_process
    from mobyshell.core.runtime import make_plan
    from mobyshell.core.runtime.bundle import load_bundle
    from mobyshell.core.runtime.seccomp import SeccompCompiler

    loaded = load_bundle(bundle)
    name = id or os.path.basename(loaded.directory)
    return make_plan(
        with_process(spec or loaded.spec, args=args or None, terminal=terminal),
        bundle=loaded.directory,
        id=name,
        host=ctx.host,
        compile_seccomp=SeccompCompiler(),
    )


def plan_rows(plan: Plan, calls: bool = False) -> Rows:
    """A plan as a table: one operation a line, with `calls` each call below it."""
    from mobyshell.core.runtime.plan import operation_json, show_call

    rows: list[dict[str, Any]] = []
    for index, one in enumerate(plan.operations, 1):
        rows.append({"n": index, **operation_json(one)})
        if calls:
            rows += [
                {"n": None, "actor": "", "phase": "", "title": f"  {show_call(call)}"}
                for call in one.calls
            ]
    columns = (("n", "#", "number"), ("actor", "WHO", "text"), ("phase", "PHASE", "text"),
               ("title", "OPERATION", "text"))  # fmt: skip
    return Rows(columns, rows, "title", said="\n".join(f"note: {one}" for one in plan.notices))


@verb(
    N, "plan",
    _BUNDLE,
    switch("--calls", "show every system call too"),
    command("plan for this command instead of the config's"),
    effect=READ, example="bundle plan first", key="p",
)  # fmt: skip
def plan(ctx: Context, *, bundle: str, calls: bool, command: tuple[str, ...]) -> Rows:
    """Print what running a bundle would do, one kernel operation a line, without doing it.

    A futex among the calls waits for nobody: the kernel masks or compares a word of memory by it,
    as there is no program yet that could. What differs is an error, or says what is skipped.
    """
    made = plan_of(ctx, bundle, args=command)
    return plan_rows(made, calls)


@verb(
    N, "script", _BUNDLE,
    command("run this command instead of the config's"),
    effect=READ, example="bundle script first", key="t",
)  # fmt: skip
def script(ctx: Context, *, bundle: str, command: tuple[str, ...]) -> Text:
    """Print a POSIX shell script that does the same as the plan, with util-linux tools."""
    from mobyshell.core.oci import with_process
    from mobyshell.core.runtime.bundle import load_bundle
    from mobyshell.core.runtime.script import script as make_script

    made = plan_of(ctx, bundle, args=command, terminal=False)
    spec = with_process(load_bundle(bundle).spec, args=command or None, terminal=False)
    return Text(make_script(made, spec))


def _run_plan(ctx: Context, *, bundle: str, command: tuple[str, ...], **_: Any) -> Rows:
    return plan_rows(plan_of(ctx, bundle, args=command))


@verb(
    N, "run",
    _BUNDLE,
    option("--name", "the id of the task", TASK),
    switch("-d --detach", "do not wait for it; print its id"),
    command("run this command instead of the config's"),
    effect=WRITE, example="bundle run first -- echo hello", key="r", plan=_run_plan,
)  # fmt: skip
def run(
    ctx: Context, *, bundle: str, name: str | None, detach: bool, command: tuple[str, ...]
) -> Done:
    """Run a bundle as a task, and forget the task when it has ended."""
    from mobyshell.commands.task import run_task

    return run_task(ctx, bundle, name=name, detach=detach, tty=None, stdin=None,
                    rm=not detach, command=command)  # fmt: skip


@verb(N, "rm", _BUNDLE, effect=DESTROY, example="bundle rm scratch", key="D",
      confirm="delete the directory and all in it?")  # fmt: skip
def rm(ctx: Context, *, bundle: str) -> Done:
    """Delete a bundle's directory, root filesystem and all. Refused while a task runs from it."""
    from mobyshell.core.runtime.bundle import remove_bundle
    from mobyshell.core.runtime.values import Status

    path = os.path.realpath(bundle)
    for task in ctx.every_task():
        used = os.path.realpath(task.bundle)
        if task.status is not Status.STOPPED and (used == path or used.startswith(f"{path}/")):
            raise Refused(f"task {task.id} of namespace {task.namespace} runs from {bundle}",
                          hint="delete the task first")  # fmt: skip
    remove_bundle(bundle)
    return Done(bundle)
