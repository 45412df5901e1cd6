"""kill, delete, pause, resume, update, stats, ps and wait, on real containers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import (
    InvalidSpec,
    MobyshellError,
    NotFound,
    Refused,
    SyscallFailed,
    TimedOut,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.events import Failed, HookDone, TaskSignalled, TaskUpdated
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime import Runtime, execs, make_plan
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.delete import delete
from mobyshell.core.runtime.exec import check_running
from mobyshell.core.runtime.kill import members, signal_process
from mobyshell.core.runtime.pause import pause
from mobyshell.core.runtime.steps import Readable, run, wait_for
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import Change, House, cgroups_left, freeze, running
from tests.waiting import eventually

pytestmark = pytest.mark.root


def out(house: House) -> str:
    return (house.directory / "c.out").read_text()


def share_pids(document: dict[str, Any]) -> None:
    document["linux"]["namespaces"].remove({"type": "pid"})


TRAP = "trap 'echo {0}; {1}' TERM USR1; echo ready; while :; do sleep 0.02; done"


# kill


def test_kill_reaches_the_init_alone(house: House) -> None:
    script = f'sh -c "{TRAP.format("child", ":")}" & {TRAP.format("init", ":")}'
    with running(house, "sh", "-c", script):
        eventually(lambda: out(house).count("ready") == 2)
        run(house.runtime.kill("c", signal.SIGUSR1))
        eventually(lambda: "init" in out(house))
        time.sleep(0.1)
        assert "child" not in out(house)
        run(house.runtime.kill("c", signal.SIGUSR1, all_processes=True))
        eventually(lambda: "child" in out(house) and out(house).count("init") == 2)
    sent = [one for one in house.events if isinstance(one, TaskSignalled)]
    assert [(one.signal, one.all) for one in sent] == [("SIGUSR1", False), ("SIGUSR1", True)]


def test_kill_all_of_a_paused_container_leaves_it_paused(house: House) -> None:
    with running(house, "sh", "-c", TRAP.format("got it", ":")):
        eventually(lambda: "ready" in out(house))
        run(house.runtime.pause("c"))
        run(house.runtime.kill("c", signal.SIGTERM, all_processes=True))
        assert house.runtime.state("c")[1] is Status.PAUSED
        time.sleep(0.05)
        assert "got it" not in out(house)
        run(house.runtime.resume("c"))
        eventually(lambda: "got it" in out(house))


@pytest.mark.parametrize("every", [False, True])
def test_a_paused_container_dies_of_sigkill(house: House, every: bool) -> None:
    with running(house, "sleep", "1000"):
        run(house.runtime.pause("c"))
        run(house.runtime.kill("c", signal.SIGKILL, all_processes=every))
        assert run(house.runtime.wait("c", timeout=60)) == 137


def test_kill_all_without_a_pid_namespace_finds_every_process(house: House) -> None:
    script = "for i in 1 2 3 4 5; do sleep 1000 & done; echo ready; wait"
    with running(house, "sh", "-c", script, change=share_pids) as state:
        eventually(lambda: len(members(state)) == 6)
        run(house.runtime.kill("c", signal.SIGKILL, all_processes=True))
        eventually(lambda: not [one for one in members(state) if procfs.stat(one).state != "Z"])


def test_kill_all_of_a_stopped_container_signals_what_it_left(house: House) -> None:
    with running(house, "sh", "-c", "sleep 1000 & echo ready", change=share_pids) as state:
        run(house.runtime.wait("c", timeout=60))
        (left,) = members(state)
        with pytest.raises(WrongState, match="container not running: c"):
            run(house.runtime.kill("c", signal.SIGKILL))
        run(house.runtime.kill("c", signal.SIGKILL, all_processes=True))
        eventually(lambda: not os.path.exists(f"/proc/{left}") or procfs.stat(left).state == "Z")


def test_no_signal_reaches_a_process_that_got_an_old_number(house: House) -> None:
    bystander = subprocess.Popen(["sleep", "1000"])
    try:
        start = procfs.start_time(bystander.pid)
        with running(house, "sleep", "1000") as state:
            path = house.runtime.root / "c"
            states.write(path, replace(state, pid=bystander.pid, pid_start=start - 1))
            for every in (False, True):
                try:
                    run(house.runtime.kill("c", signal.SIGKILL, all_processes=every))
                except WrongState:
                    pass
            assert not signal_process(bystander.pid, start - 1, signal.SIGKILL)
            without = replace(state, cgroups={}, pid=bystander.pid, pid_start=start - 1)
            assert members(without) == []
            states.write(path, state)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_members_without_cgroups_are_those_of_the_pid_namespace(house: House) -> None:
    # one with a pid namespace of its own inside is still a member
    script = "sleep 1000 & unshare -pf sleep 1000 & echo ready; wait"

    def change(document: dict[str, Any]) -> None:
        for kind in ("bounding", "effective", "permitted"):
            document["process"]["capabilities"][kind].append("CAP_SYS_ADMIN")

    with running(house, "sh", "-c", script, change=change) as state:
        eventually(lambda: len(members(state)) == 4)
        without = replace(state, cgroups={})
        assert members(without) == members(state)


# delete


def test_deleting_what_runs_needs_force(house: House) -> None:
    with running(house, "sleep", "1000"):
        message = "cannot delete container c that is not stopped: running"
        with pytest.raises(WrongState, match=message) as caught:
            run(house.runtime.delete("c"))
        assert "--force" in caught.value.hint
        run(house.runtime.pause("c"))
        with pytest.raises(WrongState, match="not stopped: paused"):
            run(house.runtime.delete("c"))
        run(house.runtime.delete("c", force=True))
        assert cgroups_left(house.runtime.root) == []
        assert os.listdir(house.runtime.root) == []


def test_delete_of_nobody(house: House) -> None:
    with pytest.raises(NotFound, match="container does not exist: c"):
        run(house.runtime.delete("c"))
    run(house.runtime.delete("c", force=True))
    with pytest.raises(UsageError):
        run(house.runtime.delete("../c", force=True))


def test_delete_takes_the_processes_that_outlived_their_init(house: House) -> None:
    with running(house, "sh", "-c", "sleep 1000 & sleep 1000 &", change=share_pids) as state:
        run(house.runtime.wait("c", timeout=60))
        left = members(state)
        assert len(left) == 2
        run(house.runtime.delete("c"))
        assert not [one for one in left if os.path.exists(f"/proc/{one}/exe")]
        assert cgroups_left(house.runtime.root) == []


def test_delete_takes_the_cgroups_that_were_made_inside(house: House) -> None:
    with running(house, "sleep", "1000") as state:
        for path in state.cgroups.values():
            os.makedirs(f"{path}/deep/er")
            os.mkdir(f"{path}/other")
        with open(f"{state.cgroups['pids']}/other/cgroup.procs", "w") as file:
            file.write(str(state.pid))
        run(house.runtime.delete("c", force=True))
        assert cgroups_left(house.runtime.root) == []


def test_an_interrupted_delete_can_be_repeated(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_: object, **__: object) -> None:
        raise SyscallFailed("rmdir", errno.EBUSY)

    with running(house, "sleep", "1000") as state:
        steps = delete(house.runtime.root, "c", force=True, sink=house.runtime.sink)
        with monkeypatch.context() as patch:
            patch.setattr("mobyshell.core.linux.cgroups.remove", busy)
            wanted = next(steps)
            while procfs.alive(state.pid, state.pid_start) or isinstance(wanted, Readable):
                wanted = steps.send(wait_for(wanted))
        steps.close()  # whoever deleted it was killed here: no process is left, its cgroups are
        assert cgroups_left(house.runtime.root) != []
        assert house.runtime.state("c")[1] is Status.STOPPED
        run(house.runtime.delete("c"))
        assert cgroups_left(house.runtime.root) == []


def test_delete_without_a_usable_config(house: House) -> None:
    with running(house, "sleep", "1000"):
        (house.runtime.root / "c" / "config.json").write_text("{")
        run(house.runtime.delete("c", force=True))
        assert os.listdir(house.runtime.root) == []


def test_two_deletes_at_once_run_poststop_once(house: House, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def change(document: dict[str, Any]) -> None:
        hook = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >> {log}; echo >> {log}"]}
        document["hooks"] = {"poststop": [hook]}

    with running(house, "sleep", "1000", change=change):
        both = [
            delete(house.runtime.root, "c", force=True, sink=house.runtime.sink) for _ in range(2)
        ]
        wanted = [next(one, None) for one in both]  # both have read the state
        for steps, first in zip(both, wanted, strict=True):
            try:
                while first is not None:
                    first = steps.send(wait_for(first))
            except StopIteration:
                pass
        assert log.read_text().count('"status": "stopped"') == 1


def test_every_poststop_hook_runs_and_failures_are_told(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["hooks"] = {
            "poststop": [{"path": "/bin/false"}, {"path": "/no/such/hook"}, {"path": "/bin/true"}]
        }

    assert house.run("true", change=change).status == 0
    done = [one for one in house.events if isinstance(one, HookDone)]
    assert [(one.path, one.exit_status) for one in done] == [("/bin/false", 1), ("/bin/true", 0)]
    failed = [one for one in house.events if isinstance(one, Failed)]
    assert [one.verb for one in failed] == ["poststop", "poststop"]


# pause


def test_pause_wants_a_running_container(house: House) -> None:
    with running(house, "sleep", "1000"):
        with pytest.raises(WrongState, match="container not paused: c"):
            run(house.runtime.resume("c"))
        run(house.runtime.pause("c"))
        with pytest.raises(WrongState, match="container not running: c"):
            run(house.runtime.pause("c"))
        run(house.runtime.kill("c", signal.SIGKILL))
        run(house.runtime.wait("c", timeout=60))
        for verb in (house.runtime.pause, house.runtime.resume):
            with pytest.raises(WrongState):
                run(verb("c"))
    with pytest.raises(NotFound):
        run(house.runtime.pause("c"))


def test_a_created_container_can_be_paused_and_resumed(house: House) -> None:
    container = house.create("c", house.spec(None, "echo", "hello"))
    run(house.runtime.pause("c"))
    with pytest.raises(WrongState):
        run(house.runtime.pause("c"))
    run(house.runtime.resume("c"))
    run(house.runtime.start("c"))
    assert house.finish(container).output == "hello\n"


def test_one_that_is_paused_is_not_started(house: House) -> None:
    container = house.create("c", house.spec(None, "echo", "hello"))
    run(house.runtime.pause("c"))
    assert house.runtime.state("c")[1] is Status.PAUSED
    with pytest.raises(WrongState, match="cannot start a container in the paused state"):
        run(house.runtime.start("c"))
    run(house.runtime.kill("c", signal.SIGTERM))  # of no program yet: it ends it
    assert run(house.runtime.wait("c", timeout=60)) == 128 + signal.SIGKILL
    os.close(container.pidfd)


def test_one_that_others_freeze_meanwhile_takes_no_process(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(house, "sleep", "1000"):

        def and_then(*args: Any, **how: Any) -> states.State:
            found = check_running(*args, **how)
            freeze(house, "c")
            return found

        monkeypatch.setattr(execs, "check_running", and_then)
        with pytest.raises(WrongState, match="paused") as told:
            house.exec("c", "true")
        assert "meanwhile" in told.value.hint
        monkeypatch.undo()
        run(house.runtime.resume("c"))
        assert house.exec("c", "true").status == 0


def test_what_does_not_freeze_is_named_and_runs_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    # vfork's parent sleeps where no signal reaches it until the child has executed something
    blocker = house.directory / "blocker"
    source = house.directory / "blocker.c"
    source.write_text(
        "#include <unistd.h>\n#include <stdio.h>\n"
        'int main(void) { puts("ready"); fflush(stdout); if (vfork() == 0) pause(); return 0; }\n'
    )
    subprocess.run(["gcc", "-static", "-o", str(blocker), str(source)], check=True)
    monkeypatch.setattr("mobyshell.core.runtime.pause.PATIENCE", 0.2)

    def change(document: dict[str, Any]) -> None:
        mount = {"destination": "/tmp/blocker", "source": str(blocker), "options": ["bind"]}
        document["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}, mount,
        ]  # fmt: skip

    with running(house, "/tmp/blocker", change=change) as state:
        eventually(lambda: "ready" in out(house))
        eventually(lambda: len(members(state)) == 2)
        try:
            run(house.runtime.pause("c"))
        except TimedOut as error:
            assert "blocker (D" in error.hint
            assert house.runtime.state("c")[1] is Status.RUNNING
        else:
            # newer kernels freeze it all the same
            assert house.runtime.state("c")[1] is Status.PAUSED
            run(house.runtime.resume("c"))


def test_what_somebody_else_froze_is_named_and_deleted_when_thawed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobyshell.core.runtime.delete.PATIENCE", 0.5)
    with running(house, "sleep", "1000") as state:
        own = cgroups.detect().own
        group = f"{own.get('freezer', own.get(''))}/mobyshell-test-frozen-{os.getpid()}"
        directory, file, freeze, thaw = cgroups.freezer(
            {"freezer" if "freezer" in own else "": group}
        ) or ("", "", "", "")
        os.mkdir(group)
        try:
            cgroups.write(directory, "cgroup.procs", str(state.pid))
            cgroups.write(directory, file, freeze)
            if "freezer" in own:
                # with the second version of cgroups the frozen can be killed
                with pytest.raises(TimedOut, match=f"SIGKILL: it is frozen in {directory}$"):
                    run(house.runtime.delete("c", force=True))
            cgroups.write(directory, file, thaw)
            run(house.runtime.delete("c", force=True))
        finally:
            cgroups.write(directory, file, thaw)
            eventually(lambda: not cgroups.processes(directory))
            os.rmdir(directory)


def test_a_pause_that_nobody_waits_for_is_undone(house: House) -> None:
    with running(house, "sh", "-c", "while :; do :; done") as state:
        steps = pause(house.runtime.root, "c", sink=house.runtime.sink)
        try:
            next(steps)
        except StopIteration:
            run(house.runtime.resume("c"))  # it froze at once
        else:
            steps.close()
        assert not cgroups.frozen(state.cgroups)
        assert house.runtime.state("c")[1] is Status.RUNNING


# update


def value(state: states.State, controller: str, file: str) -> str:
    return cgroups.read(state.cgroups[controller], file)


def test_limits_change_and_are_kept(house: House) -> None:
    with running(house, "sleep", "1000") as state:
        given = {
            "memory": {"limit": 64 << 20, "reservation": 32 << 20},
            "cpu": {"shares": 300, "quota": 40000, "period": 80000, "cpus": "0"},
            "pids": {"limit": 33},
        }
        run(house.runtime.update("c", given))
        assert value(state, "memory", "memory.limit_in_bytes") == str(64 << 20)
        assert value(state, "memory", "memory.soft_limit_in_bytes") == str(32 << 20)
        assert value(state, "cpu", "cpu.shares") == "300"
        assert value(state, "cpu", "cpu.cfs_quota_us") == "40000"
        assert value(state, "cpuset", "cpuset.cpus") == "0"
        run(house.runtime.update("c", {"pids": {"limit": -1}, "memory": {"limit": -1}}))
        assert value(state, "pids", "pids.max") == "max"
        linux = load_spec(house.runtime.root / "c").linux
        assert linux is not None
        assert linux.resources is not None
        assert linux.resources.memory is not None
        assert (linux.resources.memory.limit, linux.resources.memory.reservation) == (-1, 32 << 20)
        assert linux.resources.devices  # what was not given is as it was
        assert isinstance(house.events[-1], TaskUpdated)
        assert house.events[-1].changed == {"pids": {"limit": -1}, "memory": {"limit": -1}}
        assert all(one.agrees is not False for one in house.runtime.diff("c"))


def test_a_zero_is_no_limit(house: House) -> None:
    """dockerd's update has one for all that it leaves alone; runc takes it so, in a spec as well."""
    nothing = {
        "memory": {"limit": 0, "reservation": 0, "swap": 0, "kernel": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0},
        "blockIO": {"weight": 0},
    }
    begin = house.spec(
        lambda document: document["linux"]["resources"].update(nothing), "sleep", "1000"
    )
    house.create("c", begin)
    run(house.runtime.start("c"))
    state = states.read(house.runtime.root, "c")
    assert int(value(state, "memory", "memory.limit_in_bytes")) > 1 << 60
    run(house.runtime.update("c", {"memory": {"limit": 64 << 20}, "cpu": {"quota": 40000}}))
    run(house.runtime.update("c", {**nothing, "cpu": {**nothing["cpu"], "shares": 200}}))
    assert value(state, "cpu", "cpu.shares") == "200"
    assert value(state, "cpu", "cpu.cfs_quota_us") == "40000"
    assert value(state, "memory", "memory.limit_in_bytes") == str(64 << 20)
    linux = load_spec(house.runtime.root / "c").linux
    assert linux is not None
    assert linux.resources is not None
    assert linux.resources.memory is not None
    assert linux.resources.memory.limit == 64 << 20  # what later updates build upon
    assert all(one.agrees is not False for one in house.runtime.diff("c"))
    run(house.runtime.delete("c", force=True))


def test_kernel_memory_of_tcp_is_limited_where_linux_can(house: House) -> None:
    limits = {"memory": {"kernelTCP": 8 << 20, "kernel": 9 << 20}}
    with running(house, "sleep", "1000") as state:
        if os.path.exists(f"{state.cgroups['memory']}/memory.kmem.tcp.limit_in_bytes"):
            run(house.runtime.update("c", limits))
            assert value(state, "memory", "memory.kmem.tcp.limit_in_bytes") == str(8 << 20)
        else:
            with pytest.raises(SyscallFailed, match=r"linux.resources.memory.kernelTCP"):
                run(house.runtime.update("c", limits))
        run(house.runtime.update("c", {"memory": {"kernelTCP": -1}}))
    plan = make_plan(
        house.spec(lambda document: document["linux"]["resources"].update(limits)),
        bundle=str(house.bundle), id="c", host=house.runtime.host,
    )  # fmt: skip
    told = "linux.resources.memory.kernel limits nothing in Linux any more, left out"
    assert told in plan.notices
    assert any("memory.kmem.tcp.limit_in_bytes" in one.title for one in plan.operations)


def test_pairs_of_limits_go_up_and_down(house: House) -> None:
    # in either direction one of the two would be refused if it went first
    with running(house, "sleep", "1000") as state:
        for quota, burst, period in (
            (50000, 20000, 100000),
            (10000, 5000, 50000),
            (90000, 90000, 100000),
        ):
            run(house.runtime.update(
                "c", {"cpu": {"burst": burst, "quota": quota, "period": period}}))  # fmt: skip
            assert value(state, "cpu", "cpu.cfs_quota_us") == str(quota)
            assert value(state, "cpu", "cpu.cfs_burst_us") == str(burst)
        if os.path.exists(f"{state.cgroups['memory']}/memory.memsw.limit_in_bytes"):
            for size in (64 << 20, 32 << 20, 128 << 20):
                run(house.runtime.update("c", {"memory": {"limit": size, "swap": size}}))
                assert value(state, "memory", "memory.limit_in_bytes") == str(size)
                assert value(state, "memory", "memory.memsw.limit_in_bytes") == str(size)


def everything(state: states.State) -> dict[str, str]:
    files = [
        ("pids", "pids.max"), ("cpu", "cpu.shares"), ("cpu", "cpu.cfs_quota_us"),
        ("memory", "memory.limit_in_bytes"), ("memory", "memory.soft_limit_in_bytes"),
        ("devices", "devices.list"), ("blkio", "blkio.throttle.read_bps_device"),
        ("memory", "memory.swappiness"),
    ]  # fmt: skip
    return {file: value(state, controller, file) for controller, file in files}


def test_a_refusal_undoes_all(house: House) -> None:
    disk = next(line.split()[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()
                if not line.split()[2].startswith("0:"))  # fmt: skip
    major, minor = (int(one) for one in disk.split(":"))
    with running(house, "sleep", "1000") as state:
        config = (house.runtime.root / "c" / "config.json").read_bytes()
        before = everything(state)
        with pytest.raises(SyscallFailed, match=r"linux.resources.cpu.cpus = 900: write") as caught:
            run(house.runtime.update("c", {
                "devices": [{"allow": True, "access": "rwm"}],
                "memory": {"limit": 64 << 20, "reservation": 1 << 20, "swappiness": 3},
                "cpu": {"shares": 77, "quota": 33000, "cpus": "900"},
                "pids": {"limit": 9},
                "blockIO": {"throttleReadBpsDevice": [
                    {"major": major, "minor": minor, "rate": 1 << 20}]},
            }))  # fmt: skip
        assert caught.value.errno_name in ("EINVAL", "ERANGE")
        assert everything(state) == before
        assert (house.runtime.root / "c" / "config.json").read_bytes() == config


@pytest.mark.parametrize(
    ("resources", "kind", "message"),
    [
        ({}, UsageError, "no limit is given"),
        ({"pidz": {"limit": 1}}, InvalidSpec, "no such member of linux.resources: 'pidz'"),
        ({"pids": {"limit": "many"}}, InvalidSpec, "pids.limit"),
        ({"pids": 5}, InvalidSpec, "pids"),
        ({"cpu": {"idle": 7}}, InvalidSpec, "idle"),
        ({"pids": {"limit": 2**70}}, InvalidSpec, "pids.limit"),
        ({"memory": {"limit": object()}}, InvalidSpec, "not JSON"),
        ({"unified": {"memory.max": "1"}}, Unsupported, "unified"),
        ({"network": {"classID": 5}}, Unsupported, "net_cls"),
    ],
)
def test_bad_limits(
    house: House, resources: dict[str, Any], kind: type[MobyshellError], message: str
) -> None:
    with running(house, "sleep", "1000") as state:
        before = everything(state)
        with pytest.raises(kind, match=message):
            run(house.runtime.update("c", resources))
        assert everything(state) == before


def test_memory_in_use_is_not_taken_away(house: House) -> None:
    script = "head -c 30000000 /dev/zero | tail -c 20000000 > /tmp/f; echo ready; sleep 1000"
    change: Change = lambda d: d["mounts"].append(  # noqa: E731
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    )
    with running(house, "sh", "-c", script, change=change):
        eventually(lambda: "ready" in out(house))
        memory = {"limit": 8 << 20, "checkBeforeUpdate": True}
        with pytest.raises(Refused, match="more than the new limit of 8388608"):
            run(house.runtime.update("c", {"memory": memory}))
        assert house.runtime.stats("c").memory_limit is None
        run(house.runtime.update("c", {"memory": {**memory, "limit": 200 << 20}}))
        assert house.runtime.stats("c").memory_limit == 200 << 20


def test_update_of_a_stopped_container(house: House) -> None:
    with running(house, "true"):
        run(house.runtime.wait("c", timeout=60))
        with pytest.raises(WrongState, match="container not running"):
            run(house.runtime.update("c", {"pids": {"limit": 1}}))


# stats and ps


def test_stats_count(house: House) -> None:
    script = "head -c 20000000 /dev/zero | tail -c 10000000 > /tmp/f; echo ready; sleep 1000"
    change: Change = lambda d: d["mounts"].append(  # noqa: E731
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}
    )
    with running(house, "sh", "-c", script, change=change):
        eventually(lambda: "ready" in out(house))
        first = house.runtime.stats("c")
        assert first.cpu_ns is not None
        assert first.cpu_ns > 1_000_000
        assert first.memory is not None
        assert first.memory_peak is not None
        assert 10_000_000 < first.memory <= first.memory_peak
        assert first.pids == len(house.runtime.ps("c")) > 0
        assert (first.pids_limit, first.memory_limit, first.oom_kills) == (None, None, 0)
        house.exec("c", "true")
        second = house.runtime.stats("c")
        assert second.cpu_ns is not None
        assert second.cpu_ns > first.cpu_ns
        assert second.time_ns > first.time_ns


def test_stats_of_what_is_gone(house: House) -> None:
    with running(house, "true") as state:
        run(house.runtime.wait("c", timeout=60))
        assert house.runtime.stats("c").pids == 0
        cgroups.remove(state.cgroups.values())
        found = house.runtime.stats("c")
        assert (found.cpu_ns, found.memory, found.pids, found.io_read) == (None,) * 4


def test_ps_numbers_processes_as_the_container_does(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        for kind in ("bounding", "effective", "permitted"):
            document["process"]["capabilities"][kind] += ["CAP_SYS_ADMIN", "CAP_SETUID"]

    script = "unshare -pf sleep 1001 & exec sleep 1000"
    with running(house, "sh", "-c", script, change=change) as state:
        eventually(lambda: len(members(state)) == 3)
        eventually(
            lambda: sum(one.command.startswith("sleep") for one in house.runtime.ps("c")) == 2
        )
        rows = house.runtime.ps("c")
        init = rows[0]
        assert (init.pid, init.pid_inside, init.command) == (state.pid, 1, "sleep 1000")
        assert init.rss > 0
        assert init.uid == 0
        # process 1 of a namespace within is not process 1 of the container
        nested = next(one for one in rows if one.command == "sleep 1001")
        assert nested.pid_inside > 1
        assert nested.ppid in {one.pid for one in rows}


def test_ps_of_a_container_in_the_hosts_pid_namespace(house: House) -> None:
    with running(house, "sleep", "1000", change=share_pids) as state:
        (row,) = house.runtime.ps("c")
        assert row.pid == row.pid_inside == state.pid
        run(house.runtime.kill("c", signal.SIGKILL))
        run(house.runtime.wait("c", timeout=60))
        assert house.runtime.ps("c") == []


# wait


def test_the_answer_is_kept_for_those_who_ask_later(house: House) -> None:
    with running(house, "sh", "-c", "exit 3"):
        assert run(house.runtime.wait("c", timeout=60)) == 3
        assert run(house.runtime.wait("c")) == 3
        assert run(Runtime(house.runtime.root).wait("c")) == 3
        assert house.runtime.state("c")[0].exited_ns > 0


def test_wait_gives_up_in_time(house: House) -> None:
    with running(house, "sleep", "1000"):
        with pytest.raises(TimedOut, match=r"c has not ended in 0.05 s"):
            run(house.runtime.wait("c", timeout=0.05))
        assert house.runtime.state("c")[1] is Status.RUNNING


WAITER = """
import sys
from pathlib import Path
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.steps import run, wait_for
steps = Runtime(Path(sys.argv[1])).wait("c", timeout=60)
wanted = next(steps)
print("waiting", flush=True)  # it has its descriptor of the process now, whatever comes
def rest(wanted):
    ready = wait_for(wanted)
    while True:
        try:
            ready = wait_for(steps.send(ready))
        except StopIteration as stop:
            return stop.value
print(rest(wanted), flush=True)
"""


@pytest.mark.parametrize("reaped", [True, False])
def test_another_process_learns_it_too(house: House, reaped: bool) -> None:
    with running(house, "sleep", "1000", change=share_pids) as state:
        waiter = subprocess.Popen(
            [sys.executable, "-c", WAITER, str(house.runtime.root)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "waiting\n"
        os.kill(state.pid, signal.SIGTERM)
        eventually(lambda: not procfs.alive(state.pid, state.pid_start))
        if reaped:
            os.waitid(os.P_PID, state.pid, os.WEXITED)
        said, _ = waiter.communicate(timeout=60)
        assert said == "143\n"


def test_nobody_can_learn_what_ended_unseen(house: House) -> None:
    with running(house, "true") as state:
        os.waitid(os.P_PID, state.pid, os.WEXITED)
        assert run(house.runtime.wait("c")) == -1
