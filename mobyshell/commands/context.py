"""What a verb is given beside its arguments: where tasks live, who asks, what is allowed."""

from __future__ import annotations

import _thread
import os
import sys

from mobyshell.core.errors import Refused

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from mobyshell.commands.cli import Options
    from mobyshell.commands.registry import Verb
    from mobyshell.core.clock import Clock
    from mobyshell.core.runtime import Host
    from mobyshell.core.store.store import Namespace, Store
    from mobyshell.core.tasks.service import TaskInfo, Tasks


class Context:
    """One face's session. `interactive`: there is a person at a terminal who can be attached, and
    asked; `yes`: who has said so to every question already."""

    def __init__(
        self,
        *,
        root: str | None = None,
        state: str | None = None,
        namespace: str | None = None,
        readonly: bool = False,
        interactive: bool = False,
        yes: bool = False,
        tasks: Tasks | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root, self._state, self._namespace = root, state, namespace
        self.readonly, self.yes = readonly, yes
        self.interactive = interactive
        self._tasks, self._clock = tasks, clock
        self._given = tasks is not None
        self._host: Host | None = None
        self._store: Store | None = None
        self._opening = _thread.allocate_lock()  # threading's own costs an import
        self.quiet = False
        """Whether nothing is to be said but what was asked for, and errors (`-q`)."""

        self.narrate: Callable[[str], object] | None = None
        """Who takes what is said to a person, where stderr is not to be written to (a screen)."""

        self.ask_secret: Callable[[str], str] | None = None
        """Who asks a person for a password, where the terminal is not to be read (a screen)."""

    @classmethod
    def of(cls, options: Options) -> Context:
        """The session that the global options ask for, at this process's terminal."""
        made = cls(root=options.root, state=options.state, namespace=options.namespace,
                   readonly=options.readonly, yes=options.yes,
                   interactive=sys.stdin.isatty() and sys.stdout.isatty())  # fmt: skip
        made.quiet = options.quiet
        return made

    @property
    def tasks(self) -> Tasks:
        """The tasks, connected when first asked for."""
        if self._tasks is None:
            from mobyshell.core.tasks.client import TaskClient

            self._tasks = TaskClient(self._state, self._namespace)
        return self._tasks

    def listed(self) -> Sequence[TaskInfo | dict[str, Any]]:
        """The tasks, or their fields: whoever only lists them need not be connected."""
        if self._tasks is not None:
            return self._tasks.ls()
        from mobyshell.core.tasks.listing import list_fields

        return list_fields(self.state, self.namespace)

    def every_task(self) -> list[TaskInfo]:
        """The tasks of all namespaces of the state root."""
        found: list[TaskInfo] = getattr(self.tasks, "everywhere", self.tasks.ls)()
        return found

    @property
    def root(self) -> str:
        """The store's root, absolute: what is kept when the machine is switched off."""
        from mobyshell.core.tasks.paths import store_root

        return os.path.abspath(self._root or store_root())

    @property
    def has_store(self) -> bool:
        """Whether there is a store to look into: one that is only looked for is not made."""
        return os.path.exists(os.path.join(self.root, "meta.db"))

    @property
    def store(self) -> Store:
        """The store, opened (and made) when first asked for."""
        with self._opening:  # the workbench's threads want it at the same time
            if self._store is None:
                from pathlib import Path

                from mobyshell.core.store.store import Store

                self._store = Store.open(Path(self.root), clock=self._clock)
            return self._store

    @property
    def space(self) -> Namespace:
        """What the session's namespace has in the store."""
        return self.store.namespace(self.namespace)

    @property
    def state(self) -> str:
        """The state root, absolute."""
        from mobyshell.core.tasks.paths import state_root

        return os.path.abspath(self._state or state_root())

    @property
    def namespace(self) -> str:
        """The namespace, of tasks and of what is in the store."""
        from mobyshell.core.tasks.paths import default_namespace

        return self._namespace or default_namespace()

    def move(self, namespace: str) -> None:
        """Be in another namespace from now on. What is being read in the old one is read on."""
        self._namespace = namespace
        if not self._given:
            self._tasks = None

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

    @property
    def words(self) -> list[str]:
        """The global options that give another process the same session."""
        flags = ["--state", self.state, "--namespace", self.namespace]
        if self._root:
            flags += ["--root", self.root]
        return [*flags, *(["--readonly"] if self.readonly else [])]

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

    def confirm(self, verb: Verb, arguments: dict[str, Any]) -> None:
        """Ask a person before files are deleted that nothing brings back. Refused if they say no.

        Only at a terminal: in a script the words themselves are the decision.
        """
        if not verb.confirm or self.yes or not self.interactive:
            return
        from mobyshell.commands.output import clean

        subject = arguments.get(verb.positional[0].name, "") if verb.positional else ""
        if isinstance(subject, (tuple, list)):
            subject = " ".join(map(str, subject))
        print(f"{verb.name} {clean(str(subject))}: {verb.confirm} [y/N] ", end="",
              file=sys.stderr, flush=True)  # fmt: skip
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Refused(f"{verb.name} is not confirmed", hint="answer y, or give --yes")

    def secret(self, prompt: str) -> str:
        """A password, which is not shown while it is typed. For who is `interactive`."""
        if self.ask_secret is not None:
            return self.ask_secret(prompt)
        import getpass

        return getpass.getpass(f"{prompt}: ")

    def say(self, text: str) -> None:
        """Narration for a person: a line on stderr, or what `narrate` makes of it."""
        if self.quiet:
            return
        if self.narrate is not None:
            self.narrate(text)
            return
        from mobyshell.commands.output import clean

        print(clean(text), file=sys.stderr)

    def close(self) -> None:
        """Hang up."""
        close = getattr(self._tasks, "close", None)
        if close is not None:
            close()
        if self._store is not None:
            self._store.close()
            self._store = None
