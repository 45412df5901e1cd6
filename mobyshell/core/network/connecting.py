"""Joining a container that is there to a network, and taking it out of one.

Owns the order, as `attach` does for containers that are made: the record says what is about to be
(`Joined.pending`), then addresses, then the kernel, then the record again. Who dies in between leaves
a network that is pending: whoever comes next takes the container out of it (`settle`), so that what
was asked for either has happened or has not. Its other networks, addresses and ports stay.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.network import cni, peers
from mobyshell.core.network.addresses import Addresses
from mobyshell.core.network.asked import Asked, parse
from mobyshell.core.network.attaching import has_nftables
from mobyshell.core.network.changes import in_order, plan_joining, plan_leaving, with_one_more
from mobyshell.core.network.config import RESERVED, NetworkConfig
from mobyshell.core.network.files import locked
from mobyshell.core.network.keeping import Process, keep, plan_keeping, where_kept
from mobyshell.core.network.planner import SLIRP_PID, Terms, Wanted, join
from mobyshell.core.network.values import Attachment, Joined, Lease, NetworkPlan, Operation
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking


def connect(home: Networking, id: str, word: str, process: Process | None = None) -> Joined:
    """Join a container to a network, asked for as `asked` writes it; its place in it. `process` is of
    one that may have been made without networks.

    AlreadyExists if it is in it, or somebody has the address; NotFound; UsageError for a word that is
    no network; WrongState if its network is not ours to change, or somebody else is at it; Unsupported.
    """
    asked = _asked(word)
    with _Held(home, id) as held:
        settle(home, held.attachment(), held.fd)
        attachment = held.attachment()
        config, number = _joinable(home, attachment, asked.network), _free(attachment)
        if not attachment.joined:
            attachment = keep(home, attachment, process or Process(), held.fd)
        return _connect(home, attachment, config, number, asked, held.fd)


def disconnect(home: Networking, id: str, network: str) -> Joined:
    """Take a container out of a network; what its place in it was. NotFound if it is not in it;
    otherwise as for `connect`."""
    network = _asked(network).network
    with _Held(home, id) as held:
        settle(home, held.attachment(), held.fd)
        attachment = held.attachment()
        _check_changeable(attachment)
        gone = _place(attachment, network)
        attachment = _pending(home, attachment, replace(gone, pending=True))
        _leave(home, attachment, _place(attachment, network), held.fd)
        return gone


def plan_connect(home: Networking, id: str, word: str, pid: int = 0) -> NetworkPlan:
    """What `connect` would do now; nothing is changed."""
    asked = _asked(word)
    attachment = _attachment(home, id)
    config, number = _joinable(home, attachment, asked.network, dry=True), _free(attachment)
    wanted = home.want(home.identity(id), config, number, asked, dry=True)
    one = join(home.identity(id), wanted)
    every = with_one_more(attachment.joined, one, attachment.ports)
    kept: tuple[Operation, ...] = ()
    if not attachment.netns:
        attachment = where_kept(home, attachment)
        kept = plan_keeping(home.identity(id), attachment, pid)
    plan = plan_joining(home.identity(id), every, wanted, _terms(attachment))
    return NetworkPlan((*kept, *plan.operations))


def plan_disconnect(home: Networking, id: str, network: str) -> NetworkPlan:
    """What `disconnect` would do now; nothing is changed."""
    network = _asked(network).network
    attachment = _attachment(home, id)
    _check_changeable(attachment)
    return _plan_leaving(home, attachment, _place(attachment, network))[0]


def settle(home: Networking, attachment: Attachment, fd: int) -> bool:
    """Take a container out of every network that somebody died of joining it to, or taking it out of;
    whether there was one. `fd`: its lock."""
    pending = [one for one in attachment.joined if one.pending]
    for one in pending:
        attachment = _leave(home, attachment, one, fd)
    return bool(pending)


class _Held:
    """The lock of an attachment."""

    def __init__(self, home: Networking, id: str) -> None:
        self._home, self._id = home, id
        _attachment(home, id)
        self.fd = home.records.lock(home.namespace, id)
        if self.fd < 0:
            raise WrongState(f"somebody else changes the networks of {id}", hint="try again")

    def __enter__(self) -> _Held:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        if not self._home.there(self._home.namespace, self._id):  # who deleted it left this to us
            self._home.detach(self._id)

    def attachment(self) -> Attachment:
        """As it is now."""
        return _attachment(self._home, self._id)


def _attachment(home: Networking, id: str) -> Attachment:
    found = home.find(id)
    if not home.there(home.namespace, id):
        raise NotFound(f"there is no task {id} in namespace {home.namespace}")
    if found is None:
        raise WrongState(
            f"the network of {id} is not ours to change: it is its config's, or another task's",
            hint="tasks that are made with --network NAME can be joined to others later",
        )
    return found


def _asked(word: str) -> Asked:
    if word.partition(":")[0] in RESERVED:
        raise UsageError(f"{word} is no network that can be joined or left: a task has it from its "
                         "making to its end, or has it not")  # fmt: skip
    return parse(word)


def _check_changeable(attachment: Attachment) -> None:
    if os.geteuid() != 0:
        raise Unsupported("only root can join containers to a bridge of the host")
    mode = ""
    if attachment.netns is None:
        mode = "the host's (--network host)"
    elif os.path.exists(f"{attachment.directory}/{SLIRP_PID}"):
        mode = "carried by a program (pasta, slirp4netns)"
    if mode:
        raise WrongState(f"the network of {attachment.id} is {mode}: nothing can be joined to that",
                         hint="make the task with --network NAME")  # fmt: skip
    if not attachment.complete:
        raise WrongState(f"{attachment.id} was not made to its end", hint="delete it")


def _joinable(
    home: Networking, attachment: Attachment, network: str, *, dry: bool = False
) -> NetworkConfig:
    _check_changeable(attachment)
    if any(one.network == network for one in attachment.joined):
        raise AlreadyExists(f"{attachment.id} is in the network {network} already")
    return home.configuration(network, dry=dry)


def _place(attachment: Attachment, network: str) -> Joined:
    for one in attachment.joined:
        if one.network == network:
            return one
    names = ", ".join(one.network for one in attachment.joined)
    raise NotFound(f"{attachment.id} is not in the network {network}",
                   hint=f"it is in {names}" if names else "it is in none")  # fmt: skip


def _free(attachment: Attachment) -> int:
    used = {one.interface for one in attachment.joined}
    return next(number for number in range(len(used) + 1) if f"eth{number}" not in used)


def _terms(attachment: Attachment) -> Terms:
    return Terms(attachment.netns or "", pin=False, ports=attachment.ports,
                 plugins=cni.directories(), kernel_ports=has_nftables(),
                 directory=attachment.directory)  # fmt: skip


def _record(home: Networking, attachment: Attachment, joined: Sequence[Joined]) -> Attachment:
    attachment = replace(attachment, joined=tuple(joined))
    home.records.write(attachment)
    return attachment


def _pending(home: Networking, attachment: Attachment, one: Joined) -> Attachment:
    """One of its networks is written down anew."""
    return _record(home, attachment, [one if each.interface == one.interface else each
                                      for each in attachment.joined])  # fmt: skip


def _connect(
    home: Networking, before: Attachment, config: NetworkConfig, number: int, asked: Asked, fd: int
) -> Joined:
    identity = home.identity(before.id)
    bare = Wanted(config, f"eth{number}", config.built_in()[0], asked=asked)
    one = replace(join(identity, bare), pending=True)
    with locked(home.records.common_lock()):  # nobody removes the bridge from now on
        attachment = _record(home, before, with_one_more(before.joined, one, before.ports))
    try:
        wanted = home.want(identity, config, number, asked)
        one = replace(join(identity, wanted), pending=True)
        attachment = _pending(home, attachment, one)
        plan = plan_joining(identity, attachment.joined, wanted, _terms(attachment))
        netns = attachment.netns or ""
        results = work(plan.operations, host=home.host, netns=netns, lock=fd)
        for step, result in zip(plan.operations, results, strict=True):
            if step.verb == "cni-add" and result:
                leases = tuple(Lease(*pair) for pair in cni.addresses(result))
                one = replace(one, result=result, leases=leases)
    except BaseException:
        try:
            _leave(home, attachment, one, fd)
        except MobyshellError:
            pass  # it stays pending; the first error is the one to tell
        raise
    one = replace(one, pending=False)
    with locked(home.records.common_lock()):
        attachment = _pending(home, attachment, one)
        peers.readdress(attachment, before.addresses)
        home.tell_neighbours(attachment)
    return one


def _plan_leaving(
    home: Networking, attachment: Attachment, gone: Joined
) -> tuple[NetworkPlan, tuple[Joined, ...]]:
    others = [one for one in attachment.joined if one.interface != gone.interface]
    carried = bool(attachment.ports) and attachment.joined[0].interface == gone.interface
    rest = in_order(others, attachment.ports) if carried else tuple(others)
    identity = home.identity(attachment.id, attachment.namespace)
    settled = [one for one in rest if not one.pending]
    plan = plan_leaving(identity, settled, gone, _terms(attachment), carried=carried)
    return plan, rest


def _leave(home: Networking, attachment: Attachment, gone: Joined, fd: int) -> Attachment:
    plan, rest = _plan_leaving(home, attachment, gone)
    work(plan.operations, host=home.host, netns=attachment.netns or "", lock=fd, keep_going=True)
    identity = home.identity(attachment.id, attachment.namespace)
    bridge, _ = NetworkConfig(gone.network, gone.document).built_in()
    if bridge is not None:
        # of one that was not finished, all that it may have taken
        known = [lease.ip for lease in gone.leases] or None
        Addresses(bridge.data_directory, gone.network).release(identity.cni_id, known)
    with locked(home.records.common_lock()):
        left = _record(home, attachment, rest)
        peers.readdress(left, attachment.addresses)
        home.tell_neighbours(left, also=gone.network)
    return left
