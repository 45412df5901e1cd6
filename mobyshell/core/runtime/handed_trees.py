"""Which trees of files this process opens for the child, which could not reach or map them. Pure."""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Sequence

from mobyshell.core.linux import devices
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.oci import Device, IDMapping, Linux, Mount, Spec
from mobyshell.core.runtime.operations import mounts, trees

CLONES_OF_CLONES = (6, 15)
"""The kernel since which open_tree(2) clones what lies in a mount that is attached nowhere."""


def choose_trees(
    spec: Spec, bundle: str, rootfs: str, *, early: bool, joined: str | None,
    kernel: tuple[int, int],
) -> Iterator[trees.Tree]:  # fmt: skip
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
    if not early or joined or kernel < CLONES_OF_CLONES or spec.linux is None:
        return
    if any(mounts.binds_dev(entry) for entry in spec.mounts or ()):
        return
    for index, device in enumerate(spec.linux.devices or ()):
        node = _node(spec.linux, device)
        if node is not None:
            yield trees.Tree(
                number, device.path, recursive=False, source=f"linux.devices[{index}]", node=node
            )
            number += 1


def _node(linux: Linux, device: Device) -> trees.Node | None:
    """The device as it is made; none if its owner has no number on the host."""
    owner = (
        _on_host(device.uid or 0, linux.uid_mappings or ()),
        _on_host(device.gid or 0, linux.gid_mappings or ()),
    )
    if owner[0] is None or owner[1] is None or os.path.normpath(device.path) == "/dev/ptmx":
        return None
    mode = 0o666 if device.file_mode is None else device.file_mode & 0o7777
    numbers = (0, 0) if device.type == "p" else (device.major or 0, device.minor or 0)
    return trees.Node(devices.KINDS[device.type], mode, *numbers, (owner[0], owner[1]))


def _on_host(id: int, mappings: Sequence[IDMapping]) -> int | None:
    for one in mappings:
        if one.container_id <= id < one.container_id + one.size:
            return one.host_id + id - one.container_id
    return None


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
