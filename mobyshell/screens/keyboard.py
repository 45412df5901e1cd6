"""Keys reach who has the keyboard when it is their turn, and not who had it when they were typed.

Textual sends a key to the focused widget, and looks for bindings when it has come back from there.
Of keys that come at once (from a slow line, a quick person, a script) one can move the keyboard,
and those after it have been sent already: the words after `:` would be commands to the list.
"""

from __future__ import annotations

from textual import events
from textual.app import App


class Keyboard(App[int]):
    """Sends a key again that the keyboard went away from."""

    async def on_event(self, event: events.Event) -> None:
        """Note for whom a key is."""
        if isinstance(event, events.Key) and not event.is_forwarded:
            event.meant_for = self.focused or self.screen  # type: ignore[attr-defined]
        await super().on_event(event)

    def went_astray(self, event: events.Key) -> bool:
        """Whether a key that has come back was for somebody else; it is on its way then, behind the
        others that were."""
        meant = getattr(event, "meant_for", None)
        if meant is None or meant is (self.focused or self.screen):
            return False
        event.prevent_default()
        self.post_message(events.Key(event.key, event.character))
        return True
