"""Whether overlayfs can be mounted here: by trying, with a mount that is attached nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.interpreter import module
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.snapshots import mounting
from mobyshell.core.store.snapshots.directories import Directories
from mobyshell.core.store.snapshots.overlay_options import escape
from mobyshell.core.store.snapshots.protocol import Mount

_HINT = "use another --root for the store, or the snapshotter `native`, which copies"


def check(directory: Path, *, userxattr: bool) -> None:
    """Unsupported, with what the kernel said, if overlays whose trees lie in `directory` cannot be
    mounted and written. A directory that it made is then gone again."""
    made = not directory.exists()
    try:
        _check(directory, userxattr=userxattr)
    except Unsupported:
        if made:
            with suppress(OSError):
                directory.rmdir()
        raise


def _check(directory: Path, *, userxattr: bool) -> None:
    if os.geteuid() != 0:
        _check_as_root_of_ones_own(directory)
        return
    words = ["index=off", *(["userxattr"] if userxattr else [])]
    with Directories(directory).new() as place:
        try:
            for name in ("lower", "upper", "work"):
                (place / name).mkdir()
            with mounting.opened([_trial(place, words)]) as root:
                how = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
                os.close(os.open("file", how, 0o600, dir_fd=root))
        except SyscallFailed as error:
            said = f" ({error.hint})" if error.hint else ""
            raise Unsupported(f"overlayfs cannot be used in {directory}: {error}{said}",
                              hint=_HINT) from error  # fmt: skip
        except OSError as error:
            raise Unsupported(f"overlayfs cannot be written in {directory}: {error.strerror}",
                              hint=_HINT) from error  # fmt: skip


def _trial(place: Path, words: list[str]) -> Mount:
    directories = [("workdir", "work"), ("upperdir", "upper"), ("lowerdir", "lower")]
    return Mount("overlay", "overlay",
                 (*words, *(f"{key}={escape(place / name)}" for key, name in directories)))  # fmt: skip


def _check_as_root_of_ones_own(directory: Path) -> None:
    """In a user namespace, which takes a program of its own."""
    words = [*module("mobyshell.core.store.snapshots.overlay_probe"), str(directory)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().rpartition("\n")[2]
        raise Unsupported(f"overlayfs cannot be used in {directory}: {said}", hint=_HINT)


def main(argv: Sequence[str]) -> int:
    """The program: in a user namespace of its own, the same trial."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        call("unshare", c.CLONE_NEWUSER | c.CLONE_NEWNS)
        for name, text in (("setgroups", "deny"), ("gid_map", f"0 {gid} 1"),
                           ("uid_map", f"0 {uid} 1")):  # fmt: skip
            Path(f"/proc/self/{name}").write_text(text)
        check(Path(argv[0]), userxattr=True)
    except (MobyshellError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
