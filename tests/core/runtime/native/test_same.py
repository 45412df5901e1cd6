"""The native executor against the portable one: the same reports, and the same kernel state."""

from __future__ import annotations

import errno
import gc
import os
import re
import signal
import time
from collections.abc import Callable, Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import CallDone, Payload
from mobyshell.core.oci import Process, Spec, User
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.operations.cgroups import wait_until_made
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House, Result

pytestmark = pytest.mark.root

Document = dict[str, Any]
Change = Callable[[Document], object]
NOWHERE = 4095
"""The number of a system call that does not exist."""


class Watched:
    """An executor that keeps what its programs reported; on request it spoils one record."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.programs: list[Program] = []
        self.spoil: tuple[str, int] | None = None
        self.given: list[int] = []

    def run(self, program: Program) -> int | None:
        with self._spoiled("run", program):
            return self.inner.run(program)

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        self.programs += [program] if before is None else [before, program]
        with self._spoiled("spawn", program):
            return self.inner.spawn(program, flags=flags, before=before, cgroup=cgroup, given=given)

    def _spoiled(self, where: str, program: Program) -> _Spoiled:
        wanted = self.spoil
        self.spoil = None if wanted is not None and wanted[0] == where else wanted
        return _Spoiled(program, wanted[1] if wanted is not None and wanted[0] == where else None)


class _Spoiled:
    """For as long as it is entered, record `index` calls what the kernel does not have."""

    def __init__(self, program: Program, index: int | None) -> None:
        self.program, self.index = program, index

    def __enter__(self) -> None:
        if self.index is not None and self.index < self.program.length:
            words = self.program.words
            words[self.index * 10], words[self.index * 10 + 8] = NOWHERE, 0
            self.program.records = None

    def __exit__(self, *_: object) -> None:
        self.program.records = None if self.index is not None else self.program.records


@pytest.fixture
def both(house: House, tmp_path: Path) -> dict[str, House]:
    """Two houses that differ in their executor only."""
    houses = {}
    for name, executor in (("portable", PortableExecutor()), ("native", NativeExecutor())):
        directory = tmp_path / name
        directory.mkdir()
        # the same root one after the other, so that the names of cgroups are the same as well
        events: list[Payload] = []
        runtime = Runtime(
            tmp_path / "root", executor=Watched(executor),
            sink=lambda _, payload, events=events: events.append(payload),
        )  # fmt: skip
        houses[name] = House(runtime, house.bundle, directory, events)
    return houses


WAITING = wait_until_made().title


def calls(house: House) -> list[tuple[Any, ...]]:
    """Every call that ran, in order, with its result; without what differs by nature."""
    found = []
    for one in house.events:
        if isinstance(one, CallDone):
            if one.title == WAITING:
                continue  # who comes first is a matter of time
            # a serial number, a pid; and descriptors beside ours are not the executor's matter
            alike = one.name in ("keyctl", "setsid") or "parent" in one.actor or one.phase == "join"
            result = min(one.result, 0) if alike else one.result
            args = one.args
            if "parent" in one.actor:
                args = [re.sub(r"\d{2,}", "N", arg) for arg in args]  # the child's pid, too
            found.append((one.actor, one.title, one.name, tuple(args), one.errno, result))
    house.events.clear()
    return found


def kernel(pid: int) -> Document:
    """What the kernel says of a process, without what is different for each."""
    proc = Path(f"/proc/{pid}")
    status = dict(
        line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line
    )
    kept = ("Umask", "Uid", "Gid", "Groups", "NSpid", "Threads", "SigBlk", "SigIgn", "SigCgt",
            "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp",
            "Seccomp_filters", "Cpus_allowed")  # fmt: skip
    told: Document = {name: status.get(name) for name in kept}
    told["NSpid"] = (told["NSpid"] or "").split()[1:]
    told["mounts"] = [mount(line) for line in (proc / "mountinfo").read_text().splitlines()]
    told["namespaces"] = {
        one: os.readlink(proc / "ns" / one) == os.readlink(f"/proc/self/ns/{one}")
        for one in os.listdir(proc / "ns")
    }
    for name in ("limits", "cgroup", "oom_score_adj", "uid_map", "gid_map", "setgroups",
                 "personality", "timerslack_ns", "environ"):  # fmt: skip
        told[name] = (proc / name).read_text()
    told["descriptors"] = {
        int(fd): re.sub(r"\d{3,}|/[^ ]*/(native|portable)/", "", os.readlink(proc / "fd" / fd))
        for fd in os.listdir(proc / "fd")
    }
    stat = (proc / "stat").read_text().rpartition(")")[2].split()
    told["session"] = [int(word) == pid for word in stat[2:4]]
    told["cwd"] = os.readlink(proc / "cwd")
    return told


def mount(line: str) -> str:
    """A line of mountinfo without the numbers that the kernel gives in order."""
    before, _, after = line.partition(" - ")
    _, _, device, *rest = before.split(" ")
    rest = [re.sub(r":\d+", "", word) for word in rest]
    return " ".join([device.split(":")[0], *rest, after])


def life(house: House, change: Change | None, namespaces: list[Document] | None = None) -> Any:
    """Everything that can be seen of one container's life."""
    seen: Document = {}

    def changed(document: Document) -> None:
        if change is not None:
            change(document)
        if namespaces is not None:
            document["linux"]["namespaces"] = namespaces
            del document["hostname"]

    spec = house.spec(changed, "sleep", "1000")
    terminal = spec.process is not None and spec.process.terminal
    try:
        made = create(house, spec)
    except MobyshellError as error:
        return {"error": str(error), "calls": calls(house)}
    try:
        while Path(f"/proc/{made.pid}/syscall").read_text().split()[0] != "0":
            time.sleep(0.001)  # it has told that it is created, and is about to read from the FIFO
        seen["created"] = kernel(made.pid)
        # how the process came to be, which the program's execve undoes: glibc's own two signals
        # ignored by its posix_spawn and never blocked, where an interpreter finds its library
        for name in ("SigIgn", "SigBlk", "environ"):
            del seen["created"][name]
        if terminal:
            assert made.master is not None
            seen["terminal"] = os.get_terminal_size(made.master)
        run(house.runtime.start("c"))
        seen["running"] = kernel(made.pid)
        seen["differences"] = [re.sub(r"\[\d+\]'", "", str(one)) for one in house.runtime.diff("c")]
        seen["exec"] = in_it(house)
    except MobyshellError as error:
        seen["error"] = str(error)
    finally:
        signal.pidfd_send_signal(made.pidfd, signal.SIGKILL)
        os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
        os.close(made.pidfd)
        if made.master is not None:
            os.close(made.master)
        run(house.runtime.delete("c", force=True))
    seen["calls"] = calls(house)
    return seen


def create(house: House, spec: Spec) -> Any:
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        return run(house.runtime.create("c", str(house.bundle), stdio=Stdio(null, null, null),
                                        spec=spec, rows=30, columns=90))  # fmt: skip
    finally:
        os.close(null)


def differing(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two values differ, so that a failure can be read."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [found for key in keys
                for found in differing(one.get(key), other.get(key), f"{path}.{key}")]  # fmt: skip
    if isinstance(one, list) and isinstance(other, list):
        pairs = enumerate(zip_longest(one, other))
        return [found for index, pair in pairs for found in differing(*pair, f"{path}[{index}]")]
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


def in_it(house: House) -> Result:
    """What one more process in the container sees of itself."""
    return house.exec("c", "sh", "-c", "id; cat /proc/self/limits; grep -E 'Cap|NoNew|Secc' "
                      "/proc/self/status; ls /proc/self/fd | wc -l; pwd; umask")  # fmt: skip


def without(*kinds: str) -> Change:
    def change(document: Document) -> None:
        document["linux"]["namespaces"] = [
            one for one in document["linux"]["namespaces"] if one["type"] not in kinds
        ]

    return change


def in_user_namespace(document: Document) -> None:
    document["linux"]["namespaces"].append({"type": "user"})
    document["linux"]["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_process(**values: object) -> Change:
    return lambda document: document["process"].update(values)


def with_linux(**values: object) -> Change:
    return lambda document: document["linux"].update(values)


def with_mounts(*mounts: Document) -> Change:
    return lambda document: document["mounts"].extend(mounts)


def with_hooks(document: Document) -> None:
    hook = [{"path": "/bin/true", "args": ["true"]}]
    document["hooks"] = dict.fromkeys(
        ("prestart", "createRuntime", "createContainer", "poststart"), hook
    )


SECCOMP = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
}

CASES: dict[str, Change] = {
    "default": lambda _: None,
    "nothing new": lambda d: (without("pid", "network", "ipc", "uts")(d), d.pop("hostname")),
    "cgroup namespace": lambda d: d["linux"]["namespaces"].append({"type": "cgroup"}),
    "user namespace": in_user_namespace,
    "terminal": with_process(terminal=True),
    "somebody": with_process(user={"uid": 1000, "gid": 1001, "additionalGids": [5, 7], "umask": 63}),
    "no new privileges, seccomp": with_linux(seccomp=SECCOMP),
    "privileges, seccomp": lambda d: (
        d["process"].update(noNewPrivileges=False), d["linux"].update(seccomp=SECCOMP)
    ),
    "ambient capabilities": lambda d: (
        d["process"].update(user={"uid": 5, "gid": 5}),
        d["process"]["capabilities"].update(
            inheritable=["CAP_KILL"], ambient=["CAP_KILL"], permitted=["CAP_KILL"],
        ),
    ),
    "rlimits": with_process(rlimits=[{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 99},
                                     {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
    "oom score": with_process(oomScoreAdj=321),
    "names": lambda d: d.update(hostname="here", domainname="there"),
    "sysctls": with_linux(sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}),
    "devices": with_linux(devices=[
        {"path": "/dev/one", "type": "c", "major": 1, "minor": 3, "fileMode": 438},
        {"path": "/dev/deep/pipe", "type": "p"},
    ]),
    "limits": with_linux(resources={
        "memory": {"limit": 64 << 20}, "pids": {"limit": 50}, "cpu": {"shares": 512},
        "devices": [{"allow": False, "access": "rwm"}],
    }),
    "paths": with_linux(maskedPaths=["/proc/kcore", "/proc/nothing", "/sys/firmware"],
                        readonlyPaths=["/proc/sys", "/nothing"]),
    "propagation": with_linux(rootfsPropagation="shared"),
    "mounts": with_mounts(
        {"destination": "/dev/a/b", "type": "tmpfs", "source": "t", "options": ["size=64k", "ro"]},
        {"destination": "/dev/etc", "source": "/etc", "options": ["rbind", "rro", "nosuid"]},
        {"destination": "/dev/file", "source": "/etc/hostname", "options": ["bind", "shared"]},
    ),
    "hooks": with_hooks,
    "no program": with_process(args=["/nowhere"]),
    "a program in the path": with_process(args=["sleep", "1000"], env=["PATH=/a:/b:/bin", "A=b"]),
    "no working directory": with_process(cwd="/bin/busybox"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_same_container(both: dict[str, House], name: str) -> None:
    portable = life(both["portable"], CASES[name])
    native = life(both["native"], CASES[name])
    assert differing(native, portable) == []
    assert "created" in portable or "error" in portable


def test_the_same_when_it_joins_others(both: dict[str, House]) -> None:
    with_pid = both["portable"].create("first", both["portable"].spec(None, "sleep", "1000"))
    both["portable"].events.clear()
    try:
        kinds = ("network", "ipc", "uts", "pid")
        names = {"network": "net"}
        joined = [
            {"type": kind, "path": f"/proc/{with_pid.pid}/ns/{names.get(kind, kind)}"}
            for kind in kinds
        ]
        joined += [{"type": "mount"}]
        portable = life(both["portable"], None, joined)
        native = life(both["native"], None, joined)
        for seen in (portable, native):  # the count goes on
            for moment in ("created", "running"):
                assert len(seen[moment].pop("NSpid")) == 1
        assert differing(native, portable) == []
        gone = [{"type": "mount"}, {"type": "network", "path": "/nowhere"}]
        assert life(both["native"], None, gone) == life(both["portable"], None, gone)
    finally:
        os.close(with_pid.pidfd)


def test_what_fails_fails_the_same(both: dict[str, House]) -> None:
    """Each operation in turn made to fail: the same error from both, and nothing left behind."""
    portable = both["portable"]
    spec = portable.spec(lambda d: d["process"].update(terminal=True), "true")
    assert create_and_drop(portable, spec, None) == ""
    executor = portable.runtime.executor
    assert isinstance(executor, Watched)
    ran = {(one.operation, one.call): one for one in portable.events if isinstance(one, CallDone)}
    (program,) = executor.programs
    first = {one.operation: index for index, one in reversed(list(enumerate(program.origins)))
             if (one.operation, one.call) in ran}  # fmt: skip
    assert len(first) > 20
    programs_freed(both)
    descriptors, family = len(os.listdir("/proc/self/fd")), children()
    # the start of an interpreter for each is the price: so a third of the operations
    for index in sorted(first.values())[::3]:
        errors = [create_and_drop(one, spec, ("spawn", index)) for one in both.values()]
        assert errors[0] == errors[1], index
        assert os.strerror(errno.ENOSYS) in errors[0], index
    for index in range(0, 60, 12):
        errors = [create_and_drop(one, spec, ("run", index)) for one in both.values()]
        assert errors[0] == errors[1], index
    programs_freed(both)
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert children() == family


def children() -> str:
    """Our children, zombies included."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def programs_freed(both: dict[str, House]) -> None:
    """A program has a descriptor, until nobody knows it any more."""
    for house in both.values():
        house.runtime._prepared.clear()
        assert isinstance(house.runtime.executor, Watched)
        house.runtime.executor.programs.clear()
    gc.collect()


def create_and_drop(house: House, spec: Spec, spoil: tuple[str, int] | None) -> str:
    """Create a container (with one record spoiled); what the error says, or nothing."""
    executor = house.runtime.executor
    assert isinstance(executor, Watched)
    executor.programs.clear()
    executor.spoil = spoil
    said = ""
    try:
        made = create(house, spec)
    except MobyshellError as error:
        said = str(error)
    else:
        run(house.runtime.delete("c", force=True))
        os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
        os.close(made.pidfd)
        if made.master is not None:
            os.close(made.master)
    # what was spoiled must not be used again
    house.runtime._prepared.clear()
    executor.spoil = None
    return said


def test_an_exec_that_fails_fails_the_same(both: dict[str, House]) -> None:
    first = both["portable"].create("c", both["portable"].spec(None, "sleep", "1000"))
    try:
        run(both["portable"].runtime.start("c"))
        for args in (("/nowhere",), ("nowhere",), ("/etc",), ("/bin/busybox", "true")):
            said = []
            for house in both.values():
                process = Process(user=User(uid=0, gid=0), cwd="/", args=args, env=("PATH=/bin",))
                null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
                try:
                    made = run(house.runtime.exec("c", process, stdio=Stdio(null, null, null)))
                    os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
                    os.close(made.pidfd)
                    said.append("")
                except MobyshellError as error:
                    said.append(str(error))
                finally:
                    os.close(null)
            assert said[0] == said[1]
    finally:
        os.close(first.pidfd)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_ends_who_waits_for_the_start(both: dict[str, House], number: int) -> None:
    for name, house in both.items():
        container = house.create("c", house.spec(None, "true"))
        os.kill(container.pid, number)
        ended = run(house.runtime.wait("c", timeout=60))
        assert ended == (number if name == "portable" else 128 + number)
        os.close(container.pidfd)
        run(house.runtime.delete("c"))


def test_the_program_has_the_default_dispositions(both: dict[str, House]) -> None:
    for house in both.values():
        container = house.create("c", house.spec(None, "grep", "Sig[IC]", "/proc/self/status"))
        run(house.runtime.start("c"))
        said = house.finish(container).output.split()
        assert {one: int(value, 16) for one, value in zip(said[::2], said[1::2], strict=True)} == {
            "SigIgn:": 0, "SigCgt:": 0,
        }  # fmt: skip
