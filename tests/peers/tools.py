"""What tests of foreign programs share: running them, talking to them, daemons, and what is left.

Nothing waits for ever and nothing waits a fixed time: what is expected is looked for until a
deadline that only a broken machine reaches, and then the message says everything that was seen.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.waiting import eventually

PATIENCE = 90.0
"""Seconds. Nothing here takes five; a machine that runs other things as well may need more."""

SEARCHED = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def environment(**more: str) -> dict[str, str]:
    """A small environment, the same wherever the tests run: no terminal, no user's settings."""
    return {"PATH": SEARCHED, "HOME": "/nonexistent", "LANG": "C.UTF-8", **more}


def call(
    words: Sequence[str], *, env: Mapping[str, str], cwd: Path, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, not at a terminal. `cwd`: some leave files there."""
    done = subprocess.run(
        words,
        env=dict(env),
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        cwd=cwd,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(errors="replace"),
        done.stderr.decode(errors="replace"),
    )  # fmt: skip


class Talk:
    """A program at a terminal of the test's own, of 24 rows and 80 columns.

    The test keeps both ends open for as long as it talks, so nobody ever sees a hang-up.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("=4H", 24, 80, 0, 0))
        self.seen = b""
        self.process = subprocess.Popen(
            words, env={**env, "TERM": "xterm"}, stdin=self._slave, stdout=self._slave,
            stderr=self._slave, start_new_session=True, cwd=cwd,
        )  # fmt: skip

    def __enter__(self) -> Talk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self.master)
        os.close(self._slave)

    def send(self, text: str) -> None:
        """Type."""
        os.write(self.master, text.encode())

    def _read(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        self.seen += os.read(self.master, 65536)
        return True

    def expect(self, text: str) -> None:
        """Read until `text` has come. What came up to its end is then gone from `seen`."""
        until = time.monotonic() + PATIENCE
        wanted = text.encode()
        while wanted not in self.seen:
            if not self._read(0.2):
                assert self.process.poll() is None or self._read(0), self._complaint(text)
            assert time.monotonic() < until, self._complaint(text)
        self.seen = self.seen.partition(wanted)[2]

    def _complaint(self, text: str) -> str:
        return f"{text!r} did not come; {self.process.poll()=}; {self.seen!r}"

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the program is told as a terminal's own would be."""
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("=4H", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def end(self) -> int:
        """Read until the program has ended; its exit code."""
        until = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            self._read(0.05)
            assert time.monotonic() < until, self._complaint("its end")
        while self._read(0):
            pass
        return self.process.returncode


class Behind:
    """A program that runs beside the test, not at a terminal, with its output in files."""

    def __init__(
        self, words: Sequence[str], env: Mapping[str, str], cwd: Path, directory: Path
    ) -> None:
        self._out, self._err = directory / "behind.out", directory / "behind.err"
        with open(self._out, "wb") as out, open(self._err, "wb") as err:
            self.process = subprocess.Popen(
                words, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd
            )

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)

    def output(self) -> str:
        """What it has written to its standard output."""
        return self._out.read_text(errors="replace")

    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._err.read_text(errors="replace")

    def _all(self) -> str:
        return f"{self.output()!r} {self.errors()!r}"

    def expect(self, text: str) -> None:
        """Wait until it has written `text`."""
        eventually(lambda: text in self.output(), seen=self._all)

    def expect_errors(self, text: str) -> None:
        """Wait until it has written `text` to its standard error."""
        eventually(lambda: text in self.errors(), seen=self._all)

    def end(self) -> int:
        """Wait for its end; its exit code."""
        eventually(lambda: self.process.poll() is not None, seen=self._all)
        return int(self.process.returncode)


@contextmanager
def daemon(
    words: Sequence[str], env: Mapping[str, str], log: Path, answers: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon, from when it answers until it has ended. It dies with the test's process."""
    with open(log, "wb") as file:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words], env=dict(env), stdin=subprocess.DEVNULL,
            stdout=file, stderr=file, start_new_session=True, cwd=log.parent,
        )  # fmt: skip

    def up() -> bool:
        assert process.poll() is None, f"{words[0]} has ended: {tail(log)}"
        return answers()

    try:
        eventually(up, seen=lambda: f"{words[0]} does not answer: {tail(log)}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(PATIENCE)
            raise AssertionError(f"{words[0]} did not end: {tail(log)}") from None


def tail(log: Path) -> str:
    """The end of a log."""
    try:
        return log.read_bytes()[-4000:].decode(errors="replace")
    except OSError as error:
        return str(error)


# what is left behind


def processes_about(directory: Path) -> dict[int, str]:
    """Processes whose command line names something below `directory`."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in words:
                found[int(name)] = words.replace(b"\0", b" ").decode(errors="replace")
    return found


def mounts_below(directory: Path) -> list[str]:
    """Mount points below `directory`, the innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [one for one in reversed(points) if one.startswith(f"{directory}/")]


def _tops(name: str) -> list[Path]:
    """Directories `name` at the root of every hierarchy, and in what only looks like one."""
    roots = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    return [root / name for root in roots if (root / name).is_dir() and not root.is_symlink()]


def cgroups_named(name: str) -> list[Path]:
    """All that is in these directories, the deepest first."""
    return [Path(at) for top in _tops(name) for at, _, _ in os.walk(top, topdown=False)]


def clear(directory: Path, group: str) -> list[str]:
    """End, unmount and remove whatever is left of an engine; what that was, for the complaint.

    What is on its way out (conmon cleans up after the client has ended) is waited for.
    """
    left: list[str] = []
    until = time.monotonic() + PATIENCE
    while processes_about(directory) and time.monotonic() < until:
        time.sleep(0.05)
    for pid, words in processes_about(directory).items():
        left.append(f"process {pid}: {words}")
        _kill(pid)
    for one in cgroups_named(group):
        members = _members(one)
        left += [f"process {pid} in {one}" for pid in members]
        for pid in members:
            _kill(pid)
    for point in mounts_below(directory):
        left.append(f"mount {point}")
        subprocess.run(["umount", "-l", point], check=False, env=environment())
    eventually(lambda: _removed(group), seen=lambda: str(cgroups_named(group)))
    return left


def _members(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # a hierarchy may come and go


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _removed(group: str) -> bool:
    for top in _tops(group):
        if not os.path.ismount(top.parent):  # podman's, for a controller that is not mounted
            shutil.rmtree(top, ignore_errors=True)
    for one in cgroups_named(group):
        try:
            one.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
