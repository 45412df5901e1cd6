"""The door of a face's process (a command, the workbench, the REPL): closed until somebody knocks.

A knock is a signal. Until it comes the door is one signal handler, and nothing else is imported;
then a thread opens a socket below the state root and answers. Not for processes that fork (the
shim has a socket in its loop, the keeper says its stacks another way), and nothing that a library
does by itself: the signals of a script that uses `Moby` are its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` without its enums
import _thread
import sys

TYPE_CHECKING = False  # see commands.registry: every call of `mobyshell` comes through here
if TYPE_CHECKING:
    from collections.abc import Callable

KNOCK = 34 + 9
"""The signal: a real-time one (signal(7)) that nobody sends by habit. 34 is glibc's SIGRTMIN."""

DIRECTORY = ".debug"
"""Where opened doors are, below the state root: `<state>/.debug/PID`, for the owner alone."""


def hang(state: Callable[[], str]) -> None:
    """From now on a knock is answered, at a socket below the directory that `state` makes and names.

    Only the main thread may take signals: in another one nothing happens.
    """

    opened: list[bool] = []  # with a member while it is

    def knocked(number: int, frame: object) -> None:
        if not opened:
            opened.append(True)
            if "threading" not in sys.modules:  # it takes who imports it for the main thread
                import threading  # noqa: F401
            try:
                _thread.start_new_thread(_serve, (state, opened))
            except RuntimeError:
                opened.clear()  # no thread to be had: whoever knocked is told by the time

    try:
        _signal.signal(KNOCK, knocked)
    except ValueError:
        pass


def _serve(state: Callable[[], str], opened: list[bool]) -> None:
    # here, not in the handler: that may have interrupted an import
    from mobyshell.core.debug.attend import attend

    try:
        attend(state())
    except Exception:
        pass  # no directory to be had: whoever knocked is told by the time
    finally:
        opened.clear()
