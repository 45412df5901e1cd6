"""Whether the store is what it should be, and mending it: `doctor --store`.

The invariants: the database is whole; what a row names is on the disk, with the right size and
digest; what is on the disk has a row, or will soon; nobody but the owner may pass; no lock is held
for ever. Others may be at work meanwhile: what looks wrong is looked at again where nobody is
between a file and its row.

Each finding says what a repair does. A repair takes away what is broken and what cannot be without
it, and nothing else; what it took away can be pulled again.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mobyshell.core.errors import InvalidImage, NotFound, StoreDamaged, SyscallFailed
from mobyshell.core.linux.procfs import boot_id
from mobyshell.core.oci import media_types
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import identity
from mobyshell.core.store.adopt import strays
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.labels import BOOT, decode
from mobyshell.core.store.locks import holder, try_lock, unlock
from mobyshell.core.store.remnants import make_work, remnants, unmount
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.salvage import drop_snapshots, salvage
from mobyshell.core.store.snapshots.driver import FILES
from mobyshell.core.store.store import Store
from mobyshell.core.store.walk import everything, lost
from mobyshell.core.values import replace, value


@value
class Finding:
    """Something that is not as it should be. `remedy`: what a repair does, or a person has to."""

    kind: str
    subject: str
    problem: str
    remedy: str
    repaired: bool = False

    @property
    def mendable(self) -> bool:
        """Whether a repair does something about it."""
        return self.kind in _REPAIRS or self.kind in ("database", "layer")


def check_root(
    path: Path, *, repair: bool = False, hash_blobs: bool = True, unpack: bool = False
) -> list[Finding]:
    """`check_store` of the store below `path`, also where its database cannot be opened or is
    broken: a repair sets that aside and copies what can be read of it into a new one.

    Raises Unsupported for a newer mobyshell's store, which nothing is done to; SyscallFailed.
    """
    root = StoreRoot(path)
    broken = _broken(path)
    if not broken:
        with Store.open(path) as store:
            return check_store(store, repair=repair, hash_blobs=hash_blobs, unpack=unpack)
    found = [Finding("database", str(root.database), line, _REMEDY) for line in broken[:20]]
    if not repair:
        return found
    aside, rows = salvage(root)
    said = f"set aside as {aside.name}; {rows} rows copied into a new one"
    found = [replace(one, remedy=said, repaired=True) for one in found]
    with Store.open(path) as store:
        if not strays(store):
            identity.claim(root, store.database)  # nothing of it was lost
        return found + check_store(store, repair=True, hash_blobs=hash_blobs, unpack=unpack)


_REMEDY = "set aside, and what can be read of it copied into a new one"


def _broken(path: Path) -> list[str]:
    try:
        with Store.open(path) as store:
            return store.database.check()
    except StoreDamaged as error:
        return [error.message]


def check_store(
    store: Store, *, repair: bool = False, hash_blobs: bool = True, unpack: bool = False
) -> list[Finding]:
    """Look at everything but the database itself, reading every blob unless told not to; with
    `repair` mend what can be. What was mended is among the findings, as `repaired`. With `unpack`
    each layer is unpacked once more, and compared with its tree."""
    found = [_mended(store, one, repair) for one in _foreign(store)]
    for check in (_places, _locks, _remnants, _ingests):
        found += [_mended(store, one, repair) for one in check(store)]
    for one in (*_blobs(store, hash_blobs), *_files(store), *_trees(store)):
        found.append(_mended(store, one, repair))
    if unpack:
        found += _layers(store, repair)
    # what was dropped leaves names behind
    found += [_mended(store, one, repair) for one in list(_names(store))]
    found += _parts(store)
    if found and found[0].kind == "foreign":
        return [one for one in found if one.kind != "orphan"]  # it is said of them all
    if repair and found:
        store.collect()
    return found


def _mended(store: Store, one: Finding, repair: bool) -> Finding:
    mend = _REPAIRS.get(one.kind)
    if not repair or mend is None:
        return one
    mend(store, one)
    return replace(one, repaired=True)


def _foreign(store: Store) -> Iterator[Finding]:
    """Files of a database that was lost, or was newer. That they are nobody's is not for a repair to say."""
    if identity.owns(store.root, store.database):
        return
    left = strays(store)
    if left:
        yield Finding("foreign", str(store.root.path), "its database was made anew, or is an older one "
                      f"put back: {left} are not of it, and no collection removes them",
                      _ADOPT)  # fmt: skip
    else:
        yield Finding("unmarked", str(store.root.identity), "it does not name the database", "made")


_ADOPT = "mobyshell store adopt keeps them under new names; with --remove it removes them"


def _places(store: Store) -> Iterator[Finding]:
    root = store.root
    for path in (root.path, root.locks, root.blobs, root.ingests, root.snapshots):
        try:
            found = path.stat(follow_symlinks=False)
        except FileNotFoundError:
            yield Finding("directory", str(path), "it is missing", "made")
            continue
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            yield Finding("place", str(path), "it is no directory of yours", "see to it by hand")
        elif found.st_mode & 0o077:
            yield Finding("directory", str(path), "others may pass through it", "chmod 0700")


def _locks(store: Store) -> Iterator[Finding]:
    """Who holds what is held for moments only. One who does so long is told of, not ended."""
    paths = [*store.root.locks.iterdir(), store.database.path.with_name("meta.db-lock")]
    for path in paths:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            pid = None if try_lock(fd, shared=True) else holder(fd)
            if pid is not None:
                yield Finding("lock", str(path), f"process {pid} holds it", f"ps -fp {pid}")
            unlock(fd)
        finally:
            os.close(fd)


def _ingests(store: Store) -> Iterator[Finding]:
    with store.database.read() as sql:
        rows = dict(sql.execute("SELECT directory, namespace || ': ' || ref FROM ingests"))
    for directory, said in rows.items():
        gone = not (store.root.ingests / directory).is_dir()
        if gone and _rows(store, "SELECT 1 FROM ingests WHERE directory = ?", directory):
            yield Finding("ingest", directory, f"no directory for {said}", "row dropped")


def _remnants(store: Store) -> Iterator[Finding]:
    return (Finding(*one) for one in remnants(store))


def _blobs(store: Store, hash_blobs: bool) -> Iterator[Finding]:
    blobs = Blobs(store.root)
    with store.database.read() as sql:
        rows = sql.execute("SELECT digest, size FROM blobs ORDER BY digest").fetchall()
    for digest, size in rows:
        try:
            with blobs.open(Digest(digest), size) as blob:
                if hash_blobs:
                    blob.verify()
                mode = stat.S_IMODE(os.fstat(blob.fd).st_mode)
            if mode != 0o444:
                yield Finding("mode", digest, f"its mode is {mode:04o}", "chmod 0444")
        except StoreDamaged as error:
            # collected meanwhile?
            if _rows(store, "SELECT 1 FROM blobs WHERE digest = ?", digest):
                said = error.message.removeprefix(f"blob {digest} ")
                problem = said.removesuffix(f" from {blobs.path(Digest(digest))}")
                yield Finding("blob", digest, problem, _lost(store, digest))


def _lost(store: Store, digest: str) -> str:
    """What dropping a blob means."""
    rows = _rows(store, "SELECT namespace, name, digest FROM images ORDER BY 1, 2")
    if names := [f"{space}: {name}" for space, name, target in rows if target == digest]:
        return f"dropped, and image {', '.join(names)}"
    names = [f"{space}: {name}" for space, name, _ in rows if _needs(store, space, name, digest)]
    return f"dropped; then pull again {', '.join(names)}" if names else "dropped"


def _needs(store: Store, namespace: str, name: str, digest: str) -> bool:
    """Whether a blob is a part of an image."""
    space = store.namespace(namespace)
    try:
        parts = everything(space.content, space.images.get(name).target)
        return any(one.digest == digest for one in parts)
    except (NotFound, InvalidImage, StoreDamaged):
        return False  # what it consists of cannot be read: it is told of elsewhere


def _files(store: Store) -> Iterator[Finding]:
    blobs = Blobs(store.root)
    for path in blobs.strangers():
        yield Finding("stranger", str(path), "it is no blob", "see to it by hand")
    suspects = [one for one, _ in blobs.files() if not _blob_row(store, one)]
    if suspects:
        with blobs.door.alone():
            suspects = [one for one in suspects if not _blob_row(store, one)]
    for digest in suspects:
        yield Finding("orphan", digest, "a file that no row names", "collected")


def _blob_row(store: Store, digest: str) -> bool:
    return bool(_rows(store, "SELECT 1 FROM blobs WHERE digest = ?", digest))


def _names(store: Store) -> Iterator[Finding]:
    """Names of what is not there."""
    for namespace, name, digest in _rows(
        store,
        "SELECT namespace, name, digest FROM images WHERE NOT EXISTS (SELECT 1 FROM content"
        " WHERE content.namespace = images.namespace AND content.digest = images.digest)",
    ):
        yield Finding("image", f"{namespace}: {name}", f"{digest} is missing", "name dropped")
    for namespace, id, snapshotter, key in _rows(
        store,
        "SELECT namespace, id, snapshotter, snapshot_key FROM containers AS one"
        " WHERE snapshot_key != '' AND NOT EXISTS (SELECT 1 FROM snapshots WHERE"
        " namespace = one.namespace AND snapshotter = one.snapshotter AND key = one.snapshot_key)",
    ):
        yield Finding("container", f"{namespace}: {id}", f"its snapshot {snapshotter}/{key} is "
                      "missing", "remove it, or give it another")  # fmt: skip


def _trees(store: Store) -> Iterator[Finding]:
    rows = _rows(store, "SELECT id, snapshotter FROM trees ORDER BY id")
    named = {(snapshotter, str(id)) for id, snapshotter in rows}
    passed = _of_earlier_boots(store)
    for id, snapshotter in rows:
        path = store.root.snapshots / snapshotter / str(id)
        if not (path / FILES).is_dir() and _rows(store, "SELECT 1 FROM trees WHERE id = ?", id):
            if id in passed:
                continue
            yield Finding("tree", str(id), f"{path / FILES} is missing", "its snapshots dropped")
    strays = [
        entry
        for above in store.root.snapshots.iterdir() if above.is_dir()
        for entry in above.iterdir()
        if entry.name.isdecimal() and (above.name, entry.name) not in named
    ]  # fmt: skip
    if strays:
        with store.database.write() as sql:  # so nobody is between a directory and its row
            known = {str(row[0]) for row in sql.execute("SELECT id FROM trees")}
        for entry in strays:
            if entry.name not in known:
                yield Finding("orphan", str(entry), "a tree that no row names", "collected")


def _of_earlier_boots(store: Store) -> set[int]:
    """Trees of containers that the next collection removes: there need be no files of them."""
    found = _rows(
        store,
        "SELECT tree, containers.labels FROM snapshots JOIN containers ON"
        " containers.namespace = snapshots.namespace AND snapshot_key = key"
        " AND containers.snapshotter = snapshots.snapshotter",
    )
    here = boot_id()
    return {tree for tree, column in found if decode(column).get(BOOT, here) != here}


def _layers(store: Store, repair: bool) -> Iterator[Finding]:
    """What containers see of layers."""
    from mobyshell.core.store.tree_check import check  # not for who only looks at rows

    try:
        for tree, what, repaired in check(store, repair=repair):
            yield Finding("layer", f"{tree.snapshotter}/{tree.name}", what,
                          "unpacked anew; start again what runs on it", repaired)  # fmt: skip
    except SyscallFailed as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        yield Finding("room", str(store.root.path), "too full to unpack layers and compare them",
                      "make room, and check again; store check --quick does without")  # fmt: skip


def _parts(store: Store) -> Iterator[Finding]:
    """Images of which a part is missing."""
    for namespace, name in _rows(store, "SELECT namespace, name FROM images ORDER BY 1, 2"):
        space = store.namespace(namespace)
        try:
            target = space.images.get(name).target
            parts = lost(space.content, target) if space.content.has(target.digest) else ()
        except (NotFound, InvalidImage, StoreDamaged):
            continue  # it is told of elsewhere
        for one in parts:
            what = "manifest" if media_types.is_manifest(one.media_type) else "configuration"
            what = "layer" if media_types.is_layer(one.media_type) else what
            yield Finding("part", f"{namespace}: {name}", f"{what} {one.digest} is missing",
                          f"mobyshell --namespace {namespace} image pull {name}")  # fmt: skip


def _rows(store: Store, query: str, *values: object) -> list[tuple[Any, ...]]:
    with store.database.read() as sql:
        return sql.execute(query, values).fetchall()


def _make_place(store: Store, one: Finding) -> None:
    os.makedirs(one.subject, 0o700, exist_ok=True)
    os.chmod(one.subject, 0o700)


def _drop_ingest(store: Store, one: Finding) -> None:
    with store.database.write() as sql:
        sql.execute("DELETE FROM ingests WHERE directory = ?", (one.subject,))


def _drop_blob(store: Store, one: Finding) -> None:
    with store.database.write() as sql:
        sql.execute("DELETE FROM images WHERE digest = ?", (one.subject,))
        sql.execute("DELETE FROM content WHERE digest = ?", (one.subject,))
        sql.execute("DELETE FROM blobs WHERE digest = ?", (one.subject,))


def _drop_image(store: Store, one: Finding) -> None:
    namespace, _, name = one.subject.partition(": ")
    with store.database.write() as sql:
        sql.execute("DELETE FROM images WHERE namespace = ? AND name = ?", (namespace, name))


def _drop_tree(store: Store, one: Finding) -> None:
    """With what was prepared from it: none of that can be mounted."""
    with store.database.write() as sql:
        drop_snapshots(sql, "tree", int(one.subject))
        sql.execute("DELETE FROM trees WHERE id NOT IN (SELECT tree FROM snapshots)")


def _mark(store: Store, one: Finding) -> None:
    identity.claim(store.root, store.database)


def _unmount(store: Store, one: Finding) -> None:
    unmount(one.subject)


def _make_work(store: Store, one: Finding) -> None:
    make_work(one.subject)


def _set_mode(store: Store, one: Finding) -> None:
    os.chmod(Blobs(store.root).path(Digest(one.subject)), 0o444)


def _leave_to_collect(store: Store, one: Finding) -> None:
    """The collection at the end takes it."""


_REPAIRS = {
    "directory": _make_place, "ingest": _drop_ingest, "blob": _drop_blob, "image": _drop_image,
    "tree": _drop_tree, "mode": _set_mode, "orphan": _leave_to_collect, "mounted": _unmount,
    "work": _make_work, "unmarked": _mark,
}  # fmt: skip
