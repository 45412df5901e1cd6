"""Namespaces of both meanings in memory, for tests whose subject is the screen."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.core.linux.namespaces.details import Fact
from mobyshell.core.linux.namespaces.values import By, Hold, Namespace, Process, Survey
from mobyshell.core.oci.digest import Digest
from mobyshell.moby.kernel import Look
from mobyshell.moby.tenants import ObjectInfo, TenantInfo
from tests.fakes import SECOND, FakeTasks

HOST = {kind: 4026531832 + number for number, kind in enumerate(
    ("mnt", "net", "time", "cgroup", "pid", "user", "uts", "ipc"))}  # fmt: skip
WEB = {kind: 4026532300 + number for number, kind in enumerate(("mnt", "net", "pid", "uts"))}
ROOTLESS, ROOTLESS_NET, MOUNTED = 4026532400, 4026532401, 4026532500
INIT, SHELL, US, WEB_PID, WEB_CHILD, ROOTLESS_PID = 1, 700, 800, 1002, 1010, 1200


def fake_survey() -> Survey:
    """A machine with a task, somebody without root in a user namespace, and `ip netns add blue`."""
    processes = (
        Process(INIT, 0, 0, "init", "/sbin/init", "/init.scope", inner=INIT),
        Process(SHELL, INIT, 0, "bash", "-bash", "/user.slice", inner=SHELL),
        Process(US, SHELL, 0, "mobyshell", "mobyshell", "/user.slice", inner=US),
        Process(WEB_PID, INIT, 0, "sleep", "sleep 2", "/mobyshell/default/web", inner=1),
        Process(WEB_CHILD, WEB_PID, 101, "worker", "worker --fast", "/mobyshell/default/web",
                inner=7),
        Process(ROOTLESS_PID, SHELL, 1000, "sh", "sh", "/user.slice", inner=ROOTLESS_PID),
    )  # fmt: skip
    everybody, web = tuple(one.pid for one in processes), (WEB_PID, WEB_CHILD)
    found = []
    for kind, inode in HOST.items():
        out = {*(web if kind in WEB else ()),
               *((ROOTLESS_PID,) if kind in ("user", "net") else ())}  # fmt: skip
        found.append(Namespace(kind, inode, 0 if kind == "user" else HOST["user"], 0,
                               0 if kind == "user" else None,
                               tuple(pid for pid in everybody if pid not in out)))  # fmt: skip
    for kind, inode in WEB.items():
        parent = HOST["pid"] if kind == "pid" else 0
        found.append(Namespace(kind, inode, HOST["user"], parent, None, web))
    found += [
        Namespace("user", ROOTLESS, HOST["user"], HOST["user"], 65534, (ROOTLESS_PID,)),
        Namespace("net", ROOTLESS_NET, ROOTLESS, 0, None, (ROOTLESS_PID,)),
        Namespace("net", MOUNTED, HOST["user"], 0, None, (),
                  (Hold(By.MOUNT, INIT, "/run/netns/blue"),)),
    ]  # fmt: skip
    found.sort(key=lambda one: (one.kind, one.inode))
    return Survey(tuple(found), {one.pid: one for one in processes}, unreadable=(2,))


class FakeKernel:
    """`Kernel` of that machine; `web` is the task of the fake tasks."""

    def __init__(self, tasks: FakeTasks) -> None:
        self._tasks = tasks
        self.survey = fake_survey()
        self.broken: Exception | None = None

    def look(self) -> Look:
        if self.broken is not None:
            raise self.broken
        web = self._tasks.tasks.get("web")
        owned = dict.fromkeys((WEB_PID, WEB_CHILD), web) if web is not None else {}
        return Look(self.survey, {pid: task for pid, task in owned.items() if task}, us=US)

    def details(self, look: Look, one: Namespace) -> Sequence[Fact]:
        if one.kind == "net":
            return [Fact("lo", "up  127.0.0.1/8  ::1/128"),
                    Fact("eth0", "up  veth  02:42:0a:5a:00:02  10.90.0.2/24"),
                    Fact("route", "0.0.0.0/0 through 10.90.0.1 by eth0")]  # fmt: skip
        return [Fact("init", "what is inside is told here")]


class FakeTenants:
    """`default` is in use and holds something; `empty` has a label and nothing else."""

    def __init__(self, now: int) -> None:
        self.now = now
        blob = Digest.of(b"blob")
        self.held = [
            ObjectInfo("tasks", "web", "running sleep 2", None, now - 90 * SECOND),
            ObjectInfo("containers", "web", "docker.io/library/box:latest", 4096,
                       now - 90 * SECOND),
            ObjectInfo("containers", "idle", "docker.io/library/box:latest", 4096,
                       now - 95 * SECOND),
            ObjectInfo("images", "docker.io/library/box:latest", blob, 1_200_000,
                       now - 3600 * SECOND),
            ObjectInfo("content", blob, "", 714, now - 3600 * SECOND),
            ObjectInfo("content", Digest.of(b"layer"), "", 1_199_286, now - 3600 * SECOND),
            ObjectInfo("volumes", "kept", "/var/lib/mobyshell/volumes/default/kept/data", None,
                       now - 60 * SECOND),
        ]  # fmt: skip
        self.broken: Exception | None = None

    def ls(self) -> list[TenantInfo]:
        if self.broken is not None:
            raise self.broken
        counts = {"tasks": 1, "containers": 2, "images": 1, "content": 2, "volumes": 1}
        return [
            TenantInfo("default", True, True, {}, self.now - 7200 * SECOND, counts, 1_200_000),
            TenantInfo("empty", False, True, {"team": "blue"}, self.now - 60 * SECOND),
        ]

    def objects(self, name: str, *, measured: bool = True) -> list[ObjectInfo]:
        return self.held if name == "default" else []
