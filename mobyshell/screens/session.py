"""What every screen is given, and how any of them runs a verb of the table.

Owns the way from a verb to the world: read-only mode, confirmation of what destroys, a thread for
what blocks, and what becomes of the answer. Screens never call the store.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mobyshell.commands import output
from mobyshell.commands import results as r
from mobyshell.commands.arguments import parse
from mobyshell.commands.context import Context
from mobyshell.commands.registry import DESTROY, TASK, Verb, lookup
from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.tasks.service import Tasks
from mobyshell.screens.result import ResultScreen
from mobyshell.widgets.background import Failed, in_thread
from mobyshell.widgets.confirm import Confirm

if TYPE_CHECKING:
    from mobyshell.screens.app import MobyshellApp

# verbs that take over the terminal when they are not told to stay in the background
_FOREGROUND = frozenset({"task run", "task exec", "task attach", "ns enter", "bundle run"})


@dataclass(frozen=True, slots=True)
class Request:
    """A verb with its arguments, ready to run, and the words it was made from."""

    verb: Verb
    arguments: dict[str, Any]
    words: tuple[str, ...]

    @property
    def in_foreground(self) -> bool:
        """Whether it wants the terminal."""
        return self.verb.name in _FOREGROUND and not self.arguments.get("detach")

    @property
    def subjects(self) -> list[str]:
        """What it acts on."""
        first = self.verb.positional[:1]
        value = self.arguments.get(first[0].name) if first else None
        return (
            list(value) if isinstance(value, tuple) else [value] if isinstance(value, str) else []
        )


def request(words: Sequence[str]) -> Request:
    """The request that `words` say. UsageError if they say none."""
    verb, rest = lookup(list(words))
    return Request(verb, parse(verb, rest), tuple(words))


class Session:
    """One per app. `context` is the verbs'; `tasks` the service, which only threads may call."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    def tasks(self) -> Tasks:
        return self.context.tasks

    @property
    def readonly(self) -> bool:
        return self.context.readonly

    def perform(
        self, app: MobyshellApp, words: Sequence[str], then: Callable[[], object] | None = None
    ) -> None:
        """Run what `words` say, as a person at a key or at the `:` line asked for it."""
        try:
            wanted = request(words)
            self.context.permit(wanted.verb)
        except MobyshellError as error:
            tell(app, error)
            return
        if wanted.verb.effect == DESTROY and not self.context.yes:
            self._confirm(app, wanted, then)
        else:
            self._run(app, wanted, then)

    def _confirm(
        self, app: MobyshellApp, wanted: Request, then: Callable[[], object] | None
    ) -> None:
        subjects = wanted.subjects
        typed = ""
        if len(subjects) > 1:
            typed = str(len(subjects))
        elif subjects and wanted.verb.name == "task delete" and wanted.arguments.get("force"):
            typed = subjects[0]
        elif subjects and wanted.verb.name == "bundle rm":
            typed = subjects[0].rstrip("/").rpartition("/")[2]
        names = ", ".join(subjects[:5]) + (" …" if len(subjects) > 5 else "")

        def answered(yes: bool | None) -> None:
            if yes:
                self._run(app, wanted, then)

        question = f"{wanted.verb.name} {names}?"
        app.push_screen(Confirm(question, wanted.verb.summary, typed=typed), answered)

    def _run(self, app: MobyshellApp, wanted: Request, then: Callable[[], object] | None) -> None:
        if wanted.in_foreground:
            suspended(app, self.command_line(wanted.words))
            if then is not None:
                then()
            return

        loop = asyncio.get_running_loop()

        def say(text: str) -> None:
            notify = partial(app.notify, text, title=wanted.verb.name, markup=False)
            loop.call_soon_threadsafe(notify)

        def run() -> r.Result:
            self.context.narrate = say
            return wanted.verb.run(self.context, **wanted.arguments)

        async def work() -> None:
            try:
                result = await in_thread(run)
            except MobyshellError as error:
                tell(app, error)
            except Exception as error:
                app.unexpected(wanted.verb.name, error)
            else:
                show(app, wanted, result)
            if then is not None:
                then()

        app.run_worker(work(), group="verbs", exit_on_error=False)

    def command_line(self, words: Sequence[str]) -> list[str]:
        """The same as a command of its own, in a process of its own."""
        return [sys.executable, "-m", "mobyshell", *self.context.words, *words]


def suspended(app: MobyshellApp, command: list[str]) -> None:
    """Give the terminal to a program, and take it back when it ends."""
    if not app.can_suspend:
        tell(app, UsageError("this terminal cannot be handed over", hint="use the terminal tab"))
        return
    with app.suspend():
        code = subprocess.run(command, check=False).returncode
        if code:
            print(f"[exit status {code}; press enter]", end="", flush=True)
            sys.stdin.readline()
    app.refresh(layout=True)


def tell(app: MobyshellApp, error: MobyshellError) -> None:
    """Show an error: what, and what to do."""
    rows = getattr(error, "rows", None)
    if rows is not None:
        lines = [error.message, "", *output.table(rows).splitlines()]
        app.push_screen(ResultScreen("not valid", lines))
        return
    app.notify(error.hint or "", title=error.message, severity="error", timeout=8, markup=False)


def said(app: MobyshellApp, event: Failed) -> str:
    """What a pane says in the place of what it could not read. A fault of ours is written down."""
    error = event.error
    if isinstance(error, MobyshellError):
        return f"{error.message}\n{error.hint}".strip()
    app.unexpected(event.what, error)
    return f"{type(error).__name__}: {error}"


def show(app: MobyshellApp, wanted: Request, result: r.Result) -> None:
    """Show what a verb answered."""
    title = " ".join(wanted.words)
    match result:
        case r.Done():
            said = result.said or result.id
            code = f" (exit {result.code})" if result.code else ""
            app.notify(f"{said}{code}", title=wanted.verb.name, markup=False)
        case r.Text():
            app.push_screen(ResultScreen(title, result.text.splitlines()))
        case r.Rows():
            lines = output.table(result).splitlines() if result.rows else ["nothing"]
            lines = [*result.said.splitlines(), *[""][: len(result.said)], *lines]
            app.push_screen(ResultScreen(title, lines))
        case r.Record():
            app.push_screen(ResultScreen(title, output.record(result).splitlines()))
        case r.Stream():
            app.push_screen(ResultScreen(title, (result.show(item) for item in result.items)))


def acts_on_task(verb: Verb) -> bool:
    """Whether a verb's subject is a task."""
    return verb.subject == TASK
