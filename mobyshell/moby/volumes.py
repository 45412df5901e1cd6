"""Whose volumes are: the containers that were made with them, whether they have a task now or not.

Owns what a container remembers of its volumes (`around.HOW`), read; what tasks have mounted is
`core/tasks/surroundings`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, WrongState
from mobyshell.core.tasks.surroundings import Surroundings, read_volume
from mobyshell.core.volumes.volumes import Volume, is_anonymous
from mobyshell.moby.around import HOW

if TYPE_CHECKING:
    from mobyshell.core.store.containers import Container


def names_of(container: Container) -> tuple[str, ...]:
    """The volumes that a container was made with."""
    found = []
    for word in container.extensions.get(HOW, {}).get("volume", ()):
        with suppress(MobyshellError):  # of another version of this program
            volume = read_volume(word)
            found += [volume.source] if volume.named else []
    return tuple(dict.fromkeys(found))


def holders(containers: Iterable[Container]) -> dict[str, list[str]]:
    """The ids of the containers that were made with each volume."""
    found: dict[str, list[str]] = {}
    for one in containers:
        for name in names_of(one):
            found.setdefault(name, []).append(one.id)
    return found


def users(place: Surroundings, name: str, kept: dict[str, list[str]]) -> tuple[str, ...]:
    """Who has a volume: tasks that have it mounted, and containers (`holders`). NotFound."""
    return tuple(dict.fromkeys((*place.users(name), *kept.get(name, ()))))


def unused(place: Surroundings, kept: dict[str, list[str]], *, every: bool) -> list[Volume]:
    """The volumes that nobody has: those without a name of their own, or `every`."""
    return [one for one in place.volumes.ls()
            if (every or is_anonymous(one.name)) and not users(place, one.name, kept)]  # fmt: skip


def forget(place: Surroundings, names: Sequence[str], kept: dict[str, list[str]]) -> None:
    """Remove those of a container that is gone which have no name of their own, and no other user."""
    for name in names:
        if is_anonymous(name):
            with suppress(MobyshellError):
                remove(place, name, kept)


def remove(place: Surroundings, name: str, kept: dict[str, list[str]]) -> None:
    """Delete a volume and what is in it. NotFound; WrongState while somebody has it."""
    tasks = place.users(name)
    others = [one for one in kept.get(name, ()) if one not in tasks]
    if not tasks and others:
        raise WrongState(f"the volume {name} is in use by {', '.join(others)}",
                         hint=f"`mobyshell container rm {others[0]}` first")  # fmt: skip
    place.volumes.remove(name, tasks)
