"""Who we are, said to the registry and to nobody else: Basic, and tokens (distribution's auth specs).

Owns the tokens of one client. A credential belongs to the host it was given for; it is shown to
that host, and to the token service that this host names, over https unless the host itself speaks
plain http. A token belongs to the origin that asked for it.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode

from mobyshell.core.errors import InvalidSpec, RegistryFailed
from mobyshell.core.oci.safejson import read_json
from mobyshell.core.registry.challenge import Challenge, parse_challenges
from mobyshell.core.registry.credentials import Keyring
from mobyshell.core.registry.locations import Location, next_location
from mobyshell.core.registry.transport import Response
from mobyshell.core.registry.values import Credentials, Limits

_CLIENT_ID = "mobyshell"
_LONGEST_TOKEN = 64 << 10
_SHORTEST_LIFE = 60  # seconds: the token spec's, where the service says nothing
_EARLY = 10  # seconds before its end that a token is not used any more
_LOG_IN = "`docker login {0}` writes down who you are; --user NAME says it once"


class Ask(Protocol):
    """Sends one request to a token service, following nothing."""

    def __call__(
        self, method: str, location: Location, headers: Mapping[str, str], body: bytes | None, /
    ) -> Response: ...


@dataclass(frozen=True, slots=True)
class _Token:
    value: str = field(repr=False)
    until: float


@dataclass(slots=True)
class _Known:
    """What an origin wants to see."""

    scheme: str
    realm: Location | None = None
    service: str = ""
    tokens: dict[str, _Token] = field(default_factory=dict)


def scope_of(repository: str, *actions: str) -> str:
    """A token's scope, such as `repository:library/busybox:pull`."""
    return f"repository:{repository}:{','.join(actions)}"


class Authorizer:
    """The credentials and tokens of one client, per origin. For many threads."""

    def __init__(self, keyring: Keyring, limits: Limits) -> None:
        self._keyring, self._limits = keyring, limits
        self._lock = threading.Lock()
        self._fetching: dict[tuple[str, str], threading.Lock] = {}
        self._known: dict[tuple[str, str], _Known] = {}
        self._found: dict[tuple[str, str], Credentials | None] = {}

    def header(self, location: Location, repository: str, scopes: tuple[str, ...], ask: Ask) -> str:
        """The Authorization for a request to an origin; "" as long as it has not asked for any."""
        with self._lock:
            known = self._known.get(location.origin)
        if known is None:
            return ""
        if known.scheme == "basic":
            return _basic(self._credentials(location, repository))
        return f"Bearer {self._token(known, location, repository, scopes, ask)}"

    def challenged(self, response: Response, repository: str, *, again: bool) -> bool:
        """Learn from a 401 what is wanted. Whether another try may succeed.

        `again`: the refused request had an Authorization already.
        """
        location = response.location
        offered = parse_challenges(response.headers("WWW-Authenticate"))
        for one in offered:
            if one.scheme == "bearer" and one.parameters.get("realm"):
                return self._wants_token(location, one, again=again)
        if any(one.scheme == "basic" for one in offered) and not again:
            if self._credentials(location, repository) is None:
                return False
            with self._lock:
                self._known[location.origin] = _Known("basic")
            return True
        return False

    def refused(
        self, location: Location, repository: str, status: int, code: str
    ) -> RegistryFailed:
        """The error for a 401 or 403 that stays."""
        who = self._credentials(location, repository)
        host = location.host
        asked = f"{host} does not let {who or 'strangers'} at {repository or 'it'}"
        more = "" if who else ", or there is no such repository"
        hint = _LOG_IN.format(host if host != "registry-1.docker.io" else "docker.io")
        return RegistryFailed(asked + more, host=host, status=status, code=code, hint=hint)

    def _credentials(self, location: Location, repository: str) -> Credentials | None:
        key = location.host, repository
        with self._lock:
            if key in self._found:
                return self._found[key]
        found = self._keyring.find(location.host, repository)
        with self._lock:
            return self._found.setdefault(key, found)

    def _wants_token(self, location: Location, challenge: Challenge, *, again: bool) -> bool:
        realm = next_location(location, challenge.parameters["realm"], "token realm", absolute=True)
        service = challenge.parameters.get("service", "")[:1024]
        with self._lock:
            known = self._known.get(location.origin)
            if known is None or (known.realm, known.service) != (realm, service):
                self._known[location.origin] = _Known("bearer", realm, service)
            elif again:
                known.tokens.clear()  # revoked, or older than they said
        return True

    def _token(
        self, known: _Known, location: Location, repository: str, scopes: tuple[str, ...], ask: Ask
    ) -> str:
        scope = " ".join(sorted(scopes))
        with self._lock:
            gate = self._fetching.setdefault((str(known.realm), scope), threading.Lock())
        with gate:  # of many downloads that begin at once, one asks
            token = known.tokens.get(scope)
            if token is None or token.until < time.monotonic():
                who = self._credentials(location, repository)
                token = known.tokens[scope] = self._fetch(known, location, scopes, who, ask)
            return token.value

    def _fetch(
        self,
        known: _Known,
        location: Location,
        scopes: tuple[str, ...],
        who: Credentials | None,
        ask: Ask,
    ) -> _Token:
        assert known.realm is not None
        query: list[tuple[str, str]] = [("service", known.service)] if known.service else []
        headers: dict[str, str] = {}
        body: bytes | None
        if who is not None and who.identity_token:
            query += [("client_id", _CLIENT_ID), ("grant_type", "refresh_token"),
                      ("refresh_token", who.identity_token), ("scope", " ".join(scopes))]  # fmt: skip
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, where, body = "POST", known.realm, urlencode(query).encode()
        else:
            query += [("scope", one) for one in scopes]
            if who is not None:
                query.append(("account", who.username))
                headers["Authorization"] = _basic(who)
            method, where, body = "GET", known.realm.with_query(urlencode(query)), None
        try:
            response = ask(method, where, headers, body)
        except RegistryFailed as error:
            if where.host != location.host:  # nobody has asked for that one
                error.message += f" (it is to give tokens for {location.host})"
            raise
        with response:
            if response.status != 200:
                raise self._no_token(response, location, who)
            document = _document(response.small(self._limits.token), known.realm)
        return _token_of(document, known.realm)

    def _no_token(
        self, response: Response, location: Location, who: Credentials | None
    ) -> RegistryFailed:
        service, host = response.location.host, location.host
        if response.status in (401, 403):
            return RegistryFailed(
                f"{service} does not take {who or 'strangers'} for {host}", host=service,
                status=response.status, hint=_LOG_IN.format(host),
            )  # fmt: skip
        return RegistryFailed(
            f"{service} gives no token for {host}: HTTP status {response.status}", host=service,
            status=response.status,
        )  # fmt: skip


def _basic(who: Credentials | None) -> str:
    if who is None or who.identity_token:
        return ""
    return "Basic " + base64.b64encode(f"{who.username}:{who.password}".encode()).decode()


def _document(content: bytes, realm: Location) -> dict[str, Any]:
    try:
        document = read_json(content, "token")
    except InvalidSpec:
        document = None  # nothing of what may be half a token is told
    if not isinstance(document, dict):
        raise RegistryFailed(f"{realm.host} answers no JSON object for a token", host=realm.host)
    return document


def _token_of(document: dict[str, Any], realm: Location) -> _Token:
    value = document.get("token") or document.get("access_token")
    if not isinstance(value, str) or not value:
        raise RegistryFailed(f"{realm.host} answers without a token", host=realm.host)
    if (
        len(value) > _LONGEST_TOKEN
        or not value.isascii()
        or not value.isprintable()
        or " " in value
    ):
        raise RegistryFailed(f"{realm.host} answers a token that cannot be one", host=realm.host)
    seconds = document.get("expires_in")
    if not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < _SHORTEST_LIFE:
        seconds = _SHORTEST_LIFE
    return _Token(value, time.monotonic() + min(seconds, 86400) - _EARLY)
