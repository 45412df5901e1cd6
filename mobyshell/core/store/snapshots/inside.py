"""What takes the owners of files, done by a program in their user namespace: trees made, measured,
removed.

    python -I -S inside.py PATH…       PATH: where our modules are; started through `owners.enter`

It reads a JSON line for each request and answers with one, and ends when nobody asks any more. `Inside`
is the other end. A user without root is root in there, and only there: what they see of a tree from
outside may be closed to them.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # run by its path, as -I leaves sys.path bare; not to be loaded twice
    sys.path += sys.argv[1:]
    from mobyshell.core.store.snapshots.inside import main as _main

    sys.exit(_main())

import json
import subprocess
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported
from mobyshell.core.linux.interpreter import import_paths
from mobyshell.core.store.snapshots import trees
from mobyshell.core.store.snapshots.driver import Driver
from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.protocol import Form, Kind, Mount, Usage


class Inside:
    """The program, started when it is first asked; its end comes with this object's. For any number
    of threads."""

    def __init__(self, enter: Sequence[str]) -> None:
        self._enter = tuple(enter)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def remove(self, path: Path) -> Usage:
        """`trees.remove`. OSError."""
        return Usage(*self.ask("remove", str(path.parent), path.name))

    def give(self, path: Path, uid: int, gid: int, mode: int | None) -> None:
        """Let a file, or a link itself, belong to these ids of the namespace. OSError."""
        self.ask("give", str(path), uid, gid, mode)

    def mark(self, path: Path, name: str, value: bytes) -> None:
        """Give a file an extended attribute, as root of the namespace. OSError."""
        self.ask("mark", str(path), name, value.hex())

    def difference(self, one: str, other: str) -> str:
        """`sameness.difference`. OSError."""
        return str(self.ask("difference", one, other)[0])

    def ask(self, what: str, *words: Any) -> list[Any]:
        """One request. OSError as it came in there; Unsupported where there is no such namespace."""
        with self._lock:
            process = self._process
            if process is None or process.poll() is not None:
                process = self._process = self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps([what, *words]) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            if not line:
                raise self._lost(process)
        answer = json.loads(line)
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["path"])
        done: list[Any] = answer["done"]
        return done

    def _start(self) -> subprocess.Popen[str]:
        python = getattr(sys, "_base_executable", None) or sys.executable
        words = [*self._enter, python, "-I", "-S", __file__, *import_paths()]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)  # fmt: skip
        weakref.finalize(self, _end, process)
        return process

    def _lost(self, process: subprocess.Popen[str]) -> MobyshellError:
        assert process.stderr is not None
        said = process.stderr.read(4096).strip().rpartition("\n")[2].removeprefix("mobyshell: ")
        _end(process)
        return Unsupported(f"there is no user namespace for the files of this store: {said}",
                           hint="mobyshell doctor --all")  # fmt: skip


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()


class Entered:
    """A `driver.Driver` of files that belong to several: another one, asked in there."""

    def __init__(self, driver: Driver, inside: Inside) -> None:
        self._driver, self._inside = driver, inside

    @property
    def name(self) -> str:
        return self._driver.name

    @property
    def form(self) -> Form:
        return self._driver.form

    @property
    def rebases(self) -> bool:
        return self._driver.rebases

    def check(self, directory: Path) -> None:
        self._driver.check(directory)

    def make(self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps) -> None:
        if maps:
            raise Unsupported("ids are mapped for another user namespace by root only",
                              hint="a container of a user who is not root is in one anyway")  # fmt: skip
        if parents:
            self._inside.ask("make", self.name, str(tree), str(kind), [str(one) for one in parents])
        else:
            self._driver.make(tree, kind, parents, maps)

    def mounts(
        self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps
    ) -> tuple[Mount, ...]:
        return self._driver.mounts(tree, kind, parents, maps)

    def measure(self, tree: Path, parents: Sequence[Path]) -> Usage:
        return Usage(
            *self._inside.ask("measure", self.name, str(tree), [str(one) for one in parents])
        )

    def settle(self, tree: Path) -> None:
        self._inside.ask("settle", self.name, str(tree))


def _make(name: str, tree: str, kind: str, parents: list[str]) -> list[Any]:
    _driver(name).make(Path(tree), Kind(kind), [Path(one) for one in parents], IdMaps())
    return []


def _measure(name: str, tree: str, parents: list[str]) -> list[Any]:
    found = _driver(name).measure(Path(tree), [Path(one) for one in parents])
    return [found.size, found.inodes]


def _settle(name: str, tree: str) -> list[Any]:
    _driver(name).settle(Path(tree))
    return []


def _remove(above: str, name: str) -> list[Any]:
    parent = os.open(above, trees.DIRECTORY)
    try:
        gone = trees.remove(parent, name)
    finally:
        os.close(parent)
    return [gone.size, gone.inodes]


def _give(path: str, uid: int, gid: int, mode: int | None) -> list[Any]:
    os.chown(path, uid, gid, follow_symlinks=False)
    if mode is not None:
        os.chmod(path, mode)  # chown(2) took setuid away
    return []


def _mark(path: str, name: str, value: str) -> list[Any]:
    os.setxattr(path, name, bytes.fromhex(value), follow_symlinks=False)
    return []


def _difference(one: str, other: str) -> list[Any]:
    from mobyshell.core.store.snapshots.sameness import difference

    return [difference(one, other)]


_DONE: dict[str, Callable[..., list[Any]]] = {
    "make": _make, "measure": _measure, "settle": _settle, "remove": _remove, "give": _give,
    "mark": _mark, "difference": _difference,
}  # fmt: skip


def _driver(name: str) -> Driver:
    from mobyshell.core.store.snapshots.choose import DRIVERS

    return DRIVERS[name]()


def main() -> int:
    """The program."""
    os.umask(0o022)
    for line in sys.stdin:
        what, *words = json.loads(line)
        answer: dict[str, Any]
        try:
            answer = {"done": _DONE[what](*words)}
        except SyscallFailed as error:
            answer = {"errno": error.errno, "path": error.path}
        except OSError as error:
            answer = {"errno": error.errno, "path": str(error.filename or "")}
        print(json.dumps(answer), flush=True)
    return 0
