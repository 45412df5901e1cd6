"""Headers of an archive in one form, always the same for the same member: ustar, and pax where that
is too narrow (as Go's archive/tar writes, which made most layers there are)."""

from __future__ import annotations

from mobyshell.core.store.layers.tar.blocks import BLOCK
from mobyshell.core.store.layers.tar.headers import DIRECTORY, PAX, Entry

END = bytes(2 * BLOCK)
"""What ends an archive."""

_NAME, _PREFIX, _LINK = 100, 155, 100
_MOST_ID, _MOST_SIZE = 0o7777777, 0o77777777777
_SECOND = 1_000_000_000


def header(entry: Entry) -> bytes:
    """The header blocks of `entry`; the data of a file, and zeros up to a whole block, come next."""
    name = entry.name
    if entry.type == DIRECTORY:
        name = name + b"/" if name else b"./"
    more: dict[bytes, bytes] = {}
    prefix, short = _split(name)
    if not short or not name.isascii():
        more[b"path"] = name
        prefix, short = b"", short or name[-_NAME:]
    if len(entry.link) > _LINK or not entry.link.isascii():
        more[b"linkpath"] = entry.link
    fields = (
        entry.mode,
        _within(entry.uid, _MOST_ID, b"uid", more),
        _within(entry.gid, _MOST_ID, b"gid", more),
        _within(entry.size, _MOST_SIZE, b"size", more),
        _seconds(entry.mtime, more),
    )
    for key, value in (entry.xattrs or {}).items():
        more[b"SCHILY.xattr." + key] = value
    block = _block(short, fields, entry.type, entry.link[:_LINK], entry.device, prefix)
    return _extended(short, more) + block if more else block


def padding(size: int) -> bytes:
    """What follows `size` bytes of data."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """ustar's two fields for a name; both empty if it does not fit."""
    if len(name) <= _NAME:
        return b"", name
    cut = name.rfind(b"/", 0, min(_PREFIX + 1, len(name) - 1))
    if cut > 0 and len(name) - cut - 1 <= _NAME:
        return name[:cut], name[cut + 1 :]
    return b"", b""


def _within(value: int, most: int, key: bytes, more: dict[bytes, bytes]) -> int:
    if value <= most:
        return value
    more[key] = b"%d" % value
    return 0


def _seconds(time: int, more: dict[bytes, bytes]) -> int:
    seconds, fraction = divmod(time, _SECOND)
    if not fraction and 0 <= seconds <= _MOST_SIZE:
        return seconds
    minus = b"-" if time < 0 else b""
    whole, parts = divmod(abs(time), _SECOND)
    decimals = b".%09d" % parts
    more[b"mtime"] = minus + b"%d" % whole + (decimals.rstrip(b"0") if parts else b"")
    return seconds if 0 <= seconds <= _MOST_SIZE else 0


def _extended(name: bytes, more: dict[bytes, bytes]) -> bytes:
    data = b"".join(_record(key, value) for key, value in sorted(more.items()))
    title = b"PaxHeaders.0/" + name.strip(b"/").rpartition(b"/")[2][-80:]
    block = _block(title, (0o644, 0, 0, len(data), 0), PAX, b"", (0, 0), b"")
    return block + data + padding(len(data))


def _record(key: bytes, value: bytes) -> bytes:
    """`length key=value newline`, the length counting its own digits."""
    rest = b" %s=%s\n" % (key, value)
    size = len(rest)
    while size != len(rest) + len(b"%d" % size):
        size = len(rest) + len(b"%d" % size)
    return b"%d%s" % (size, rest)


def _block(
    name: bytes,
    fields: tuple[int, int, int, int, int],
    kind: int,
    link: bytes,
    device: tuple[int, int],
    prefix: bytes,
) -> bytes:
    block = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0%8b%c%bustar\00000%64b%07o\0%07o\0%b%12b" % (
        name.ljust(_NAME, b"\0"), *fields, b"        ", kind, link.ljust(_LINK, b"\0"), bytes(64),
        *device, prefix.ljust(_PREFIX, b"\0"), bytes(12),
    )  # fmt: skip
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])
