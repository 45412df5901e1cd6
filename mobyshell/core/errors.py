"""The one tree of errors. Each knows its exit code, its hint, and errno/syscall/path where there are any.

    MobyshellError            1    something failed
    ├── UsageError            2    the words of a call are off: unknown verb, bad flag, malformed id
    ├── InvalidSpec           1    a config.json (or other document) breaks its specification
    │   └── InvalidImage      1    a manifest, index or configuration of an image does
    ├── NotFound              3    no such bundle, task, process
    ├── AlreadyExists         3    the name is taken
    ├── WrongState            3    it exists, but not in the state the verb needs
    ├── Unsupported           4    this kernel, machine or version cannot do it
    ├── Refused               5    read-only, or not confirmed
    ├── SyscallFailed         1    the kernel said no
    ├── HookFailed            1    a hook exited non-zero or ran past its timeout
    ├── RuntimeFailed         1    another OCI runtime said no
    ├── CheckpointFailed      1    processes could not be written to images, or brought back
    ├── ShimLost              1    the shim cannot be reached or went away during a call
    ├── InvalidLayer          1    a layer of an image is damaged, or asks for what it must not have
    ├── WorkerLost            1    a helper process of ours went away during a call
    ├── RegistryFailed        1    a registry of images said no, or something that cannot be
    ├── StoreDamaged          1    what lies in the store is not what was put there
    ├── Locked                3    somebody else is writing under this reference
    ├── OutOfRange            2    a write that is not where the last one ended
    ├── TimedOut            124    it did not happen in the given time
    └── Interrupted         130    the user stopped it

The message is one line and names what failed; the hint is one line and says what to do.
Errors cross the shim's socket as JSON (`to_wire`, `from_wire`) and arrive as the same class.
"""

from __future__ import annotations

import errno as _errno
import os
from enum import IntEnum

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from typing import Any, ClassVar


class ExitCode(IntEnum):
    """The exit codes of `mobyshell` (not of the drop-in runtime, which has runc's)."""

    OK = 0
    FAILED = 1
    USAGE = 2
    STATE = 3
    UNSUPPORTED = 4
    REFUSED = 5
    TIMEOUT = 124
    INTERRUPTED = 130


class MobyshellError(Exception):
    """Something failed. `message` says what, `hint` what to do about it (may be empty)."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def to_wire(self) -> dict[str, Any]:
        """This error as JSON values, for the shim's socket and the events."""
        wire: dict[str, Any] = {"kind": type(self).__name__, "message": self.message}
        wire.update({name: value for name, value in vars(self).items() if name != "message"})
        return wire


class UsageError(MobyshellError):
    """The words of a call are off. Calling again with other words can help."""

    exit_code = ExitCode.USAGE


class InvalidSpec(MobyshellError):
    """A document breaks its specification. `problems` are one line each, worst first."""

    def __init__(self, message: str, *, hint: str = "", problems: list[str] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.problems = list(problems or ())


class InvalidImage(InvalidSpec):
    """A document of an image breaks image-spec, or is not what it was said to be."""


class NotFound(MobyshellError):
    """No such bundle, task, process or file."""

    exit_code = ExitCode.STATE


class AlreadyExists(MobyshellError):
    """The name is taken."""

    exit_code = ExitCode.STATE


class WrongState(MobyshellError):
    """It exists, but not in the state that the verb needs."""

    exit_code = ExitCode.STATE


class Unsupported(MobyshellError):
    """This kernel, this machine or this version cannot do it; the hint says what would."""

    exit_code = ExitCode.UNSUPPORTED


class Refused(MobyshellError):
    """Not done because of read-only mode, a missing confirmation or a safety rule."""

    exit_code = ExitCode.REFUSED


class SyscallFailed(MobyshellError):
    """The kernel refused a call. `errno` is a number as in errno(3), `path` what it was about."""

    def __init__(
        self, syscall: str, errno: int, *, path: str = "", what: str = "", hint: str = ""
    ) -> None:
        self.syscall = syscall
        self.errno = errno
        self.path = path
        self.what = what
        about = f" {path}" if path else ""
        prefix = f"{what}: " if what else ""
        super().__init__(f"{prefix}{syscall}{about}: {os.strerror(errno)}", hint=hint)

    @property
    def errno_name(self) -> str:
        """The symbolic name of `errno`, such as `ENOENT`."""
        return _errno.errorcode.get(self.errno, str(self.errno))

    @classmethod
    def of(cls, error: OSError, syscall: str, *, path: str = "", hint: str = "") -> SyscallFailed:
        """The same failure as `error`, which a standard library function raised."""
        name = path or (str(error.filename) if error.filename is not None else "")
        return cls(syscall, error.errno or 0, path=name, hint=hint)


class HookFailed(MobyshellError):
    """A hook exited non-zero, could not be run, or ran past its timeout."""


class RuntimeFailed(MobyshellError):
    """Another OCI runtime failed. `said` is the last error it logged, `exit_status` its own."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        runtime: str = "",
        command: str = "",
        exit_status: int = 1,
        said: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.runtime = runtime
        self.command = command
        self.exit_status = exit_status
        self.said = said


class CheckpointFailed(MobyshellError):
    """An engine could not write processes to images, or bring them back. Its log says why."""


class ShimLost(MobyshellError):
    """The shim cannot be reached, or went away during a call."""


class RegistryFailed(MobyshellError):
    """A registry refused, could not be reached, or answered what no registry may.

    `host` is the one that was asked, `status` its HTTP status (0: there was no answer), `code` the
    distribution spec's, such as `DENIED`. No secret ever stands in it.
    """

    def __init__(
        self, message: str, *, hint: str = "", host: str = "", status: int = 0, code: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.host = host
        self.status = status
        self.code = code


class InvalidLayer(MobyshellError):
    """A layer is damaged, or asks for what it must not have. `entry` is the member of the archive
    ("" for the archive itself), `reason` what is wrong with it."""

    def __init__(self, reason: str, *, entry: str = "", hint: str = "") -> None:
        self.reason = reason
        self.entry = entry
        shown = entry if len(entry) <= 200 else f"{entry[:120]}…{entry[-80:]}"
        super().__init__(f"layer: {shown!r}: {reason}" if entry else f"layer: {reason}", hint=hint)


class WorkerLost(MobyshellError):
    """A helper process of ours went away during a call: killed, out of memory, or by a fault."""


class StoreDamaged(MobyshellError):
    """What lies in the store is not what was put there; `doctor --store` says what, and repairs."""


class Locked(MobyshellError):
    """Somebody else is writing under this reference right now (containerd's Unavailable)."""

    exit_code = ExitCode.STATE


class OutOfRange(MobyshellError):
    """A write that is not where the last one ended (containerd's OutOfRange)."""

    exit_code = ExitCode.USAGE


class TimedOut(MobyshellError):
    """It did not happen in the given time."""

    exit_code = ExitCode.TIMEOUT


class Interrupted(MobyshellError):
    """The user stopped it."""

    exit_code = ExitCode.INTERRUPTED


_KINDS: dict[str, type[MobyshellError]] = {
    kind.__name__: kind
    for kind in (
        MobyshellError, UsageError, InvalidSpec, InvalidImage, NotFound, AlreadyExists, WrongState,
        Unsupported, Refused, SyscallFailed, HookFailed, RuntimeFailed, CheckpointFailed, ShimLost,
        RegistryFailed, InvalidLayer, WorkerLost, StoreDamaged, Locked, OutOfRange, TimedOut,
        Interrupted,
    )
}  # fmt: skip


def from_wire(wire: dict[str, Any]) -> MobyshellError:
    """The error that `to_wire` described; of an unknown kind, a plain `MobyshellError`."""
    kind = _KINDS.get(str(wire.get("kind")), MobyshellError)
    error = kind.__new__(kind)
    message = str(wire.get("message", "unknown error"))
    Exception.__init__(error, message)
    error.message = message
    error.hint = ""
    for name, value in wire.items():
        if name not in ("kind", "message") and name.isidentifier() and not name.startswith("_"):
            setattr(error, name, value)
    return error
