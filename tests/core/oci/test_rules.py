"""Each rule of the spec, broken alone: the problem's place, what was found, where it says so."""

# ruff: noqa: E501 (a table with a line a row)

from __future__ import annotations

from typing import Any

import pytest

from mobyshell.core.oci import check
from mobyshell.core.oci.rules.namespaces import MOST_MAPPINGS
from tests.core.oci.documents import Document, copy, default, full, locate, put, without

U64 = 2**64 - 1
I64 = 2**63 - 1


def deadline(**times: int) -> Document:
    return {"policy": "SCHED_DEADLINE", **times}


def seccomp(**members: Any) -> Document:
    return {"defaultAction": "SCMP_ACT_ALLOW", **members}


def rule(**members: Any) -> list[Document]:
    return [{"names": ["read"], "action": "SCMP_ACT_ERRNO", **members}]


def mapping(container: int, host: int, size: int) -> Document:
    return {"containerID": container, "hostID": host, "size": size}


ARG = {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}
HERE = ""

# the place that is changed, its new value, the place of the problem if it is another, what was
# found, the section
BROKEN: list[tuple[str, Any, str, str, str]] = [
    ("ociVersion", 1, HERE, "1", "config.md#specification-version"),
    ("ociVersion", None, HERE, "null", "config.md#specification-version"),
    # process
    ("process.args", [], HERE, "nothing", "config.md#posix-process"),
    ("process.args", None, HERE, "nothing", "config.md#posix-process"),
    ("process.args", "sh", HERE, '"sh"', "config.md#posix-process"),
    ("process.args[0]", "", HERE, '""', "config.md#posix-process"),
    ("process.args[1]", "a\0b", HERE, r'"a\u0000b"', "config.md#posix-process"),
    ("process.cwd", "tmp", HERE, '"tmp"', "config.md#process"),
    ("process.cwd", "", HERE, '""', "config.md#process"),
    ("process.env[0]", "=x", HERE, '"=x"', "config.md#posix-process"),
    ("process.env[0]", "PATH", HERE, '"PATH"', "config.md#posix-process"),
    ("process.env[0]", "", HERE, '""', "config.md#posix-process"),
    ("process.terminal", 1, HERE, "1", "config.md#process"),
    ("process.user.uid", -1, HERE, "-1", "config.md#user"),
    ("process.user.uid", 2**32 - 1, HERE, "4294967295", "config.md#user"),
    ("process.user.gid", 2**32 - 1, HERE, "4294967295", "config.md#user"),
    ("process.user.additionalGids[0]", 2**32 - 1, HERE, "4294967295", "config.md#user"),
    ("process.user.gid", "root", HERE, '"root"', "config.md#user"),
    ("process.user.umask", 0o1000, HERE, "512", "config.md#user"),
    ("process.user.additionalGids[1]", -6, HERE, "-6", "config.md#user"),
    ("process.consoleSize.height", 65536, HERE, "65536", "config.md#process"),
    ("process.consoleSize.width", -1, HERE, "-1", "config.md#process"),
    ("process.oomScoreAdj", 1001, HERE, "1001", "config.md#linux-process"),
    ("process.oomScoreAdj", -1001, HERE, "-1001", "config.md#linux-process"),
    ("process.capabilities", ["CAP_KILL"], HERE, "an array of 1 element", "config.md#linux-process"),
    ("process.capabilities.ambient[0]", 5, HERE, "5", "config.md#linux-process"),
    ("process.rlimits[0].soft", 1025, HERE, "1025", "config.md#posix-process"),
    ("process.rlimits[0].hard", U64 + 1, HERE, str(U64 + 1), "config.md#posix-process"),
    ("process.rlimits[0].type", "RLIMIT_NOFILES", HERE, '"RLIMIT_NOFILES"', "config.md#posix-process"),
    ("process.rlimits[1].type", "RLIMIT_NOFILE", HERE, '"RLIMIT_NOFILE" again', "config.md#posix-process"),
    ("process.noNewPrivileges", "yes", HERE, '"yes"', "config.md#linux-process"),
    ("process.scheduler.policy", "SCHED_MAGIC", HERE, '"SCHED_MAGIC"', "config.md#linux-process"),
    ("process.scheduler.nice", 20, HERE, "20", "config.md#linux-process"),
    ("process.scheduler.flags[0]", "SCHED_FLAG_X", HERE, '"SCHED_FLAG_X"', "config.md#linux-process"),
    ("process.scheduler", {"policy": "SCHED_OTHER", "priority": 1}, "process.scheduler.priority", "1", "config.md#linux-process"),
    ("process.scheduler", {"policy": "SCHED_FIFO"}, "process.scheduler.priority", "null", "config.md#linux-process"),
    ("process.scheduler", {"policy": "SCHED_RR", "priority": 100}, "process.scheduler.priority", "100", "config.md#linux-process"),
    ("process.scheduler", {"policy": "SCHED_IDLE", "period": 9}, "process.scheduler.period", "9", "config.md#linux-process"),
    ("process.scheduler", deadline(), HERE, "runtime 0, deadline 0, period 0", "config.md#linux-process"),
    ("process.scheduler", deadline(runtime=3, deadline=2), HERE, "runtime 3, deadline 2, period 0", "config.md#linux-process"),
    ("process.scheduler", deadline(runtime=1, deadline=3, period=2), HERE, "runtime 1, deadline 3, period 2", "config.md#linux-process"),
    ("process.ioPriority.class", "IOPRIO_CLASS_NONE", HERE, '"IOPRIO_CLASS_NONE"', "config.md#linux-process"),
    ("process.ioPriority.priority", 8, HERE, "8", "config.md#linux-process"),
    ("process.execCPUAffinity.initial", "0-", HERE, '"0-"', "config.md#linux-process"),
    ("process.execCPUAffinity.final", "a", HERE, '"a"', "config.md#linux-process"),
    # root, names
    ("root.path", "", HERE, '""', "config.md#root"),
    ("root.path", "a\0", HERE, r'"a\u0000"', "config.md#root"),
    ("root.readonly", 0, HERE, "0", "config.md#root"),
    ("hostname", "x" * 65, HERE, '"' + "x" * 58 + "…", "config.md#hostname"),
    ("domainname", "é" * 33, HERE, '"' + "é" * 33 + '"', "config.md#domainname"),
    # mounts
    ("mounts", {}, HERE, "an object of 0 members", "config.md#mounts"),
    ("mounts[0]", "/proc", HERE, '"/proc"', "config.md#mounts"),
    ("mounts[0].destination", "", HERE, '""', "config.md#mounts"),
    ("mounts[0].destination", 7, HERE, "7", "config.md#mounts"),
    ("mounts[0].type", None, HERE, "nothing", "config.md#posix-platform-mounts"),
    ("mounts[0].type", "bind", HERE, '"bind"', "config.md#posix-platform-mounts"),
    ("mounts[0].options", "ro", HERE, '"ro"', "config.md#mounts"),
    ("mounts[1].source", None, HERE, "nothing", "config.md#mounts"),
    ("mounts[1].uidMappings", None, HERE, "nothing", "config.md#posix-platform-mounts"),
    ("mounts[1].gidMappings", [], HERE, "nothing", "config.md#posix-platform-mounts"),
    ("mounts[1].gidMappings[0].size", 0, HERE, "0", "config.md#mounts"),
    ("mounts[1].options", ["idmap"], HERE, "no bind", "config.md#posix-platform-mounts"),
    # hooks, annotations
    ("hooks.prestart[0].path", "hook", HERE, '"hook"', "config.md#posix-platform-hooks"),
    ("hooks.createRuntime[0].timeout", 0, HERE, "0", "config.md#posix-platform-hooks"),
    ("hooks.createContainer[0].timeout", -1, HERE, "-1", "config.md#posix-platform-hooks"),
    ("hooks.startContainer[0].args", "x", HERE, '"x"', "config.md#posix-platform-hooks"),
    ("hooks.poststart[0].env[0]", None, HERE, "null", "config.md#posix-platform-hooks"),
    ("hooks.poststop", {"path": "/x"}, HERE, "an object of 1 member", "config.md#posix-platform-hooks"),
    ('annotations["empty"]', 1, HERE, "1", "config.md#annotations"),
    ('annotations[""]', "x", HERE, '""', "config.md#annotations"),
    # namespaces and what needs them
    ("linux.namespaces[1].type", "net", HERE, '"net"', "config-linux.md#namespaces"),
    ("linux.namespaces[6].type", "pid", HERE, '"pid" again', "config-linux.md#namespaces"),
    ("linux.namespaces[0].path", "proc/1/ns/pid", HERE, '"proc/1/ns/pid"', "config-linux.md#namespaces"),
    ("linux.namespaces[7].path", "/proc/1/ns/time", "linux.timeOffsets", "an object of 2 members", "config-linux.md#offset-for-time-namespace"),
    ("linux.timeOffsets", {"realtime": {}}, 'linux.timeOffsets["realtime"]', '"realtime"', "config-linux.md#offset-for-time-namespace"),
    ("linux.timeOffsets.monotonic.nanosecs", 10**9, 'linux.timeOffsets["monotonic"].nanosecs', "1000000000", "config-linux.md#offset-for-time-namespace"),
    ("linux.timeOffsets.boottime.secs", 2**63, 'linux.timeOffsets["boottime"].secs', str(2**63), "config-linux.md#offset-for-time-namespace"),
    ("linux.uidMappings", None, HERE, "nothing", "config-linux.md#user-namespace-mappings"),
    ("linux.gidMappings", [], HERE, "nothing", "config-linux.md#user-namespace-mappings"),
    ("linux.uidMappings[0].size", 0, HERE, "0", "config-linux.md#user-namespace-mappings"),
    ("linux.uidMappings[0].size", 2**32, HERE, "4294967296", "config-linux.md#user-namespace-mappings"),
    ("linux.uidMappings[0].hostID", 2**32 - 1, HERE, "4294967295 and the 65535 after it", "config-linux.md#user-namespace-mappings"),
    ("linux.uidMappings", [mapping(2**32 - 1, 0, 1)], "linux.uidMappings[0].containerID", "4294967295 and the 0 after it", "config-linux.md#user-namespace-mappings"),
    ("linux.gidMappings", [mapping(0, 1000, 10), mapping(9, 5000, 10)], "linux.gidMappings[1].containerID", "a range that overlaps that of [0]", "config-linux.md#user-namespace-mappings"),
    ("linux.gidMappings", [mapping(10, 5000, 1), mapping(0, 5000, 10)], "linux.gidMappings[1].hostID", "a range that overlaps that of [0]", "config-linux.md#user-namespace-mappings"),
    ("linux.uidMappings", [mapping(2 * n, 2 * n, 1) for n in range(MOST_MAPPINGS + 1)], HERE, "341 mappings", "config-linux.md#user-namespace-mappings"),
    ('linux.sysctl["kernel.panic"]', "1", HERE, '"kernel.panic"', "config-linux.md#sysctl"),
    ('linux.sysctl["kernel.hostname"]', "x", HERE, '"kernel.hostname"', "config-linux.md#sysctl"),
    ('linux.sysctl["net/../kernel/panic"]', "1", HERE, '"net/../kernel/panic"', "config-linux.md#sysctl"),
    ('linux.sysctl["/net/x"]', "1", HERE, '"/net/x"', "config-linux.md#sysctl"),
    ('linux.sysctl["net."]', "1", HERE, '"net."', "config-linux.md#sysctl"),
    ('linux.sysctl["net.x"]', 1, HERE, "1", "config-linux.md#sysctl"),
    ('linux.sysctl["net.x\\n"]', "1\0", HERE, r'"1\u0000"', "config-linux.md#sysctl"),
    ("linux.rootfsPropagation", "sideways", HERE, '"sideways"', "config-linux.md#rootfs-mount-propagation"),
    ("linux.maskedPaths[0]", "proc", HERE, '"proc"', "config-linux.md#masked-paths"),
    ("linux.readonlyPaths[0]", "", HERE, '""', "config-linux.md#readonly-paths"),
    ("linux.netDevices", {"a/b": {}}, 'linux.netDevices["a/b"]', '"a/b"', "config-linux.md#network-devices"),
    ("linux.netDevices", {"eth0": {"name": ".."}}, 'linux.netDevices["eth0"].name', '".."', "config-linux.md#network-devices"),
    # devices
    ("linux.devices[0].type", "x", HERE, '"x"', "config-linux.md#devices"),
    ("linux.devices[0].path", "dev/fuse", HERE, '"dev/fuse"', "config-linux.md#devices"),
    ("linux.devices[0].path", "/dev/../etc/x", HERE, '"/dev/../etc/x"', "config-linux.md#devices"),
    ("linux.devices[0].uid", 2**32 - 1, HERE, "4294967295", "config-linux.md#devices"),
    ("linux.devices[0].path", "/", HERE, '"/"', "config-linux.md#devices"),
    ("linux.devices[0].path", "/dev/", HERE, '"/dev/"', "config-linux.md#devices"),
    ("linux.devices[0].major", None, HERE, "nothing", "config-linux.md#devices"),
    ("linux.devices[1].minor", -1, HERE, "-1", "config-linux.md#devices"),
    ("linux.devices[1].major", 4096, HERE, "4096", "config-linux.md#devices"),
    ("linux.devices[1].minor", 2**20, HERE, "1048576", "config-linux.md#devices"),
    ("linux.devices[0].fileMode", 0o60666, HERE, "the type 0o60000", "config-linux.md#devices"),
    ("linux.devices[0].fileMode", 2**16, HERE, "65536", "config-linux.md#devices"),
    # limits
    ("linux.cgroupsPath", "a/../../b", HERE, '"a/../../b"', "config-linux.md#cgroups-path"),
    ("linux.resources.devices[0].allow", None, HERE, "null", "config-linux.md#allowed-device-list"),
    ("linux.resources.devices[1].access", "rx", HERE, '"rx"', "config-linux.md#allowed-device-list"),
    ("linux.resources.devices[1].type", "p", HERE, '"p"', "config-linux.md#allowed-device-list"),
    ("linux.resources.devices[1].major", -2, HERE, "-2", "config-linux.md#allowed-device-list"),
    ("linux.resources.memory.limit", -2, HERE, "-2", "config-linux.md#memory"),
    ("linux.resources.memory.limit", 2**70, HERE, str(2**70), "config-linux.md#memory"),
    ("linux.resources.memory.swappiness", 101, HERE, "101", "config-linux.md#memory"),
    ("linux.resources.memory.disableOOMKiller", "no", HERE, '"no"', "config-linux.md#memory"),
    ("linux.resources.cpu.shares", -1, HERE, "-1", "config-linux.md#cpu"),
    ("linux.resources.cpu.cpus", "3-1", HERE, '"3-1"', "config-linux.md#cpu"),
    ("linux.resources.cpu.mems", "0,", HERE, '"0,"', "config-linux.md#cpu"),
    ("linux.resources.cpu.idle", 2, HERE, "2", "config-linux.md#cpu"),
    ("linux.resources.cpu.burst", 1_000_001, HERE, "1000001", "config-linux.md#cpu"),
    ("linux.resources.cpu.quota", 0.5, HERE, "0.5", "config-linux.md#cpu"),
    ("linux.resources.pids.limit", -2, HERE, "-2", "config-linux.md#pids"),
    ("linux.resources.blockIO.weight", 65536, HERE, "65536", "config-linux.md#block-io"),
    ("linux.resources.blockIO.weightDevice[0]", {"major": 8, "minor": 0}, HERE, "no weight", "config-linux.md#block-io"),
    ("linux.resources.blockIO.throttleReadBpsDevice[0].rate", -1, HERE, "-1", "config-linux.md#block-io"),
    ("linux.resources.blockIO.throttleWriteIOPSDevice[0].major", -1, HERE, "-1", "config-linux.md#block-io"),
    ("linux.resources.hugepageLimits[0].pageSize", "../2MB", HERE, '"../2MB"', "config-linux.md#huge-page-limits"),
    ("linux.resources.hugepageLimits[0].limit", -1, HERE, "-1", "config-linux.md#huge-page-limits"),
    ("linux.resources.network.classID", 2**32, HERE, "4294967296", "config-linux.md#network-1"),
    ("linux.resources.network.priorities[0].name", "a b", HERE, '"a b"', "config-linux.md#network-1"),
    ("linux.resources.rdma", {"mlx5_1": {}}, 'linux.resources.rdma["mlx5_1"]', "no limit", "config-linux.md#rdma"),
    ("linux.resources.rdma", {"a b": {"hcaHandles": 1}}, 'linux.resources.rdma["a b"]', '"a b"', "config-linux.md#rdma"),
    ('linux.resources.unified["../x.y/z"]', "1", HERE, '"../x.y/z"', "config-linux.md#unified"),
    ('linux.resources.unified[".."]', "1", HERE, '".."', "config-linux.md#unified"),
    ('linux.resources.unified["io.max"]', 1, HERE, "1", "config-linux.md#unified"),
    ("linux.intelRdt.closID", "..", HERE, '".."', "config-linux.md#intelrdt"),
    ("linux.intelRdt.closID", "a/b", HERE, '"a/b"', "config-linux.md#intelrdt"),
    ("linux.intelRdt.memBwSchema", "L3:0=1", HERE, '"L3:0=1"', "config-linux.md#intelrdt"),
    ("linux.intelRdt.schemata[0]", "L3:0=1\nL3:1=1", HERE, r'"L3:0=1\nL3:1=1"', "config-linux.md#intelrdt"),
    ("linux.memoryPolicy.mode", "MPOL_MAGIC", HERE, '"MPOL_MAGIC"', "config-linux.md#memory-policy"),
    ("linux.memoryPolicy.mode", "MPOL_LOCAL", "linux.memoryPolicy.nodes", '"0-1"', "config-linux.md#memory-policy"),
    ("linux.memoryPolicy.nodes", "", HERE, "nothing", "config-linux.md#memory-policy"),
    ("linux.memoryPolicy.flags[0]", "MPOL_F_X", HERE, '"MPOL_F_X"', "config-linux.md#memory-policy"),
    ("linux.personality.domain", "BSD", HERE, '"BSD"', "config-linux.md#personality"),
    # seccomp
    ("linux.seccomp.defaultAction", "SCMP_ACT_MAYBE", HERE, '"SCMP_ACT_MAYBE"', "config-linux.md#seccomp"),
    ("linux.seccomp", seccomp(defaultAction="SCMP_ACT_NOTIFY"), "linux.seccomp.defaultAction", '"SCMP_ACT_NOTIFY"', "config-linux.md#seccomp"),
    ("linux.seccomp", seccomp(defaultErrnoRet=1), "linux.seccomp.defaultErrnoRet", "1", "config-linux.md#seccomp"),
    ("linux.seccomp", seccomp(listenerMetadata="x"), "linux.seccomp.listenerMetadata", '"x"', "config-linux.md#seccomp"),
    ("linux.seccomp.architectures[1]", "SCMP_ARCH_VAX", HERE, '"SCMP_ARCH_VAX"', "config-linux.md#seccomp"),
    ("linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_X", HERE, '"SECCOMP_FILTER_FLAG_X"', "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].names", [], HERE, "nothing", "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].names[0]", "", HERE, '""', "config-linux.md#seccomp"),
    ("linux.seccomp", seccomp(syscalls=rule(action="SCMP_ACT_ALLOW", errnoRet=1)), "linux.seccomp.syscalls[0].errnoRet", "1", "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].errnoRet", 65536, HERE, "65536", "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].args[0].index", 6, HERE, "6", "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].args[0].op", "==", HERE, '"=="', "config-linux.md#seccomp"),
    ("linux.seccomp.syscalls[0].args[0].value", U64 + 1, HERE, str(U64 + 1), "config-linux.md#seccomp"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value", "problem", "shown", "section"),
    BROKEN,
    ids=[f"{place}={str(value)[:30]}" for place, value, *_ in BROKEN],
)
def test_a_broken_rule(place: str, value: Any, problem: str, shown: str, section: str) -> None:
    found = check(put(full(), locate(place), value))
    assert [(one.path, one.found, one.section) for one in found] == [
        (problem or place, shown, section)
    ]
    assert found[0].allowed
    assert str(found[0]).isprintable()


REQUIRED = [
    "ociVersion", "process.user", "process.user.uid", "process.user.gid", "process.args",
    "process.cwd", "process.consoleSize.height", "process.consoleSize.width",
    "process.rlimits[0].type", "process.rlimits[0].hard", "process.rlimits[0].soft",
    "process.ioPriority.class", "process.scheduler.policy", "root", "root.path",
    "mounts[0].destination", "mounts[1].gidMappings[0].size", "hooks.poststop[0].path",
    "linux.uidMappings[0].containerID", "linux.uidMappings[0].hostID", "linux.uidMappings[0].size",
    "linux.devices[0].path", "linux.devices[0].type", "linux.devices[0].major",
    "linux.devices[0].minor", "linux.resources.devices[0].allow",
    "linux.resources.blockIO.weightDevice[0].major",
    "linux.resources.blockIO.throttleReadBpsDevice[0].rate",
    "linux.resources.hugepageLimits[0].pageSize", "linux.resources.hugepageLimits[0].limit",
    "linux.resources.network.priorities[0].name", "linux.resources.network.priorities[0].priority",
    "linux.seccomp.defaultAction", "linux.seccomp.syscalls[0].names",
    "linux.seccomp.syscalls[0].action", "linux.seccomp.syscalls[0].args[0].index",
    "linux.seccomp.syscalls[0].args[0].value", "linux.seccomp.syscalls[0].args[0].op",
    "linux.memoryPolicy.mode", "linux.personality.domain",
]  # fmt: skip


@pytest.mark.parametrize("place", REQUIRED)
def test_what_is_required(place: str) -> None:
    found = check(without(full(), locate(place)))
    assert [(one.path, one.found) for one in found] == [(place, "nothing")]


def test_without_linux_that_is_the_only_problem() -> None:
    assert [one.path for one in check(without(default(), ("linux",)))] == ["linux"]


ACCEPTED: list[tuple[str, Any]] = [
    ("ociVersion", "bogus"),
    ("ociVersion", ""),
    ("process.args", ["a", "", " "]),
    ("process.cwd", "/.."),
    ("process.env", ["A=", "B==", "C=\n"]),
    ("process.env", []),
    ("process.user.umask", 0),
    ("process.user.uid", 2**32 - 2),
    ("process.rlimits", []),
    ("process.rlimits[0].hard", U64),
    ("process.scheduler", {"policy": "SCHED_FIFO", "priority": 99}),
    ("process.scheduler", {"policy": "SCHED_BATCH", "nice": -20}),
    ("process.scheduler", deadline(runtime=1, deadline=1)),
    ("process.capabilities.bounding", ["CAP_NEW"]),
    ("root.path", "/"),
    ("hostname", "x" * 64),
    ("hostname", ""),
    ("mounts", []),
    ("mounts[0].destination", "proc"),
    ("mounts[1].type", None),
    ("mounts[1].type", "bind"),
    ("mounts[1].uidMappings[0].containerID", 5),
    ("hooks", {}),
    ("hooks.poststop", []),
    ("annotations", {}),
    ("linux.uidMappings", [mapping(10, 20, 10), mapping(0, 10, 10), mapping(20, 2**32 - 2, 1)]),
    ("linux.uidMappings", [mapping(n, n, 1) for n in range(MOST_MAPPINGS)]),
    ("linux.timeOffsets", {}),
    ("linux.sysctl", {"net/ipv4/conf/eth0.100/rp_filter": "1", "fs.mqueue.msg_max": "", "kernel.shm_rmid_forced": "1", "kernel.domainname": "x", "user.max_pid_namespaces": "1"}),
    ("linux.devices", [{"path": "/dev/x", "type": "u", "major": 0, "minor": 0}]),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 4095, "minor": 2**20 - 1, "fileMode": 0o20600}]),
    ("linux.resources", {}),
    ("linux.resources.memory", {"limit": I64, "swap": 0}),
    ("linux.resources.cpu", {"quota": -1, "burst": 5, "cpus": "", "mems": "0"}),
    ("linux.resources.cpu", {"quota": 0, "burst": 5}),
    ("linux.resources.pids.limit", 0),
    ("linux.resources.devices", [{"allow": True}]),
    ("linux.resources.devices[0].access", ""),
    ("linux.resources.blockIO.weightDevice[0]", {"major": 8, "minor": 0, "leafWeight": 0}),
    ("linux.resources.rdma", {"mlx5_1": {"hcaObjects": 0}}),
    ("linux.rootfsPropagation", ""),
    ("linux.rootfsPropagation", "unbindable"),
    ("linux.cgroupsPath", "system.slice:moby:one"),
    ("linux.cgroupsPath", "a..b"),
    ("linux.seccomp", seccomp()),
    ("linux.seccomp.listenerMetadata", ""),
    ("linux.seccomp", seccomp(syscalls=rule(args=[ARG, {**ARG, "valueTwo": U64}]))),
    ("linux.seccomp", seccomp(defaultAction="SCMP_ACT_TRACE", defaultErrnoRet=65535)),
    ("linux.intelRdt.closID", "/"),
    ("linux.memoryPolicy", {"mode": "MPOL_PREFERRED"}),
    ("linux.memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": ""}),
    ("windows", {"layerFolders": 7}),
    ("zos", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"), ACCEPTED, ids=[f"{place}={str(value)[:30]}" for place, value in ACCEPTED]
)
def test_what_is_accepted(place: str, value: Any) -> None:
    assert check(put(full(), locate(place), value)) == []


# what only works in a separate namespace of a kind: all the problems without it
NEEDS: list[tuple[str, set[str]]] = [
    ("uts", {"hostname", "domainname"}),
    ("network", {'linux.sysctl["net.ipv4.ip_forward"]', "linux.netDevices"}),
    ("ipc", {'linux.sysctl["kernel.msgmax"]'}),
    ("mount", {"linux.maskedPaths", "linux.readonlyPaths"}),
    ("user", {"linux.uidMappings", "linux.gidMappings"}),
    ("time", {"linux.timeOffsets"}),
    ("cgroup", set()),
    ("pid", set()),
]


@pytest.mark.parametrize(("kind", "paths"), NEEDS)
def test_what_needs_a_namespace(kind: str, paths: set[str]) -> None:
    document = full()
    spaces = document["linux"]["namespaces"]
    document["linux"]["namespaces"] = [one for one in spaces if one["type"] != kind]
    assert {one.path for one in check(document)} == paths


@pytest.mark.parametrize(
    ("kind", "paths"),
    [("uts", set()), ("network", set()), ("ipc", set()), ("mount", set()),
     ("user", set()), ("time", {"linux.timeOffsets"})],
)  # fmt: skip
def test_what_needs_a_new_namespace(kind: str, paths: set[str]) -> None:
    document = full()
    for one in document["linux"]["namespaces"]:
        if one["type"] == kind:
            one["path"] = "/proc/1/ns/x"
    assert {one.path for one in check(document)} == paths


def test_maps_are_of_a_user_namespace() -> None:
    """Of a new one, or as runc takes it, of one that is joined; without any they mean nothing."""
    document = full()
    linux = document["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
    assert {one.path for one in check(document)} == {"linux.uidMappings", "linux.gidMappings"}


def test_an_idmapped_mount_takes_the_maps_of_the_user_namespace() -> None:
    document = default(rootless=True)
    bind = {"destination": "/x", "source": "/x", "options": ["bind", "idmap"]}
    document["mounts"].append(bind)
    assert check(document) == []
    plain = default()
    plain["mounts"].append(bind)
    assert [one.path for one in check(plain)] == ["mounts[7].options"]


def test_all_problems_are_told_at_once() -> None:
    """Types and sense, in every corner; nothing that only follows from another problem."""
    document = full()
    document["process"]["args"] = []
    document["process"]["oomScoreAdj"] = "high"
    document["process"]["rlimits"][0] = 5
    document["process"]["rlimits"][1]["soft"] = U64
    document["process"]["rlimits"][1]["hard"] = 0
    document["mounts"][0] = None
    document["mounts"].append({"destination": "/x"})
    document["linux"]["devices"][1]["minor"] = -1
    document["linux"]["resources"]["cpu"]["cpus"] = "x"
    document["linux"]["resources"]["cpu"]["burst"] = 2_000_000
    assert {one.path for one in check(document)} == {
        "process.args", "process.oomScoreAdj", "process.rlimits[0]", "process.rlimits[1].soft",
        "mounts[0]", "mounts[2].type", "linux.devices[1].minor", "linux.resources.cpu.cpus",
        "linux.resources.cpu.burst",
    }  # fmt: skip


def test_without_a_version_the_rest_is_judged_too() -> None:
    document = without(full(), ("ociVersion",))
    document["process"]["args"] = []
    document["process"]["terminal"] = 1
    assert [one.path for one in check(document)] == [
        "ociVersion", "process.terminal", "process.args",
    ]  # fmt: skip


def test_no_conclusions_from_what_is_wrong_itself() -> None:
    """With namespaces that cannot be read, nobody knows what lacks one."""
    document = full()
    document["linux"]["namespaces"][4]["type"] = "utz"
    assert [one.path for one in check(document)] == ["linux.namespaces[4].type"]
    document["linux"]["namespaces"] = "all"
    assert [one.path for one in check(document)] == ["linux.namespaces"]


def test_a_million_problems_are_a_thousand() -> None:
    document = default()
    document["process"]["args"] = [0] * 1_000_000
    assert len(check(document)) == 1000
    document = default()
    document["process"]["env"] = ["x"] * 1_000_000
    assert len(check(document)) == 1000
    document["mounts"] = [0] * 600
    assert len(check(document)) == 1000


def test_many_mappings_and_namespaces_are_linear() -> None:
    """A moment's work; quadratic, it would be minutes."""
    document = default(rootless=True)
    document["linux"]["uidMappings"] = [mapping(0, 0, 1)] * 100_000
    assert [one.path for one in check(document)] == ["linux.uidMappings"]
    document = default()
    document["mounts"] = [
        {"destination": "/x", "type": "tmpfs", "options": ["a"] * 10} for _ in range(50_000)
    ]
    assert check(document) == []


def test_judging_does_not_change_the_document() -> None:
    document = full()
    document["process"]["args"] = []
    before = copy(document)
    check(document)
    assert document == before


def test_the_full_document_is_valid() -> None:
    assert check(full()) == []
