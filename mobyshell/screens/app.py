"""The workbench: modes, themes, the keys that work everywhere, and the command palette."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar

from textual import constants, events, on
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.theme import Theme

from mobyshell.commands.context import Context
from mobyshell.commands.registry import all_verbs, find
from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.screens import bindings, journal, settings
from mobyshell.screens.base import MobyScreen
from mobyshell.screens.continued import continue_well, has_a_shell
from mobyshell.screens.help import HelpScreen, live_keys
from mobyshell.screens.keyboard import Keyboard
from mobyshell.screens.leader import Leader
from mobyshell.screens.places import LETTERS, modes, place_bindings, styles
from mobyshell.screens.session import AT_ONCE, Session, tell
from mobyshell.styles.themes import DARK, THEMES, default_theme
from mobyshell.widgets.background import Failed
from mobyshell.widgets.terminal import TerminalView

ESCAPE = 0.04
"""Seconds that an escape waits for the rest of a key's sequence, where ESCDELAY does not say it: these
come together, and who goes back shall not wait for Textual's tenth of a second."""


class MobyshellApp(Keyboard):
    """The app. Screens are made when they are first gone to."""

    TITLE = "mobyshell"
    CSS_PATH: ClassVar[list[str | PurePath]] = [
        "../styles/tokens.tcss", "app.tcss", "list.tcss", *styles(),
    ]  # fmt: skip
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        *place_bindings(),
        Binding("g", "leader", "Go", show=False, id="go"),
        Binding("question_mark", "help", "Help", id="help"),
        Binding("ctrl+r", "readonly", "Read-only", show=False, id="readonly"),
        Binding("left_square_bracket", "history(-1)", "Back", show=False, id="history.back"),
        Binding("right_square_bracket", "history(1)", "Forward", show=False, id="history.forward"),
        Binding("ctrl+z", "suspend_process", "To the shell", show=False, id="suspend"),
        Binding("q", "quit", "Quit", id="quit"),
        Binding("ctrl+q", "quit", "Quit", show=False, id="quit.always", priority=True),
    ]

    def __init__(self, context: Context, *, start: str = "bundles") -> None:
        super().__init__()
        self.session = Session(context)
        self._start = start
        self.first_theme = DARK.name
        """The theme of who has not chosen one."""
        self._visited: list[str] = []
        self._place = -1
        self._modes = {**modes(self.session)}
        for theme in THEMES:
            self.register_theme(theme)

    @property
    def can_suspend(self) -> bool:
        """Whether the terminal can be handed to another program (not so in a browser)."""
        driver = self._driver
        return driver is not None and driver.can_suspend

    def on_mount(self) -> None:
        continue_well(self._driver)
        self._settle_settings()
        self.theme_changed_signal.subscribe(self, self._remember_theme)
        self._waiting = self.set_interval(AT_ONCE, self._say_under_way, pause=True)
        self.action_go(self._start)

    def under_way_changed(self) -> None:
        """A verb has begun, or ended: the crumbs say so, if it takes its time."""
        self._waiting.resume()
        self._say_under_way()

    def _say_under_way(self) -> None:
        for screen in self.screen_stack:
            if isinstance(screen, MobyScreen):
                screen.crumb_again()
        if not self.session.busy:
            self._waiting.pause()

    # where we are

    def action_go(self, mode: str) -> None:
        """Go to a screen, and remember the way."""
        self._visited = [*self._visited[: self._place + 1], mode]
        self._place = len(self._visited) - 1
        self.switch_mode(mode)

    def action_history(self, step: int) -> None:
        """Back to the screen before, or forward again."""
        place = self._place + step
        if 0 <= place < len(self._visited):
            self._place = place
            self.switch_mode(self._visited[place])

    def action_leader(self) -> None:
        """Wait for the letter of a screen."""

        def pressed(key: str | None) -> None:
            if key in LETTERS:
                self.action_go(LETTERS[key])
            elif key == "g":
                focused = self.screen.focused
                if focused is not None:
                    focused.scroll_home(animate=False)
                    top = getattr(focused, "action_scroll_top", None)
                    if top is not None:
                        top()

        self.push_screen(Leader(LETTERS), pressed)

    def on_key(self, event: events.Key) -> None:
        """A key that was typed before the leader was on the screen is for the leader; before a prompt
        or a dialog was, for that."""
        if isinstance(self.screen, Leader):
            event.prevent_default()  # it is no binding of what is below
            self.screen.dismiss(event.key)
        else:
            self.went_astray(event)

    def show_task(self, id: str) -> None:
        """Go to the tasks, with the cursor on one of them."""
        self.show_in("tasks", id)

    def show_in(self, place: str, key: str) -> None:
        """Go to a screen, with the cursor on one of its things."""
        self.action_go(place)
        choose = getattr(self.screen, "choose", None)
        if choose is not None:
            self.call_later(choose, key)

    # verbs

    def run_line(self, line: str) -> None:
        """Run a line of the `:` prompt."""
        try:
            words = shlex.split(line)
        except ValueError as error:
            tell(self, UsageError(f"unfinished line: {error}"))
            return
        if words in (["q"], ["quit"], ["exit"]):
            self.exit(0)
        elif words[:1] == ["help"]:
            self.action_help()
        elif len(words) == 1 and words[0] in LETTERS.values():
            self.action_go(words[0])
        else:
            self._run(words)

    def _run(self, words: list[str]) -> None:
        if not self._transfer(words):
            self.session.perform(self, words)

    def makes(self, verb: str) -> Callable[[], object] | None:
        """What to call when `verb` has made something that the screen of now lists."""
        for screen in reversed(self.screen_stack):
            if isinstance(screen, MobyScreen):
                return screen.makes(verb)
        return None

    def _transfer(self, words: list[str]) -> bool:
        """Whether a line brings an image, and has its bars: then it is under way."""
        from mobyshell.screens.transfer_dialog import watched

        dialog = watched(words, self.session)
        made = self.makes(" ".join(words[:2]))

        def done(name: str | None) -> None:
            if name is not None:
                self.notify(name, title=" ".join(words[:2]), markup=False)
                if made is not None:
                    made()

        if dialog is not None and self.session.permitted(self, find(*words[:2])):
            self.push_screen(dialog, done)
        return dialog is not None

    def get_system_commands(self, screen: Screen[Any]) -> Any:
        """The command palette: every verb, about what is under the cursor where that fits."""
        subject = getattr(screen, "subject", None)
        for one in all_verbs():
            needs = [p for p in one.positional if p.required]
            words, rest = one.name.split(), one.line_to_finish
            if needs and subject is not None and one.subject == subject[0]:
                words = [*words, subject[1]]
            elif needs:
                rest = rest or ""
            line = shlex.join(words)
            if rest is None:
                yield SystemCommand(line, one.summary, partial(self._run, words))
            else:
                yield SystemCommand(
                    f"{line} {rest}…", one.summary, partial(self._ask, f"{line} {rest}")
                )
        yield from super().get_system_commands(screen)

    def _ask(self, line: str) -> None:
        if isinstance(self.screen, MobyScreen):
            self.screen.ask(line)

    def action_help(self) -> None:
        """The keys that work here."""
        noun = getattr(self.screen, "NOUN", "")
        self.push_screen(HelpScreen(live_keys(self.screen), noun))

    def action_readonly(self) -> None:
        """Refuse, or allow again, whatever changes something."""
        self.session.context.readonly = not self.session.context.readonly
        for screen in self.screen_stack:
            if isinstance(screen, MobyScreen):
                screen.readonly_changed()
        self.notify("read-only" if self.session.readonly else "changes are allowed")

    def action_suspend_process(self) -> None:
        """Stop, for the shell to have the terminal until it says `fg`."""
        if self.can_suspend and has_a_shell():
            super().action_suspend_process()
        else:
            self.notify("no shell is there that could continue it", severity="warning")

    async def action_quit(self) -> None:
        """Leave. Tasks live on."""
        self.exit(0)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Inside a live terminal, every key but ctrl+] is the program's."""
        focused = self.focused
        if isinstance(focused, TerminalView) and focused.connected:
            return action in ("release", "history") or action.startswith("app.focus")
        return True

    # what is the user's to change

    def _settle_settings(self) -> None:
        """Themes and keys as the user wants them; what cannot be used is said, and not used."""
        place = settings.config_directory()
        themes, complaints = settings.read_themes(place / "themes")
        for theme in themes:
            self.register_theme(theme)
        chosen, wrong = settings.read_theme_name(place / "theme", self.available_themes)
        complaints[place / "theme"] = wrong
        self.theme = chosen or self.first_theme
        if os.path.lexists(place / "keymap.toml"):
            # asked for only now: to know all actions, every screen is loaded
            keymap, wrong = settings.read_keymap(place / "keymap.toml", bindings.actions())
            complaints[place / "keymap.toml"] = wrong
            self.set_keymap(keymap)
        for path, sentences in complaints.items():
            if sentences:
                self.notify("\n".join(sentences[:8]), title=f"{path}: not used",
                            severity="warning", timeout=20, markup=False)  # fmt: skip

    def _remember_theme(self, theme: Theme) -> None:
        settings.remember_theme(theme.name)

    # what goes wrong

    def unexpected(self, what: str, error: Exception) -> None:
        """A fault of the workbench itself: said, written down, survived."""
        place = journal.write_down(self.session.context.clock, what, error)
        self.notify(
            f"{type(error).__name__}: {error}"[:300] + (f"\nsee {place}" if place else ""),
            title=f"{what}: an internal error", severity="error", timeout=20, markup=False,
        )  # fmt: skip

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Work in a thread failed, and no pane had a place to say it."""
        if isinstance(event.error, MobyshellError):
            tell(self, event.error)
        else:
            self.unexpected(event.what, event.error)


def run(context: Context) -> int:
    """Open the workbench and return its exit code."""
    try:
        app = MobyshellApp(context)
        app.first_theme = default_theme(app.console.color_system)
        if "ESCDELAY" not in os.environ:
            constants.ESCAPE_DELAY = ESCAPE  # type: ignore[misc]  # who reads it reads it each time
        return app.run() or app.return_code or 0
    finally:
        context.close()
