"""Workers that do the same at once: processes, as threads would all wait for one interpreter, and
nobody who has threads should start containers.

Owns their start together, their stop, and the language between them and the bench: a job as a line
of JSON on standard input, then `go`; `ready` and the result as lines on standard output. The end of
its input stops a worker before its next container. Ctrl-C is the bench's to hear.
"""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from mobyshell.core.errors import WorkerLost

ALL = "all"
"""Stands for a container's whole life among the operations."""

_PATIENCE = 120.0
_LONGEST = 200


@dataclass(slots=True)
class Hand:
    """What a worker has done. The times are nanoseconds, of operations; begin and end are of the
    machine's one monotonic clock."""

    times: dict[str, list[int]] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    begun: int = 0
    ended: int = 0

    def took(self, operation: str, ns: int) -> None:
        """One that went well."""
        self.times.setdefault(operation, []).append(ns)

    def failed(self, operation: str, reason: str) -> None:
        """One that did not."""
        self.errors[operation, reason[:_LONGEST]] += 1

    def ready(self) -> None:
        """Say so, and wait until all are."""
        print("ready", flush=True)
        sys.stdin.readline()
        self.begun = time.monotonic_ns()

    def stopped(self) -> bool:
        """Whether the bench has gone, or wants no more."""
        return bool(select.select([sys.stdin], [], [], 0)[0])

    def result(self) -> str:
        """As a line."""
        errors = [[*key, count] for key, count in self.errors.items()]
        return json.dumps({"times": self.times, "errors": errors,
                           "begun": self.begun, "ended": self.ended})  # fmt: skip

    @classmethod
    def of(cls, line: str) -> Hand:
        """What a worker's line says."""
        told = json.loads(line)
        errors = Counter(
            {(operation, reason): count for operation, reason, count in told["errors"]}
        )
        return cls(told["times"], errors, told["begun"], told["ended"])


def serve(work: Callable[[dict[str, Any], Hand], None]) -> int:
    """A worker's main: do the job that standard input says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hand = Hand()
    job = sys.stdin.readline()
    if not job:
        return 0  # the bench was interrupted
    work(json.loads(job), hand)
    hand.ended = time.monotonic_ns()
    print(hand.result(), flush=True)
    return 0


class Crew:
    """Workers of one program, a job each. Used as a context manager: at its end none is left."""

    def __init__(self, module: str, jobs: Sequence[Mapping[str, Any]]) -> None:
        self._workers: list[subprocess.Popen[str]] = []
        try:
            for job in jobs:
                worker = subprocess.Popen(
                    [sys.executable, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    text=True, bufsize=1, process_group=0,  # Ctrl-C is not theirs
                )  # fmt: skip
                self._workers.append(worker)
                self._say(worker, json.dumps(job))
        except BaseException:
            self._end(0)
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._end(_PATIENCE)

    def run(self) -> list[Hand]:
        """Let all begin at once; what they have done. WorkerLost if one of them ends early."""
        for worker in self._workers:
            if self._hear(worker) != "ready\n":
                raise WorkerLost("a worker of the bench did not say that it is ready")
        for worker in self._workers:
            self._say(worker, "go")
        return [Hand.of(self._hear(worker)) for worker in self._workers]

    def _say(self, worker: subprocess.Popen[str], line: str) -> None:
        assert worker.stdin is not None
        try:
            worker.stdin.write(line + "\n")
            worker.stdin.flush()
        except BrokenPipeError:
            raise WorkerLost("a worker of the bench has ended") from None

    def _hear(self, worker: subprocess.Popen[str]) -> str:
        assert worker.stdout is not None
        line = worker.stdout.readline()
        if not line:
            raise WorkerLost("a worker of the bench has ended")
        return line

    def stop(self) -> list[Hand]:
        """Let each finish the container it has in hand; what they did until then."""
        hands = []
        for worker in self._workers:
            if worker.stdin is not None:
                worker.stdin.close()
        for worker in self._workers:
            assert worker.stdout is not None
            lines = [line for line in worker.stdout if line != "ready\n"]
            hands += [Hand.of(line) for line in lines[-1:]]
        return hands

    def _end(self, patience: float) -> None:
        for worker in self._workers:
            if worker.stdin is not None and not worker.stdin.closed:
                try:
                    worker.stdin.close()
                except BrokenPipeError:
                    pass
        for worker in self._workers:
            try:
                worker.wait(patience)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()
