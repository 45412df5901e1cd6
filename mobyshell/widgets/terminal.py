"""A terminal inside the workbench: a task's live streams on a screen model (pyte).

Owns the connection to one `Attachment`. A thread reads it; the screen is redrawn at most thirty
times a second, and only the lines that changed. When a task writes faster than a person can
read, the middle is skipped, visibly, instead of the workbench lagging behind.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

import pyte
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.detach import DetachFilter
from mobyshell.core.tasks.service import Attachment
from mobyshell.widgets.keys import encode
from mobyshell.widgets.terminal_screen import TerminalScreen, line_strip

FRAME = 1 / 30
MOST_WAITING = 128 * 1024
KEPT_WAITING = 32 * 1024


class TerminalView(Widget, can_focus=True):
    """Shows an attachment and sends it the keyboard. ctrl+] gives the keyboard back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+right_square_bracket", "release", "Leave", id="terminal.release"),
        Binding("shift+pageup", "history(-1)", show=False, id="terminal.back"),
        Binding("shift+pagedown", "history(1)", show=False, id="terminal.forward"),
    ]

    @dataclass
    class Ended(Message):
        """The process has ended, or the person detached."""

        detached: bool

    @dataclass
    class Released(Message):
        """The person wants the keyboard back."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._screen = TerminalScreen(self._send)
        self._stream = pyte.ByteStream(self._screen)
        self._attachment: Attachment | None = None
        self._filter = DetachFilter()
        self._lock = threading.Lock()
        self._waiting = bytearray()
        self._ended = False
        self._scheduled = False

    def connect(self, attachment: Attachment) -> None:
        """Show this attachment from now on."""
        self.disconnect()
        self._screen.reset()
        self._filter = DetachFilter()
        self._ended = False
        self._attachment = attachment
        self.refresh_bindings()  # it may have the focus already
        if self.size.width:
            self._fit()
        thread = threading.Thread(
            target=self._read, args=(attachment,), daemon=True, name="terminal-reader"
        )
        thread.start()

    def disconnect(self) -> None:
        """Hang up; the task lives on."""
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close()
            self.refresh_bindings()

    @property
    def connected(self) -> bool:
        """Whether there is an attachment that has not ended."""
        return self._attachment is not None and not self._ended

    @property
    def takes_every_key(self) -> bool:
        """Whether no key but its own does anything else."""
        return self.connected

    @property
    def text(self) -> str:
        """What the screen shows."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    def on_unmount(self) -> None:
        self.disconnect()

    def _read(self, attachment: Attachment) -> None:
        """In the thread: from the attachment into the buffer, without ever waiting for the screen."""
        while True:
            try:
                got = attachment.read()
            except (MobyshellError, OSError, ValueError):
                got = None
            with self._lock:
                if attachment is not self._attachment:
                    return
                if got is None:
                    self._ended = True
                elif got[0] == "lost":
                    self._waiting += b"\r\n\x1b[33m[%s bytes were not shown]\x1b[m\r\n" % got[1]
                else:
                    self._waiting += got[1]
                    if len(self._waiting) > MOST_WAITING:
                        skipped = len(self._waiting) - KEPT_WAITING
                        mark = b"\r\n\x1b[33m[%d bytes skipped]\x1b[m\r\n" % skipped
                        self._waiting[:] = mark + self._waiting[-KEPT_WAITING:]
                wake = not self._scheduled
                self._scheduled = True
            if wake:
                try:
                    self.app.call_from_thread(self.set_timer, FRAME, self._draw)
                except Exception:
                    return  # the workbench is closing: there is no screen to draw on any more
            if got is None:
                return

    def _draw(self) -> None:
        """Feed what has come, and redraw the lines that it touched."""
        with self._lock:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._scheduled = False
            ended = self._ended
        if self._screen.history.position < self._screen.history.size:
            while self._screen.history.position < self._screen.history.size:
                self._screen.next_page()
        before = self._screen.cursor.y
        self._stream.feed(data)
        touched = set(self._screen.dirty) | {before, self._screen.cursor.y}
        self._screen.dirty.clear()
        self.refresh(*(Region(0, y, self.size.width, 1) for y in touched))
        if ended:
            self.refresh_bindings()
            self.post_message(self.Ended(detached=False))

    def on_resize(self, event: events.Resize) -> None:
        """The program learns the new size, and draws itself anew."""
        self._fit()

    def _fit(self) -> None:
        rows, columns = max(self.size.height, 2), max(self.size.width, 10)
        self._screen.resize(rows, columns)
        if self._attachment is not None:
            try:
                self._attachment.resize(rows, columns)
            except (MobyshellError, OSError):
                pass  # it has ended; the reader will say so
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the screen."""
        cursor = self.has_focus and self.connected
        return line_strip(self._screen, y, self.size.width, cursor=cursor)

    async def on_key(self, event: events.Key) -> None:
        """Every key is the program's."""
        if not self.connected:
            return
        application = self._screen.application_keys
        data = encode(event.key, event.character, application=application)
        if data:
            event.stop()
            event.prevent_default()
            self._send(data)

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text, marked as such if the program asked for that (bracketed paste)."""
        event.stop()
        data = event.text.encode()
        if self._screen.bracketed_paste:
            data = b"\x1b[200~" + data + b"\x1b[201~"
        self._send(data)

    def _send(self, data: bytes) -> None:
        keys, detached = self._filter.feed(data)
        if self._attachment is None:
            return
        try:
            if keys:
                self._attachment.write(keys)
        except (MobyshellError, OSError):
            return  # it has ended; the reader will say so
        if detached:
            self.disconnect()
            self.post_message(self.Ended(detached=True))

    def action_release(self) -> None:
        """Give the keyboard back to the workbench."""
        self.post_message(self.Released())

    def action_history(self, step: int) -> None:
        """Look back at what has scrolled away, or forward again."""
        if step < 0:
            self._screen.prev_page()
        else:
            self._screen.next_page()
        self.refresh()
