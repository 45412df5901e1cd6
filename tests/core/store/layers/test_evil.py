"""Layers that mean harm: an error that names entry and reason, and nothing outside of the tree."""

from __future__ import annotations

import gzip
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidLayer, Unsupported
from mobyshell.core.linux.trees import remove_tree
from mobyshell.core.store.layers import Form, LayerWorker, Limits, Region
from mobyshell.core.store.layers.apply import Applier
from tests.core.store.layers.archives import (
    BLOCK,
    CHARACTER,
    DIRECTORY,
    END,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    apply,
    long_name,
    member,
    names,
    old_sparse,
    pax,
    records,
)

pytestmark = pytest.mark.root


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Files outside of the tree, which must be as they were."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (outside / "secret").chmod(0o600)
    before = [(p, p.lstat()) for p in (outside, outside / "secret")]
    yield outside
    assert names(outside) == {"secret"}
    assert (outside / "secret").read_text() == "secret"
    for path, then in before:
        now = path.lstat()
        assert (now.st_mode, now.st_nlink, now.st_ctime_ns, now.st_ino) == (
            then.st_mode, then.st_nlink, then.st_ctime_ns, then.st_ino,
        )  # fmt: skip


HEADERS = {
    "dot-dot": (member("../outside/x"), "'../outside/x': its path leads out"),
    "dot-dot-inside": (member("a/../../outside/x"), "leads out"),
    "dot-dot-last": (member("a/.."), "leads out"),
    "dot-dot-link": (member("x", LINK, link="../outside/secret"), "a hard link to"),
    "absolute-link": (member("x", LINK, link="/outside/secret"), "which is not there"),
    "link-to-root": (member("x", LINK, link="/"), "a hard link to"),
    "link-to-nothing": (member("x", LINK, link=""), "a hard link to"),
    "link-to-itself": (member("x") + member("x", LINK, link="./x"), "to itself"),
    "link-to-directory": (
        member("d/", DIRECTORY) + member("x", LINK, link="d"), "a hard link to 'd', a directory",
    ),
    "link-to-whiteout": (member(".wh.w") + member("x", LINK, link="w"), "which is not there"),
    "symlink-to-nothing": (member("x", SYMLINK), "says nothing"),
    "root-is-a-file": (member("./", FILE), "the root of a layer can only be"),
    "root-is-a-symlink": (member("/", SYMLINK, link="/etc"), "the root of a layer can only be"),
    "root-is-a-link": (member(".", LINK, link="x"), "the root of a layer can only be"),
    "file-in-a-file": (member("f") + member("f/x"), "'f/x': not a directory"),
    "file-in-a-fifo": (member("f", FIFO) + member("f/x"), "not a directory"),
    "loop": (member("l", SYMLINK, link="l") + member("l/x"), "l/x"),
    "device-0-0": (member("w", CHARACTER), "device 0/0"),
    "device-0-0-wrapped": (member("w", CHARACTER, device=(1 << 12, 1 << 20)), "device"),
    "long-component": (pax(path="n" * 256) + member("x"), "too long"),
    "long-path": (pax(path="n/" * 2500 + "x") + member("x"), "a path of more than 4096"),
    "deep": (pax(path="n/" * 300 + "x") + member("x"), "directories deep"),
    "nul-in-pax": (pax(path="a\0b") + member("x"), "NUL"),
    "unknown-type": (member("x", "D"), "of type 'D'"),
    "gnu-sparse-loop": (old_sparse([(0, 1)], 5, data=b"1", more=True), "half a segment"),
    "gnu-sparse-endless": (old_sparse([], 5, more=True) + b"\1" * (2 << 20), "too long|no number"),
    "gnu-sparse-overlap": (old_sparse([(0, 2), (1, 2)], 5, data=b"1234"), "overlap"),
    "gnu-sparse-out": (old_sparse([(4, 2)], 5, data=b"12"), "leads out"),
    "gnu-sparse-huge": (old_sparse([(0, 1)], 0o77777777777, data=b"1") * 17, "holes of more"),
    "volume-header": (member("x", "V"), "of type 'V'"),
    "multi-volume": (member("x", "M"), "of type 'M'"),
    "pax-sparse-no-size": (
        pax(GNU__sparse__major="1", GNU__sparse__minor="0") + member("x"), "without a size",
    ),
    "pax-sparse-no-map": (
        pax(GNU__sparse__major="1", GNU__sparse__realsize="9") + member("x"), "cut off",
    ),
    "pax-sparse-words": (
        pax(GNU__sparse__major="1", GNU__sparse__realsize="9") + member("x", data=b"-1\n" * 200),
        "no number",
    ),
    "pax-sparse-no-lines": (
        pax(GNU__sparse__major="1", GNU__sparse__realsize="9") + member("x", data=b"1" * 9000),
        "no numbers",
    ),
    "pax-sparse-endless": (
        pax(GNU__sparse__major="1", GNU__sparse__realsize="9" * 18)
        + member("x", data=b"9999999\n" + b"1\n1\n" * 600_000), "overlap|too long",
    ),
    "pax-sparse-bomb": (
        pax(GNU__sparse__map="0," * 200_000, GNU__sparse__realsize="9" * 18) + member("x"),
        "no number",
    ),
    "pax-sparse-half": (
        pax(GNU__sparse__map="0,1,2", GNU__sparse__size="9") + member("x", data=b"1"), "half",
    ),
    "pax-sparse-other-size": (
        pax(GNU__sparse__map="0,1,2,1", GNU__sparse__size="9") + member("x", data=b"1"), "another",
    ),
    "pax-sparse-huge": (
        pax(GNU__sparse__map="0,1", GNU__sparse__size="9" * 18) + member("x", data=b"1"), "holes",
    ),
    "bad-checksum": (member("x", checksum=b"000001\0 "), "checksum"),
    "garbage": (bytes(range(1, 256)) * 5, "damaged|no number|range"),
    "negative-size": (member("x", size=b"\xff" * 12), "negative size"),
    "minus-size": (member("x", size=b"-0000000001\0"), "no number"),
    "python-number": (member("x", size=b"0o000000_1\0\0"), "no number"),
    "decimal-number": (member("x", size=b"00000000089\0"), 'no number: "00000000089"'),
    "huge-size": (member("x", size=b"\x80" + b"\xff" * 11), "out of range"),
    "size-beyond": (member("x", size=1 << 30), "'x': the archive is cut off"),
    "pax-negative-size": (pax(size="-1") + member("x"), "size in a pax record"),
    "pax-huge-size": (pax(size="9" * 19) + member("x"), "size in a pax record"),
    "pax-digits": (pax(size="1" * 5000) + member("x"), "size in a pax record"),
    "pax-negative-uid": (pax(uid="-1") + member("x"), "uid in a pax record"),
    "pax-uid-minus-one": (pax(uid=str(0xFFFFFFFF)) + member("x"), "owner"),
    "pax-time": (pax(mtime="1e99") + member("x"), "time"),
    "pax-size-for-all": (pax("g", size="7") + member("x"), "size for all"),
    "pax-path-for-all": (pax("g", path="y") + member("x"), "path for all"),
    "pax-loop": (member("p", "x", b"0 a=b\n") + member("x"), "malformed"),
    "pax-short": (member("p", "x", b"3 a=b\n") + member("x"), "malformed"),
    "pax-long": (member("p", "x", b"99 a=b\n") + member("x"), "malformed"),
    "pax-no-newline": (member("p", "x", b"6 a=bc") + member("x"), "malformed"),
    "pax-no-key": (member("p", "x", b"5 =b\n") + member("x"), "malformed"),
    "pax-no-blank": (member("p", "x", b"1" * 600) + member("x"), "malformed"),
    "pax-alone": (pax(path="x"), "ends after an extended header"),
    "pax-huge": (member("p", "x", b" " * ((1 << 20) + 1)), "extended headers of more than"),
    "pax-huge-said": (member("p", "x", size=1 << 40), "extended headers of more than"),
    "pax-many": ((pax(comment="c" * 60_000) * 20) + member("x"), "extended headers of more than"),
    "longname-huge": (long_name(b"n" * (1 << 21)), "extended headers of more than"),
    "longname-twice": (long_name(b"a") + long_name(b"b") + member("x"), "two long names"),
    "two-names": (long_name(b"a") + pax(path="b") + member("x"), "two different names"),
    "one-zero-block": (member("a") + bytes(512) + member("b"), "one block of zeros"),
    "xattr-long": (pax(SCHILY__xattr__user__x="v" * 70_000) + member("x"), "too long"),
    "xattr-no-name": (pax(SCHILY__xattr__="v") + member("x"), "out of range|result"),
    "xattr-bad": (pax(SCHILY__xattr__security__capability="v") + member("x"), "invalid argument"),
    "wh-nothing": (member(".wh."), "a whiteout of nothing"),
    "wh-dot": (member("d/.wh.."), "a whiteout of nothing"),
    "wh-dot-dot": (member("d/.wh..."), "a whiteout of nothing"),
    "wh-as-parent": (member(".wh.d/x"), "lies in what is taken away"),
}  # fmt: skip


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("name", HEADERS)
def test_a_bad_entry_is_named_and_refused(
    tree: int, tmp_path: Path, victim: Path, name: str, form: Form
) -> None:
    """Here, as a worker that has met an error is replaced, which takes a while."""
    archive, words = HEADERS[name]
    with pytest.raises(InvalidLayer, match=f"(?i){words}"):
        Applier(iter([archive + END]), tree, form).run()
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("form", Form)
def test_symlinks_lead_where_they_would_in_a_container(
    worker: LayerWorker, tree: int, tmp_path: Path, victim: Path, form: Form
) -> None:
    up = "../" * 30
    apply(
        worker, tree,
        pax(linkpath=f"{up}{victim}") + member("up", SYMLINK),
        pax(linkpath=str(victim)) + member("abs", SYMLINK),
        member("up/x", data=b"1"),
        member("abs/y", data=b"2"),
        member("abs/secret", data=b"mine", mode=0o777),
        member("abs/d/", DIRECTORY, mode=0o700),
        member("abs/s", SYMLINK, link="/etc/passwd"),
        member("abs/l", LINK, link="up/x"),
        member("abs/dev", CHARACTER, device=(1, 3)),
        member("p", SYMLINK, link="/proc/self/root"),
        member("p/z", data=b"3"),
        member("fd", SYMLINK, link=f"/proc/self/fd/{tree}/../outside"),
        member("fd/q", data=b"4"),
        member("abs/.wh.gone"),
        form=form,
    )  # fmt: skip
    inside = tmp_path / "tree" / str(victim).lstrip("/")
    assert (inside / "x").read_bytes() == b"1"
    assert (inside / "secret").read_bytes() == b"mine"
    assert (inside / "l").stat().st_nlink == 2
    assert (tmp_path / "tree/proc/self/root/z").read_bytes() == b"3"


def test_a_ladder_beyond_the_longest_path_stays_inside(
    worker: LayerWorker, tree: int, victim: Path
) -> None:
    """CVE-2025-4517: links whose resolution passes PATH_MAX, after which checks look elsewhere."""
    step = "d" * 247
    parts: list[bytes] = []
    path = ""
    for letter in "abcdefghijklmnop":
        path = f"{path}{step}/"
        parts += [pax(path=path) + member("d", DIRECTORY)]
        parts += [pax(path=f"{os.path.dirname(path[:-1])}/{letter}".lstrip("/"), linkpath=step)
                  + member("l", SYMLINK)]  # fmt: skip
        path = f"{os.path.dirname(path[:-1])}/{letter}/".lstrip("/")
    parts += [
        pax(path=f"{path}{'l' * 254}", linkpath="../" * 20) + member("l", SYMLINK),
        pax(path="escape", linkpath=f"{path}{'l' * 254}/../../outside") + member("l", SYMLINK),
        member("escape/secret", data=b"owned"),
    ]
    try:
        apply(worker, tree, *parts)
    except InvalidLayer:
        pass
    assert not any(path.read_bytes() == b"owned" for path in victim.iterdir())


def test_what_was_there_gives_way(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for first, then in (
        (member("x", SYMLINK, link="y"), member("x", data=b"file")),
        (member("x", SYMLINK, link="y"), member("x/", DIRECTORY)),
        (member("x/", DIRECTORY) + member("x/deep/er/file"), member("x", data=b"file")),
        (member("x/", DIRECTORY) + member("x/f"), member("x", SYMLINK, link="y")),
        (member("x/", DIRECTORY) + member("x/f"), member("x", CHARACTER, device=(1, 3))),
        (member("x/", DIRECTORY) + member("x/f"), member("x", LINK, link="y")),
        (member("x", data=b"old", mode=0o4755), member("x/", DIRECTORY, mode=0o1777)),
        (member("x", FIFO), member("x", BLOCK, device=(7, 0))),
        (member(".wh.x"), member("x", data=b"file")),
    ):
        apply(worker, tree, member("y", data=b"y"), first, then, member("z/x"))
        assert (root / "y").read_bytes() == b"y"
        assert names(root) - {"x"} == {"y", "z", "z/x"}
        assert (root / "x").is_symlink() or (root / "x").exists()
        remove_tree(root / "z")
        (root / "y").unlink()
        remove_tree(root / "x") if (root / "x").is_dir() else (root / "x").unlink()


def test_a_directory_that_becomes_a_link_takes_its_attributes_nowhere(
    worker: LayerWorker, tree: int, tmp_path: Path, victim: Path
) -> None:
    """Directories get their mode at the end, when the name may be something else's."""
    apply(
        worker, tree,
        member("d/", DIRECTORY, mode=0o777), member("d/e/", DIRECTORY, mode=0o777),
        pax(linkpath=str(victim)) + member("d", SYMLINK), member("real/e/", DIRECTORY, mode=0o711),
    )  # fmt: skip
    assert (tmp_path / "tree/d").is_symlink()
    assert stat.S_IMODE((tmp_path / "tree/real/e").stat().st_mode) == 0o711


def test_a_mode_is_not_set_through_a_hard_link_to_a_symlink(
    worker: LayerWorker, tree: int, tmp_path: Path, victim: Path
) -> None:
    apply(
        worker, tree,
        pax(linkpath=str(victim / "secret")) + member("s", SYMLINK),
        member("h", LINK, link="s", mode=0o6777),
        member("h2", LINK, link="h"),
    )  # fmt: skip
    assert os.readlink(tmp_path / "tree/h2") == str(victim / "secret")


@pytest.mark.parametrize("key", ["trusted.overlay.redirect", "trusted.overlay.metacopy",
                                 "user.overlay.opaque", "trusted.anything"])  # fmt: skip
def test_overlayfs_is_told_nothing_by_an_archive(
    worker: LayerWorker, tree: int, tmp_path: Path, key: str
) -> None:
    words = {f"SCHILY__xattr__{key.replace('.', '__')}": "/etc"}
    done = apply(
        worker, tree, pax(**words) + member("f"), pax(**words) + member("d/", DIRECTORY),
        pax("g", **words), member("s", SYMLINK, link="x"),
    )  # fmt: skip
    for name in ("f", "d", "s"):
        assert os.listxattr(tmp_path / "tree" / name, follow_symlinks=False) == []
    assert [line for line in done.left_out if key in line] == list(done.left_out)
    assert len(done.left_out) == 3


def test_names_that_only_look_odd_are_made(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    parts = [b"...", b"..a", b" ", b"\n", b"\xff\xfe", b"-rf", b"a\\b", b"C:", b"\x1b[2J", b".wha"]
    apply(worker, tree, *(member(part, data=b"1") for part in parts),
          member("/abs/./olute//x"), member("./dot"), member("d/.", DIRECTORY))  # fmt: skip
    found = set(os.listdir(os.fsencode(tmp_path / "tree")))
    assert found == {*parts, b"abs", b"dot", b"d"}
    assert (tmp_path / "tree/abs/olute/x").is_file()


def test_names_are_escaped_in_errors(worker: LayerWorker, tree: int) -> None:
    with pytest.raises(InvalidLayer) as caught:
        apply(worker, tree, member(b"\x1b[2J\xff\n", "Z"))
    assert caught.value.entry == "\x1b[2J\udcff\n"
    assert str(caught.value).isprintable()


def test_setuid_stays_in_the_tree(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    apply(worker, tree, member("su", mode=0o6755, uid=5), member("dir/", DIRECTORY, mode=0o7777))
    assert stat.S_IMODE((tmp_path / "tree/su").stat().st_mode) == 0o6755
    assert stat.S_IMODE((tmp_path / "tree/dir").stat().st_mode) == 0o7777


def test_bombs_end_at_a_limit(worker: LayerWorker, tree: int) -> None:
    zeros = member("zeros", data=bytes(64 << 20))
    for limits, words in (
        (Limits(unpacked=32 << 20), "unpacks to more than 33554432 bytes"),
        (Limits(ratio=20, ratio_from=1 << 20), "more than 20 times its size"),
    ):
        with pytest.raises(InvalidLayer, match=words):
            apply(worker, tree, zeros, limits=limits, compress=True)
    many = [member(f"d{number}/", DIRECTORY) for number in range(200)]
    with pytest.raises(InvalidLayer, match="more than 100 entries"):
        apply(worker, tree, *many, limits=Limits(entries=100))
    implied = [member(f"e{number}/1/2/3/f") for number in range(50)]
    with pytest.raises(InvalidLayer, match="more than 100 directories"):
        apply(worker, tree, *implied, limits=Limits(entries=100))
    white = [member(f".wh.{number:090}") for number in range(100)]
    with pytest.raises(InvalidLayer, match="more paths"):
        apply(worker, tree, *white, limits=Limits(noted=5000))


def test_links_do_not_lead_deeper_than_the_limit(worker: LayerWorker, tree: int) -> None:
    """Each path is short, and what it leads to is made one step below what is open already."""
    down = [member("a/", DIRECTORY), member("a/b/", DIRECTORY), member("l", SYMLINK, link="a/b")]
    steps = [member(f"l/{'c/' * count}", DIRECTORY) for count in range(1, 5)]
    with pytest.raises(InvalidLayer, match="more than 4 directories deep"):
        apply(worker, tree, *down, *steps, member("l/c/c/c/x"), limits=Limits(depth=4))


def test_a_directory_that_became_a_link_is_not_stepped_into(
    worker: LayerWorker, tree: int, victim: Path
) -> None:
    """Its place was known, by the descriptor of the one above it."""
    apply(
        worker, tree,
        member("a/", DIRECTORY), member("a/d/", DIRECTORY), member("a/d/x", data=b"1"),
        member("a/d", SYMLINK, link=f"../../..{victim}"), member("a/d/y", data=b"2"),
    )  # fmt: skip
    assert not (victim / "y").exists()


def test_zeros_take_no_place(worker: LayerWorker, tree: int, tmp_path: Path) -> None:
    end = b"1" * 100
    apply(worker, tree, member("zeros", data=bytes(32 << 20) + end + bytes(1 << 20)), compress=True)
    file = tmp_path / "tree/zeros"
    assert file.stat().st_size == (33 << 20) + 100
    assert file.stat().st_blocks * 512 <= 256 << 10
    assert file.read_bytes().strip(b"\0") == end


@pytest.mark.parametrize("cut", [1, 9, 200, 512, 1000, -8, -1])
def test_what_is_cut_off_is_refused(worker: LayerWorker, tree: int, cut: int) -> None:
    whole = gzip.compress(member("a", data=os.urandom(3000)) + END)
    fd = os.memfd_create("cut")
    os.write(fd, whole[:cut])
    with pytest.raises(InvalidLayer, match=r"cut off|damaged"):
        worker.apply(Region(fd), tree)
    with pytest.raises(InvalidLayer, match="bytes too early"):
        worker.apply(Region(fd, 0, len(whole)), tree)
    os.close(fd)


@pytest.mark.parametrize(("start", "name"), [
    (b"BZh91AY", "bzip2"), (b"\xfd7zXZ\0\0", "xz"), (b"\x04\x22\x4d\x18", "lz4"),
])  # fmt: skip
def test_other_compressions_are_named(
    worker: LayerWorker, tree: int, start: bytes, name: str
) -> None:
    with pytest.raises(Unsupported, match=name):
        apply(worker, tree, start + bytes(2000))


def test_a_window_that_needs_too_much_memory_is_refused(worker: LayerWorker, tree: int) -> None:
    # RFC 8878, 3.1.1.1.2: a frame of 2 GiB of window, which decoders would have to keep
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + struct.pack("<I", 1)[:3] + b"x"
    with pytest.raises(InvalidLayer, match=r"zstd stream is damaged.*[Ww]indow|[Ff]rame"):
        apply(worker, tree, frame, end=b"")


def test_nothing_is_an_empty_layer_only_if_it_is_an_archive(
    worker: LayerWorker, tree: int, tmp_path: Path
) -> None:
    assert apply(worker, tree).entries == 0
    assert apply(worker, tree, end=b"").entries == 0
    assert apply(worker, tree, end=bytes(10240)).entries == 0
    with pytest.raises(InvalidLayer):
        apply(worker, tree, records(a="b"), end=b"")
    assert names(tmp_path / "tree") == set()


def test_what_follows_the_end_is_hashed_and_told(worker: LayerWorker, tree: int) -> None:
    done = apply(worker, tree, member("a"), END, member("b"))
    assert done.entries == 1
    assert done.left_out == ("something after the end of the archive",)
