"""The metrics as text, and over HTTP for Prometheus: by default at 127.0.0.1:1234, as containerd's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import EADDRINUSE
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from mobyshell.core.errors import SyscallFailed
from mobyshell.moby.metrics.collector import Everything

ADDRESS, PORT = "127.0.0.1", 1234


def text(root: Path, state: str) -> str:
    """All metrics now (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    return generate_latest(_registry(root, state)).decode()


@contextmanager
def serving(root: Path, state: str, address: str = ADDRESS, port: int = PORT) -> Iterator[str]:
    """Answer scrapes in a thread until the block ends; where: `http://ADDRESS:PORT/v1/metrics` (and
    any other path). SyscallFailed if somebody else is there."""
    try:
        server, thread = start_http_server(port, address, _registry(root, state))
    except OSError as error:
        taken = error.errno == EADDRINUSE
        hint = f"`ss -lptn sport = {port}` says who has it; or another --address" if taken else ""
        raise SyscallFailed.of(error, "bind", path=f"{address}:{port}", hint=hint) from None
    try:
        yield f"http://{address}:{server.server_port}/v1/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registry(root: Path, state: str) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Everything(root, state))
    return registry
