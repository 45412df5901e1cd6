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
from mobyshell.core.runtime.bundle.elf import ElfError, read_elf
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
    seen = {place: diagnose(plan.rootfs, place) for place, _ in tried if place}
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


def diagnose(rootfs: str, path: str) -> str:
    """What is wrong with the program `path` of `rootfs`, as one line; empty if nothing is seen."""
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
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            return f"{path} is a directory"
        if not stat.S_ISREG(status.st_mode):
            return f"{path} is not a regular file"
        if not status.st_mode & 0o111:
            return f"{path} is not executable: chmod +x"
        return _of_content(root, fd, path)
    except OSError:
        return ""
    finally:
        os.close(fd)
        os.close(root)


def _of_content(root: int, fd: int, path: str) -> str:
    head = os.pread(fd, _FIRST_LINE, 0)
    if head.startswith(b"#!"):
        return _of_script(root, head.partition(b"\n")[0], path)
    if head.startswith(b"\x7fELF"):
        return _of_elf(root, fd, head, path)
    if not head:
        return f"{path} is empty"
    return (
        f"{path} is neither a program for Linux nor a script with an interpreter in its first line"
    )


def _of_script(root: int, line: bytes, path: str) -> str:
    words = line[2:].split()
    if not words:
        return f"the first line of {path} names no interpreter"
    interpreter = os.fsdecode(words[0])
    if line.endswith(b"\r") and not _is_there(root, interpreter + "\r"):
        return (
            f"the first line of {path} ends with a carriage return (CRLF), which the kernel takes "
            f"as a part of the interpreter's name: save it with line feeds alone (dos2unix)"
        )
    if not _is_there(root, interpreter):
        return f"the interpreter of {path}, {_shown(interpreter)}, is not in the image"
    return ""


def _of_elf(root: int, fd: int, head: bytes, path: str) -> str:
    order = "<" if head[5] == 1 else ">"
    with open("/proc/self/exe", "rb") as own:
        ours = own.read(20)
    theirs = struct.unpack_from(order + "H", head, 18)[0]
    if (head[5], theirs) != (ours[5], struct.unpack_from("=H", ours, 18)[0]):
        return f"{path} is a program for another machine (ELF machine {theirs})"
    try:
        interpreter = read_elf(f"/proc/self/fd/{fd}").interpreter
    except ElfError as error:
        return f"{path} is damaged: {str(error).replace(f'/proc/self/fd/{fd}', path)}"
    if interpreter and not _is_there(root, interpreter):
        return (
            f"the loader of {path}, {_shown(interpreter)}, is not in the image: "
            "is it built for another distribution (glibc, musl)?"
        )
    return ""


def _is_there(root: int, path: str) -> bool:
    try:
        os.close(open_in_root(root, path, c.O_PATH))
    except SyscallFailed:
        return False
    return True


def _shown(text: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in text[:_SHOWN])
