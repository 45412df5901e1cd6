"""Bundles are made whole or not at all, from what the machine has."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, InvalidSpec, MobyshellError, NotFound, UsageError
from mobyshell.core.oci import Root, default_spec, dump_spec, examine, load_spec, spec_to_json
from mobyshell.core.runtime.bundle import load_bundle, new_bundle
from mobyshell.core.runtime.bundle.remove import UNFINISHED


def modes(rootfs: Path, *names: str) -> list[str]:
    return [f"{stat.S_IMODE(os.lstat(rootfs / name).st_mode):o}" for name in names]


def test_a_busybox_bundle_has_what_programs_expect(tmp_path: Path) -> None:
    path = new_bundle(tmp_path / "fresh")
    assert path == tmp_path / "fresh"
    rootfs = path / "rootfs"
    assert modes(rootfs, "tmp", "var/tmp", "root", "proc", "sys", "etc", "bin") == [
        "1777", "1777", "700", "555", "555", "755", "755",
    ]  # fmt: skip
    assert os.readlink(rootfs / "bin" / "sh") == "/bin/busybox"
    assert os.readlink(rootfs / "sbin" / "ip") == "/bin/busybox"
    assert (rootfs / "etc" / "passwd").read_text().startswith("root:x:0:0:")
    assert "nogroup:x:65534:" in (rootfs / "etc" / "group").read_text()
    assert os.listdir(tmp_path) == ["fresh"]


def test_its_config_is_the_default_with_the_shell_and_without_warnings(tmp_path: Path) -> None:
    for name, rootless in (("b", False), ("r", True)):
        new_bundle(tmp_path / name, rootless=rootless)
        wanted = spec_to_json(default_spec(rootless=rootless))
        del wanted["process"]["capabilities"]["ambient"]
        assert spec_to_json(load_spec(tmp_path / name)) == wanted
        assert examine(tmp_path / name) == ([], [])


def test_the_umask_of_the_caller_does_not_show(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        path = new_bundle(tmp_path / "b")
    finally:
        os.umask(before)
    names = (".", "config.json", "rootfs", "rootfs/bin", "rootfs/usr/bin", "rootfs/etc/passwd",
             "rootfs/bin/busybox")  # fmt: skip
    assert modes(path, *names) == ["755", "644", "755", "755", "755", "644", "755"]


@pytest.mark.parametrize("kind", ["file", "full", "link"])
def test_what_is_there_is_not_touched(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "b"
    if kind == "file":
        place.write_text("mine")
    elif kind == "full":
        place.mkdir()
        (place / "mine").write_text("mine")
    else:
        place.symlink_to("nowhere")
    with pytest.raises(AlreadyExists, match="exists already"):
        new_bundle(place)
    assert os.listdir(tmp_path) == ["b"]


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert load_bundle(new_bundle(tmp_path / "b")).rootfs == str(tmp_path / "b" / "rootfs")


@pytest.mark.parametrize("source", ["", "busy", "busybox:x", "host", "host:", "tar:", "docker:x"])
def test_unknown_sources(tmp_path: Path, source: str) -> None:
    with pytest.raises(UsageError) as caught:
        new_bundle(tmp_path / "b", source)
    assert "host:PROG" in caught.value.hint


def test_what_is_missing_is_named_and_nothing_left(tmp_path: Path) -> None:
    for source, message in (
        ("host:sh,nosuchprogram", "no program nosuchprogram"),
        ("host:/etc/nosuch", "no program /etc/nosuch"),
        ("tar:/nosuch.tar", "no file /nosuch.tar"),
    ):
        with pytest.raises(NotFound, match=message):
            new_bundle(tmp_path / "b", source)
    with pytest.raises(NotFound, match="no directory"):
        new_bundle(tmp_path / "no" / "b")
    assert os.listdir(tmp_path) == []


def test_a_long_name(tmp_path: Path) -> None:
    assert new_bundle(tmp_path / ("b" * 255)).is_dir()
    with pytest.raises(MobyshellError, match="too long"):
        new_bundle(tmp_path / ("b" * 256))
    assert len(os.listdir(tmp_path)) == 1


def test_of_two_builds_at_once_one_wins(tmp_path: Path) -> None:
    results: list[object] = []
    barrier = threading.Barrier(4)

    def build() -> None:
        barrier.wait()
        try:
            results.append(new_bundle(tmp_path / "b"))
        except AlreadyExists as error:
            results.append(error)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sum(isinstance(one, Path) for one in results) == 1
    assert sum(isinstance(one, AlreadyExists) for one in results) == 3
    assert os.listdir(tmp_path) == ["b"]
    load_bundle(tmp_path / "b")


def test_the_next_build_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from mobyshell.core.runtime.bundle import busybox, new_bundle\n"
        "def slow(rootfs, words, notice):\n"
        "    (rootfs / 'half').mkdir(); print('half', flush=True); time.sleep(1000)\n"
        "busybox.fill = slow\n"
        "new_bundle(sys.argv[1])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "b")], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    new_bundle(tmp_path / "meanwhile")
    # a build that lives is left alone, however slow
    assert len([one for one in os.listdir(tmp_path) if one.startswith(".mobyshell-new-")]) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "b").exists()
    new_bundle(tmp_path / "after")
    assert sorted(os.listdir(tmp_path)) == ["after", "meanwhile"]


def test_an_empty_leftover_is_cleared_when_it_is_old(tmp_path: Path) -> None:
    young, old = (tmp_path / f"{UNFINISHED}{name}" for name in ("young", "old"))
    for one in (young, old):
        one.mkdir()
    long_ago = time.time() - 3600
    os.utime(old, (long_ago, long_ago))
    new_bundle(tmp_path / "b")
    assert young.exists()
    assert not old.exists()


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no bundle at"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(NotFound, match=r"config.json not found"):
        load_bundle(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidSpec, match="ociVersion"):
        load_bundle(tmp_path)
    spec = replace(default_spec(), root=Root(path="files"))
    (tmp_path / "config.json").write_text(dump_spec(spec))
    with pytest.raises(NotFound, match=r"no root filesystem at .*/files"):
        load_bundle(tmp_path)
    (tmp_path / "files").mkdir()
    assert load_bundle(tmp_path).rootfs == str(tmp_path / "files")


@pytest.mark.root
def test_a_user_without_privileges_makes_one(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    for above in tmp_path.parents[:2]:
        os.chmod(above, 0o755)
    code = (
        "import glob, os, sys\n"  # what a user may not read must be loaded before
        "from mobyshell.core.runtime.bundle import new_bundle\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "new_bundle(sys.argv[1], sys.argv[2])\n"
    )
    for name, source in (("a", "busybox"), ("b", "host:sh,ls")):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name), source],
            capture_output=True, text=True, cwd="/", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        spec = load_spec(tmp_path / name)
        assert spec.linux is not None
        (mapping,) = spec.linux.uid_mappings or ()
        assert (mapping.host_id, mapping.size) == (12345, 1)
        assert (tmp_path / name / "rootfs" / "bin").stat().st_uid == 12345


@pytest.mark.root
def test_a_user_leaves_nothing_of_a_failed_build_that_forbids_its_own_removal(
    tmp_path: Path,
) -> None:
    os.chmod(tmp_path, 0o777)
    for above in tmp_path.parents[:2]:
        os.chmod(above, 0o755)
    code = (
        "import os, sys\n"
        "from mobyshell.core.runtime.bundle import remove_tree\n"
        "os.setgroups([]); os.setgid(12345); os.setuid(12345)\n"
        "os.makedirs(sys.argv[1] + '/a/b/c'); os.chmod(sys.argv[1] + '/a/b', 0o555)\n"
        "os.chmod(sys.argv[1] + '/a', 0)\n"
        "remove_tree(sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "tree")],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []
