"""One call of the runtime: its global options, its flags, and the runtime it acts on."""

from __future__ import annotations

import os

from mobyshell.runc import place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from mobyshell.core.events import Payload
    from mobyshell.core.runtime.runtime import Runtime
    from mobyshell.runc.flags import Flags
    from mobyshell.runc.log import Log


class Failure(Exception):
    """The call ends with this message, and with `status` instead of 1 if that is given."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Call:
    """What a command gets."""

    def __init__(self, command: str, options: Flags, flags: Flags, log: Log) -> None:
        self.command, self.options, self.flags, self.log = command, options, flags, log

    @property
    def id(self) -> str:
        """The container: the first argument of nearly every command."""
        return self.flags.words[0]

    def root(self) -> Path:
        """Where the states of containers are."""
        from pathlib import Path

        given = self.options.text("root")
        if given:
            return Path(os.path.abspath(given))
        own = place.own()
        if not own:
            return Path(place.ROOTS)
        mine = Path(own)
        # sticky, so that nobody tidies it away with the temporary files (XDG base directories)
        mine.mkdir(mode=0o700, exist_ok=True)
        mine.chmod(0o1700)
        return mine

    def told(self, id: str, event: Payload) -> None:
        """What the library tells and goes on: that a hook failed when all was over."""
        from mobyshell.core.events import Failed

        if isinstance(event, Failed) and event.verb == "poststop":
            self.log.warning(event.error["message"])

    def runtime(self) -> Runtime:
        from mobyshell.core.runtime.runtime import Runtime

        return Runtime(self.root(), systemd=self.options.on("systemd-cgroup"))
