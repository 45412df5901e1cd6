"""A run without Python: it is the same, only where everything is as it was, and is taken back."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import stat
import struct
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobyshell.runc import launch, run_ticket, tickets
from tests.core.runtime.conftest import cgroups_left
from tests.runc.conftest import PATIENCE, SCRIPTS, Machine, containers
from tests.runc.test_quick import quick, steady
from tests.runc.test_tickets import PYTHON, installed
from tests.waiting import eventually

__all__ = ["installed", "quick"]  # the fixtures

WITHIN = (tickets.SINCE, tickets.NUMBER, tickets.CLOCK, tickets.FILL, tickets.COPY, tickets.SAME,
          tickets.GIVEN, tickets.NOTHING)  # fmt: skip
"""Steps that change nothing but the memory of who takes them."""
LOOK = (
    "cat /proc/self/cgroup /proc/self/status /proc/self/mountinfo /proc/keys; hostname; id; env; "
    "ls -l /proc/self/fd /dev; umask; ulimit -n; for one in /proc/self/ns/*; do echo ${one##*/}; done"
)


def learn(ours: Machine, quick: Machine) -> Path:
    """Have a ticket made for the bundle; where it is."""
    made = ours.root / ".plans" / run_ticket.name(str(ours.bundle))
    made.unlink(missing_ok=True)
    for machine in (ours, ours, quick):
        machine.quiet("run", "-d", "learn")
        ours.ok("delete", "--force", "learn")
    assert made.exists()
    return made


def nothing_left(ours: Machine) -> bool:
    return not containers(ours.root) and not cgroups_left(ours.root)


def asks_python(ours: Machine, installed: Machine, *words: str) -> bool:
    """Whether Python is asked, with nothing done before."""
    done = installed.call("run", *(words or ("c",)))
    asked = done.returncode == PYTHON
    if asked:
        assert done.stdout.splitlines()[-1] == (words or ("c",))[-1]
        assert nothing_left(ours)
    return asked


def test_bundles_have_the_name_that_the_script_gives_them() -> None:
    script = SCRIPTS.joinpath("mobyshell-runc").read_text()
    found = re.search(r"    set -f\n.*?set \+f\n", script, re.DOTALL)
    assert found
    for bundle in ("/b", "/a b/c*/[d]", "/run/ä/%/b"):
        said = subprocess.run(
            ["sh", "-c", f'given=$1 root=/r\n{found[0]}printf %s "$ticket"', "sh", bundle],
            capture_output=True, text=True, check=True, env={}, timeout=PATIENCE,
        ).stdout  # fmt: skip
        assert said == f"/r/.plans/{run_ticket.name(bundle)}"
    assert run_ticket.name("/" + "x" * 300) == ""


def test_a_run_needs_no_python(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.spec("sh", "-c", "echo out $HOME; echo err >&2; cat; exit 3")
    learn(ours, quick)
    for id in ("c", "another_one.of-them+", "c" * 76):
        done = installed.call("run", id, input="in")
        assert (done.returncode, done.stdout, done.stderr) == (3, "out /root\nin", "err\n")
        assert nothing_left(ours)
    done = installed.call("run", "--bundle", str(ours.bundle), "c", cwd="/")
    assert (done.returncode, done.stdout) == (3, "out /root\n")
    for bundle, cwd in ((".", ours.bundle), (ours.bundle.name, ours.bundle.parent)):
        done = installed.call("run", "--bundle", bundle, "c", cwd=str(cwd))
        assert (done.returncode, done.stdout) == (3, "out /root\n")
    ours.spec("sh", "-c", "kill -KILL $$; sleep 1000 & exec sleep 1000")
    learn(ours, quick)
    with subprocess.Popen(
        installed.words("run", "c"), cwd=ours.bundle, env=ours.environment, stdin=subprocess.DEVNULL
    ) as process:
        eventually(lambda: (ours.root / "c/state.json").exists() and ours.status("c") == "running")
        ours.ok("kill", "c", "KILL")
        assert process.wait(PATIENCE) == 128 + 9
    assert nothing_left(ours)


def test_the_container_is_the_same(ours: Machine, quick: Machine, installed: Machine) -> None:
    """By what it sees, by its record, and by what lies there."""
    ours.spec("sh", "-c", LOOK)
    learn(ours, quick)
    with open("/etc/hostname") as file:
        high = os.dup2(file.fileno(), 150)
        try:
            # neither descriptors nor what is done about signals is the caller's
            found = installed.call(
                "run", "c", pass_fds=(file.fileno(), high),
                preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
            )  # fmt: skip
        finally:
            os.close(high)
    assert found.returncode == 0
    assert steady(found.stdout) == steady(ours.ok("run", "c"))

    def told(document: dict[str, Any]) -> None:
        document["annotations"] = {"org.exämple": 'a "b"\n'}

    ours.spec("sleep", "1000", change=told)
    learn(ours, quick)
    seen = []
    for machine in (ours, quick, installed):
        machine.quiet("run", "-d", "c")
        seen.append(_seen(ours))
        assert ours.status("c") == "running"
        (listed,) = json.loads(ours.ok("list", "--format", "json"))
        assert (listed["id"], listed["pid"]) == ("c", ours.state("c")["pid"])
        assert ours.ok("exec", "c", "echo", "hi") == "hi\n"
        ours.ok("pause", "c")
        ours.ok("resume", "c")
        ours.ok("kill", "c", "KILL")
        eventually(lambda: ours.status("c") == "stopped")
        ours.ok("delete", "c")
        assert nothing_left(ours)
    assert seen[0] == seen[1] == seen[2]


def _seen(ours: Machine) -> tuple[Any, ...]:
    """What there is of the container c, outside."""
    path = ours.root / "c"
    state = json.loads((path / "state.json").read_text())
    pid, start = state.pop("pid"), state.pop("pid_start")
    begun, running = state.pop("created_ns"), state.pop("started_ns")
    # the first process that was executed leaves a ticket, and what Python does a trace
    files = {
        one.name: (one.stat().st_mode, one.stat().st_size)
        for one in path.iterdir()
        if one.name not in ("events.jsonl", "state.json")
    }
    status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(status[19]) == start
    assert 0 < begun < running
    limits = {
        place: [(Path(place) / name).read_text() for name in ("pids.max", "memory.limit_in_bytes")
                if (Path(place) / name).exists()]
        for place in state["cgroups"].values()
    }  # fmt: skip
    members = {place: Path(place, "cgroup.procs").read_text().split() for place in limits}
    assert set(map(tuple, members.values())) == {(str(pid),)}
    parent_and_groups = (status[2] != "0", stat.S_IMODE(path.stat().st_mode))
    config = (path / "config.json").read_bytes()
    return (state, files, limits, parent_and_groups, config)


def test_with_a_pid_file(ours: Machine, quick: Machine, installed: Machine, tmp_path: Path) -> None:
    ours.spec("sleep", "1000")
    learn(ours, quick)
    file = tmp_path / "pid"
    installed.quiet("run", "--detach", "--pid-file", str(file), "c")
    assert int(file.read_text()) == ours.state("c")["pid"]
    assert not (tmp_path / ".pid").exists()
    ours.ok("delete", "--force", "c")
    done = installed.call("run", "-d", "--pid-file", str(tmp_path / "nowhere" / "pid"), "c")
    assert done.returncode == PYTHON
    assert nothing_left(ours)


def test_signals_are_passed_on(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.spec("sh", "-c", "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done")
    learn(ours, quick)
    with subprocess.Popen(
        installed.words("run", "c"), env=ours.environment, cwd=ours.bundle,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 42
    assert nothing_left(ours)


def test_everything_else_is_asked_of_python(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.spec("true")
    learn(ours, quick)
    assert not asks_python(ours, installed)
    for line in (
        "run --keep c", "run --no-new-keyring c", "run c -d", "run -t c", "run c d", "run", "run .c",
        "run c/d", "run cä", "run --preserve-fds 1 c", "--log /dev/null run c", "--debug run c",
        "run --bundle ./. c", "run --bundle /nowhere c", "create c", "--systemd-cgroup run c",
        f"run {'c' * 77}",
    ):  # fmt: skip
        done = installed.call(*line.split())
        assert done.returncode == PYTHON, line
        assert done.stdout.splitlines()[-len(line.split()) :] == line.split()
        assert nothing_left(ours)
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "MOBYSHELL_EXECUTOR"):
        environment = {**installed.environment, name: "portable"}
        assert installed.call("run", "c", env=environment).returncode == PYTHON


def test_what_has_changed_is_asked_of_python(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    rootfs = tmp_path / "rootfs"
    shutil.copytree(ours.rootfs, rootfs, symlinks=True)
    passwd, config = rootfs / "etc" / "passwd", ours.bundle / "config.json"
    passwd.write_text("root:x:0:0::/one:\n")

    def elsewhere(document: dict[str, Any]) -> None:
        document["root"]["path"] = str(rootfs)

    ours.spec("sh", "-c", "echo $HOME", change=elsewhere)
    made = learn(ours, quick)
    assert installed.ok("run", "c") == "/one\n"
    text = config.read_text()
    for other in (text + " ", text.replace("HOME", "PATH"), text[:-1]):
        config.write_text(other)
        assert asks_python(ours, installed)
    config.write_text(text)
    assert installed.ok("run", "c") == "/one\n", "it says the same"
    for change in (
        lambda: passwd.write_text("root:x:0:0::/two:\n"),
        passwd.unlink,
        lambda: passwd.symlink_to("passwd-"),
    ):
        change()
        assert asks_python(ours, installed)
    passwd.unlink()
    passwd.write_text("root:x:0:0::/one:\n")
    assert installed.ok("run", "c") == "/one\n"
    shutil.rmtree(rootfs)
    assert asks_python(ours, installed)
    assert "rootfs" in ours.fails("run", "c")
    made.chmod(0o644)
    assert asks_python(ours, installed)


def test_where_something_is_already_there(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.spec("sleep", "1000")
    learn(ours, quick)
    installed.quiet("run", "-d", "c")
    groups = list(json.loads((ours.root / "c/state.json").read_text())["cgroups"].values())
    assert installed.call("run", "c").returncode == PYTHON
    assert ours.status("c") == "running", "it is another one's"
    assert "already exists" in ours.fails("run", "c")
    ours.ok("delete", "--force", "c")
    for place in (groups[0], groups[-1]):
        os.mkdir(place)
        assert installed.call("run", "-d", "c").returncode == PYTHON
        assert cgroups_left(ours.root) == [place]
        os.rmdir(place)
    (ours.root / "c").mkdir()
    assert installed.call("run", "-d", "c").returncode == PYTHON
    assert list((ours.root / "c").iterdir()) == []
    (ours.root / "c").rmdir()


def some_ended(processes: list[subprocess.Popen[bytes]]) -> bool:
    return any(one.poll() is not None for one in processes)


def test_of_two_with_one_name_one_is_made(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.spec("sh", "-c", "read line; exit 4")
    learn(ours, quick)
    for _ in range(5):
        both = [
            subprocess.Popen(
                installed.words("run", "c"), cwd=ours.bundle, env=ours.environment,
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]  # fmt: skip
        eventually(partial(some_ended, both))
        eventually(lambda: ours.status("c") == "running" if (ours.root / "c").exists() else True)
        for one in both:
            assert one.stdin
            one.stdin.close()
        assert sorted(one.wait(PATIENCE) for one in both) == [4, PYTHON]
        assert nothing_left(ours)


def test_what_fails_leaves_nothing(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    """Before there is a child, while it sets itself up, and when it should become the program."""
    script = tmp_path / "script"

    def bound(document: dict[str, Any]) -> None:
        document["mounts"].append(
            {"destination": "/dev/script", "type": "bind", "source": str(script),
             "options": ["bind"]}
        )  # fmt: skip

    def written(text: str) -> None:
        script.write_text(text)
        script.chmod(0o755)

    written("#!/bin/sh\nsleep 1000\n")
    ours.spec("/dev/script", change=bound)
    learn(ours, quick)
    written("#!/bin/sh\necho one\n")
    assert installed.ok("run", "c") == "one\n"
    for limit, number in ((resource.RLIMIT_NOFILE, 100), (resource.RLIMIT_NOFILE, 203)):
        done = installed.call(
            "run", "c",
            preexec_fn=lambda limit=limit, number=number: resource.setrlimit(limit, (number, number)),
        )  # fmt: skip
        assert done.returncode == PYTHON
        assert nothing_left(ours)
    written("#!/nosuch\n")
    assert asks_python(ours, installed)
    script.unlink()
    assert asks_python(ours, installed)
    assert "no such file or directory" in ours.fails("run", "c")


@pytest.mark.parametrize("most", [1, 2])
def test_where_no_process_can_be_made(
    ours: Machine, quick: Machine, installed: Machine, most: int
) -> None:
    """Neither the launcher, nor by it the child."""
    group = Path("/sys/fs/cgroup/pids")
    group = (group if group.exists() else group.parent) / f"mobyshell-few-{os.getpid()}"
    ours.spec("true")
    group.mkdir()

    def call(machine: Machine) -> int:
        def enter() -> None:
            (group / "cgroup.procs").write_text("0")

        return machine.call("run", "c", preexec_fn=enter).returncode

    try:
        assert [call(machine) for machine in (ours, ours, quick, installed)] == [0, 0, 0, 0]
        (group / "pids.max").write_text(str(most))
        assert call(installed) == PYTHON
        assert nothing_left(ours)
        (group / "pids.max").write_text("max")
        assert call(installed) == 0
    finally:
        for one in group.glob("*/"):
            one.rmdir()
        group.rmdir()


def test_what_does_not_go_at_once_is_deleted_by_python(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.spec("sh", "-c", "echo ready; read line; exit 6")
    learn(ours, quick)
    with subprocess.Popen(
        installed.words("run", "c"), cwd=ours.bundle, env=ours.environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        state = json.loads((ours.root / "c/state.json").read_text())
        below = Path(next(iter(state["cgroups"].values()))) / "below"
        below.mkdir()
        said, _ = process.communicate("\n", PATIENCE)
        assert process.returncode == 6
        assert said.splitlines()[-5:] == ["--root", str(ours.root), "delete", "--force", "c"]
    assert ours.status("c") == "stopped"
    ours.ok("delete", "--force", "c")
    assert nothing_left(ours)


def test_levels_above_the_cgroups_come_and_go(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    top = f"mobyshell-levels-{os.getpid()}"

    def below(document: dict[str, Any]) -> None:
        document["linux"]["cgroupsPath"] = f"/{top}/between/c"

    def left() -> list[Path]:
        return [*Path("/sys/fs/cgroup").glob(f"{top}*"), *Path("/sys/fs/cgroup").glob(f"*/{top}*")]

    ours.spec("sh", "-c", "cat /proc/self/cgroup", change=below)
    learn(ours, quick)
    assert f"/{top}/between/c\n" in installed.ok("run", "d")
    assert left() == []
    other = next(one for one in Path("/sys/fs/cgroup").iterdir() if (one / "tasks").exists()) / top
    other.mkdir()
    try:
        assert asks_python(ours, installed)
        assert other.exists()
    finally:
        other.rmdir()
    assert left() == []


def test_a_ticket_that_did_not_hold_is_made_anew_but_not_at_once(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.spec("true")
    made = learn(ours, quick)
    text = made.read_bytes()
    config = ours.bundle / "config.json"
    config.write_text(config.read_text() + " ")
    assert asks_python(ours, installed)
    os.utime(made)
    before = made.stat().st_mtime
    quick.ok("run", "c")
    # on a slow machine it was not young any more
    later = made.stat().st_mtime - before > run_ticket.YOUNG - 0.1
    assert later or made.read_bytes() == text
    os.utime(made, (0, 0))
    quick.ok("run", "c")
    assert made.read_bytes() != text
    assert not asks_python(ours, installed)


def test_a_bundle_too_big_has_none(ours: Machine, quick: Machine, installed: Machine) -> None:
    """What is compared byte for byte is read by every call."""
    ours.spec("true", change=lambda one: one.update(annotations={"long": "x" * (1 << 20)}))
    for machine in (ours, ours, quick):
        machine.ok("run", "c")
    assert not (ours.root / ".plans" / run_ticket.name(str(ours.bundle))).exists()
    assert asks_python(ours, installed)


def test_there_are_not_too_many(ours: Machine, quick: Machine) -> None:
    ours.spec("true")
    learn(ours, quick).unlink()
    for number in range(run_ticket.KEPT):
        (ours.root / ".plans" / f"{run_ticket.PREFIX}{number}").touch()
    made = learn(ours, quick)
    names = os.listdir(ours.root / ".plans")
    assert [one for one in names if one.startswith(run_ticket.PREFIX)] == [made.name]


def _steps(text: bytes) -> list[tuple[int, int]]:
    """Where the steps of a ticket lie, and what each of them is."""
    (first,) = struct.unpack_from("=Q", text, 16)
    return [
        (at, struct.unpack_from("=Q", text, at)[0])
        for at in range(first - tickets.AT, len(text), 40)
    ]


def _settled(ours: Machine, stream: Path) -> bool:
    """Whether no launcher that writes to `stream` is at work any more, and a child waits or is gone."""
    inside = {pid for place in cgroups_left(ours.root) for pid in _lines(f"{place}/cgroup.procs")}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        if _lines(f"/proc/{pid}/cmdline") != ["mobyshell init\0"]:
            continue
        call = "".join(_lines(f"/proc/{pid}/syscall")).split()
        with suppress(OSError):
            if pid not in inside:
                for number in (1, launch.STDOUT):
                    if os.readlink(f"/proc/{pid}/fd/{number}") == str(stream):
                        return False
            elif call[:1] != ["0"]:
                return False  # not in read(2)
            elif "exec.fifo" not in os.readlink(f"/proc/{pid}/fd/{int(call[1], 16)}"):
                return False
    return True


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


@pytest.mark.parametrize("detached", [True, False])
def test_whoever_is_killed_leaves_what_can_be_cleared_away(
    ours: Machine, quick: Machine, installed: Machine, detached: bool
) -> None:
    """The ticket ends at each of its steps in turn: from when there is a directory until nobody waits
    any more, or from there until nothing is left."""
    ours.spec("sleep", "1000" if detached else "0")
    made = learn(ours, quick)
    text = made.read_bytes()
    steps = _steps(text)
    whats = [what for _, what in steps]
    first, last = (tickets.SPAWN, tickets.EXIT) if detached else (tickets.FOLLOW, tickets.PYTHON)
    begin = whats.index(first) - (2 if detached else 0)
    end = whats.index(last)
    flags = ["-d"] if detached else []
    stream = ours.directory / "stream"
    for number in range(begin, end + 1):
        at = steps[number][0]
        if whats[number - 1] in WITHIN:
            continue
        made.write_bytes(text[:at] + struct.pack("=2Q", tickets.EXIT, 77) + text[at + 16 :])
        with open(stream, "w") as file:
            done = installed.call(
                "run", *flags, "c", capture_output=False, stdout=file, stderr=file
            )
        if done.returncode != 77:
            assert nothing_left(ours) or ours.ok("delete", "--force", "c") == ""
            continue
        eventually(lambda: _settled(ours, stream))
        path = ours.root / "c"
        if path.exists() and not list(path.iterdir()):
            # whoever begins with this name next takes it, but not at once
            os.utime(path, (0, 0))
            ours.quiet("run", "-d", "c")
        if path.exists():
            ours.ok("delete", "--force", "c")
        assert nothing_left(ours), whats[number]
