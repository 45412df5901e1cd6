"""What a RUN sees besides the image: `RUN --mount`, and its script.

Owns what of them a layer depends on (the content of what is bound, the names of caches and secrets),
and making them real before the container is. Nothing of them is in the layer.
"""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.oci import Mount
from mobyshell.core.store.snapshots.inside import Inside
from mobyshell.moby.build import running, secrets
from mobyshell.moby.build.cache_mounts import open_cache
from mobyshell.moby.build.context import digest_of
from mobyshell.moby.build.files import Below
from mobyshell.moby.build.options import Options
from mobyshell.moby.build.state import State
from mobyshell.moby.build.steps import (
    BIND,
    CACHE,
    SCRATCH,
    SCRIPTS,
    SECRET,
    SSH,
    TMPFS,
    Copy,
    Run,
    RunMount,
    Write,
)
from mobyshell.moby.build.trees import Trees
from mobyshell.moby.build.writing import Writing

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_SECRETS, _AGENTS = "/run/secrets", "/run/buildkit"


class Mounts:
    """Those of one RUN; what they need is let go when `stack` ends."""

    def __init__(
        self, held: Tenant, trees: Trees, writing: Writing, options: Options, stack: ExitStack
    ) -> None:
        self._held, self._trees, self._writing = held, trees, writing
        self._options, self._stack = options, stack
        self._step: Run | None = None
        self._workdir, self._index = "/", 0

    def look(self, step: Run, state: State, index: int) -> list[Any]:
        """What the layer depends on because of them. NotFound, UsageError for what is not there."""
        self._step, self._index = step, index
        self._workdir = state.process.working_dir or "/"
        told: list[Any] = []
        if step.script is not None:
            told.append(["script", step.script.name, step.script.content])
        for one in step.mounts:
            if one.required and one.kind == SECRET and one.id not in self._options.secrets:
                raise UsageError(f"needs the secret {one.id:.60}",
                                 hint=f"--secret id={one.id:.60},src=FILE")  # fmt: skip
            if one.required and one.kind == SSH and one.id not in self._options.agents:
                raise UsageError(f"needs the agent {one.id:.60}", hint=f"--ssh {one.id:.60}")
            digest = ""
            if one.base != SCRATCH and (one.kind == BIND or (one.kind == CACHE and one.base)):
                with self._trees.source(one.base, index) as source:
                    digest = digest_of(source, (one.source or "/",))
            told.append([one.kind, self._target(one), one.source, one.id, one.readonly, one.mode, one.uid,
                         one.gid, one.size, one.env, digest if one.kind == BIND else ""])  # fmt: skip
        return told

    def make(self) -> tuple[list[Mount], dict[str, str]]:
        """The mounts of the container's spec, and the variables that come with them."""
        assert self._step is not None
        made: list[Mount] = []
        env: dict[str, str] = {}
        if self._step.script is not None:
            made.append(_bound(self._script(), SCRIPTS, readonly=True))
        for number, one in enumerate(self._step.mounts):
            if one.kind == TMPFS:
                size = (f"size={one.size}",) if one.size else ()
                made.append(Mount(destination=self._target(one), type="tmpfs", source="tmpfs",
                                  options=("nosuid", "nodev", "mode=1777", *size)))  # fmt: skip
            elif one.kind == SECRET:
                made += self._secret(one, env)
            elif one.kind == SSH:
                made += self._agent(one, number, env)
            else:
                place = self._cache(one) if one.kind == CACHE else self._copied(one)
                made.append(_bound(place, self._target(one), readonly=one.readonly))
        return made, env

    def _target(self, one: RunMount) -> str:
        """Where it is, seen from the working directory; "" for where such a mount usually is."""
        if not one.target and one.kind in (SECRET, SSH):
            return ""
        path = posixpath.normpath(posixpath.join("/", self._workdir, one.target))
        if not path.strip("/"):
            raise UsageError("a mount cannot be the root itself", hint="target=/path")
        return path

    def _script(self) -> Path:
        assert self._step is not None
        assert self._step.script is not None
        script = self._step.script
        scratch = self._writing.scratch(Below(None))
        scratch.write(Write(text="", path=f"/{script.name}", content=script.content, mode=0o755))
        scratch.finish()
        return scratch.path

    def _copied(self, one: RunMount) -> Path:
        """A copy of what is bound: what is written there is nowhere else, and goes with it."""
        scratch = self._writing.scratch(Below(None))
        if one.base == SCRATCH:
            return scratch.path
        with self._trees.source(one.base, self._index) as source:
            step = Copy(text="", paths=(one.source or "/",), target="/it")
            scratch.copy(step, source, "/")
        scratch.finish()
        return scratch.path / "it"

    def _cache(self, one: RunMount) -> Path:
        def fill(place: Path) -> None:
            if one.base and one.base != SCRATCH:
                with self._trees.source(one.base, self._index) as source:
                    self._writing.fill(place, source, one.source or "/")
            mode = 0o755 if one.mode is None else one.mode
            if self._writing.owners.enter:
                Inside(self._writing.owners.enter).give(place, one.uid, one.gid, mode)
            else:
                os.chown(place, one.uid, one.gid)
                place.chmod(mode)

        snapshots = self._trees.snapshots
        found = open_cache(self._held, snapshots, one.id, one.sharing, fill, self._stack)
        running.bury(self._held)  # of a build that had it and was killed, the container may run on
        return found

    def _secret(self, one: RunMount, env: dict[str, str]) -> list[Mount]:
        given = self._options.secrets.get(one.id)
        if given is None:
            return []
        value = given.read()
        if one.env:
            env[one.env] = os.fsdecode(value)
            if not one.target:
                return []
        target = self._target(one) or f"{_SECRETS}/{one.id}"
        place = secrets.directory(self._held, self._stack) / "secret"
        mode = 0o400 if one.mode is None else one.mode
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(value)
        if self._writing.owners.enter:
            Inside(self._writing.owners.enter).give(place, one.uid, one.gid, mode)
        else:
            os.chown(place, one.uid, one.gid)
            place.chmod(mode)
        return [_bound(place, target, readonly=True)]

    def _agent(self, one: RunMount, number: int, env: dict[str, str]) -> list[Mount]:
        path = self._options.agents.get(one.id)
        if path is None:
            return []
        if one.uid or one.gid or one.mode is not None:
            raise UsageError("an agent's socket keeps its owner and mode here",
                             hint="leave mode, uid and gid of the mount away, and run as root")  # fmt: skip
        if not Path(path).is_socket():
            raise NotFound(f"there is no agent at {path:.100}", hint="ssh-agent, SSH_AUTH_SOCK")
        target = self._target(one) or f"{_AGENTS}/ssh_agent.{number}"
        env.setdefault("SSH_AUTH_SOCK", target)
        return [_bound(Path(path), target, readonly=False)]


def _bound(place: Path, target: str, *, readonly: bool) -> Mount:
    options = ("rbind", "ro" if readonly else "rw", "nodev")
    return Mount(destination=target, type="bind", source=str(place), options=options)
