"""Which trees of files this process opens for the child, which could not reach or map them. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator

from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.oci import Mount, Spec
from mobyshell.core.runtime.operations import mounts, trees


def choose_trees(
    spec: Spec, bundle: str, rootfs: str, *, early: bool, joined: str | None
) -> Iterator[trees.Tree]:
    """The trees, with the member of the spec that asks for each.

    `early`: the child has lost what reaching them takes when it mounts them. `joined`: the path
    of the user namespace that it enters, if it enters one.
    """
    number = 0
    if early:
        yield trees.Tree(0, rootfs, recursive=True, source="root.path")
        number = 1
    for index, entry in enumerate(spec.mounts or ()):
        options = parse_options(entry.options or ())
        ids = mapped(spec, entry, joined)
        # a link that is to be copied is not looked through
        now = early and "copy-symlink" not in options.extensions
        path = os.path.join(bundle, entry.source or "")
        # what lies in the rootfs shows what is mounted there only to the child, and when it is
        if mounts.below(rootfs, path):
            continue
        if options.bind and not options.remount and (now or ids):
            yield trees.Tree(number, path, options.recursive, f"mounts[{index}]", ids)
            number += 1


def mapped(spec: Spec, entry: Mount, joined: str | None) -> trees.Ids | None:
    """How a mount's ids are mapped: by its own maps, or as the container's user namespace."""
    options = parse_options(entry.options or ())
    recursive = "ridmap" in options.extensions
    uids, gids = entry.uid_mappings, entry.gid_mappings
    if not (uids or gids):
        if not recursive and "idmap" not in options.extensions:
            return None
        if joined:
            return trees.Ids(namespace=joined, recursive=recursive)
        assert spec.linux is not None
        uids, gids = spec.linux.uid_mappings, spec.linux.gid_mappings
    return trees.Ids(trees.ids_text(uids or ()), trees.ids_text(gids or ()), recursive=recursive)
