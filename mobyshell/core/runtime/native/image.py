"""The launcher as an executable that nobody can change: a static ELF in a sealed memfd.

A process that runs it shows /proc/PID/exe of this memory and no file of the host, so whatever the
container does with that link, it cannot overwrite a program of the host (CVE-2019-5736).
Source: elf(5), memfd_create(2), fcntl(2) "File sealing".
"""

from __future__ import annotations

import ctypes
import struct
from mmap import PROT_EXEC, PROT_READ

from mobyshell.core.linux.memory import map_shared, sealed
from mobyshell.core.linux.syscalls import libc
from mobyshell.core.runtime.native.code import CODE, START

ADDRESS = 0x400000
_PAGE = 4096
_AT_SYSINFO_EHDR = 33


def elf(code: bytes = CODE, start: int = START) -> bytes:
    """The executable of `code`, entered at `start`: a header in the first page, the code in the
    second."""
    at = ADDRESS + _PAGE
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, at + start, 64, 0, 0,
        64, 56, 2, 0, 0, 0,
    )  # fmt: skip
    load = struct.pack("<IIQQQQQQ", 1, 5, _PAGE, at, at, len(code), len(code), _PAGE)
    # without this the kernel would give it an executable stack
    stack = struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return (header + load + stack).ljust(_PAGE, b"\0") + code


class Image:
    """The launcher's memory: `fd` to execute, `code` where the same bytes run in this process."""

    def __init__(self) -> None:
        self.fd = sealed("mobyshell", elf())
        self.code = map_shared(self.fd, _PAGE + len(CODE), PROT_READ | PROT_EXEC) + _PAGE


def clock() -> tuple[int, int]:
    """The vdso's clock_gettime: its address in this process, and its offset in every vdso; or 0, 0."""
    libc.getauxval.restype = ctypes.c_ulong
    base: int = libc.getauxval(_AT_SYSINFO_EHDR)
    try:
        function = ctypes.CDLL("linux-vdso.so.1")["__vdso_clock_gettime"]
    except (OSError, AttributeError):
        return 0, 0
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return (address, address - base) if base and address > base else (0, 0)
