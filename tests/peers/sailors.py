"""A user with a podman of their own, whose runtime is ours.

Each podman runs where no other process is seen, with an /etc of its own: nothing of it stays.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.peers.images import write_image
from tests.peers.tools import PATIENCE, SEARCHED
from tests.users import package_for_all, python_for

UID = 61236
RANGE = f"sailor:{UID * 10}:65536\n"

_ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
          "--propagation", "private")  # fmt: skip
_AS_USER = """
set -e
for file in passwd group subuid subgid; do mount --bind "$1/$file" "/etc/$file"; done
shift
exec setpriv --reuid=61236 --regid=61236 --clear-groups sh -e -c "$1"
"""


@dataclass
class Sailor:
    """The user. `etc`: what of /etc is about them."""

    home: Path
    etc: Path

    def give(self, ranges: str) -> None:
        """Ids besides their own."""
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text(ranges)

    def ok(self, script: str) -> list[str]:
        """The lines that a script of theirs prints, with `run` for a container without a network; it
        must succeed."""
        podman = (
            f"podman --root {self.home}/root --runroot {self.home}/runroot --tmpdir {self.home}/tmp"
            f" --storage-driver vfs --cgroup-manager cgroupfs --events-backend file"
            f" --runtime {self.home}/mobyshell-runc"
        )
        before = (
            f'podman() {{ command {podman} "$@"; }}; run() {{ podman run --network none "$@"; }}\n'
            f"podman load -q --signature-policy {self.home}/policy.json -i {self.home}/image.tar >&2\n"
        )
        done = subprocess.run(
            [*_ALONE, "sh", "-c", _AS_USER, "sh", str(self.etc), before + script],
            env={"PATH": SEARCHED, "HOME": str(self.home), "XDG_RUNTIME_DIR": f"{self.home}/run"},
            cwd="/", capture_output=True, text=True, timeout=3 * PATIENCE, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def sailor(tmp_path: Path) -> Iterator[Sailor]:
    home, etc = Path(f"/var/tmp/moby-sailor-{os.getpid()}"), tmp_path / "etc"
    home.mkdir()
    etc.mkdir()
    try:
        for name in ("passwd", "group"):
            text = Path("/etc", name).read_text()
            more = (
                f"sailor:x:{UID}:{UID}::{home}:/bin/sh\n"
                if name == "passwd"
                else f"sailor:x:{UID}:\n"
            )
            (etc / name).write_text(text + more)
        runtime = home / "mobyshell-runc"
        runtime.write_text(
            f'#!/bin/sh\nexec {python_for(UID)} -c \'import sys; sys.path[:0] = ["{package_for_all()}"];'
            'from mobyshell.runc.main import main; sys.exit(main())\' "$@"\n'
        )
        runtime.chmod(0o755)
        for name in ("run", "tmp"):
            (home / name).mkdir(mode=0o700)
        (home / "policy.json").write_text(
            json.dumps({"default": [{"type": "insecureAcceptAnything"}]})
        )
        write_image(home / "image.tar")
        subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
        yield Sailor(home, etc)
    finally:
        shutil.rmtree(home)
