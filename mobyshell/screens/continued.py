"""What becomes of the terminal when the workbench was stopped, and is continued.

Owns who may be stopped, and the one handler of SIGCONT. Textual's takes the terminal again as if it
had been given back; that is so after SIGTSTP, which can be heard, and not after SIGSTOP (`kill
-STOP`, a debugger, a supervisor): then there would be a second thread that reads the keys, and each
would get some.
"""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver


def has_a_shell() -> bool:
    """Whether somebody can continue this process group who stops: a parent of its first process, in
    another group of the same session (setpgid(2), "orphaned process group")."""
    leader = os.getpgrp()
    try:
        with open(f"/proc/{leader}/stat") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        return os.getsid(parent) == os.getsid(0) and os.getpgid(parent) != leader
    except OSError:
        return False  # it has ended, and whoever started it may go on without us


def continue_well(driver: Driver | None) -> None:
    """Give the terminal back first, if nobody has: whoever had it meanwhile may have changed it.

    Not where the signal comes: that may be in the middle of writing to the terminal, whose thread
    would be waited for with its queue's lock in hand.
    """
    loop = asyncio.get_running_loop()
    known = signal.getsignal(signal.SIGCONT)
    if not isinstance(driver, LinuxDriver) or not callable(known):
        return

    def again(number: int) -> None:
        if driver._auto_restart and not driver._must_signal_resume:
            driver.suspend_application_mode()
            driver._must_signal_resume = True  # all is painted anew
        known(number, None)

    def continued(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(again, number)

    signal.signal(signal.SIGCONT, continued)
