"""Two things at once: the disk is waited for, say, while something is counted.

Owns one thread for one thing. What it may share with its owner is theirs to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Meanwhile:
    """`work`, done by a thread while a block goes on: `with Meanwhile(work): …`.

    At the end of the block it is done; what it raised is raised there, unless the block has raised.
    """

    def __init__(self, work: Callable[[], object], name: str) -> None:
        """`name`: of the thread."""
        self._work = work
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # the owner's to raise
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: object, *_: object) -> None:
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error
