"""A root filesystem of one file: a static busybox, and a link for each of its applets."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.runtime.bundle.elf import ElfError, read_elf
from mobyshell.core.runtime.bundle.programs import make_directory

_PLACES = ("/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox", "/bin/busybox.static",
           "/usr/lib/busybox/busybox-static")  # fmt: skip


def find() -> str:
    """A busybox that needs no library. NotFound with how to get one."""
    dynamic = ""
    for path in (*_PLACES, shutil.which("busybox")):
        if path is None or not os.access(path, os.X_OK):
            continue
        try:
            if read_elf(path).interpreter is None:
                return path
        except (ElfError, OSError):
            continue
        dynamic = path
    if dynamic:
        raise NotFound(
            f"{dynamic} is not static, so it cannot stand alone in a root filesystem",
            hint="apt install busybox-static, or use --from host:sh,ls,…",
        )
    raise NotFound(
        "no busybox on this machine", hint="apt install busybox-static, or use --from host:sh,ls,…"
    )


def fill(rootfs: Path, words: str, notice: Callable[[str], None]) -> str:
    """Put busybox and its applets into `rootfs`; returns the shell."""
    path = find()
    target = rootfs / "bin" / "busybox"
    make_directory(target.parent)
    shutil.copyfile(path, target)
    target.chmod(0o755)
    done = subprocess.run(
        [path, "--list-full"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise MobyshellError(f"{path} --list-full failed: {done.stderr.strip()}")
    # a shell even where this busybox was built to be called otherwise
    for applet in (*done.stdout.split(), "bin/sh"):
        link = rootfs / applet.lstrip("/")
        if ".." in link.parts:
            continue
        make_directory(link.parent)
        if not os.path.lexists(link):
            link.symlink_to("/bin/busybox")
    return "sh"
