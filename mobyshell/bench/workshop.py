"""The material of a bench: a default bundle, a private state root, a warm shim; cleaned at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mobyshell.bench.places import place
from mobyshell.bench.stand import Stand
from mobyshell.core.errors import MobyshellError, Unsupported
from mobyshell.core.linux import cgroups
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.tasks.client import TaskClient


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a bench works. `bundle` is `runc spec`'s default with busybox, without a terminal."""

    directory: Path
    bundle: Path
    state: Path
    tasks: TaskClient
    stand: Stand
    apart: Stand
    """As `stand`, but without a cgroup v2 hierarchy that is mounted beside v1."""

    def with_args(self, name: str, *args: str, rootfs: str = "") -> Path:
        """A bundle that runs `args`, sharing the root filesystem, or in another one."""
        directory = self.directory / name
        directory.mkdir()
        document = json.loads((self.bundle / "config.json").read_text())
        document["ociVersion"] = "1.0.2"  # what the oldest of the peers knows
        document["process"]["args"] = list(args)
        document["process"]["terminal"] = False
        document["root"]["path"] = rootfs or str(self.bundle / "rootfs")
        (directory / "config.json").write_text(json.dumps(document))
        return directory


@contextmanager
def workshop() -> Iterator[Workshop]:
    """Make a workshop in a temporary directory; every task in it is deleted at the end."""
    # in memory, as /run is: nobody keeps the state of containers on a disk
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    roots = cgroups.detect().roots
    with place("bench", memory) as directory:
        stand, apart = Stand(), Stand(*([roots[""]] if "" in roots else []))
        try:
            new_bundle(directory / "bundle", "busybox")
            with TaskClient(directory / "state", "bench") as tasks:
                yield Workshop(directory, directory / "bundle", directory / "state", tasks,
                               stand, apart)  # fmt: skip
        finally:
            stand.close()
            apart.close()


def program(name: str) -> str:
    """The path of a peer. Raises Unsupported if it is not installed."""
    path = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise Unsupported(f"{name} is not installed", hint=f"apt install {name}")
    return path


def version(path: str) -> str:
    """The first line that a peer says of its version."""
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip() if done.stdout else "?"


def as_installed() -> dict[str, str]:
    """The environment of who has installed what is measured: its modules are compiled then, and stay
    so. A shell for development may say that nothing is kept (PYTHONDONTWRITEBYTECODE), which measures
    the compiler: 90 ms of an `image import`."""
    return {name: one for name, one in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def must_run(command: list[str]) -> None:
    """Run a peer once, quietly, or one of our own programs. Raises with what it said if it fails."""
    # a file: what is left running would keep a pipe open, and us waiting
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
            env=as_installed(),
        )  # fmt: skip
        if done.returncode == 0:
            return
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    raise MobyshellError(
        f"{command[0]} exited with {done.returncode}: {said[-1] if said else 'no message'}"
    )
