"""Keys that come before what they move in: a list is on the screen at once, and its rows when they
have been read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from textual import events
from textual.binding import Binding
from textual.widget import Widget

MOST = 100
"""Keys that are kept."""


class TypedAhead(Widget):
    """Keeps the keys of its own bindings (and of `keys_of`, and those of the screen that it
    `needs_row` for) until it `is_filled`, and does them then."""

    needs_row: Callable[[Binding], bool] = staticmethod(lambda binding: False)
    _ahead: deque[str] | None = None
    _known = False
    """Whether it was filled, or is known to have nothing: keys are done at once."""

    @property
    def keys_of(self) -> Sequence[Widget]:
        """Whose bindings wait, the nearest to the keyboard first."""
        return (self,)

    def on_key(self, event: events.Key) -> None:
        """A key for what is not there yet."""
        self.take_ahead(event)

    def take_ahead(self, event: events.Key) -> None:
        """Keep a key, if it is one of these and nothing is there yet; nobody else gets it then."""
        if self._known or not any(self._meant_by(event.key)):
            return
        if self._ahead is None:
            self._ahead = deque(maxlen=MOST)
        self._ahead.append(event.key)
        event.stop()
        event.prevent_default()

    def is_filled(self) -> None:
        """Something is there: what was typed is done, after whoever puts the cursor somewhere now."""
        if not self._known:
            self.call_later(self._catch_up)

    def is_bare(self) -> None:
        """There is nothing: what was typed was for nothing, and not for what may come some day."""
        self._ahead, self._known = None, True

    def _meant_by(self, key: str) -> Iterator[tuple[Widget, Binding]]:
        for one in self.keys_of:
            yield from ((one, known) for known in one._bindings.key_to_bindings.get(key, ())[:1])
        of_screen = self.screen._bindings.key_to_bindings.get(key, ())
        yield from ((self.screen, known) for known in of_screen if self.needs_row(known))

    async def _catch_up(self) -> None:
        while self._ahead:
            for one, binding in self._meant_by(self._ahead.popleft()):
                await one.run_action(binding.action)
        self._known = True
