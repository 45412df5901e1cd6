"""What a verb is given beside its arguments: where tasks live, who asks, what is allowed."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mobyshell.core.errors import Refused

if TYPE_CHECKING:
    from mobyshell.commands.registry import Verb
    from mobyshell.core.clock import Clock
    from mobyshell.core.runtime import Host
    from mobyshell.core.tasks.service import Tasks


class Context:
    """One face's session. `interactive`: there is a person at a terminal who can be attached."""

    def __init__(
        self,
        *,
        state: str | None = None,
        namespace: str | None = None,
        readonly: bool = False,
        interactive: bool = False,
        tasks: Tasks | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._state, self._namespace = state, namespace
        self.readonly = readonly
        self.interactive = interactive
        self._tasks, self._clock = tasks, clock
        self._host: Host | None = None

    @property
    def tasks(self) -> Tasks:
        """The tasks, connected when first asked for."""
        if self._tasks is None:
            from mobyshell.core.tasks.client import TaskClient

            self._tasks = TaskClient(self._state, self._namespace)
        return self._tasks

    @property
    def state(self) -> str:
        """The state root, absolute."""
        from mobyshell.core.tasks.paths import state_root

        return os.path.abspath(self._state or state_root())

    @property
    def namespace(self) -> str:
        """The namespace of tasks."""
        from mobyshell.core.tasks.paths import default_namespace

        return self._namespace or default_namespace()

    @property
    def clock(self) -> Clock:
        """The time."""
        if self._clock is None:
            from mobyshell.core.clock import SystemClock

            self._clock = SystemClock()
        return self._clock

    @property
    def host(self) -> Host:
        """The machine, as the planner sees it."""
        if self._host is None:
            from mobyshell.core.runtime import Host

            self._host = Host.detect()
        return self._host

    def host_or_none(self) -> Host | None:
        """The machine; None where it cannot be looked at."""
        from mobyshell.core.errors import MobyshellError

        try:
            return self.host
        except (MobyshellError, OSError):
            return None

    def permit(self, verb: Verb) -> None:
        """Refuse what read-only mode does not allow."""
        if self.readonly and verb.effect != "read":
            raise Refused(
                f"{verb.name} is refused: this is read-only", hint="leave --readonly away"
            )

    def say(self, text: str) -> None:
        """Narration for a person: stderr."""
        print(text, file=sys.stderr)

    def close(self) -> None:
        """Hang up."""
        close = getattr(self._tasks, "close", None)
        if close is not None:
            close()
