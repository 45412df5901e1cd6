"""An image looked into: its layers, what each of them did, its files and what they waste.

Mounts nothing: trees are read through their layers (`core/store/stack`). What verbs and screens
show of images is here, as values.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.linux.paths import read_most
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.differences import Difference, Way, differences
from mobyshell.core.store.stack import Entry, Stack
from mobyshell.core.values import value
from mobyshell.moby.image import Image

LARGEST = 1 << 20
"""Bytes of a file that are shown."""


@value
class LayerRow:
    """A step of an image's history. `number` counts the layers from 0, -1 where the step made none;
    `size` is of the blob; `created_by` what made it, as far as somebody said so."""

    number: int
    digest: str
    diff_id: str
    chain_id: str
    size: int
    created: str
    created_by: str
    comment: str


@value
class FileRow:
    """A path of an image's tree. `layer` counts from 0, the lowest: whose it is."""

    path: str
    kind: str
    mode: int
    size: int
    uid: int
    gid: int
    layer: int
    target: str = ""


@value
class Wasted:
    """A file of which a layer has a copy that is not seen, for a later one has another, or has deleted
    it. `copies`: how many layers have one; `bytes`: of those that are not seen."""

    path: str
    copies: int
    bytes: int


def history(image: Image) -> list[LayerRow]:
    """Every step, the first one first. What a history leaves out is made up of the layers."""
    resolved = image.resolved
    diff_ids, chains = resolved.config.diff_ids, resolved.chain_ids
    rows: list[LayerRow] = []
    number = 0

    def layer(created: str, by: str, comment: str) -> LayerRow:
        one = resolved.layers[number]
        return LayerRow(number, one.digest, diff_ids[number], chains[number], one.size, created, by,
                        comment)  # fmt: skip

    for step in resolved.config.history or ():
        told = (step.created or "", step.created_by or "", step.comment or "")
        if step.empty_layer or number >= len(resolved.layers):
            rows.append(LayerRow(-1, "", "", "", 0, *told))
            continue
        rows.append(layer(*told))
        number += 1
    while number < len(resolved.layers):
        rows.append(layer("", "", ""))
        number += 1
    return rows


def changes(image: Image, layer: int, *, snapshotter: str = "") -> Iterator[Difference]:
    """What a layer has added, changed and deleted. NotFound if there is none, or it is packed."""
    return differences(image.tenant.snapshotter(snapshotter), _chain(image, layer, snapshotter))


def files(
    image: Image, path: str = "/", *, layer: int | None = None, snapshotter: str = ""
) -> list[FileRow]:
    """What is in a directory of the image, as of one of its layers (the last). UsageError for what is
    none."""
    with stack(image, layer, snapshotter) as (opened, top):
        if not opened.stat(path).is_directory:
            raise UsageError(f"{path} is no directory", hint="`image cat` shows what is in a file")
        return [file_row(posixpath.join(path, entry.name), entry, top) for entry in opened.ls(path)]


def content(
    image: Image, path: str, *, layer: int | None = None, snapshotter: str = "",
    most: int = LARGEST,
) -> bytes:  # fmt: skip
    """The first bytes of a file of the image."""
    with stack(image, layer, snapshotter) as (opened, _):
        return opened.read(path, most)


def pieces(
    image: Image, path: str, *, layer: int | None = None, snapshotter: str = ""
) -> Iterator[bytes]:
    """All bytes of a file of the image, in pieces of `LARGEST`. Before the first: NotFound, UsageError
    for what is no file."""
    with stack(image, layer, snapshotter) as (opened, top):
        found = file_row(path, opened.stat(path), top)
        if found.kind != "file":
            hint = "`image tree` lists what is in it" if found.kind == "directory" else ""
            raise UsageError(f"{path} is no file, but a {found.kind}", hint=hint)
        fd = opened.open(path)
    try:
        while piece := read_most(fd, LARGEST):
            yield piece
    finally:
        os.close(fd)


def wasted(image: Image, *, snapshotter: str = "") -> list[Wasted]:
    """Files that an upper layer replaced or deleted: their bytes are carried along all the same."""
    sizes: dict[str, int] = {}
    copies: Counter[str] = Counter()
    lost: Counter[str] = Counter()

    for number in range(len(image.resolved.layers)):
        for one in changes(image, number, snapshotter=snapshotter):
            gone: list[str] = []
            if one.path in sizes:
                gone = [one.path]
            elif one.way in (Way.DELETED, Way.REPLACED):  # a directory, with all below it
                gone = [name for name in sizes if name.startswith(f"{one.path}/")]
            for name in gone:
                lost[name] += sizes.pop(name)
            if stat.S_ISREG(one.mode):
                sizes[one.path] = one.size
                copies[one.path] += 1
    return [Wasted(path, copies[path], size) for path, size in lost.most_common() if size]


@contextmanager
def stack(image: Image, layer: int | None, snapshotter: str) -> Iterator[tuple[Stack, int]]:
    """The layers of an image up to one of them, opened, and the number of that one."""
    top = len(image.resolved.layers) - 1 if layer is None else layer
    place = image.tenant.snapshotter(snapshotter).directories(_chain(image, top, snapshotter))
    with Stack([place.directory, *place.lowers]) as opened:
        yield opened, top


def _chain(image: Image, layer: int, snapshotter: str) -> Digest:
    chains = image.resolved.chain_ids
    if not 0 <= layer < len(chains):
        raise NotFound(f"{image.name} has no layer {layer}",
                       hint=f"there are {len(chains)}, counted from 0")  # fmt: skip
    if not image.is_unpacked(snapshotter):
        raise NotFound(f"{image.name} is not unpacked",
                       hint=f"mobyshell image pull {image.name}")  # fmt: skip
    return chains[layer]


_KINDS = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link",
          stat.S_IFIFO: "fifo", stat.S_IFCHR: "character", stat.S_IFBLK: "block",
          stat.S_IFSOCK: "socket"}  # fmt: skip


def file_row(path: str, entry: Entry, top: int) -> FileRow:
    """A path of a stack whose uppermost layer is number `top`, counted from the lowest."""
    found = entry.found
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "?")
    size = found.st_size if kind == "file" else 0
    return FileRow(path, kind, stat.S_IMODE(found.st_mode), size, found.st_uid, found.st_gid,
                   top - entry.layer, entry.target)  # fmt: skip
