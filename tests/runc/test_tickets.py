"""Tickets: an exec without Python, which is the same, and only where everything is as it was."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.runtime.native.assembler import assemble
from mobyshell.runc import exec_ticket, front, tickets
from tests.core.runtime.native.test_assembler import by_gnu_as
from tests.runc.conftest import PATIENCE, SCRIPTS, Machine, as_installed
from tests.runc.test_quick import quick
from tests.waiting import eventually

__all__ = ["quick"]  # the fixture

PYTHON = 98
"""What Python answers here, so that it is seen when it is asked."""


@pytest.fixture
def installed(ours: Machine, tmp_path: Path) -> Machine:
    """The program as it is installed, but that Python only answers PYTHON."""
    python = f'for word; do echo "$word"; done; exit {PYTHON}'
    return as_installed(ours, tmp_path / "bin", python)


def learn(ours: Machine, quick: Machine, *words: str) -> Path:
    """Have a ticket made for a process in the container c; where it is."""
    for machine in (ours, ours, quick):
        machine.call("exec", "c", *words)
    made = ours.root / "c" / exec_ticket.name(words)
    assert made.exists()
    return made


def test_the_program_is_made_of_its_source() -> None:
    assert front.TARGET.read_bytes() == front.generated()
    assert os.access(front.TARGET, os.X_OK)


@pytest.mark.peer
def test_the_program_is_what_gnu_as_makes_of_it(tmp_path: Path) -> None:
    assert assemble(front.source())[0] == by_gnu_as(front.source(), tmp_path)


def test_steps_have_the_numbers_that_the_program_knows_them_by() -> None:
    known = dict(re.findall(r"(?m)^\.set ([DA]O?_\w+), (\d+)", front.source()))
    steps = {f"DO_{name}": getattr(tickets, name) for name in tickets.STEPS}
    assert steps == {name: int(value) for name, value in known.items() if name[:3] == "DO_"}
    said = {name: int(value) for name, value in known.items() if name[:2] == "A_"}
    places = [said["A_TICKET"], tickets.A_DETACHED, tickets.A_GIVEN, said["A_PID_FILE"],
              said["A_TEMPORARY"], tickets.A_ID, said["A_PYTHON"]]  # fmt: skip
    assert places == list(range(16, 16 + 8 * len(places), 8))


def test_words_have_the_name_that_the_script_gives_them() -> None:
    script = SCRIPTS.joinpath("mobyshell-runc").read_text()
    found = re.search(r"    name=exec.*?done\n", script, re.DOTALL)
    assert found
    for words in (["true"], ["sh", "-c", "echo ä; a  b", ""], ["a", "*", "x" * 300]):
        said = subprocess.run(
            ["sh", "-c", f'{found[0]}printf %s "$name"', "sh", *words],
            capture_output=True, text=True, check=True, env={}, timeout=PATIENCE,
        ).stdout  # fmt: skip
        assert said == exec_ticket.name(words)
    assert exec_ticket.name(["x"] * 200) == ""


def test_a_process_needs_no_python(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.background("c")
    words = ("sh", "-c", "echo out $HOME; echo err >&2; cat; exit 3")
    learn(ours, quick, *words)
    for _ in range(2):
        done = installed.call("exec", "c", *words, input="in")
        assert (done.returncode, done.stdout, done.stderr) == (3, "out /root\nin", "err\n")
    learn(ours, quick, "sh", "-c", "kill -KILL $$")
    assert installed.call("exec", "c", "sh", "-c", "kill -KILL $$").returncode == 128 + 9


def test_the_process_is_the_same(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.background("c")
    script = (
        "cat /proc/self/cgroup; grep -E 'Cap|Seccomp|NoNew|Sig|Uid|Groups' /proc/self/status; env; "
        "pwd; ls -l /proc/self/fd | wc -l; umask; ulimit -n; cut -d' ' -f5-8 /proc/self/stat; "
        "for one in /proc/self/ns/*; do readlink $one; done; tr '\\0' ' ' < /proc/self/cmdline"
    )
    first = ours.ok("exec", "c", "sh", "-c", script)
    learn(ours, quick, "sh", "-c", script)
    # neither descriptors nor what is done about signals is the caller's
    with open("/etc/hostname") as file:
        high = os.dup2(file.fileno(), 150)
        try:
            found = installed.call(
                "exec", "c", "sh", "-c", script, pass_fds=(file.fileno(), high),
                preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
            )  # fmt: skip
        finally:
            os.close(high)
    assert found.returncode == 0

    def comparable(text: str) -> str:
        return re.sub(r"(?m)^\d+ \d+ \d+ -?\d+$|^Sig[PQ].*$", "", text)

    assert comparable(found.stdout) == comparable(first)


def test_detached(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.background("c")
    for machine in (ours, ours, quick, installed):
        machine.quiet("exec", "-d", "c", "sleep", "998")

    def running() -> bool:
        pids = json.loads(ours.ok("ps", "-f", "json", "c"))
        return [_words(pid) for pid in pids].count(b"sleep\000998\0") == 4

    eventually(running)


def test_described_by_a_file_with_a_pid_file(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    """As engines call it; the names of the files are others each time."""
    ours.background("c")
    described = json.dumps({"args": ["sleep", "997"], "cwd": "/", "env": ["PATH=/bin"]})

    def call(
        machine: Machine, number: int, text: str = described
    ) -> subprocess.CompletedProcess[bytes]:
        process, pid = tmp_path / f"process{number}", tmp_path / f"pid{number}"
        process.write_text(text)
        null = subprocess.DEVNULL
        return subprocess.run(
            machine.words("--log", str(tmp_path / "log"), "--log-format", "json", "--systemd-cgroup", "exec",
                          "--process", str(process), "--detach", "--pid-file", str(pid), "c"),
            stdin=null, stdout=null, stderr=null, timeout=PATIENCE, check=False, cwd=tmp_path,
        )  # fmt: skip

    for number, machine in enumerate((ours, ours, quick, installed, installed)):
        assert call(machine, number).returncode == 0
        pid = int((tmp_path / f"pid{number}").read_text())
        eventually(partial(_is, pid, b"sleep\000997\0"))
        assert pid in json.loads(ours.ok("ps", "-f", "json", "c"))
    assert not [one for one in os.listdir(tmp_path) if one.startswith(".")]
    for other in (described + " ", described[:-1], described.replace("997", "996"), ""):
        assert call(installed, 9, other).returncode == PYTHON
    # what can be read only once is left to who can use it
    fifo = tmp_path / "process9"
    fifo.unlink()
    os.mkfifo(fifo)
    assert installed.call("exec", "-p", str(fifo), "-d", "c").returncode == PYTHON
    assert installed.call("exec", "-p", str(tmp_path / "none"), "-d", "c").returncode == PYTHON
    assert installed.call("exec", "-p", str(tmp_path / "process1"), "c", "x").returncode == PYTHON


def test_a_pid_file_that_cannot_be_written_ends_the_process(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    ours.background("c")
    words = ("sleep", "995")
    for machine in (ours, ours, quick):
        machine.quiet("exec", "-d", "c", *words)
    before = sorted(json.loads(ours.ok("ps", "-f", "json", "c")))
    (tmp_path / "directory").mkdir()
    for place in (tmp_path / "nowhere" / "pid", tmp_path / "directory"):
        done = installed.call("exec", "--pid-file", str(place), "-d", "c", *words)
        assert (done.returncode, done.stdout) == (255, "")
        assert "pid file" in done.stderr
        assert sorted(json.loads(ours.ok("ps", "-f", "json", "c"))) == before
    assert not (tmp_path / ".directory").exists()


def _is(pid: int, words: bytes) -> bool:
    return _words(pid) == words


def _words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_signals_are_passed_on(ours: Machine, quick: Machine, installed: Machine) -> None:
    ours.background("c")
    words = ("sh", "-c", "trap 'exit 42' TERM; echo ready; read line; exit 1")
    learn(ours, quick, *words)
    with subprocess.Popen(
        installed.words("exec", "c", *words), env=installed.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 42


def test_everything_else_is_asked_of_python(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    ours.background("c")
    learn(ours, quick, "true")
    for line in (
        "exec c true now", "exec c tru", "exec c trux", "exec c -- true", "exec -t c true",
        "exec --user 1 c true", "exec -d", "exec", "exec c", "--debug exec c true",
        "./c true", "exec ./c true", "exec -d -d", "pause c", "--root",
    ):  # fmt: skip
        done = installed.call(*line.split())
        assert done.returncode == PYTHON
        # and it hears the words as they were
        assert done.stdout.splitlines()[-len(line.split()) :] == line.split()
        assert done.stdout.splitlines()[:3] == ["-I", "-S", "--"]


def test_what_has_changed_is_asked_of_python(
    ours: Machine, quick: Machine, installed: Machine
) -> None:
    pid = ours.background("c")
    made = learn(ours, quick, "true")

    def python() -> bool:
        return installed.call("exec", "c", "true").returncode == PYTHON

    assert not python()
    ours.ok("pause", "c")
    assert python()
    ours.ok("resume", "c")
    assert not python()
    for name in ("state.json", "config.json"):
        path = ours.root / "c" / name
        before = path.stat()
        os.utime(path)
        assert python()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert python()  # it has changed all the same, and the kernel tells when
        learn(ours, quick, "true")
        assert not python()
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "MOBYSHELL_EXECUTOR"):
        environment = {**installed.environment, name: "portable"}
        assert installed.call("exec", "c", "true", env=environment).returncode == PYTHON
    # a process that has the number of the init, and is another
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    other = str(int(start) - 1).rjust(len(start), "0")
    text = made.read_bytes()
    assert text.count(b"%s\0" % start.encode()) == 1
    made.write_bytes(text.replace(start.encode(), other.encode()))
    assert python()
    made.write_bytes(text)
    assert not python()
    ours.ok("kill", "c", "KILL")
    eventually(lambda: ours.status("c") == "stopped")
    assert python()


def test_the_streams_are_the_users_or_null(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    """Others the library gives to the user."""
    ours.background("c")
    learn(ours, quick, "true")
    foreign = tmp_path / "foreign"
    foreign.touch()
    for uid, status in ((0, 0), (1, PYTHON)):
        os.chown(foreign, uid, uid)
        for stream in ("stdin", "stdout", "stderr"):
            with open(foreign, "r+b") as file:
                given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL,
                         "stderr": subprocess.DEVNULL, stream: file}  # fmt: skip
                done = subprocess.run(
                    installed.words("exec", "c", "true"), env=installed.environment, check=False,
                    timeout=PATIENCE, **given,
                )  # fmt: skip
                assert done.returncode == status


def test_a_ticket_is_private_and_whole(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    ours.background("c")
    made = learn(ours, quick, "true")
    assert installed.ok("exec", "c", "true") == ""
    text = made.read_bytes()

    def python() -> bool:
        return installed.call("exec", "c", "true").returncode == PYTHON

    made.chmod(0o644)
    assert python()
    made.chmod(0o600)
    os.chown(made, 1, 1)
    assert python()
    os.chown(made, 0, 0)
    for damaged in (b"", text[:200], text[:-1], text + b"\0", b"x" + text[1:]):
        made.write_bytes(damaged)
        assert python()
    made.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(text)
    elsewhere.chmod(0o600)
    made.symlink_to(elsewhere)
    assert python()
    made.unlink()
    os.mkfifo(made)
    assert python()
    made.unlink()


def test_what_fails_is_explained_by_python(
    ours: Machine, quick: Machine, installed: Machine, tmp_path: Path
) -> None:
    """The program is not there any more: it is looked for, not found, and nothing is left behind."""
    rootfs = tmp_path / "rootfs"
    shutil.copytree(ours.rootfs, rootfs, symlinks=True)
    shutil.copy(rootfs / "bin" / "busybox", rootfs / "bin" / "busybox-too")
    ours.spec("sleep", "1000", change=lambda spec: spec["root"].update(path=str(rootfs)))
    ours.quiet("run", "-d", "c")
    for words in (("/bin/busybox-too", "true"), ("busybox-too", "true")):
        learn(ours, quick, *words)
        assert installed.ok("exec", "c", *words) == ""
    (rootfs / "bin" / "busybox-too").unlink()
    for words in (("/bin/busybox-too", "true"), ("busybox-too", "true")):
        assert installed.call("exec", "c", *words).returncode == PYTHON
        assert "not found" in ours.fails("exec", "c", *words, status=255) or words[0][0] == "/"
    assert len(json.loads(ours.ok("ps", "-f", "json", "c"))) == 1


def test_there_are_not_too_many(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    for number in range(exec_ticket.KEPT):
        (ours.root / "c" / f"{exec_ticket.PREFIX}{number}").touch()
    learn(ours, quick, "true")
    names = os.listdir(ours.root / "c")
    assert [one for one in names if one.startswith(exec_ticket.PREFIX)] == [
        exec_ticket.name(["true"])
    ]
