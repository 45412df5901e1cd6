"""The OCI runtimes that can be compared, ours as a program among them."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from mobyshell.bench.stand import Stand
from mobyshell.bench.workshop import Workshop, program
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups

OURS = "mobyshell-runc"


@dataclass(frozen=True, slots=True)
class Peer:
    """A runtime as a program, with a state root of its own. `note`: what is special here."""

    name: str
    words: tuple[str, ...]
    stand: Stand
    note: str = ""

    def __call__(self, *words: str) -> int:
        """Run a command; the nanoseconds it took. MobyshellError if it fails."""
        return self.stand.run([*self.words, *words])


def peers(shop: Workshop) -> tuple[list[Peer], list[str]]:
    """The runtimes on this machine; the second list says, a line each, which are missing."""
    found, missing = [_peer(shop, OURS, _ours())], []
    for name in ("runc", "crun"):
        try:
            found.append(_peer(shop, name, [program(name)]))
        except MobyshellError as error:
            missing.append(f"{name}: {error}")
    return found, missing


def _ours() -> list[str]:
    """Our own program as it is installed; what does the same, where it is not."""
    installed = Path(sys.executable).parent / OURS
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "mobyshell.runc"]


def _peer(shop: Workshop, name: str, words: list[str]) -> Peer:
    command = (*words, "--root", str(shop.directory / f"root-{name}"))
    layout = cgroups.detect()
    if name == "crun" and layout.mode == "hybrid" and layout.v2_controllers:
        return Peer(
            name, command, shop.apart,
            "crun runs in a mount namespace without the cgroup v2 hierarchy: beside v1 it refuses "
            "one that has controllers. So it makes one cgroup less than the others.",
        )  # fmt: skip
    return Peer(name, command, shop.stand)
