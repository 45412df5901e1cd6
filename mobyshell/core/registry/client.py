"""A client of registries: what lives longer than one pull or push.

Owns the tokens, the connections, and what was learnt about endpoints. `Repository` (session) is
made from it for each piece of work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mobyshell.core.oci.reference import Reference
from mobyshell.core.registry.authorization import Authorizer
from mobyshell.core.registry.credentials import Keyring, default_keyring
from mobyshell.core.registry.hosts import certs_directories, endpoints_of
from mobyshell.core.registry.locations import Location
from mobyshell.core.registry.progress import Progress, quiet
from mobyshell.core.registry.session import Repository
from mobyshell.core.registry.stop import Stop
from mobyshell.core.registry.transport import NotTLS, Transport
from mobyshell.core.registry.values import TLS, Endpoint, Limits


class Client:
    """Speaks to registries. For many threads; `close` ends its connections.

    `certs_d`: directories of hosts.toml and certificates (default: `certs_directories`). `tls` and
    `plain_http` are for the registries themselves, where no hosts.toml says otherwise. `keyring`
    knows who the user is.
    """

    def __init__(
        self,
        *,
        keyring: Keyring | None = None,
        certs_d: Iterable[str | Path] | None = None,
        tls: TLS | None = None,
        plain_http: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.authorizer = Authorizer(keyring or default_keyring(), self.limits)
        self._certs_d = certs_directories() if certs_d is None else tuple(certs_d)
        self._tls, self._plain_http = tls, plain_http
        self._lock = threading.Lock()
        self._transports: dict[tuple[TLS, float | None], Transport] = {}
        self._schemes: dict[str, str] = {}

    def repository(
        self, reference: Reference, *, progress: Progress = quiet, stop: Stop | None = None
    ) -> Repository:
        """The repository that `reference` names. InvalidSpec where a hosts.toml is malformed."""
        endpoints = endpoints_of(
            reference.domain, self._certs_d, plain_http=self._plain_http, tls=self._tls
        )
        stop = stop or Stop(self.limits.deadline)
        return Repository(self, reference, endpoints, progress, stop)

    def transport(self, endpoint: Endpoint, location: Location) -> Transport:
        """The connections for a request that an endpoint led to.

        What the user said about the endpoint's host holds for that host: no other gets our
        certificate, or goes without being verified. Authorities are believed throughout.
        """
        tls = endpoint.tls
        if location.hostname != self.base(endpoint).hostname:
            tls = replace(tls, client=(), verify=True)
        key = tls, endpoint.dial_timeout
        with self._lock:
            if key not in self._transports:
                self._transports[key] = Transport(
                    tls, self.limits, dial_timeout=endpoint.dial_timeout
                )
            return self._transports[key]

    def base(self, endpoint: Endpoint) -> Location:
        """Where an endpoint's API begins."""
        with self._lock:
            scheme = self._schemes.get(endpoint.host, endpoint.scheme)
        scheme = "https" if scheme == "auto" else scheme
        return Location(scheme, endpoint.host, endpoint.path)

    def settle(self, endpoint: Endpoint, stop: Stop) -> None:
        """Find out what an endpoint on this machine speaks, once."""
        with self._lock:
            if endpoint.scheme != "auto" or endpoint.host in self._schemes:
                return
        location = replace(self.base(endpoint), target=f"{endpoint.path}/")
        try:
            self.transport(endpoint, location).send("GET", location, {}, None, stop).close()
            scheme = "https"
        except NotTLS:
            scheme = "http"
        with self._lock:
            self._schemes[endpoint.host] = scheme

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            for one in self._transports.values():
                one.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
