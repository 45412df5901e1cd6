"""Files of a store whose database was lost: what becomes of them, once somebody has said so.

Owns giving them rows again: whole blobs, images for the documents among them, a snapshot for each
tree. Their names went with the database, and so did who had them: all belongs to the namespace in
which this is asked for, under names that say where it comes from. Removes nothing; `disown` only
says that the rest is garbage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import InvalidImage, StoreDamaged, Unsupported, WrongState
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import parse_document
from mobyshell.core.oci.index import Index
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.safejson import LARGEST
from mobyshell.core.store import identity
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.content.ingest import name_blob
from mobyshell.core.store.labels import GC_ROOT, encode
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.remnants import make_work
from mobyshell.core.store.snapshots import rows
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.driver import FILES
from mobyshell.core.store.snapshots.overlay import WORK
from mobyshell.core.store.snapshots.protocol import Kind
from mobyshell.core.store.store import Store
from mobyshell.core.values import value

_NAME = "localhost/recovered"
"""No registry's: nobody pulls over it by chance."""
_DIGITS = 12

Document = Manifest | Index


@value
class Adopted:
    """Something that has a row again; `kind`: image, content or snapshot. `problem`: why it has not."""

    kind: str
    name: str
    size: int = 0
    problem: str = ""


@value
class Strays:
    """Files that no row names. `trees`: by snapshotter and number."""

    blobs: Mapping[Digest, int]
    trees: tuple[tuple[str, int], ...]

    def __bool__(self) -> bool:
        return bool(self.blobs or self.trees)

    def __str__(self) -> str:
        blobs, trees = len(self.blobs), len(self.trees)
        return f"{blobs} blob{'s'[: blobs != 1]} and {trees} tree{'s'[: trees != 1]}"


def strays(store: Store) -> Strays:
    """What there is of them now."""
    with store.database.read() as sql:
        named = {row[0] for row in sql.execute("SELECT digest FROM blobs")}
        trees = {row[0] for row in sql.execute("SELECT id FROM trees")}
    blobs = {
        digest: entry.stat(follow_symlinks=False).st_size
        for digest, entry in Blobs(store.root).files() if digest not in named
    }  # fmt: skip
    found = [
        (name, int(entry.name))
        for name in DRIVERS for entry in _entries(store.root.snapshots / name)
        if entry.name.isdecimal() and (entry / FILES).is_dir() and int(entry.name) not in trees
    ]  # fmt: skip
    return Strays(blobs, tuple(sorted(found)))


def adopt(store: Store, namespace: str) -> list[Adopted]:
    """Let `namespace` have all files of another database: each is kept until it is removed by name.

    What holds other bytes than its name says is left out, and is garbage from now on.

    Raises:
        WrongState: the files are this database's.
        SyscallFailed, TimedOut.
    """
    _must_be_foreign(store)
    left = strays(store)
    whole = {one: size for one, size in left.blobs.items() if _is_whole(store, one, size)}
    documents = dict(_documents(store, whole))
    children = {child.digest for one in documents.values() for child in one.children}
    done = [Adopted("content", one, size, "it holds other bytes: it is garbage now")
            for one, size in left.blobs.items() if one not in whole]  # fmt: skip
    with store.namespace(namespace).leased() as held, store.database.write() as sql:
        scope = held.scope
        kept = {GC_ROOT: rfc3339(scope.clock.now_ns())}
        for digest, size in whole.items():
            labels = child_labels(documents[digest].children) if digest in documents else {}
            if digest in documents and digest not in children:
                target = Descriptor(media_type=_type(documents[digest]), digest=digest, size=size)
                image = held.images.put(f"{_NAME}:{digest.hex[:_DIGITS]}", target)
                done.append(Adopted("image", image.name, size))
            elif digest not in children:
                labels = {**labels, **kept}
                done.append(Adopted("content", digest, size))
            name_blob(sql, scope, digest, size, encode(labels), scope.now())
        for name, number in left.trees:
            place, key = rows.Place(scope, name), f"recovered-{number}"
            _make_whole(store.root.snapshots / name / str(number), name)
            sql.execute("INSERT INTO trees (id, snapshotter) VALUES (?, ?)", (number, name))
            rows.insert(sql, place, key, Kind.ACTIVE, None, number, kept)
            done.append(Adopted("snapshot", key))
    identity.claim(store.root, store.database)
    return done


def disown(store: Store) -> None:
    """What no row names is garbage, whoever made it. WrongState if that is so already."""
    _must_be_foreign(store)
    identity.claim(store.root, store.database)


def _must_be_foreign(store: Store) -> None:
    if identity.owns(store.root, store.database):
        raise WrongState("the files of this store are its database's: there is nothing to adopt",
                         hint="`mobyshell store gc` removes what nothing needs")  # fmt: skip


def _is_whole(store: Store, digest: Digest, size: int) -> bool:
    try:
        with Blobs(store.root).open(digest, size) as blob:
            blob.verify()
    except StoreDamaged:
        return False
    return True


def _documents(store: Store, sizes: Mapping[Digest, int]) -> Iterator[tuple[Digest, Document]]:
    """The manifests and indexes among blobs: JSON with the members of one. Others are no less kept."""
    for digest, size in sizes.items():
        if size > LARGEST:
            continue
        with Blobs(store.root).open(digest, size) as blob:
            data = blob.read()
        if not data.lstrip().startswith(b"{") or b'"schemaVersion"' not in data:
            continue
        try:
            yield digest, parse_document(data, None, str(digest))
        except (InvalidImage, Unsupported):
            continue


def _type(document: Document) -> str:
    usual = media_types.OCI_INDEX if isinstance(document, Index) else media_types.OCI_MANIFEST
    return document.media_type or usual


def _make_whole(tree: Path, snapshotter: str) -> None:
    """What an active snapshot has beside its files."""
    if snapshotter == "overlayfs" and not (tree / WORK).is_dir():
        make_work(str(tree / WORK))


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() else []
