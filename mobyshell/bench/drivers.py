"""How each engine does each operation: words of its program, as data that a worker can be sent.

Owns the making ready of an engine in private directories, and its end. In the words {id} is the
container, {pid} a file for its process's number.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mobyshell.bench.engine import containerd, podman
from mobyshell.bench.peers import OURS, Peer, peers
from mobyshell.bench.workshop import Workshop
from mobyshell.core.errors import Unsupported

Commands = Mapping[str, tuple[tuple[str, ...], ...]]
"""For each operation the command lines that do it, one after the other."""


@dataclass(frozen=True, slots=True)
class Driver:
    """An engine that is ready. `commands` is empty for the library, which is called instead;
    `signals`: kill only sends, so the worker waits for the end of the process; `remove`: what takes a
    container away, in whatever state it is."""

    name: str
    commands: Commands = field(default_factory=dict)
    remove: tuple[tuple[str, ...], ...] = ()
    signals: bool = False
    without: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    state: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """What is run: a bundle, and the same as a root filesystem and a command."""

    bundle: str
    rootfs: str
    command: tuple[str, ...]


Maker = Callable[[Workshop, Content], AbstractContextManager[Driver]]


def driver(name: str, shop: Workshop, content: Content) -> AbstractContextManager[Driver]:
    """The engine `name`, ready to run `content`. Unsupported where it is not there."""
    makers: dict[str, Maker] = {
        "library": _library, "mobyshell": _mobyshell, "ctr": _ctr, "podman": _podman,
    }  # fmt: skip
    return makers[name](shop, content) if name in makers else _runtime(name, shop, content)


@contextmanager
def _library(shop: Workshop, content: Content) -> Iterator[Driver]:
    shop.tasks.ls()
    yield Driver("library", state=str(shop.state))


@contextmanager
def _mobyshell(shop: Workshop, content: Content) -> Iterator[Driver]:
    program = str(Path(sys.executable).parent / "mobyshell")
    base = (program, "--state", str(shop.state), "--namespace", "bench", "task")
    yield Driver(
        "mobyshell",
        {
            "run": ((*base, "run", "-d", "--name", "{id}", content.bundle),),
            "create": ((*base, "create", "--name", "{id}", content.bundle),),
            "start": ((*base, "start", "{id}"),),
            "exec": ((*base, "exec", "{id}", "/bin/true"),),
            "pause": ((*base, "pause", "{id}"),), "resume": ((*base, "resume", "{id}"),),
            "state": ((*base, "inspect", "{id}"),), "list": ((*base, "ls"),),
            "metrics": ((*base, "stats", "{id}"),),
            "kill": ((*base, "kill", "{id}", "KILL"), (*base, "stop", "{id}")),
            "stop": ((*base, "stop", "-t", "0", "{id}"),), "delete": ((*base, "delete", "{id}"),),
        },
        remove=((*base, "delete", "--force", "{id}"),),
    )  # fmt: skip


@contextmanager
def _runtime(name: str, shop: Workshop, content: Content) -> Iterator[Driver]:
    found, missing = peers(shop)
    one: Peer | None = next((peer for peer in found if peer.name == name), None)
    if one is None:
        raise Unsupported(next((line for line in missing if line.startswith(name)), name))
    base = one.words
    make = ("--bundle", content.bundle, "--pid-file", "{pid}", "{id}")
    yield Driver(
        name,
        {
            "run": ((*base, "run", "-d", *make),), "create": ((*base, "create", *make),),
            "start": ((*base, "start", "{id}"),),
            "exec": ((*base, "exec", "{id}", "/bin/true"),),
            "pause": ((*base, "pause", "{id}"),), "resume": ((*base, "resume", "{id}"),),
            "state": ((*base, "state", "{id}"),), "list": ((*base, "list"),),
            "metrics": ((*base, "events", "--stats", "{id}"),) if name in (OURS, "runc") else (),
            "kill": ((*base, "kill", "{id}", "KILL"),),
            "stop": ((*base, "kill", "{id}", "KILL"),), "delete": ((*base, "delete", "{id}"),),
        },
        remove=((*base, "delete", "--force", "{id}"),), signals=True,
        without=one.stand.without,
    )  # fmt: skip


@contextmanager
def _ctr(shop: Workshop, content: Content) -> Iterator[Driver]:
    rootfs, command = content.rootfs, content.command
    with containerd(shop.directory / "containerd") as engine:
        base = engine.words
        yield Driver(
            "ctr",
            {
                "run": ((*base, "run", "-d", "--pid-file", "{pid}", "--rootfs", rootfs, "{id}",
                         *command),),
                "create": ((*base, "containers", "create", "--rootfs", rootfs, "{id}", *command),),
                "start": ((*base, "task", "start", "-d", "--pid-file", "{pid}", "{id}"),),
                "exec": ((*base, "task", "exec", "--exec-id", "{exec}", "{id}", "/bin/true"),),
                "pause": ((*base, "task", "pause", "{id}"),),
                "resume": ((*base, "task", "resume", "{id}"),),
                "state": ((*base, "containers", "info", "{id}"),), "list": ((*base, "task", "ls"),),
                "metrics": ((*base, "task", "metrics", "{id}"),),
                "kill": ((*base, "task", "kill", "-s", "KILL", "{id}"),),
                "stop": ((*base, "task", "kill", "-s", "KILL", "{id}"),),
                "delete": ((*base, "task", "rm", "{id}"), (*base, "containers", "rm", "{id}")),
            },
            remove=((*base, "task", "rm", "--force", "{id}"), (*base, "containers", "rm", "{id}")),
            signals=True,
        )  # fmt: skip


@contextmanager
def _podman(shop: Workshop, content: Content) -> Iterator[Driver]:
    rootfs, command = content.rootfs, content.command
    with podman(shop.directory / "podman") as engine:
        base = engine.words
        make = (*engine.options, "--name", "{id}", "--rootfs", rootfs, *command)
        yield Driver(
            "podman",
            {
                "run": ((*base, "run", "-d", *make),), "create": ((*base, "create", *make),),
                "start": ((*base, "start", "{id}"),),
                "exec": ((*base, "exec", "{id}", "/bin/true"),),
                "pause": ((*base, "pause", "{id}"),), "resume": ((*base, "unpause", "{id}"),),
                "state": ((*base, "inspect", "{id}"),), "list": ((*base, "ps"),),
                "metrics": ((*base, "stats", "--no-stream", "{id}"),),
                "kill": ((*base, "kill", "{id}"), (*base, "wait", "{id}")),
                "stop": ((*base, "stop", "-t", "0", "{id}"),), "delete": ((*base, "rm", "{id}"),),
            },
            remove=((*base, "rm", "-f", "-t", "0", "{id}"),), environment=engine.environment,
        )  # fmt: skip
