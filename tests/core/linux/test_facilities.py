"""The kernel's doors, on the real kernel."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import NotFound, SyscallFailed, Unsupported, UsageError
from mobyshell.core.linux import capabilities, cgroups, paths, pidfd, procfs, syscalls
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.cgroup_limits import (
    blkio_to_io_weight,
    device_line,
    limits_v1,
    limits_v2,
    shares_to_weight,
)  # fmt: skip
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.linux.mounts import parse_line, read_mountinfo, unescape
from mobyshell.core.linux.probe import probe
from mobyshell.core.linux.seccomp import compile_filter
from tests.waiting import eventually

pytestmark = pytest.mark.root


def test_calls_go_through_and_fail_with_what_they_were_about() -> None:
    assert syscalls.call("getpid") == os.getpid()
    with pytest.raises(SyscallFailed) as caught:
        syscalls.call("openat", c.AT_FDCWD, b"/no/such\0", 0, path="/no/such", what="looking")
    assert str(caught.value) == "looking: openat /no/such: No such file or directory"
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(Unsupported):
        syscalls.number("no_such_call")


def test_flags_by_name() -> None:
    assert c.show_flags("mount", c.MS_BIND | c.MS_REC) == "MS_BIND|MS_REC"
    assert c.show_flags("open", 0) == "0"
    assert c.show_flags("umount", c.MNT_DETACH | 0x100) == "MNT_DETACH|0x100"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["ro", "nosuid"], {"attr_set": c.MOUNT_ATTR_RDONLY | c.MOUNT_ATTR_NOSUID}),
        (["ro", "rw"], {"attr_set": 0, "attr_clear": c.MOUNT_ATTR_RDONLY}),
        (["rbind", "rro"], {"bind": True, "recursive": True, "rec_set": c.MOUNT_ATTR_RDONLY}),
        # podman writes both; once asked for, the mounts below come along
        (
            ["rbind", "rprivate", "bind"],
            {"bind": True, "recursive": True, "propagation": (c.MS_PRIVATE | c.MS_REC,)},
        ),
        (["rprivate"], {"propagation": (c.MS_PRIVATE | c.MS_REC,)}),
        (["size=65536k", "mode=755"], {"data": ("size=65536k", "mode=755")}),
        (["noatime"], {"attr_set": c.MOUNT_ATTR_NOATIME, "attr_clear": c.MOUNT_ATTR__ATIME}),
        (["tmpcopyup"], {"extensions": ("tmpcopyup",)}),
        (["relatime", "defaults"], {"data": ()}),
    ],
)
def test_mount_options(options: list[str], expected: dict[str, object]) -> None:
    parsed = parse_options(options)
    assert {name: getattr(parsed, name) for name in expected} == expected


def test_mountinfo() -> None:
    line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/ro\134ot rw,errors=continue"
    found = parse_line(line)
    assert (found.mount_point, found.source) == ("/mnt 2", "/dev/ro\\ot")
    assert found.optional == ("master:1",)
    assert found.options == ("rw", "noatime")
    assert "/proc" in [one.mount_point for one in read_mountinfo(os.getpid())]
    with pytest.raises(NotFound):
        read_mountinfo(2**22 - 1)


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="latin-1")))
def test_unescape_undoes_the_kernels_escapes(text: str) -> None:
    escaped = "".join(f"\\{ord(ch):03o}" if ch in " \t\n\\" else ch for ch in text)
    assert unescape(escaped) == text


@pytest.fixture
def jail(tmp_path: Path) -> int:
    """A root with links that would lead out of it."""
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "out").symlink_to("../outside")
    (root / "abs").symlink_to(str(tmp_path / "outside"))
    (root / "self").symlink_to("/proc/self/root")
    return os.open(root, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


@pytest.mark.parametrize("path", ["../outside", "out", "abs", "self/etc", "etc/../../outside"])
def test_nothing_leads_out_of_a_root(jail: int, path: str) -> None:
    try:
        with pytest.raises(SyscallFailed) as caught:
            os.close(paths.open_beneath(jail, path, c.O_PATH))
        assert caught.value.errno in (errno.ELOOP, errno.EXDEV)
        with pytest.raises(SyscallFailed):
            os.close(paths.open_in_root(jail, path + "/x", os.O_WRONLY | os.O_CREAT, 0o600))
        with pytest.raises(SyscallFailed):
            os.close(paths.make_directories(jail, path + "/made"))
    finally:
        os.close(jail)


def test_directories_are_made_beneath(jail: int) -> None:
    os.close(paths.make_directories(jail, "a/b/c"))
    os.close(paths.open_beneath(jail, "a/b/c", c.O_PATH | os.O_DIRECTORY))
    os.close(jail)


def test_capabilities() -> None:
    assert capabilities.number("CAP_SYS_ADMIN") == 21
    assert capabilities.names(1 << 0 | 1 << 63) == ("CAP_CHOWN", "CAP_63")
    assert 37 <= capabilities.last() < 63
    with pytest.raises(UsageError):
        capabilities.number("CAP_EVERYTHING")


def test_a_pid_is_only_itself_with_its_start_time() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    start = procfs.start_time(child.pid)
    fd = pidfd.open_verified(child.pid, start)
    with pytest.raises(NotFound):
        pidfd.open_verified(child.pid, start + 1)
    assert procfs.alive(child.pid, start)
    assert not pidfd.has_ended(fd)
    assert pidfd.reap(fd) is None
    assert pidfd.send(fd, signal.SIGTERM)
    os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT)
    assert not procfs.alive(child.pid, start)  # a zombie is not alive
    assert child.wait() == -15
    assert not pidfd.send(fd, signal.SIGTERM)
    if pidfd.tells_exit_status():
        assert pidfd.exit_status(fd) == 143
    os.close(fd)


def test_stat_of_a_name_with_parentheses(tmp_path: Path) -> None:
    program = tmp_path / "a) (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "1000"])
    try:
        deadline = time.monotonic() + 60  # its name comes first, its arguments a moment later
        while procfs.command_line(child.pid)[-1:] != ("1000",) and time.monotonic() < deadline:
            time.sleep(0.01)
        found = procfs.stat(child.pid)
        assert (found.command, found.ppid) == ("a) (b", os.getpid())
        assert procfs.command_line(child.pid)[-1:] == ("1000",)
    finally:
        child.kill()
        child.wait()


def test_the_layout_is_the_machines() -> None:
    layout = cgroups.detect()
    assert layout.mode in ("v1", "v2", "hybrid")
    assert all(os.path.isdir(path) for path in layout.own.values())
    for path in layout.own.values():
        assert os.getpid() in [int(one) for one in cgroups.read(path, "cgroup.procs").split()]


def test_a_named_hierarchy_beside_v2_limits_nothing(tmp_path: Path) -> None:
    mountinfo, cgroup = tmp_path / "mountinfo", tmp_path / "cgroup"
    mountinfo.write_text(
        "30 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
        "31 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup none rw,name=systemd\n"
    )
    cgroup.write_text("1:name=systemd:/\n0::/user\n")
    layout = cgroups.detect(str(cgroup), str(mountinfo))
    assert (layout.mode, dict(layout.own)) == ("v2", {"": "/sys/fs/cgroup/user"})
    assert dict(layout.roots) == {"": "/sys/fs/cgroup"}


def test_a_group_holds_freezes_kills_and_goes() -> None:
    own = cgroups.detect().own
    groups = {name: f"{path}/mobyshell-test-{os.getpid()}" for name, path in own.items()
              if name in ("freezer", "pids", "")}  # fmt: skip
    for path in groups.values():
        os.mkdir(path)
    child = subprocess.Popen(["sleep", "1000"])
    try:
        for path in groups.values():
            cgroups.write(path, "cgroup.procs", str(child.pid))
            assert cgroups.processes(path) == [child.pid]
        directory, file, freeze, thaw = cgroups.freezer(groups) or ("", "", "", "")
        cgroups.write(directory, file, freeze)
        while not cgroups.frozen(groups):
            pass
        cgroups.write(directory, file, thaw)
        with pytest.raises(SyscallFailed, match="busy"):
            cgroups.remove(groups.values(), timeout=0.05)
        able = "" in groups and os.path.exists(f"{groups['']}/cgroup.kill")
        assert cgroups.kill_all(groups) == able
        if not able:
            child.kill()
        assert child.wait(60) == -signal.SIGKILL
        eventually(lambda: not cgroups.processes(next(iter(groups.values()))))
    finally:
        child.kill()
        child.wait()
        cgroups.remove(groups.values())
    assert not any(os.path.exists(path) for path in groups.values())
    cgroups.remove(groups.values())  # being gone is fine


def test_limits_become_writes() -> None:
    resources = {
        "memory": {"limit": 1 << 20, "swap": 2 << 20}, "cpu": {"shares": 1024, "quota": 50000, "cpus": "0"},
        "pids": {"limit": 7}, "devices": [{"allow": False, "access": "rwm"}],
    }  # fmt: skip
    v1 = {one.file: one.value for one in limits_v1(resources) if one.source}
    assert v1 == {
        "devices.deny": "a", "memory.limit_in_bytes": "1048576", "memory.memsw.limit_in_bytes": "2097152",
        "cpu.shares": "1024", "cpu.cfs_quota_us": "50000", "cpuset.cpus": "0", "pids.max": "7",
    }  # fmt: skip
    v2 = {one.file: one.value for one in limits_v2(resources)}
    assert v2 == {
        "memory.max": "1048576", "memory.swap.max": "1048576", "cpu.weight": "39", "cpu.max": "50000 100000",
        "cpuset.cpus": "0", "pids.max": "7",
    }  # fmt: skip
    with pytest.raises(Unsupported):
        limits_v2({"memory": {"swap": 5}})
    assert (shares_to_weight(2), shares_to_weight(262144)) == (1, 10000)
    assert (blkio_to_io_weight(10), blkio_to_io_weight(1000)) == (1, 10000)
    assert (
        device_line({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"})
        == "c 1:3 r"
    )
    assert device_line({"allow": True, "type": "c", "minor": 3}) == "c *:3 rwm"


FILTER = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["mkdirat", "mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXFULL},
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": socket.AF_INET6, "op": "SCMP_CMP_EQ"}]},
    ],
}  # fmt: skip

LOAD = """
import ctypes, errno, os, socket, struct, sys
bpf = bytes.fromhex(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(bpf, len(bpf))
program = struct.pack("HxxxxxxQ", len(bpf) // 8, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program) == 0
try:
    os.mkdir("/tmp/never"); print("made")
except OSError as error:
    print(errno.errorcode[error.errno])
socket.socket(socket.AF_INET).close()
try:
    socket.socket(socket.AF_INET6).close(); print("open")
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_compiled_filter_filters() -> None:
    bpf, flags, summary = compile_filter(FILTER)
    assert flags == 4  # SECCOMP_FILTER_FLAG_SPEC_ALLOW: the filter says nothing of flags
    assert len(bpf) % 8 == 0
    assert summary == "default allow, 3 rules"
    done = subprocess.run(
        [sys.executable, "-c", LOAD, bpf.hex()], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["EXFULL", "EPERM"]


def test_notify_is_refused_by_name() -> None:
    with pytest.raises(Unsupported, match="NOTIFY"):
        compile_filter({"defaultAction": "SCMP_ACT_NOTIFY"})


def test_probe_says_what_is_missing_and_how_to_get_it() -> None:
    found = probe()
    names = [one.feature for one in found]
    assert len(names) == len(set(names))
    assert {"openat2", "user namespace", "cgroup memory", "seccomp", "busybox"} <= set(names)
    for one in found:
        assert one.detail
        assert one.ok or (one.costs and one.remedy)
        assert not (one.ok and (one.costs or one.remedy))
