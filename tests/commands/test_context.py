"""A session: what is opened once."""

from __future__ import annotations

import threading
from pathlib import Path

from mobyshell.commands.context import Context


def test_threads_that_want_the_store_at_once_get_one(tmp_path: Path) -> None:
    context, begin, found = Context(root=str(tmp_path / "root")), threading.Barrier(8), []

    def want() -> None:
        begin.wait(60)
        found.append(context.store)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({id(one) for one in found}) == 1
    context.close()
