"""A plan as an entry: flat programs at fixed addresses, records with places, what they depend on.

Owns the form that `launch` and `quick` take an entry in. `compiled` decides which plans get one.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import number
from mobyshell.core.oci import Process, Spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.environment import home
from mobyshell.core.runtime.plan import (
    HOME,
    Actor,
    Call,
    Cell,
    Flags,
    Operation,
    Phase,
    Plan,
)
from mobyshell.core.runtime.prepared import CHILD
from mobyshell.core.runtime.program import HEADER_BYTES, WORDS, Header, Program
from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.values import names
from mobyshell.runc import launch, stored
from mobyshell.runc import shape as shapes
from mobyshell.runc.shape import MARK, pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from mobyshell.runc.shape import Pieces

    Flat: TypeAlias = tuple[bytes, int, list[tuple[Pieces, list[int]]], list[tuple[Pieces, int]]]

TELLS_LENGTH = "sethostname"
"""The call that is told how long a text of the bundle is, as its second argument."""

# where programs lie, in a process that has hardly anything else
_MAIN_AT, _BEFORE_AT = 0x10000000000, 0x10800000000
_CLEAR_SIGHAND, _INTO_CGROUP = 0x100000000, 0x200000000
_NAME = b"mobyshell:init".ljust(16, b"\0")


def container_entry(runtime: Runtime, plan: Plan, spec: Spec) -> dict[str, object]:
    from mobyshell.core.runtime.native.image import elf

    main = assemble(plan.of(Actor.CHILD, *CHILD), _MAIN_AT)
    parent = plan.of(Actor.PARENT, Phase.PREPARE, Phase.BESIDE)
    before = assemble((*parent, (0, _keep_cgroup(plan))), _BEFORE_AT)
    try:
        _check_places(main, before)
        into = _INTO_CGROUP if "" in plan.cgroups else 0
        flags = plan.clone_flags | c.CLONE_PARENT | _CLEAR_SIGHAND | into
        _bake(main, before, flags, launch.CGROUP if into else 0)
        return {
            "uid": spec.process.user.uid if spec.process else 0,
            "files": _files(runtime),
            "identities": [],
            "home": _users(spec) if main.wants(HOME) else None,
            "cgroups": [_pieces(path) for path in plan.cgroups.values()],
            "known": _document({**plan.cgroups, states.LEVELS: shapes.place(shapes.LEVELS)}),
            "state": _document(_state(plan, spec)),
            "main": _flat(main),
            "before": _flat(before),
            "reports": (HEADER_BYTES + 8 * main.reports_at, main.length),
            "image": elf(),
            "signals": _signals(),
        }
    finally:
        main.close()
        before.close()


def exec_entry(plan: Plan, process: Process, spec: Spec, pid: int) -> dict[str, object]:
    from mobyshell.core.runtime.native.image import elf

    main = assemble(plan.of(Actor.CHILD, *CHILD), _MAIN_AT)
    before = assemble(plan.of(Actor.CHILD, Phase.JOIN), _BEFORE_AT)
    try:
        _check_places(main, before)
        into = _INTO_CGROUP if "" in plan.cgroups else 0
        flags = c.CLONE_PARENT | _CLEAR_SIGHAND | into
        _bake(main, before, flags, launch.CGROUP if into else 0)
        for name, fd in (("init", launch.INIT), ("sync", launch.SYNC)):
            before.set(name, fd)
        for position, name in enumerate(plan.handed):
            main.set(name, launch.GROUPS + position)
        identities, values = [], {HOME: ""}
        if main.wants(HOME):
            root = f"/proc/{stored.INIT_PID}/root"
            passwd = _passwd(f"/proc/{pid}/root", replace(spec, mounts=()))
            identities = [(f"{root}/etc/passwd", stored.identify(passwd))]
            values = {HOME: home(process.user.uid, f"/proc/{pid}/root")}
        return {
            "uid": process.user.uid,
            "files": [],
            "identities": identities,
            "main": _flat(main, values),
            "before": _flat(before, values),
            "reports": (HEADER_BYTES + 8 * main.reports_at, main.length),
            "image": elf(),
            "signals": _signals(),
        }
    finally:
        main.close()
        before.close()


def _flat(program: Program, values: Mapping[str, str] = MappingProxyType({})) -> Flat:
    """A program as `launch.program` takes it: its bytes, where they lie, its texts with places (and
    the pointers to each), and where the lengths of some are told."""
    for _, text in program.slots:
        if "{" in text or "\0" in text.replace(stored.ID, "").replace(HOME, ""):
            raise ValueError(
                "a text with what only the library puts in, as the number of a process"
            )
    texts: dict[str, list[int]] = {}
    for at, text in program.pointers():
        made = text
        for placeholder, value in values.items():
            made = made.replace(placeholder, value)
        if made != text or any(one in text for one in (stored.ID, HOME, MARK)):
            texts.setdefault(made, []).append(HEADER_BYTES + at)
    numbered = number(TELLS_LENGTH)
    lengths = []
    pointed = {at: text for text, places in texts.items() for at in places}
    for index in range(program.length):
        at = HEADER_BYTES + index * 8 * WORDS
        if program.words[index * WORDS] == numbered and at + 8 in pointed:
            lengths.append((_pieces(pointed[at + 8]), at + 16))
    found = [(_pieces(text), places) for text, places in texts.items()]
    return bytes(program.memory.view), program.memory.address, found, lengths


def _document(value: dict[str, object]) -> Pieces:
    """JSON with places. Those for what is no string are not in quotes."""
    text = json.dumps(value, ensure_ascii=False)
    for one in range(shapes.PID, shapes.TOLD + 1):
        text = text.replace(f'"{shapes.place(one)}"', shapes.place(one))
    return _pieces(text.replace(json.dumps(stored.ID)[1:-1], stored.ID))


def _pieces(text: str) -> Pieces:
    return pieces(
        text.replace(stored.ID, shapes.place(shapes.ID)).replace(HOME, shapes.place(shapes.HOME))
    )


def _users(spec: Spec) -> Pieces:
    """The file that the container has as /etc/passwd, if that is one of the host; else nothing: then
    it is the rootfs's own. ValueError if neither is plain."""
    found: Pieces = ()
    for one in spec.mounts or ():
        place = os.path.normpath(one.destination)
        if place in ("/", "/etc"):
            raise ValueError("what is in there only the container sees")
        if place == "/etc/passwd":
            if MARK not in (one.source or ""):
                raise ValueError("not a file of the host")
            found = pieces(one.source or "")
    return found


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
        id=stored.ID, pid=0, pid_start=0, bundle=plan.bundle, rootfs=plan.rootfs, created_ns=0,
        cgroups=plan.cgroups,
        namespaces=tuple(one.type for one in (spec.linux.namespaces or ())) if spec.linux else (),
        args=tuple(process.args or ()) if process else (), owner=os.geteuid(),
    )  # fmt: skip
    known = {
        "pid": shapes.PID, "pid_start": shapes.PID_START, "created_ns": shapes.CREATED,
        "started_ns": shapes.STARTED, "cgroup_levels": shapes.LEVELS, "annotations": shapes.TOLD,
    }  # fmt: skip
    return {
        name: shapes.place(known[name]) if name in known else getattr(state, name)
        for name in names(states.State)
    }


def _files(runtime: Runtime) -> list[tuple[str, bytes]]:
    """What else the description of the host was made from."""
    groups = stored.own_groups()

    def own(controller: str) -> str:
        """Our own group's directory, in words that hold in another group as well."""
        path, place = runtime.host.cgroup_own[controller].rstrip("/"), groups.get(controller, "")
        if not path.endswith(place):
            return path
        return path.removesuffix(place) + stored.OWN % controller

    found = ["/proc/sys/kernel/cap_last_cap", "/sys/kernel/security/lsm"]
    if "cpuset" in runtime.host.cgroup_own:
        found += [f"{own('cpuset')}/cpuset.cpus", f"{own('cpuset')}/cpuset.mems"]
    if "" in runtime.host.cgroup_own:
        found.append(f"{own('')}/cgroup.controllers")
    files = []
    for file in found:
        path = file
        for name, place in groups.items():
            path = path.replace(stored.OWN % name, place)
        if os.path.exists(path):
            files.append((file, stored.read(path)))
    return files


def _signals() -> list[int]:
    """Those that a foreground call passes on."""
    from mobyshell.runc.foreground import passed_on

    return passed_on(terminal=False)
