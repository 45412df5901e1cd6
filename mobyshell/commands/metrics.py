"""`metrics`: numbers about containers, the store and the shim, as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.commands.registry import READ, SECONDS, TEXT, option, verb
from mobyshell.commands.results import Stream, Text
from mobyshell.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobyshell.commands.context import Context


@verb("metrics", "show", effect=READ, example="metrics show")
def show(ctx: Context) -> Text:
    """Print all metrics once, in Prometheus' text format; containers by containerd's names."""
    from mobyshell.moby.metrics.serve import text

    return Text(text(Path(ctx.root), ctx.state))


@verb(
    "metrics", "serve",
    option("--address", "HOST:PORT to listen at", TEXT, default="127.0.0.1:1234"),
    option("--for", "end after so long", SECONDS, name="duration"),
    effect=READ, example="metrics serve --address 127.0.0.1:0 --for 1s",
)  # fmt: skip
def serve(ctx: Context, *, address: str, duration: float | None) -> Stream:
    """Answer Prometheus until interrupted; at http://127.0.0.1:1234/v1/metrics, as containerd does.

    Whoever reaches the port may read: other addresses than this machine's own are for networks that
    you trust.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{address!r:.60} is no address", hint="such as 127.0.0.1:1234")

    import threading

    ended = threading.Event()

    def served() -> Iterator[str]:
        from mobyshell.moby.metrics.serve import serving

        with serving(Path(ctx.root), ctx.state, host.strip("[]"), int(port)) as url:
            yield url
            ended.wait(duration)

    return Stream(served(), leave=ended.set)
