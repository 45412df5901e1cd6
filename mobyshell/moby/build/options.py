"""What may be asked of a build besides its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mobyshell.moby.build.secrets import Secret


@dataclass(frozen=True, slots=True)
class Options:
    """How to build. `epoch`: seconds; no time in the image is later (SOURCE_DATE_EPOCH), and its own
    is this one. `network`: for RUN: none, host, or one that tasks can be joined to. `told`: is told
    each step, and whether it was cached; `output`: what RUN says. `ignore`: the file that says what the
    context leaves out, instead of its .dockerignore; `secrets` and `agents` (paths of sockets): by the
    ids that RUN asks for."""

    context: Path | None = None
    ignore: Path | None = None
    target: str = ""
    cached: bool = True
    epoch: int | None = None
    network: str = "none"
    snapshotter: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    told: Callable[[str, bool], object] = lambda step, cached: None
    output: Callable[[bytes], object] = lambda data: None
