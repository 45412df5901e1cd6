"""Names of neighbours: containers in the same networks find each other in their hosts files.

Owns one part of each hosts file, between two marks, which changes when a neighbour comes or goes;
what a container wrote around it stays. The file is mounted into its container, so it is changed in
place, and what stands in it is a stranger's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from mobyshell.core.network.names import HOSTS
from mobyshell.core.network.values import Attachment

_BEGIN = "# mobyshell: who is in the same networks\n"
_END = "# mobyshell: end\n"
_LARGEST = 1 << 20


def refresh(attachments: Iterable[Attachment], networks: Iterable[str]) -> None:
    """Write into the hosts file of everybody who is in one of `networks` who the others are. The
    caller holds the lock under which attachments are recorded. What cannot be written is left."""
    touched = set(networks)
    known = list(attachments)
    for one in known:
        theirs = {joined.network for joined in one.joined}
        if not theirs & touched:
            continue
        lines = [line for other in known if other is not one and other.complete
                 for line in _lines(other, theirs)]  # fmt: skip
        try:
            _write(f"{one.directory}/{HOSTS}", "".join(lines))
        except OSError:
            continue  # it is being made or taken apart


def _lines(other: Attachment, networks: set[str]) -> Iterable[str]:
    names = dict.fromkeys((other.id, other.hostname))
    for joined in other.joined:
        if joined.network in networks:
            for lease in joined.leases:
                yield f"{lease.ip}\t{' '.join(one for one in names if one)}\n"


def _write(path: str, block: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_size > _LARGEST:
            return  # nobody needs that many hosts, but the container's owner may do as it likes
        text = os.pread(fd, _LARGEST, 0).decode("utf-8", "surrogateescape")
        before, found, rest = text.partition(_BEGIN)
        after = rest.partition(_END)[2] if found else ""
        new = before + (f"{_BEGIN}{block}{_END}" if block else "") + after
        if new != text:
            data = new.encode("utf-8", "surrogateescape")
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
