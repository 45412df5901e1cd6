"""The tags of a repository."""

from __future__ import annotations

from mobyshell.core.errors import InvalidSpec, RegistryFailed
from mobyshell.core.oci.reference import is_tag
from mobyshell.core.oci.safejson import read_json, show
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.values import PULL, RESOLVE, Endpoint

_PAGE = 1000


def tags(repository: Repository) -> tuple[str, ...]:
    """All tags, in the registry's order. NotFound; RegistryFailed, also for a list without end."""

    def ask(endpoint: Endpoint, last: bool) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for response in repository.pages(endpoint, f"tags/list?n={_PAGE}", repository.pulls):
            content = response.small(repository.limits.document)
            found.update(dict.fromkeys(_page(content, endpoint.host)))
            if len(found) > repository.limits.names:
                raise RegistryFailed(
                    f"{endpoint.host} lists more than {repository.limits.names} tags",
                    host=endpoint.host,
                )
        return tuple(found)

    return repository.first(repository.capable(PULL, RESOLVE), ask)


def _page(content: bytes, host: str) -> list[str]:
    try:
        document = read_json(content, f"{host}'s list of tags")
    except InvalidSpec as error:
        raise RegistryFailed(error.message, host=host) from None
    names = document.get("tags") if isinstance(document, dict) else False
    if names is None:
        return []  # Go's empty list
    if not isinstance(names, list):
        raise RegistryFailed(f"{host} answers no list of tags", host=host)
    for one in names:
        if not isinstance(one, str) or not is_tag(one):
            raise RegistryFailed(f"{host} lists {show(one)}, which is no tag", host=host)
    return names
