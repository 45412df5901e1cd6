"""Processes by descriptor: signals and exit statuses that cannot reach the wrong process."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import struct

from mobyshell.core.errors import NotFound, SyscallFailed
from mobyshell.core.linux import procfs

# PIDFD_GET_INFO of struct pidfd_info, version 1: 64 bytes (include/uapi/linux/pidfd.h)
_INFO_SIZE = 64
_GET_INFO = 3 << 30 | _INFO_SIZE << 16 | 0xFF << 8 | 11
_INFO_EXIT = 1 << 3


def open_verified(pid: int, start: int) -> int:
    """A pidfd of the process that started at `start` (clock ticks since boot).

    NotFound if it is gone, or if its number belongs to another process now.
    """
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise NotFound(f"process {pid} has ended") from None
    except OSError as error:
        raise SyscallFailed.of(error, "pidfd_open", path=str(pid)) from None
    # checked after opening: from here on the number cannot change its owner unnoticed
    try:
        if procfs.start_time(pid) == start:
            return fd
    except NotFound:
        pass
    os.close(fd)
    raise NotFound(f"process {pid} has ended")


def send(fd: int, number: int) -> bool:
    """Send a signal; False if the process has ended already. SyscallFailed with EACCES where a
    security module does not let it take signals from here."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    except OSError as error:
        hint = _DEAF if error.errno == errno.EACCES else ""
        raise SyscallFailed.of(error, "pidfd_send_signal", hint=hint) from None
    return True


_DEAF = (
    "the profile of that process lets it take no signal from here; to kill all there is by the "
    "cgroup, or to delete by force, needs none"
)


def has_ended(fd: int) -> bool:
    """Whether the process has ended (it may be a zombie)."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def reap(fd: int) -> int | None:
    """The exit status of our child (128+n for signal n), which is gone then; None if it lives.

    SyscallFailed with ECHILD if it is not our child, or was reaped already.
    """
    try:
        done = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOHANG)
    except OSError as error:
        raise SyscallFailed.of(error, "waitid") from None
    if done is None:
        return None
    return done.si_status if done.si_code == os.CLD_EXITED else 128 + (done.si_status & 0x7F)


def exit_status(fd: int) -> int | None:
    """How a process that was somebody else's child ended (128+n for signal n).

    None while it has not been reaped, or where the kernel does not tell (before Linux 6.15).
    """
    buffer = bytearray(struct.pack("=Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
    try:
        fcntl.ioctl(fd, _GET_INFO, buffer)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EINVAL, errno.ESRCH):
            return None
        raise SyscallFailed.of(error, "ioctl PIDFD_GET_INFO") from None
    (mask,) = struct.unpack_from("=Q", buffer)
    if not mask & _INFO_EXIT:
        return None
    (status,) = struct.unpack_from("=i", buffer, 60)
    code: int = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def tells_exit_status() -> bool:
    """Whether this kernel answers `exit_status` at all."""
    fd = os.pidfd_open(os.getpid())
    try:
        buffer = bytearray(struct.pack("=Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
        fcntl.ioctl(fd, _GET_INFO, buffer)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
