"""Filters of system calls: what they answer, and whom they ask."""

from __future__ import annotations

import errno
import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, SyscallFailed, Unsupported
from mobyshell.core.linux import seccomp
from mobyshell.core.oci.seccomp import ARCHITECTURES
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
X86_64, I386, AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7


def verdict(bpf: bytes, machine: int, number: int) -> int:
    """What a filter returns for a call without arguments: its instructions, one by one."""
    data = struct.pack("=IIQ6Q", number & 0xFFFFFFFF, machine, 0, *(0,) * 6)
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = struct.unpack_from("=HBBI", bpf, 8 * at)
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return int(value)
        elif code == 0x05:
            at += value
        elif code == 0x54:
            accumulator &= value
        else:
            taken = {0x15: accumulator == value, 0x25: accumulator > value,
                     0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]  # fmt: skip
            at += yes if taken else no


def compiled(**members: Any) -> bytes:
    document = {"defaultAction": "SCMP_ACT_ERRNO", **members}
    return seccomp.compile_filter(document)[0]


READ, OPENAT2, NEWER = 0, 437, 500
ALLOWED = [{"names": ["read", "openat2", "nonsense"], "action": "SCMP_ACT_ALLOW"}]


def test_calls_newer_than_the_profile_are_not_there() -> None:
    bpf = compiled(syscalls=ALLOWED, architectures=["SCMP_ARCH_X86_64"])
    assert verdict(bpf, X86_64, READ) == verdict(bpf, X86_64, OPENAT2) == ALLOW
    assert verdict(bpf, X86_64, 100) == ERRNO | errno.EPERM
    assert verdict(bpf, X86_64, NEWER) == ERRNO | errno.ENOSYS
    # another machine, and the other numbers of this one, are the filter's business
    assert verdict(bpf, I386, 3) not in (ALLOW, ERRNO | errno.ENOSYS)
    assert verdict(bpf, X86_64, 0x40000000 | NEWER) not in (ALLOW, ERRNO | errno.ENOSYS)


def test_each_machine_has_its_own_newest_call() -> None:
    machines = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"]
    bpf = compiled(syscalls=ALLOWED, architectures=machines)
    for machine in (X86_64, I386, AARCH64):
        assert verdict(bpf, machine, OPENAT2) == ALLOW
        assert verdict(bpf, machine, NEWER) == ERRNO | errno.ENOSYS
        assert verdict(bpf, machine, 436) == ERRNO | errno.EPERM
    assert verdict(bpf, X86_64, 0x40000000 | OPENAT2) == ALLOW
    assert verdict(bpf, X86_64, 0x40000000 | NEWER) == ERRNO | errno.ENOSYS
    assert verdict(bpf, X86_64, 0x40000000 | 100) == ERRNO | errno.EPERM


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, ALLOW),
        ({"defaultAction": "SCMP_ACT_LOG"}, 0x7FFC0000),
        ({"defaultAction": "SCMP_ACT_KILL_PROCESS"}, ERRNO | errno.ENOSYS),
        ({"defaultErrnoRet": 38}, ERRNO | errno.ENOSYS),
        ({"defaultErrnoRet": 5}, ERRNO | errno.ENOSYS),
    ],
)
def test_what_a_newer_call_gets(members: Document, expected: int) -> None:
    action = (
        "SCMP_ACT_KILL" if members.get("defaultAction") == "SCMP_ACT_ALLOW" else "SCMP_ACT_ALLOW"
    )
    rules = [{"names": ["read", "openat2"], "action": action}]
    machine = {"x86_64": X86_64, "aarch64": AARCH64}[os.uname().machine]
    assert verdict(compiled(**members, syscalls=rules), machine, NEWER) == expected


ACTIONS = [
    ("SCMP_ACT_KILL", None, 0x00000000), ("SCMP_ACT_KILL_THREAD", None, 0x00000000),
    ("SCMP_ACT_KILL_PROCESS", None, KILL), ("SCMP_ACT_TRAP", None, 0x00030000),
    ("SCMP_ACT_ERRNO", None, ERRNO | 1), ("SCMP_ACT_ERRNO", 28, ERRNO | 28),
    ("SCMP_ACT_TRACE", None, 0x7FF00001), ("SCMP_ACT_TRACE", 7, 0x7FF00007),
    ("SCMP_ACT_LOG", None, 0x7FFC0000), ("SCMP_ACT_NOTIFY", None, 0x7FC00000),
]  # fmt: skip


@pytest.mark.parametrize(("action", "code", "expected"), ACTIONS)
def test_every_action(action: str, code: int | None, expected: int) -> None:
    rule = {"names": ["openat2"], "action": action, **({"errnoRet": code} if code else {})}
    bpf = compiled(defaultAction="SCMP_ACT_ALLOW", syscalls=[rule])
    machine = {"x86_64": X86_64, "aarch64": AARCH64}[os.uname().machine]
    assert verdict(bpf, machine, OPENAT2) == expected
    assert verdict(bpf, machine, OPENAT2 + 1) == ALLOW


@pytest.mark.parametrize(
    ("flags", "notify", "expected"),
    [
        ([], False, 0),
        (None, False, 4),
        (None, True, 12),
        (["SECCOMP_FILTER_FLAG_LOG"], False, 2),
        (["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"], False, 4),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], False, 0),
        (["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], True, 40),
        (["SECCOMP_FILTER_FLAG_TSYNC"], True, 8),
    ],
)
def test_flags(flags: list[str] | None, notify: bool, expected: int) -> None:
    rules = [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}] if notify else []
    document = {"defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "syscalls": rules}
    assert seccomp.compile_filter(document)[1] == expected


@pytest.mark.parametrize(
    "flag",
    ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"],
)
def test_the_kernel_takes_every_flag(house: House, flag: str) -> None:
    filtered = {"defaultAction": "SCMP_ACT_ALLOW", "flags": [f"SECCOMP_FILTER_FLAG_{flag}"]}
    done = house.run("true", change=lambda d: d["linux"].update(seccomp=filtered))
    assert done.status == 0


AGENT = r"""
import ctypes, fcntl, json, os, socket, struct, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1]); server.listen()
print("ready", flush=True)
while True:
    there, _ = server.accept()
    data, fds, _, _ = socket.recv_fds(there, 65536, 4)
    print(json.dumps([json.loads(data), len(fds)]), flush=True)
    if not fds:
        continue
    if os.fork():
        os.close(fds[0]); there.close()
        continue
    while True:
        asked = bytearray(80)
        try:
            fcntl.ioctl(fds[0], 0xC0502100, asked)
        except OSError:
            os._exit(0)
        number = struct.unpack_from("=Q", asked)[0]
        call = struct.unpack_from("=i", asked, 16)[0]
        # mkdir and mkdirat: no medium; everything else may go on
        refused = call in (int(sys.argv[2]), int(sys.argv[3]))
        answer = struct.pack("=QqiI", number, 0, -123 if refused else 0, 0 if refused else 1)
        try:
            fcntl.ioctl(fds[0], 0xC0182101, bytearray(answer))
        except OSError:
            pass  # it has been killed meanwhile
"""


class Agent:
    """Somebody who is asked, in a process of its own."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "agent.sock")
        lib = seccomp.binding()
        numbers = [str(lib.resolve_syscall(lib.Arch.NATIVE, name)) for name in ("mkdir", "mkdirat")]
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, self.path, *numbers], stdout=subprocess.PIPE, text=True,
            bufsize=1, start_new_session=True,
        )  # fmt: skip
        assert self.line() == "ready"

    def line(self) -> str:
        """What it says next."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 60)
        assert ready
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        os.killpg(self.process.pid, 9)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.close()


def notifying(path: str, *names: str, **process: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["annotations"] = {"a": "{pid} {nonsense", "b": 'quote " \\'}
        document["process"].update(process)
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta",
            "syscalls": [{"names": list(names), "action": "SCMP_ACT_NOTIFY"}],
        }  # fmt: skip

    return change


def test_a_filter_may_forbid_what_came_before_it(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["process"].update(noNewPrivileges=False, cwd="/proc")
        names = ["getcwd", "fchdir", "chdir", "openat2", "prlimit64", "setrlimit", "close_range"]
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": names, "action": "SCMP_ACT_ERRNO"}],
        }

    result = house.run("grep", "-c", "^Seccomp:.2", "/proc/self/status", change=change)
    assert (result.status, result.output) == (0, "1\n"), result.errors


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_agent_is_told_and_asked(house: House, agent: Agent, no_new_privileges: bool) -> None:
    change = notifying(agent.path, "mkdir", "mkdirat", noNewPrivileges=no_new_privileges)
    script = "mkdir /dev/shm/x; ls /proc/self/fd | wc -l; sleep 1000"
    container = house.create("c", house.spec(change, "sh", "-c", script))
    run(house.runtime.start("c"))
    try:
        told, descriptors = json.loads(agent.line())
        assert descriptors == 1
        assert told == {
            "ociVersion": "1.2.0",
            "fds": ["seccompFd"],
            "pid": container.pid,
            "metadata": "meta",
            "state": {
                "ociVersion": "1.2.0", "id": "c", "status": "creating", "pid": container.pid,
                "bundle": str(house.bundle),
                "annotations": {"a": "{pid} {nonsense", "b": 'quote " \\'},
            },
        }  # fmt: skip
        done = house.exec("c", "sh", "-c", "mkdir /dev/shm/y")
        assert "No medium found" in done.errors
        told, descriptors = json.loads(agent.line())
        assert (descriptors, told["state"]["status"]) == (1, "running")
        assert told["state"]["pid"] == container.pid != told["pid"]
    finally:
        run(house.runtime.kill("c", 9))
        result = house.finish(container)
    assert "No medium found" in result.errors
    assert result.output == "4\n"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_what_the_runtime_itself_needs_can_be_asked_about(
    house: House, agent: Agent, no_new_privileges: bool
) -> None:
    names = ("execve", "openat", "open", "read", "close", "fcntl", "prctl", "setresuid", "capset")
    change = notifying(agent.path, *names, noNewPrivileges=no_new_privileges)
    assert house.run("true", change=change).status == 0


def test_a_container_is_made_twice_from_one_plan(house: House, agent: Agent) -> None:
    for id in ("one", "another-with-a-longer-name"):
        assert house.run("true", change=notifying(agent.path, "mkdir"), id=id).status == 0
        told, _ = json.loads(agent.line())
        assert told["state"]["id"] == id


def test_nobody_is_asked_if_no_rule_asks(house: House) -> None:
    def change(document: Document) -> None:
        notifying("/nowhere.sock", "mkdir")(document)
        document["linux"]["seccomp"]["syscalls"][0]["action"] = "SCMP_ACT_ALLOW"

    assert house.run("true", change=change).status == 0


@pytest.mark.parametrize("path", ["/nowhere.sock", "@nobody-is-here", "/" + "x" * 200])
def test_an_agent_that_is_not_there(house: House, path: str) -> None:
    with pytest.raises(SyscallFailed, match="failed to connect with seccomp agent"):
        house.create("c", house.spec(notifying(path, "mkdir"), "true"))
    assert house.runtime.list() == []


@pytest.mark.parametrize("name", ["write", "sendmsg"])
def test_calls_that_nobody_could_be_asked_about(house: House, name: str) -> None:
    with pytest.raises(Unsupported, match=f"cannot be used for the {name} syscall"):
        house.create("c", house.spec(notifying("/x", name), "true"))


def test_asking_needs_somebody_and_a_way_to_them(house: House) -> None:
    with pytest.raises(InvalidSpec, match="listenerPath"):
        house.spec(notifying("", "mkdir"))

    def change(document: Document) -> None:
        notifying("/x", "mkdir")(document)
        document["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_ERRNO"

    with pytest.raises(Unsupported, match="sendmsg must be allowed"):
        house.create("c", house.spec(change, "true"))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_architecture(name: str) -> None:
    """It gets into the filter, or it is said why no filter of this machine can have it."""
    try:
        assert compiled(syscalls=ALLOWED, architectures=["SCMP_ARCH_X86_64", name])
    except Unsupported as error:
        said = f"linux.seccomp.architectures: {name} "
        assert error.message.startswith(said + "cannot be in one filter") or (
            error.message == f"{said}is unknown to this libseccomp"
        )
