"""The snapshotter `overlayfs`: each tree holds what differs from its parents.

    <tree>/fs      the files; what is deleted is a device 0:0, or an opaque directory
    <tree>/work    overlayfs' own, of active ones

Makes the options; the kernel's overlayfs puts the trees over each other when they are mounted.
https://docs.kernel.org/filesystems/overlayfs.html
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from mobyshell.core.linux.own_ids import in_user_namespace
from mobyshell.core.store.snapshots import trees, volatile
from mobyshell.core.store.snapshots.driver import FILES, bind, make_files
from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.overlay_options import escape
from mobyshell.core.store.snapshots.protocol import Form, Kind, Mount, Usage

WORK = "work"


class Overlay:
    """A `driver.Driver`."""

    name = "overlayfs"
    rebases = True

    def __init__(self, *, userxattr: bool | None = None) -> None:
        """`userxattr`: mount as it can be in a user namespace (default: if this process is in one,
        or would have to make one)."""
        self.userxattr = needs_userxattr() if userxattr is None else userxattr

    @property
    def form(self) -> Form:
        return Form.OVERLAY_USER if self.userxattr else Form.OVERLAY

    def check(self, directory: Path) -> None:
        from mobyshell.core.store.snapshots import overlay_probe  # seldom needed, and not small

        overlay_probe.check(directory, userxattr=self.userxattr)

    def make(self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps) -> None:
        # the root of what is merged is the uppermost one, so it has to be like the parent's
        make_files(tree, parents[0] / FILES if parents else None, maps)
        if kind is Kind.ACTIVE:
            (tree / WORK).mkdir(mode=0o711)

    def mounts(
        self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps
    ) -> tuple[Mount, ...]:
        if not parents:
            return bind(tree / FILES, writable=kind is Kind.ACTIVE, maps=maps)
        if kind is Kind.VIEW and len(parents) == 1:
            return bind(parents[0] / FILES, writable=False, maps=maps)
        options = ["index=off"]
        if self.userxattr:
            options.append("userxattr")
        if kind is Kind.ACTIVE:
            volatile.forget(tree / WORK)
            options += [f"workdir={escape(tree / WORK)}", f"upperdir={escape(tree / FILES)}"]
        options.append("lowerdir=" + ":".join(escape(one / FILES) for one in parents))
        return (Mount("overlay", "overlay", (*options, *maps.options())),)

    def measure(self, tree: Path, parents: Sequence[Path]) -> Usage:
        fd = os.open(tree / FILES, trees.DIRECTORY)
        try:
            return trees.measure(fd)
        finally:
            os.close(fd)

    def settle(self, tree: Path) -> None:
        with suppress(OSError):  # it does no harm where it stays
            with suppress(FileNotFoundError):
                (tree / WORK / "work").rmdir()
            (tree / WORK).rmdir()


@cache
def needs_userxattr() -> bool:
    """Whether overlays of this process are mounted in a user namespace, where the kernel lets them
    keep their attributes in `user.overlay.*` only (Linux 5.11). Who has a store open stays in its
    own."""
    return os.geteuid() != 0 or in_user_namespace()
