"""Host programs with what they need: read from their ELF headers, and then run for proof."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import NotFound
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.runtime.bundle.elf import ElfError, read_elf


def args_of(bundle: Path) -> tuple[str, ...] | None:
    process = load_spec(bundle).process
    assert process is not None
    return process.args


def chroot(bundle: Path, *words: str) -> str:
    """What a program says whose root is the bundle's: nothing of the host's can help it."""
    done = subprocess.run(
        ["chroot", str(bundle / "rootfs"), *words], capture_output=True, text=True,
        env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.root
def test_programs_run_from_it_alone(tmp_path: Path) -> None:
    bundle = new_bundle(tmp_path / "b", "host:ls,sh,cat,/usr/bin/id")
    assert args_of(bundle) == ("sh",)
    assert "passwd" in chroot(bundle, "ls", "/etc")
    assert chroot(bundle, "sh", "-c", "echo $((6 * 7)); cat /etc/group").startswith("42\nroot:")
    assert chroot(bundle, "/usr/bin/id", "-u") == "0\n"
    assert chroot(bundle, "/bin/sh", "-c", "/bin/ls /usr/bin/sh") == "/usr/bin/sh\n"  # both names


@pytest.mark.root
def test_a_container_runs_from_it(tmp_path: Path) -> None:
    from mobyshell.core.runtime import Runtime
    from tests.core.runtime.conftest import House

    bundle = new_bundle(tmp_path / "b", "host:sh,cat,mount")
    house = House(Runtime(tmp_path / "root"), bundle, tmp_path)
    assert house.sh("cat /etc/passwd; test -d /sys/kernel")[0].startswith("root:")


@pytest.mark.root
def test_a_script_brings_its_interpreter(tmp_path: Path) -> None:
    direct, by_env = tmp_path / "direct", tmp_path / "byenv"
    direct.write_text("#!/bin/sh -e\necho direct\n")
    by_env.write_text("#!/usr/bin/env -S A=b sh -e\necho $A\n")
    for one in (direct, by_env):
        one.chmod(0o755)
    bundle = new_bundle(tmp_path / "b", f"host:{direct},{by_env}")
    assert args_of(bundle) == (str(direct),)
    assert chroot(bundle, str(direct)) == "direct\n"
    assert chroot(bundle, str(by_env)) == "b\n"


def test_a_script_without_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    with pytest.raises(NotFound, match="is a script for /no/such/interpreter"):
        new_bundle(tmp_path / "b", f"host:{script}")
    assert sorted(os.listdir(tmp_path)) == ["script"]


def test_links_are_kept(tmp_path: Path) -> None:
    real, link, above = tmp_path / "real", tmp_path / "link", tmp_path / "above"
    shutil.copy("/bin/busybox", real)
    link.symlink_to("real")
    above.symlink_to(tmp_path)
    bundle = new_bundle(tmp_path / "b", f"host:{above}/link")
    inside = f"{bundle}/rootfs{tmp_path}"
    assert os.readlink(f"{inside}/above") == str(tmp_path)
    assert os.readlink(f"{inside}/link") == "real"
    assert Path(f"{inside}/real").read_bytes() == real.read_bytes()


@pytest.mark.root
def test_grants_of_the_host_are_not_copied(tmp_path: Path) -> None:
    program = tmp_path / "granted"
    shutil.copy("/bin/busybox", program)
    program.chmod(0o6755)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(program, "security.capability", capability)
    bundle = new_bundle(tmp_path / "b", f"host:{program}")
    copy = Path(f"{bundle}/rootfs{program}")
    assert copy.stat().st_mode & 0o7777 == 0o755
    assert os.listxattr(copy) == []


def test_no_program_is_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    new_bundle(tmp_path / "b", f"host:{script},ls")
    assert not mark.exists()


def test_libraries_that_only_the_cache_knows_bring_it(tmp_path: Path) -> None:
    # every library of ls is in a directory that the loader knows, or the cache came along
    bundle = new_bundle(tmp_path / "b", "host:ls")
    rootfs = bundle / "rootfs"
    found = read_elf("/bin/ls")
    assert found.interpreter is not None
    assert (rootfs / found.interpreter.lstrip("/")).exists() or os.path.islink(
        f"{rootfs}{os.path.dirname(found.interpreter)}"
    )
    copied = {path.name for path in rootfs.rglob("lib*.so*")}
    assert set(found.needed) <= copied


def test_reading_elf_agrees_with_readelf() -> None:
    for path in ("/bin/ls", "/bin/busybox", os.path.realpath(sys.executable)):
        text = subprocess.run(
            ["readelf", "-dl", path], capture_output=True, text=True, check=True
        ).stdout
        needed = [
            line.split("[")[1].rstrip("]") for line in text.splitlines() if "(NEEDED)" in line
        ]
        found = read_elf(path)
        assert list(found.needed) == needed
        assert (found.interpreter is not None) == ("Requesting program interpreter" in text)


def test_a_compiler_has_a_large_table_of_names(tmp_path: Path) -> None:
    names = b"\0" * (2 << 20) + b"libc.so.6\0"
    start = 64 + 2 * 56
    tags = struct.pack("<8Q", 1, 2 << 20, 5, start + 64, 10, len(names), 0, 0)
    size = start + len(tags) + len(names)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0
    )
    segments = [struct.pack("<IIQQQQQQ", kind, 4, at, at, at, length, length, 1)
                for kind, at, length in ((1, 0, size), (2, start, len(tags)))]  # fmt: skip
    (tmp_path / "program").write_bytes(b"".join([head, *segments, tags, names]))
    assert read_elf(str(tmp_path / "program")).needed == ("libc.so.6",)


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_damaged_elf_is_an_error_of_ours(tmp_path_factory: pytest.TempPathFactory, noise: bytes,
                                         at: int) -> None:  # fmt: skip
    whole = bytearray(Path("/bin/busybox").read_bytes()[:4096])
    whole[at : at + len(noise)] = noise
    path = tmp_path_factory.mktemp("elf") / "damaged"
    path.write_bytes(whole)
    try:
        read_elf(str(path))
    except ElfError:
        pass
    finally:
        path.unlink()
        path.parent.rmdir()


@pytest.mark.root
def test_names_and_utf8_are_known_inside(tmp_path: Path) -> None:
    """What glibc loads by itself is there: name services, and a locale for more than ASCII."""
    bundle = new_bundle(tmp_path / "b", "host:getent,sh,wc,id")
    assert chroot(bundle, "getent", "passwd", "nobody").startswith("nobody:x:65534:")
    assert chroot(bundle, "id", "-un") == "root\n"
    (bundle / "rootfs" / "etc" / "hosts").write_text("192.0.2.7 elsewhere\n")
    assert chroot(bundle, "getent", "hosts", "elsewhere").split() == ["192.0.2.7", "elsewhere"]
    count = "export LC_ALL=C.UTF-8; printf '\\303\\251' | wc -m"
    assert chroot(bundle, "sh", "-c", count) == "1\n"


def test_modes_and_times_are_those_outside(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    program, link = place / "program", place / "link"
    shutil.copy("/bin/busybox", program)
    program.chmod(0o750)
    link.symlink_to("program")
    place.chmod(0o710)
    for one in (program, link):
        os.utime(one, ns=(10**18, 10**18 + 7), follow_symlinks=False)
    rootfs = f"{new_bundle(tmp_path / 'b', f'host:{link}')}/rootfs"
    assert [os.lstat(f"{rootfs}{one}").st_mtime_ns for one in (program, link)] == [10**18 + 7] * 2
    assert os.lstat(f"{rootfs}{program}").st_mode & 0o7777 == 0o750
    assert os.lstat(f"{rootfs}{place}").st_mode & 0o7777 == 0o710


def test_without_a_busybox_the_everyday_programs_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mobyshell.commands.cli import run
    from mobyshell.core.runtime.bundle import busybox

    monkeypatch.setattr(busybox, "_PLACES", ())
    monkeypatch.setattr("shutil.which", without_busybox(shutil.which))
    monkeypatch.chdir(tmp_path)
    assert run(["bundle", "new", "first"]) == 0
    told = capsys.readouterr().err
    assert "no busybox on this machine: made of programs of this machine instead" in told
    assert args_of(tmp_path / "first") == ("sh",)
    assert {"ls", "sleep", "id"} <= set(os.listdir(tmp_path / "first/rootfs/usr/bin"))
    with pytest.raises(NotFound, match="no busybox"):
        new_bundle(tmp_path / "asked", "busybox")


def without_busybox(which: Callable[..., str | None]) -> Callable[..., str | None]:
    return lambda name, **more: None if name == "busybox" else which(name, **more)
