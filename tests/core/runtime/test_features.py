"""What a spec can ask for beyond the default, each looked at from inside."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError, SyscallFailed, Unsupported
from mobyshell.core.linux import cgroups
from mobyshell.core.runtime import Host, Runtime
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.plan import Actor, Phase
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House
from tests.core.runtime.test_mounts import with_mounts

pytestmark = pytest.mark.root

Document = dict[str, Any]


def bind(destination: str, source: Path | str, *options: str) -> Document:
    return {"destination": destination, "source": str(source), "options": list(options)}


def test_binds(house: House, material: Path) -> None:
    lines = house.sh(
        "cat /one/file; ls /one/inner | wc -l; cat /all/inner/deep; cat /a/b/new-file;"
        "for d in /one /all /all/inner /rro/inner; do"
        " touch $d/x 2>/dev/null && echo writable || echo no; done",
        with_mounts(
            bind("/one", material, "bind", "ro"), bind("/all", material, "rbind", "ro"),
            bind("/a/b/new-file", material / "file", "bind"), bind("/rro", material, "rbind", "rro"),
        ),
    )  # fmt: skip
    # ro holds for the top alone, rro for the whole tree, as with mount_setattr
    assert lines == ["said", "0", "deep", "said", "no", "no", "writable", "no"]


def test_mount_points_are_made_beneath_the_root_whatever_the_image_links_to(
    house: House, material: Path, tmp_path: Path
) -> None:
    rootfs = tmp_path / "rootfs"
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(rootfs)], check=True)
    (rootfs / "evil").symlink_to(str(tmp_path / "outside"))
    (rootfs / "up").symlink_to("../../../../../../../..")
    (tmp_path / "outside").mkdir()

    def change(document: Document) -> None:
        document["root"] = {"path": str(rootfs)}
        document["mounts"] += [bind("/evil/x", material, "bind"), bind("/up/y", material, "bind")]

    try:
        lines = house.sh("cat /up/y/file; cat /y/file", change)
        assert lines == ["said", "said"]
    except SyscallFailed as error:
        # the link's target does not exist inside, so there is nowhere to mount
        assert "mounts[7]" in str(error)
    assert list((tmp_path / "outside").iterdir()) == []
    assert not Path("/y").exists()


def test_propagation_of_a_mount(house: House, material: Path) -> None:
    lines = house.sh(
        'for p in /p /q; do grep " $p " /proc/self/mountinfo | grep -c shared:; done; true',
        with_mounts(
            bind("/p", material, "bind", "shared"), bind("/q", material, "bind", "private")
        ),
    )
    assert lines == ["1", "0"]


@pytest.mark.parametrize(
    ("name", "mark"), [("shared", "shared:"), ("slave", "master:"), ("private", "")]
)
def test_root_propagation(house: House, name: str, mark: str) -> None:
    lines = house.sh(
        "grep ' / / ' /proc/self/mountinfo || head -1 /proc/self/mountinfo",
        lambda d: d["linux"].update(rootfsPropagation=name),
    )
    has = [word for word in ("shared:", "master:") if word in lines[0]]
    # a slave of a root that nobody shares is simply private
    assert has in ([mark], []) if mark else has == []
    assert name != "shared" or has == ["shared:"]


def test_tmpfs_with_its_options(house: House) -> None:
    tmpfs = {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs",
             "options": ["size=64k", "mode=0700", "noexec", "nosuid"]}  # fmt: skip
    lines = house.sh(
        "stat -c %a /scratch; grep ' /scratch ' /proc/self/mountinfo | cut -d ' ' -f 6;"
        "dd if=/dev/zero of=/scratch/x bs=1k count=100 2>/dev/null || echo full",
        with_mounts(tmpfs),
    )
    assert lines[0] == "700"
    assert set(lines[1].split(",")) >= {"rw", "nosuid", "noexec"}
    assert lines[2] == "full"


def test_options_longer_than_fsconfig_takes(house: House) -> None:
    long = {"destination": "/long", "type": "tmpfs", "source": "x" * 300, "options": []}
    assert house.sh("grep -c ' /long ' /proc/self/mountinfo", with_mounts(long)) == ["1"]


def test_devices_of_the_spec(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["devices"] = [
            {
                "path": "/dev/my/zero",
                "type": "c",
                "major": 1,
                "minor": 5,
                "fileMode": 0o640,
                "gid": 5,
            },
            {"path": "/dev/pipe", "type": "p"},
        ]

    lines = house.sh(
        "stat -c '%n %t:%T %a %g' /dev/my/zero; stat -c %F /dev/pipe; head -c 1 /dev/my/zero | wc -c",
        change,
    )
    assert lines == ["/dev/my/zero 1:5 640 5", "fifo", "1"]


def test_a_user_with_groups_and_umask(house: House) -> None:
    def change(document: Document) -> None:
        document["process"]["user"] = {
            "uid": 1000,
            "gid": 1001,
            "additionalGids": [5, 20],
            "umask": 0o077,
        }

    lines = house.sh(
        "id -u; id -g; id -G; umask; grep CapEff /proc/self/status; whoami 2>/dev/null || true",
        change,
    )
    assert lines[:4] == ["1000", "1001", "1001 5 20", "0077"]
    # not root: no capability is effective after execve without ambient ones
    assert int(lines[4].split()[1], 16) == 0


def test_ambient_capabilities_reach_a_user(house: House) -> None:
    def change(document: Document) -> None:
        document["process"]["user"] = {"uid": 1000, "gid": 1000}
        kinds = ("bounding", "effective", "permitted", "inheritable", "ambient")
        document["process"]["capabilities"] = {kind: ["CAP_NET_ADMIN"] for kind in kinds}

    lines = house.sh("grep Cap /proc/self/status", change)
    assert {int(line.split()[1], 16) for line in lines} == {1 << 12}


def test_working_directory(house: House) -> None:
    assert house.sh("pwd", lambda d: d["process"].update(cwd="/usr/bin")) == ["/usr/bin"]


@pytest.mark.parametrize("number", range(3, 20))
def test_no_descriptor_leads_back_to_the_host(house: House, number: int) -> None:
    """CVE-2024-21626: a working directory through a descriptor that leaked."""
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(MobyshellError):
            house.run("pwd", change=lambda d: d["process"].update(cwd=f"/proc/self/fd/{number}"))
    finally:
        os.close(leak)


def test_sysctls_hold_inside_alone(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}

    before = Path("/proc/sys/kernel/msgmax").read_text()
    assert house.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", change) == [
        "1",
        "4096",
    ]
    assert Path("/proc/sys/kernel/msgmax").read_text() == before


def test_host_and_domain_name(house: House) -> None:
    def change(document: Document) -> None:
        document.update(hostname="moby", domainname="dock")

    assert house.sh("hostname; cat /proc/sys/kernel/domainname", change) == ["moby", "dock"]


def test_out_of_memory_score(house: House) -> None:
    lines = house.sh("cat /proc/self/oom_score_adj", lambda d: d["process"].update(oomScoreAdj=500))
    assert lines == ["500"]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp(house: House, no_new_privileges: bool) -> None:
    def change(document: Document) -> None:
        document["process"]["noNewPrivileges"] = no_new_privileges
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
            ],
        }

    result = house.run("sh", "-c", "grep Seccomp: /proc/self/status; mkdir /dev/x", change=change)
    assert result.output.split() == ["Seccomp:", "2"]
    assert "No space left" in result.errors


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_filter_need_not_allow_what_the_runtime_does_last(
    house: House, no_new_privileges: bool
) -> None:
    forbidden = ["rt_sigaction", "rt_sigprocmask"]
    if no_new_privileges:
        forbidden += ["capset", "setresuid", "fchdir", "prctl", "umask", "close_range"]

    def change(document: Document) -> None:
        document["process"]["noNewPrivileges"] = no_new_privileges
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": forbidden, "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
        }

    # with new privileges the filter has to be loaded while there are some: capset comes after it
    if no_new_privileges:
        assert house.run("true", change=change).status == 0
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(change, "true"))
    names = [call.name for _, one in plan.of(Actor.CHILD, Phase.EXEC) for call in one.calls]
    after = names[names.index("seccomp") + 1 :]
    assert set(after) == {"execve"} if no_new_privileges else "rt_sigprocmask" not in after


def test_joining_the_namespaces_of_another(house: House) -> None:
    first = house.create("first", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("first"))

    def change(document: Document) -> None:
        kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        document.pop("hostname")
        document["linux"]["namespaces"] = [
            {"type": "mount"},
            *(
                {"type": kind, "path": f"/proc/{first.pid}/ns/{name}"}
                for kind, name in kinds.items()
            ),
        ]

    try:
        lines = house.sh(
            "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; ps | grep -c 'sleep 1000'",
            change,
        )
        expected = [
            os.readlink(f"/proc/{first.pid}/ns/{name}") for name in ("net", "ipc", "uts", "pid")
        ]
        assert lines[:4] == expected
        assert int(lines[4]) >= 1
    finally:
        run(house.runtime.kill("first", 9))
        house.finish(first)


def test_a_namespace_that_is_not_there(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"][1] = {"type": "network", "path": "/proc/1/ns/nonsense"}

    with pytest.raises(SyscallFailed, match="open the network namespace"):
        house.run("true", change=change)


def test_a_cgroup_namespace_shows_its_own_as_the_root(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"].append({"type": "cgroup"})

    lines = house.sh("cut -d : -f 3 /proc/self/cgroup | sort -u", change)
    assert lines == ["/"]


def mapped_rootfs(house: House, place: Path) -> Path:
    """A copy of the house's root filesystem that belongs to root of the mapped ids."""
    rootfs = place / "rootfs"
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(rootfs)], check=True)
    subprocess.run(["chown", "-R", "100000:100000", str(rootfs)], check=True)
    for path in (place, *place.parents):
        if path.is_relative_to("/tmp/pytest-of-root"):
            path.chmod(path.stat().st_mode | 0o011)
    return rootfs


def in_user_namespace(document: Document, rootfs: Path) -> None:
    document["root"] = {"path": str(rootfs)}
    document["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def test_user_namespace(house: House, tmp_path: Path) -> None:
    rootfs = mapped_rootfs(house, tmp_path)

    lines = house.sh(
        "id -u; cat /proc/self/uid_map; stat -c %U:%t:%T /dev/null;"
        "echo x > /dev/null && touch /made && echo ok;"
        "cat /proc/self/setgroups; grep -c cgroup /proc/self/mountinfo",
        lambda document: in_user_namespace(document, rootfs))  # fmt: skip
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "100000", "65536"]
    assert lines[2].endswith(":1:3")
    assert lines[3] == "ok"
    assert (rootfs / "made").stat().st_uid == 100000


def test_devices_in_a_user_namespace_are_as_the_spec_has_them(house: House, tmp_path: Path) -> None:
    """Also those that the host does not have, and another owner and mode than it has."""
    rootfs = mapped_rootfs(house, tmp_path)

    def change(document: Document) -> None:
        in_user_namespace(document, rootfs)
        zero = {"type": "c", "major": 1, "minor": 5}
        document["linux"]["devices"] = [
            {"path": "/dev/my/zero", **zero, "fileMode": 0o647, "uid": 7, "gid": 8},
            {"path": "/dev/zero", **zero, "fileMode": 0o600, "uid": 1},
            {"path": "/dev/pipe", "type": "p"},
        ]

    def found() -> list[str]:
        return house.sh(
            "stat -c '%n %F %t:%T %a %u:%g' /dev/my/zero /dev/zero /dev/pipe; "
            "head -c 1 /dev/my/zero | wc -c; grep -c ' /dev/my/zero .*nosuid.*noexec' /proc/mounts",
            change,
        )

    if house.runtime.host.kernel < (6, 15):
        with pytest.raises(MobyshellError, match="/dev/my/zero"):
            found()
        return
    assert found() == [
        "/dev/my/zero character special file 1:5 647 7:8",
        "/dev/zero character special file 1:5 600 1:0",
        "/dev/pipe fifo 0:0 666 0:0",
        "1",
        "1",
    ]


def test_every_limit_of_a_hybrid_machine(house: House) -> None:
    def change(document: Document) -> None:
        document["linux"]["cgroupsPath"] = "/mobyshell-test/inner"
        document["linux"]["resources"].update(
            {"cpu": {"quota": 20000, "period": 50000, "shares": 100},
             "memory": {"limit": 64 << 20, "reservation": 32 << 20},
             "pids": {"limit": 12}}
        )  # fmt: skip

    try:
        container = house.create("c", house.spec(change, "true"))
        state, _ = house.runtime.state("c")
        assert all(path.endswith("/mobyshell-test/inner") for path in state.cgroups.values())
        run(house.runtime.start("c"))
        house.finish(container)
        # with the last group below them the levels on the way go, too
        assert not any(os.path.exists(os.path.dirname(one)) for one in state.cgroups.values())
    finally:
        for top in os.listdir("/sys/fs/cgroup"):
            path = Path("/sys/fs/cgroup") / top / "mobyshell-test"
            if path.is_dir():
                path.rmdir()


def test_huge_pages_are_limited_wherever_their_controller_is(house: House) -> None:
    """On a hybrid machine it can be the only one on v2."""
    layout = cgroups.detect()
    spec = house.spec(
        lambda document: document["linux"]["resources"].update(
            hugepageLimits=[{"pageSize": "2MB", "limit": 4 << 20}]
        ),
        "true",
    )
    if "hugetlb" not in layout.own and "hugetlb" not in layout.v2_controllers:
        with pytest.raises(Unsupported, match="no hugetlb controller"):
            house.create("c", spec)
        return
    container = house.create("c", spec)
    try:
        paths = house.runtime.state("c")[0].cgroups
        found = [
            cgroups.read(paths[controller], file)
            for controller, names in (
                ("hugetlb", ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes")),
                ("", ("hugetlb.2MB.max", "hugetlb.2MB.rsvd.max")),
            )
            for file in names
            if os.path.exists(f"{paths.get(controller, '/nowhere')}/{file}")
        ]
        assert found == [str(4 << 20)] * 2
        assert [one.agrees for one in house.runtime.diff("c") if "hugepageLimits" in one.path] == [
            True,
            True,
        ]
    finally:
        os.close(container.pidfd)
        run(house.runtime.delete("c", force=True))


def test_shared_levels_go_with_the_last_of_those_below_them(house: House) -> None:
    def below(id: str) -> Callable[[Document], object]:
        return lambda document: document["linux"].update(cgroupsPath=f"/mobyshell-test-shared/{id}")

    first = house.create("a", house.spec(below("a"), "true"))
    second = house.create("b", house.spec(below("b"), "true"))
    try:
        levels = house.runtime.state("a")[0].cgroup_levels
        assert len(levels) == len(cgroups.detect().own)
        assert house.runtime.state("b")[0].cgroup_levels == ()
        run(house.runtime.delete("b"))
        assert all(os.path.isdir(one) for one in levels)
    finally:
        run(house.runtime.delete("a", force=True))
        run(house.runtime.delete("b", force=True))
        os.close(first.pidfd)
        os.close(second.pidfd)
    assert not any(os.path.exists(one) for one in levels)


def test_a_level_that_others_take_away_while_it_is_used_is_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = house.spec(
        lambda document: document["linux"].update(cgroupsPath="/mobyshell-test-race/c"), "true"
    )
    executor = type(house.runtime.executor)
    real = executor.run
    runs: dict[int, list[int | None]] = {}

    def run_with_a_thief(self: Executor, program: Program) -> int | None:
        # as if the last container below it had been deleted between our two mkdirs
        before = runs.setdefault(program.address, [])
        at = bytes(program.mapping).find(b"obyshell-test-race/c\0") - 1
        program.mapping[at : at + 1] = b"m" if before else b"M"
        before.append(real(self, program))
        return before[-1]

    monkeypatch.setattr(executor, "run", run_with_a_thief)
    container = house.create("c", spec)
    os.close(container.pidfd)
    run(house.runtime.delete("c"))
    # those that the child is born in, and those that are made beside it
    assert len(runs) == len({bool(one) for one in cgroups.detect().own})
    for stolen, again in runs.values():
        assert stolen is not None
        assert again is None
    assert not any(
        os.path.exists(f"{one}/mobyshell-test-race") for one in cgroups.detect().own.values()
    )


def test_a_mount_point_may_lie_as_deep_as_the_kernel_takes_paths(house: House) -> None:
    deep = "/scratch" + "/d" * 400
    lines = house.sh(
        f"grep -c ' {deep} ' /proc/self/mountinfo",
        with_mounts(
            {"destination": "/scratch", "type": "tmpfs", "source": "tmpfs"},
            {"destination": deep, "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        ),
    )
    assert lines == ["1"]
    with pytest.raises(InvalidSpec, match="too many components"):
        house.sh("true", with_mounts({"destination": "/d" * 40000, "type": "tmpfs"}))


@pytest.mark.root
def test_controllers_that_are_mounted_together(house: House) -> None:
    """As on most machines with v1. Here one hierarchy stands for two; on v2 alone there is but one."""
    here = Host.detect()
    own = {name: path for name, path in here.cgroup_own.items() if name}
    if not own:
        assert cgroups.together({"": "/x"}) == {"": "/x"}
        return
    names = [name for name in own if not name.startswith("name=")][:2]
    both = dict.fromkeys(names, here.cgroup_own[names[0]])
    roots = dict.fromkeys(names, here.cgroup_root(names[0]))
    host = replace(here, cgroup_own={**here.cgroup_own, **both},
                   cgroup_roots={**here.cgroup_roots, **roots})  # fmt: skip
    house.runtime = Runtime(house.runtime.root, sink=house.runtime.sink, host=host)
    name = ",".join(names)
    found = house.sh(f"readlink /sys/fs/cgroup/{names[1]}; ls -d /sys/fs/cgroup/{name}/tasks")
    assert found == [name, f"/sys/fs/cgroup/{name}/tasks"]
    container = house.create("c", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("c"))
    assert house.exec("c", "true").status == 0
    run(house.runtime.kill("c", 9))
    house.finish(container)
