"""Archives made member by member, as no honest program would."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from mobyshell.core.store.layers import Applied, Form, LayerWorker, Limits, Region

FILE, LINK, SYMLINK, CHARACTER, BLOCK, DIRECTORY, FIFO = "0123456"
END = bytes(1024)


def member(
    name: str | bytes, type: str = FILE, data: bytes = b"", *, link: str | bytes = "",
    mode: int = 0o755, uid: int = 0, gid: int = 0, device: tuple[int, int] = (0, 0),
    size: bytes | int | None = None, mtime: bytes = b"00000000012\0", checksum: bytes = b"",
    magic: bytes = b"ustar\x0000", prefix: bytes = b"",
) -> bytes:  # fmt: skip
    """A header block and data. `size` may be anything, as may be `checksum`."""
    said = size if isinstance(size, bytes) else b"%011o\0" % (len(data) if size is None else size)
    block = bytearray(512)

    def put(at: int, value: bytes) -> None:
        block[at : at + len(value)] = value

    put(0, os.fsencode(name)[:100])
    put(100, b"%07o\0%07o\0%07o\0" % (mode, uid, gid))
    put(124, said)
    put(136, mtime)
    put(148, b" " * 8)
    put(156, type.encode())
    put(157, os.fsencode(link)[:100])
    put(257, magic)
    put(329, b"%07o\0%07o\0" % device)
    put(345, prefix)
    put(148, checksum or b"%06o\0 " % sum(block))
    return bytes(block) + data + bytes(-len(data) % 512)


def records(**values: str | bytes) -> bytes:
    """pax records; `__` in a key is a dot."""
    data = b""
    for key, value in values.items():
        rest = b" %s=%s\n" % (key.replace("__", ".").encode(), os.fsencode(value))
        size = len(rest) + 1
        while size != len(rest) + len(str(size)):
            size = len(rest) + len(str(size))
        data += b"%d%s" % (size, rest)
    return data


def pax(type: str = "x", **values: str | bytes) -> bytes:
    """An extended header."""
    return member("pax", type, records(**values))


def long_name(name: bytes, type: str = "L") -> bytes:
    """GNU's long name (`L`) or long link (`K`) for the next member."""
    return member("././@LongLink", type, name + b"\0", magic=b"ustar  \0")


def old_sparse(
    segments: list[tuple[int, int]], size: int, *, data: bytes = b"", more: bool = False
) -> bytes:
    """A file with holes in GNU tar's old format; with `more`, blocks of the map are to follow."""
    block = bytearray(member("x", "S", magic=b"ustar  \0", size=len(data))[:512])
    for number, (offset, length) in enumerate(segments):
        at = 386 + 24 * number
        block[at : at + 24] = b"%011o\0%011o\0" % (offset, length)
    block[482] = more
    block[483:495] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512)


def apply(
    worker: LayerWorker, tree: int, *parts: bytes, form: Form = Form.OVERLAY,
    limits: Limits | None = None, end: bytes = END, compress: bool = False,
) -> Applied:  # fmt: skip
    """Unpack the archive of these members."""
    data = b"".join(parts) + end
    fd = os.memfd_create("archive")
    try:
        os.write(fd, gzip.compress(data, 1) if compress else data)
        return worker.apply(Region(fd), tree, form=form, limits=limits)
    finally:
        os.close(fd)


def names(root: Path) -> set[str]:
    """All paths in a tree."""
    return {str(path.relative_to(root)) for path in root.rglob("*")}
