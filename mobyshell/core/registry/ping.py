"""Is there a registry, and does it know us: what a login asks before it writes anything down."""

from __future__ import annotations

from dataclasses import replace

from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.values import PULL


def ping(repository: Repository) -> None:
    """Ask the registry itself (not a mirror) for its API, as whoever we are there.

    RegistryFailed where there is none, or where it does not know us.
    """
    endpoint = repository.capable(PULL)[-1]
    repository.client.settle(endpoint, repository.stop)
    base = repository.client.base(endpoint)
    where = replace(base, target=f"{base.target.rstrip('/')}/")
    with repository.request(endpoint, "GET", where):
        pass
