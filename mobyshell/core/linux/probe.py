"""What this machine can and cannot do, and for each cannot: what it costs, and how to get it.

Owns the questions. Each is asked of the kernel itself where that is harmless; whatever needs a
namespace is tried in a process of its own.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from mobyshell.core.errors import MobyshellError, Unsupported
from mobyshell.core.linux import capabilities, cgroups, device_filter, lsm, pidfd, procfs, resctrl
from mobyshell.core.linux.namespaces import KINDS
from mobyshell.core.linux.syscalls import number, syscall

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing a machine can have. `detail` is what was found; `costs` and `remedy` are empty
    where nothing is missing."""

    feature: str
    ok: bool
    detail: str
    costs: str = ""
    remedy: str = ""


def probe() -> tuple[Finding, ...]:
    """Ask everything. Takes about a second."""
    return (
        *_kernel(), *_namespaces(), *_users(), *_cgroups(), *_capabilities(), *_filesystems(),
        *_security(), *_networks(), *_programs(),
    )  # fmt: skip


def _finding(feature: str, ok: bool, detail: str, costs: str, remedy: str) -> Finding:
    return Finding(feature, ok, detail, "" if ok else costs, "" if ok else remedy)


def has_call(name: str) -> bool:
    """Whether the kernel knows a system call: called with nonsense, it answers anything but ENOSYS."""
    ctypes.set_errno(0)
    bad = 0xFFFFFFFFFFFFFFFF
    result = syscall(number(name), bad, bad, bad, bad, bad, bad)
    if result >= 0:
        os.close(result)
    return ctypes.get_errno() != errno.ENOSYS


_CALLS = (
    ("openat2", "5.6", "containers cannot be made: paths inside an image could lead outside"),
    ("open_tree", "5.2", "containers cannot be made: bind mounts need it"),
    ("move_mount", "5.2", "containers cannot be made: mounts need it"),
    ("fsopen", "5.2", "containers cannot be made: new filesystems need it"),
    ("mount_setattr", "5.12", "containers cannot be made: read-only and nosuid mounts need it"),
    ("pidfd_open", "5.3", "tasks cannot be signalled and waited for safely"),
)


def _kernel() -> Iterator[Finding]:
    release = os.uname().release
    yield Finding("kernel", True, f"Linux {release} {os.uname().machine}")
    for name, since, costs in _CALLS:
        ok = has_call(name)
        yield _finding(name, ok, "there" if ok else "missing", costs, f"Linux {since} or newer")
    ok = pidfd.tells_exit_status()
    yield _finding("exit status by pidfd", ok, "there" if ok else "missing",
                   "after keeper and shim were both killed, exit statuses of their tasks are unknown",
                   "Linux 6.15 or newer")  # fmt: skip


_TRY = "import ctypes,sys; sys.exit(ctypes.CDLL(None).unshare(int(sys.argv[1])) != 0)"


def _try(flags: int) -> bool:
    words = [sys.executable, "-I", "-S", "-c", _TRY, str(flags)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return done.returncode == 0


def _try_as_nobody() -> bool:
    """Whether an unprivileged user may make a user namespace: tried as one, from root."""
    unshare = shutil.which("unshare", path=_PATH)
    if unshare is None:
        return True  # nothing speaks against it
    done = subprocess.run(
        [unshare, "--user", "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False,
        cwd="/", user=65534, group=65534, extra_groups=[],
    )  # fmt: skip
    return done.returncode == 0


def _namespaces() -> Iterator[Finding]:
    for kind, flag in KINDS.items():
        there = os.path.exists(f"/proc/self/ns/{kind}")
        ok = there and _try(flag)
        detail = "can be made" if ok else "refused" if there else "not in this kernel"
        if there and not ok and _try(flag | KINDS["user"]):
            ok, detail = True, "can be made in a user namespace, as rootless bundles do"
        remedy = "run as root" if there else f"a kernel with the {kind} namespace"
        yield _finding(f"{kind} namespace", ok, detail,
                       f"bundles that ask for a {kind} namespace cannot run", remedy)  # fmt: skip


def _number(path: str) -> int | None:
    try:
        with open(path) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _users() -> Iterator[Finding]:
    limit = _number("/proc/sys/user/max_user_namespaces")
    clone = _number("/proc/sys/kernel/unprivileged_userns_clone")
    if limit == 0:
        ok, detail, remedy = False, "forbidden", "sysctl user.max_user_namespaces=15000"
    elif clone == 0:
        ok, detail, remedy = False, "forbidden", "sysctl kernel.unprivileged_userns_clone=1"
    elif os.geteuid() == 0:
        ok = _try_as_nobody()
        detail, remedy = (
            ("allowed", "") if ok else ("refused", "see sysctl kernel.apparmor_restrict*")
        )
    else:
        ok = _try(KINDS["user"])
        detail, remedy = (
            ("allowed", "") if ok else ("refused", "see sysctl kernel.apparmor_restrict*")
        )
    yield _finding("rootless", ok, detail, "users other than root cannot run containers", remedy)
    for name in ("newuidmap", "newgidmap"):
        path = shutil.which(name, path=_PATH)
        yield _finding(name, path is not None, path or "missing",
                       "rootless containers have one user only", "apt install uidmap")  # fmt: skip


def _cgroups() -> Iterator[Finding]:
    layout = cgroups.detect()
    ok, detail, remedy = True, layout.mode, ""
    if layout.mode == "none":
        ok, remedy = False, "mount -t cgroup2 none /sys/fs/cgroup"
    elif layout.mode == "v2":
        ok = bool(layout.v2_usable)
        detail = f"v2, groups below {layout.v2_usable}" if ok else "v2, none delegated to this user"
        remedy = (
            "run as root, or in a scope of your own: systemd-run --user --scope -p Delegate=yes"
        )
    yield _finding("cgroups", ok, detail, "no limits, no statistics, no pause", remedy)
    wanted = {
        "cpu": "limits on CPU time", "cpuset": "binding to CPUs", "memory": "limits on memory",
        "pids": "limits on processes", "blkio": "limits on disk use", "devices": "device rules",
        "freezer": "pause and resume", "hugetlb": "limits on huge pages",
    }  # fmt: skip
    v2 = {"blkio": "io"}
    for name, use in wanted.items():
        path = layout.own.get(name)
        unified = layout.own.get("")
        if path is None and unified is not None:
            built_in = layout.mode == "v2" and name in ("freezer", "devices")
            if built_in or v2.get(name, name) in layout.v2_controllers:
                path = unified
        ok = path is not None and os.access(path, os.W_OK)
        if name == "devices" and ok and path == unified:
            yield _device_filter()
            continue
        where = path or "no controller"
        remedy = "run as root, or delegate the cgroup" if path else f"a kernel with {name} enabled"
        yield _finding(f"cgroup {name}", ok, where if ok or not path else f"{path} not writable",
                       use, remedy)  # fmt: skip
    there = resctrl.detect()
    yield _finding("resctrl", there is not None,
                   f"{there.root}: {', '.join(there.can)}" if there else "not mounted",
                   "bundles with linux.intelRdt cannot run",
                   "Intel RDT or AMD QoS, and mount -t resctrl resctrl /sys/fs/resctrl")  # fmt: skip
    yield _systemd()


def _systemd() -> Finding:
    # sd_booted(3); then whoever wants it reaches it over D-Bus
    bus = "/run/dbus/system_bus_socket"
    runs, there = os.path.isdir("/run/systemd/system"), os.path.exists(bus)
    detail = "not what this machine booted" if not runs else f"runs, but no {bus}"
    return _finding("systemd", runs and there, "runs, on D-Bus" if runs and there else detail,
                    "mobyshell-runc --systemd-cgroup has nobody to ask",
                    "let the engine use the cgroupfs driver" if not runs else "apt install dbus")  # fmt: skip


def _device_filter() -> Finding:
    try:
        device_filter.available()
        return Finding("cgroup devices", True, "a BPF program can be loaded")
    except MobyshellError as error:
        return Finding("cgroup devices", False, str(error), "device rules", error.hint)


_LOST = {
    "CAP_SYS_RESOURCE": "hard limits cannot be raised, nor the out-of-memory score lowered",
    "CAP_SYS_ADMIN": "no namespaces and mounts without a user namespace",
    "CAP_MKNOD": "no device nodes", "CAP_NET_ADMIN": "no network set-up",
    "CAP_SYS_PTRACE": "no checkpoints, no looking into other users' processes",
}  # fmt: skip


def _capabilities() -> Iterator[Finding]:
    mask = int(procfs.status_fields(os.getpid())["CapEff"], 16)
    for bit in range(capabilities.last() + 1):
        name = capabilities.NAMES[bit] if bit < len(capabilities.NAMES) else f"CAP_{bit}"
        ok = bool(mask >> bit & 1)
        if name in _LOST or (not ok and os.geteuid() == 0):
            yield _finding(name, ok, "held" if ok else "not held",
                           _LOST.get(name, "containers that ask for it cannot have it"),
                           "run as root" if os.geteuid() else "start this machine with it")  # fmt: skip


def _filesystems() -> Iterator[Finding]:
    with open("/proc/filesystems") as file:
        known = {line.split()[-1] for line in file}
    for name, costs in (
        ("overlay", "images cannot be mounted as snapshots"),
        ("tmpfs", "no /dev and /dev/shm in containers"),
        ("mqueue", "bundles that mount mqueue, as the default does, cannot run"),
    ):
        ok = name in known
        yield _finding(name, ok, "there" if ok else "missing", costs, f"modprobe {name}")


def _security() -> Iterator[Finding]:
    from mobyshell.core.linux import seccomp

    try:
        seccomp.binding()
        yield Finding("seccomp", True, "libseccomp is there")
    except MobyshellError as error:
        yield Finding("seccomp", False, str(error), "bundles with a filter cannot run", error.hint)
    running = lsm.active()
    for module in (lsm.APPARMOR, lsm.SELINUX):
        name, ok = module.key, module.key in running
        yield _finding(name, ok, _mode(module) if ok else "not active",
                       f"what a spec's {name} labels forbid is not forbidden: a warning tells",
                       f"boot a kernel that has it with lsm=…,{name}; SELinux needs a policy"
                       if module is lsm.SELINUX else
                       f"boot a kernel that has it with lsm=…,{name}")  # fmt: skip


def _mode(module: lsm.Module) -> str:
    if module is not lsm.SELINUX:
        return "active"
    mode = _number("/sys/fs/selinux/enforce")
    return {1: "active, enforcing", 0: "active, permissive: nothing is forbidden"}.get(
        -1 if mode is None else mode, "active"
    )


def _networks() -> Iterator[Finding]:
    from mobyshell.core.linux.nftables import Ruleset

    ok, detail, remedy = True, "there", ""
    try:
        Ruleset().close()
    except Unsupported as error:
        ok, detail, remedy = False, "not in this kernel", error.hint
    except (MobyshellError, OSError):
        detail = "there, for root"
    yield _finding("nf_tables", ok, detail, "no masquerading and no isolation of networks; a program "
                   "passes published ports on", remedy)  # fmt: skip


_PROGRAMS = (
    ("runc", "bench has no runc to compare with", "apt install runc"),
    ("crun", "bench has no crun to compare with", "apt install crun"),
    ("bwrap", "bench has no bubblewrap to compare with", "apt install bubblewrap"),
    ("containerd", "bench cannot compare the shim's memory", "apt install containerd"),
    ("unshare", "bundle script needs it to run", "apt install util-linux"),
    ("pasta", "users other than root have no network but the host's", "apt install passt"),
    ("setpriv", "bundle script needs it to run", "apt install util-linux"),
)


def _programs() -> Iterator[Finding]:
    path = shutil.which("busybox", path=_PATH)
    yield _finding("busybox", path is not None, path or "missing",
                   "`bundle new` takes a few programs of the machine instead; images from it are not built",
                   "apt install busybox-static")  # fmt: skip
    for name, costs, remedy in _PROGRAMS:
        path = shutil.which(name, path=_PATH)
        yield _finding(name, path is not None, path or "missing", costs, remedy)
