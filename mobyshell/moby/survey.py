"""The images of a namespace as a person surveys them: what there is, what each is made of, and what
every layer did to the tree.

Owns the values that a list of images and the look into one show, and the seam (`Images`) behind
which they are read. Changes nothing, mounts nothing; every call may block.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.store.differences import Difference, Way
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.walk import DEEPEST, children, variants
from mobyshell.core.values import replace, value
from mobyshell.moby import look
from mobyshell.moby.image import Image
from mobyshell.moby.look import FileRow, LayerRow, Wasted

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant


@value
class ImageInfo:
    """An image in a list. `familiar` is its name as people write it; `size` (bytes of configuration
    and layers) and `unpacked` are None where there is nothing for this machine, and `problem` says
    why; `args` is what it runs."""

    name: str
    familiar: str
    digest: str
    size: int | None
    platforms: tuple[str, ...]
    unpacked: bool | None
    updated_ns: int
    args: tuple[str, ...] = ()
    problem: str = ""


@value
class Part:
    """A blob an image is made of. `depth` below its target; `kind` index, manifest, attestation,
    config or layer; `mine`: what this machine runs is made of it."""

    depth: int
    kind: str
    digest: str
    size: int
    media_type: str
    present: bool
    mine: bool
    platform: str = ""


@value
class TreeRow:
    """A path as of a layer, and what that layer did to it. `touched`: to something below it."""

    file: FileRow
    way: Way | None
    touched: bool = False


@value
class LayerChanges:
    """What a layer did: by path, what it deleted by directory, and above what it did anything."""

    ways: Mapping[str, Way]
    deleted: Mapping[str, Sequence[str]]
    touched: frozenset[str]


class Images(Protocol):
    """What screens ask about images. All raise NotFound for a name that is none."""

    def ls(self) -> list[ImageInfo]:
        """All of the namespace."""
        ...

    def layers(self, name: str) -> list[LayerRow]:
        """The steps of its history, the first one first. InvalidImage."""
        ...

    def tree(self, name: str, layer: int, path: str) -> list[TreeRow]:
        """A directory as of a layer, what it deleted there included. NotFound if it is packed."""
        ...

    def content(self, name: str, layer: int, path: str) -> bytes:
        """The first bytes of a file as of a layer."""
        ...

    def wasted(self, name: str) -> list[Wasted]:
        """Files that upper layers hide, the largest first."""
        ...

    def parts(self, name: str) -> list[Part]:
        """All it is made of, parents before children."""
        ...


@value
class _Known:
    """What the documents of a target say: the same for ever, as its digest is theirs."""

    platforms: tuple[str, ...]
    size: int
    chain_id: str
    args: tuple[str, ...]


class Survey:
    """`Images` of the namespace that `tenant` says at each call."""

    def __init__(self, tenant: Callable[[], Tenant]) -> None:
        self._tenant = tenant
        self._changes: tuple[tuple[str, int], LayerChanges] | None = None
        self._known: Mapping[str, _Known] = {}

    def ls(self) -> list[ImageInfo]:
        tenant = self._tenant()
        snapshots = tenant.snapshotter()
        known, still = self._known, dict[str, _Known]()
        there = {"": True}  # by chain id; an image without layers has nothing to unpack
        found = []
        for one in tenant.store.images.list():
            image = Image(tenant, one.name, one.target)
            plain = ImageInfo(one.name, _familiar(one.name), one.target.digest, None, (), None,
                              int(one.updated * 1e9))  # fmt: skip
            try:
                digest = one.target.digest
                about = still.get(digest) or known.get(digest) or _read(image)
                if about.chain_id not in there:
                    there[about.chain_id] = _has(snapshots, about.chain_id)
            except MobyshellError as error:  # a list with one bad image is still a list
                found.append(replace(plain, platforms=_platforms(image), problem=error.message))
                continue
            still[digest] = about
            found.append(replace(plain, size=about.size, platforms=about.platforms,
                                 unpacked=there[about.chain_id], args=about.args))  # fmt: skip
        self._known = still
        return found

    def layers(self, name: str) -> list[LayerRow]:
        return look.history(self._image(name))

    def tree(self, name: str, layer: int, path: str) -> list[TreeRow]:
        image = self._image(name)
        rows = look.files(image, path, layer=layer)
        return marked(rows, self._changed(image, layer), path)

    def content(self, name: str, layer: int, path: str) -> bytes:
        return look.content(self._image(name), path, layer=layer)

    def wasted(self, name: str) -> list[Wasted]:
        return look.wasted(self._image(name))

    def parts(self, name: str) -> list[Part]:
        image = self._image(name)
        content = image.tenant.store.content
        try:
            resolved = image.resolved
        except MobyshellError:
            mine = set()
        else:
            own = (resolved.descriptor, resolved.manifest.config, *resolved.layers)
            mine = {one.digest for one in own}
        found: list[Part] = []

        def add(one: Descriptor, depth: int, kind: str) -> None:
            platform = str(one.platform) if one.platform and kind == "manifest" else ""
            found.append(Part(depth, kind, one.digest, one.size, one.media_type,
                              content.has(one.digest), one.digest in mine, platform))  # fmt: skip
            if kind == "attestation" or depth > DEEPEST + 2:
                return
            for number, child in enumerate(children(content, one)):
                add(child, depth + 1, _kind(child, first=number == 0))

        add(image.target, 0, _kind(image.target, first=False))
        return found

    def _image(self, name: str) -> Image:
        tenant = self._tenant()
        found = tenant.store.images.get(name)
        return Image(tenant, found.name, found.target)

    def _changed(self, image: Image, layer: int) -> LayerChanges:
        """Each directory of a layer's tree asks for the same: the last is kept."""
        key = (image.resolved.chain_ids[layer], layer)
        kept = self._changes
        if kept is None or kept[0] != key:
            kept = self._changes = key, layer_changes(look.changes(image, layer))
        return kept[1]


def layer_changes(differences: Iterable[Difference]) -> LayerChanges:
    """Differences as a tree asks for them."""
    ways: dict[str, Way] = {}
    deleted: dict[str, list[str]] = {}
    touched: set[str] = set()
    for one in differences:
        ways[one.path] = one.way
        above = posixpath.dirname(one.path)
        if one.way is Way.DELETED:
            deleted.setdefault(above, []).append(one.path)
        while above not in touched:
            touched.add(above)
            above = posixpath.dirname(above)
    return LayerChanges(ways, deleted, frozenset(touched))


def marked(rows: Sequence[FileRow], changes: LayerChanges, path: str) -> list[TreeRow]:
    """A directory's entries with what was done to them, directories first; and those deleted."""
    found = [TreeRow(one, changes.ways.get(one.path), one.path in changes.touched) for one in rows]
    there = {one.path for one in rows}
    found += [
        TreeRow(FileRow(gone, "deleted", 0, 0, 0, 0, -1), Way.DELETED)
        for gone in changes.deleted.get(path, ()) if gone not in there
    ]  # fmt: skip
    return sorted(found, key=lambda one: (one.file.kind != "directory", one.file.path))


def _read(image: Image) -> _Known:
    settings = image.resolved.config.config
    args = (*(settings.entrypoint or ()), *(settings.cmd or ())) if settings else ()
    return _Known(_platforms(image), image.size, image.chain_id, args)


def _platforms(image: Image) -> tuple[str, ...]:
    try:
        found = variants(image.tenant.store.content, image.target)
    except MobyshellError:
        return ()
    return tuple(dict.fromkeys(str(one.platform) for one in found if one.platform))


def _has(snapshots: Snapshotter, key: str) -> bool:
    try:
        snapshots.stat(key)
    except NotFound:
        return False
    return True


def _familiar(name: str) -> str:
    try:
        return parse_reference(name).familiar
    except UsageError:
        return name  # containerd lets an image be called anything


def _kind(one: Descriptor, *, first: bool) -> str:
    if media_types.is_index(one.media_type):
        return "index"
    if media_types.is_manifest(one.media_type):
        return "attestation" if one.is_attestation else "manifest"
    return "config" if first else "layer"
