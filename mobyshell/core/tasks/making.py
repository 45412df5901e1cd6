"""Making a task: streams first, then the runtime, then the record.

Owns the order, so that a death in the middle leaves nothing that looks finished. A task's files
are put together in `.making` and appear in the container's directory by one rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress

from mobyshell.core.errors import UsageError
from mobyshell.core.oci import IDMapping, Spec, User, load_spec
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.create import Container
from mobyshell.core.runtime.state import CONFIG, State
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.tasks.held import hold, let_go
from mobyshell.core.tasks.paths import TASK, container_dir, task_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import EXIT, Record, process_start, write_record
from mobyshell.core.tasks.runtimes import TaskRuntime
from mobyshell.core.tasks.streams import OUTPUTS, Ends, open_ends
from mobyshell.core.tasks.tables import Tables
from mobyshell.core.values import replace


def make_task(
    house: House, tables: Tables, runtime: TaskRuntime, record: Record, spec: Spec, *,
    rows: int, columns: int, rootfs: RootMount | None = None,
) -> Steps[Process]:  # fmt: skip
    """The container of `record` and `spec`, created, with its process in the tables."""
    final = task_dir(house.state, record.namespace, record.id)
    directory, ends = house.stock.take(
        terminal=record.terminal, stdin=record.stdin, owner=owner_of(spec, None)
    )

    def meanwhile(container: Container) -> None:
        """All that can be done for a container that is not ready yet."""
        record.pid = container.pid
        record.pid_start = container.pid_start or process_start(container.pid)
        write_record(directory, record)
        ends.close_theirs()
        hold(house.holder, record, final, container.pidfd, ends.ours)
        house.journal.flush_some()
        house.stock.fill()

    try:
        # by this a successor knows what we died in the making of
        write_record(directory, record, fresh=True)
        container = yield from runtime.create(
            record.id, record.bundle, stdio=Stdio(*ends.theirs), spec=spec, rows=rows,
            columns=columns, rootfs=rootfs, meanwhile=meanwhile,
        )  # fmt: skip
        if not record.pid:  # a runtime that says nothing before all is done
            meanwhile(container)
    except BaseException:
        _undo(house, record, directory, ends)
        raise
    os.rename(directory, final)
    return _made(house, tables, record, final, container, ends)


KEPT = (TASK, CONFIG)
"""What of a container's directory stays when it is made again."""


def remake_task(
    house: House, tables: Tables, runtime: TaskRuntime, before: Process, *,
    restarts: int | None = None,
) -> Steps[Process]:  # fmt: skip
    """The container of a task that has ended, created again from the spec it has by now, with what
    it had: id, directory, log, networks, volumes. What is left of the one before is deleted. `restarts`:
    how often that was done; once more than before, if it is not given.

    Until the new process is in the record, that says the last one has ended and is to be run
    again: a successor of this shim finds so and begins anew.
    """
    record, directory = before.record, before.directory
    spec = load_spec(container_dir(house.state, record.namespace, record.id))
    kind, source, *options = record.rootfs or ("", "")
    rootfs = RootMount(kind, source, tuple(options)) if kind else None
    if rootfs is not None and spec.root is not None:  # another runtime was given the whole path
        spec = replace(spec, root=replace(spec.root, path=os.path.basename(spec.root.path)))
    yield from runtime.delete(record.id, force=True, keep=KEPT)
    before.drain()
    before.close()
    for name in ("stdin", *OUTPUTS, EXIT):
        with suppress(FileNotFoundError):
            os.unlink(f"{directory}/{name}")
    ends = open_ends(
        directory, terminal=record.terminal, stdin=record.stdin, owner=owner_of(spec, None)
    )
    try:
        container = yield from runtime.create(
            record.id, record.bundle, stdio=Stdio(*ends.theirs), spec=spec, rootfs=rootfs, keep=KEPT
        )
    except BaseException:
        ends.close()
        raise
    ends.close_theirs()
    if container.master is not None:
        ends.ours["master"] = container.master
    count = record.restarts + 1 if restarts is None else restarts
    record = replace(
        record, pid=container.pid, pid_start=container.pid_start or process_start(container.pid),
        created_ns=house.clock.now_ns(), started_ns=0, exited_ns=0, exit_status=None, restarts=count,
        health="", failing=0,
    )  # fmt: skip
    write_record(directory, record)
    process = Process(house, record.namespace, directory, record, container.pidfd, ends.ours,
                      tables.ended, kept=ends.kept)  # fmt: skip
    tables.add(process)
    return process


def start_task(house: House, runtime: TaskRuntime, process: Process) -> Steps[None]:
    """Let the program of a created task run, and write that down. Errors are the runtime's."""
    record = process.record
    before = record.started_ns

    def started(state: State) -> None:
        record.started_ns, record.restart_ns = state.started_ns or house.clock.now_ns(), 0
        process.save()

    process.start_begins()
    try:
        state = yield from runtime.start(record.id, meanwhile=started)
        if record.started_ns == before:
            started(state)
    except BaseException:
        if record.started_ns != before:
            record.started_ns = before
            process.save()
        raise
    finally:
        process.start_ended()
    record.fixed = ""  # there may be thousands of tasks, and it runs for long
    for hear in house.starts:
        hear(process)


def _made(
    house: House, tables: Tables, record: Record, directory: str, made: Container,
    ends: Ends,
) -> Process:  # fmt: skip
    """A process that is there: from now on in the tables."""
    if made.master is not None:
        ends.ours["master"] = made.master
    process = Process(
        house, record.namespace, directory, record, made.pidfd, ends.ours, tables.ended, fresh=True,
        kept=ends.kept,
    )  # fmt: skip
    tables.add(process)
    return process


def _undo(house: House, record: Record, directory: str, ends: Ends) -> None:
    """No process came of it."""
    let_go(house.holder, record, ends.ours)
    ends.close()
    shutil.rmtree(directory, ignore_errors=True)


def adapted(spec: Spec, args: Sequence[str] | None, terminal: bool | None) -> Spec:
    """`spec` with the arguments and the terminal of this one task. UsageError without a process."""
    process = spec.process
    if process is None:
        if args is None and terminal is None:
            return spec
        raise UsageError(
            "the bundle's config.json has no process", hint="add one: `bundle spec` shows how"
        )
    if args is not None:
        if not args:
            raise UsageError("args must not be empty")
        process = replace(process, args=tuple(args))
    if terminal is not None and terminal is not bool(process.terminal):
        process = replace(process, terminal=terminal)
    # the same object for the same spec: who has seen it once need not look at it again
    return spec if process is spec.process else replace(spec, process=process)


def owner_of(spec: Spec, user: User | None) -> tuple[int, int]:
    """The host's ids of the process's user; our own where the container does not map them."""
    if user is None:
        user = spec.process.user if spec.process is not None else None
    uid, gid = (user.uid or 0, user.gid or 0) if user is not None else (0, 0)
    linux = spec.linux
    maps = (linux.uid_mappings or (), linux.gid_mappings or ()) if linux is not None else ((), ())
    return _outside(uid, maps[0], os.geteuid()), _outside(gid, maps[1], os.getegid())


def _outside(id: int, maps: Sequence[IDMapping], default: int) -> int:
    if not maps:
        return id if os.geteuid() == 0 else default
    for one in maps:
        if one.container_id <= id < one.container_id + one.size:
            return one.host_id + id - one.container_id
    return default
