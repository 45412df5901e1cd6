"""Making a bundle: all of it, or nothing.

It is built beside its place under a name that begins with `.mobyshell-new-`, and renamed when it
is complete; what a killed build left there is cleared by the next one.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from mobyshell.core.errors import AlreadyExists, NotFound, SyscallFailed, UsageError
from mobyshell.core.oci import Spec, default_spec, dump_spec, with_process
from mobyshell.core.runtime.bundle import busybox, programs, tar

SOURCES = ("busybox", "host:PROG,…", "tar:FILE")
"""The forms of `--from`."""

_BUILDING = ".mobyshell-new-"

# what programs expect to find, whatever the image is (hier(7)); modes as everywhere
_DIRECTORIES = (
    ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o555), ("root", 0o700),
    ("run", 0o755), ("sys", 0o555), ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755),
    ("var/tmp", 0o1777),
)  # fmt: skip

_PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"


def new_bundle(
    directory: str | os.PathLike[str], source: str = "busybox", *, rootless: bool | None = None
) -> Path:
    """Make the bundle `directory` from `source` and return its absolute path.

    `source` is `busybox` (a static one of this machine), `host:PROG,…` (programs of this machine
    with the libraries they need) or `tar:FILE`. `rootless` makes a config.json for the calling
    unprivileged user (default: if the caller is not root). AlreadyExists if there is something at
    `directory`, UsageError for another source, NotFound for what is missing on this machine.
    """
    place = Path(os.path.abspath(directory))
    fill, words = _source(source)
    if not place.name or place.name.startswith(_BUILDING):
        raise UsageError(f"not a name for a bundle: {os.fspath(directory)!r}")
    if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
        raise AlreadyExists(f"{directory} exists already", hint="choose another name")
    if not place.parent.is_dir():
        raise NotFound(f"no directory {place.parent}", hint="make it first")
    _clear_abandoned(place.parent)
    building = place.parent / f"{_BUILDING}{os.getpid()}-{place.name}"
    try:
        building.mkdir(mode=0o755)
        rootfs = building / "rootfs"
        rootfs.mkdir(mode=0o755)
        shell = fill(rootfs, words)
        _furnish(rootfs)
        unprivileged = os.geteuid() != 0 if rootless is None else rootless
        _write_config(building, default_spec(rootless=unprivileged), shell)
        os.rename(building, place)
    except OSError as error:
        raise SyscallFailed.of(error, "making the bundle") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return place


def _source(source: str) -> tuple[programs.Fill, str]:
    kind, _, words = source.partition(":")
    if source == "busybox":
        return busybox.fill, ""
    if kind == "host" and words:
        return programs.fill, words
    if kind == "tar" and words:
        return tar.fill, words
    raise UsageError(f"unknown source {source!r}", hint=f"one of {', '.join(SOURCES)}")


def _furnish(rootfs: Path) -> None:
    """Add what every root filesystem has, where it has not."""
    for name, mode in _DIRECTORIES:
        path = rootfs / name
        if not os.path.lexists(path):
            path.mkdir()
            path.chmod(mode)
    etc = rootfs / "etc"
    if etc.is_symlink():
        return  # an image may do that; nothing is written through a link of a stranger
    for name, text in (("passwd", _PASSWD), ("group", _GROUP)):
        if not os.path.lexists(etc / name):
            (etc / name).write_text(text)


def _write_config(building: Path, spec: Spec, shell: str | None) -> None:
    args = (shell,) if shell else None
    (building / "config.json").write_text(dump_spec(with_process(spec, args=args)) + "\n")


def _clear_abandoned(parent: Path) -> None:
    """Remove what builds left that were killed: their process is gone."""
    for entry in parent.glob(f"{_BUILDING}*"):
        pid = entry.name.removeprefix(_BUILDING).partition("-")[0]
        old = time.time() - entry.lstat().st_mtime > 3600
        if not pid.isdecimal() or not os.path.exists(f"/proc/{pid}") or old:
            shutil.rmtree(entry, ignore_errors=True)
