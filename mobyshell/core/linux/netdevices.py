"""Moving a network device into another network namespace, by rtnetlink(7).

A helper process, `main` of this module with PID NAME NEW: it enters the namespace, which must never
happen in a process with threads or an event loop. The device keeps its settings and its permanent
global addresses, which the kernel takes away on the move, and is up afterwards.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWNET
from mobyshell.core.linux.links import Address, Links
from mobyshell.core.linux.syscalls import call


def move(pid: int, name: str, new: str) -> None:
    """Move the device `name` into the network namespace of `pid`, to be `new` there. This process is
    in that namespace afterwards. SyscallFailed with the step that was refused: the device is then
    back where it was, as it was."""
    ours, theirs = (os.open(f"/proc/{one}/ns/net", os.O_RDONLY) for one in ("self", pid))
    with Links() as here:  # a socket stays in the namespace that it was made in
        call("setns", theirs, CLONE_NEWNET, what="entering the container's network")
        with Links() as there:
            device = here.find(name)
            if device is None:
                raise SyscallFailed(
                    "netlink", errno.ENODEV, what=f"link not found for interface {name}"
                )
            addresses = [one for one in here.addresses(device.index) if one.lasting]
            try:
                here.set_up(name, up=False)
                here.move(name, theirs, new)
                _furnish(there, new, addresses)
            except MobyshellError:
                _bring_back(here, there, ours, (name, new))
                with suppress(MobyshellError):
                    _furnish(here, name, addresses, device.up)
                raise


def _furnish(where: Links, name: str, addresses: Sequence[Address], up: bool = True) -> None:
    where.restore(name, addresses)
    where.set_up(name, up=up)


def _bring_back(here: Links, there: Links, ours: int, names: tuple[str, str]) -> None:
    """A move whose new name is taken is half a move: the device is there, under its old name."""
    with suppress(MobyshellError):
        here.get(names[0])
        return
    for one in dict.fromkeys(names):
        with suppress(MobyshellError):
            there.move(one, ours, names[0])
            return


def main(argv: list[str]) -> int:
    """0, or 1 with the reason on stderr."""
    try:
        move(int(argv[0]), argv[1], argv[2])
    except (MobyshellError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
