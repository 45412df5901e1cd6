"""What is about to be done around a task, told before anything of it is done.

Owns the foresight: which volumes are made, filled or left as they are, which network operations come
first, and the spec as the container will have it. Only looks. What is told here is done by
`surroundings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from mobyshell.core.errors import NotFound
from mobyshell.core.network import names
from mobyshell.core.network.values import NetworkPlan
from mobyshell.core.oci import Mount, Spec
from mobyshell.core.tasks.surroundings import (
    CONTAINER,
    NO_COPY,
    Surroundings,
    Volume,
    Wishes,
    bind,
    in_network,
    named,
    request_of,
)
from mobyshell.core.tasks.volume_owners import is_empty
from mobyshell.core.values import replace, value

Look = Callable[[str], "int | None"]
"""How many entries a directory of the image has; None if there is no such directory."""


@value
class VolumeStep:
    """What happens to a volume (or a directory of the host) before it is mounted."""

    title: str
    why: str
    source: str
    destination: str
    options: tuple[str, ...]


@value
class Foreseen:
    """`spec`: with the mounts and the network that there will be."""

    spec: Spec
    volumes: tuple[VolumeStep, ...]
    network: NetworkPlan


def foresee(
    place: Surroundings, tasks_network: Callable[[str], str], id: str, spec: Spec, wishes: Wishes,
    look: Look | None = None,
) -> Foreseen:  # fmt: skip
    """What `Surroundings.around` would do now. NotFound where it would say so.

    `look` looks into the image's files; without it there is nothing that a volume could be filled
    with. `tasks_network`: the network namespace of another task.
    """
    steps, mounts = [], []
    for one in wishes.volumes:
        step, mount = _volume(place, one, look)
        steps.append(step)
        mounts.append(mount)
    network = place.plan(id, spec, wishes)
    spec = replace(spec, mounts=(*(spec.mounts or ()), *mounts)) if mounts else spec
    return Foreseen(_joined(place, tasks_network, id, spec, wishes), tuple(steps), network)


def _volume(place: Surroundings, one: Volume, look: Look | None) -> tuple[VolumeStep, Mount]:
    options = tuple(word for word in one.options if word != NO_COPY) or ("rw",)
    how = "read-only" if "ro" in options else "to be written"
    if one.named:
        source, title, why = _named(place, one, look)
    elif os.path.exists(one.source):
        source, title = one.source, f"{one.source} of the host, as it is"
        why = "a directory is not a volume: nothing is copied into it"
    else:
        raise NotFound(f"there is no {one.source} on this machine",
                       hint="make it, or give a volume's name")  # fmt: skip
    mount = bind(source, one.destination, options)
    title = f"{title}; mounted on {one.destination}, {how}"
    return VolumeStep(title, why, source, one.destination, tuple(mount.options or ())), mount


def _named(place: Surroundings, one: Volume, look: Look | None) -> tuple[str, str, str]:
    """A volume's directory, what happens to it, and why."""
    try:
        source = place.volumes.get(one.source).path
        there = 0 if is_empty(source) else _entries(source)
        title = f"volume {one.source}, which has {_so_many(there)}"
    except NotFound:
        source, there = place.volumes.place(one.source), 0
        title = f"volume {one.source} is made"
    if there:
        return source, title, "what is in it stays: only an empty volume is filled"
    if NO_COPY in one.options:
        return source, f"{title}, left empty", "nocopy was asked for"
    found = look(one.destination) if look is not None else None
    if found is None:
        return source, f"{title}, empty", f"there is nothing on {one.destination} to begin with"
    what = f"{_so_many(found)} of the image's {one.destination}"
    return source, f"{title}, and filled with {what}", "an empty volume begins with what it covers"


def _entries(path: str) -> int:
    """How many there are; -1 where they cannot be counted from here."""
    try:
        return len(os.listdir(path))
    except PermissionError:
        return -1


def _so_many(count: int) -> str:
    if count < 0:
        return "some of other owners"
    return f"{count} entr{'y' if count == 1 else 'ies'}"


def _joined(
    place: Surroundings, tasks_network: Callable[[str], str], id: str, spec: Spec, wishes: Wishes
) -> Spec:
    """`spec` in the network that will be there."""
    if not wishes.networks:
        return spec
    if wishes.networks[0].startswith(CONTAINER):
        return in_network(spec, tasks_network(wishes.networks[0].removeprefix(CONTAINER)))
    request, mode = request_of(id, spec, wishes)
    records, userns = place.networking.records, ""
    netns: str | None = None if mode == "host" else ""
    if mode not in ("none", "host") and os.geteuid() == 0:
        netns, userns = records.netns(place.namespace, id), place.networking.userns(request)
    directory = records.directory(place.namespace, id)
    spec = in_network(spec, netns, userns, known=True)
    if netns is not None:
        spec = named(spec, request.hostname)
    return replace(spec, mounts=(*(spec.mounts or ()), *_files(spec, directory)))


def _files(spec: Spec, directory: str) -> Sequence[Mount]:
    taken = {one.destination for one in spec.mounts or ()}
    return [bind(f"{directory}/{name}", where, ("rw",)) for name, where in names.FILES.items()
            if where not in taken]  # fmt: skip
