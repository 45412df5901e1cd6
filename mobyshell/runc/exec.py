"""exec: one more process in a container."""

from __future__ import annotations

import os
from dataclasses import replace

from mobyshell.core.oci import Capabilities, Process, Spec, User, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Stdio
from mobyshell.core.runtime.exec import ExecProcess, check_running
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.refusals import usable_capabilities, usable_labels
from mobyshell.core.runtime.steps import run as steps
from mobyshell.core.runtime.values import Options
from mobyshell.runc import streams
from mobyshell.runc.bundle import load_process
from mobyshell.runc.call import Call, Failure
from mobyshell.runc.compiled import remember_exec
from mobyshell.runc.table import COMMANDS

FAILED = 255


def run(call: Call) -> int:
    """`exec`."""
    flags = call.flags
    runtime = call.runtime()
    root = call.root()
    state = check_running(root, call.id, ignore_paused=flags.on("ignore-paused"))
    spec = load_spec(states.directory(root, call.id))
    own = spec.process
    assert own is not None
    process = _asked(call, own)
    detached = flags.on("detach")
    streams.check_console(bool(process.terminal), detached, flags.text("console-socket"), "exec")
    taken = streams.taken(call)
    if taken.environment:
        process = replace(process, env=(*(process.env or ()), *taken.environment))
    _warn(call, process, spec, runtime.host)
    _tell_before(call, process)
    rows, columns = streams.size(call)
    options = Options(kept=taken.kept, find_program=True)
    groups = _cgroups(flags.list("cgroup"), state.cgroups) if flags.given("cgroup") else None
    made = steps(
        runtime.exec(
            call.id, process, stdio=Stdio(0, 1, 2), rows=rows, columns=columns, cgroups=groups,
            ignore_paused=flags.on("ignore-paused"), options=options,
        )
    )  # fmt: skip
    call.log.debug("child process in init(): it is in the container")
    call.log.debug("setns_init: about to exec")
    try:
        if _is_plain(call) and not taken.environment:
            described = ([], flags.text("process")) if flags.given("process") else (
                list(flags.words[1:]), ""
            )  # fmt: skip
            remember_exec(runtime, call.id, process, options, described)
        streams.hand_out(call, made)
    except OSError:
        from signal import SIGKILL

        from mobyshell.core.linux import pidfd as pidfds

        pidfds.send(made.pidfd, SIGKILL)
        raise
    return 0 if detached else _follow(made)


def _tell_before(call: Call, process: Process) -> None:
    """What runc's log says before the container is entered, in its words: its suite reads them."""
    affinity = process.exec_cpu_affinity
    if affinity is not None and affinity.initial:
        mask = sum(1 << number for number in _numbers(affinity.initial))
        call.log.debug(f"nsexec[{os.getpid()}]: affinity: {mask:#x}")
    call.log.debug("nsexec container setup: the container's namespaces are entered")


def _follow(made: ExecProcess) -> int:
    """Stay with the process until it ends; its status."""
    from mobyshell.core.linux import pidfd as pidfds
    from mobyshell.runc.foreground import Follower

    with Follower(made.pidfd, made.master) as follower:
        follower.follow()
    status = pidfds.reap(made.pidfd)
    return FAILED if status is None else status & 0xFF


def _warn(call: Call, process: Process, spec: Spec, host: Host) -> None:
    """Of what the new process will not have, as `create` does, and runc."""
    notices: list[str] = []
    if process.apparmor_profile or process.selinux_label:
        usable_labels(process, host, notices)
    given = process.capabilities or (spec.process.capabilities if spec.process else None)
    if given is not None and spec.linux is not None:
        usable_capabilities(given, spec.linux, host, notices)
    for notice in notices:
        if notice.startswith("ignoring "):
            call.log.warning(notice)


def _is_plain(call: Call) -> bool:
    """Whether its flags say nothing of the process; what they say is not a part of what is stored."""
    silent = ("detach", "pid-file", "process")
    return all(name in silent or not call.flags.given(name) for name in COMMANDS["exec"][1])


def _asked(call: Call, own: Process) -> Process:
    """The process that --process describes, or the container's own with what the flags change."""
    flags = call.flags
    path = flags.text("process")
    if path:
        process = load_process(path)
        if not process.args:
            raise Failure("exec failed: args must not be empty", FAILED)
        return process
    words = tuple(flags.words[1:])
    if not words:
        raise Failure("exec failed: exec args cannot be empty", FAILED)
    changes: dict[str, object] = {"args": words, "terminal": flags.on("tty")}
    if flags.text("cwd"):
        changes["cwd"] = flags.text("cwd")
    if flags.text("apparmor"):
        changes["apparmor_profile"] = flags.text("apparmor")
    if flags.text("process-label"):
        changes["selinux_label"] = flags.text("process-label")
    if flags.on("no-new-privs"):
        changes["no_new_privileges"] = True
    if flags.given("env"):
        for one in flags.list("env"):
            if one.find("=") < 1:
                said = f'unable to start container process: invalid environment variable: "{one}"'
                raise Failure(f"exec failed: {said}", FAILED)
        changes["env"] = (*(own.env or ()), *flags.list("env"))
    if flags.given("cap"):
        changes["capabilities"] = _more(own.capabilities, tuple(flags.list("cap")))
    changes["user"] = _user(call, own.user)
    process = replace(own, **changes)  # type: ignore[arg-type]
    if not process.cwd.startswith("/"):
        raise Failure("exec failed: Cwd must be an absolute path", FAILED)
    return process


def _user(call: Call, own: User) -> User:
    flags = call.flags
    changes: dict[str, object] = {}
    try:
        if flags.text("user"):
            uid, given, gid = flags.text("user").partition(":")
            changes["uid"] = _id(uid, "uid")
            if given:
                changes["gid"] = _id(gid, "gid")
        if flags.given("additional-gids"):
            more = tuple(_id(one, "gid") for one in flags.list("additional-gids"))
            changes["additional_gids"] = (*(own.additional_gids or ()), *more)
    except ValueError as error:
        raise Failure(f"exec failed: {error}", FAILED) from None
    return replace(own, **changes) if changes else own  # type: ignore[arg-type]


def _numbers(text: str) -> set[int]:
    """The numbers of a list such as `0-3,8`."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _id(word: str, what: str) -> int:
    if not word.isdecimal() or len(word) > 10:
        raise ValueError(f"parsing {word} as int for {what} failed: invalid syntax")
    return int(word)


def _more(own: Capabilities | None, added: tuple[str, ...]) -> Capabilities:
    """The container's sets and these; ambient only where inheritable ones are left to it."""
    before = own or Capabilities()

    def both(names: tuple[str, ...] | None) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*(names or ()), *added)))

    return replace(
        before,
        bounding=both(before.bounding),
        effective=both(before.effective),
        permitted=both(before.permitted),
        ambient=both(before.ambient) if before.inheritable else before.ambient,
    )


def _cgroups(given: list[str] | tuple[str, ...] | object, own: dict[str, str]) -> dict[str, str]:
    """Where the process goes: `--cgroup [controllers:]path`, below the container's own."""
    assert isinstance(given, (list, tuple))
    chosen: dict[str, str] = {}
    for one in given:
        controllers, colon, path = one.rpartition(":")
        names = controllers.split(",") if colon else list(own)
        for name in names:
            if name not in own:
                raise Failure(
                    f"exec failed: bad --cgroup argument: unknown controller {name} in {one}",
                    FAILED,
                )
            if name in chosen and colon:
                raise Failure(f"exec failed: duplicate --cgroup controller {name}", FAILED)
            place = os.path.normpath(f"{own[name]}/{path}")
            if place != own[name] and not place.startswith(own[name] + "/"):
                raise Failure(f"exec failed: bad sub cgroup path: {path}", FAILED)
            if not os.path.isdir(place):
                raise Failure(
                    f"exec failed: unable to start container process: error adding pid to "
                    f"cgroups: openat2 {place}: no such file or directory", FAILED,
                )  # fmt: skip
            chosen[name] = place
    return {**own, **chosen}
