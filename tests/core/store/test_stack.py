"""Layers looked into without mounting them, against what the kernel shows when they are mounted."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import NotFound, SyscallFailed
from mobyshell.core.store.stack import Stack

pytestmark = pytest.mark.root

LISTER = """
import json, os, sys
found = {}
for top, names, files in os.walk(sys.argv[1]):
    place = top[len(sys.argv[1]):] or "/"
    for name in sorted(names + files):
        path = os.path.join(top, name)
        try:
            seen = os.lstat(path)
        except FileNotFoundError:
            continue  # the kernel lists whiteouts of directories that it did not have to merge
        text = os.readlink(path) if os.path.islink(path) else ""
        if os.path.isfile(path) and not text:
            text = open(path).read()
        found[os.path.join(place, name)] = [seen.st_mode, text]
print(json.dumps(found))
"""


def as_mounted(layers: list[Path], scratch: Path) -> dict[str, list[Any]]:
    """Every path that overlayfs shows, with its mode and its content or target."""
    place = scratch / "mounted"
    place.mkdir(exist_ok=True)
    lower = ":".join(map(str, layers))
    command = (
        f"mount -t overlay overlay -o lowerdir={lower} {place} && "
        f"exec {sys.executable} -c {shlex.quote(LISTER)} {place}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", command],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


def as_seen(layers: list[Path]) -> dict[str, list[Any]]:
    """The same by the stack."""
    found: dict[str, list[Any]] = {}
    with Stack(layers) as stack:
        pending = ["/"]
        while pending:
            place = pending.pop()
            for entry in stack.ls(place):
                path = os.path.join(place, entry.name)
                text = entry.target
                if stat.S_ISREG(entry.found.st_mode):
                    text = stack.read(path, 1 << 20, follow=False).decode()
                found[path] = [entry.found.st_mode, text]
                if entry.is_directory:
                    pending.append(path)
    return found


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, 0)


def opaque(path: Path) -> None:
    os.setxattr(path, "trusted.overlay.opaque", b"y")


@pytest.fixture
def layers(tmp_path: Path) -> list[Path]:
    """Three, the topmost first."""
    found = [tmp_path / name for name in ("top", "middle", "bottom")]
    for layer in found:
        layer.mkdir()
    top, middle, bottom = found
    (bottom / "etc").mkdir()
    (bottom / "etc/passwd").write_text("bottom")
    (bottom / "etc/group").write_text("bottom")
    (bottom / "etc/gone").write_text("bottom")
    (bottom / "usr/bin").mkdir(parents=True)
    (bottom / "usr/bin/sh").write_text("bottom")
    (bottom / "bin").symlink_to("usr/bin")
    (bottom / "lib").mkdir()
    (bottom / "lib/old").write_text("bottom")
    (bottom / "file-then-directory").write_text("bottom")
    (bottom / "directory-then-file").mkdir()
    (bottom / "directory-then-file/x").write_text("bottom")
    (middle / "etc").mkdir(mode=0o700)
    (middle / "etc/passwd").write_text("middle")
    whiteout(middle / "etc/gone")
    (middle / "lib").mkdir()
    opaque(middle / "lib")
    (middle / "lib/new").write_text("middle")
    (middle / "file-then-directory").mkdir()
    (middle / "file-then-directory/y").write_text("middle")
    (middle / "directory-then-file").write_text("middle")
    (top / "etc").mkdir()
    (top / "etc/mtab").symlink_to("/proc/mounts")
    (top / "etc/loop").symlink_to("loop")
    (top / "etc/out").symlink_to("../../../../../etc/group")
    whiteout(top / "nothing-below")
    return found


def test_it_shows_what_the_kernel_shows(layers: list[Path], tmp_path: Path) -> None:
    assert as_seen(layers) == as_mounted(layers, tmp_path)


def test_the_topmost_decides(layers: list[Path]) -> None:
    with Stack(layers) as stack:
        assert stack.read("/etc/passwd", 100) == b"middle"
        assert stack.read("/etc/group", 100) == b"bottom"
        assert stack.read("bin/sh", 3) == b"bot"
        assert [entry.layer for entry in stack.ls("/etc")] == [2, 0, 0, 0, 1]
        with pytest.raises(NotFound, match="/etc/gone"):
            stack.read("/etc/gone", 100)
        with pytest.raises(NotFound):
            stack.stat("/lib/old")


def test_links_lead_nowhere_but_into_the_stack(layers: list[Path]) -> None:
    with Stack(layers) as stack:
        assert stack.read("/etc/out", 100) == b"bottom"
        assert stack.stat("/etc/mtab", follow=False).target == "/proc/mounts"
        with pytest.raises(NotFound):
            stack.read("/etc/mtab", 100)
        with pytest.raises(SyscallFailed, match="symbolic links"):
            stack.read("/etc/loop", 100)
        with pytest.raises(SyscallFailed, match="Not a directory"):
            stack.read("/etc/passwd/x", 100)


def test_what_is_no_file_is_not_read(layers: list[Path]) -> None:
    os.mkfifo(layers[0] / "fifo")
    with Stack(layers) as stack:
        for path in ("/fifo", "/etc", "/"):
            with pytest.raises(SyscallFailed, match="regular file"):
                stack.read(path, 100)


def test_it_gives_every_descriptor_back(layers: list[Path]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    as_seen(layers)
    with Stack(layers) as stack, pytest.raises(SyscallFailed):
        stack.read("/etc/loop", 100)
    with pytest.raises(SyscallFailed):
        Stack([*layers, "/does/not/exist"])
    assert len(os.listdir("/proc/self/fd")) == before


NAMES = ("a", "b", "c")


def _file(path: Path) -> None:
    path.write_text(str(path)[-20:])


def _directory(path: Path) -> None:
    path.mkdir()


def _opaque(path: Path) -> None:
    path.mkdir()
    opaque(path)


def _link(path: Path) -> None:
    path.symlink_to("../a/./b")


MAKERS: dict[str, Callable[[Path], None]] = {
    "file": _file, "directory": _directory, "opaque": _opaque, "link": _link, "whiteout": whiteout,
}  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.dictionaries(
            st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join),
            st.sampled_from(sorted(MAKERS)), max_size=8,
        ), min_size=1, max_size=4,
    )
)  # fmt: skip
def test_whatever_the_layers_are(
    tmp_path_factory: pytest.TempPathFactory, made: list[dict[str, str]]
) -> None:
    scratch = tmp_path_factory.mktemp("stack")
    layers = []
    for number, entries in enumerate(made):
        layer = scratch / f"layer-{number}"
        layer.mkdir()
        layers.append(layer)
        for path, kind in sorted(entries.items()):
            parent = (layer / path).parent
            if os.path.lexists(layer / path) or not all(
                not os.path.lexists(one) or (one.is_dir() and not one.is_symlink())
                for one in (parent, *parent.parents)
            ):
                continue
            parent.mkdir(parents=True, exist_ok=True)
            MAKERS[kind](layer / path)
    (scratch / "floor").mkdir()
    layers.append(scratch / "floor")  # overlayfs wants two
    assert as_seen(layers) == as_mounted(layers, scratch)


def test_what_the_user_may_not_read_is_said_as_the_kernel_says_it(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    (tmp_path / "file").write_text("secret")
    (tmp_path / "file").chmod(0o600)
    tmp_path.chmod(0o755)
    with Stack([tmp_path]) as stack:
        os.seteuid(61234)
        try:
            for look in (lambda: stack.ls("/closed"), lambda: stack.read("/file", 10)):
                with pytest.raises(SyscallFailed, match="Permission denied"):
                    look()
        finally:
            os.seteuid(0)
