"""Where the forms of recorded calls are, with which their numbers are read.

Owns `<state>/.forms`, a file for each of the latest, and a link to it in the directory of every
container whose trace needs it: so a form is there as long as such a container, once for all of them.
"""

from __future__ import annotations

import os
from contextlib import suppress

from mobyshell.core.runtime.lines import Run
from mobyshell.core.runtime.trace import form_path
from mobyshell.core.tasks.paths import FORMS, container_dir
from mobyshell.core.tasks.records import write_atomically

_KEPT = 16
"""Forms that the next container may need; others are only where they are used."""


class Forms:
    """Those of one state root."""

    def __init__(self, state: str) -> None:
        self._state, self._directory = state, f"{state}/{FORMS}"
        self._there: dict[str, None] = {}

    def keep(self, namespace: str, id: str, run: Run) -> str | None:
        """What is to be recorded of a run of `id`, whose form is with it then; None if it is to be
        recorded call by call."""
        name = run.form()
        if not name:
            return None
        path = f"{self._directory}/{name}"
        try:
            if name not in self._there:
                if not os.path.isdir(self._directory):
                    os.mkdir(self._directory, 0o700)
                write_atomically(path, run.text())
            self._there.pop(name, None)
            self._there[name] = None
            while len(self._there) > _KEPT:
                oldest = next(iter(self._there))
                del self._there[oldest]
                os.unlink(f"{self._directory}/{oldest}")
            with suppress(FileExistsError):  # an earlier run of this program
                os.link(path, form_path(container_dir(self._state, namespace, id), name))
        except OSError:
            self._there.pop(name, None)
            return None
        return run.data()

    def clear(self) -> None:
        """Keep none for the next container."""
        self._there.clear()
        with suppress(OSError):
            for name in os.listdir(self._directory):
                os.unlink(f"{self._directory}/{name}")
            os.rmdir(self._directory)
