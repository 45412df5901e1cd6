"""One repository of a registry: requests with who we are, redirects, patience, and mirrors.

Owns the order of these. Knows nothing of manifests and blobs; `resolve`, `manifests`, `blobs`,
`uploads`, `tags` and `referrers` are about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from mobyshell.core.errors import (
    Interrupted,
    MobyshellError,
    NotFound,
    RegistryFailed,
    TimedOut,
    Unsupported,
)
from mobyshell.core.oci.reference import Reference
from mobyshell.core.registry.authorization import scope_of
from mobyshell.core.registry.failures import failure
from mobyshell.core.registry.locations import Location, next_location
from mobyshell.core.registry.patience import Patience, pause_of
from mobyshell.core.registry.progress import Progress
from mobyshell.core.registry.stop import Stop
from mobyshell.core.registry.transport import Body, Response, Unreachable
from mobyshell.core.registry.values import Endpoint

if TYPE_CHECKING:
    from mobyshell.core.registry.client import Client

T = TypeVar("T")
Send = bytes | Callable[[], Body] | None
"""What a request carries: bytes, or what makes a stream of them, anew for each try."""

_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ROUNDS = 3  # tries at who we are: none, a token, a new token


class Repository:
    """Requests about one repository, as one piece of work that `stop` ends."""

    def __init__(
        self, client: Client, reference: Reference, endpoints: tuple[Endpoint, ...],
        progress: Progress, stop: Stop,
    ) -> None:  # fmt: skip
        self.client, self.reference, self.endpoints = client, reference, endpoints
        self.progress, self.stop = progress, stop
        self.limits = client.limits
        self.pulls = (scope_of(reference.path, "pull"),)
        self.pushes = (scope_of(reference.path, "pull", "push"),)
        self.deletes = (scope_of(reference.path, "delete", "pull", "push"),)

    def anew(self) -> Repository:
        """The same, as a piece of work of its own, which can fail without ending this one."""
        stop = Stop(parent=self.stop)
        return Repository(self.client, self.reference, self.endpoints, self.progress, stop)

    @property
    def path(self) -> str:
        """The repository's name at its registry."""
        return self.reference.path

    def capable(self, *capabilities: str) -> tuple[Endpoint, ...]:
        """The endpoints that are trusted with this, in order. RegistryFailed where none is."""
        found = tuple(one for one in self.endpoints if one.capabilities.issuperset(capabilities))
        if not found:
            raise RegistryFailed(
                f"no endpoint of {self.reference.domain} may {' and '.join(capabilities)}",
                host=self.reference.domain, hint="see capabilities in its hosts.toml",
            )  # fmt: skip
        return found

    def first(self, endpoints: tuple[Endpoint, ...], ask: Callable[[Endpoint, bool], T]) -> T:
        """What the first endpoint answers that can; else the error that says most.

        `ask` is told whether the endpoint is the last: only that one is waited for, and tried
        again. Mirrors may be gone, behind, or wrong.
        """
        failures: list[MobyshellError] = []
        for one in endpoints:
            last = one is endpoints[-1]
            try:
                return ask(one, last)
            except (Interrupted, TimedOut):
                raise
            except (RegistryFailed, NotFound, Unsupported) as error:
                failures.append(error)
            except MobyshellError:
                if last or not one.is_mirror:
                    raise
        raise _worst(failures)

    def location(self, endpoint: Endpoint, rest: str) -> Location:
        """A place in this repository's part of the API, such as `manifests/latest`."""
        self.client.settle(endpoint, self.stop)
        base = self.client.base(endpoint)
        found = Location(base.scheme, base.host, f"{base.target.rstrip('/')}/{self.path}/{rest}")
        return found.with_query(f"ns={endpoint.registry}") if endpoint.is_mirror else found

    def request(
        self, endpoint: Endpoint, method: str, where: str | Location, *,
        headers: Mapping[str, str] | None = None, body: Send = None,
        scopes: tuple[str, ...] = (), patient: bool = True, patience: Patience | None = None,
        expect: frozenset[int] = frozenset({200}),
    ) -> Response:  # fmt: skip
        """Ask an endpoint; the answer has one of the `expect`ed statuses, or there is an error.

        `patient`: what may pass is tried again; or as often as is left of a `patience` that
        other work has used. The answer is the caller's to close.
        """
        location = self.location(endpoint, where) if isinstance(where, str) else where
        patience = patience or self.patience(location.host, patient)
        while True:
            try:
                response = self._authorized(endpoint, method, location, headers or {}, body, scopes)
            except Unreachable as error:
                patience.spend(error)
                continue
            if response.status in expect:
                return response
            with response:
                refused = failure(response, self, method)
                pause = pause_of(response.header("Retry-After"))
            if response.status not in _PASSING:
                raise refused
            patience.spend(refused, pause)

    def patience(self, what: str, patient: bool = True) -> Patience:
        """The tries that a piece of work has."""
        return Patience(self.limits, self.stop, self.progress, what, patient=patient)

    def _authorized(
        self, endpoint: Endpoint, method: str, location: Location, headers: Mapping[str, str],
        body: Send, scopes: tuple[str, ...],
    ) -> Response:  # fmt: skip
        """Ask with what the origin wants to see; learn from what it says it wants."""
        authorizer = self.client.authorizer
        home = self.client.base(endpoint).origin
        ask = partial(self._follow, endpoint)  # the token service: no credentials but those given
        for round in range(_ROUNDS):
            shown = dict(headers)
            known = ""
            if location.origin == home:
                for name, values in endpoint.headers.items():
                    shown[name] = ", ".join(values)
                known = authorizer.header(location, self.path, scopes, ask)
            if known:
                shown["Authorization"] = known
            response = self._follow(endpoint, method, location, shown, body)
            if response.status != 401 or response.location.origin != home or round == _ROUNDS - 1:
                return response
            try:
                learnt = authorizer.challenged(response, self.path, again=bool(known))
            except BaseException:
                response.close()
                raise
            if not learnt:
                return response
            response.close()
        raise AssertionError("the last round returns")

    def _follow(
        self,
        endpoint: Endpoint,
        method: str,
        location: Location,
        headers: Mapping[str, str],
        body: Send,
    ) -> Response:
        """Ask, and go where the answer sends us. To another origin nothing of who we are goes."""
        mine = {"authorization", *(name.lower() for name in endpoint.headers)}
        for _ in range(self.limits.redirects + 1):
            transport = self.client.transport(endpoint, location)
            sent = body() if callable(body) else body
            response = transport.send(method, location, headers, sent, self.stop)
            keeps_method = method in ("GET", "HEAD") or response.status in (307, 308)
            if response.status not in _REDIRECTS or not keeps_method:
                return response
            with response:
                new = next_location(location, response.header("Location"), "redirect")
            if new.origin != location.origin:
                headers = {name: one for name, one in headers.items() if name.lower() not in mine}
            location = new
        raise RegistryFailed(
            f"{location.host}: more than {self.limits.redirects} redirects", host=location.host
        )

    def pages(self, endpoint: Endpoint, rest: str, scopes: tuple[str, ...]) -> Iterator[Response]:
        """The pages of a list, each read and closed before the next; they stay at one origin."""
        location = self.location(endpoint, rest)
        for _ in range(self.limits.pages):
            with self.request(endpoint, "GET", location, scopes=scopes) as response:
                yield response
                link = next_link(response.header("Link"))
            if not link:
                return
            new = next_location(location, link, "next page")
            if new.origin != location.origin or new == location:
                raise RegistryFailed(
                    f"{location.host}: its next page is no page of its own", host=location.host
                )
            location = new
        raise RegistryFailed(
            f"{location.host}: the list has more than {self.limits.pages} pages", host=location.host
        )


def next_link(value: str) -> str:
    """The target of a Link header with rel="next" (RFC 8288); "" where there is none."""
    for one in value.split(","):
        target, _, parameters = one.strip().partition(";")
        if target.startswith("<") and target.endswith(">") and "next" in parameters:
            return target[1:-1]
    return ""


def _worst(failures: list[MobyshellError]) -> MobyshellError:
    """The most telling of several endpoints' errors: the registry's own, unless nobody was there."""
    answered = [one for one in failures if not isinstance(one, Unreachable)]
    return (answered or failures)[-1]
