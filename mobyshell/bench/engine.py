"""A containerd of one's own, in private directories; ended, and nothing left of it, at the end."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from mobyshell.bench.workshop import program
from mobyshell.core.errors import TimedOut
from mobyshell.core.linux import cgroups

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Containerd:
    """A running one. `words`: its ctr, with address and namespace."""

    words: tuple[str, ...]
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time that it and its helpers have taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK


@contextmanager
def containerd(home: Path) -> Iterator[Containerd]:
    """Start one whose files are below `home`. Unsupported where it is not installed."""
    daemon, ctr = program("containerd"), program("ctr")
    home.mkdir()
    config, address = home / "config.toml", str(home / "c.sock")
    config.write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{address}"\n[ttrpc]\n  address = "{address}.ttrpc"\n'
    )
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(
            [daemon, "--config", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    name = f"mobyshell-bench-{os.getpid()}"
    words = (ctr, "--address", address, "--namespace", name)
    try:
        deadline = time.monotonic() + 20
        while subprocess.run([*words, "version"], capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise TimedOut("containerd did not come up")
            time.sleep(0.05)
        yield Containerd(words, server.pid)
    finally:
        server.terminate()
        server.wait(10)
        # containerd's namespace is a level above its containers' cgroups, and nobody's to remove
        cgroups.remove_empty([*glob(f"/sys/fs/cgroup/*/{name}"), f"/sys/fs/cgroup/{name}"])
