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
from mobyshell.core.network.files import locked
from mobyshell.core.network.planner import HOLDER_PID, SLIRP_PID, Wanted, join, plan_attach
from mobyshell.core.network.values import (
    HOST,
    Attachment,
    Lease,
    NetworkPlan,
    Operation,
    PortMapping,
    Request,
)
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking


class Attaching:
    """What `Networking.attach` gives to the one who makes the container: hold it (`with`) until the
    container is there, and tell it of its process by `connect`."""

    def __init__(
        self, home: Networking, request: Request, mode: str, fd: int, *, later: bool
    ) -> None:
        self._home, self._request, self._mode, self._fd = home, request, mode, fd
        self._later = later
        self._wanted: list[Wanted] = []
        directory = home.records.directory(home.namespace, request.id)
        self.attachment = Attachment(home.namespace, request.id, "", hostname=request.hostname,
                                     directory=directory)  # fmt: skip

    @property
    def lasting(self) -> bool:
        """Whether another process of the container would have the networks, too: not if they are
        joined in a namespace that comes and goes with one."""
        return not self._later or self._mode in ("none", "host")

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
        configs = [] if self._mode else [home.configuration(one) for one in request.networks]
        if self._mode == "host":
            self.attachment = replace(self.attachment, netns=None)
        elif not self._mode and not self._later:
            path = request.netns or home.records.netns(home.namespace, request.id)
            self.attachment = replace(self.attachment, netns=path, pinned=not request.netns)
        identity = home.identity(request.id)
        without = [Wanted(one, f"eth{number}", one.built_in()[0])
                   for number, one in enumerate(configs)]  # fmt: skip
        joined = tuple(join(identity, one) for one in without)
        with locked(home.records.common_lock()):
            self._record(joined=joined, ports=home.choose_ports(request.ports))
        for number, one in enumerate(configs):
            self._wanted.append(home.want(identity, one, number))
        if self._wanted:
            publishing = self._wanted[0].bridge
            if request.ports and publishing is not None and not publishing.publishes:
                raise UsageError(f"the network {request.networks[0]} publishes no ports",
                                 hint="it is internal, or has no portmap plugin")  # fmt: skip
            self._record(joined=tuple(join(identity, one) for one in self._wanted))
        self._write_files()

    def join(self) -> None:
        """Have the networks joined, in the namespace that is recorded."""
        if self._mode in slirp.PROGRAMS:
            self._hold()
        elif not self._mode:
            self._join(self.attachment.netns or "")
        self._finish()

    def _hold(self) -> None:
        """A program's network, in namespaces that a process holds until we let go of them."""
        request, directory = self._request, self.attachment.directory
        hold = Operation(
            "hold", HOST,
            {"pidfile": f"{directory}/{HOLDER_PID}", "uids": list(request.uids),
             "gids": list(request.gids)},
            "namespaces that are there before the container", "unshare --user --net sleep infinity &",
        )  # fmt: skip
        (pid,) = work([hold], host=self._home.host, lock=self._fd)
        netns, userns = f"/proc/{pid}/ns/net", f"/proc/{pid}/ns/user"
        self._record(netns=netns, userns=userns)
        one = slirp_operation(self._mode, self.attachment.ports, netns, userns, directory)
        work([one], host=self._home.host, lock=self._fd)

    def connect(self, pid: int) -> None:
        """Join the networks now that process `pid` of the container has its network namespace;
        nothing is left to do where the namespace was there first."""
        if not self._later:
            return
        netns, userns = f"/proc/{pid}/ns/net", f"/proc/{pid}/ns/user"
        if self._mode in slirp.PROGRAMS:
            try:
                other = os.stat(userns).st_ino != os.stat("/proc/self/ns/user").st_ino
            except OSError as error:
                raise SyscallFailed.of(error, "stat", path=userns) from None
            one = slirp_operation(self._mode, self.attachment.ports, netns,
                                  userns if other else "", self.attachment.directory)  # fmt: skip
            work([one], host=self._home.host, lock=self._fd)
        elif not self._mode:
            self._join(netns)
        self._finish()

    def _join(self, netns: str) -> None:
        home, request = self._home, self._request
        plan = plan_attach(home.identity(request.id), self._wanted,
                           home.terms(request, netns, self.attachment.ports))  # fmt: skip
        results = work(plan.operations, host=home.host, netns=netns, lock=self._fd)
        self._take_results(plan, results)

    def _finish(self) -> None:
        self._write_files()
        with locked(self._home.records.common_lock()):
            self._record(complete=True)
            self._home.tell_neighbours(self.attachment)

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
        servers = request.servers or ((slirp.SLIRP_DNS,) if self._mode == "slirp4netns" else ())
        names.write(self.attachment.directory, request.hostname, ips, servers=servers,
                    search=request.search, own_loopback=self._mode != "host")  # fmt: skip


def slirp_operation(
    program: str, chosen: Sequence[PortMapping], netns: str, userns: str, directory: str
) -> Operation:
    """The one operation of a user-mode network."""
    pidfile = f"{directory}/{SLIRP_PID}"
    arguments = {"program": program, "netns": netns, "userns": userns, "pidfile": pidfile,
                 "ports": [one.to_json() for one in chosen]}  # fmt: skip
    if program == "pasta":
        words = slirp.pasta_words(program, netns, userns, chosen, pidfile)
    else:
        words = slirp.slirp_words(program, netns, userns, 1, f"{pidfile}.api")
    return Operation("slirp", HOST, arguments, "a program carries the container's packets",
                     " ".join(words))  # fmt: skip


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
