"""Streams in pieces, members and frames, as registries and other programs make them."""

from __future__ import annotations

import gzip
import importlib
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator

import pytest

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.store.layers import Compression, Limits
from mobyshell.core.store.layers.compression import Unpacked, detect, packed, peeked

DATA = random.Random(1).randbytes(300_000) + bytes(3 << 20) + b"the quick brown fox " * 100_000


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def unpacked(data: bytes, kind: Compression, size: int = 1 << 20) -> bytes:
    return b"".join(Unpacked(chunks(data, size), kind, Limits()))


def by_program(*command: str, data: bytes = DATA) -> bytes:
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


SKIPPABLE = b"\x5a\x2a\x4d\x18\x04\x00\x00\x00abcd"


@pytest.mark.parametrize("size", [7, 4096, 100_003, 1 << 20])
def test_gzip_of_any_shape(size: int) -> None:
    members = gzip.compress(DATA[:1000]) + gzip.compress(b"") + gzip.compress(DATA[1000:], 1)
    assert unpacked(members, Compression.GZIP, size) == DATA
    assert unpacked(members + bytes(1000), Compression.GZIP, size) == DATA
    for damaged in (
        members + b"x", members + b"\0\0x", members[:-1], members[:-9],
        members[:-8] + b"\1" + members[-7:], members[: len(members) // 2], b"", b"\x1f\x8b",
    ):  # fmt: skip
        with pytest.raises(InvalidLayer, match="gzip"):
            unpacked(damaged, Compression.GZIP, size)


@pytest.mark.peer
@pytest.mark.parametrize("size", [7, 4096, 100_003, 1 << 20])
def test_zstd_of_any_shape(size: int) -> None:
    plain, long = by_program("zstd", "-q"), by_program("zstd", "-q", "-19", "--long=27", "-T2")
    assert unpacked(plain, Compression.ZSTD, size) == DATA
    assert unpacked(SKIPPABLE + plain + SKIPPABLE + long, Compression.ZSTD, size) == DATA + DATA
    for damaged in (plain + b"x", plain[:-1], plain[:1000], plain[:9] + b"??" + plain[11:], b""):
        with pytest.raises(InvalidLayer, match="zstd"):
            unpacked(damaged, Compression.ZSTD, size)


def test_a_million_small_members_cost_no_more_than_their_bytes() -> None:
    """What follows a member is copied by the libraries; there may be many in a chunk."""
    member = gzip.compress(b"12345678")
    count = 20_000
    assert unpacked(member * count, Compression.GZIP) == b"12345678" * count


@pytest.mark.parametrize("kind", Compression)
def test_what_is_packed_is_the_same_however_it_comes(kind: Compression) -> None:
    one = b"".join(packed(iter([DATA]), kind, None))
    assert unpacked(one, kind) == DATA
    start, whole = peeked(chunks(one, 1))
    assert detect(start) is kind
    assert b"".join(whole) == one
    for size in (5_003, 1 << 20):
        again = b"".join(packed(chunks(DATA, size), kind, None))
        assert unpacked(again, kind) == DATA
    assert b"".join(packed(chunks(DATA, 1 << 20), kind, None)) == again


@pytest.mark.peer
def test_programs_read_what_is_packed() -> None:
    assert (
        by_program("zstd", "-dc", data=b"".join(packed(iter([DATA]), Compression.ZSTD, 9))) == DATA
    )
    assert (
        by_program("gzip", "-dc", data=b"".join(packed(iter([DATA]), Compression.GZIP, 1))) == DATA
    )


def test_without_isal_zlib_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "isal.isal_zlib", None)
    assert importlib.import_module("zlib") is zlib
    data = b"".join(packed(iter([DATA]), Compression.GZIP, None))
    assert unpacked(data, Compression.GZIP, 1000) == DATA
    with pytest.raises(InvalidLayer, match="gzip"):
        unpacked(data[:-3], Compression.GZIP)


def test_limits_hold_while_it_unpacks() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    limits = Limits(unpacked=16 << 20)
    stream = iter(Unpacked(chunks(bomb, 1 << 20), Compression.GZIP, limits))
    assert sum(len(next(stream)) for _ in range(16)) == 16 << 20
    with pytest.raises(InvalidLayer, match="16777216"):
        next(stream)
