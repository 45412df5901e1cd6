"""Measures that are made up, for tests whose subject is the screen."""

from __future__ import annotations

from mobyshell.core.linux.pressure import Pressure, Stall
from mobyshell.core.runtime.values import Stats
from mobyshell.core.tasks.sampler import Measured, Reading, Who

SECOND = 1_000_000_000
WEB, DB = ("default", "web"), ("blue", "db")


class FakeMeter:
    """A second passes with each look: `web` uses more and more, `db` sleeps."""

    def __init__(self) -> None:
        self.looks = 0
        self.tasks: tuple[Who, ...] = (WEB, DB)
        self.pressure = True
        self.broken: Exception | None = None
        self._cpu = self._io = self._waited = 0

    def measure(self) -> Measured:
        if self.broken is not None:
            raise self.broken
        self.looks += 1
        now = self.looks * SECOND
        self._cpu += (self.looks % 10) * SECOND // 10
        self._io += (self.looks % 7) * 100_000
        self._waited += (self.looks % 5) * 20_000
        waited = Pressure(Stall(6.2, 4.1, 3.0, self._waited), Stall(0.0, 0.0, 0.0, 0))
        web = Stats(
            now, self._cpu, 0, (20 + self.looks % 10) << 20, 64 << 20, 0, 3, 44, self._io, 0
        )
        db = Stats(now, SECOND, 2 * SECOND, 8 << 20, None, 0, 1, None, None, None)
        found = {WEB: Reading(now, web, {"cpu": waited}), DB: Reading(now, db)}
        tasks = {who: found[who] for who in self.tasks}
        if not self.pressure:
            return Measured(now, tasks, {}, "this kernel tells no pressure (PSI): there is no "
                            "/proc/pressure\na kernel built with CONFIG_PSI=y")  # fmt: skip
        still = Pressure(Stall(0.0, 0.0, 0.1, 1000))
        return Measured(now, tasks, {"cpu": waited, "memory": still, "io": still})
