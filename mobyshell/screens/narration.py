"""What a verb tells while it works: one sentence is a notification, more are a page that grows."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING

from mobyshell.commands.registry import READ
from mobyshell.screens.request import Request
from mobyshell.screens.result import ResultScreen

if TYPE_CHECKING:
    from mobyshell.screens.app import MobyshellApp


class Narration:
    """Of one verb. The page may be left; the verb goes on."""

    def __init__(self, app: MobyshellApp, wanted: Request) -> None:
        self._app, self._wanted = app, wanted
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._said = 0
        self._page: ResultScreen | None = None

    def say(self, text: str) -> None:
        """Another sentence."""
        self._lines.put(text)
        self._said += 1
        if self._said == 1 or self._wanted.verb.effect == READ:  # those show a page of their own
            self._app.notify(text, title=self._wanted.verb.name, markup=False)
        elif self._page is None:
            self._page = ResultScreen(" ".join(self._wanted.words), self._come())
            self._app.push_screen(self._page)

    @property
    def read(self) -> bool:
        """Whether its page is on the screen."""
        return self._page is not None and self._page.is_attached

    def end(self, text: str) -> None:
        """The verb has ended; `text`: what came of it."""
        for one in ("", text) if text else ():
            self._lines.put(one)
        self._lines.put(None)

    def _come(self) -> Iterator[str]:
        while (line := self._lines.get()) is not None:
            yield line or " "
