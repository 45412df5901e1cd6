"""What a config.json may look like: runc reads it as Go does, and adds to the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.linux import cgroups
from tests.runc.conftest import Machine

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:\nodd\nno:x:7:7:::\n"


def test_home_comes_from_the_image(ours: Machine) -> None:
    """busybox's root has no passwd; one that is bound there counts."""
    passwd = ours.directory / "passwd"
    passwd.write_bytes(PASSWD)

    def bound(document: dict[str, Any]) -> None:
        document["process"]["user"] = {"uid": 1000}
        document["mounts"].append(
            {"destination": "/etc/passwd", "type": "bind", "source": str(passwd),
             "options": ["bind", "ro"]}
        )  # fmt: skip

    ours.spec("sh", "-c", "echo $HOME; id -g", change=bound)
    assert ours.ok("run", "c") == "/home/user\n0\n"


def test_absent_members_are_zero(ours: Machine, tmp_path: Path) -> None:
    ours.spec("id", "-u", change=lambda document: document["process"].pop("user"))
    assert ours.ok("run", "c") == "0\n"
    ours.background("c")
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["env"], "cwd": "/", "env": ["PATH=/usr/bin"]}))
    assert ours.ok("exec", "-p", str(file), "c").startswith("PATH=/usr/bin\nHOME=/")


def test_a_namespace_with_an_empty_path_is_a_new_one(ours: Machine) -> None:
    def empty(document: dict[str, Any]) -> None:
        for one in document["linux"]["namespaces"]:
            one["path"] = ""

    ours.spec("readlink", "/proc/self/ns/uts", change=empty)
    assert ours.ok("run", "c").strip() != os.readlink("/proc/self/ns/uts")


def test_a_cgroup_that_is_somebody_elses(ours: Machine) -> None:
    ours.spec("sleep", "1000", change=lambda d: d["linux"].update(cgroupsPath="mobyshell-taken"))
    ours.quiet("run", "-d", "c")
    assert "container's cgroup is not empty" in ours.fails("run", "d")
    ours.ok("pause", "c")
    assert "container's cgroup" in ours.fails("run", "d")


def group(controller: str, name: str) -> Path:
    """Where a group is in the hierarchy that has `controller`, or in the one of v2."""
    roots = cgroups.detect().roots
    return Path(roots.get(controller) or roots[""]) / name


def test_a_cgroup_that_somebody_prepared(ours: Machine) -> None:
    """An empty one is taken; one that is frozen is not, and stays."""
    name = f"mobyshell-prepared-{os.getpid()}"
    ours.spec("sleep", "1000", change=lambda d: d["linux"].update(cgroupsPath=f"/{name}"))
    place = group("freezer", name)
    place.mkdir()
    v1 = (place / "freezer.state").exists()
    state, frozen, thawed = (
        ("freezer.state", "FROZEN", "THAWED") if v1 else ("cgroup.freeze", "1", "0")
    )
    (place / state).write_text(frozen)
    assert "container's cgroup unexpectedly frozen" in ours.fails("run", "-d", "c")
    assert place.exists()  # it is not ours before it is taken
    (place / state).write_text(thawed)
    prepared = group("pids", name)
    prepared.mkdir(exist_ok=True)
    limit = prepared / "pids.max"
    if limit.exists():
        limit.write_text("7")
    ours.quiet("run", "-d", "c")
    assert not limit.exists() or limit.read_text() == "7\n"
    ours.ok("delete", "--force", "c")
    assert not place.exists()
    assert not prepared.exists()


def test_no_limit_and_no_burst(ours: Machine) -> None:
    name = f"mobyshell-limits-{os.getpid()}"
    ours.spec("sleep", "1000", change=lambda d: d["linux"].update(cgroupsPath=f"/{name}"))
    ours.quiet("run", "-d", "c")
    memory, cpu = group("memory", name), group("cpu", name)
    ours.ok("update", "--memory", "50M", "--memory-swap", "60M", "c")
    ours.ok("update", "--memory", "-1", "c")
    limits = [memory / f"memory.{one}limit_in_bytes" for one in ("", "memsw.")]
    if not limits[0].exists():
        limits = [memory / "memory.max", memory / "memory.swap.max"]
    for limit in limits:
        text = limit.read_text().strip()
        assert text == "max" or int(text) > 1 << 60
    burst = next(cpu / one for one in ("cpu.cfs_burst_us", "cpu.max.burst") if (cpu / one).exists())
    ours.ok("update", "--cpu-period", "900000", "--cpu-burst", "0", "c")
    assert burst.read_text() == "0\n"
    ours.ok("update", "--cpu-period", "900000", "--cpu-burst", "500000", "c")
    assert burst.read_text() == "500000\n"
    ours.ok("update", "--cpu-period", "900000", "--cpu-burst", "0", "c")
    assert burst.read_text() == "0\n"


def test_a_missing_interpreter_is_named(ours: Machine, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/nosuch\n")
    script.chmod(0o755)

    def bound(document: dict[str, Any]) -> None:
        document["mounts"].append(
            {"destination": "/tmp/script", "type": "bind", "source": str(script),
             "options": ["bind"]}
        )  # fmt: skip
        document["root"]["readonly"] = False

    ours.spec("/tmp/script", change=bound)
    assert "exec /tmp/script: no such file or directory" in ours.fails("run", "c")


def test_ambient_capabilities_that_cannot_be_raised_are_a_warning(ours: Machine) -> None:
    def more(document: dict[str, Any]) -> None:
        document["process"]["capabilities"]["inheritable"] = ["CAP_KILL"]
        document["process"]["capabilities"]["ambient"] = ["CAP_KILL", "CAP_CHOWN"]

    ours.spec("grep", "CapAmb", "/proc/self/status", change=more)
    done = ours.call("run", "c")
    assert done.stdout.split() == ["CapAmb:", "0000000000000020"]
    assert "can't raise ambient capability CAP_CHOWN: " in done.stderr


def test_hooks_inside_take_the_programs_environment(ours: Machine) -> None:
    def hooked(document: dict[str, Any]) -> None:
        document["process"]["env"].append("ONE=1")
        hook = {"path": "/bin/sh", "args": ["sh", "-c", 'test "$ONE" = 1']}
        document["hooks"] = {"startContainer": [hook]}

    ours.spec("true", change=hooked)
    ours.ok("run", "c")


def test_hooks_inside_may_no_more_than_the_program(ours: Machine) -> None:
    """Their program is the image's, if the image wants it to be."""

    def hooked(document: dict[str, Any]) -> None:
        document["process"]["user"] = {"uid": 5, "gid": 6}
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
        }
        script = "id -u; id -g; grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs):' /proc/self/status;"
        script += "mkdir /dev/shm/x; exit 1"
        hook = {"path": "/bin/sh", "args": ["sh", "-c", script]}
        document["hooks"] = {"startContainer": [hook]}

    ours.spec("true", change=hooked)
    said = ours.fails("run", "c")
    bounding = f"{1 << 5 | 1 << 10 | 1 << 29:016x}"
    refused = "can't create directory '/dev/shm/x': Operation not permitted"
    for part in ("stdout: 5\n6\n", "CapEff:\t0000000000000000", f"CapBnd:\t{bounding}",
                 "NoNewPrivs:\t1", refused):  # fmt: skip
        assert part in said


def test_hooks_outside_take_the_runtimes_environment(ours: Machine) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", 'test "$ONE" = 1']}
    ours.spec("true", change=lambda d: d.update(hooks={"createRuntime": [hook]}))
    ours.ok("run", "c", env={**ours.environment, "ONE": "1"})


def test_a_poststop_hook_that_fails_is_a_warning(ours: Machine) -> None:
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}
    ours.spec("true", change=lambda d: d.update(hooks={"poststop": [hook]}))
    said = 'level=warning msg="error running poststop hook #0: exit status 3'
    done = ours.call("run", "c")
    assert (done.returncode, said in done.stderr) == (0, True)
    ours.quiet("create", "c")
    done = ours.call("delete", "c")
    assert (done.returncode, said in done.stderr) == (0, True)


@pytest.mark.parametrize(("flags", "value"), [
    (["SECCOMP_FILTER_FLAG_LOG"], 2),
    (["SECCOMP_FILTER_FLAG_TSYNC"], 0),
    ([], 0),
    (None, 4),
])  # fmt: skip
def test_debug_says_the_filters_flags(ours: Machine, flags: list[str] | None, value: int) -> None:
    filtered: dict[str, object] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}],
    }
    if flags is not None:
        filtered["flags"] = flags
    ours.spec("true", change=lambda d: d["linux"].update(seccomp=filtered))
    assert f'msg="seccomp filter flags: {value}"' in ours.call("--debug", "run", "c").stderr


def test_a_root_that_is_only_moved_leaves_no_procfs_to_be_mounted_anew(ours: Machine) -> None:
    def change(document: dict[str, Any]) -> None:
        for name in ("bounding", "permitted"):
            document["process"]["capabilities"][name].append("CAP_SETFCAP")

    script = "mkdir -p /dev/shm/p; mount -t proc none /dev/shm/p; ls /dev/shm/p"
    ours.spec("unshare", "-mrpf", "sh", "-c", script, change=change)
    done = ours.call("run", "--no-pivot", "c")
    assert "mount: permission denied" in done.stderr
    assert done.stdout == ""
    assert ours.call("run", "--no-pivot", "c2").stderr == done.stderr


def test_debug_says_what_is_done(ours: Machine) -> None:
    done = ours.call("--debug", "run", "c")
    assert "level=debug" in done.stderr
    assert "init: closing the pipe to signal completion" in done.stderr


def test_the_groups_of_the_caller_stay_behind(ours: Machine) -> None:
    """What the caller may read as a member of its groups, a container of its may not."""
    script = "grep ^Groups: /proc/self/status"
    groups: list[int]

    def member(document: dict[str, Any]) -> None:
        more = {"additionalGids": groups} if groups else {}
        document["process"]["user"] = {"uid": 1000, "gid": 1000, **more}

    for groups in ([], [7, 8]):
        ours.spec("sh", "-c", script, change=member)
        done = ours.call("run", "c", extra_groups=[4, 6, 24])
        assert done.stdout.split()[1:] == [str(group) for group in groups]
    ours.background("c")
    done = ours.call("exec", "--user", "5:5", "c", "sh", "-c", script, extra_groups=[4, 6, 24])
    assert done.stdout.split()[1:] == []
