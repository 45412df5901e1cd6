"""Where a request goes next: redirects, upload locations, token realms, next pages. Pure.

Owns the rules that keep credentials at home: what belongs to an origin (scheme, host, port) is
sent to no other, https never becomes http, and a URL with a user in it is no URL here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from mobyshell.core.errors import RegistryFailed
from mobyshell.core.oci.safejson import show

_PORTS = {"https": 443, "http": 80}
_LONGEST = 16 << 10
_SHOWN = 300
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Location:
    """A place on a server. `host` with its port where it is not the scheme's own."""

    scheme: str
    host: str
    target: str

    @property
    def origin(self) -> tuple[str, str]:
        """What credentials belong to."""
        return self.scheme, self.host

    @property
    def hostname(self) -> str:
        """The host without its port."""
        return (urlsplit(f"//{self.host}").hostname or self.host).lower()

    @property
    def shown(self) -> str:
        """What may stand in a message: never the query, which can be a key to something."""
        text = f"{self.scheme}://{self.host}{self.target.partition('?')[0]}"
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    def with_query(self, more: str) -> Location:
        """The same place, with more in its query."""
        mark = "&" if "?" in self.target else "?"
        return Location(self.scheme, self.host, f"{self.target}{mark}{more}")


def next_location(now: Location, word: str, what: str, *, absolute: bool = False) -> Location:
    """Where `word`, a header's value, leads from `now`. RegistryFailed if it may not lead there.

    `absolute`: it has to name a host itself.
    """
    if not word or len(word) > _LONGEST or not word.isascii() or not word.isprintable():
        raise _refused(now, what, "no URL")
    try:
        given = urlsplit(word)
        parts = urlsplit(urljoin(str(now), word))
        port = parts.port
    except ValueError:
        raise _refused(now, what, "no URL") from None
    if not given.netloc and (given.scheme or word.startswith("//") or absolute):
        raise _refused(now, what, "a URL without a host")
    if parts.scheme not in _PORTS:
        raise _refused(now, what, f"a URL of {show(parts.scheme)}")
    if now.scheme == "https" and parts.scheme == "http":
        raise _refused(
            now, what, "plain http, coming from https",
            hint="a registry behind a proxy must be told its outer URL (REGISTRY_HTTP_HOST)",
        )  # fmt: skip
    if parts.username is not None or parts.password is not None:
        raise _refused(now, what, "a URL with a user in it")
    return Location(parts.scheme, _host(now, parts, port, what), _target(parts))


def _host(now: Location, parts: SplitResult, port: int | None, what: str) -> str:
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    if not _HOST.fullmatch(name):
        raise _refused(now, what, "a URL without a host")
    return name if port in (None, _PORTS[parts.scheme]) else f"{name}:{port}"


def _target(parts: SplitResult) -> str:
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return target.replace(" ", "%20")


def _refused(now: Location, what: str, leads_to: str, hint: str = "") -> RegistryFailed:
    return RegistryFailed(f"{now.host}: its {what} leads to {leads_to}", host=now.host, hint=hint)


def is_local(hostname: str) -> bool:
    """Whether it is this machine: plain http stays within it."""
    name = hostname.lower().strip("[]")
    return name == "localhost" or name == "::1" or bool(re.fullmatch(r"127(\.\d{1,3}){3}", name))
