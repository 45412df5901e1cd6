"""Digests: the names of bytes (image-spec descriptor.md#digests).

Owns the one type for them, checked when it is made: what is a `Digest` can be part of a path or
of a URL. Never reads files; who has bytes hands them over.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show

if TYPE_CHECKING:
    from mobyshell.core.oci.kinds import Problems

ALGORITHMS = {"sha256": 64, "sha512": 128}
"""The registered algorithms that are taken, with how many hexadecimal digits each has."""

_HEX = frozenset("0123456789abcdef")


def is_digest(value: str) -> bool:
    """Whether `value` is `sha256:` or `sha512:` with its number of lower-case hexadecimal digits."""
    algorithm, _, digits = value.partition(":")
    return ALGORITHMS.get(algorithm) == len(digits) and _HEX.issuperset(digits)


class Digest(str):
    """`algorithm:hex`. Made from text, which is checked (UsageError), or from bytes by `of`."""

    __slots__ = ()

    def __new__(cls, value: str) -> Digest:
        if not isinstance(value, str) or not is_digest(value):
            raise UsageError(
                f"not a digest: {show(value)}",
                hint="sha256: and 64 digits 0-9 a-f, or sha512: and 128",
            )
        return super().__new__(cls, value)

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview, algorithm: str = "sha256") -> Digest:
        """The digest of these bytes."""
        hasher = new_hasher(algorithm)
        hasher.update(data)
        return cls.from_hasher(hasher)

    @classmethod
    def from_hasher(cls, hasher: hashlib._Hash) -> Digest:
        """The digest of what `hasher` (of `new_hasher`) was given so far."""
        return str.__new__(cls, f"{hasher.name}:{hasher.hexdigest()}")

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """What follows the colon."""
        return self.partition(":")[2]

    def hasher(self) -> hashlib._Hash:
        """A fresh hash object of this algorithm, for data that comes in parts."""
        return new_hasher(self.algorithm)

    def verifies(self, data: bytes | bytearray | memoryview) -> bool:
        """Whether these bytes are the ones that this digest names."""
        return hmac.compare_digest(self, Digest.of(data, self.algorithm))


def new_hasher(algorithm: str = "sha256") -> hashlib._Hash:
    """A hash object of one of `ALGORITHMS`. UsageError for another."""
    if algorithm not in ALGORITHMS:
        raise UsageError(f"no digest algorithm {show(algorithm)}", hint="sha256 or sha512")
    return hashlib.new(algorithm, usedforsecurity=False)


def digest_kind(value: Any, path: str, section: str, problems: Problems) -> Any:
    """A digest, as a kind of `kinds.member`."""
    from mobyshell.core.oci.kinds import Problem, note

    if isinstance(value, str) and is_digest(value):
        return str.__new__(Digest, value)
    allowed = "sha256: and 64 digits 0-9 a-f, or sha512: and 128"
    return note(problems, Problem(path, show(value), allowed, section or "descriptor.md#digests"))
