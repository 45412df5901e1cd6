"""One attachment in the making, from its first record until its container is there.

Owns what is written down before each step is taken, and the lock that says that somebody is at it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported, UsageError
from mobyshell.core.network import cni, names, slirp
from mobyshell.core.network.asked import parse
from mobyshell.core.network.files import locked
from mobyshell.core.network.planner import HOLDER_PID, SLIRP_PID, Wanted, join, unused
from mobyshell.core.network.servers import names_of
from mobyshell.core.network.values import (
    HOST,
    Attachment,
    Lease,
    NetworkPlan,
    Operation,
    PortMapping,
    Request,
    Users,
)
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking


class Attaching:
    """What `Networking.attach` gives to the one who makes the container: hold it (`with`) until the
    container is there."""

    def __init__(self, home: Networking, request: Request, mode: str, fd: int) -> None:
        self._home, self._request, self._mode, self._fd = home, request, mode, fd
        self._wanted: list[Wanted] = []
        directory = home.records.directory(home.namespace, request.id)
        self.attachment = Attachment(home.namespace, request.id, "", hostname=request.hostname,
                                     directory=directory, users=request.users)  # fmt: skip

    def __enter__(self) -> Attaching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if error is not None:
            self.undo()
        elif self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def undo(self) -> None:
        """Take back what was done. What cannot be is left to `reconcile`, with its record."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            self._home.let_go(self._home.namespace, self._request.id, fd)
            for one in self.attachment.joined:
                if one.bridge and "mobyshell" in one.document:
                    self._home.remove_bridge(one.bridge)
        except MobyshellError:
            pass  # the first error is the one to tell

    def begin(self) -> None:
        """Record what is about to be, then take ports and addresses."""
        home, request = self._home, self._request
        asked = () if self._mode else tuple(parse(one) for one in request.networks)
        configs = [home.configuration(one.network) for one in asked]
        if self._mode == "host":
            self.attachment = replace(self.attachment, netns=None)
        elif not self._mode or (self._mode in slirp.PROGRAMS and os.geteuid() == 0):
            path = request.netns or home.records.netns(home.namespace, request.id)
            userns = home.userns(request) if not request.netns else ""
            self.attachment = replace(self.attachment, netns=path, userns=userns,
                                      pinned=not request.netns)  # fmt: skip
        identity = home.identity(request.id)
        without = [Wanted(one, f"eth{number}", one.built_in()[0], asked=asked[number])
                   for number, one in enumerate(configs)]  # fmt: skip
        joined = tuple(join(identity, one) for one in without)
        with locked(home.records.common_lock()):
            self._record(joined=joined, ports=home.choose_ports(request.ports))
        for number, one in enumerate(configs):
            self._wanted.append(home.want(identity, one, number, asked[number]))
        if self._wanted:
            publishing = self._wanted[0].bridge
            if request.ports and publishing is not None and not publishing.publishes:
                raise UsageError(f"the network {asked[0].network} publishes no ports",
                                 hint="it is internal, or has no portmap plugin")  # fmt: skip
            self._record(joined=tuple(join(identity, one) for one in self._wanted))
        self._write_files()

    def join(self) -> None:
        """Have the networks joined, in the namespace that is recorded."""
        if self._mode in slirp.PROGRAMS and not self.attachment.netns:
            self._hold()
        elif self._mode in slirp.PROGRAMS or not self._mode:
            self._join(self.attachment.netns or "")
        self._write_files()
        with locked(self._home.records.common_lock()):
            self._record(complete=True)
            self._home.tell_neighbours(self.attachment)

    def _hold(self) -> None:
        """A program's network, in namespaces that a process holds until we let go of them."""
        users, directory = self._request.users or Users(), self.attachment.directory
        hold = Operation(
            "hold", HOST,
            {"pidfile": f"{directory}/{HOLDER_PID}", "uids": users.uids, "gids": users.gids},
            "namespaces that are there before the container", "unshare --user --net sleep infinity &",
        )  # fmt: skip
        (pid,) = work([hold], host=self._home.host, lock=self._fd)
        netns, userns = f"/proc/{pid}/ns/net", f"/proc/{pid}/ns/user"
        self._record(netns=netns, userns=userns)
        todo = by_program(self._mode, self.attachment.ports, netns, userns, directory)
        work(todo, host=self._home.host, lock=self._fd)

    def _join(self, netns: str) -> None:
        home = self._home
        plan = home.joining(self._request, self._mode, self._wanted, netns, self.attachment.ports)
        results = work(plan.operations, host=home.host, netns=netns, lock=self._fd)
        self._take_results(plan, results)

    def _take_results(self, plan: NetworkPlan, results: Sequence[Any]) -> None:
        """What plugins answered becomes part of the record."""
        answers = {one.arguments["interface"]: result for one, result in
                   zip(plan.operations, results, strict=True) if one.verb == "cni-add"}  # fmt: skip
        joined = []
        for one in self.attachment.joined:
            result = answers.get(one.interface)
            if result:
                found = tuple(Lease(*pair) for pair in cni.addresses(result))
                one = replace(one, result=result, leases=found)
            joined.append(one)
        self.attachment = replace(self.attachment, joined=tuple(joined))

    def _record(self, **changes: Any) -> None:
        self.attachment = replace(self.attachment, **changes)
        self._home.records.write(self.attachment)

    def _write_files(self) -> None:
        request = self._request
        ips = [one.partition("/")[0] for one in self.attachment.addresses]
        theirs = names_of(self.attachment.joined)
        carried = (slirp.SLIRP_DNS,) if self._mode == "slirp4netns" else ()
        names.write(self.attachment.directory, request.hostname, ips,
                    servers=request.servers or theirs.servers or carried,
                    search=request.search or theirs.search, options=theirs.options,
                    own_loopback=self._mode != "host")  # fmt: skip


def by_program(
    program: str, chosen: Sequence[PortMapping], netns: str, userns: str, directory: str
) -> tuple[Operation, ...]:
    """The operations of a user-mode network: the ports are nobody's, and a program carries packets."""
    pidfile = f"{directory}/{SLIRP_PID}"
    arguments = {"program": program, "netns": netns, "userns": userns, "pidfile": pidfile,
                 "ports": [one.to_json() for one in chosen]}  # fmt: skip
    if program == "pasta":
        words = slirp.pasta_words(program, netns, userns, chosen, pidfile)
    else:
        words = slirp.slirp_words(program, netns, userns, 1, f"{pidfile}.api")
    carry = Operation("slirp", HOST, arguments, "a program carries the container's packets",
                      " ".join(words))  # fmt: skip
    return (unused(chosen), carry) if chosen else (carry,)


def has_nftables() -> bool:
    """Whether this kernel has nf_tables for us."""
    from mobyshell.core.linux.nftables import Ruleset

    try:
        Ruleset().close()
    except Unsupported:
        return False
    except (OSError, SyscallFailed):
        return True  # refused, not absent
    return True
