"""Documents to test with: one with every member of the spec, and strategies for valid ones.

Written from runtime-spec's text, not from the tables of the code under test.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from mobyshell.core.oci import default_spec, spec_to_json

Document = dict[str, Any]
Place = tuple[str | int, ...]


def default(rootless: bool = False) -> Document:
    """The default config.json."""
    found: Document = spec_to_json(default_spec(rootless))
    return found


def full() -> Document:
    """Every member that runtime-spec 1.2 has for Linux, in the order of its Go types.

    Of 1.3: netDevices, memoryPolicy, intelRdt.schemata and .enableMonitoring.
    """
    hook = {"path": "/bin/hook", "args": ["hook", "-x"], "env": ["A=b"], "timeout": 5}
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    return {
        "ociVersion": "1.2.1",
        "process": {
            "terminal": True,
            "consoleSize": {"height": 25, "width": 80},
            "user": {"uid": 1, "gid": 2, "umask": 63, "additionalGids": [5, 6], "username": "x"},
            "args": ["sh", "-c", "true"],
            "commandLine": "sh",
            "env": ["PATH=/bin", "EMPTY=", "É=ü"],
            "cwd": "/root",
            "capabilities": {
                "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
                "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"],
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512},
                {"type": "RLIMIT_CORE", "hard": 2**64 - 1, "soft": 0},
            ],
            "noNewPrivileges": True,
            "apparmorProfile": "acme",
            "oomScoreAdj": -1000,
            "scheduler": {
                "policy": "SCHED_DEADLINE", "nice": 0, "priority": 0,
                "flags": ["SCHED_FLAG_RESET_ON_FORK"],
                "runtime": 1_000_000, "deadline": 2_000_000, "period": 3_000_000,
            },
            "selinuxLabel": "system_u:system_r:svirt_lxc_net_t:s0:c1,c2",
            "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            "execCPUAffinity": {"initial": "7", "final": "0-3,7"},
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "moby",
        "domainname": "example.test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/data", "type": "none", "source": "/srv/data",
                "options": ["rbind", "ro", "idmap"], "uidMappings": maps, "gidMappings": maps,
            },
        ],
        "hooks": {
            "prestart": [hook], "createRuntime": [hook], "createContainer": [hook],
            "startContainer": [hook], "poststart": [hook], "poststop": [hook],
        },
        "annotations": {"com.example.key": "value", "empty": ""},
        "linux": {
            "uidMappings": maps,
            "gidMappings": maps,
            "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"},
            "resources": _resources(),
            "cgroupsPath": "/moby/one",
            "namespaces": [
                {"type": "pid", "path": "/proc/1/ns/pid"},
                *({"type": kind} for kind in
                  ("network", "mount", "ipc", "uts", "user", "cgroup", "time")),
            ],
            "devices": [
                {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438,
                 "uid": 0, "gid": 0},
                {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0},
                {"path": "/run/pipe", "type": "p"},
            ],
            "netDevices": {"eth0": {"name": "inside0"}, "eth1": {}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"],
                "listenerPath": "/run/agent.sock",
                "listenerMetadata": "data",
                "syscalls": [
                    {
                        "names": ["personality", "clone"], "action": "SCMP_ACT_ERRNO",
                        "errnoRet": 38,
                        "args": [{"index": 0, "value": 2**64 - 1, "valueTwo": 0,
                                  "op": "SCMP_CMP_MASKED_EQ"}],
                    },
                    {"names": ["mount"], "action": "SCMP_ACT_NOTIFY"},
                ],
            },
            "rootfsPropagation": "rslave",
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "mountLabel": "system_u:object_r:svirt_sandbox_file_t:s0:c1",
            "intelRdt": {
                "closID": "group", "schemata": ["L2:0=f"], "l3CacheSchema": "L3:0=7f0",
                "memBwSchema": "MB:0=20", "enableCMT": True, "enableMBM": False,
                "enableMonitoring": True,
            },
            "memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-1",
                             "flags": ["MPOL_F_STATIC_NODES"]},
            "personality": {"domain": "LINUX32", "flags": ["ADDR_NO_RANDOMIZE"]},
            "timeOffsets": {"monotonic": {"secs": -5, "nanosecs": 999_999_999}, "boottime": {}},
        },
    }  # fmt: skip


def _resources() -> Document:
    rates = [{"major": 8, "minor": 0, "rate": 600}]
    return {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": -1, "access": "rw"},
        ],
        "memory": {
            "limit": 2**29, "reservation": 2**28, "swap": -1, "kernel": -1, "kernelTCP": -1,
            "swappiness": 0, "disableOOMKiller": False, "useHierarchy": True,
            "checkBeforeUpdate": True,
        },
        "cpu": {
            "shares": 1024, "quota": 1_000_000, "burst": 1_000_000, "period": 500_000,
            "realtimeRuntime": 950_000, "realtimePeriod": 1_000_000, "cpus": "2-3", "mems": "0-7",
            "idle": 0,
        },
        "pids": {"limit": 32771},
        "blockIO": {
            "weight": 10, "leafWeight": 10,
            "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
            "throttleReadBpsDevice": rates, "throttleWriteBpsDevice": rates,
            "throttleReadIOPSDevice": rates, "throttleWriteIOPSDevice": rates,
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 2**27}],
        "network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 500}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
        "unified": {"io.max": "259:0 rbps=2097152 wiops=120\n253:0 rbps=2097152"},
    }  # fmt: skip


def copy(document: Document) -> Document:
    """The same values in other objects."""
    found: Document = json.loads(json.dumps(document))
    return found


def places(value: Any, path: Place = ()) -> list[Place]:
    """Every place of a document, its own first."""
    found = [path]
    if isinstance(value, dict):
        items: list[tuple[str | int, Any]] = list(value.items())
    else:
        items = list(enumerate(value)) if isinstance(value, list) else []
    for key, one in items:
        found += places(one, (*path, key))
    return found


def at(document: Any, place: Place) -> Any:
    """What is at a place."""
    for key in place:
        document = document[key]
    return document


def put(document: Document, place: Place, new: Any) -> Any:
    """The document with something else at a place."""
    if not place:
        return new
    changed = copy(document)
    at(changed, place[:-1])[place[-1]] = new
    return changed


def without(document: Document, place: Place) -> Document:
    """The document without what is at a place."""
    changed = copy(document)
    del at(changed, place[:-1])[place[-1]]
    return changed


def locate(path: str) -> Place:
    """A problem's path as a place: `linux.sysctl["a.b"]`, `mounts[3].type`."""
    place: list[str | int] = []
    while path:
        if path.startswith('["'):
            key, end = json.JSONDecoder().raw_decode(path[1:])
            place.append(key)
            path = path[1 + end :].removeprefix("]")
        elif path.startswith("["):
            number, _, path = path[1:].partition("]")
            place.append(int(number))
        else:
            path = path.removeprefix(".")
            end = next((at for at, one in enumerate(path) if one in ".["), len(path))
            place.append(path[:end])
            path = path[end:]
    return tuple(place)


# strategies

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**63, 2**80)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
    | st.sampled_from(["", "/", "..", "a\0b", "\x1b[31m", "-1", "0-3", "\u202e", "x" * 100]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip

_TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)
_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", min_size=1, max_size=12)
_PATH = st.lists(_WORD, max_size=3).map(lambda parts: "/" + "/".join(parts))
_ID = st.integers(0, 2**32 - 2)
_U64 = st.integers(0, 2**64 - 1)


def _object(required: dict[str, Any] | None = None, **optional: Any) -> st.SearchStrategy[Document]:
    """An object with some of its optional members, and now and then one that nobody knows."""
    known = st.fixed_dictionaries(required or {}, optional=optional)
    unknown = st.dictionaries(_WORD.map(lambda word: f"x-{word}"), ANY_JSON, max_size=1)
    return st.tuples(known, st.just({}) | unknown).map(lambda pair: {**pair[0], **pair[1]})


_LIMIT = st.integers(-1, 2**63 - 1)
_USER = _object({"uid": _ID, "gid": _ID}, umask=st.integers(0, 0o777),
                additionalGids=st.lists(_ID, max_size=3))  # fmt: skip
_ENV = st.lists(st.builds(lambda name, value: f"{name}={value}", _WORD, _TEXT), max_size=3)
_RLIMITS = st.lists(
    st.builds(
        lambda kind, a, b: {"type": kind, "hard": max(a, b), "soft": min(a, b)},
        st.sampled_from(["RLIMIT_CPU", "RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_AS"]), _U64, _U64,
    ),
    unique_by=lambda one: one["type"],
)  # fmt: skip
_PROCESS = _object(
    {"user": _USER, "cwd": _PATH, "args": st.lists(_TEXT.filter(bool), min_size=1, max_size=3)},
    terminal=st.booleans(),
    env=_ENV,
    rlimits=_RLIMITS,
    oomScoreAdj=st.integers(-1000, 1000),
    capabilities=_object(bounding=st.lists(_TEXT, max_size=2), ambient=st.lists(_TEXT, max_size=2)),
    ioPriority=_object({"class": st.just("IOPRIO_CLASS_BE")}, priority=st.integers(0, 7)),
    consoleSize=_object({"height": st.integers(0, 65535), "width": st.integers(0, 65535)}),
    noNewPrivileges=st.booleans(),
)
_MOUNTS = st.lists(
    _object({"destination": _TEXT.filter(bool), "type": st.just("tmpfs")}, source=_TEXT,
            options=st.lists(_WORD.map(lambda word: f"size={word}"), max_size=3))
    | _object({"destination": _PATH, "source": _PATH, "options": st.just(["rbind", "ro"])}),
    max_size=4,
)  # fmt: skip
_HOOKS = st.lists(
    _object(
        {"path": _PATH}, args=st.lists(_TEXT, max_size=2), env=_ENV, timeout=st.integers(1, 99)
    ),
    max_size=2,
)
_RESOURCES = _object(
    memory=_object(limit=_LIMIT, swap=_LIMIT, swappiness=st.integers(0, 100)),
    cpu=_object(shares=_U64, quota=_LIMIT, period=_U64, cpus=st.sampled_from(["", "0", "0-3,7"])),
    pids=_object(limit=_LIMIT),
    unified=st.dictionaries(_WORD.map(lambda word: f"memory.{word}"), _TEXT, max_size=2),
    devices=st.lists(
        _object({"allow": st.booleans()}, type=st.sampled_from(["a", "c", "b"]),
                major=st.integers(-1, 300), access=st.sampled_from(["", "r", "rw", "mwr"])),
        max_size=3,
    ),
)  # fmt: skip
_NAMESPACES = st.lists(
    _object({"type": st.sampled_from(["pid", "network", "ipc", "cgroup"])}, path=_PATH),
    unique_by=lambda one: one["type"],
).map(lambda some: [{"type": "mount"}, {"type": "uts"}, *some])
_LINUX = _object(
    {"namespaces": _NAMESPACES},
    resources=_RESOURCES,
    cgroupsPath=_PATH,
    sysctl=st.dictionaries(st.just("kernel.domainname"), _TEXT),
    rootfsPropagation=st.sampled_from(["private", "rslave", "shared"]),
    maskedPaths=st.lists(_PATH, max_size=2),
    readonlyPaths=st.lists(_PATH, max_size=2),
    seccomp=_object(
        {"defaultAction": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_KILL_PROCESS"])},
        syscalls=st.lists(
            _object({"names": st.lists(_WORD, min_size=1, max_size=2),
                     "action": st.just("SCMP_ACT_ERRNO")}, errnoRet=st.integers(0, 4095)),
            max_size=2,
        ),
    ),
)  # fmt: skip
VALID = _object(
    {"ociVersion": _TEXT, "process": _PROCESS, "root": _object({"path": _PATH}), "linux": _LINUX},
    hostname=st.text("abc-", max_size=64),
    mounts=_MOUNTS,
    hooks=_object(createRuntime=_HOOKS, poststop=_HOOKS, startContainer=_HOOKS),
    annotations=st.dictionaries(_TEXT.filter(bool), _TEXT, max_size=3),
    windows=ANY_JSON,
    vm=ANY_JSON,
)
"""Documents that a runtime has to take."""
