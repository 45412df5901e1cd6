"""The default bundle of `runc spec`, looked at from inside and from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    HookFailed,
    MobyshellError,
    NotFound,
    SyscallFailed,
    Unsupported,
    WrongState,
)  # fmt: skip
from mobyshell.core.events import CallDone, Failed, HookDone, TaskCreated, TaskStarted
from mobyshell.core.linux import cgroups
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import House, cgroups_left, places_of

pytestmark = pytest.mark.root


def test_output_and_exit_status(house: House) -> None:
    result = house.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (result.status, result.output, result.errors) == (7, "out\n", "err\n")


def test_it_is_pid_1_of_its_own_namespaces(house: House) -> None:
    lines = house.sh("echo $$; hostname; ls /proc | grep -c '^[0-9]'; ip -o addr | wc -l")
    assert lines[0] == "1"
    assert lines[1] == "runc"
    assert int(lines[2]) <= 4  # the shell and its pipeline, nobody else
    assert int(lines[3]) == 2  # 127.0.0.1 and ::1 of a loopback that is up


def test_mounts_are_those_of_the_spec_and_no_other(house: House) -> None:
    lines = house.sh("cat /proc/self/mountinfo")
    points = [line.split()[4] for line in lines]
    assert points[0] == "/"
    assert "ro" in lines[0].split()[5].split(",")
    for point in ("/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"):
        assert point in points
    outside = [p for p in points if not p.startswith(("/proc", "/dev", "/sys")) and p != "/"]
    assert outside == []
    assert not any("shared:" in line for line in lines)


def test_devices(house: House) -> None:
    lines = house.sh(
        "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done;"
        "for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; ls /dev | wc -l;"
        "echo x > /dev/null && head -c 3 /dev/zero | wc -c"
    )
    assert lines[:6] == [
        "/dev/null character special file 1:3 666", "/dev/zero character special file 1:5 666",
        "/dev/full character special file 1:7 666", "/dev/random character special file 1:8 666",
        "/dev/urandom character special file 1:9 666", "/dev/tty character special file 5:0 666",
    ]  # fmt: skip
    assert lines[6:11] == [
        "/proc/self/fd", "/proc/self/fd/0", "/proc/self/fd/1", "/proc/self/fd/2", "pts/ptmx",
    ]  # fmt: skip
    assert lines[11] == "14"
    assert lines[12] == "3"


def test_other_devices_are_out_of_reach(house: House) -> None:
    # mknod is allowed (and CAP_MKNOD given), but the device cgroup refuses to open it
    result = house.run(
        "sh", "-c", "mknod /dev/kmsg c 1 11 && cat /dev/kmsg",
        change=lambda d: d["process"]["capabilities"].update(
            {k: ["CAP_MKNOD"] for k in ("bounding", "effective", "permitted")}
        ),
    )  # fmt: skip
    assert result.status != 0
    assert "Operation not permitted" in result.errors


def test_masked_and_read_only_paths(house: House) -> None:
    lines = house.sh(
        "cat /proc/kcore | wc -c; cat /proc/timer_list | wc -c;"
        "ls -A /proc/scsi /sys/firmware | grep -v : | grep -c .;"
        "echo 1 > /proc/sys/kernel/printk 2>/dev/null || echo refused;"
        "echo b > /proc/sysrq-trigger 2>/dev/null || echo refused; true"
    )
    assert lines == ["0", "0", "0", "refused", "refused"]


def test_capabilities_limits_and_no_new_privileges(house: House) -> None:
    fields = dict(
        line.split(":", 1)
        for line in house.sh("cat /proc/self/status; echo umask:$(umask); echo files:$(ulimit -n)")
        if ":" in line
    )
    expected = 1 << 5 | 1 << 10 | 1 << 29  # KILL, NET_BIND_SERVICE, AUDIT_WRITE
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[name], 16) == expected
    assert int(fields["CapInh"], 16) == int(fields["CapAmb"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["umask"] == "0022"
    assert fields["files"] == "1024"


def test_no_descriptor_of_the_host_is_left(house: House) -> None:
    leak = os.open("/etc/passwd", os.O_RDONLY)  # not even close-on-exec
    os.set_inheritable(leak, True)
    try:
        lines = house.sh("ls -l /proc/self/fd | tail -n +2 | awk '{print $9}'")
    finally:
        os.close(leak)
    assert sorted(lines) == ["0", "1", "2", "3"]  # 3 is ls reading the directory


def test_signals_are_as_at_boot(house: House) -> None:
    # not through a shell: that ignores some on its own account
    lines = house.run("cat", "/proc/self/status").output.splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    assert int(fields["SigBlk"], 16) == 0
    assert int(fields["SigIgn"], 16) == 0


def test_created_waits_and_start_runs(house: House) -> None:
    container = house.create("c", house.spec(None, "echo", "hello"))
    state, status = house.runtime.state("c")
    assert status is Status.CREATED
    assert state.pid == container.pid
    assert (house.directory / "c.out").read_text() == ""
    run(house.runtime.start("c"))
    assert house.finish(container).output == "hello\n"
    kinds = [type(event) for event in house.events]
    assert kinds.index(TaskCreated) < kinds.index(TaskStarted)


def test_another_process_can_start_what_this_one_created(house: House) -> None:
    from mobyshell.core.runtime import Runtime

    container = house.create("c", house.spec(None, "echo", "hello"))
    run(Runtime(house.runtime.root).start("c"))
    assert house.finish(container).output == "hello\n"


def test_every_call_is_an_event_with_its_reason(house: House) -> None:
    house.run("true")
    calls = [event for event in house.events if isinstance(event, CallDone)]
    assert len(calls) > 200
    pivot = next(call for call in calls if call.name == "pivot_root")
    assert (pivot.actor, pivot.result, pivot.errno, pivot.man) == ("child", 0, "", "pivot_root(2)")
    assert pivot.args == ['"."', '"."']
    assert all(call.duration_ns > 0 for call in calls)
    assert {"clone3"}.isdisjoint(call.name for call in calls)
    assert any(call.name == "capset" for call in calls)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": no such file or directory'),
        ("/etc", 'exec: "/etc": is a directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_a_program_that_cannot_be_executed(house: House, program: str, message: str) -> None:
    with pytest.raises(SyscallFailed) as caught:
        house.run(program)
    assert str(caught.value) == message
    assert any(isinstance(event, Failed) for event in house.events)


def test_a_failing_mount_names_the_operation_and_leaves_nothing(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["mounts"].append({"destination": "/x", "type": "nosuchfs", "source": "x"})

    with pytest.raises(SyscallFailed) as caught:
        house.create("c", house.spec(change, "true"))
    assert str(caught.value).startswith("mount nosuchfs on /x (mounts[7]): fsopen nosuchfs:")
    assert house.runtime.list() == []
    assert cgroups_left(house.runtime.root) == []


def test_a_refused_limit_leaves_nothing(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"]["cpu"] = {"cpus": "900"}

    with pytest.raises(SyscallFailed, match=r"cpuset.cpus = 900"):
        house.create("c", house.spec(change, "true"))
    assert cgroups_left(house.runtime.root) == []


def test_a_bind_of_nothing_leaves_nothing(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        bind = {"destination": "/x", "source": "/no/such/dir", "options": ["bind"]}
        document["mounts"].append(bind)

    with pytest.raises(SyscallFailed, match="No such file"):
        house.create("c", house.spec(change, "true"))


def test_an_id_is_taken_once(house: House) -> None:
    container = house.create("c", house.spec(None, "true"))
    with pytest.raises(AlreadyExists):
        house.create("c", house.spec(None, "true"))
    run(house.runtime.start("c"))
    house.finish(container)


def test_wrong_states(house: House) -> None:
    with pytest.raises(NotFound):
        house.runtime.state("nobody")
    with pytest.raises(NotFound):
        run(house.runtime.delete("nobody"))
    run(house.runtime.delete("nobody", force=True))
    container = house.create("c", house.spec(None, "sleep", "100"))
    with pytest.raises(WrongState, match="not paused"):
        run(house.runtime.resume("c"))
    run(house.runtime.start("c"))
    with pytest.raises(WrongState, match="already running"):
        run(house.runtime.start("c"))
    with pytest.raises(WrongState, match="not stopped"):
        run(house.runtime.delete("c"))
    run(house.runtime.kill("c", signal.SIGKILL))
    assert run(house.runtime.wait("c")) == 137
    os.close(container.pidfd)
    for verb in (house.runtime.kill("c", 15), house.runtime.pause("c"), house.runtime.start("c")):
        with pytest.raises(WrongState):
            run(verb)
    run(house.runtime.kill("c", 9, all_processes=True))
    run(house.runtime.delete("c"))


def killed(house: House, pidfd: int) -> None:
    """It was KILL that ended the container's process, and nothing of the container is left."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    os.close(pidfd)
    assert ended is not None
    assert (ended.si_code, ended.si_status) == (os.CLD_KILLED, signal.SIGKILL)
    assert house.runtime.list() == []


def test_delete_kills_a_created_container(house: House) -> None:
    container = house.create("c", house.spec(None, "true"))
    run(house.runtime.delete("c"))
    killed(house, container.pidfd)


def test_pause_and_resume(house: House) -> None:
    container = house.create(
        "c", house.spec(None, "sh", "-c", "while :; do echo x; sleep 0.01; done")
    )
    run(house.runtime.start("c"))
    run(house.runtime.pause("c"))
    assert house.runtime.state("c")[1] is Status.PAUSED
    out = house.directory / "c.out"
    before = out.stat().st_size
    with pytest.raises(WrongState, match="paused"):
        house.exec("c", "true")
    assert out.stat().st_size == before
    run(house.runtime.resume("c"))
    assert house.runtime.state("c")[1] is Status.RUNNING
    run(house.runtime.kill("c", 9))
    assert house.finish(container).status == 137


def test_force_delete_of_a_paused_container(house: House) -> None:
    container = house.create("c", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("c"))
    run(house.runtime.pause("c"))
    run(house.runtime.delete("c", force=True))
    killed(house, container.pidfd)


def test_exec_is_inside(house: House) -> None:
    container = house.create("c", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("c"))
    result = house.exec(
        "c", "sh", "-c", "hostname; ps | grep -c 'sleep 1000'; cat /proc/self/cgroup; exit 3"
    )
    assert result.status == 3, result.errors
    lines = result.output.splitlines()
    assert lines[0] == "runc"
    state, _ = house.runtime.state("c")
    # in the container's cgroups, all of them
    mine = places_of("\n".join(lines[2:]), state.cgroups)
    assert len(mine) == len(cgroups.together(state.cgroups))
    assert all("mobyshell-" in line for line in mine)
    for name in ("net", "pid", "mnt", "uts", "ipc"):
        inside = house.exec("c", "readlink", f"/proc/self/ns/{name}").output.strip()
        assert inside == os.readlink(f"/proc/{state.pid}/ns/{name}")
    with pytest.raises(SyscallFailed, match="executable file not found"):
        house.exec("c", "nosuch")
    run(house.runtime.kill("c", 9))
    house.finish(container)
    with pytest.raises(NotFound):
        house.exec("c", "true")


def test_exec_works_in_a_created_container(house: House) -> None:
    container = house.create("c", house.spec(None, "true"))
    assert house.exec("c", "echo", "early").output == "early\n"
    run(house.runtime.start("c"))
    house.finish(container)


def test_ps_stats_and_update(house: House) -> None:
    container = house.create("c", house.spec(None, "sh", "-c", "sleep 1000 & sleep 1000; true"))
    run(house.runtime.start("c"))
    processes = house.runtime.ps("c")
    deadline = time.monotonic() + 60
    while [one.command for one in processes[1:]] != ["sleep 1000"] * 2:  # forks take a moment
        assert time.monotonic() < deadline, processes
        processes = house.runtime.ps("c")
    assert processes[0].pid_inside == 1
    stats = house.runtime.stats("c")
    assert stats.pids == 3
    assert stats.memory is not None
    assert stats.memory > 0
    assert stats.memory_limit is None
    run(house.runtime.update("c", {"pids": {"limit": 7}, "memory": {"limit": 64 << 20}}))
    stats = house.runtime.stats("c")
    assert (stats.pids_limit, stats.memory_limit) == (7, 64 << 20)
    with pytest.raises(MobyshellError):
        run(house.runtime.update("c", {"pids": {"limit": 9}, "cpu": {"cpus": "900"}}))
    assert house.runtime.stats("c").pids_limit == 7  # undone
    run(house.runtime.kill("c", 9))
    house.finish(container)


def test_limits_hold(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"].update(
            {"memory": {"limit": 32 << 20}, "pids": {"limit": 5},
             "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"}}
        )  # fmt: skip

    container = house.create(
        "c", house.spec(change, "sh", "-c", "head -c 200000000 /dev/zero | tail")
    )
    paths = house.runtime.state("c")[0].cgroups
    assert cgroups.read(paths["memory"], "memory.limit_in_bytes") == str(32 << 20)
    assert cgroups.read(paths["cpu"], "cpu.shares") == "512"
    assert cgroups.read(paths["cpu"], "cpu.cfs_quota_us") == "50000"
    assert cgroups.read(paths["cpuset"], "cpuset.cpus") == "0"
    assert cgroups.read(paths["pids"], "pids.max") == "5"
    run(house.runtime.start("c"))
    assert house.finish(container).status == 137  # tail keeps it all, and is killed for it


def test_hooks_of_the_namespaces_begin_in_the_root_filesystem(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        script = "pwd; test -e ./proc/self/status && mount -t tmpfs here ./tmp"
        document["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script],
                                                  "env": ["PATH=/usr/bin:/bin"]}]}  # fmt: skip

    mounted = house.run("grep", "-c", "^here /tmp ", "/proc/mounts", change=change)
    assert (mounted.status, mounted.output) == (0, "1\n")
    (done,) = [event for event in house.events if isinstance(event, HookDone)]
    assert done.stdout.strip() == str(house.bundle / "rootfs")


def test_hooks_of_the_host_begin_in_the_bundle(house: House) -> None:
    """Those of runc and crun do: there a hook finds its container's files by names alone."""
    kinds = ("prestart", "createRuntime", "poststart", "poststop")

    def change(document: dict[str, Any]) -> None:
        say = {"path": "/bin/sh", "args": ["sh", "-c", "pwd"], "env": ["PATH=/usr/bin:/bin"]}
        document["hooks"] = {kind: [say] for kind in kinds}

    here = os.getcwd()
    assert house.run("true", change=change).status == 0
    said = {event.kind: event.stdout for event in house.events if isinstance(event, HookDone)}
    assert said == dict.fromkeys(kinds, f"{house.bundle}\n")
    assert os.getcwd() == here


def test_hooks_run_in_order_with_the_state_on_stdin(house: House, tmp_path: Path) -> None:
    log = tmp_path / "hooks"
    kinds = (
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    )

    def change(document: dict[str, Any]) -> None:
        def hook(kind: str) -> dict[str, Any]:
            # startContainer sees the container's root; it says so on its output instead
            target = "/dev/stderr" if kind == "startContainer" else str(log)
            script = (f'read -r line; echo "{kind} $KIND $(echo "$line" | grep -o \'"status": "[a-z]*"\')'
                      f' $(hostname)" >> {target}')  # fmt: skip
            return {"path": "/bin/sh", "args": ["sh", "-c", script],
                    "env": [f"KIND={kind.upper()}", "PATH=/usr/bin:/bin"], "timeout": 20}  # fmt: skip

        document["hooks"] = {kind: [hook(kind)] for kind in kinds}

    house.run("true", change=change)
    ours = os.uname().nodename
    assert log.read_text().splitlines() == [
        f'prestart PRESTART "status": "created" {ours}',
        f'createRuntime CREATERUNTIME "status": "creating" {ours}',
        'createContainer CREATECONTAINER "status": "creating" runc',
        f'poststart POSTSTART "status": "running" {ours}',
        f'poststop POSTSTOP "status": "stopped" {ours}',
    ]
    done = [event for event in house.events if isinstance(event, HookDone)]
    assert [event.kind for event in done] == list(kinds)
    assert 'startContainer STARTCONTAINER "status": "created" runc' in done[3].stderr


def test_a_failing_hook_undoes_the_create(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        script = "echo said; echo why >&2; exit 3"
        document["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}

    with pytest.raises(HookFailed) as caught:
        house.create("c", house.spec(change, "true"))
    assert str(caught.value) == (
        "error running createRuntime hook #0: exit status 3, stdout: said, stderr: why"
    )
    assert house.runtime.list() == []


def test_a_hook_past_its_timeout_is_killed(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        hook = {"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}
        document["hooks"] = {"prestart": [hook]}

    with pytest.raises(HookFailed, match=r"ran past specified timeout of 1\.0s"):
        house.create("c", house.spec(change, "true"))


def test_what_is_not_supported_is_said(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["intelRdt"] = {"closID": "c", "l3CacheSchema": "L3:0=f"}

    with pytest.raises(Unsupported, match="intelRdt"):
        house.create("c", house.spec(change, "true"))


def test_terminal(house: House) -> None:
    spec = house.spec(lambda d: d["process"].update(terminal=True), "sh", "-c",
                      "tty; stty size; ls -l /dev/console | cut -c 1-10; test -t 0 && echo yes")  # fmt: skip
    null = os.open("/dev/null", os.O_RDWR)
    try:
        made = run(house.runtime.create("c", str(house.bundle), stdio=Stdio(null, null, null),
                                        spec=spec, rows=33, columns=99))  # fmt: skip
    finally:
        os.close(null)
    assert made.master is not None
    run(house.runtime.start("c"))
    output = b""
    try:
        while chunk := os.read(made.master, 4096):
            output += chunk
    except OSError:
        pass  # EIO: the last of them has closed the terminal
    os.close(made.master)
    run(house.runtime.wait("c"))
    os.close(made.pidfd)
    run(house.runtime.delete("c"))
    lines = output.decode().split("\r\n")
    assert lines[:4] == ["/dev/pts/0", "33 99", "crw--w----", "yes"]


def test_a_cgroup_of_somebody_else_is_left_to_them(house: House) -> None:
    own = cgroups.detect().own["pids"]
    theirs = f"{own}/mobyshell-theirs-{os.getpid()}"
    os.makedirs(f"{theirs}/inner")
    somebody = subprocess.Popen(["sleep", "1000"])
    cgroups.write(theirs, "cgroup.procs", str(somebody.pid))

    def change(document: dict[str, Any]) -> None:
        document["linux"]["cgroupsPath"] = os.path.basename(theirs)

    try:
        with pytest.raises(MobyshellError, match="cgroup is not empty"):
            house.create("c", house.spec(change, "true"))
        assert os.path.isdir(f"{theirs}/inner")
        assert cgroups.processes(theirs) == [somebody.pid]
    finally:
        somebody.kill()
        somebody.wait()
        cgroups.remove([theirs])


def test_a_container_that_has_not_memory_enough_to_begin_says_so(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"]["memory"] = {"limit": 4096}

    with pytest.raises(MobyshellError, match=r"OOM-killed \(memory limit too low\?\)"):
        house.create("c", house.spec(change, "true"))
    assert cgroups_left(house.runtime.root) == []
