"""create and run: from a bundle to a container."""

from __future__ import annotations

import os

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.mounts import whole
from mobyshell.core.oci import Spec
from mobyshell.core.runtime.create import Container, Stdio
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.plan import Flags, Plan
from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.runtime.steps import run as steps
from mobyshell.core.runtime.values import Options
from mobyshell.runc import bundle as bundles
from mobyshell.runc import streams
from mobyshell.runc.call import Call, Failure
from mobyshell.runc.compiled import remember, seen
from mobyshell.runc.streams import Taken


def run(call: Call) -> int:
    """`create` or `run`."""
    flags = call.flags
    detached = call.command == "create" or flags.on("detach")
    bundle = os.path.abspath(flags.text("bundle") or ".")
    check_place(call, bundle)
    before = seen(call.root(), bundle, not flags.on("no-new-keyring"))
    spec = bundles.load(bundle)
    if spec.process is None and call.command == "run":
        raise Failure("runc run failed: process property must not be empty")
    terminal = bool(spec.process and spec.process.terminal)
    streams.check_console(terminal, detached, flags.text("console-socket"), call.command)
    runtime = call.runtime()
    _warn(call, spec, runtime.host)
    taken = streams.taken(call)
    spec, notify = _with_environment(call, spec, taken)
    call.log.debug("runc exeseal: using /proc/self/exe clone: the launcher, in a sealed memfd")
    call.log.debug("nsexec container setup: cgroups and namespaces are made")
    options = _options(call, taken, notify)
    container = _create(call, runtime, bundle, spec, options)
    if call.log.debugging and spec.linux is not None and spec.linux.seccomp is not None:
        _tell_flags(call, runtime.plan(call.id, bundle, spec=spec, options=options))
    call.log.debug("child process in init(): everything but its program is in place")
    call.log.debug("init: closing the pipe to signal completion")
    try:
        remember(runtime, container, spec, options, before)
        status = _go_on(call, runtime, container, detached)
    except BaseException:
        undo(runtime, call.id)
        raise
    finally:
        os.close(container.pidfd)
        if container.master is not None:
            os.close(container.master)
    return status


def _tell_flags(call: Call, plan: Plan) -> None:
    """In runc's words, which its users look for to see what became of their filter's flags."""
    calls = (one for part in plan.operations for one in part.calls if one.name == "seccomp")
    for flags in (one.args[1] for one in calls):
        if isinstance(flags, Flags):
            call.log.debug(f"seccomp filter flags: {flags.value}")


def check_place(call: Call, bundle: str) -> None:
    """Failure unless the bundle is a directory."""
    if not os.path.isdir(bundle):
        raise Failure(f"runc {call.command} failed: chdir {bundle}: no such file or directory")


def _warn(call: Call, spec: Spec, host: Host) -> None:
    from mobyshell.core.runtime.refusals import (
        usable_capabilities,
        usable_labels,
        usable_mount_label,
    )

    notices: list[str] = []
    given = spec.process.capabilities if spec.process else None
    if spec.process is not None:
        usable_labels(spec.process, host, notices)
    if spec.linux is not None:
        usable_capabilities(given, spec.linux, host, notices)
        usable_mount_label(spec.linux, host, notices)
    for notice in notices:
        # without any inheritable ones nobody expects ambient ones: so it is in runc's own spec
        if notice.startswith("ignoring ") or (given and given.inheritable):
            call.log.warning(notice)


def _with_environment(call: Call, spec: Spec, taken: Taken) -> tuple[Spec, bool]:
    """The spec with what the caller's environment adds: LISTEN_FDS, NOTIFY_SOCKET."""
    from dataclasses import replace

    from mobyshell.runc import notify

    wanted = notify.wanted() and spec.process is not None
    if wanted:
        spec = notify.with_socket(spec, call.root() / call.id)
    if taken.environment and spec.process is not None:
        env = (*(spec.process.env or ()), *taken.environment)
        spec = replace(spec, process=replace(spec.process, env=env))
    return spec, wanted


def _options(call: Call, taken: Taken, notify: bool) -> Options:
    flags = call.flags
    pivot = not flags.on("no-pivot")
    return Options(
        kept=taken.kept,
        keyring=not flags.on("no-new-keyring"),
        pivot=pivot,
        bare=() if pivot else whole(os.getpid(), "proc", "sysfs"),
        find_program=True,
        directories=("notify",) if notify else (),
    )


def _create(call: Call, runtime: Runtime, bundle: str, spec: Spec, options: Options) -> Container:
    rows, columns = streams.size(call)
    return steps(
        runtime.create(
            call.id, bundle, stdio=Stdio(0, 1, 2), spec=spec, rows=rows, columns=columns,
            options=options,
        )
    )  # fmt: skip


def _go_on(call: Call, runtime: Runtime, container: Container, detached: bool) -> int:
    """Hand out what the caller asked for; for `run`, start it, and wait unless detached."""
    streams.hand_out(call, container)
    if call.command == "create":
        return 0
    if detached:
        from mobyshell.runc.start import start

        start(call, runtime)
        return 0
    from mobyshell.runc.foreground import attend

    return attend(call, runtime, container)


def undo(runtime: Runtime, id: str) -> None:
    """Take back a container that could not be handed out."""
    try:
        steps(runtime.delete(id, force=True))
    except MobyshellError:
        pass  # the first error is what the caller must hear of
