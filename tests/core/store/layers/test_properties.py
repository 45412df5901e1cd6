"""Any tree comes back the same; no bytes make the reader do anything but refuse them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidLayer, Unsupported
from mobyshell.core.store.layers import Form, Limits
from mobyshell.core.store.layers.apply import Applier
from mobyshell.core.store.layers.compare import tree_changes
from mobyshell.core.store.layers.compression import Unpacked, detect
from mobyshell.core.store.layers.contents import Contents
from mobyshell.core.store.layers.tar.headers import REGULAR, Entry, parse
from mobyshell.core.store.layers.tar.writer import header
from mobyshell.core.store.layers.upper import upper_changes
from tests.core.store.layers.archives import END, member, names, pax
from tests.core.store.layers.trees import look

pytestmark = pytest.mark.root

MANY = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Made:
    """How one name of a tree is made. `like` chooses among files that are there already."""

    path: tuple[bytes, ...]
    kind: str
    content: bytes
    mode: int
    owner: int
    mtime: int
    like: int


NAMES = st.sampled_from([b"a", b"b", b"c", b"long" * 40, b"\xc3\xa4", b"\xff", b"..x"])
MADE = st.builds(
    Made,
    path=st.lists(NAMES, min_size=1, max_size=3).map(tuple),
    kind=st.sampled_from(
        ["file", "file", "directory", "symlink", "link", "fifo", "device", "gone"]
    ),
    content=st.binary(min_size=1, max_size=600),
    mode=st.integers(0, 0o7777),
    owner=st.sampled_from([0, 1000, 0o7777777 + 1, 0xFFFFFFFE]),
    mtime=st.sampled_from([0, 1, 10**18, 10**18 + 1, -(10**9), 0o77777777777 * 10**9 + 10**9]),
    like=st.integers(0, 100),
)
TREE = st.lists(MADE, max_size=14)


def make(root: Path, tree: list[Made]) -> None:
    """Make what can be made, in order; what is in the way is removed."""
    for one in tree:
        path = os.path.join(os.fsencode(root), *one.path)
        parent = os.path.dirname(path)
        try:
            os.makedirs(parent, exist_ok=True)
        except OSError:
            continue  # there is a file, or a link
        if os.path.realpath(parent) != parent:
            continue
        if os.path.lexists(path):
            if stat.S_ISDIR(os.lstat(path).st_mode):
                if one.kind != "gone":
                    continue
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if one.kind != "gone":
            make_one(root, path, one)


def make_one(root: Path, path: bytes, one: Made) -> None:
    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    if one.kind == "link" and files:
        os.link(files[one.like % len(files)], path)
        return
    if one.kind == "symlink":
        os.symlink(one.content.replace(b"\0", b"/")[:300], path)
    elif one.kind == "directory":
        os.mkdir(path)
    elif one.kind == "fifo":
        os.mkfifo(path)
    elif one.kind == "device":
        os.mknod(path, stat.S_IFCHR, os.makedev(one.like + 1, one.mode))
    else:
        with open(path, "wb") as file:
            file.write(one.content)
        os.setxattr(path, "user.x", one.content[:50])
    os.chown(path, one.owner, one.owner, follow_symlinks=False)
    if one.kind != "symlink":
        os.chmod(path, one.mode)
    os.utime(path, ns=(0, one.mtime), follow_symlinks=False)


@contextmanager
def places(*names: str) -> Iterator[dict[str, tuple[Path, int]]]:
    """Directories and descriptors of them, and a umask of 0 as the worker has."""
    with tempfile.TemporaryDirectory() as place:
        found = {}
        before = os.umask(0)
        try:
            for name in names:
                (Path(place) / name).mkdir()
                fd = os.open(Path(place) / name, os.O_RDONLY)
                found[name] = (Path(place) / name, fd)
            yield found
        finally:
            os.umask(before)
            for _, fd in found.values():
                os.close(fd)


@MANY
@given(TREE)
def test_a_tree_is_the_same_again(tree: list[Made]) -> None:
    with places("one", "two", "three") as found:
        make(found["one"][0], tree)
        data = b"".join(Contents(upper_changes(found["one"][1], Form.OVERLAY)))
        Applier(iter([data]), found["two"][1]).run()
        assert look(found["two"][0]) == look(found["one"][0])
        Applier(iter([data]), found["three"][1], Form.FLAT).run()
        assert b"".join(Contents(upper_changes(found["three"][1], Form.OVERLAY))) == data


@MANY
@given(TREE, TREE)
def test_changes_make_one_tree_of_another(first: list[Made], then: list[Made]) -> None:
    with places("one", "two", "copy") as found:
        make(found["one"][0], first)
        make(found["two"][0], first)
        make(found["two"][0], then)
        os.utime(found["two"][0], (7, 7))  # listed: an empty directory is for a bottom layer
        changes = tree_changes(found["one"][1], found["two"][1])
        data = b"".join(Contents(changes))
        Applier(iter([data]), found["one"][1], Form.FLAT).run()
        assert look(found["one"][0]) == look(found["two"][0])
        again = b"".join(Contents(tree_changes(found["one"][1], found["two"][1])))
        assert again == END


GOOD = b"".join((
    member("a", data=b"x" * 700), member("d/", "5"), pax(path="p" * 150, mtime="1.5") + member("p"),
    member("d/.wh.x"), member("l", "1", link="a"), member("s", "2", link="d"), member("s/in"), END,
))  # fmt: skip


@settings(MANY, max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=12)),
                min_size=1, max_size=6), st.integers(0, len(GOOD)), st.booleans())  # fmt: skip
def test_damaged_archives_are_refused_or_stay_inside(
    damage: list[tuple[int, bytes]], cut: int, flat: bool
) -> None:
    data = bytearray(GOOD)
    for at, what in damage:
        data[at : at + len(what)] = what
        block = at // 512 * 512
        data[block + 148 : block + 156] = b" " * 8  # so that the checksum does not tell
        data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    with places("in", "outside") as found:
        try:
            limits = Limits(unpacked=1 << 20, entries=100)
            form = Form.FLAT if flat else Form.OVERLAY
            Applier(iter([bytes(data[: cut or None])]), found["in"][1], form, limits).run()
        except (InvalidLayer, Unsupported):
            pass
        assert names(found["in"][0].parent) - {f"in/{n}" for n in names(found["in"][0])} == {
            "in", "outside",
        }  # fmt: skip


@settings(MANY, max_examples=300)
@given(st.binary(max_size=3000), st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_are_a_stream_or_refused(data: bytes, start: bytes) -> None:
    try:
        kind = detect(start + data)
        for _ in Unpacked(iter([start + data]), kind, Limits(unpacked=1 << 24)):
            pass
    except (InvalidLayer, Unsupported):
        pass


@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=100).filter(lambda name: b"\0" not in name),
    st.integers(0, 0o7777), st.integers(0, 0o7777777), st.integers(0, 2**33 - 1),
    st.integers(0, 2**33 - 1),
)  # fmt: skip
def test_a_header_says_what_was_written(
    name: bytes, mode: int, owner: int, size: int, seconds: int
) -> None:
    entry = Entry(name, REGULAR, mode, owner, owner, size, seconds * 10**9, b"", (0, 0))
    assert parse(header(entry)[-512:]) == entry
