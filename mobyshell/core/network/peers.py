"""Names of neighbours: containers in the same networks find each other in their hosts files.

Owns one part of each hosts file, between two marks, which changes when a neighbour comes or goes,
and the lines of the container's own name; what it wrote around them stays. The file is mounted into
its container, so it is changed in place, and what stands in it is a stranger's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import partial

from mobyshell.core.network.names import HOSTS
from mobyshell.core.network.values import Attachment

_BEGIN = "# mobyshell: who is in the same networks\n"
_END = "# mobyshell: end\n"
_LARGEST = 1 << 20


def refresh(attachments: Iterable[Attachment], networks: Iterable[str], changed: str = "") -> None:
    """Write into the hosts file of everybody who is in one of `networks`, and of the container
    `changed`, who the others are. The caller holds the lock under which attachments are recorded.
    What cannot be written is left."""
    touched = set(networks)
    known = list(attachments)
    for one in known:
        theirs = {joined.network for joined in one.joined}
        if not theirs & touched and one.id != changed:
            continue
        lines = [line for other in known if other is not one and other.complete
                 for line in _lines(other, theirs)]  # fmt: skip
        try:
            _change(f"{one.directory}/{HOSTS}", partial(_with_block, block="".join(lines)))
        except OSError:
            continue  # it is being made or taken apart


def _lines(other: Attachment, networks: set[str]) -> Iterable[str]:
    for joined in other.joined:
        if joined.network in networks:
            names = dict.fromkeys((other.id, other.hostname, *joined.aliases))
            for lease in joined.leases:
                yield f"{lease.ip}\t{' '.join(one for one in names if one)}\n"


def readdress(attachment: Attachment, before: Iterable[str]) -> None:
    """The lines of a container's own name: its addresses were `before`, and have changed. What cannot
    be written is left."""
    name = attachment.hostname
    gone, come = (_own(name, addresses) for addresses in (before, attachment.addresses))
    try:
        _change(f"{attachment.directory}/{HOSTS}", partial(_with_own, gone=gone, come=come))
    except OSError:
        pass


def _own(name: str, addresses: Iterable[str]) -> list[str]:
    ips = [one.partition("/")[0] for one in addresses]
    return [f"{one}\t{name}\n" for one in ips or ("127.0.1.1",) if name]


def _with_own(text: str, gone: Iterable[str], come: Iterable[str]) -> str:
    before, mark, after = text.partition(_BEGIN)
    lines = [one for one in before.splitlines(keepends=True) if one not in gone]
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join((*lines, *come, mark, after))


def _with_block(text: str, block: str) -> str:
    before, found, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2] if found else ""
    return before + (f"{_BEGIN}{block}{_END}" if block else "") + after


def _change(path: str, how: Callable[[str], str]) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size > _LARGEST:
            return  # nobody needs that many hosts, but the container's owner may do as it likes
        text = os.pread(fd, _LARGEST, 0).decode("utf-8", "surrogateescape")
        new = how(text)
        if new != text:
            data = new.encode("utf-8", "surrogateescape")
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
