"""Rules of nf_tables, over netlink: what port mappings and masquerading are made of.

Owns one table of rules, `inet mobyshell`, in the network namespace we are in: a rule as a value, as
the words of nft(8), and as the kernel's expressions; and transactions, of which all happens or
nothing. Every rule has a comment that says whose it is, and goes by that. Never touches a rule of
anybody else's.

pyroute2, whose messages `links` speaks, has those of nf_tables too, but a socket for them that does
not read what became of a transaction, and none of the generations by which we see that somebody
else has changed the rules meanwhile.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux.netlink import (
    APPEND,
    CREATE,
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    nested,
    text,
)

TABLE = "mobyshell"

# linux/netfilter/nf_tables.h, nfnetlink.h
_SUBSYSTEM, _BEGIN, _END, _GENERATION_ID = 10, 0x10, 0x11, 1
_NEWTABLE, _DELTABLE, _NEWCHAIN, _NEWRULE, _GETRULE, _DELRULE, _GETGEN = (
    (_SUBSYSTEM << 8) | one for one in (0, 2, 3, 6, 7, 8, 16)
)
_INET, _IPV4, _IPV6 = 1, 2, 10
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS, _RULE_USERDATA = 1, 2, 3, 4, 7
_L4PROTO, _NFPROTO, _IIFNAME, _OIFNAME = 16, 15, 6, 7
_NETWORK, _TRANSPORT, _REGISTER, _REGISTER_2 = 1, 2, 1, 2
_DNAT_STATUS, _LOCAL, _EQUAL, _UNEQUAL = 0x20, 2, 0, 1
_NUMBERS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}
_TRIES = 20

CHAINS = {
    "guard": ("filter", "prerouting", -300), "prerouting": ("nat", "prerouting", -100),
    "output": ("nat", "output", -100), "forward": ("filter", "forward", 0),
    "postrouting": ("nat", "postrouting", 100),
}  # fmt: skip
"""Our chains: type, hook and priority of each; all let through what no rule stops. Another name is
of a chain that is only jumped to."""

_HOOKS = {"prerouting": 0, "forward": 2, "output": 3, "postrouting": 4}


@dataclass(frozen=True, slots=True)
class Rule:
    """What packets have to be, and what becomes of them: `masquerade`, `drop`, `accept`, `jump` to
    another of our chains, or `dnat` to `to` (address, port). Absent members match everything;
    `not_…` everything else."""

    chain: str
    action: str
    source: str = ""
    destination: str = ""
    not_destination: str = ""
    protocol: str = ""
    port: int = 0
    local: bool = False
    mapped: bool = False
    input: str = ""
    not_input: str = ""
    output: str = ""
    not_output: str = ""
    jump: str = ""
    to: tuple[str, int] | None = None

    @property
    def version(self) -> int:
        """4 or 6 if an address says so, else 0: both."""
        for one in (self.source, self.destination, self.not_destination, (self.to or ("",))[0]):
            if one:
                return ipaddress.ip_network(one, strict=False).version
        return 0

    def words(self) -> str:
        """The rule as nft(8) writes it."""
        ip = "ip6" if self.version == 6 else "ip"
        parts = [
            f'iifname "{self.input}"' if self.input else "",
            f'iifname != "{self.not_input}"' if self.not_input else "",
            f'oifname "{self.output}"' if self.output else "",
            f'oifname != "{self.not_output}"' if self.not_output else "",
            f"{ip} saddr {self.source}" if self.source else "",
            f"{ip} daddr {self.destination}" if self.destination else "",
            f"{ip} daddr != {self.not_destination}" if self.not_destination else "",
            f"{self.protocol} dport {self.port}" if self.port else "",
            "fib daddr type local" if self.local else "",
            "ct status dnat" if self.mapped else "",
        ]
        if self.version and not any(one.startswith("ip") for one in parts):
            parts.insert(0, f"meta nfproto ipv{self.version}")
        parts += [self.action, self.jump]
        if self.to is not None:
            host = f"[{self.to[0]}]" if ip == "ip6" else self.to[0]
            parts.append(f"{ip} to {host}:{self.to[1]}")
        return " ".join(one for one in parts if one)


def script(rules: Sequence[Rule], comment: str) -> str:
    """Shell lines that add the rules with nft(8)."""
    lines = [f"add table inet {TABLE}"]
    for name in _chains(rules):
        base = ""
        if name in CHAINS:
            kind, hook, priority = CHAINS[name]
            base = f" {{ type {kind} hook {hook} priority {priority}; policy accept; }}"
        lines.append(f"add chain inet {TABLE} {name}{base}")
    for rule in rules:
        lines.append(f'add rule inet {TABLE} {rule.chain} {rule.words()} comment "{comment}"')
    return "nft -f - <<'END'\n" + "\n".join(lines) + "\nEND"


def _chains(rules: Sequence[Rule]) -> list[str]:
    return list(dict.fromkeys(one for rule in rules for one in (rule.chain, rule.jump) if one))


class Ruleset:
    """Our table in the network namespace we are in when this is made."""

    def __init__(self) -> None:
        """Unsupported if this kernel has no nf_tables."""
        try:
            self._netlink = Netlink(NETFILTER)
            self._generation()
        except (OSError, SyscallFailed) as error:
            if getattr(error, "errno", 0) in (errno.EPERM, errno.EACCES):
                raise
            raise Unsupported(
                "this kernel has no nf_tables: no port mapping and no masquerading by it",
                hint="CONFIG_NF_TABLES_INET, _NFT_NAT, _NFT_MASQ; a network made with --routed --open "
                "needs no rules, --engine cni leaves them to plugins",
            ) from None

    def close(self) -> None:
        """Hang up."""
        self._netlink.close()

    def _generation(self) -> int:
        body = next(self._netlink.ask(_GETGEN, 0, _family(0), "asking for the rules' generation"))
        return int(struct.unpack("!I", dict(attributes(body[4:]))[1])[0])

    def add(self, rules: Sequence[Rule], comment: str) -> None:
        """Add rules of one owner, all or none; what the owner had before is replaced."""
        for _ in range(_TRIES):
            generation = self._generation()
            messages = [(_NEWTABLE, CREATE, _family() + text(1, TABLE), "making our table")]
            messages += [_new_chain(name) for name in _chains(rules)]
            messages += [_delete(chain, handle) for chain, handle, whose in self.rules()
                         if whose == comment]  # fmt: skip
            messages += [_new_rule(rule, comment) for rule in rules]
            if self._commit(messages, generation):
                return
        raise SyscallFailed(
            "netlink", errno.EBUSY, what="the rules of nf_tables change all the time"
        )

    def drop(self, comment: str) -> int:
        """Delete the rules of one owner, and the table with its last rule; how many there were."""
        for _ in range(_TRIES):
            generation = self._generation()
            there = self.rules()
            theirs = [_delete(chain, handle) for chain, handle, whose in there if whose == comment]
            if not theirs:
                return 0
            if len(theirs) == len(there):
                gone = [(_DELTABLE, 0, _family() + text(1, TABLE), "deleting our table")]
            else:
                gone = theirs
            if self._commit(gone, generation):
                return len(theirs)
        raise SyscallFailed(
            "netlink", errno.EBUSY, what="the rules of nf_tables change all the time"
        )

    def rules(self) -> list[tuple[str, int, str]]:
        """(chain, handle, comment) of each rule of our table."""
        found = []
        body = _family() + text(_RULE_TABLE, TABLE)
        try:
            for one in self._netlink.dump(_GETRULE, body, "listing our rules"):
                told = dict(attributes(one[4:]))
                if told.get(_RULE_TABLE, b"").rstrip(b"\0") != TABLE.encode():
                    continue
                (handle,) = struct.unpack("!Q", told[_RULE_HANDLE])
                chain = told[_RULE_CHAIN].rstrip(b"\0").decode()
                found.append((chain, handle, _comment(told.get(_RULE_USERDATA, b""))))
        except SyscallFailed as error:
            if error.errno != errno.ENOENT:
                raise
        return found

    def _commit(self, messages: list[tuple[int, int, bytes, str]], generation: int) -> bool:
        """Do all of it; False if somebody changed the rules since `generation`."""
        begin = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
        first = begin + attribute(_GENERATION_ID, struct.pack("!I", generation))
        try:
            self._netlink.batch(messages, (first, begin), (_BEGIN, _END))
        except SyscallFailed as error:
            if error.errno in (errno.ERESTART, errno.EAGAIN):
                return False
            if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                raise Unsupported(
                    f"nf_tables of this kernel lacks what a rule needs ({error})",
                    hint="a kernel with CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET, CONFIG_NFT_CT",
                ) from None
            raise
        return True


def _family(family: int = _INET) -> bytes:
    return struct.pack("!BBH", family, 0, 0)


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def _new_chain(name: str) -> tuple[int, int, bytes, str]:
    body = _family() + text(1, TABLE) + text(3, name)
    if name in CHAINS:
        kind, hook, priority = CHAINS[name]
        body += nested(4, _number(1, _HOOKS[hook]), _number(2, priority)) + text(7, kind)
    return _NEWCHAIN, CREATE, body, f"making the chain {name}"


def _new_rule(rule: Rule, comment: str) -> tuple[int, int, bytes, str]:
    data = comment.encode() + b"\0"
    body = _family() + text(_RULE_TABLE, TABLE) + text(_RULE_CHAIN, rule.chain)
    body += nested(_RULE_EXPRESSIONS, *(nested(1, one) for one in _expressions(rule)))
    body += attribute(_RULE_USERDATA, bytes((0, len(data))) + data)
    return _NEWRULE, CREATE | APPEND, body, f"adding the rule {rule.words()}"


def _delete(chain: str, handle: int) -> tuple[int, int, bytes, str]:
    body = _family() + text(_RULE_TABLE, TABLE) + text(_RULE_CHAIN, chain)
    body += attribute(_RULE_HANDLE, struct.pack("!Q", handle))
    return _DELRULE, 0, body, f"deleting rule {handle}"


def _comment(userdata: bytes) -> str:
    """The comment in a rule's user data (libnftnl's kind, length, value; kind 0 is the comment)."""
    while len(userdata) >= 2:
        kind, size = userdata[0], userdata[1]
        if kind == 0:
            return userdata[2 : 2 + size].rstrip(b"\0").decode(errors="replace")
        userdata = userdata[2 + size :]
    return ""


def _expression(name: str, *data: bytes) -> bytes:
    return text(1, name) + nested(2, *data)


def _meta(key: int) -> bytes:
    return _expression("meta", _number(2, key), _number(1, _REGISTER))


def _compare(value: bytes, how: int = _EQUAL) -> bytes:
    return _expression(
        "cmp", _number(1, _REGISTER), _number(2, how), nested(3, attribute(1, value))
    )


def _masked(mask: bytes) -> bytes:
    return _expression(
        "bitwise", _number(1, _REGISTER), _number(2, _REGISTER), _number(3, len(mask)),
        nested(4, attribute(1, mask)), nested(5, attribute(1, bytes(len(mask)))),
    )  # fmt: skip


def _payload(base: int, offset: int, size: int) -> bytes:
    return _expression(
        "payload", _number(1, _REGISTER), _number(2, base), _number(3, offset), _number(4, size)
    )


def _address(value: str, *, source: bool, how: int = _EQUAL) -> list[bytes]:
    net = ipaddress.ip_network(value, strict=False)
    size = 4 if net.version == 4 else 16
    offset = (12 if source else 16) if size == 4 else (8 if source else 24)
    found = [_payload(_NETWORK, offset, size)]
    if net.prefixlen < size * 8:
        found.append(_masked(net.netmask.packed))
    return [*found, _compare(net.network_address.packed, how)]


def _expressions(rule: Rule) -> list[bytes]:
    found: list[bytes] = []
    if rule.version:
        found += [_meta(_NFPROTO), _compare(bytes((_IPV4 if rule.version == 4 else _IPV6,)))]
    for key, name, how in (
        (_IIFNAME, rule.input, _EQUAL), (_IIFNAME, rule.not_input, _UNEQUAL),
        (_OIFNAME, rule.output, _EQUAL), (_OIFNAME, rule.not_output, _UNEQUAL),
    ):  # fmt: skip
        if name:
            found += [_meta(key), _compare(name.encode().ljust(16, b"\0"), how)]
    if rule.source:
        found += _address(rule.source, source=True)
    if rule.destination:
        found += _address(rule.destination, source=False)
    if rule.not_destination:
        found += _address(rule.not_destination, source=False, how=_UNEQUAL)
    if rule.port:
        found += [_meta(_L4PROTO), _compare(bytes((_NUMBERS[rule.protocol],))),
                  _payload(_TRANSPORT, 2, 2), _compare(struct.pack("!H", rule.port))]  # fmt: skip
    if rule.local:  # fib(daddr, type); the answer is in the machine's own byte order
        found += [_expression("fib", _number(1, _REGISTER), _number(2, 3), _number(3, 2)),
                  _compare(struct.pack("=I", _LOCAL))]  # fmt: skip
    if rule.mapped:  # ct status & dnat != 0
        found += [_expression("ct", _number(1, _REGISTER), _number(2, 2)),
                  _masked(struct.pack("=I", _DNAT_STATUS)),
                  _compare(bytes(4), _UNEQUAL)]  # fmt: skip
    return [*found, *_action(rule)]


def _action(rule: Rule) -> list[bytes]:
    if rule.action == "masquerade":
        return [_expression("masq")]
    if rule.to is not None:
        address = ipaddress.ip_address(rule.to[0])
        family = _IPV4 if address.version == 4 else _IPV6
        return [
            _load(_REGISTER, address.packed), _load(_REGISTER_2, struct.pack("!H", rule.to[1])),
            _expression("nat", _number(1, 1), _number(2, family), _number(3, _REGISTER),
                        _number(4, _REGISTER), _number(5, _REGISTER_2), _number(6, _REGISTER_2)),
        ]  # fmt: skip
    verdict = [_number(1, {"drop": 0, "accept": 1, "jump": -3}[rule.action])]
    if rule.jump:
        verdict.append(text(2, rule.jump))
    return [_expression("immediate", _number(1, 0), nested(2, nested(2, *verdict)))]


def _load(register: int, value: bytes) -> bytes:
    return _expression("immediate", _number(1, register), nested(2, attribute(1, value)))
