"""Where the states of containers are, unless the caller says it: runc's rule.

Whoever is not root has a place of their own, if XDG_RUNTIME_DIR says where; so has who is root only
inside a user namespace, as podman makes one for its callers, and there cannot write to /run.
Imports nothing that Python has not loaded itself: it is on the way of every call.
"""

from __future__ import annotations

import posix

from mobyshell.runc.stored import OWN_IDS, read

ROOTS = "/run/runc"
_ALL = [b"0", b"0", b"4294967295"]


def own() -> str:
    """The place of a caller who has their own (it may not be there yet); "" for everybody else."""
    run = posix.environ.get(b"XDG_RUNTIME_DIR")
    if not run or (posix.geteuid() == 0 and not _only_called_root()):
        return ""
    return f"{run.decode('utf-8', 'surrogateescape')}/runc"


def usual() -> str:
    """Where the states are if nobody says anything else."""
    return own() or ROOTS


def _only_called_root() -> bool:
    """Whether we are root of a user namespace, but who logged in was not (user_namespaces(7))."""
    return posix.environ.get(b"USER") != b"root" and read(OWN_IDS).split() != _ALL
