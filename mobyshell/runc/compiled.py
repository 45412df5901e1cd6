"""Plans stored for `quick`: what a bundle became the last time, flat, below the state root.

Owns which plans can be stored, and how: a bundle is remembered when it is seen the second time
(containerd and podman make a new one for each container, and would fill the disk). Entries are
for their owner alone, written by rename, a bounded number of them. Losing one costs some time.
"""

from __future__ import annotations

import json
import marshal
import os
import stat
from dataclasses import replace
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import constants as c
from mobyshell.core.oci import Process, Spec, load_spec, spec_to_json
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Container, Stdio
from mobyshell.core.runtime.environment import home
from mobyshell.core.runtime.exec_planner import make_exec_plan
from mobyshell.core.runtime.operations.calls import AGENT
from mobyshell.core.runtime.plan import HOME, Actor, Call, Cell, Flags, Operation, Phase, Plan, Text
from mobyshell.core.runtime.prepared import CHILD
from mobyshell.core.runtime.program import HEADER_BYTES, Header, Program, assemble
from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.runtime.seccomp import SeccompCompiler
from mobyshell.core.runtime.streams import with_owned
from mobyshell.core.runtime.values import Options
from mobyshell.runc import launch, quick, quick_exec, stored

KEPT = 64
"""Entries below one root."""

# where programs lie, in a process that has hardly anything else
_MAIN_AT, _BEFORE_AT = 0x10000000000, 0x10800000000
_CLEAR_SIGHAND, _INTO_CGROUP = 0x100000000, 0x200000000
_NAME = b"mobyshell:init".ljust(16, b"\0")
_UNFIT = c.CLONE_NEWUSER | c.CLONE_NEWTIME


def material_of(root: Path, bundle: str, keyring: bool) -> bytes:
    """What a plan made from here on depends on; empty where none is stored."""
    if os.uname().machine != "x86_64" or quick.EXECUTOR in os.environb:
        return b""
    try:
        return stored.key(str(root), bundle, keyring)
    except OSError:
        return b""


def remember(
    runtime: Runtime, container: Container, spec: Spec, options: Options, material: bytes
) -> None:
    """Store the plan of a container that was just made, if `quick` could have made it.

    `material` is what it was made from.
    """
    root, bundle = str(runtime.root), container.bundle
    try:
        # still the same: what was changed meanwhile may be in the plan or not
        if not material or stored.key(root, bundle, options.keyring) != material:
            return
        if not _seen(root, material):
            return
        options = with_owned(options, Stdio(0, 1, 2), spec.process)
        plan = runtime.plan(stored.ID, bundle, spec=spec, options=options)
        if fit(plan, spec, options):
            entry = _entry(runtime, plan, spec, container.pid)
            _store(root, material, entry | {"key": material, "owned": options.owned})
    except (OSError, ValueError, MobyshellError):
        return  # no room, no right, no words for it: then without


def remember_exec(
    runtime: Runtime, id: str, process: Process, options: Options, words: tuple[list[str], str]
) -> None:
    """Store the plan of a process that was just executed in container `id`, if `quick_exec` could
    have done it. `words`: its arguments, or else the file that describes it."""
    root = str(runtime.root)
    try:
        if os.uname().machine != "x86_64" or quick.EXECUTOR in os.environb:
            return
        pid, _, groups = quick_exec.state_of(root, id)
        material = quick_exec.key(root, id, *words, list(groups))
        if not _seen(root, material):
            return
        options = with_owned(options, Stdio(0, 1, 2), process)
        spec = load_spec(states.directory(runtime.root, id))
        plan = make_exec_plan(
            spec, process, id=stored.ID, bundle=states.read(runtime.root, id).bundle,
            host=runtime.host, cgroups=groups, compile_seccomp=SeccompCompiler(), options=options,
        )  # fmt: skip
        if _fit_exec(plan, groups, options):
            entry = _exec_entry(plan, process, spec, pid)
            _store(root, material, entry | {"key": material, "owned": options.owned})
    except (OSError, ValueError, MobyshellError):
        return


def _fit_exec(plan: Plan, groups: dict[str, str], options: Options) -> bool:
    attached = [
        arg.value
        for _, one in plan.of(Actor.PARENT)
        for call in one.calls
        for arg in call.args
        if isinstance(arg, Text) and call.name == "openat"
    ]
    calls = [call for _, one in plan.of(Actor.PARENT) for call in one.calls]
    return (
        attached == [f"{path}/cgroup.procs" for path in groups.values()]
        and len(calls) == 3 * len(attached)
        and not (plan.terminal or plan.agent or options.kept)
    )


def _exec_entry(plan: Plan, process: Process, spec: Spec, pid: int) -> dict[str, object]:
    from mobyshell.core.runtime.native.image import elf

    main = assemble(plan.of(Actor.CHILD, *CHILD), _MAIN_AT)
    before = assemble(plan.of(Actor.CHILD, Phase.JOIN), _BEFORE_AT)
    try:
        _check_places(main, before)
        _bake(main, before, c.CLONE_PARENT | _CLEAR_SIGHAND, 0)
        for name, fd in (("init", launch.INIT), ("sync", launch.SYNC)):
            before.set(name, fd)
        identities, values = [], {HOME: ""}
        if main.wants(HOME):
            root = f"/proc/{stored.INIT_PID}/root"
            passwd = _passwd(f"/proc/{pid}/root", replace(spec, mounts=()))
            identities = [(f"{root}/etc/passwd", stored.identify(passwd))]
            values = {HOME: home(process.user.uid, f"/proc/{pid}/root")}
        slots = _slots(main, values), _slots(before, values)
        if any("{" in text for part in slots for _, text in part):
            raise ValueError("a text with the number of a process in it")
        return {
            "uid": process.user.uid,
            "files": [],
            "identities": identities,
            "main": (bytes(main.memory.view), slots[0]),
            "before": (bytes(before.memory.view), slots[1]),
            "reports": (HEADER_BYTES + 8 * main.reports_at, main.length),
            "image": elf(),
            "signals": _signals(),
        }
    finally:
        main.close()
        before.close()


def fit(plan: Plan, spec: Spec, options: Options) -> bool:
    """Whether the launcher and `quick` can do all of it: no hooks, no terminal, nothing to be
    handed over or joined, nothing that the parent must do meanwhile.

    A child that asks for something all the same (a mount point behind a link, a tmpfs like what it
    covers) finds that its socket is a pipe, and fails: then the library does it.
    """
    kinds = {one.type: one.path for one in (spec.linux.namespaces or ())} if spec.linux else {}
    parts = [one for _, one in (*plan.of(Actor.PARENT), *plan.of(Actor.CHILD))]
    calls = [call for one in parts for call in one.calls]
    asks_agent = any(call.args[:1] == (AGENT,) for call in calls)
    return not (
        plan.terminal or plan.attended or plan.handed or plan.clone_flags & _UNFIT
        or spec.hooks or options.kept or options.directories or not options.pivot
        or kinds.get("pid", "-") or any(kinds.values())
        or plan.of(Actor.PARENT, Phase.ATTACH) or plan.of(Actor.CHILD, Phase.JOIN)
        or asks_agent
        or any(call.name.startswith("@") and call.name != "@clone3" for call in calls)
    )  # fmt: skip


def _seen(root: str, material: bytes) -> bool:
    """Whether this is at least the second time; remembered if it is the first."""
    directory = Path(root) / stored.DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    mark = directory / f"{stored.name_of(material)}.seen"
    if mark.exists():
        return True
    _make_room(directory)
    mark.touch(mode=0o600)
    return False


def _make_room(directory: Path) -> None:
    entries = sorted(directory.iterdir(), key=lambda one: one.lstat().st_mtime_ns)
    for one in entries[: max(0, len(entries) - 2 * KEPT)]:
        one.unlink(missing_ok=True)


def _store(root: str, material: bytes, entry: dict[str, object]) -> None:
    data = marshal.dumps(entry, 2)
    path = Path(root) / stored.DIRECTORY / stored.name_of(material)
    states.write_file(path, bytes.fromhex(stored.name_of(data)) + data)


def _entry(runtime: Runtime, plan: Plan, spec: Spec, pid: int) -> dict[str, object]:
    from mobyshell.core.runtime.native.image import elf

    main = assemble(plan.of(Actor.CHILD, *CHILD), _MAIN_AT)
    before = assemble((*plan.of(Actor.PARENT, Phase.PREPARE), (0, _keep_cgroup(plan))), _BEFORE_AT)
    try:
        _check_places(main, before)
        into = _INTO_CGROUP if "" in plan.cgroups else 0
        flags = plan.clone_flags | c.CLONE_PARENT | _CLEAR_SIGHAND | into
        _bake(main, before, flags, launch.CGROUP if into else 0)
        uid = spec.process.user.uid if spec.process else 0
        passwd = _passwd(plan.rootfs, spec) if main.wants(HOME) else None
        values = {HOME: home(uid, f"/proc/{pid}/root") if passwd else ""}
        state = json.dumps(_state(plan, spec)).replace(json.dumps(stored.ID)[1:-1], stored.ID)
        known = {**plan.cgroups, states.LEVELS: ()}
        return {
            "uid": uid,
            "files": _files(runtime),
            "identities": [(passwd, stored.identify(passwd))] if passwd else [],
            "cgroups": list(plan.cgroups.values()),
            "known": json.dumps(known).replace(json.dumps(stored.ID)[1:-1], stored.ID),
            "config": json.dumps(spec_to_json(spec), ensure_ascii=False).encode(),
            "state": state,
            "main": (bytes(main.memory.view), _slots(main, values)),
            "before": (bytes(before.memory.view), _slots(before, values)),
            "reports": (HEADER_BYTES + 8 * main.reports_at, main.length),
            "image": elf(),
            "signals": _signals(),
        }
    finally:
        main.close()
        before.close()


def _keep_cgroup(plan: Plan) -> Operation:
    """The v2 cgroup under the number by which the launcher gives it to clone3."""
    calls: tuple[Call, ...] = ()
    if "" in plan.cgroups:
        on_exec = Flags(c.O_CLOEXEC, "O_CLOEXEC")
        calls = (Call("dup3", (Cell("cgroup"), launch.CGROUP, on_exec)),)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title="put the cgroup's descriptor where clone3 takes it from",
        why="The launcher makes the child; its arguments were written before.",
        man="dup(2)",
        calls=calls,
    )


def _check_places(main: Program, before: Program) -> None:
    if (main.memory.address, before.memory.address) != (_MAIN_AT, _BEFORE_AT):
        raise OSError("another mapping lies where the program must lie")


def _bake(main: Program, before: Program, flags: int, cgroup: int) -> None:
    """Write into the programs what the library's executor would fill in."""
    for name, fd in (("stdin", launch.STDIN), ("stdout", launch.STDOUT), ("stderr", launch.STDERR),
                     ("sync", launch.SYNC), ("fifo", launch.FIFO)):  # fmt: skip
        main.set(name, fd)
    main.set("cwd", -1)  # as `launch` does: no directory is open yet
    header = main.header
    header[Header.CLOCK] = 0
    header[Header.BEFORE] = before.memory.address
    header[Header.BEFORE_BYTES] = before.memory.size
    header[Header.BEHIND] = 1
    main.memory.view[Header.NAME * 8 : Header.NAME * 8 + 16] = _NAME
    header[Header.CLONE_ARGS] = flags
    header[Header.CLONE_ARGS + 10] = cgroup


def _slots(program: Program, values: dict[str, str]) -> list[tuple[int, str]]:
    filled = []
    for at, text in program.slots:
        for placeholder, value in values.items():
            text = text.replace(placeholder, value)
        filled.append((HEADER_BYTES + at, text))
    return filled


def _passwd(rootfs: str, spec: Spec) -> str:
    """The file of the host that the container sees as /etc/passwd. OSError if that is not plain:
    then nothing tells that it has changed."""
    places = {os.path.normpath(one.destination): one.source or "" for one in spec.mounts or ()}
    if "/etc/passwd" in places:
        return places["/etc/passwd"]
    etc = places.get("/etc", f"{rootfs}/etc")
    for path, kind in ((etc, stat.S_IFDIR), (f"{etc}/passwd", stat.S_IFREG)):
        if os.path.lexists(path) and stat.S_IFMT(os.lstat(path).st_mode) != kind:
            raise OSError(f"{path} leads elsewhere")
    return f"{etc}/passwd"


def _state(plan: Plan, spec: Spec) -> dict[str, object]:
    process = spec.process
    state = states.State(
        id=stored.ID, pid=stored.PID, pid_start=stored.PID_START, bundle=plan.bundle,
        rootfs=plan.rootfs, created_ns=stored.CREATED, started_ns=stored.STARTED,
        cgroups=plan.cgroups,
        namespaces=tuple(one.type for one in (spec.linux.namespaces or ())) if spec.linux else (),
        args=tuple(process.args or ()) if process else (),
        annotations=states.annotations_of(spec.annotations), owner=os.geteuid(),
    )  # fmt: skip
    return {name: getattr(state, name) for name in states.State.__slots__}


def _files(runtime: Runtime) -> list[tuple[str, bytes]]:
    """What else the description of the host was made from."""
    own = runtime.host.cgroup_own
    paths = ["/proc/sys/kernel/cap_last_cap", "/sys/kernel/security/lsm"]
    if "cpuset" in own:
        paths += [f"{own['cpuset']}/cpuset.cpus", f"{own['cpuset']}/cpuset.mems"]
    if "" in own:
        paths.append(f"{own['']}/cgroup.controllers")
    return [(path, stored.read(path)) for path in paths if os.path.exists(path)]


def _signals() -> list[int]:
    """Those that a foreground call passes on."""
    from mobyshell.runc.foreground import passed_on

    return passed_on(terminal=False)
