"""What the rooms of the registry client hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mobyshell.core.oci.safejson import LARGEST

PULL, RESOLVE, PUSH, REFERRERS = "pull", "resolve", "push", "referrers"
CAPABILITIES = frozenset({PULL, RESOLVE, PUSH, REFERRERS})
"""What an endpoint is trusted with, by the words of containerd's hosts.toml."""


@dataclass(frozen=True, slots=True)
class TLS:
    """How a server is known, and how it knows us. Paths of PEM files; `client` are pairs of
    certificate and key, the key "" where it lies in the same file."""

    ca: tuple[str, ...] = ()
    client: tuple[tuple[str, str], ...] = ()
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a registry's images are asked for: the registry itself, or a mirror of it.

    `scheme` is https, http, or `auto` (this machine only: https, and http where that is spoken).
    `registry` is the one whose images these are; another's endpoint is told it (`ns=`).
    """

    registry: str
    scheme: str
    host: str
    path: str = "/v2"
    capabilities: frozenset[str] = CAPABILITIES
    tls: TLS = TLS()
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dial_timeout: float | None = None

    @property
    def is_mirror(self) -> bool:
        """Whether it has to be told whose images are meant."""
        return self.registry not in (self.host, _WHOSE.get(self.host))


_WHOSE = {"registry-1.docker.io": "docker.io"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a registry is waited for, and how much it may send. Seconds and bytes.

    A download that fails goes on where it ended. Only a try that brought `progress` bytes is not
    counted among the `attempts`: who sends little each time does not keep us for ever.
    """

    connect: float = 15.0
    answer: float = 60.0
    stall: float = 30.0
    deadline: float | None = None
    attempts: int = 5
    backoff: float = 0.5
    longest_backoff: float = 60.0
    progress: int = 8 << 20
    slowest: int = 1024
    document: int = LARGEST
    token: int = 1 << 20
    redirects: int = 5
    pages: int = 100
    names: int = 100_000


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password, or the token that a login left in their place. Never shown."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"the user {self.username}" if self.username else "a login's token"
