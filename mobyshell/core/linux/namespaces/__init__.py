"""Namespaces as the kernel shows them: kinds, inodes, owners, and who is in each.

    kinds    what kinds there are                nsfs     what the kernel tells of one
    survey   all that can be seen now            tree     who owns, or contains, which
    details  what is inside one                  explain  what a kind is for
    entry    how to go in: a plan                (going in is `core.linux.enter`, a program)

Looks only: nothing here enters a namespace, which a process with threads must never do.
"""

from __future__ import annotations

from mobyshell.core.linux.namespaces.kinds import KINDS, inode

__all__ = ["KINDS", "inode"]
