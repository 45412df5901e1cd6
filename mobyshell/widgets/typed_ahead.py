"""Keys that come before what they move in: a list is on the screen at once, and its rows when they
have been read."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from textual import events
from textual.widget import Widget

MOST = 100
"""Keys that are kept."""


class TypedAhead(Widget):
    """Keeps the keys of its own bindings (and of `keys_of`) until it `is_filled`, and does them then."""

    _ahead: deque[str] | None = None
    _filled = False

    @property
    def keys_of(self) -> Sequence[Widget]:
        """Whose bindings wait, the nearest to the keyboard first."""
        return (self,)

    def on_key(self, event: events.Key) -> None:
        """A key for what is not there yet."""
        self.take_ahead(event)

    def take_ahead(self, event: events.Key) -> None:
        """Keep a key, if it is one of these and nothing is there yet; nobody else gets it then."""
        if self._filled or not any(event.key in one._bindings.key_to_bindings
                                   for one in self.keys_of):  # fmt: skip
            return
        if self._ahead is None:
            self._ahead = deque(maxlen=MOST)
        self._ahead.append(event.key)
        event.stop()
        event.prevent_default()

    def is_filled(self) -> None:
        """Something is there: what was typed is done, after whoever puts the cursor somewhere now."""
        if not self._filled:
            self.call_later(self._catch_up)

    async def _catch_up(self) -> None:
        while self._ahead:
            key = self._ahead.popleft()
            for one in self.keys_of:
                for binding in one._bindings.key_to_bindings.get(key, ())[:1]:
                    await one.run_action(binding.action)
        self._filled = True
