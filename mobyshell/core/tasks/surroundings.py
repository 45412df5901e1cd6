"""What a container gets beside what its spec says: networks, published ports, volumes.

Owns the order around a task's creation: volumes are held, networks joined, the spec adapted; then the
container is made, and what was held let go. If anything fails, nothing of it stays. Also what follows
a task's deletion: its networks are let go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, NotFound, UsageError, WrongState
from mobyshell.core.network import connecting, names, ports, slirp
from mobyshell.core.network.attach import Networking, mode_of
from mobyshell.core.network.keeping import Process
from mobyshell.core.network.networks import DEFAULT
from mobyshell.core.network.values import (
    Attachment,
    Joined,
    NetworkPlan,
    PortMapping,
    Request,
    Users,
)
from mobyshell.core.oci import Linux, Mount, Namespace, Spec, dump_spec, load_spec
from mobyshell.core.tasks.listing import list_fields
from mobyshell.core.tasks.paths import container_dir
from mobyshell.core.tasks.records import write_atomically
from mobyshell.core.tasks.volume_owners import eraser, is_empty
from mobyshell.core.values import replace, value
from mobyshell.core.volumes.volumes import Volumes, new_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobyshell.core.tasks.service import Tasks
    from mobyshell.core.volumes.volumes import Volume as Kept

    Fill = Callable[[str, Kept], object]

CONTAINER = "container:"
NO_COPY = "nocopy"
_FLAGS = frozenset({
    NO_COPY, "ro", "rw", "nosuid", "nodev", "noexec", "private", "rprivate", "shared", "rshared", "slave",
    "rslave",
})  # fmt: skip


@value
class Volume:
    """A mount that was asked for: `source` is a directory of the host, or a volume's name."""

    source: str
    destination: str
    options: tuple[str, ...] = ()

    @property
    def named(self) -> bool:
        """Whether `source` is a name."""
        return "/" not in self.source


@value
class Wishes:
    """What is asked for. `networks`: names, `none`, `host`, `container:ID`, `pasta` or
    `slirp4netns`; none at all leaves the network to the spec, unless ports are published."""

    networks: tuple[str, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    volumes: tuple[Volume, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.networks or self.ports or self.volumes)

    @classmethod
    def read(
        cls, networks: Sequence[str] = (), publish: Sequence[str] = (), volumes: Sequence[str] = ()
    ) -> Wishes:
        """From the words of `--network`, `-p` and `-v`. UsageError; Unsupported if ports are published
        by a user for whom nothing can carry them."""
        mapped = tuple(one for word in publish for one in ports.parse(word))
        chosen = tuple(networks) or ((_for_ports(),) if mapped else ())
        if len(chosen) > 1 and any(one.startswith(CONTAINER) for one in chosen):
            raise UsageError("--network container:ID cannot be combined with others")
        if mapped and chosen[0].startswith(CONTAINER):
            raise UsageError("ports are published by the container whose network it is",
                             hint="leave -p away here")  # fmt: skip
        return cls(chosen, mapped, tuple(read_volume(word) for word in volumes))


def _for_ports() -> str:
    return DEFAULT if os.geteuid() == 0 else slirp.default()


def read_volume(word: str) -> Volume:
    """`NAME:/PATH[:OPTIONS]` or `/HOST:/PATH[:OPTIONS]`; `/PATH`: a new volume. UsageError."""
    source, _, rest = with_name(word).partition(":")
    destination, _, flags = rest.partition(":")
    options = tuple(flags.split(",")) if flags else ()
    unknown = [one for one in options if one not in _FLAGS]
    if not source or not destination.startswith("/") or destination.strip("/") == "" or unknown:
        raise UsageError(
            f"{word!r:.100} is no volume"
            + (f": {unknown[0]!r:.20} is no option" if unknown else ""),
            hint="NAME:/path[:ro], /directory:/path[:ro], or /path for a volume of its own",
        )
    if source.startswith((".", "~")):
        source = os.path.abspath(os.path.expanduser(source))
    elif "/" in source and not source.startswith("/"):
        raise UsageError(f"{source!r:.80} is neither a name nor an absolute path",
                         hint=f"./{source:.80} is one of this directory")  # fmt: skip
    return Volume(source, destination, options)


def with_name(word: str) -> str:
    """The words of a volume, with a new name if they are a path alone."""
    return f"{new_name()}:{word}" if word.startswith("/") and ":" not in word else word


class Surroundings:
    """Networks and volumes of one namespace, for its tasks. `root`: the store's."""

    def __init__(self, root: str, state: str, namespace: str) -> None:
        self._state, self.namespace = state, namespace
        self.networking = Networking(root, state, namespace)
        self.volumes = Volumes(root, namespace, eraser(root))

    @contextmanager
    def around(
        self, tasks: Tasks, id: str, spec: Spec, wishes: Wishes, fill: Fill | None = None
    ) -> Iterator[Spec]:
        """The spec as it is to be run; what is wished for is held while the container is made. Leave
        with an error to undo it.

        `fill` copies what the container's files have in a place into a volume: it is asked to for one
        that is empty, unless it is mounted with `nocopy`.
        """
        with ExitStack() as held:
            spec = self._with_volumes(spec, wishes.volumes, held, fill)
            if not wishes.networks:
                yield spec
            elif wishes.networks[0].startswith(CONTAINER):
                other = wishes.networks[0].removeprefix(CONTAINER)
                yield self._joining(tasks, other, spec)
            else:
                request, _ = request_of(id, spec, wishes)
                attachment = held.enter_context(self.networking.attach(request)).attachment
                adapted = in_network(spec, attachment.netns, attachment.userns,
                                     known=attachment.pinned)  # fmt: skip
                if attachment.netns is not None:
                    adapted = named(adapted, request.hostname)
                yield _with_files(adapted, attachment.directory)

    def connect(self, tasks: Tasks, id: str, network: str) -> Joined:
        """Join a task that is there to a network, asked for as `network.asked` writes it; see
        `connecting.connect` for what can be wrong."""

        def respell(kept: Attachment) -> int:
            place = container_dir(self._state, self.namespace, id)
            spec = load_spec(place)
            again = in_network(spec, kept.netns, kept.userns, known=True)
            if again != spec:
                write_atomically(f"{place}/config.json", dump_spec(again).encode())
            return self._pid(tasks, id)

        process = Process(self._pid(tasks, id), respell)
        found = connecting.connect(self.networking, id, network, process)
        addresses = [one.address for one in found.leases]
        with suppress(MobyshellError):  # it is joined, whoever hears of it
            tasks.networked(id, found.network, found.interface, joined=True, addresses=addresses)
        return found

    def plan_connect(self, tasks: Tasks, id: str, network: str) -> NetworkPlan:
        """What `connect` would do now; nothing is changed."""
        return connecting.plan_connect(self.networking, id, network, self._pid(tasks, id))

    def _pid(self, tasks: Tasks, id: str) -> int:
        """A task's first process; 0 while it has none."""
        try:
            return tasks.get(id).pid or 0
        except NotFound:
            return 0  # who joins it says so

    def disconnect(self, tasks: Tasks, id: str, network: str) -> Joined:
        """Take a task out of a network; see `connecting.disconnect`."""
        gone = connecting.disconnect(self.networking, id, network)
        with suppress(MobyshellError):
            tasks.networked(id, gone.network, gone.interface, joined=False)
        return gone

    def plan(self, id: str, spec: Spec, wishes: Wishes) -> NetworkPlan:
        """What `around` would do about networks."""
        if not wishes.networks or wishes.networks[0].startswith(CONTAINER):
            return NetworkPlan()
        return self.networking.plan(request_of(id, spec, wishes)[0])

    def users(self, volume: str) -> tuple[str, ...]:
        """The tasks of the namespace that have a volume mounted."""
        path, found = self.volumes.get(volume).path, []
        for fields in list_fields(self._state, self.namespace):
            try:
                spec = load_spec(container_dir(self._state, self.namespace, fields["id"]))
            except MobyshellError:
                continue
            if any(one.source == path for one in spec.mounts or ()):
                found.append(str(fields["id"]))
        return tuple(found)

    def _with_volumes(
        self, spec: Spec, wanted: Sequence[Volume], held: ExitStack, fill: Fill | None
    ) -> Spec:
        mounts = []
        for one in wanted:
            source = one.source
            options = tuple(word for word in one.options if word != NO_COPY)
            if one.named:
                volume = self.volumes.ensure(one.source)
                held.callback(os.close, self.volumes.hold(one.source))
                source = volume.path
                if fill is not None and NO_COPY not in one.options and is_empty(source):
                    fill(one.destination, volume)
            elif not os.path.exists(source):
                raise NotFound(f"there is no {source} on this machine",
                               hint="make it, or give a volume's name")  # fmt: skip
            mounts.append(bind(source, one.destination, options or ("rw",)))
        return replace(spec, mounts=(*(spec.mounts or ()), *mounts)) if mounts else spec

    def _joining(self, tasks: Tasks, other: str, spec: Spec) -> Spec:
        """`spec` in the network of the task `other`."""
        info = tasks.get(other)
        if not info.pid:
            raise WrongState(
                f"{other} has no process, and so no network now", hint="start it first"
            )
        attachment = self.networking.find(other)
        theirs = load_spec(container_dir(self._state, self.namespace, other))
        netns: str | None = None  # the host's
        if any(one.type == "network" for one in _linux(theirs).namespaces or ()):
            pinned = attachment is not None and attachment.pinned and attachment.netns
            netns = pinned or f"/proc/{info.pid}/ns/net"
        # a network namespace is its user namespace's: without root it is entered in that one alone
        ours, users = _users(spec), attachment.users if attachment is not None else _users(theirs)
        shared = netns is not None and ours is not None and users is not None and (
            (ours.uids, ours.gids) == (users.uids, users.gids)
        )  # fmt: skip
        userns = f"/proc/{info.pid}/ns/user" if shared else ""
        spec = in_network(spec, netns, userns, known=True)
        if attachment is None:
            return spec
        return _with_files(named(spec, attachment.hostname), attachment.directory)


def let_go(state: str, namespace: str, id: str) -> None:
    """Take back the networks of a task that is deleted. What cannot be taken back is kept on
    record, and tried again by whoever attaches next; whoever is at it now sees to it."""
    with suppress(WrongState):
        Networking("", state, namespace).detach(id)


def request_of(id: str, spec: Spec, wishes: Wishes) -> tuple[Request, str]:
    """What is asked of networks, and the word that stands for all of it (`mode_of`)."""
    request = Request(id, wishes.networks, wishes.ports, hostname=spec.hostname or id,
                      users=_users(spec))  # fmt: skip
    return request, mode_of(request)


def _linux(spec: Spec) -> Linux:
    return spec.linux if spec.linux is not None else Linux()


def _users(spec: Spec) -> Users | None:
    """The user namespace that it has."""
    linux = _linux(spec)
    for one in linux.namespaces or ():
        if one.type == "user":
            if one.path:
                return Users(one.path)
            uids, gids = (
                tuple((each.container_id, each.host_id, each.size) for each in maps or ())
                for maps in (linux.uid_mappings, linux.gid_mappings)
            )
            return Users("", uids, gids)
    return None


def in_network(spec: Spec, netns: str | None, userns: str = "", *, known: bool = False) -> Spec:
    """`spec` in the network namespace at a path; "": in one of its own; None: in the host's. With
    `userns` in that user namespace, which has its maps already: they stay in the spec if they are
    `known` to be the same, for who needs to know whose a file is."""
    linux = _linux(spec)
    others = tuple(one for one in linux.namespaces or () if one.type != "network")
    if userns:
        if not known:
            linux = replace(linux, uid_mappings=None, gid_mappings=None)
        others = (Namespace(type="user", path=userns),
                  *(one for one in others if one.type != "user"))  # fmt: skip
    if netns is not None:
        others = (*others, Namespace(type="network", path=netns or None))
    return replace(spec, linux=replace(linux, namespaces=others))


_LONGEST_NAME = 64  # HOST_NAME_MAX, sethostname(2)


def named(spec: Spec, name: str) -> Spec:
    """`spec` with the name that its /etc/hostname says, if it has none and a namespace for one."""
    own = any(one.type == "uts" and not one.path for one in _linux(spec).namespaces or ())
    if spec.hostname is not None or not own or not 0 < len(name) <= _LONGEST_NAME:
        return spec
    return replace(spec, hostname=name)


def _with_files(spec: Spec, directory: str) -> Spec:
    """`spec` with our resolv.conf, hosts and hostname, where it mounts nothing of its own."""
    taken = {one.destination for one in spec.mounts or ()}
    mounts = [
        bind(f"{directory}/{name}", place, ("rw",)) for name, place in names.FILES.items()
        if place not in taken and os.path.exists(f"{directory}/{name}")
    ]  # fmt: skip
    return replace(spec, mounts=(*(spec.mounts or ()), *mounts))


def bind(source: str, destination: str, options: Sequence[str]) -> Mount:
    """The mount of a directory or file of the host."""
    spread = {"private", "rprivate", "shared", "rshared", "slave", "rslave"}
    more = () if spread & set(options) else ("rprivate",)
    return Mount(destination=destination, type="bind", source=source,
                 options=("rbind", *options, *more))  # fmt: skip


__all__ = ["Surroundings", "Volume", "Wishes", "let_go", "read_volume"]
