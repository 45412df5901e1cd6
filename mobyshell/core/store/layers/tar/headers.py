"""One header block of an archive: V7, ustar, GNU and star."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import NamedTuple
from zlib import adler32

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.oci.safejson import show

REGULAR, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = b"0123456"
CONTIGUOUS, OLD, GNU_SPARSE = ord("7"), 0, ord("S")
PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK = b"xgLK"

LAST_ID = 0xFFFFFFFE
"""The highest uid and gid: -1 means "leave it" to chown(2)."""


class Sparse(NamedTuple):
    """Where in a file of `size` bytes the data lies: (offset, length) of each part."""

    segments: tuple[tuple[int, int], ...]
    size: int


class Entry(NamedTuple):
    """A member of an archive. (Made for every one, and a tuple is made the fastest.)

    `mtime` is in nanoseconds since the epoch; `link` is where a symbolic link leads, or which
    member a hard link is another name of; `xattrs` are the extended attributes, None without any;
    `size` is that of the data in the archive, of a file with holes (`sparse`) only what lies between.
    """

    name: bytes
    type: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    device: tuple[int, int]
    xattrs: dict[bytes, bytes] | None = None
    sparse: Sparse | None = None


_BLOCK = Struct("100s 24s 12s 12s 8s B 100s 6s 66x 8s 8s 155s 12s")
"""name; mode, uid, gid; size; time; checksum; type; link; magic; device numbers; prefix; star's."""
_unpack = _BLOCK.unpack


def parse(block: bytes) -> Entry:
    """The header in `block`. InvalidLayer if it is none, or says what cannot be."""
    name, owned, size, time, told, kind, link, magic, major, minor, prefix, end = _unpack(block)
    _check_sum(block, told)
    name = name.partition(b"\0")[0]
    if magic == b"ustar\0" and prefix[0]:
        # star keeps times where ustar's prefix goes on
        prefix = (prefix[:131] if end[8:] == b"tar\0" else prefix).partition(b"\0")[0]
        name = prefix + b"/" + name
    device = (0, 0)
    if kind in (CHARACTER, BLOCK_DEVICE) and magic[:5] == b"ustar":
        device = (number(major, "device"), number(minor, "device"))
    mode, uid, gid = _owned(owned)
    return Entry(
        name,
        REGULAR if kind == CONTIGUOUS else kind,
        mode,
        uid,
        gid,
        number(size, "size"),
        _nanoseconds(time),
        link.partition(b"\0")[0],
        device,
    )


def number(field: bytes, what: str, negative: bool = False) -> int:
    """A numeric field: octal digits, or GNU's base 256 when the highest bit is set."""
    digits = field.strip(b" \0")
    try:
        if digits.isdigit():  # int() alone would take 0o1_7
            return int(digits, 8)
        if field[0] & 0x80:
            return _base_256(field, what, negative)
        digits = digits.partition(b"\0")[0].rstrip(b" ")
        if not digits:
            return 0
        if digits.isdigit():
            return int(digits, 8)
    except ValueError:
        pass
    raise InvalidLayer(f"{what} in a header is no number: {show(digits.decode('latin-1'))}")


@lru_cache(maxsize=4096)
def _owned(fields: bytes) -> tuple[int, int, int]:
    """Mode, uid and gid, which most members have like others."""
    mode, uid, gid = fields[:8], fields[8:16], fields[16:]
    return number(mode, "mode") & 0o7777, number(uid, "uid"), number(gid, "gid")


@lru_cache(maxsize=4096)
def _nanoseconds(field: bytes) -> int:
    return number(field, "time", True) * 1_000_000_000


def _base_256(field: bytes, what: str, negative: bool) -> int:
    value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    if field[0] & 0x40:
        value -= 1 << (8 * len(field) - 1)
    if value < 0 and not negative:
        raise InvalidLayer(f"negative {what} in a header")
    if not -(1 << 63) <= value < 1 << 63:
        raise InvalidLayer(f"{what} out of range in a header")
    return value


def _check_sum(block: bytes, field: bytes) -> None:
    """The sum of all bytes, those of the sum itself being blanks; old programs took them signed."""
    told = number(field, "checksum") - 8 * 0x20 + sum(field)
    # Adler-32's lower half is one more than the sum, modulo 65521, and made by vector instructions
    if (told + 1) % 65521 == adler32(block) & 0xFFFF:
        return
    rest = block[:148] + block[156:]
    if told - sum(field) != sum(rest) - 256 * sum(byte >= 0x80 for byte in rest):
        raise InvalidLayer("a header's checksum is wrong: the archive is damaged")
