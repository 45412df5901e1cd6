"""What every screen is given, and how any of them runs a verb of the table.

Owns the way from a verb to the world: read-only mode, confirmation of what destroys, a thread for
what blocks, and what becomes of the answer. Screens never call the store.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.app import App

from mobyshell.commands import output
from mobyshell.commands import results as r
from mobyshell.commands.context import Context
from mobyshell.commands.event_sources import of_store, recent
from mobyshell.commands.image_transfer import tenant
from mobyshell.commands.namespace import tenants_of
from mobyshell.commands.network import home_of
from mobyshell.commands.registry import Verb
from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported, UsageError
from mobyshell.core.events import Event
from mobyshell.core.tasks.meter import Meter, TaskMeter
from mobyshell.core.tasks.service import Tasks
from mobyshell.moby.kernel import Kernel, LiveKernel
from mobyshell.moby.networks import Networks, NetworkSurvey
from mobyshell.moby.snapshot_survey import Snapshots, SnapshotSurvey
from mobyshell.moby.survey import Images, Survey
from mobyshell.moby.tenants import Tenants
from mobyshell.screens.narration import Narration
from mobyshell.screens.news import Follow, News
from mobyshell.screens.request import (
    Request,
    plan_text,
    question,
    request,
    summary_of,
    word_to_type,
)
from mobyshell.screens.result import ResultScreen
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.background import Failed, in_thread
from mobyshell.widgets.confirm import Confirm

if TYPE_CHECKING:
    from mobyshell.core.registry.progress import Progress
    from mobyshell.core.registry.stop import Stop
    from mobyshell.screens.app import MobyshellApp

Then = Callable[[], object]
Answered = Callable[["r.Result"], object]
Done = Callable[[r.Done], object]

LONG = 300
"""Characters of an error that are more than a notification has room for."""

AT_ONCE = 0.5
"""Seconds that a verb may take until it is said that it is under way."""


class Session:
    """One per app. `context` is the verbs'; `tasks`, `images`, `networks`, `meter`, `snapshots`,
    `tenants` and `kernel` are services, which only threads may call; `news` tells what happens."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.images: Images = Survey(lambda: tenant(context))
        self.networks: Networks = NetworkSurvey(lambda: home_of(context))
        self.snapshots: Snapshots = SnapshotSurvey(lambda: tenant(context))
        self.tenants: Tenants = tenants_of(context)
        self.kernel: Kernel = LiveKernel(context.every_task)
        self.meter: Meter = TaskMeter(context.state, context.clock)
        self.news = News(self)
        self.store_events: Follow = partial(of_store, context)
        self.recent_events: Callable[[], list[Event]] = partial(recent, context, everywhere=True)
        self._under_way: dict[object, tuple[str, float]] = {}

    @property
    def tasks(self) -> Tasks:
        return self.context.tasks

    @property
    def tasks_by_now(self) -> Tasks:
        """For panes that stay: at each call the tasks of the namespace that the session is in then."""
        return cast("Tasks", _ByNow(self))

    def task_events(self, subscribed: Callable[[], object]) -> Iterator[Event]:
        """Events of tasks, of every namespace; of ours alone from a shim that is too old for that."""
        try:
            yield from self.tasks.events(subscribed, everywhere=True)
        except Unsupported:
            yield from self.tasks.events(subscribed)

    def pull(self, name: str, progress: Progress, stop: Stop) -> str:
        """Fetch an image, as `image pull` does, and its full name. For a thread; `stop` ends it."""
        from mobyshell.commands.image_transfer import pull_watched

        return pull_watched(self.context, name, progress, stop)

    def push(self, image: str, target: str, progress: Progress, stop: Stop) -> str:
        """Bring an image to a registry, as `image push` does, and what it is there. For a thread."""
        from mobyshell.commands.image_transfer import push_watched

        return push_watched(self.context, image, target, progress, stop)

    def plan(self, words: Sequence[str]) -> r.Rows:
        """What a line would do, as `--plan` shows it. For a thread. UsageError where the line is
        wrong, or its verb has no plan."""
        wanted = request(words)
        made = wanted.verb.plan(self.context, **wanted.arguments) if wanted.verb.plan else None
        if not isinstance(made, r.Rows):
            raise UsageError(f"{wanted.verb.name} has no plan to show")
        return made

    def steps(self, words: Sequence[str]) -> str:
        """The same as a text; "" for a verb without a plan. For a thread; raises what the verb
        itself would say against it."""
        return plan_text(self.plan(words).rows) if request(words).verb.plan else ""

    @property
    def busy(self) -> bool:
        """Whether a verb is being done."""
        return bool(self._under_way)

    @property
    def under_way(self) -> str:
        """The verb that is being done, and for how long; "" if that is nothing to wait for."""
        now = time.monotonic()
        slow = [(verb, now - begun) for verb, begun in self._under_way.values()
                if now - begun >= AT_ONCE]  # fmt: skip
        if not slow:
            return ""
        verb, seconds = slow[0]
        more = f" and {len(slow) - 1} more" if len(slow) > 1 else ""
        return f"{verb}{more}, {seconds:.0f} s"

    @property
    def readonly(self) -> bool:
        return self.context.readonly

    def permitted(self, app: MobyshellApp, verb: Verb) -> bool:
        """Whether a verb is allowed; if not, it is said."""
        try:
            self.context.permit(verb)
        except MobyshellError as error:
            tell(app, error)
            return False
        return True

    def perform(
        self, app: MobyshellApp, *lines: Sequence[str], then: Then | None = None,
        done: Done | None = None, instead: Answered | None = None,
    ) -> None:  # fmt: skip
        """Run what lines of words say, as a person at a key or at the `:` line asked for it.

        One question for all of them, where they destroy; the first that fails ends them. `then`
        is called after them, whatever came of it; `done` with the answer of one that was done;
        `instead` has the answers that would be shown otherwise.
        """
        try:
            wanted = [request(words) for words in lines]
            for one in wanted:
                self.context.permit(one.verb)
        except MobyshellError as error:
            tell(app, error)
            return
        if any(one.destroys for one in wanted) and not self.context.yes:
            self._confirm(app, wanted, lambda: self._run(app, wanted, then, done, instead))
        else:
            self._run(app, wanted, then, done, instead)

    def _confirm(self, app: MobyshellApp, wanted: list[Request], go: Then) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                go()

        def ask(plan: str) -> None:
            summary = summary_of(wanted)
            asked = Confirm(question(wanted), summary, plan=plan, typed=word_to_type(wanted))
            app.push_screen(asked, answered)

        async def look_ahead() -> None:
            try:
                ask(await in_thread(lambda: "\n\n".join(self.steps(one.words) for one in wanted)))
            except MobyshellError as error:
                tell(app, error)  # it would be refused: nobody need confirm it
            except Exception as error:
                app.unexpected(wanted[0].verb.name, error)

        if any(one.verb.plan for one in wanted):
            app.run_worker(look_ahead(), group="verbs", exit_on_error=False)
        else:
            ask("")

    def _run(
        self, app: MobyshellApp, wanted: list[Request], then: Then | None, done: Done | None,
        instead: Answered | None,
    ) -> None:  # fmt: skip
        if wanted[0].in_foreground:
            suspended(app, self.command_line(wanted[0].words))
            if then is not None:
                then()
            return

        async def work() -> None:
            for one in wanted:
                answer = instead or partial(show, app, one)
                made = app.makes(one.verb.name)
                with self._busy(app, one.verb.name):
                    result = await self._do(app, one, answer)
                if result is None:
                    break
                if made is not None:
                    made()
                if done is not None and isinstance(result, r.Done):
                    done(result)
            if then is not None:
                then()

        app.run_worker(work(), group="verbs", exit_on_error=False)

    @contextmanager
    def _busy(self, app: MobyshellApp, verb: str) -> Iterator[None]:
        one = object()
        self._under_way[one] = verb, time.monotonic()
        app.under_way_changed()
        try:
            yield
        finally:
            del self._under_way[one]
            app.under_way_changed()

    async def _do(
        self, app: MobyshellApp, wanted: Request, answer: Answered
    ) -> r.Result | None:  # fmt: skip
        """Run one verb in a thread, and show its answer; None if it failed."""
        loop = asyncio.get_running_loop()
        told, ours = Narration(app, wanted), copy_context()

        def say(text: str) -> None:
            loop.call_soon_threadsafe(told.say, text, context=ours)

        def ask_secret(prompt: str) -> str:
            answer: Future[str | None] = Future()
            asked = Ask(prompt, verb="Go on", secret=True)
            app.call_from_thread(app.push_screen, asked, answer.set_result)
            word = answer.result()
            if word is None:
                raise UsageError("no password was given")
            return word

        def run() -> r.Result:
            self.context.narrate, self.context.ask_secret = say, ask_secret
            return wanted.verb.run(self.context, **wanted.arguments)

        here = self.context.namespace
        try:
            result = await in_thread(run)
        except MobyshellError as error:
            told.end(f"✗ {error.message}")
            tell(app, error)
        except Exception as error:
            told.end(f"✗ {type(error).__name__}: {error}")
            app.unexpected(wanted.verb.name, error)
        else:
            if self.context.namespace != here:
                self.news.again()
            told.end(result.said or result.id if isinstance(result, r.Done) else "")
            if not (told.read and isinstance(result, r.Done)):
                answer(result)
            return result
        return None

    def command_line(self, words: Sequence[str]) -> list[str]:
        """The same as a command of its own, in a process of its own."""
        return [sys.executable, "-m", "mobyshell", *self.context.words, *words]


class _ByNow:
    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session.tasks, name)


def suspended(app: MobyshellApp, command: list[str], what: str = "") -> None:
    """Give the terminal to a program, and take it back when it ends. `what` it is, is said first."""
    if not app.can_suspend:
        tell(app, UsageError("this terminal cannot be handed over", hint="use the terminal tab"))
        return
    failed: OSError | None = None
    # ctrl+c is for the program; a handler, not SIG_IGN, which it would inherit
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        with app.suspend():
            if what:
                print(f"[{output.clean(what)}: exit leads back]", flush=True)
            try:
                code = subprocess.run(command, check=False).returncode
            except OSError as error:
                failed, code = error, 0
            if code:
                print(f"[exit status {code}; press enter]", end="", flush=True)
                sys.stdin.readline()
    finally:
        signal.signal(signal.SIGINT, before)
    app.refresh(layout=True)
    if failed is not None:
        tell(app, SyscallFailed.of(failed, "execve", path=command[0]))


def tell(app: MobyshellApp, error: MobyshellError) -> None:
    """Show an error: what, and what to do."""
    rows = getattr(error, "rows", None)
    if rows is not None:
        lines = [error.message, "", *output.table(rows).splitlines()]
        app.push_screen(ResultScreen("not valid", lines, wrap=False))
        return
    if len(error.message) > LONG:
        lines = [*textwrap.wrap(error.message, 70), *textwrap.wrap(error.hint or "", 70)]
        app.push_screen(ResultScreen("✗ that was refused", lines))
        return
    app.notify(error.hint or "", title=error.message, severity="error", timeout=8, markup=False)


def said(app: App[Any], event: Failed) -> str:
    """What a pane says in the place of what it could not read. A fault of ours is written down."""
    from mobyshell.screens.app import MobyshellApp

    error = event.error
    assert isinstance(app, MobyshellApp)
    if isinstance(error, MobyshellError):
        return f"{error.message}\n{error.hint}".strip()
    app.unexpected(event.what, error)
    return f"{type(error).__name__}: {error}"


def show(app: MobyshellApp, wanted: Request, result: r.Result) -> None:
    """Show what a verb answered."""
    title = " ".join(wanted.words)
    match result:
        case r.Done():
            asked = " ".join(wanted.words[len(wanted.verb.name.split()) :])
            words = result.said or result.id or asked or "done"
            code = f" (exit {result.code})" if result.code else ""
            app.notify(f"{words}{code}", title=wanted.verb.name, markup=False)
        case r.Text():
            app.push_screen(ResultScreen(title, result.text.splitlines()))
        case r.Bytes():
            app.notify(f"{result.why}\n{result.hint}", severity="error", markup=False)
        case r.Rows():
            lines = output.table(result).splitlines() if result.rows else ["nothing"]
            said = textwrap.wrap(result.said, 76)
            app.push_screen(ResultScreen(title, [*said, *[""][: len(said)], *lines], wrap=False))
        case r.Record():
            app.push_screen(ResultScreen(title, output.record(result).splitlines()))
        case r.Stream():
            coming = (result.show(item) for item in result.items)
            app.push_screen(ResultScreen(title, coming, leave=result.leave))
