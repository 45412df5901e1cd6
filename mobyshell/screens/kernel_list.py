"""The list of the kernel's namespaces: looked at again every few seconds, and after tasks' events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mobyshell.core.linux.namespaces.tree import OWNER, PARENT
from mobyshell.screens.kernel_rows import KERNEL, Seen, kernel_rows, seen
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.session import Session
from mobyshell.widgets.resource import Row


class KernelList(LiveList[Seen]):
    """Which namespaces can be seen, as a tree. `order` is by which relation."""

    SPEC = KERNEL
    TOPICS = ("/tasks/",)
    POLL = 5.0  # the kernel has no events for them

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(session, **more)
        self.order = OWNER

    def read(self) -> list[Seen]:
        return seen(self.session.kernel.look(), self.order)

    def rows(self, infos: Sequence[Seen], now_ns: int) -> Sequence[Row]:
        return kernel_rows(infos)

    def turn(self) -> None:
        """By the other relation."""
        self.order = PARENT if self.order == OWNER else OWNER
        first = next(iter(self.infos.values()), None)
        if first is not None:
            self._show(seen(first.look, self.order))
