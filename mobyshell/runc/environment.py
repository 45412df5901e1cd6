"""The environment of a program: each name once, and HOME, which runc adds from /etc/passwd."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.paths import open_in_root
from mobyshell.core.oci import Mount

_PASSWD = "/etc/passwd"
_LARGEST = 4 << 20


def completed(env: Sequence[str], uid: int, passwd: bytes) -> tuple[str, ...]:
    """Of equal names the last one counts; an empty or absent HOME becomes the user's directory."""
    last = {one.partition("=")[0]: one for one in env}
    if last.get("HOME", "HOME=") == "HOME=":
        last.pop("HOME", None)
        last["HOME"] = f"HOME={home(uid, passwd)}"
    return tuple(last.values())


def home(uid: int, passwd: bytes) -> str:
    """The directory of `uid` in a passwd(5) file; `/` if it names none."""
    for line in passwd.decode(errors="replace").splitlines():
        words = line.split(":")
        if len(words) >= 6 and words[2].strip() == str(uid):
            return words[5] or "/"
    return "/"


def passwd_of_bundle(rootfs: str, mounts: Sequence[Mount]) -> bytes:
    """The /etc/passwd that a container will see, or nothing."""
    for one in reversed(mounts):
        if os.path.normpath(one.destination) == _PASSWD and one.source:
            return _read(one.source)
    return passwd_beneath(rootfs)


def passwd_beneath(root: str) -> bytes:
    """/etc/passwd below a root, as a process there would find it; nothing if there is none."""
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        # a FIFO there must not make us wait, nor a device have an effect
        file = open_in_root(fd, _PASSWD, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except SyscallFailed:
        return b""
    finally:
        os.close(fd)
    return _content(file)


def _read(path: str) -> bytes:
    try:
        return _content(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return b""


def _content(file: int) -> bytes:
    import stat

    try:
        return os.read(file, _LARGEST) if stat.S_ISREG(os.fstat(file).st_mode) else b""
    finally:
        os.close(file)
