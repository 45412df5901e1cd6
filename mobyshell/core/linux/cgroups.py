"""Control groups as this machine has them: version 1, version 2, or both side by side.

Owns the layout (which controller is mounted where, and in which cgroup this process is) and the
handling of directories: make, attach, list, remove, freeze, kill. What limits mean is in
`cgroup_limits`, who may use which device on v2 in `device_filter`.

On a hybrid machine the controllers are on v1 and an (almost) empty v2 hierarchy lies beside
them; its cgroup.kill and cgroup.freeze still work, so a group is made there too.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux import cgroup_tree
from mobyshell.core.values import field, value


@value
class Layout:
    """`mode`: v1, v2, hybrid or none. `own`: controller (v2: "") → absolute directory of the
    cgroup this process is in. `roots`: the same for the tops of the hierarchies, as far as they
    are mounted here. `v2_usable`: the highest v2 directory from ours upwards in which this user
    may make groups ("" if none: nothing was delegated). `v2_controllers`: what can be limited
    below that one."""

    mode: str
    own: Mapping[str, str]
    v2_controllers: tuple[str, ...] = ()
    roots: Mapping[str, str] = field(default_factory=dict)
    v2_usable: str = ""


@value
class Write:
    """One value for one control file. `controller` is "" for v2; `source` the JSON path.

    `optional`: a kernel without the file does without. `otherwise`: (file, value) to write in a
    kernel that has that file instead.
    """

    controller: str
    file: str
    value: str
    source: str
    optional: bool = False
    otherwise: tuple[str, str] | None = None

    @property
    def needs(self) -> str:
        """The controller that owns the file; "" for those of every group (`cgroup.freeze`)."""
        if self.controller:
            return self.controller
        name = self.file.partition(".")[0]
        return "" if name == "cgroup" else name


def detect(cgroup: str = "/proc/self/cgroup", mountinfo: str = "/proc/self/mountinfo") -> Layout:
    """Read the layout (cgroups(7), proc_pid_mountinfo(5))."""
    mounts: dict[str, tuple[str, str]] = {}
    with open(mountinfo) as file:
        for line in file:
            left, _, right = line.partition(" - ")
            kind, _, options = right.split(" ", 2)
            if kind not in ("cgroup", "cgroup2"):
                continue
            root, point = left.split(" ")[3:5]
            if kind == "cgroup2":
                mounts.setdefault("", (root, point))
                continue
            for option in options.strip().split(","):
                mounts.setdefault(option, (root, point))
    own: dict[str, str] = {}
    with open(cgroup) as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                if controller not in mounts:
                    continue
                root, point = mounts[controller]
                # in a container the mount shows a part of the hierarchy as its root
                inside = path.removeprefix(root.rstrip("/")) if root != "/" else path
                if inside.startswith("/.."):
                    inside = ""  # above the root of our cgroup namespace: not to be seen from here
                own[controller] = (point + "/" + inside.strip("/")).rstrip("/")
    v1 = [name for name in own if name and not name.startswith("name=")]
    v2 = "" in own
    mode = "hybrid" if v1 and v2 else "v1" if v1 else "v2" if v2 else "none"
    if mode == "v2":
        # a named hierarchy beside it (as old systemds want one in containers) limits nothing
        own = {"": own[""]}
    limits: tuple[str, ...] = ()
    usable = ""
    if v2:
        usable = _usable(own[""], mounts[""][1])
        try:
            limits = tuple(read(usable or own[""], "cgroup.controllers").split())
        except SyscallFailed:
            limits = ()
    roots = {controller: mounts[controller][1] for controller in own}
    return Layout(mode, own, limits, roots, usable)


def _usable(own: str, top: str) -> str:
    """The highest group, from `own` up to `top`, that this user may make groups in and may move
    processes through: the root for root, what was delegated for others (cgroup-v2.rst,
    "Delegation Containment")."""
    found, level = "", own
    while os.access(level, os.W_OK) and os.access(f"{level}/cgroup.procs", os.W_OK):
        found = level
        if level == top:
            break
        level = os.path.dirname(level)
    return found


def together(paths: Mapping[str, str]) -> dict[str, str]:
    """`paths` by hierarchy: v1 controllers that are mounted together (`cpu,cpuacct`) have one
    directory, and one name, as /proc/PID/cgroup writes it."""
    names: dict[str, list[str]] = {}
    for controller, path in paths.items():
        names.setdefault(path, []).append(controller)
    return {",".join(found): path for path, found in names.items()}


def delegable() -> tuple[str, ...]:
    """The files of a v2 group that are given to whoever may make groups below it (cgroups(7),
    "/sys/kernel/cgroup files")."""
    try:
        return tuple(read("/sys/kernel/cgroup", "delegate").split())
    except SyscallFailed:
        return ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def read(path: str, file: str) -> str:
    """The content of a control file, without the last newline."""
    try:
        data = _content(os.open(f"{path}/{file}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise SyscallFailed.of(error, "read", path=f"{path}/{file}") from None
    return data.decode(errors="replace").rstrip("\n")


def _content(fd: int) -> bytes:
    """All of a file, which is closed."""
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def write(path: str, file: str, value: str) -> None:
    """Write `value` into a control file in one write(2)."""
    try:
        fd = os.open(f"{path}/{file}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=f"{path}/{file}") from None


def processes(path: str) -> list[int]:
    """The pids in the cgroup `path` and in every cgroup below it; none if it is not there."""
    found: list[int] = []
    for directory in cgroup_tree.walk(path):
        try:
            text = _content(os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise SyscallFailed.of(error, "read", path=f"{path}/…/cgroup.procs") from None
            continue
        found += [int(line) for line in text.split()]
    return found


def remove(paths: Iterable[str], timeout: float = 5.0) -> None:
    """Remove cgroups with those below them. Not being there is fine.

    A cgroup is busy for a moment after its last process has died, so this tries for `timeout`
    seconds; then SyscallFailed, naming the one that stays.
    """
    deadline = time.monotonic() + timeout
    for path in paths:
        pause = 0.0005
        while True:
            try:
                os.rmdir(path)  # mostly there is nothing below, and nobody in it any more
                break
            except FileNotFoundError:
                break
            except OSError:
                pass  # the long way then
            try:
                cgroup_tree.remove(path)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise SyscallFailed.of(
                        error, "rmdir", path=path,
                        hint="a process is still in it, or in one below it: see cgroup.procs",
                    ) from None  # fmt: skip
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def release(paths: Mapping[str, str]) -> None:
    """Thaw every v1 group below: one that was frozen from inside holds even a SIGKILL up. On v2
    it does not."""
    if "freezer" not in paths:
        return
    for directory in cgroup_tree.walk(paths["freezer"]):
        try:
            fd = os.open("freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.write(fd, b"THAWED")
            finally:
                os.close(fd)
        except OSError:
            continue  # gone meanwhile


def take_out(paths: Mapping[str, str], pid: int) -> None:
    """Move a process out of the v1 freezer's group, to the one above: frozen it does not even die. On v2
    it does."""
    if "freezer" in paths:
        with suppress(SyscallFailed):  # it has gone, or is not ours to move
            write(os.path.dirname(paths["freezer"]), "cgroup.procs", str(pid))


def missing_levels(paths: Iterable[str], firm: Collection[str] = ()) -> tuple[str, ...]:
    """The directories above `paths` that are not there yet, deepest first; `firm` are always there."""
    found: dict[str, None] = {}
    for path in paths:
        level = path.rpartition("/")[0]
        while level and level not in firm and level not in found and not os.path.lexists(level):
            found[level] = None
            level = level.rpartition("/")[0]
    return tuple(sorted(found, key=len, reverse=True))


def remove_empty(levels: Iterable[str]) -> None:
    """Remove those of `levels` (deepest first) that hold no other group: the last one to leave
    takes them away. One that stays is no error."""
    for level in levels:
        try:
            os.rmdir(level)
        except OSError:
            continue


def enable(path: str, controllers: Iterable[str]) -> None:
    """Have the v2 group `path` get `controllers`: handed down to it from the first level above
    that has them, level by level (cgroup-v2.rst, "Enabling and Disabling").

    Unsupported if no level has one; SyscallFailed naming the level that may not hand it down.
    """
    for controller in controllers:
        levels: list[str] = []
        level = path
        while controller not in _controllers(level):
            level = os.path.dirname(level)
            if not os.path.exists(f"{level}/cgroup.controllers"):
                raise Unsupported(
                    f"no level above {path} has the {controller} controller",
                    hint="`mobyshell doctor` lists the controllers",
                )
            levels.append(level)
        for level in reversed(levels):
            try:
                if os.path.exists(f"{level}/cgroup.type") and read(level, "cgroup.procs"):
                    # for controllers of threads the kernel would not refuse it, but make the
                    # group threaded, and those below it unfit
                    raise SyscallFailed(
                        "write", errno.EBUSY, path=f"{level}/cgroup.subtree_control"
                    )
                write(level, "cgroup.subtree_control", f"+{controller}")
            except SyscallFailed as error:
                error.hint = refused(level).get(error.errno, error.hint)
                raise


def _controllers(path: str) -> list[str]:
    return read(path, "cgroup.controllers").split()


def refused(level: str) -> dict[int, str]:
    """What it means when `level` may not hand a controller down, by errno (cgroup-v2.rst)."""
    return {
        errno.EBUSY: f"no internal processes: {level} has processes itself, and a group with "
        "processes hands no controllers down; move them into a group below it, or choose a "
        "cgroupsPath elsewhere",
        errno.ENOENT: f"{level} does not have the controller itself: see its cgroup.controllers",
        errno.EACCES: f"{level} is not delegated to this user",
        errno.EOPNOTSUPP: f"{level} is threaded (cgroup.type), and takes controllers of threads only",
    }


def entrances(paths: Mapping[str, str], init: int) -> dict[str, str]:
    """Where one more process of a container goes, whose first one is `init`.

    In its cgroups; but a v2 group whose controllers are handed down inside takes no process any
    more (no internal processes): then where the init is.
    """
    leaf = paths.get("")
    if leaf is not None:
        try:
            if read(leaf, "cgroup.subtree_control"):
                inside = detect(cgroup=f"/proc/{init}/cgroup").own.get("", "")
                if inside.startswith(f"{leaf}/"):
                    return {**paths, "": inside}
        except (SyscallFailed, OSError):
            pass  # it has just ended: whoever enters will be told
    return dict(paths)


def freezer(paths: Mapping[str, str]) -> tuple[str, str, str, str] | None:
    """(directory, file, value that freezes, value that thaws) of the group's freezer, if any."""
    if "freezer" in paths:
        return paths["freezer"], "freezer.state", "FROZEN", "THAWED"
    if "" in paths:
        return paths[""], "cgroup.freeze", "1", "0"
    return None


def frozen(paths: Mapping[str, str]) -> bool:
    """Whether the group is frozen, completely."""
    found = freezer(paths)
    if found is None:
        return False
    directory, file, freeze, _ = found
    try:
        if file == "freezer.state":
            return read(directory, file) == freeze
        return "frozen 1" in read(directory, "cgroup.events").splitlines()
    except SyscallFailed:
        return False


def kill_all(paths: Mapping[str, str]) -> bool:
    """Kill every process of the group at once by cgroup.kill (Linux 5.14); False if it has none."""
    if "" not in paths:
        return False
    try:
        write(paths[""], "cgroup.kill", "1")
    except SyscallFailed:
        return False
    return True
