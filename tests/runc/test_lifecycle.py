"""create, start, run, state, kill, delete, pause, resume, ps, list: as processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from mobyshell.core.linux.lsm import active
from tests.runc.conftest import PATIENCE, Machine, containers
from tests.waiting import eventually


def test_a_life_in_four_calls(ours: Machine) -> None:
    ours.spec("sh", "-c", "echo $0; exit 3", "hello")
    out = ours.directory / "out"
    with open(out, "w") as file:
        done = ours.call("create", "c", capture_output=False, stdout=file, stderr=file)
    assert done.returncode == 0, out.read_text()
    state = ours.state("c")
    assert (state["status"], state["id"], state["owner"]) == ("created", "c", "root")
    assert state["bundle"] == str(ours.bundle)
    assert state["rootfs"] == str(ours.rootfs)
    assert os.path.exists(f"/proc/{state['pid']}")
    for word in ("99", "65"):
        assert ours.fails("kill", "c", word) == "unable to signal init: invalid argument"
    assert ours.fails("kill", "c", "NONE") == 'unknown signal "NONE"'
    assert ours.ok("start", "c") == ""
    eventually(lambda: ours.status("c") == "stopped")
    assert ours.state("c")["pid"] == 0
    assert out.read_text() == "hello\n"
    assert ours.fails("start", "c") == "cannot start a container that has stopped"
    assert ours.fails("kill", "c") == "container not running"
    assert ours.fails("kill", "c", "99") == "container not running"
    ours.ok("kill", "--all", "c", "9")
    ours.ok("delete", "c")
    assert ours.fails("state", "c") == "container does not exist"


def test_run_passes_output_and_status_through_and_leaves_nothing(ours: Machine) -> None:
    ours.spec("sh", "-c", "echo out; echo err >&2; exit 3")
    done = ours.call("run", "c")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert ours.fails("state", "c") == "container does not exist"


def test_run_reports_the_signal_that_ended_the_program(ours: Machine) -> None:
    ours.spec("sh", "-c", "kill -9 $$; sleep 1000")

    def with_host_pids(document: dict[str, Any]) -> None:
        spaces = document["linux"]["namespaces"]
        document["linux"]["namespaces"] = [one for one in spaces if one["type"] != "pid"]

    # process 1 of a pid namespace is immune to its own signals
    ours.spec("sh", "-c", "kill -9 $$; sleep 1000", change=with_host_pids)
    assert ours.call("run", "c").returncode == 137


def test_keep_keeps_it(ours: Machine) -> None:
    assert ours.call("run", "--keep", "c").returncode == 0
    assert ours.status("c") == "stopped"


def test_nothing_of_the_runtime_stays_behind(ours: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    pid = ours.state("c")["pid"]
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != pid:
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            assert str(ours.root).encode() not in words
    ours.ok("start", "c")
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")


def test_the_states_of_a_container_and_what_they_refuse(ours: Machine) -> None:
    ours.background("c")
    assert ours.status("c") == "running"
    assert ours.fails("start", "c") == "cannot start an already running container"
    assert ours.fails("resume", "c") == "container not paused"
    assert ours.fails("create", "c").endswith("container with given ID already exists")
    assert ours.fails("delete", "c") == "cannot delete container c that is not stopped: running"
    ours.ok("pause", "c")
    assert ours.status("c") == "paused"
    assert ours.fails("pause", "c") == "container not running"
    paused = "exec failed: cannot exec in a paused container (use --ignore-paused to override)"
    assert ours.fails("exec", "c", "true", status=255) == paused
    # a frozen cgroup freezes whoever enters it, until it is thawed
    words = ours.words("exec", "--ignore-paused", "c", "true")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, env=ours.environment) as late:
        ours.ok("resume", "c")
        assert late.wait(PATIENCE) == 0
    ours.ok("kill", "c", "KILL")
    eventually(lambda: ours.status("c") == "stopped")
    assert "stopped container" in ours.fails("exec", "c", "true", status=255)


def test_a_created_container_can_be_deleted_and_a_paused_one_by_force(ours: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    ours.ok("delete", "c")
    ours.background("c")
    ours.ok("pause", "c")
    ours.ok("delete", "--force", "c")
    assert ours.ok("list", "--quiet") == ""


def test_without_a_pid_namespace_the_last_signal_reaches_everybody(ours: Machine) -> None:
    """Also when the init itself has ended."""

    def shared(document: dict[str, Any]) -> None:
        spaces = document["linux"]["namespaces"]
        document["linux"]["namespaces"] = [one for one in spaces if one["type"] != "pid"]

    for script in ("sleep 1001 & sleep 1002 & wait", "sleep 1001 & sleep 1002 & exit"):
        ours.spec("sh", "-c", script, change=shared)
        ours.quiet("run", "-d", "c")
        pids = eventually(lambda: _sleeping(ours))
        ours.ok("kill", "c", "KILL")
        for pid in pids:
            eventually(partial(_gone, pid))
        ours.ok("delete", "--force", "c")


def _sleeping(machine: Machine) -> list[int]:
    pids = json.loads(machine.ok("ps", "-f", "json", "c")) or []
    words = {pid: Path(f"/proc/{pid}/cmdline") for pid in pids}
    found = [
        pid for pid, path in words.items() if path.exists() and path.read_bytes()[:6] == b"sleep\0"
    ]
    return found if len(found) == 2 else []


def _gone(pid: int) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_ps_and_list(ours: Machine) -> None:
    pid = ours.background("c")
    assert json.loads(ours.ok("ps", "--format", "json", "c")) == [pid]
    lines = ours.ok("ps", "c").splitlines()
    assert "PID" in lines[0].split()
    assert [line.split()[1] for line in lines[1:]] == [str(pid)]
    assert ours.ok("list", "--quiet") == "c\n"
    (found,) = json.loads(ours.ok("list", "--format", "json"))
    assert list(found)[:7] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert found == ours.state("c")
    titles, row = ours.ok("list").splitlines()
    assert row.split()[:3] == ["c", str(pid), "running"]
    # columns begin below each other, three spaces behind the longest
    bundle = f"{ours.bundle}   "
    assert row.index(bundle) == titles.index("BUNDLE")
    assert row.index(bundle) + len(bundle) == titles.index("CREATED")


def test_errors_of_create_leave_nothing(ours: Machine) -> None:
    before = "runc create failed: unable to start container process: error during container init: "
    for program, said in {
        "nosuch": 'exec: "nosuch": executable file not found in $PATH',
        "/nosuch": 'exec: "/nosuch": stat /nosuch: no such file or directory',
        "/etc": 'exec: "/etc": is a directory',
        "/etc/passwd": 'exec: "/etc/passwd": permission denied',
    }.items():
        ours.spec(program)
        assert ours.fails("create", "c") == before + said
    assert containers(ours.root) == []


def test_the_words_for_specs_that_cannot_be(ours: Machine) -> None:
    ours.spec(change=lambda document: document["process"].update(cwd="x"))
    assert ours.fails("create", "c") == "runc create failed: Cwd must be an absolute path"
    ours.spec(change=lambda document: document["process"].update(args=[]))
    assert ours.fails("create", "c") == "runc create failed: args must not be empty"
    ours.spec(change=lambda document: document.pop("process"))
    assert ours.fails("run", "c") == "runc run failed: process property must not be empty"
    ours.spec(change=lambda document: document["process"].update(cwd="/bin/busybox/x"))
    assert "make the working directory /bin/busybox/x" in ours.fails("run", "c")


def test_without_a_process_it_can_be_created_and_not_started(ours: Machine) -> None:
    """config.md#process: it is required when `start` is called, and not before."""
    ours.spec(change=lambda document: document.pop("process"))
    for _ in range(3):  # stored plans are used from the third time on
        ours.quiet("create", "c")
        assert ours.fails("start", "c") == "process property must not be empty"
        assert json.loads(ours.ok("state", "c"))["status"] == "created"
        ours.ok("delete", "c")


def test_what_the_process_cannot_become_is_the_error_of_create(ours: Machine) -> None:
    """Nobody hears from it after `start`."""

    def change(document: dict[str, Any]) -> None:
        document["linux"]["namespaces"].append({"type": "user"})
        ids = [{"containerID": 0, "hostID": 100_000, "size": 6}]
        document["linux"].update(uidMappings=ids, gidMappings=ids)
        document["process"]["user"] = {"uid": 7, "gid": 0}

    ours.spec(change=change)
    assert "cannot setuid to unmapped uid 7 in user namespace" in ours.fails("create", "c")
    assert containers(ours.root) == []


def test_a_created_process_is_what_its_program_will_be(ours: Machine) -> None:
    def change(document: dict[str, Any]) -> None:
        document["process"]["user"] = {"uid": 5, "gid": 6}
        document["process"]["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]

    ours.spec("sleep", "60", change=change)
    ours.quiet("create", "c")
    pid = json.loads(ours.ok("state", "c"))["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    assert "\nUid:\t5\t5\t5\t5\n" in status
    assert f"\nCapEff:\t{1 << 5 | 1 << 10 | 1 << 29:016x}\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    assert re.search(r"Max open files +77 +78", Path(f"/proc/{pid}/limits").read_text())
    ours.ok("delete", "--force", "c")


def test_capabilities_that_the_runtime_does_not_have_are_a_warning(ours: Machine) -> None:
    """config.md#linux-process: it should not fail where its own set is limited."""

    def all_of_them(document: dict[str, Any]) -> None:
        names = ["CAP_KILL", "CAP_SYS_TIME"]
        sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
        document["process"]["capabilities"] = dict.fromkeys(sets, names)

    ours.spec("grep", "CapEff", "/proc/self/status", change=all_of_them)
    for _ in range(3):
        command = ours.words("run", "c")
        limited = ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time", *command]
        done = subprocess.run(limited, cwd=ours.bundle, env=ours.environment, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "ignoring unknown or unavailable capabilities: [CAP_SYS_TIME]" in done.stderr
        assert done.stdout.split()[-1] == f"{1 << 5:016x}"


def test_unknown_capabilities_are_a_warning(ours: Machine) -> None:
    def more(document: dict[str, Any]) -> None:
        document["process"]["capabilities"]["bounding"].append("CAP_X")

    ours.spec(change=more)
    done = ours.call("run", "c")
    assert done.returncode == 0
    assert "level=warning" in done.stderr
    assert "ignoring unknown or unavailable capabilities: [CAP_X]" in done.stderr


def test_a_label_that_no_module_looks_at_is_a_warning(ours: Machine) -> None:
    """As crun and the specification's validation suite have it; each time, also when both are
    prepared. No kernel runs both modules."""
    running = active()
    members = {"apparmor": "apparmorProfile", "selinux": "selinuxLabel"}
    module, member = next((key, name) for key, name in members.items() if key not in running)

    def label(document: dict[str, Any]) -> None:
        document["process"][member] = "a_label"

    told = f"ignoring process.{member}: this kernel does not run {module}"
    ours.spec("echo", "ran", change=label)
    for _ in range(3):
        done = ours.call("run", "c")
        assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr
        assert "level=warning" in done.stderr
        assert told in done.stderr
    ours.spec("sleep", "1000", change=label)
    ours.quiet("run", "--detach", "k")
    for flag in ((), (), ("--apparmor", "x") if module == "apparmor" else ("--process-label", "x")):
        done = ours.call("exec", *flag, "k", "true")
        assert done.returncode == 0, done.stderr
        assert told in done.stderr


def test_any_version_of_the_spec_is_taken(ours: Machine) -> None:
    ours.spec(change=lambda document: document.update(ociVersion="2.7.0-bogus"))
    assert ours.call("run", "c").returncode == 0
