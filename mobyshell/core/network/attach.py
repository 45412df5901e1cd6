"""Attaching containers to networks, and taking that back.

Owns the order: the record, then addresses, then the kernel, then the record again; backwards to
undo. A process that dies anywhere in between leaves a record that says what to look for, which
whoever comes next undoes (`reconcile`). The kernel is touched by the worker only.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Sequence

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.network import cni, connecting, peers, ports, slirp
from mobyshell.core.network.addresses import Addresses
from mobyshell.core.network.asked import Asked, parse
from mobyshell.core.network.attaching import Attaching, by_program, has_nftables
from mobyshell.core.network.config import DATA_DIRECTORY, RESERVED, Network, NetworkConfig
from mobyshell.core.network.files import locked
from mobyshell.core.network.leaving import plan_detach
from mobyshell.core.network.networks import DEFAULT, Networks
from mobyshell.core.network.planner import Identity, Terms, Wanted, plan_attach
from mobyshell.core.network.records import ADDRESSES, Records
from mobyshell.core.network.values import (
    HOST,
    Attachment,
    NetworkPlan,
    Operation,
    PortMapping,
    Request,
    Users,
)
from mobyshell.core.network.work import work


class Networking:
    """Networks and attachments of one namespace. `host`: the network namespace that is the host's,
    "" for the one we are in."""

    def __init__(self, root: str, state: str, namespace: str, *, host: str = "") -> None:
        self.state, self.namespace, self.host = state, namespace, host
        self.records = Records(state)
        self.networks = Networks(root, namespace, f"{self.records.root}/{ADDRESSES}")

    # looking

    def find(self, id: str) -> Attachment | None:
        """What a container is attached to."""
        return self.records.read(self.namespace, id)

    def attached(self, network: str) -> list[Attachment]:
        """The attachments of this namespace that are in a network."""
        return [one for one in self.records.all() if one.namespace == self.namespace
                and any(joined.network == network for joined in one.joined)]  # fmt: skip

    def plan(self, request: Request) -> NetworkPlan:
        """What `attach` would do now; nothing is changed."""
        mode, chosen = mode_of(request), self.choose_ports(request.ports)
        if mode in slirp.PROGRAMS and os.geteuid() != 0:
            directory = self.records.directory(self.namespace, request.id)
            return NetworkPlan(by_program(mode, chosen, "/proc/PID/ns/net", "", directory))
        if mode in ("none", "host"):
            return NetworkPlan()
        identity = self.identity(request.id)
        wanted = [
            self.want(identity, self.configuration(one.network, dry=True), number, one, dry=True)
            for number, one in enumerate(() if mode else asked_of(request))
        ]
        netns = request.netns or self.records.netns(self.namespace, request.id)
        return self.joining(request, mode, wanted, netns, chosen)

    def joining(
        self, request: Request, mode: str, wanted: Sequence[Wanted], netns: str,
        chosen: Sequence[PortMapping],
    ) -> NetworkPlan:  # fmt: skip
        """The operations that join all that is wanted, or have a program carry packets (`mode`)."""
        identity = self.identity(request.id)
        if mode not in slirp.PROGRAMS:
            return plan_attach(identity, wanted, self.terms(request, netns, chosen))
        first = plan_attach(identity, (), self.terms(request, netns, ()))
        users = self.userns(request) or (request.users or Users()).path
        directory = self.records.directory(self.namespace, request.id)
        return NetworkPlan((*first.operations, *by_program(mode, chosen, netns, users, directory)))

    # attaching

    def attach(self, request: Request) -> Attaching:
        """Attach a container that does not exist yet. The answer is held (`with`) until it does: on
        an error all is undone.

        Its network namespace is made and kept by us, with its users' if it has any. AlreadyExists if
        the container is attached, or a port is taken; NotFound; Unsupported; UsageError.
        """
        mode = mode_of(request)
        if request.ports and mode in ("none", "host"):
            raise UsageError(f"with the network {mode} there are no ports to publish",
                             hint="leave -p away, or choose another --network")  # fmt: skip
        if not mode and os.geteuid() != 0:
            raise Unsupported(
                "only root can join containers to a bridge of the host",
                hint="--network pasta (apt install passt) or slirp4netns, none, host, container:ID",
            )
        if mode in slirp.PROGRAMS:
            slirp.find(mode)
        self.records.prepare()
        self.reconcile()
        held = Attaching(self, request, mode, self._own(request.id))
        try:
            held.begin()
            held.join()
        except BaseException:
            held.undo()
            raise
        return held

    def _own(self, id: str) -> int:
        """The lock of an attachment that is to be made. AlreadyExists."""
        fd = self.records.lock(self.namespace, id, make=True)
        if fd < 0:
            raise AlreadyExists(f"{id} is being attached to networks, or let go, by somebody else")
        if self.find(id) is not None:
            os.close(fd)
            raise AlreadyExists(f"{id} is attached to networks already",
                                hint=f"`mobyshell task delete {id}` lets go of them")  # fmt: skip
        return fd

    # what attaching asks for

    def identity(self, id: str, namespace: str = "") -> Identity:
        """Whose a container's kernel objects are."""
        return Identity(self.state, namespace or self.namespace, id)

    def configuration(self, name: str, *, dry: bool = False) -> NetworkConfig:
        """A network that can be joined; `bridge` is made (`dry`: drafted) when it is first asked
        for. NotFound; Unsupported if it needs plugins that are not there."""
        config = self.networks.get(name) if name != DEFAULT else self._default(dry)
        bridge, why = config.built_in()
        lacking = cni.missing(config.plugins, cni.directories()) if bridge is None else ()
        if lacking:
            raise Unsupported(
                f"the network {name} needs CNI plugins that are not installed: "
                f"{', '.join(lacking)} ({why})",
                hint="apt install containernetworking-plugins, or set CNI_PATH",
            )
        return config

    def _default(self, dry: bool) -> NetworkConfig:
        try:
            return self.networks.get(DEFAULT)
        except NotFound:
            routes = self.routes() if os.geteuid() == 0 else ()
            if dry:
                return self.networks.draft(DEFAULT, routes=routes)
        try:
            return self.networks.create(DEFAULT, routes=routes, created=time.time())
        except AlreadyExists:
            return self.networks.get(DEFAULT)

    def want(
        self, identity: Identity, config: NetworkConfig, number: int, asked: Asked | None = None, *,
        dry: bool = False,
    ) -> Wanted:  # fmt: skip
        """A network with the addresses that are taken of it (`dry`: would be). UsageError and
        AlreadyExists for addresses that cannot be had; Unsupported if nobody can be asked for any."""
        asked = asked or Asked(config.name)
        interface = f"eth{number}"
        bridge, _ = config.built_in()
        if bridge is None:
            if asked.ips and not any((one.get("capabilities") or {}).get("ips")
                                     for one in config.plugins):  # fmt: skip
                raise Unsupported(
                    f"the plugins of the network {config.name} cannot be asked for an address",
                    hint='"capabilities": {"ips": true} in its configuration',
                )
            return Wanted(config, interface, asked=asked)
        addresses = Addresses(bridge.data_directory, config.name)
        if dry:
            leases = addresses.peek(bridge.ranges, asked.ips)
        else:
            leases = addresses.allocate(bridge.ranges, identity.cni_id, interface, asked.ips)
        return Wanted(config, interface, bridge, leases, asked)

    def terms(self, request: Request, netns: str, chosen: Sequence[PortMapping]) -> Terms:
        """What holds for all networks of a container."""
        return Terms(
            netns, netns == self.records.netns(self.namespace, request.id), tuple(chosen),
            cni.directories(), kernel_ports=has_nftables(),
            directory=self.records.directory(self.namespace, request.id), users=request.users,
            userns=self.userns(request),
        )  # fmt: skip

    def userns(self, request: Request) -> str:
        """Where the user namespace of a container is kept; "" if it has none that we make."""
        made = request.users is not None and not request.users.path
        return self.records.userns(self.namespace, request.id) if made else ""

    def choose_ports(self, wanted: Sequence[PortMapping]) -> tuple[PortMapping, ...]:
        """The mappings with a host's port each. AlreadyExists for one that is published."""
        if not wanted:
            return ()
        taken = [(port, f"{one.namespace}/{one.id}") for one in self.records.all()
                 for port in one.ports]  # fmt: skip
        return ports.choose(wanted, taken)

    def tell_neighbours(self, attachment: Attachment, also: str = "") -> None:
        """Who is in the networks of an attachment, and of the one that it has left (`also`), hears that
        it came or went (the lock is held)."""
        networks = {one.network for one in attachment.joined} | ({also} if also else set())
        if networks:
            same = (one for one in self.records.all() if one.namespace == attachment.namespace)
            peers.refresh(same, networks, attachment.id)

    # detaching

    def detach(self, id: str) -> bool:
        """Take an attachment back; False if there is none. WrongState if somebody is at it."""
        if not os.path.isdir(self.records.directory(self.namespace, id)):
            return False
        fd = self.records.lock(self.namespace, id)
        if fd < 0:
            raise WrongState(f"somebody else attaches or lets go {id}", hint="try again")
        return self.let_go(self.namespace, id, fd)

    def let_go(self, namespace: str, id: str, fd: int) -> bool:
        """Undo an attachment whose lock is `fd`, which is closed then; False if there was none."""
        try:
            attachment = self._read(namespace, id)
            if attachment is not None:
                self._undo(self.identity(id, namespace), attachment)
            with locked(self.records.common_lock()):
                self.records.remove(namespace, id)
                if attachment is not None:
                    self.tell_neighbours(attachment)
            return attachment is not None
        finally:
            os.close(fd)

    def _read(self, namespace: str, id: str) -> Attachment | None:
        netns = self.records.netns(namespace, id)
        try:
            found = self.records.read(namespace, id)
            if found is not None or not os.path.exists(netns):
                return found
        except MobyshellError:
            pass  # what was said there is lost
        # its namespace, and so its devices, can go all the same; for the rest see `orphans`
        directory, userns = (
            self.records.directory(namespace, id),
            self.records.userns(namespace, id),
        )
        return Attachment(namespace, id, netns, pinned=True, directory=directory, userns=userns)

    def _undo(self, identity: Identity, attachment: Attachment) -> None:
        plan = plan_detach(identity, attachment, cni.directories())
        work(plan.operations, host=self.host, keep_going=True)
        for one in attachment.joined:
            bridge, _ = NetworkConfig(one.network, one.document).built_in()
            if bridge is not None or one.engine == "builtin":
                # of one that was not finished, all that it may have taken
                known = [lease.ip for lease in one.leases]
                whole = attachment.complete and not one.pending
                where = bridge.data_directory if bridge is not None else DATA_DIRECTORY
                Addresses(where, one.network).release(identity.cni_id, known if whole else None)

    def reconcile(
        self, exists: Callable[[str, str], bool] | None = None,
        told: Callable[[str, MobyshellError], object] | None = None,
    ) -> list[str]:  # fmt: skip
        """Undo what dead processes left: attachments that nobody holds, of containers that are not
        there (`exists`; by default, without a directory in the state root). The names of those that
        could be; `told` hears of the others."""
        there = exists or self.there
        gone = []
        for namespace, id in self.records.ids():
            if there(namespace, id):
                self._settle(namespace, id)
                continue
            fd = self.records.lock(namespace, id)
            if fd < 0:
                continue
            if there(namespace, id):  # it was made while we looked
                os.close(fd)
                continue
            try:
                self.let_go(namespace, id, fd)
            except MobyshellError as error:
                if told is not None:
                    told(f"{namespace}/{id}", error)
                continue  # its record stays, and whoever deletes it is told why
            gone.append(f"{namespace}/{id}")
        self.records.sweep()
        return gone

    def unsettled(self) -> list[str]:
        """Of whom somebody died while he joined a network, or left one."""
        return [f"{one.namespace}/{one.id}" for one in self.records.all()
                if any(joined.pending for joined in one.joined)
                and self.there(one.namespace, one.id)]  # fmt: skip

    def _settle(self, namespace: str, id: str) -> None:
        if not self.records.pending(namespace, id):
            return
        try:
            fd = self.records.lock(namespace, id)
            if fd < 0:
                return  # somebody is at it
            try:
                found = self.records.read(namespace, id)
                if found is not None:
                    connecting.settle(self, found, fd)
            finally:
                os.close(fd)
        except MobyshellError:
            pass  # whoever changes its networks, or deletes it, is told why

    def stale(self) -> list[str]:
        """What `reconcile` would undo, of everybody whom nobody is at."""
        return [f"{namespace}/{id}" for namespace, id in self.records.ids()
                if not self.there(namespace, id)]  # fmt: skip

    def there(self, namespace: str, id: str) -> bool:
        """Whether there is a container of that id."""
        return os.path.isdir(f"{self.state}/{namespace}/{id}")

    # networks

    def remove_network(self, name: str) -> None:
        """Delete a network of ours and its bridge. WrongState if somebody is attached."""
        config = self.networks.get(name)
        self.reconcile()
        self.check_unused(name)
        self.networks.remove(name)
        self.remove_bridge(str(config.plugins[0].get("bridge", "")))
        bridge, _ = config.built_in()
        if bridge is not None:
            Addresses(bridge.data_directory, name).forget()

    def check_unused(self, name: str) -> None:
        """WrongState if somebody is attached to a network, with who it is."""
        gone = set(self.stale())
        users = [one.id for one in self.attached(name) if f"{one.namespace}/{one.id}" not in gone]
        if users:
            raise WrongState(f"the network {name} is in use by {', '.join(users)}",
                             hint=f"`mobyshell network disconnect {name} {users[0]}` takes one out, "
                             f"`mobyshell rm -f {users[0]}` removes it")  # fmt: skip

    def remove_bridge(self, device: str) -> None:
        """Delete a bridge that nobody uses, or is about to."""
        if not device or os.geteuid() != 0:
            return
        self.records.prepare()
        with locked(self.records.common_lock()):
            used = {joined.bridge for one in self.records.all() for joined in one.joined}
            if device not in used:
                work([Operation("unbridge", HOST, {"name": device}, "nobody is plugged into it",
                                f"ip link del {device}")], host=self.host)  # fmt: skip

    def routes(self) -> list[Network]:
        """The destinations that the host has routes to, but for the default."""
        looked = [Operation("routes", HOST, {}, "what is not free", "ip route")]
        (found,) = work(looked, host=self.host)
        networks = [ipaddress.ip_network(one) for one in found]
        return [one for one in networks if one.prefixlen]


def asked_of(request: Request) -> tuple[Asked, ...]:
    """The networks of a request. UsageError."""
    return tuple(parse(one) for one in request.networks)


def mode_of(request: Request) -> str:
    """The word that stands alone for a whole way of being connected; "" for named networks."""
    names = [one.network for one in asked_of(request)]
    words = [one for one in names if one in ("none", "host", *slirp.PROGRAMS)]
    if words and len(names) > 1:
        raise UsageError(f"--network {words[0]} cannot be combined with others")
    if not request.networks:
        raise UsageError("a container is attached to at least one network", hint="or to: none")
    if len(set(names)) != len(names):
        raise UsageError("a network is named twice")
    if len(names) == 1 and names[0] in RESERVED and request.networks[0] != names[0]:
        raise UsageError(f"--network {names[0]} gives no addresses and names",
                         hint="name a network")  # fmt: skip
    return words[0] if words else ""
