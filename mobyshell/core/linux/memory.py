"""Memory that other programs can map or execute: memfd_create(2), mmap(2), file seals (fcntl(2)).

Python's `mmap` keeps a second descriptor of its own and cannot say where the memory lies.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from mmap import MAP_SHARED, PAGESIZE, PROT_READ, PROT_WRITE

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.syscalls import libc

libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

FIRST_FD = 16
"""Descriptors are at least this, so that low numbers can be given to another program."""

_MFD_EXEC = 0x10
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_FAILED = ctypes.c_void_p(-1).value


_MADV_DONTNEED = 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed(size: int) -> None:
    """Have the C library keep up to `size` freed bytes for whoever makes large buffers time and again:
    else it maps and unmaps each, and the kernel clears every page anew (mallopt(3)). Where there is
    no such thing, nothing."""
    mallopt = getattr(libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, size // 2)
        mallopt(_M_TRIM_THRESHOLD, size)


def give_back() -> None:
    """Have the C library return to the kernel what is freed, whole pages of it (malloc_trim(3)). Where
    there is no such thing, nothing."""
    trim = getattr(libc, "malloc_trim", None)
    if trim is not None:
        trim(0)


def let_go_of_files() -> None:
    """Unmap the pages of programs and libraries that this process has read so far; what is read again comes
    back, from the page cache (MADV_DONTNEED, madvise(2)). For who has started: the tables of the dynamic
    linker, and the code that loads modules, are not needed any more. (A fork has none of them, either.)

    Only of mappings in which nothing was written: where there are relocations, they would be lost. Where
    the kernel does not tell (proc_pid_smaps(5)), nothing.
    """
    try:
        with open("/proc/self/smaps") as file:
            lines = file.readlines()
    except OSError:
        return
    places: list[tuple[int, int]] = []
    begin = end = 0
    for line in lines:
        name, _, rest = line.partition(" ")
        if name == "Anonymous:":
            if end and rest.split()[0] == "0":
                places.append((begin, end - begin))
            end = 0
        elif not name.endswith(":"):
            permissions, _, _, _, *path = rest.split(maxsplit=4)
            if permissions in ("r--p", "r-xp") and path and path[0].startswith("/"):
                begin, end = (int(word, 16) for word in name.split("-"))
    for begin, size in places:
        libc.madvise(begin, size, _MADV_DONTNEED)


def map_shared(
    fd: int, size: int, protection: int = PROT_READ | PROT_WRITE, wanted: int = 0
) -> int:
    """Map `size` bytes of `fd`, shared; the address: `wanted` if that place is free.

    SyscallFailed if the kernel refuses.
    """
    address: int | None = libc.mmap(wanted or None, size, protection, MAP_SHARED, fd, 0)
    if address is None or address == _FAILED:
        raise SyscallFailed("mmap", ctypes.get_errno())
    return address


def moved(fd: int) -> int:
    """`fd` under a number that is out of the way; what it was is closed. OSError if there is none."""
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD)
    finally:
        os.close(fd)


def sealed(name: str, content: bytes) -> int:
    """A descriptor, for reading only, of an executable memfd with `content` that cannot change."""
    try:
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # before Linux 6.3 all of them are executable
            raise SyscallFailed.of(error, "memfd_create") from None
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        # execve(2) refuses a file that is open for writing (ETXTBSY)
        return moved(os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        raise SyscallFailed.of(error, "memfd_create") from None
    finally:
        os.close(fd)


class Memory:
    """`size` bytes (rounded up to pages) at `address`, and a descriptor of them. Freed by `close`."""

    def __init__(self, name: str, size: int, wanted: int = 0) -> None:
        self.fd = -1
        self.size = size + -size % PAGESIZE
        try:
            self.fd = moved(os.memfd_create(name, os.MFD_CLOEXEC))
            os.ftruncate(self.fd, self.size)
        except OSError as error:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1
            raise SyscallFailed.of(error, "memfd_create") from None
        try:
            self.address = map_shared(self.fd, self.size, wanted=wanted)
        except SyscallFailed:
            os.close(self.fd)
            self.fd = -1
            raise
        self.view = memoryview((ctypes.c_ubyte * self.size).from_address(self.address)).cast("B")

    def close(self) -> None:
        """Give the memory back; views of it that are not released fail no more, but crash."""
        if self.fd >= 0:
            self.view.release()
            libc.munmap(self.address, self.size)
            os.close(self.fd)
            self.fd = -1

    def __del__(self) -> None:
        self.close()
