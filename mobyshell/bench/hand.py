"""A worker of `bench run`: makes containers one after the other, and takes the time of each operation.

A program of its own (`python -m mobyshell.bench.hand`), small, so that its size adds nothing to the
time of a program it starts; several of them are what other benches have threads for. What it is told
and tells is `crew`'s language.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from typing import Any

from mobyshell.bench.crew import ALL, Hand, serve
from mobyshell.bench.stand import leave, start
from mobyshell.core.errors import MobyshellError

_PATIENCE_MS = 30_000


class Engine:
    """One that is a program."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._directory: str = job["directory"]
        self._execs = 0

    def do(self, operation: str, id: str) -> int:
        """Nanoseconds that the operation took. MobyshellError if it failed."""
        commands = self._job["commands"][operation]
        if not commands:
            raise MobyshellError(f"{self._job['engine']} has no {operation}")
        held = self._hold(id) if self._job["signals"] and operation in ("kill", "stop") else -1
        try:
            begun = time.perf_counter_ns()
            for command in commands:
                self._run(command, id)
            if held >= 0:
                poller = select.poll()
                poller.register(held, select.POLLIN)
                if not poller.poll(_PATIENCE_MS):
                    raise MobyshellError(f"{operation}: the process did not end")
            return time.perf_counter_ns() - begun
        finally:
            if held >= 0:
                os.close(held)

    def _run(self, command: list[str], id: str) -> None:
        self._execs += 1
        known = {"{id}": id, "{pid}": f"{self._directory}/{id}.pid", "{exec}": f"e{self._execs}"}
        _, status, said = start([known.get(word, word) for word in command])
        if status:
            # runtimes' logs begin with the time, which makes each failure another
            said = said.partition(' msg="')[2].rstrip('"') or said or "no message"
            raise MobyshellError(f"exited with {status}: {said}".replace(id, "ID"))

    def _hold(self, id: str) -> int:
        try:
            with open(f"{self._directory}/{id}.pid") as file:
                return os.pidfd_open(int(file.read()))
        except (OSError, ValueError) as error:
            raise MobyshellError(f"its process is not there: {error}".replace(id, "ID")) from None

    def remove(self, id: str) -> None:
        """Take the container away, whatever there is of it."""
        for command in self._job["remove"]:
            start([word.replace("{id}", id) for word in command])
        try:
            os.unlink(f"{self._directory}/{id}.pid")
        except FileNotFoundError:
            pass


class Library:
    """Ours, in this process."""

    def __init__(self, job: dict[str, Any]) -> None:
        from mobyshell.core.tasks.client import TaskClient

        self._tasks = TaskClient(job["state"], "bench")
        self._bundle: str = job["bundle"]

    def do(self, operation: str, id: str) -> int:
        """As `Engine.do`."""
        verbs: dict[str, Callable[[str], object]] = {
            "run": self._run, "create": self._create,
            "start": self._tasks.start, "exec": self._exec, "pause": self._tasks.pause,
            "resume": self._tasks.resume, "state": self._tasks.get,
            "list": lambda _: self._tasks.ls(), "metrics": self._tasks.stats, "kill": self._kill,
            "stop": self._kill, "delete": self._tasks.delete,
        }  # fmt: skip
        begun = time.perf_counter_ns()
        verbs[operation](id)
        return time.perf_counter_ns() - begun

    def _create(self, id: str) -> None:
        self._tasks.create(id, self._bundle)

    def _run(self, id: str) -> None:
        self._create(id)
        self._tasks.start(id)

    def _exec(self, id: str) -> None:
        process = self._tasks.exec(id, ["/bin/true"])
        status = self._tasks.wait(id, exec_id=process.exec_id, timeout=_PATIENCE_MS / 1000)
        if status:
            raise MobyshellError(f"/bin/true exited with {status}")

    def _kill(self, id: str) -> None:
        self._tasks.kill(id, 9)
        self._tasks.wait(id, timeout=_PATIENCE_MS / 1000)

    def remove(self, id: str) -> None:
        """As `Engine.remove`."""
        try:
            self._tasks.delete(id, force=True)
        except MobyshellError:
            pass  # there is none


def work(job: dict[str, Any], hand: Hand) -> None:
    """One container after the other, the first of them not counted."""
    if job["without"]:
        leave(job["without"])
    os.environ.update(job["environment"])
    engine = Library(job) if job["engine"] == "library" else Engine(job)
    _life(engine, job, f"{job['prefix']}w", Hand())
    hand.ready()
    for number in range(job["containers"]):
        if hand.stopped():
            break
        _life(engine, job, f"{job['prefix']}c{number}", hand)


def _life(engine: Engine | Library, job: dict[str, Any], id: str, hand: Hand) -> None:
    whole = 0
    try:
        for operation in job["operations"]:
            try:
                spent = engine.do(operation, id)
                hand.took(operation, spent)
                whole += spent
            except (MobyshellError, OSError) as error:
                hand.failed(operation, str(error))
                return
        hand.took(ALL, whole)
    finally:
        engine.remove(id)


if __name__ == "__main__":
    sys.exit(serve(work))
