"""Extended headers: pax records, for one member or for all that follow, and GNU's long names."""

from __future__ import annotations

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.store.layers.tar import sparse
from mobyshell.core.store.layers.tar.blocks import BLOCK, Blocks
from mobyshell.core.store.layers.tar.headers import (
    GNU_LINK,
    GNU_NAME,
    PAX,
    PAX_GLOBAL,
    Entry,
)

KINDS = frozenset((PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK))
_XATTR = b"SCHILY.xattr."
_NOT_FOR_ALL = (b"path", b"linkpath", b"size")


class Extended:
    """What the extended headers so far say of the next member."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._global: dict[bytes, bytes] = {}
        self._pax: dict[bytes, bytes] = {}
        self._gnu: dict[int, bytes] = {}

    @property
    def pending(self) -> bool:
        """Whether there are some that no member has followed yet."""
        return bool(self._pax or self._gnu)

    @property
    def for_all(self) -> bool:
        """Whether something was said of all members."""
        return bool(self._global)

    def take(self, header: Entry, blocks: Blocks) -> None:
        """Read one, whose header is `header`. InvalidLayer if it is too long or malformed."""
        self._size += header.size
        if self._size > self._limit:
            raise InvalidLayer(f"extended headers of more than {self._limit} bytes")
        data = blocks.exactly(header.size)
        blocks.skip(-header.size % BLOCK)
        if header.type in (GNU_NAME, GNU_LINK):
            if header.type in self._gnu:
                raise InvalidLayer("two long names for one member")
            self._gnu[header.type] = data.partition(b"\0")[0]
        elif header.type == PAX:
            self._pax.update(records(data))
        else:
            self._for_all(records(data))

    def _for_all(self, told: dict[bytes, bytes]) -> None:
        for key in (*_NOT_FOR_ALL, *(key for key in told if key.startswith(sparse.KEYS))):
            if key in told:
                raise InvalidLayer(f"{key.decode(errors='replace')} for all members at once")
        self._global.update(told)
        if sum(map(len, self._global)) + sum(map(len, self._global.values())) > self._limit:
            raise InvalidLayer(f"global headers of more than {self._limit} bytes")
        if not self.pending:
            self._size = 0

    def applied(self, entry: Entry) -> Entry:
        """`entry` with all that was said of it; nothing is pending afterwards."""
        if not (self._pax or self._gnu or self._global):
            return entry
        told = {**self._global, **self._pax}
        for kind, key in ((GNU_NAME, b"path"), (GNU_LINK, b"linkpath")):
            if kind in self._gnu:
                name = self._gnu[kind]
                if told.get(key, name) != name:
                    raise InvalidLayer("two different names for one member")
                told[key] = name
        self._pax, self._gnu, self._size = {}, {}, 0
        if sparse.NAME in told:
            told[b"path"] = told[sparse.NAME]
        return _overridden(entry, told)

    @property
    def sparse(self) -> dict[bytes, bytes]:
        """What was said of the next member's holes; {} if it has none by pax."""
        return {key: value for key, value in self._pax.items() if key.startswith(sparse.KEYS)}


def records(data: bytes) -> dict[bytes, bytes]:
    """pax records, `length key=value newline`; of a key that comes twice the last one."""
    found: dict[bytes, bytes] = {}
    holes: list[bytes] = []
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 12)
        digits = data[at:blank] if blank > at else b""
        size = int(digits) if digits.isdigit() else 0
        record = data[blank + 1 : at + size]
        key, equals, value = record[:-1].partition(b"=")
        if at + size > len(data) or not record.endswith(b"\n") or not equals or not key:
            raise InvalidLayer("a pax record is malformed")
        if b"\0" in key or (b"\0" in value and not key.startswith(_XATTR)):
            raise InvalidLayer("a NUL in a pax record")
        at += size
        if key in (sparse.OFFSET, sparse.NUMBYTES):  # the only ones whose order counts
            holes.append(value)
        else:
            found[key] = value
    if holes:
        found[sparse.MAP] = b",".join(holes)
    return found


def _overridden(entry: Entry, told: dict[bytes, bytes]) -> Entry:
    values: dict[str, object] = {}
    xattrs: dict[bytes, bytes] = {}
    for key, value in told.items():
        if key.startswith(_XATTR):
            xattrs[key[len(_XATTR) :]] = value  # an attribute may well be empty
        elif not value:
            continue  # pax: what the header block says holds
        elif key == b"path":
            values["name"] = value
        elif key == b"linkpath":
            values["link"] = value
        elif key in (b"uid", b"gid", b"size"):
            values[key.decode()] = _decimal(value, key.decode())
        elif key == b"mtime":
            values["mtime"] = nanoseconds(value)
    return entry._replace(xattrs=xattrs or None, **values)  # type: ignore[arg-type]


def _decimal(value: bytes, what: str) -> int:
    if not value.isdigit() or len(value) > 20 or int(value) >= 1 << 63:
        raise InvalidLayer(f"{what} in a pax record is no number in range: {value[:40]!r}")
    return int(value)


def nanoseconds(value: bytes) -> int:
    """A pax time, decimal seconds since the epoch with or without a fraction, rounded down."""
    whole, _, fraction = value.partition(b".")
    minus = whole.startswith(b"-")
    digits = whole[minus:]
    well_formed = digits.isdigit() and len(digits) <= 18
    if not well_formed or (fraction and not fraction.isdigit()):
        raise InvalidLayer(f"a time in a pax record is none: {value[:40]!r}")
    most = int(digits) * 1_000_000_000 + int((fraction + b"000000000")[:9])
    if not minus:
        return most
    return -most - bool(fraction[9:].strip(b"0"))
