"""Tasks as a client has them: a container that lives, its further processes, their streams.

The shim is their parent (`core/tasks`); a client may come and go. Waiting is a future, to be had
before the start, so that no exit is missed.
"""

from __future__ import annotations

import io as files
import signal as signals
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from typing import Any, BinaryIO

from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.runtime.values import ProcessInfo, Stats, Status
from mobyshell.core.tasks.service import LogLine, Tasks
from mobyshell.core.values import value

_PIECE = 64 << 10


@value
class IO:
    """Where a process's streams go: containerd's cio.Creator. Its output is in the shim's log
    whatever is chosen here. `rows` and `columns` are of a terminal."""

    stdin: BinaryIO | None = None
    stdout: BinaryIO | None = None
    stderr: BinaryIO | None = None
    terminal: bool = False
    rows: int = 0
    columns: int = 0

    def __post_init__(self) -> None:
        for name in ("stdin", "stdout", "stderr"):
            file = getattr(self, name)
            if isinstance(file, files.TextIOBase):
                raise UsageError(f"{name} is a file of text, and programs read and write bytes",
                                 hint=f"sys.{name}.buffer, open(…, 'rb'), io.BytesIO()")  # fmt: skip


def null_io() -> IO:
    """Nobody reads, nobody writes; the log keeps what it says."""
    return IO()


def stdio(*, stdin: bool = False) -> IO:
    """Our own standard streams; standard input only if asked for."""
    return IO(sys.stdin.buffer if stdin else None, sys.stdout.buffer, sys.stderr.buffer)


def streams(
    stdin: BinaryIO | None = None, stdout: BinaryIO | None = None, stderr: BinaryIO | None = None
) -> IO:
    """These files. What is None goes to the log alone."""
    return IO(stdin, stdout, stderr)


def terminal(
    stdin: BinaryIO | None = None, stdout: BinaryIO | None = None, *, rows: int = 24,
    columns: int = 80,
) -> IO:  # fmt: skip
    """A terminal of this size, whose two directions are these files."""
    return IO(stdin, stdout, None, True, rows, columns)


class Process:
    """A process of a task: its init (`exec_id` ""), or a further one."""

    def __init__(self, tasks: Tasks, task_id: str, exec_id: str, io: IO) -> None:
        self._tasks, self.task_id, self.exec_id, self._io = tasks, task_id, exec_id, io
        self._copying: threading.Thread | None = None

    def wait(self) -> Future[int]:
        """Its exit status (128+n for signal n), once it has ended and its output was copied."""
        return _in_thread(self._wait, f"wait {self.task_id}")

    def _wait(self) -> int:
        status = self._tasks.wait(self.task_id, exec_id=self.exec_id)
        if self._copying is not None:
            self._copying.join()
        return status

    def kill(self, signal: int | str = signals.SIGTERM, *, all_processes: bool = False) -> None:
        """Send a signal (a number, or a name such as TERM), to the process or to all of the task."""
        number = _number(signal)
        self._tasks.kill(self.task_id, number, all_processes=all_processes, exec_id=self.exec_id)

    def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        with closing(self._tasks.attach(self.task_id, exec_id=self.exec_id)) as attached:
            attached.resize(rows, columns)

    def connect(self) -> None:
        """Begin to copy its streams to and from the files of its IO."""
        io = self._io
        if io.stdin is None and io.stdout is None and io.stderr is None:
            return
        attached = self._tasks.attach(self.task_id, exec_id=self.exec_id)

        def copy() -> None:
            with closing(attached):
                while (got := attached.read()) is not None:
                    file = io.stderr if got[0] == "stderr" else io.stdout
                    if file is not None and got[0] != "lost":
                        file.write(got[1])
                        file.flush()

        self._copying = threading.Thread(target=copy, name=f"copy {self.task_id}", daemon=True)
        self._copying.start()
        source = io.stdin
        if source is not None:

            def feed() -> None:
                writer = self._tasks.attach(self.task_id, exec_id=self.exec_id)
                # what is there at once; a raw file's read is that, and waits for no more
                read = getattr(source, "read1", source.read)
                with closing(writer), suppress(MobyshellError):  # it has ended, and reads no more
                    try:
                        while data := read(_PIECE):
                            writer.write(data)
                    finally:
                        writer.close_stdin()  # whatever went wrong, it shall not wait for more

            threading.Thread(target=feed, name=f"feed {self.task_id}", daemon=True).start()


class Task(Process):
    """A container that lives. Use it with `with` to have it killed and deleted at the end."""

    def __init__(self, tasks: Tasks, id: str, io: IO) -> None:
        super().__init__(tasks, id, "", io)
        self.id = id

    @classmethod
    def connected(cls, tasks: Tasks, id: str, io: IO) -> Task:
        """One that was just created, with its streams copied to and from the files of `io`. If they
        cannot be, it is deleted."""
        task = cls(tasks, id, io)
        try:
            task.connect()
        except BaseException:
            tasks.delete(id, force=True)
            raise
        return task

    @classmethod
    def find(cls, tasks: Tasks, id: str, io: IO | None = None) -> Task:
        """One that is there. NotFound."""
        tasks.get(id)
        return cls(tasks, id, io or null_io())

    @property
    def status(self) -> Status:
        """What it is doing."""
        return self._tasks.get(self.id).status

    @property
    def pid(self) -> int:
        """Of its init, on the host; 0 once it has ended."""
        return self._tasks.get(self.id).pid

    def start(self) -> None:
        """Let its program run."""
        self._tasks.start(self.id)

    def exec(
        self, args: Sequence[str], io: IO | None = None, *, exec_id: str = "",
        env: Sequence[str] = (), cwd: str = "", user: str = "",
    ) -> Process:  # fmt: skip
        """Run one more process in it."""
        io = io or null_io()
        made = self._tasks.exec(
            self.id, words(args), exec_id=exec_id, terminal=io.terminal, stdin=io.stdin is not None,
            env=env, cwd=cwd, user=user, rows=io.rows, columns=io.columns,
        )  # fmt: skip
        process = Process(self._tasks, self.id, made.exec_id, io)
        process.connect()
        return process

    def pause(self) -> None:
        """Freeze it."""
        self._tasks.pause(self.id)

    def resume(self) -> None:
        """Let it go on."""
        self._tasks.resume(self.id)

    def update(self, resources: Mapping[str, Any]) -> None:
        """Change limits: `linux.resources` of the runtime-spec, as JSON values."""
        self._tasks.update(self.id, resources)

    def pids(self) -> list[ProcessInfo]:
        """Its processes."""
        return self._tasks.ps(self.id)

    def metrics(self) -> Stats:
        """What its cgroups count."""
        return self._tasks.stats(self.id)

    def logs(self, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """What it has written so far; with `follow` also what it will write."""
        return self._tasks.logs(self.id, follow=follow, tail=tail)

    def delete(self, *, force: bool = False) -> int:
        """Forget it, and how it ended. WrongState while it runs, unless `force` kills it."""
        return self._tasks.delete(self.id, force=force)

    def __enter__(self) -> Task:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.delete(force=True)
        except NotFound:
            pass  # it was deleted in the block


def words(args: Sequence[str]) -> Sequence[str]:
    """`args`, if they are words. UsageError for a text, which is a sequence of letters to Python."""
    if isinstance(args, str | bytes):
        import shlex

        text = args if isinstance(args, str) else args.decode(errors="replace")
        try:
            meant = shlex.split(text)
        except ValueError:
            meant = [text]
        raise UsageError(f"a command is a list of words, not a text: {text!r:.80}",
                         hint=f"{meant!r:.120}, or ['sh', '-c', …]")  # fmt: skip
    return args


def _number(signal: int | str) -> int:
    if not isinstance(signal, str):
        return signal
    name = signal.upper().removeprefix("SIG")
    if name.isdecimal():
        return int(name)
    try:
        return signals.Signals[f"SIG{name}"].value
    except KeyError:
        raise UsageError(f"there is no signal {signal!r:.20}", hint="such as TERM, or 15") from None


def _in_thread(work: Callable[[], int], name: str) -> Future[int]:
    """A future of `work`, done in a thread that does not keep the program alive."""
    future: Future[int] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
