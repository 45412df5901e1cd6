"""create and run of a bundle that was run before, without the library.

The plan of a bundle is data: flattened once, it can be stored, and executed by the native
executor's launcher in a process without Python. What was stored (`compiled`) holds for exactly
one config.json at one place, on a host that looks as it did; whatever differs, whatever is
unusual, whatever fails is left to the library, which does it from the start and explains.

This module is on the way of every call, so it imports nothing that Python has not loaded itself,
and later only `fcntl`. It takes no decisions about containers: it fills in an id, writes the
state, and waits.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enumerations first
import marshal
import posix
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FORMAT = 1
DIRECTORY = ".plans"
LARGEST = 4 << 20
ID = "\0id\0"
INIT_PID = "\0init\0"

MAIN, BEFORE = 3, 4
STDIN, STDOUT, STDERR, SYNC, FIFO, CGROUP, INIT = 16, 17, 18, 19, 20, 21, 22
HIGHEST = INIT
"""The launcher's descriptors, which are written into the programs."""
CHILD_WORD = 8
"""In a program's header: the pid of the child that the launcher has made."""

PID, PID_START, CREATED, STARTED = (9_007_000_000_000_000_000 + n for n in range(4))
"""Stand in a stored state for what is only known when it is written."""

_CLOEXEC = posix.O_CLOEXEC
_FLAGS = {
    "run": ("--detach", "-d", "--keep", "--no-new-keyring"),
    "create": ("--no-new-keyring",),
}
_WITH_VALUE = ("--bundle", "-b", "--pid-file")
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
EXECUTOR = b"MOBYSHELL_EXECUTOR"
TELLING = (b"NOTIFY_SOCKET", b"LISTEN_FDS", EXECUTOR)
_HEADER_BYTES, _RECORD_BYTES, _TOLERATED = 256, 80, 64
_P_PIDFD = 3
_PATIENCE = 5.0


class Asked:
    """A call that is simple enough."""

    def __init__(self) -> None:
        self.root = "/run/runc"
        self.log = ""
        self.command = ""
        self.bundle = ""
        self.pid_file = ""
        self.id = ""
        self.flags: list[str] = []


def parse(words: Sequence[str]) -> Asked | None:
    """What is asked, if it is a plain create or run; None for everything else."""
    asked = Asked()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        name, given, value = word.partition("=")
        if not asked.command:
            if word in _FLAGS:
                asked.command = word
                continue
            if name not in ("--root", "--log", "--log-format"):
                return None
        elif word in _FLAGS[asked.command]:
            asked.flags.append(word)
            continue
        elif name not in _WITH_VALUE:
            if asked.id or word[:1] == "-":
                return None
            asked.id = word
            continue
        if not given:
            if index == len(words):
                return None
            value = words[index]
            index += 1
        if name == "--root":
            asked.root = value
        elif name == "--log":
            asked.log = value
        elif name == "--pid-file":
            asked.pid_file = value
        elif name != "--log-format":
            asked.bundle = value
    if not fit_id(asked.id) or not plain(asked.root):
        return None
    asked.bundle = asked.bundle or posix.getcwd()
    return asked if plain(asked.bundle) else None


def fit_id(id: str) -> bool:
    """Whether the library would take this name."""
    return bool(id) and len(id) <= 76 and _ALLOWED.issuperset(id) and id[0] not in "+-."


def plain(path: str) -> bool:
    """Whether `path` is absolute, and as it would be if it were normalised."""
    return path[:1] == "/" and path[-1] != "/" and "//" not in path and "/." not in path


def read(path: str, largest: int = LARGEST) -> bytes:
    """A regular file whole. OSError for anything else."""
    fd = posix.open(path, posix.O_RDONLY | posix.O_NONBLOCK | posix.O_NOCTTY | _CLOEXEC)
    try:
        found = posix.fstat(fd)
        if found.st_mode & 0o170000 != 0o100000 or found.st_size > largest:
            raise OSError(22, "not a plain file", path)
        parts = []
        while part := posix.read(fd, 1 << 18):  # /proc says 0 for every size
            parts.append(part)
        return b"".join(parts)
    finally:
        posix.close(fd)


def write(path: str, data: bytes) -> None:
    """A new file, for us alone."""
    fd = posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | _CLOEXEC, 0o600)
    try:
        posix.write(fd, data)
    finally:
        posix.close(fd)


def key(root: str, bundle: str, keyring: bool) -> bytes:
    """Everything that a plan depends on, but for what its entry lists itself."""
    host = posix.uname()
    mounts = [line for line in read("/proc/self/mountinfo").split(b"\n") if b" - cgroup" in line]
    words = (
        FORMAT, made_by(), posix.geteuid(), posix.getegid(), host.release, host.version, host.machine, root,
        bundle, keyring, read("/proc/self/cgroup"), b"\n".join(mounts),
        read(f"{bundle}/config.json"),
    )  # fmt: skip
    return marshal.dumps(words, 2)


def made_by() -> tuple[str | int, ...]:
    """What makes plans: this version, and where its sources were last replaced."""
    from mobyshell import __version__

    runtime = f"{__file__.rpartition('/runc/')[0]}/core/runtime"
    places = (runtime, f"{runtime}/operations", f"{runtime}/native")
    return (__version__, *(posix.stat(place).st_mtime_ns for place in places))


def owned(uid: int) -> tuple[int, ...]:
    """The streams that are not `uid`'s yet; never /dev/null, which is everybody's."""
    null = posix.stat("/dev/null").st_rdev
    found = []
    for number in (0, 1, 2):
        stream = posix.fstat(number)
        if stream.st_uid != uid and stream.st_rdev != null:
            found.append(number)
    return tuple(found)


def name_of(material: bytes) -> str:
    """The name of the entry for a key; what is in it decides, so 64 bits of a hash will do."""
    import _imp

    return _imp.source_hash(FORMAT, material).hex()


def load(root: str, material: bytes, init: int = 0) -> dict[str, Any] | None:
    """The entry for a key, if it is ours, whole, and still true (in the container of `init`)."""
    path = f"{root}/{DIRECTORY}/{name_of(material)}"
    try:
        fd = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | _CLOEXEC)
    except OSError:
        return None
    try:
        found = posix.fstat(fd)
        if found.st_mode != 0o100600 or found.st_uid != posix.geteuid() or found.st_size > LARGEST:
            return None
        data = posix.read(fd, found.st_size)
    finally:
        posix.close(fd)
    if len(data) < 8 or name_of(data[8:]) != data[:8].hex():
        return None
    entry: dict[str, Any] = marshal.loads(data[8:])
    if entry["key"] != material or owned(entry["uid"]) != tuple(entry["owned"]):
        return None
    for file, content in entry["files"]:
        if read(file) != content:
            return None
    for file, identity in entry["identities"]:
        if identify(file.replace(INIT_PID, str(init))) != identity:
            return None
    return entry


def identify(path: str) -> tuple[int, ...]:
    """What tells a file from what it was before; empty if there is none."""
    try:
        one = posix.stat(path)
    except OSError:
        return ()
    return (one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)


def attempt(words: Sequence[str]) -> int | None:
    """Do what is asked; the exit status, or None if the library has to do it."""
    try:
        if "exec" in words:
            from mobyshell.runc import quick_exec

            return quick_exec.attempt(words)
        asked = parse(words)
        if asked is None or any(name in posix.environ for name in TELLING):
            return None
        material = key(asked.root, asked.bundle, "--no-new-keyring" not in asked.flags)
        entry = load(asked.root, material)
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return None if entry is None else _Making(asked, entry).run()


def program(entry: dict[str, Any], part: str, id: str) -> int:
    """A memfd of a stored program, with the id in its places."""
    content, slots = entry[part]
    fd = posix.memfd_create("mobyshell", posix.MFD_CLOEXEC)
    posix.write(fd, content)
    for at, text in slots:
        posix.pwrite(fd, text.replace(ID, id).encode("utf-8", "surrogateescape") + b"\0", at)
    return fd


def sealed(content: bytes) -> int:
    """The launcher, sealed: nobody can change what /proc/PID/exe of the container leads to."""
    from fcntl import F_ADD_SEALS, fcntl

    how = posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
    try:
        fd = posix.memfd_create("mobyshell", how | 0x10)  # MFD_EXEC, since Linux 6.3
    except OSError:
        fd = posix.memfd_create("mobyshell", how)
    posix.write(fd, content)
    fcntl(fd, F_ADD_SEALS, 0xF)
    image = posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | _CLOEXEC)
    posix.close(fd)
    return image


def launched(entry: dict[str, Any], id: str, *more: tuple[int, int]) -> tuple[int, int]:
    """Let the launcher make a child: (memfd of its program, its pid, or 0 if it could not).

    `more`: (descriptor, number that the programs know it by), besides the streams.
    """
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    main, before = program(entry, "main", id), program(entry, "before", id)
    image = sealed(entry["image"])
    given = ((0, STDIN), (1, STDOUT), (2, STDERR), (main, MAIN), (before, BEFORE), *more)
    # out of the way first: the numbers of one must not be overwritten before it is copied
    moved = [(fcntl(fd, F_DUPFD_CLOEXEC, HIGHEST + 1), number) for fd, number in given]
    launcher = posix.posix_spawn(
        f"/proc/self/fd/{image}", [b"mobyshell init"], {},
        file_actions=[(posix.POSIX_SPAWN_DUP2, fd, number) for fd, number in moved],
    )  # fmt: skip
    for fd in (before, image, *(fd for fd, _ in moved)):
        posix.close(fd)
    posix.waitpid(launcher, 0)
    pid = int.from_bytes(posix.pread(main, 8, 8 * CHILD_WORD), "little", signed=True)
    return main, max(pid, 0)


def failed(entry: dict[str, Any], main: int) -> bool:
    """Whether the last call that a child made was refused: then it never became its program."""
    at, count = entry["reports"]
    reports = posix.pread(main, 24 * count, at)
    for index in range(count - 1, -1, -1):
        if reports[24 * index + 16 : 24 * index + 24] != b"\0" * 8:
            code = int.from_bytes(reports[24 * index + 8 : 24 * index + 16], "little")
            # as when a program is looked for along PATH: all but the last place may refuse
            tolerated = _HEADER_BYTES + index * _RECORD_BYTES + _TOLERATED
            return bool(code) and code not in entry["main"][0][tolerated : tolerated + 8]
    return True


def pass_signals_on(entry: dict[str, Any], pidfd: int) -> None:
    """Every signal that means the program goes to it."""

    def pass_on(number: int, _: object) -> None:
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except OSError:
            pass  # it has just ended

    for number in entry["signals"]:
        _signal.signal(number, pass_on)


def status_of(done: Any) -> int:
    """An exit status as shells have it: the code, or 128+n for signal n."""
    if done is None:
        return 0
    status: int = done.si_status
    return status & 0xFF if done.si_code == posix.CLD_EXITED else 128 + (status & 0x7F)


def end(pidfd: int) -> None:
    """Kill a child, and reap it."""
    try:
        _signal.pidfd_send_signal(pidfd, 9)
        posix.waitid(_P_PIDFD, pidfd, posix.WEXITED)
    except OSError:
        pass  # it has ended by itself


def write_pid(path: str, pid: int) -> None:
    """As `streams.write_pid`."""
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}"
    how = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | _CLOEXEC
    fd = posix.open(temporary, how, 0o666)
    posix.write(fd, b"%d" % pid)
    posix.close(fd)
    posix.rename(temporary, path)


class _Making:
    """One container under way."""

    def __init__(self, asked: Asked, entry: dict[str, Any]) -> None:
        self.asked, self.entry = asked, entry
        self.path = f"{asked.root}/{asked.id}"
        self.cgroups = [path.replace(ID, asked.id) for path in entry["cgroups"]]
        self.pid = 0
        self.pidfd = self.main = self.fifo = -1
        self.created = 0
        self.made_directory = False
        self.detached = "-d" in asked.flags or "--detach" in asked.flags

    def run(self) -> int | None:
        """The exit status; None, with nothing left behind, if the library has to do it."""
        begun = None
        try:
            if self._prepare() and self._launch():
                if self.asked.command == "create":
                    return 0
                begun = self._begin()
        except (OSError, ValueError):
            pass
        if begun is not None and self._becomes(begun):
            # from here on it runs, and nothing may make it run again
            return 0 if self.detached else self._end()
        self._undo()
        return None

    def _text(self, text: str) -> bytes:
        return text.replace(ID, self.asked.id).encode("utf-8", "surrogateescape")

    def _prepare(self) -> bool:
        for path in self.cgroups:
            if exists(path) or not exists(path.rpartition("/")[0]):
                return False
        if self.asked.log:
            how = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | _CLOEXEC
            posix.close(posix.open(self.asked.log, how, 0o644))
        posix.mkdir(self.path, 0o711)
        self.made_directory = True
        write(f"{self.path}/creator", b"%d %d" % (posix.getpid(), start_time("self")))
        write(f"{self.path}/cgroups.json", self._text(self.entry["known"]))
        write(f"{self.path}/config.json", self.entry["config"])
        posix.mkfifo(f"{self.path}/exec.fifo", 0o600)
        self.fifo = posix.open(f"{self.path}/exec.fifo", posix.O_RDWR | _CLOEXEC)
        return True

    def _launch(self) -> bool:
        """Let the launcher make the child; True when the child has set everything up."""
        ready, sync = posix.pipe2(_CLOEXEC)
        try:
            self.main, self.pid = launched(
                self.entry, self.asked.id, (sync, SYNC), (self.fifo, FIFO)
            )
        finally:
            posix.close(sync)
        if not self.pid:
            return False
        self.pidfd = posix.pidfd_open(self.pid)
        self.created = time.time_ns()
        self._write_state(0)
        done = posix.read(ready, 2) == b"r"
        posix.close(ready)
        if done:
            posix.unlink(f"{self.path}/creator")
            posix.unlink(f"{self.path}/cgroups.json")
            if self.asked.pid_file:
                write_pid(self.asked.pid_file, self.pid)
        return done

    def _write_state(self, started: int) -> None:
        values = {PID: self.pid, PID_START: start_time(self.pid), CREATED: self.created,
                  STARTED: started}  # fmt: skip
        text = self.entry["state"].replace(ID, self.asked.id)
        for placeholder, value in values.items():
            text = text.replace(str(placeholder), str(value))
        temporary = f"{self.path}/.state.json"
        write(temporary, text.encode())
        posix.rename(temporary, f"{self.path}/state.json")

    def _begin(self) -> int:
        """Get ready for the program; the writing end of the fifo that it waits for."""
        self._write_state(time.time_ns())
        end = posix.open(f"{self.path}/exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK | _CLOEXEC)
        if not self.detached:
            pass_signals_on(self.entry, self.pidfd)
        posix.unlink(f"{self.path}/exec.fifo")
        posix.close(self.fifo)
        return end

    def _becomes(self, end: int) -> bool:
        """Let the child become the program; whether it could."""
        import select

        posix.write(end, b"1")
        # a writing end reports an error when its last reader is gone: by execve, or by death
        poller = select.poll()
        poller.register(end, select.POLLERR)
        poller.poll()
        return not failed(self.entry, self.main)

    def _end(self) -> int:
        """Wait for the program's end, and take back the container; its status."""
        done = posix.waitid(_P_PIDFD, self.pidfd, posix.WEXITED)
        self.pid = 0
        if "--keep" not in self.asked.flags:
            try:
                self._delete()
            except OSError:
                self._leave_to_library()
        return status_of(done)

    def _leave_to_library(self) -> None:
        from mobyshell.runc.main import main

        main(["--root", self.asked.root, "delete", "--force", self.asked.id])

    def _delete(self) -> None:
        """Take back what was made. What does not go at once is the library's business."""
        if not self._remove_cgroups():
            self._leave_to_library()
            return
        # without its state there is no container any more
        posix.rename(f"{self.path}/state.json", f"{self.path}/.state.json")
        self._remove_directory()

    def _remove_cgroups(self) -> bool:
        deadline = time.monotonic() + _PATIENCE
        for path in self.cgroups:
            while True:
                try:
                    posix.rmdir(path)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if self.pid == 0 and _populated(path):
                        return False
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.0005)
        return True

    def _remove_directory(self) -> None:
        for name in posix.listdir(self.path):
            posix.unlink(f"{self.path}/{name}")
        posix.rmdir(self.path)

    def _undo(self) -> None:
        """As if nothing had been tried."""
        if self.pid:
            end(self.pidfd)
            self.pid = 0
        if self.made_directory:
            self._remove_cgroups()
            self._remove_directory()


def _populated(path: str) -> bool:
    """Whether something is in a cgroup that will not go by itself: a group below, or a process."""
    try:
        if any(posix.stat(f"{path}/{one}").st_mode & 0o040000 for one in posix.listdir(path)):
            return True
    except OSError:
        return False
    return False


def exists(path: str) -> bool:
    try:
        posix.lstat(path)
    except OSError:
        return False
    return True


def start_time(pid: int | str) -> int:
    """Field 22 of /proc/PID/stat."""
    fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | _CLOEXEC)
    try:
        return int(posix.read(fd, 4096).rpartition(b")")[2].split()[19])
    finally:
        posix.close(fd)
