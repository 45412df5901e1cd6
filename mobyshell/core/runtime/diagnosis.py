"""Why execve refused a program that seems to be there: its interpreter, its loader, its machine.

Looks into the root filesystem as the container would, never executes, and gives up silently: this
only explains an error that is certain already.
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.paths import open_in_root
from mobyshell.core.linux.syscalls import hint
from mobyshell.core.runtime.plan import Operation, Plan, Text, Vector
from mobyshell.core.runtime.program import Program

_FIRST_LINE = 256
_SHOWN = 100


_HELP = {
    errno.ENOENT: "is it in the image, and what it needs to run?",
    errno.EACCES: "is it a program, executable, and on a mount without noexec?",
}


def not_executed(
    plan: Plan, operation: Operation, program: Program, at: int, code: int
) -> SyscallFailed:
    """Why the program could not be executed, in the words callers of runc look for; with what the
    image says of the reason."""
    path, wanted, tried = "", "", [("", code)]
    for index in range(at + 1):
        other = program.origins[index]
        if other.operation != program.origins[at].operation or other.call < 0:
            continue
        call = operation.calls[other.call]
        path = next((arg.value for arg in call.args if isinstance(arg, Text)), path)
        wanted = next((arg.values[0] for arg in call.args if isinstance(arg, Vector)), wanted)
        if call.name in ("execve", "faccessat2"):
            tried.append((path, program.report(index)[1]))
    name = wanted or operation.title.removeprefix("look for ")
    seen = {place: diagnose(plan.rootfs, place, why) for place, why in tried if place}
    if "/" not in name:
        # in the search path, a directory is passed over
        tried = [one for one in tried if not seen.get(one[0], "").endswith(" is a directory")]
        code = code if tried[1:] else errno.ENOENT
        tried = tried[1:]
    found = next((seen[place] for place, _ in tried if seen.get(place)), "")
    if errno.EACCES in [one for _, one in tried]:
        code = errno.EACCES
    elif code == errno.EACCES and "/" not in name:
        code = errno.ENOENT
    if found.endswith(" is a directory"):
        code, found = errno.EISDIR, ""
    if "/" not in name and not found and code in (errno.ENOENT, errno.ENOTDIR):
        reason = "executable file not found in $PATH"
    else:
        reason = os.strerror(code).lower()
        if not wanted and code == errno.ENOENT:
            reason = f"stat {name}: {reason}"
    help = hint("execve", code) or found or _HELP.get(code, "")
    if code == errno.EACCES:
        found = ""  # the words alone say what is wrong
    error = SyscallFailed("execve", code, path=path, what=operation.title, hint=help)
    error.message = f'exec: "{name}": {reason}{f" ({found})" if found else ""}'
    error.args = (error.message,)
    return error


def diagnose(rootfs: str, path: str, code: int) -> str:
    """Why execve of the program `path` of `rootfs` gave errno `code`, as one line; empty if nothing
    is seen that would. What is mounted over the root filesystem is not seen."""
    try:
        root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except SyscallFailed:
        os.close(root)
        return ""
    try:
        mode = os.fstat(fd).st_mode
        if code in (errno.EACCES, errno.EISDIR):
            return _of_mode(mode, path)
        if stat.S_ISREG(mode) and code == errno.ENOENT:
            return _of_missing(root, fd, path)
        if stat.S_ISREG(mode) and code == errno.ENOEXEC:
            return _of_format(fd, path)
        return ""
    except OSError:
        return ""
    finally:
        os.close(fd)
        os.close(root)


def _of_mode(mode: int, path: str) -> str:
    if stat.S_ISDIR(mode):
        return f"{path} is a directory"
    if not stat.S_ISREG(mode):
        return f"{path} is not a regular file"
    return "" if mode & 0o111 else f"{path} is not executable: chmod +x"


def _of_missing(root: int, fd: int, path: str) -> str:
    """It is there: then what it needs is not."""
    head = os.pread(fd, _FIRST_LINE, 0)
    if head.startswith(b"\x7fELF"):
        return _of_loader(root, fd, path)
    words = head.partition(b"\n")[0][2:].split()
    if not head.startswith(b"#!") or not words:
        return ""
    interpreter = os.fsdecode(words[0])
    if head.partition(b"\n")[0].endswith(b"\r") and not _is_there(root, interpreter + "\r"):
        return (
            f"the first line of {path} ends with a carriage return (CRLF), which the kernel takes "
            f"as a part of the interpreter's name: save it with line feeds alone (dos2unix)"
        )
    if not _is_there(root, interpreter):
        return f"the interpreter of {path}, {_shown(interpreter)}, is not in the image"
    return ""


def _of_loader(root: int, fd: int, path: str) -> str:
    # only who has to explain something needs it: it brings all that bundles are made with
    from mobyshell.core.runtime.bundle.elf import ElfError, read_elf

    try:
        interpreter = read_elf(f"/proc/self/fd/{fd}").interpreter
    except ElfError:
        return ""
    if not interpreter or _is_there(root, interpreter):
        return ""
    return (
        f"the loader of {path}, {_shown(interpreter)}, is not in the image: "
        "is it built for another distribution (glibc, musl)?"
    )


def _of_format(fd: int, path: str) -> str:
    head = os.pread(fd, _FIRST_LINE, 0)
    if not head:
        return f"{path} is empty"
    if head.startswith(b"#!"):
        return f"the first line of {path} names no interpreter"
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        return f"{path} is neither a program for Linux nor a script with an interpreter"
    with open("/proc/self/exe", "rb") as own:
        ours = own.read(20)
    machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
    if (head[5], machine) != (ours[5], struct.unpack_from("=H", ours, 18)[0]):
        return f"{path} is a program for another machine (ELF machine {machine})"
    return f"{path} is damaged"


def _is_there(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, c.O_PATH))
    except SyscallFailed:
        return False
    return True


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:_SHOWN])
