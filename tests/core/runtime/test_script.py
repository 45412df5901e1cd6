"""The script of a plan makes the same container as the plan: a probe looks from inside of both."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.oci import Spec
from mobyshell.core.runtime import Plan
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.runtime.plan import Actor, Operation, Phase
from mobyshell.core.runtime.script import script
from tests.core.runtime.conftest import House, cgroups_left

pytestmark = pytest.mark.root

Change = Callable[[dict[str, Any]], None]

PROBE = r"""
cut -d ' ' -f 4- /proc/self/mountinfo
for n in mnt pid net ipc uts cgroup user; do readlink /proc/self/ns/$n; done
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Umask|Seccomp:)' /proc/self/status
cat /proc/self/limits /proc/self/cgroup /proc/self/oom_score_adj /proc/self/uid_map
echo "$PWD"; pwd; hostname; ip addr show lo | head -n 1
for group in /sys/fs/cgroup/*; do
    cat $group/devices.list $group/pids.max $group/cpu.shares $group/cpuset.cpus 2>/dev/null
done
ls -ln /dev /dev/pts /extra 2>/dev/null | cut -c 1-60
uname -m; ionice; cut -d ' ' -f 19,41 /proc/self/stat; cat /proc/self/timens_offsets
tr '\0' '\n' < /proc/1/environ; tr '\0' ' ' < /proc/1/cmdline
"""


def normal(lines: list[str]) -> list[str]:
    """Without what is another in each container: names in cgroup paths, inodes, device numbers."""
    text = "\n".join(" ".join(line.split()) for line in lines)
    text = re.sub(r"mobyshell-[0-9a-f]{8}-[a-z]+", "CGROUP", text)
    text = re.sub(r"\b(mnt|pid|net|ipc|uts|cgroup|user):\[[0-9]+\]", r"\1:[…]", text)
    text = re.sub(r"\b0:[0-9]+\b", "0:N", text)
    text = re.sub(r"\b(master|shared|propagate_from):[0-9]+", r"\1:N", text)
    text = re.sub(r"[A-Z][a-z][a-z] +[0-9]+ +[0-9:]+", "DATE", text)
    return text.splitlines()


def plan_of(house: House, spec: Spec) -> Plan:
    return house.runtime.plan("scripted", str(house.bundle), spec=spec)


def run_text(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "container.sh"
    path.write_text(text)
    return subprocess.run(
        ["sh", str(path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_script(house: House, spec: Spec, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    done = run_text(script(plan_of(house, spec), spec), tmp_path)
    assert cgroups_left(house.runtime.root) == []
    return done


def limits(document: dict[str, Any]) -> None:
    document["linux"]["resources"].update(
        {"pids": {"limit": 50}, "cpu": {"shares": 300, "cpus": "0"}}
    )
    document["linux"]["resources"]["devices"].append(
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    )
    document["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]
    document["process"]["oomScoreAdj"] = 321
    document["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "5555"}
    document["hostname"] = "scripted"


def somebody(document: dict[str, Any]) -> None:
    capabilities = ["CAP_NET_BIND_SERVICE", "CAP_CHOWN"]
    document["process"]["capabilities"] = {
        "bounding": [*capabilities, "CAP_KILL"], "permitted": capabilities,
        "effective": capabilities, "inheritable": capabilities, "ambient": capabilities,
    }  # fmt: skip
    document["process"]["user"] = {
        "uid": 1000,
        "gid": 1001,
        "additionalGids": [5, 7],
        "umask": 0o27,
    }
    document["process"]["env"] += ["QUOTES='\"$(id)`id`\\", "EMPTY=", "LINES=a\nb"]
    document["process"]["cwd"] = "/tmp"
    document["process"]["noNewPrivileges"] = False


def mounts(document: dict[str, Any]) -> None:
    document["root"]["readonly"] = False
    document["linux"]["rootfsPropagation"] = "rshared"
    document["mounts"] += [
        {
            "destination": "/tmp",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["size=1m", "noexec"],
        },
        {
            "destination": "/tmp/etc",
            "source": "/etc",
            "options": ["rbind", "ro", "nosuid", "rslave"],
        },
        {"destination": "/tmp/file", "source": "/etc/passwd", "options": ["bind", "ro", "private"]},
    ]
    document["linux"]["devices"] = [
        {"path": "/dev/extra/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640,
         "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]  # fmt: skip
    document["linux"]["namespaces"].append({"type": "cgroup"})


def scheduled(document: dict[str, Any]) -> None:
    document["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 5}
    document["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    document["linux"]["personality"] = {"domain": "LINUX32"}
    document["linux"]["namespaces"].append({"type": "time"})
    document["linux"]["timeOffsets"] = {"monotonic": {"secs": 3}, "boottime": {"secs": 100000}}


def options(document: dict[str, Any]) -> None:
    """Options that mount(8) and the kernel's calls say in different ways."""
    document["root"]["readonly"] = False

    def one(destination: str, *words: str, type: str = "tmpfs", source: str = "tmpfs") -> None:
        document["mounts"].append(
            {"destination": destination, "type": type, "source": source, "options": list(words)}
        )

    one("/tmp", "size=1m", "ro", "noatime")
    one("/etc", "tmpcopyup", "ro", "mode=755", "nosuid")
    one("/over", "sync", "dirsync", "strictatime", "mode=700", "private")
    one("/over", "remount", "bind", "ro", "nodev")
    one("/again", "size=64k", "mode=755")
    one("/again", "remount", "size=128k", "noexec")
    one("/tree", "rbind", "rro", "rnosuid", "rnoexec", type="bind", source="/dev/pts")
    one("/extra", "bind", "nosymfollow", "rw", type="bind", source="/etc")
    one("/link", "bind", "copy-symlink", type="bind", source="/proc/self")


def user_namespace(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        document["linux"][kind] = [
            {"containerID": 0, "hostID": 200000, "size": 1000},
            {"containerID": 5000, "hostID": 300000, "size": 10},
        ]
    document["mounts"] = [one for one in document["mounts"] if one["destination"] != "/dev/mqueue"]


@pytest.fixture
def open_house(house: House) -> Iterator[House]:
    """A house with its bundle where also mapped users may go: pytest's directories are private."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        yield replace(house, bundle=new_bundle(f"{directory}/busybox", "busybox"))


@pytest.mark.parametrize(
    "change", [None, limits, somebody, mounts, options, scheduled, user_namespace]
)
def test_the_script_makes_the_same_container(
    open_house: House, tmp_path: Path, change: Change | None
) -> None:
    house = open_house
    spec = house.spec(change, "sh", "-c", PROBE)
    ours = house.run("sh", "-c", PROBE, change=change)
    theirs = run_script(house, spec, tmp_path)
    assert ours.status == 0, ours.errors
    assert theirs.returncode == 0, theirs.stderr
    assert normal(theirs.stdout.splitlines()) == normal(ours.output.splitlines())
    assert len(ours.output.splitlines()) > 60


def test_it_joins_the_namespaces_that_ours_joins(house: House, tmp_path: Path) -> None:
    holder = subprocess.Popen(["unshare", "--net", "--ipc", "sleep", "1000"])
    try:
        while os.readlink(f"/proc/{holder.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass

        def change(document: dict[str, Any]) -> None:
            for one in document["linux"]["namespaces"]:
                if one["type"] in ("network", "ipc"):
                    name = one["type"].replace("network", "net")
                    one["path"] = f"/proc/{holder.pid}/ns/{name}"

        spec = house.spec(
            change, "sh", "-c", "readlink /proc/self/ns/net; readlink /proc/self/ns/ipc"
        )
        done = run_script(house, spec, tmp_path)
        inodes = [os.readlink(f"/proc/{holder.pid}/ns/{name}") for name in ("net", "ipc")]
        assert done.stdout.split() == inodes, done.stderr
    finally:
        holder.kill()
        holder.wait()


def test_it_ends_as_the_program_does(house: House, tmp_path: Path) -> None:
    assert run_script(house, house.spec(None, "sh", "-c", "exit 7"), tmp_path).returncode == 7
    spec = house.spec(lambda d: d["linux"]["namespaces"].remove({"type": "pid"}),
                      "sh", "-c", "kill -TERM $$")  # fmt: skip
    assert run_script(house, spec, tmp_path).returncode == 128 + signal.SIGTERM
    assert run_script(house, house.spec(None, "nosuch"), tmp_path).returncode == 127


def test_it_needs_nothing_in_the_image(house: House, tmp_path: Path) -> None:
    # no shell, no tools, no /proc: what the script needs after pivot_root is the host's
    bare = tmp_path / "bare"
    bare.mkdir()
    os.link(house.bundle / "rootfs" / "bin" / "busybox", bare / "echo")

    def change(document: dict[str, Any]) -> None:
        document["root"]["path"] = str(bare)
        document["mounts"] = []
        document["linux"]["maskedPaths"] = document["linux"]["readonlyPaths"] = []
        document["process"]["cwd"] = "/"

    done = run_script(house, house.spec(change, "/echo", "hello", "there"), tmp_path)
    assert (done.stdout, done.returncode) == ("hello there\n", 0), done.stderr


def test_hooks_run_with_the_state_on_their_input(house: House, tmp_path: Path) -> None:
    log = tmp_path / "hooks"
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer")

    def change(document: dict[str, Any]) -> None:
        def hook(kind: str) -> dict[str, Any]:
            target = "/dev/stderr" if kind == "startContainer" else str(log)
            script = f'read -r line; echo "$KIND $(hostname) $line" >> {target}'
            return {"path": "/bin/sh", "args": ["sh", "-c", script],
                    "env": [f"KIND={kind}", "PATH=/usr/bin:/bin"]}  # fmt: skip

        document["hooks"] = {kind: [hook(kind)] for kind in kinds}
        document["annotations"] = {"it's": "50%"}

    done = run_script(house, house.spec(change, "true"), tmp_path)
    assert done.returncode == 0, done.stderr
    ours = os.uname().nodename
    rows = [line.split(" ", 2) for line in log.read_text().splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        ("prestart", ours), ("createRuntime", ours), ("createContainer", "runc"),
    ]  # fmt: skip
    import json

    state = json.loads(rows[0][2])
    assert (state["id"], state["status"], state["bundle"], state["annotations"]) == (
        "scripted", "creating", str(house.bundle), {"it's": "50%"},
    )  # fmt: skip
    assert state["pid"] > 1
    assert "startContainer runc" in done.stderr


def test_a_failing_hook_stops_it(house: House, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        document["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    done = run_script(house, house.spec(change, "echo", "never"), tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""


def test_a_bundle_cannot_smuggle_commands_into_the_script(house: House, tmp_path: Path) -> None:
    mark = tmp_path / "smuggled"
    attack = f"\nSETUP\n)\ntouch {mark}\n'; touch {mark}; \"$(touch {mark})`touch {mark}`\n"

    def change(document: dict[str, Any]) -> None:
        document["process"]["env"].append(f"X={attack}")
        document["hostname"] = "a'b"
        document["annotations"] = {attack: attack}
        document["mounts"].append(
            {"destination": f"/tmp/x'$(touch {mark})", "source": f"/etc/$(touch {mark})",
             "options": ["bind", f"ro;touch {mark}"]}
        )  # fmt: skip
        document["hooks"] = {"prestart": [{"path": "/bin/true", "args": ["true", attack]}]}

    spec = house.spec(change, "echo", attack)
    run_script(house, spec, tmp_path)
    assert not mark.exists()


def test_what_no_tool_can_do_is_named(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
        document["hooks"] = {"poststart": [{"path": "/bin/true"}]}
        document["process"]["terminal"] = True

    spec = house.spec(change, "true")
    text = script(plan_of(house, spec), spec)
    for source in ("linux.seccomp", "hooks.poststart[0]", "process.terminal"):
        assert re.search(rf"^# not done here: .* \({re.escape(source)}\)$", text, re.MULTILINE)


def test_a_title_cannot_end_its_comment(house: House) -> None:
    spec = house.spec(None, "true")
    plan = plan_of(house, spec)
    evil = Operation(actor=Actor.PARENT, phase=Phase.PREPARE, title="a\nrm -rf /\r\x1b[2J", why="",
                     shell=(":",))  # fmt: skip
    text = script(replace(plan, operations=(evil, *plan.operations), notices=("b\nreboot",)), spec)
    assert "# a?rm -rf /??[2J\n" in text
    assert "# note: b?reboot\n" in text
