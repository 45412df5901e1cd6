"""The shim's event loop: epoll, timers, and verbs that wait.

Owns the waiting of one single-threaded process. Several parties may watch one descriptor. What a
callback raises never stops the loop: it goes to `report`, and the watch that raised is closed, as
it would raise again at once. Never forks, never knows what it is waiting for.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mobyshell.core.runtime.steps import HungUp, Readable, Sleep, Steps

T = TypeVar("T")

_IN = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_OUT = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
_AT_ONCE = 32
"""Events taken at a time; room for them is made anew each time."""
_END = select.EPOLLHUP | select.EPOLLERR


class Watch:
    """An interest in one descriptor, until `close`."""

    __slots__ = ("_loop", "callback", "closed", "fd", "mask")

    def __init__(self, loop: Loop, fd: int, mask: int, callback: Callable[[], None]) -> None:
        self._loop = loop
        self.fd = fd
        self.mask = mask
        self.callback = callback
        self.closed = False

    def close(self) -> None:
        """Stop watching; must come before the descriptor is closed."""
        if not self.closed:
            self.closed = True
            self._loop._forget(self)


class Timer:
    """A call in the future, until `cancel`."""

    __slots__ = ("callback", "cancelled", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    """Call `watch`, `call_later`, `call_soon`, `drive`; then `run` until `stop`."""

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._report = report
        self._epoll = select.epoll()
        self._watches: dict[int, list[Watch]] = {}
        self._timers: list[Timer] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._running = False
        self.driving = 0
        """How many verbs are under way."""
        self.rested: Callable[[], None] = lambda: None
        """Called when the last of them has ended, whoever waits for it, or nobody any more."""

    def watch(self, fd: int, callback: Callable[[], None], *, write: bool = False) -> Watch:
        """Call back whenever `fd` is readable (or writable), or has failed.

        Raises PermissionError for what epoll cannot watch (regular files).
        """
        return self._watch(Watch(self, fd, _OUT if write else _IN, callback))

    def watch_end(self, fd: int, callback: Callable[[], None]) -> Watch:
        """Call back once nobody has the other end of `fd` any more, or it has failed."""
        return self._watch(Watch(self, fd, _END, callback))

    def _watch(self, watch: Watch) -> Watch:
        fd = watch.fd
        others = self._watches.get(fd)
        if others is None:
            self._epoll.register(fd, watch.mask)
            self._watches[fd] = [watch]
        else:
            others.append(watch)
            self._epoll.modify(fd, self._mask(others))
        return watch

    def _mask(self, watches: list[Watch]) -> int:
        mask = 0
        for watch in watches:
            mask |= watch.mask
        return mask

    def _forget(self, watch: Watch) -> None:
        watches = self._watches.get(watch.fd)
        if watches is None or watch not in watches:
            return
        watches.remove(watch)
        try:
            if watches:
                self._epoll.modify(watch.fd, self._mask(watches))
            else:
                del self._watches[watch.fd]
                self._epoll.unregister(watch.fd)
        except OSError:
            pass  # the descriptor was closed first: the kernel has forgotten it

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back once, in `seconds`."""
        timer = Timer(time.monotonic() + seconds, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back once, after what is being handled now."""
        self._soon.append(callback)

    def drive(
        self, steps: Steps[T], done: Callable[[T | None, BaseException | None], None]
    ) -> None:
        """Run a verb beside all others; `done(result, error)` at its end, one of them None."""
        _Drive(self, steps, done).go(None)

    def stop(self) -> None:
        """Let `run` return after the callbacks under way."""
        self._running = False

    def run(self) -> None:
        """Handle events until `stop`."""
        self._running = True
        while self._running:
            self._turn()

    def _turn(self) -> None:
        while self._soon and self._running:
            self._guard(self._soon.popleft())
        if not self._running:
            return
        for fd, events in self._epoll.poll(self._patience(), _AT_ONCE):
            for watch in tuple(self._watches.get(fd, ())):
                if not watch.closed and watch.mask & events and not self._guard(watch.callback):
                    watch.close()
        now = time.monotonic()
        if self._timers and self._timers[0].due <= now:
            os.sched_yield()  # whom we have just answered is often put behind us on this processor
        while self._timers and (self._timers[0].cancelled or self._timers[0].due <= now):
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._guard(timer.callback)

    def _patience(self) -> float:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        if self._soon:
            return 0
        return max(0.0, self._timers[0].due - time.monotonic()) if self._timers else -1

    def _guard(self, callback: Callable[[], None]) -> bool:
        try:
            callback()
        except Exception as error:
            self._report(error)
            return False
        return True

    def renew(self) -> None:
        """In a forked copy: an epoll of its own (the parent's would be shared)."""
        self._epoll.close()
        self._epoll = select.epoll()
        for fd, watches in self._watches.items():
            self._epoll.register(fd, self._mask(watches))

    def close(self) -> None:
        """Release the epoll descriptor."""
        self._epoll.close()


class _Drive(Generic[T]):
    """One verb under way."""

    def __init__(
        self, loop: Loop, steps: Steps[T], done: Callable[[T | None, BaseException | None], None]
    ) -> None:
        self._loop = loop
        self._steps = steps
        self._done = done
        self._watches: list[Watch] = []
        self._timer: Timer | None = None
        loop.driving += 1

    def go(self, ready: tuple[int, ...] | None) -> None:
        for watch in self._watches:
            watch.close()
        self._watches.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            wanted = next(self._steps) if ready is None else self._steps.send(ready)
        except StopIteration as stop:
            self._end(stop.value, None)
        except Exception as error:
            self._end(None, error)
        else:
            self._wait(wanted)

    def _end(self, result: Any, error: BaseException | None) -> None:
        self._loop.driving -= 1
        try:
            self._done(result, error)
        finally:
            if not self._loop.driving:
                self._loop.rested()

    def _wait(self, wanted: Readable | HungUp | Sleep) -> None:
        if isinstance(wanted, Sleep):
            self._timer = self._loop.call_later(wanted.seconds, lambda: self.go(()))
            return
        if isinstance(wanted, HungUp):
            ended = (wanted.fd,)
            self._watches.append(self._loop.watch_end(wanted.fd, lambda: self.go(ended)))
        else:
            fds = wanted.fds
            try:
                for fd in fds:
                    self._watches.append(self._loop.watch(fd, lambda: self._ready(fds)))
            except OSError:  # a regular file, or closed: always "readable"; the verb finds out
                self._loop.call_soon(lambda: self.go(fds))
                return
        if wanted.timeout is not None:
            self._timer = self._loop.call_later(max(0.0, wanted.timeout), lambda: self.go(()))

    def _ready(self, fds: tuple[int, ...]) -> None:
        poller = select.poll()
        for fd in fds:
            poller.register(fd, select.POLLIN)
        ready = tuple(fd for fd, _ in poller.poll(0))
        if ready:
            self.go(ready)
