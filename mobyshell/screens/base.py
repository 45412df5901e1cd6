"""What the full screens have in common: the crumbs above, the prompt below, and their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Static

from mobyshell.commands.completion import complete
from mobyshell.commands.output import clean
from mobyshell.commands.registry import find
from mobyshell.screens.session import Session
from mobyshell.widgets.key_bar import KeyBar
from mobyshell.widgets.prompt import Prompt
from mobyshell.widgets.typed_ahead import TypedAhead

if TYPE_CHECKING:
    from mobyshell.screens.app import MobyshellApp


def number_of(count: int, noun: str) -> str:
    """`1 bundle`, `2 bundles`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


class MobyScreen(Screen[None]):
    """A screen with crumbs, a body, a prompt and a footer."""

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-narrow"), (100, "-wide"), (160, "-three"),
    ]  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("colon", "command", "Command", id="command"),
        Binding("slash", "filter", "Filter", id="filter"),
        Binding("z", "maximise", "Maximise", show=False, id="maximise"),
    ]
    NAME: ClassVar[str] = ""
    NOUN: ClassVar[str] = ""
    """Whose verbs its keys are."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._more: tuple[str, ...] = ()
        self._said = ""

    @property
    def moby(self) -> MobyshellApp:
        """The app, with its type."""
        from mobyshell.screens.app import MobyshellApp

        assert isinstance(self.app, MobyshellApp)
        return self.app

    def compose(self) -> ComposeResult:
        yield Static(id="crumbs", markup=False)
        yield from self.body()
        yield Prompt(lambda words: complete(self.session.context, words), id="prompt")
        yield KeyBar(id="keys")

    def body(self) -> ComposeResult:
        """What is between crumbs and prompt."""
        yield from ()

    def on_mount(self) -> None:
        self.crumb()

    @property
    def first_pane(self) -> TypedAhead:
        """What has the keyboard at first."""
        raise NotImplementedError

    def on_key(self, event: events.Key) -> None:
        """A key that came before anything had the keyboard: it may have by now."""
        if self.focused is None or self.first_pane in self.focused.ancestors_with_self:
            self.first_pane.take_ahead(event)

    def crumb(self, *more: str) -> None:
        """Say where we are."""
        self._more = more
        parts = ["mobyshell", self.session.context.namespace, self.NAME, *more]
        end = "   [read-only]" if self.session.readonly else ""
        if self.session.under_way:
            end += f"   ◌ {self.session.under_way}"
        shown = [part for part in parts if part]
        while cell_len(" › ".join(shown) + end) > self.size.width - 2 and len(shown) > 1:
            shown.pop(
                0
            )  # whose program it is, is known, and then in what; where we are is at the end
        text = " › ".join(shown) + end
        if text != self._said:
            self._said = text
            self.query_one("#crumbs", Static).update(clean(text))

    def crumb_again(self) -> None:
        """The same, as it is by now."""
        self.crumb(*self._more)

    def on_resize(self) -> None:
        """More of it fits, or less."""
        self.crumb_again()

    def readonly_changed(self) -> None:
        """Read-only mode was turned on or off."""
        self.crumb_again()

    def ask(self, line: str = "") -> None:
        """Ask for a command, with its beginning."""
        self.query_one(Prompt).ask(":", line)

    def action_command(self) -> None:
        """Ask for a command."""
        self.ask()

    def action_filter(self) -> None:
        """Ask for a filter."""
        self.query_one(Prompt).ask("/", self.filter_text)

    def action_maximise(self) -> None:
        """One pane on the whole screen, or all of them again."""
        if self.maximized is not None:
            self.minimize()
        elif self.focused is not None:
            self.maximize(self.focused)

    def action_copy(self) -> None:
        """The name of what is under the cursor, to the clipboard."""
        if self.subject is not None:
            self.app.copy_to_clipboard(self.subject[1])
            self.notify(f"copied {self.subject[1]}", markup=False)

    # verbs

    @property
    def subjects(self) -> list[str]:
        """What a verb acts on: what is marked, or else what is under the cursor."""
        return [self.subject[1]] if self.subject else []

    @property
    def subject(self) -> tuple[str, str] | None:
        """The noun, and which one is under the cursor; what the command palette is about."""
        return None

    def reread(self) -> None:
        """Something was done: look again."""

    def makes(self, verb: str) -> Callable[[], object] | None:
        """If what `verb` makes is listed here: what to call once it is made, for the cursor to go to
        it; called before that."""
        return None

    def fits(self, verb: str) -> bool:
        """Whether a verb fits what is under the cursor, where a key stands for several."""
        return True

    def on_verb(self, verb: str) -> bool:
        """Do a verb in the screen's own way, and say whether that was so."""
        return False

    def action_verb(self, names: str) -> None:
        """Do the verb of a key: as the screen has it, or else on its subjects."""
        verb = next((one for one in names.split() if self.fits(one)), "")
        if not verb or not self.permitted(self.NOUN, verb):
            return
        special = getattr(self, f"verb_{verb}", None)
        if special is not None:
            special()
        elif not self.on_verb(verb) and self.subject is not None:
            many = find(self.NOUN, verb).positional[0].many
            self.perform(*self.lines(verb, self.subjects if many else [self.subject[1]]))

    def lines(self, verb: str, subjects: list[str]) -> list[list[str]]:
        """What does a verb of the screen's noun to `subjects`."""
        return [[self.NOUN, verb, *subjects]]

    def perform(self, *lines: Sequence[str]) -> None:
        """Run lines of words, one question for all of them, and look again."""
        self.session.perform(self.moby, *lines, then=self.reread)

    def permitted(self, noun: str, verb: str) -> bool:
        """Whether a verb is allowed; if not, it is said."""
        return self.session.permitted(self.moby, find(noun, verb))

    # the prompt

    @property
    def filter_text(self) -> str:
        """The filter in force."""
        return ""

    def set_filter(self, text: str) -> None:
        """Another filter is in force."""

    @on(Prompt.Entered)
    def entered(self, event: Prompt.Entered) -> None:
        """A command, or the end of a filter."""
        if event.sign == "/":
            self.set_filter(event.line)
        elif event.line.strip():
            self.moby.run_line(event.line)

    @on(Prompt.Edited)
    def edited(self, event: Prompt.Edited) -> None:
        """Filter as you type."""
        if event.sign == "/":
            self.set_filter(event.line)

    @on(Prompt.Left)
    def left(self, event: Prompt.Left) -> None:
        """No filter."""
        if event.sign == "/":
            self.set_filter("")
