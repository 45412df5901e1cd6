"""A worker of `bench stress`: containers of an image come and go, some of them rudely, until the time
is over. Each life is checked: who was killed says so, and what is deleted is gone.

A program of its own (`python -m mobyshell.bench.stress_hand`); its language is `crew`'s.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mobyshell.bench.crew import ALL, Hand, serve
from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.moby.client import Moby
from mobyshell.moby.container import (
    Container,
    with_image,
    with_new_snapshot,
    with_new_spec,
    with_snapshot_cleanup,
)
from mobyshell.moby.image import Image
from mobyshell.moby.spec_options import with_image_config
from mobyshell.moby.task import Task

_PATIENCE = 60.0
_KILLED = 128 + signal.SIGKILL
RUDE = 0.3
"""How many of the containers do not come to the regular end."""


class _Failed(Exception):
    """An operation that was counted as failed."""


class Stresser:
    """One worker's containers. `ids` are unlike any other worker's."""

    def __init__(self, moby: Moby, hand: Hand, job: dict[str, Any]) -> None:
        self._moby, self._hand = moby, hand
        self._prefix: str = job["prefix"]
        self._name: str = job["image"]
        self._pull: bool = job["pull"]
        self._random = random.Random(job["prefix"])
        self._id = ""
        self._tag = f"{self._name.rpartition(':')[0]}:{job['tag']}" if self._pull else self._name

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        begun = time.perf_counter_ns()
        try:
            yield
        except _Failed:
            raise
        except Exception as error:
            kind = "" if isinstance(error, MobyshellError) else f"{type(error).__name__}: "
            self._hand.failed(operation, f"{kind}{error}".replace(self._id, "ID"))
            raise _Failed from error
        self._hand.took(operation, time.perf_counter_ns() - begun)

    def life(self, number: int) -> None:
        """One container, from its image on."""
        self._id = f"{self._prefix}c{number}"
        begun = time.perf_counter_ns()
        try:
            image = self._image()
            container = self._create(image)
            self._live(container)
            with self._timed("delete"):
                container.delete(with_snapshot_cleanup)
                self._must_be_gone()
            if self._pull:
                with self._timed("remove image"):
                    image.delete()
            self._hand.took(ALL, time.perf_counter_ns() - begun)
        except _Failed:
            self._clean()

    def _image(self) -> Image:
        if not self._pull:
            return self._moby.image(self._name)
        with self._timed("pull"):
            return self._moby.pull(self._tag)

    def _create(self, image: Image) -> Container:
        with self._timed("create"):
            return self._moby.new_container(
                self._id, with_image(image), with_new_snapshot(self._id, image),
                with_new_spec(with_image_config("/bin/sleep", "100000")),
            )  # fmt: skip

    def _live(self, container: Container) -> None:
        with self._timed("task"):
            task = container.new_task()
        ways: tuple[Callable[[Task], None], ...] = (
            self._kill_created, self._delete_running, self._kill_while_executing, self._pause,
        )  # fmt: skip
        if self._random.random() < RUDE:
            self._random.choice(ways)(task)
            return
        with self._timed("start"):
            task.start()
        self._exec(task)
        self._end(task)

    def _exec(self, task: Task) -> None:
        with self._timed("exec"):
            process = task.exec(["/bin/sh", "-c", "exit 7"])
            status = self._wait(process.exec_id)
            if status != 7:
                raise MobyshellError(f"sh -c 'exit 7' exited with {status}")

    def _end(self, task: Task) -> None:
        with self._timed("kill"):
            task.kill(signal.SIGKILL)
            self._killed(self._wait())
        with self._timed("delete task"):
            self._killed(task.delete())

    def _kill_created(self, task: Task) -> None:
        with self._timed("kill created"):
            task.kill(signal.SIGKILL)
            self._killed(self._wait())
            task.delete()

    def _delete_running(self, task: Task) -> None:
        with self._timed("delete running"):
            task.start()
            self._killed(task.delete(force=True))

    def _kill_while_executing(self, task: Task) -> None:
        with self._timed("kill while executing"):
            task.start()
            process = task.exec(["/bin/sleep", "100000"])
            task.kill(signal.SIGKILL)
            self._killed(self._wait())
            self._killed(self._wait(process.exec_id))
            task.delete()

    def _pause(self, task: Task) -> None:
        with self._timed("pause"):
            task.start()
            task.pause()
            task.resume()
        self._end(task)

    def _wait(self, exec_id: str = "") -> int:
        tasks = self._moby.tenant.tasks
        return tasks.wait(self._id, exec_id=exec_id, timeout=_PATIENCE)

    def _killed(self, status: int) -> None:
        if status != _KILLED:
            raise MobyshellError(f"who was killed says {status}")

    def _must_be_gone(self) -> None:
        for what, look in (("container", lambda: self._moby.container(self._id)),
                           ("task", lambda: self._moby.tenant.tasks.get(self._id))):  # fmt: skip
            try:
                look()
            except NotFound:
                continue
            raise MobyshellError(f"the {what} is still there after its deletion")

    def _clean(self) -> None:
        """What a failure left is not to be the next one's failure."""
        steps: tuple[Callable[[], object], ...] = (
            lambda: self._moby.tenant.tasks.delete(self._id, force=True),
            lambda: self._moby.container(self._id).delete(with_snapshot_cleanup),
            self._drop_image,
        )
        for step in steps:
            try:
                step()
            except MobyshellError:
                continue

    def _drop_image(self) -> None:
        if self._pull:
            self._moby.image(self._tag).delete()


def work(job: dict[str, Any], hand: Hand) -> None:
    """Until the time is over, or the bench wants no more."""
    with Moby(job["root"], job["state"], job["namespace"]) as moby:
        stresser = Stresser(moby, hand, job)
        hand.ready()
        until = time.monotonic() + job["seconds"]
        number = 0
        while time.monotonic() < until and not hand.stopped():
            stresser.life(number)
            number += 1


if __name__ == "__main__":
    sys.exit(serve(work))
