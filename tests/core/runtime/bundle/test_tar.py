"""Root filesystems from archives, honest and hostile."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidSpec, MobyshellError, NotFound, SyscallFailed, Unsupported
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime.bundle import new_bundle, remove_tree

pytestmark = pytest.mark.root  # owners and devices

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **more: object) -> Member:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(data)
    info.mtime = 1_000_000_000
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def directory(name: str, **more: int) -> Member:
    return member(name, tarfile.DIRTYPE, b"", **more)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    return member(name, kind, linkname=target)


def archive(path: Path, *members: Member, mode: str = "w") -> Path:
    by_zstd = mode == "w:zst"  # which tarfile has from Python 3.14 on
    with tarfile.open(path, "w" if by_zstd else mode) as tar:  # type: ignore[call-overload]
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    if by_zstd:
        path.write_bytes(
            subprocess.run(["zstd", "-c", path], capture_output=True, check=True).stdout
        )
    return path


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Path]:
    def make(*members: Member, mode: str = "w") -> Path:
        path = archive(tmp_path / "image.tar", *members, mode=mode)
        return new_bundle(tmp_path / "b", f"tar:{path}") / "rootfs"

    return make


def test_all_kinds_of_members(build: Callable[..., Path]) -> None:
    rootfs = build(
        directory("./"),
        directory("bin/", mode=0o711, uid=3, gid=4),
        member("bin/sh", data=b"#!", mode=0o4755, uid=5, gid=6),
        link("bin/ash", "bin/sh", tarfile.LNKTYPE),
        link("etc", "/usr/etc"),
        member("usr/etc/motd", data=b"hello"),
        member("dev/fuse", tarfile.CHRTYPE, mode=0o666, devmajor=10, devminor=229),
        member("run/pipe", tarfile.FIFOTYPE, mode=0o600, uid=7),
    )
    sh = os.lstat(rootfs / "bin" / "sh")
    assert (stat.S_IMODE(sh.st_mode), sh.st_uid, sh.st_gid, sh.st_nlink) == (0o4755, 5, 6, 2)
    assert sh.st_mtime == 1_000_000_000
    found = os.lstat(rootfs / "bin")
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime) == (0o711, 3, 1_000_000_000)
    assert os.readlink(rootfs / "etc") == "/usr/etc"
    assert (rootfs / "usr" / "etc" / "motd").read_bytes() == b"hello"
    device = os.lstat(rootfs / "dev" / "fuse")
    assert stat.S_ISCHR(device.st_mode)
    assert device.st_rdev == os.makedev(10, 229)
    assert stat.S_ISFIFO(os.lstat(rootfs / "run" / "pipe").st_mode)
    assert load_spec(rootfs.parent).process.args == ("sh",)  # type: ignore[union-attr]
    assert stat.S_IMODE((rootfs / "tmp").stat().st_mode) == 0o1777  # furnished


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "w:zst"])
def test_compressions(build: Callable[..., Path], mode: str) -> None:
    assert (build(member("f", data=b"x" * 10000), mode=mode) / "f").stat().st_size == 10000


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w:bz2", "w:zst"])
def test_one_wrong_bit_of_a_compressed_archive(tmp_path: Path, mode: str) -> None:
    path = archive(tmp_path / "t", member("f", data=os.urandom(300_000)), mode=mode)
    whole = path.read_bytes()
    for at in (5 if mode == "w:zst" else 12, len(whole) // 2, len(whole) - 8):
        data = bytearray(whole)
        data[at] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(InvalidSpec, match="not a usable archive"):
            new_bundle(tmp_path / "b", f"tar:{path}")
        assert os.listdir(tmp_path) == ["t"]


def test_zstandard_is_said_to_be_unreadable_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "image.tar.zst", member("f"), mode="w:zst")
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    for package in ("compression", "backports"):  # where they are kept, too, once imported
        if package in sys.modules:
            monkeypatch.delattr(sys.modules[package], "zstd", raising=False)
    with pytest.raises(Unsupported, match="compressed by zstd"):
        new_bundle(tmp_path / "b", f"tar:{path}")


def test_what_busybox_tar_and_gnu_tar_make_is_read(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / ("long" * 40)).write_text("name")
    (tree / "bin" / "link").symlink_to("x" * 150)
    with open(tree / "holes", "wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 30)
        file.write(b"data")
    for name, command in (
        ("gnu", ["tar", "--sparse", "-cf", "-", "-C", str(tree), "."]),
        ("pax", ["tar", "--sparse", "--format=pax", "-cf", "-", "-C", str(tree), "."]),
        ("busybox", ["busybox", "tar", "-cf", "-", "-C", str(tree), "bin"]),
    ):
        path = tmp_path / f"{name}.tar"
        with open(path, "wb") as out:
            subprocess.run(command, stdout=out, check=True)
        rootfs = new_bundle(tmp_path / name, f"tar:{path}") / "rootfs"
        assert (rootfs / "bin" / ("long" * 40)).read_text() == "name"
        assert os.readlink(rootfs / "bin" / "link") == "x" * 150
        if name != "busybox":
            found = (rootfs / "holes").stat()
            assert found.st_size == 1 << 40
            assert found.st_blocks * 512 < 1 << 20  # a terabyte of holes takes no disk
            with open(rootfs / "holes", "rb") as file:
                file.seek(1 << 30)
                assert file.read(5) == b"data\0"


@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/../evil", "a/..", "..", "./../evil", "x/../../../../etc/p"],
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_names_that_lead_out(tmp_path: Path, name: str, kind: bytes) -> None:
    path = archive(tmp_path / "t", directory("a"), member(name, kind, linkname="x"))
    with pytest.raises(InvalidSpec, match="outside of its root"):
        new_bundle(tmp_path / "b", f"tar:{path}")
    assert os.listdir(tmp_path) == ["t"]


def test_absolute_names_are_inside(build: Callable[..., Path]) -> None:
    assert (build(member("/etc/x", data=b"1")) / "etc" / "x").read_bytes() == b"1"


@pytest.mark.parametrize("target", ["/", "..", "../..", "../../../../../../../..", "a/../../.."])
def test_links_do_not_lead_out(tmp_path: Path, target: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = archive(
        tmp_path / "t", directory("a"), link("way", target),
        member(f"way{outside}/evil", data=b"evil"), directory(f"way{outside}/more"),
    )  # fmt: skip
    try:
        rootfs = new_bundle(tmp_path / "b", f"tar:{path}") / "rootfs"
        assert Path(f"{rootfs}{outside}/evil").read_bytes() == b"evil"
    except MobyshellError:
        pass
    assert os.listdir(outside) == []


def test_furnishing_follows_no_link_of_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    path = archive(tmp_path / "t", link("var", str(outside)), link("etc", str(outside)),
                   link("tmp", str(outside)))  # fmt: skip
    new_bundle(tmp_path / "b", f"tar:{path}")
    assert os.listdir(outside) == []
    assert stat.S_IMODE(outside.stat().st_mode) == 0o755


def test_a_link_of_the_image_is_followed_inside(build: Callable[..., Path]) -> None:
    rootfs = build(directory("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr/lib"),
                   member("lib/one", data=b"1"), member("abs/two", data=b"2"))  # fmt: skip
    assert sorted(os.listdir(rootfs / "usr" / "lib")) == ["one", "two"]


@pytest.mark.parametrize("target", ["/etc/passwd", "nosuch", "../outside", "dir"])
def test_hard_links_only_to_earlier_members(tmp_path: Path, target: str) -> None:
    path = archive(tmp_path / "t", directory("dir"), link("x", target, tarfile.LNKTYPE))
    with pytest.raises(InvalidSpec):
        new_bundle(tmp_path / "b", f"tar:{path}")


def test_a_hard_link_through_a_link_stays_inside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    path = archive(tmp_path / "t", link("way", "/"), link("x", f"way{secret}", tarfile.LNKTYPE))
    with pytest.raises(InvalidSpec):
        new_bundle(tmp_path / "b", f"tar:{path}")
    assert secret.stat().st_nlink == 1


def test_later_members_win(build: Callable[..., Path]) -> None:
    rootfs = build(
        member("f", data=b"old"), member("f", data=b"new"),
        link("g", "/etc/passwd"), member("g", data=b"file"),
        directory("h", mode=0o700), directory("h", mode=0o750), directory("i"), link("i", "f"),
    )  # fmt: skip
    assert (rootfs / "f").read_bytes() == b"new"
    assert (rootfs / "g").read_bytes() == b"file"
    assert not (rootfs / "g").is_symlink()
    assert stat.S_IMODE((rootfs / "h").stat().st_mode) == 0o750
    assert os.readlink(rootfs / "i") == "f"


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    info, data = member("f", data=b"1", pax_headers={"SCHILY.xattr.security.capability": "x"})
    with tarfile.open(tmp_path / "t", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(data))
        tar.addfile(*((odd := member("odd", b"Q"))[0], io.BytesIO(odd[1])))
    rootfs = new_bundle(tmp_path / "b", f"tar:{tmp_path / 't'}", notice=told.append) / "rootfs"
    assert (rootfs / "f").read_bytes() == b"1"
    assert "1 sets of extended attributes left out of the root filesystem" in told


def test_not_an_archive(tmp_path: Path) -> None:
    for name, content in (
        ("text", b"hello"),
        ("empty", b""),
        ("gz", b"\x1f\x8b\x08\0" + b"x" * 50),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidSpec, match="not a usable archive"):
            new_bundle(tmp_path / "b", f"tar:{tmp_path / name}")
    with pytest.raises(NotFound):
        new_bundle(tmp_path / "b", f"tar:{tmp_path}")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2", "w:zst"])
def test_an_archive_that_is_cut_short_makes_nothing(tmp_path: Path, mode: str) -> None:
    path = archive(tmp_path / "t", *(member(f"f{i}", data=os.urandom(3000)) for i in range(9)),
                   mode=mode)  # fmt: skip
    whole = path.read_bytes()
    for length in (len(whole) // 3, len(whole) // 2, 5 * 3584 + 100 if mode == "w" else 9000):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidSpec, match="not a usable archive"):
            new_bundle(tmp_path / "b", f"tar:{path}")
    assert os.listdir(tmp_path) == ["t"]


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    path = archive(tmp_path / "t", *(member(f"f{i}", data=b"x" * 512) for i in range(4)))
    data = bytearray(path.read_bytes())
    data[2048:2060] = b"\xff" * 12
    path.write_bytes(data)
    with pytest.raises(InvalidSpec, match="damaged at byte 2048"):
        new_bundle(tmp_path / "b", f"tar:{path}")


def test_a_name_a_thousand_levels_deep(tmp_path: Path) -> None:
    path = archive(tmp_path / "t", member("d/" * 1500 + "f", data=b"1"), link("l", "/"))
    bundle = new_bundle(tmp_path / "b", f"tar:{path}")
    assert os.listdir(bundle / "rootfs" / "d") == ["d"]
    remove_tree(bundle)
    # and where it fails after that, nothing is left all the same
    for bad in (member("d/" * 2500 + "f", data=b"1"), member("../x")):
        path = archive(tmp_path / "t", member("d/" * 1500 + "f", data=b"1"), bad)
        with pytest.raises((InvalidSpec, SyscallFailed)):
            new_bundle(tmp_path / "b", f"tar:{path}")
        assert os.listdir(tmp_path) == ["t"]


def test_removing_follows_no_link_and_heeds_no_mode(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "kept").mkdir(parents=True)
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "f").write_text("")
    (tree / "a" / "way").symlink_to(outside)
    os.chmod(tree / "a" / "b", 0)
    os.chmod(tree / "a", 0o555)
    remove_tree(tree)
    remove_tree(tree)
    assert os.listdir(tmp_path) == ["outside"]
    assert os.listdir(outside) == ["kept"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=12))
def test_no_damage_makes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]]
) -> None:
    home = tmp_path_factory.mktemp("noise")
    path = archive(home / "t", directory("a"), member("a/f", data=b"x" * 700), link("a/l", "f"),
                   link("h", "a/f", tarfile.LNKTYPE))  # fmt: skip
    data = bytearray(path.read_bytes()[:6144])
    for at, value in damage:
        data[at] = value
    path.write_bytes(data)
    try:
        new_bundle(home / "b", f"tar:{path}")
    except MobyshellError as error:
        assert "\n" not in str(error)
        assert not (home / "b").exists()
    subprocess.run(["rm", "-rf", str(home)], check=True)
