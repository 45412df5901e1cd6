"""`content`: blobs by their digest, and what is being written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    BLOB,
    DESTROY,
    FILE,
    READ,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    verb,
)
from mobyshell.commands.results import Bytes, Done, Rows, Text, done_each
from mobyshell.commands.stored import changes_of, collect, digest_of, kept_labels, ns, plain
from mobyshell.commands.written import output_file
from mobyshell.core.errors import AlreadyExists, StoreDamaged, SyscallFailed
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.safejson import show

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.content.values import Info
    from mobyshell.core.store.store import Namespace

N = "content"
_BLOB = argument("digest", BLOB, "its digest, or enough of the beginning")
_PIECE = 1 << 20
_LONGEST_TEXT = 4 << 20


def _row(one: Info) -> dict[str, Any]:
    return {"digest": one.digest, "size": one.size, "created": ns(one.created),
            "updated": ns(one.updated), "labels": plain(one.labels)}  # fmt: skip


@verb(
    N, "ls",
    optional("filters", TEXT, 'such as size==12, digest~=^sha512, labels."a.b"==x', many=True),
    effect=READ, example="content ls labels.x==y",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...]) -> Rows:
    """List the blobs that the namespace has, or those that one of the filters means."""
    rows = [_row(one) for one in ctx.space.content.walk(*filters)]
    columns = (("digest", "DIGEST", "id"), ("size", "SIZE", "bytes"), ("created", "CREATED", "ago"))
    return Rows(columns, rows, "digest")


@verb(
    N, "active",
    optional("filters", TEXT, "such as ref~=^layer", many=True),
    effect=READ, example="content active",
)  # fmt: skip
def active(ctx: Context, *, filters: tuple[str, ...]) -> Rows:
    """List what is being written, or was and can be gone on with."""
    rows = [
        {"ref": one.ref, "offset": one.offset, "total": one.total, "expected": one.expected,
         "started": ns(one.started), "updated": ns(one.updated)}
        for one in ctx.space.content.statuses(*filters)
    ]  # fmt: skip
    columns = (("ref", "REF", "id"), ("offset", "THERE", "bytes"), ("total", "OF", "bytes"),
               ("updated", "WRITTEN", "ago"))  # fmt: skip
    return Rows(columns, rows, "ref")


@verb(
    N, "get",
    _BLOB,
    option("-o --output", "the file to write it to; - for standard output", FILE),
    effect=READ, example="content get sha256:2cf24dba",
)  # fmt: skip
def get(ctx: Context, *, digest: str, output: str | None) -> Text | Bytes | Done:
    """Print a blob, or write it to a file. What is no text is not shown on a terminal."""
    content = ctx.space.content
    with content.open(digest_of(ctx.space, digest)) as blob:
        if output is not None:
            with output_file(output) as file:
                for piece in blob.pieces():
                    file.write(piece)
            return Done(said=f"{blob.size} bytes in {output}")
        if blob.size > _LONGEST_TEXT:
            return _unshown(ctx.space, blob.digest, f"has {blob.size} bytes")
        try:
            return Text(blob.read().decode())
        except UnicodeDecodeError:
            return _unshown(ctx.space, blob.digest, "is no text")


def _unshown(space: Namespace, digest: Digest, why: str) -> Bytes:
    def pieces() -> Iterator[bytes]:
        with space.content.open(digest) as blob:
            yield from blob.pieces()

    return Bytes(pieces(), f"{digest} {why}", "-o FILE")


@verb(
    N, "ingest",
    argument("file", FILE, "the file to take in; - for standard input"),
    option("--expected", "the digest that it must have", TEXT),
    option("--ref", "the name under which it is written (default: made from the file's)", TEXT),
    option("--label", "KEY=VALUE, as often as wanted", TEXT, many=True, name="labels"),
    effect=WRITE, example="content ingest first/config.json",
)  # fmt: skip
def ingest(
    ctx: Context, *, file: str, expected: str | None, ref: str | None, labels: tuple[str, ...]
) -> Done:
    """Make a blob of a file and print its digest. It is kept until it is removed by hand.

    Where it was cut off before, it goes on: what is there is not written again.
    """
    wanted = Digest(expected) if expected else None
    given = kept_labels(ctx, labels)
    try:
        with (
            open(0 if file == "-" else file, "rb", closefd=file != "-") as source,
            ctx.space.leased() as held,
        ):
            digest = _take_in(held, source, ref or _ref(file, source), wanted, given)
            held.content.update(digest, dict(given))
    except OSError as error:
        raise SyscallFailed.of(error, "read", path=file) from error
    return Done(digest)


def _ref(file: str, source: IO[bytes]) -> str:
    """A reference that another file, or another state of this one, does not have."""
    found = os.fstat(source.fileno())
    stamp = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"
    name = file if file == "-" else os.path.abspath(file)
    return f"of {show(name)} {stamp}"


def _take_in(
    held: Namespace, source: IO[bytes], ref: str, wanted: Digest | None, labels: dict[str, str]
) -> Digest:
    """Write it all, or what is missing of it; the digest, also if it was there already."""
    digest = wanted
    try:
        with held.content.writer(ref, expected=wanted) as ingest:
            if source.seekable():
                source.seek(ingest.offset)
            else:
                ingest.truncate()
            while piece := source.read(_PIECE):
                ingest.write(piece)
            digest = ingest.digest()
            ingest.commit(expected=wanted, labels=labels)
    except AlreadyExists:
        if digest is None:
            raise
    return digest


@verb(
    N, "verify",
    optional("digests", BLOB, "which (default: all of the namespace)", many=True),
    effect=READ, example="content verify",
)  # fmt: skip
def verify(ctx: Context, *, digests: tuple[str, ...]) -> Rows:
    """Read blobs and compare them with their digests; fails if one is not what it should be."""
    space = ctx.space
    chosen = [digest_of(space, one) for one in digests]
    rows = []
    for digest in chosen or [one.digest for one in space.content.walk()]:
        try:
            space.content.verify(digest)
            rows.append({"digest": digest, "ok": True, "problem": ""})
        except StoreDamaged as error:
            rows.append({"digest": digest, "ok": False, "problem": error.message})
    columns = (("ok", "", "check"), ("digest", "DIGEST", "id"), ("problem", "PROBLEM", "prose"))
    found = Rows(columns, rows, "digest")
    bad = sum(not row["ok"] for row in rows)
    if bad:
        raise Damaged(f"{bad} of {len(rows)} blobs are damaged", found)
    return found


class Damaged(StoreDamaged):
    """Something is not what it should be; the rows say what."""

    def __init__(
        self, message: str, rows: Rows, hint: str = "mobyshell store check --repair"
    ) -> None:
        super().__init__(message, hint=hint)
        self.rows = rows


@verb(
    N, "label",
    _BLOB,
    argument("labels", TEXT, "KEY=VALUE; KEY= takes one away", many=True),
    effect=WRITE, example="content label sha256:2cf24dba team=blue",
)  # fmt: skip
def label(ctx: Context, *, digest: str, labels: tuple[str, ...]) -> Done:
    """Set labels of a blob, or take them away. Some keep it, or what it names: docs/store.md."""
    space = ctx.space
    space.content.update(digest_of(space, digest), changes_of(labels))
    return Done()


@verb(
    N, "abort",
    argument("refs", TEXT, "what `content active` lists", many=True),
    effect=DESTROY, example="content abort started",
)  # fmt: skip
def abort(ctx: Context, *, refs: tuple[str, ...]) -> Done:
    """Give up what was being written, and its bytes."""
    for ref in refs:
        ctx.space.content.abort(ref)
    return Done()


@verb(
    N, "rm",
    argument("digests", BLOB, "their digests, or enough of the beginning", many=True),
    effect=DESTROY, example="content rm sha256:2cf24dba",
)  # fmt: skip
def rm(ctx: Context, *, digests: tuple[str, ...]) -> Done:
    """Remove blobs from the namespace; what no other has goes from the disk."""
    space = ctx.space
    found = [digest_of(space, one) for one in digests]
    try:
        done_each(found, lambda one: space.content.delete(Digest(one)))
    finally:
        said = collect(ctx)
    return Done(said=said)
