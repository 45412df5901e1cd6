"""A network namespace that a test makes for itself, to be its "host": nothing of the machine's
network is seen or changed by what runs in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def environment() -> dict[str, str]:
    """Ours, with a path to the system's programs, which a test's may lack."""
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": f"{path}:{_SYSTEM}" if path else _SYSTEM}


class Netns:
    """A network namespace with its loopback on, held by a process until `close`."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep 3600"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        self.path = f"/proc/{self._holder.pid}/ns/net"

    def __enter__(self) -> Netns:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let it go, with everything in it."""
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()

    def words(self, *words: str) -> list[str]:
        """The command line that runs `words` in it."""
        return ["nsenter", f"--net={self.path}", *words]

    def run(self, *words: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        done = subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL, env=environment(), **more,
        )  # fmt: skip
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def python(self, code: str) -> str:
        """What Python code prints in it."""
        return self.run(sys.executable, "-c", code).stdout

    def ip(self, *words: str) -> Any:
        """What ip(8) says, as JSON."""
        return json.loads(self.run("ip", "-j", *words).stdout or "[]")

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in it; whoever starts it ends it."""
        return subprocess.Popen(
            self.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip


def connect_hosts(host: Netns, outside: Netns) -> None:
    """A cable between two hosts, 198.51.100.1 and .2; the second is the first one's way out, as
    198.51.100.3."""
    host.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "out0", "netns",
             outside.path.split("/")[2])  # fmt: skip
    for where, device, *addresses in (
        (host, "uplink", "198.51.100.1/24"), (outside, "out0", "198.51.100.2/24", "198.51.100.3/24"),
    ):  # fmt: skip
        for address in addresses:
            where.run("ip", "addr", "add", address, "dev", device)
        where.run("ip", "link", "set", device, "up")
    host.run("ip", "route", "add", "default", "via", "198.51.100.3")
