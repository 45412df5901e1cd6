"""What `bench run` is asked to do: so many containers, by so many workers, these operations, on these
engines. As flags, or as a file in the manner of bucketbench, whose own names are taken, too.

    rootfs: busybox                    # the machine's own, or a directory
    command: sleep 100000
    threads: [1, 2, 4]                 # workers at once; each number is a run of its own
    containers: 20                     # by each worker
    operations: [run, exec, stop, delete]
    engines: [library, runc, {type: ctr, containers: 5}]

Owns the format and its limits. Never runs anything.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.safeyaml import read_yaml

OPERATIONS = ("run", "create", "start", "exec", "pause", "resume", "state", "list", "metrics", "kill",
              "stop", "delete")  # fmt: skip
ENGINES = ("library", "mobyshell", "mobyshell-runc", "runc", "crun", "ctr", "podman")
DEFAULT_COMMAND = ("/bin/sleep", "100000")
DEFAULT_OPERATIONS = ("run", "stop", "delete")
MOST_CONTAINERS, MOST_THREADS = 10_000, 64

_OTHER_NAMES = {"drivers": "engines", "commands": "operations", "iterations": "containers"}
_OTHER_OPERATIONS = {"remove": "delete", "rm": "delete", "unpause": "resume", "ls": "list",
                     "stats": "metrics", "inspect": "state"}  # fmt: skip
_OTHER_ENGINES = {"containerd": "ctr", "mobyshell (library)": "library"}
_TOP = {"name", "rootfs", "command", "threads", "containers", "operations", "engines", "detached",
        "description"}  # fmt: skip
_ENGINE = {"type", "threads", "containers"}


@dataclass(frozen=True, slots=True)
class EngineJob:
    """One engine's part: `threads` are the numbers of workers, each a run of its own, `containers`
    what each worker makes."""

    engine: str
    threads: tuple[int, ...]
    containers: int


@dataclass(frozen=True, slots=True)
class Job:
    """The whole. `rootfs`: "busybox" or a directory."""

    engines: tuple[EngineJob, ...]
    operations: tuple[str, ...]
    command: tuple[str, ...] = DEFAULT_COMMAND
    rootfs: str = "busybox"
    name: str = ""


def parse_job(text: str) -> Job:
    """The job that a file describes. InvalidSpec names what is wrong and where."""
    document = read_yaml(text, "the job")
    document = _known(document, _TOP, "the job")
    if document.get("detached", True) is not True:
        raise InvalidSpec("detached: only what runs on its own can be measured",
                          hint="leave it away, or true")  # fmt: skip
    engines = document.get("engines", list(ENGINES))
    if not isinstance(engines, list) or not engines:
        raise InvalidSpec("engines is no list of engines", hint=f"known: {', '.join(ENGINES)}")
    job = Job(
        tuple(_engine(one, document, number) for number, one in enumerate(engines)),
        operations(document.get("operations", list(DEFAULT_OPERATIONS))),
        _command(document.get("command", list(DEFAULT_COMMAND))),
        str(document.get("rootfs", "busybox")),
        str(document.get("name", "")),
    )
    if job.rootfs != "busybox" and not os.path.isdir(job.rootfs):
        raise InvalidSpec(f"rootfs: {job.rootfs!r} is no directory", hint="or: busybox")
    return job


def make_job(
    engines: Sequence[str], threads: Sequence[int], containers: int, words: Sequence[str]
) -> Job:  # fmt: skip
    """The job of some flags; what is empty is the default."""
    return Job(
        tuple(
            _checked(engine, tuple(threads) or (1,), containers) for engine in engines or ENGINES
        ),
        operations(list(words) or list(DEFAULT_OPERATIONS)),
    )


def operations(words: Any) -> tuple[str, ...]:
    """The operations of a list. InvalidSpec if a container is not made first, or not known."""
    if not isinstance(words, list) or not words:
        raise InvalidSpec("operations is no list", hint=f"known: {', '.join(OPERATIONS)}")
    found = tuple(_OTHER_OPERATIONS.get(str(one), str(one)) for one in words)
    for one in found:
        if one not in OPERATIONS:
            raise InvalidSpec(f"operation {one!r:.60} is not known",
                              hint=f"known: {', '.join(OPERATIONS)}")  # fmt: skip
    made = [one for one in found if one in ("run", "create")]
    if len(made) != 1 or found[0] != made[0]:
        raise InvalidSpec("operations begin with run, or create, which is there once")
    return found


def _engine(value: Any, job: Mapping[str, Any], number: int) -> EngineJob:
    where = f"engines[{number}]"
    one = _known({"type": value} if isinstance(value, str) else value, _ENGINE, where)
    threads = one.get("threads", job.get("threads", 1))
    return _checked(
        str(one.get("type", "")),
        tuple(threads) if isinstance(threads, list) else (threads,),
        one.get("containers", job.get("containers", 10)),
    )


def _checked(engine: str, threads: tuple[Any, ...], containers: Any) -> EngineJob:
    name = engine.lower()
    name = _OTHER_ENGINES.get(name, name)
    if name not in ENGINES:
        raise InvalidSpec(
            f"engine {engine!r:.60} is not known", hint=f"known: {', '.join(ENGINES)}"
        )
    for what, value, most in (
        *(("threads", one, MOST_THREADS) for one in threads),
        ("containers", containers, MOST_CONTAINERS),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
            raise InvalidSpec(f"{what}: {value!r:.60} is no number from 1 to {most}")
    return EngineJob(name, threads, containers)


def _known(value: Any, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSpec(f"{where} is no mapping")
    found = {_OTHER_NAMES.get(str(key), str(key)): one for key, one in value.items()}
    if len(found) != len(value):
        raise InvalidSpec(f"{where} says the same thing by two names")
    for key in found:
        if key not in names:
            raise InvalidSpec(f"{where}: {key!r:.60} is not known",
                              hint=f"known: {', '.join(sorted(names))}")  # fmt: skip
    return found


def _command(value: Any) -> tuple[str, ...]:
    words = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(one, str) for one in words):
        raise InvalidSpec("command is neither words nor a list of them")
    return tuple(words)
