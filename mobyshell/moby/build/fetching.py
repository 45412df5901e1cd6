"""ADD of a URL: one file, fetched when it is needed.

Owns what is asked for and what is believed: no credentials are sent, redirects are followed a few
times and never from https to http, and with a checksum only those bytes are taken.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mobyshell.core.errors import NotFound, RegistryFailed, UsageError
from mobyshell.core.registry.locations import Location, next_location
from mobyshell.core.registry.stop import Stop
from mobyshell.core.registry.transport import Transport
from mobyshell.core.registry.values import TLS, Limits

_PIECE = 1 << 20


class Page:
    """What a URL is of. With a `checksum` it is fetched only if it is read."""

    mode = 0o600

    def __init__(self, url: str, checksum: str, place: Path) -> None:
        """`place`: where its bytes are kept."""
        self._url, self._checksum, self._place = url, checksum, place
        self.name = posixpath.basename(unquote(urlsplit(url).path))
        if not self.name or "\0" in self.name or self.name in (".", ".."):
            raise UsageError(f"{_shown(url)} names no file", hint="a URL that ends in a name")
        self._when = 0
        self._digest = ""

    @property
    def digest(self) -> str:
        """`sha256:` and the digest of its bytes."""
        return self._checksum or self._fetched()

    @property
    def when(self) -> int:
        """When it was changed last, as its server says; nanoseconds, 0 if it does not."""
        self._fetched()
        return self._when

    def pieces(self) -> Iterator[bytes]:
        """Its bytes."""
        self._fetched()
        with self._place.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    def _fetched(self) -> str:
        if self._digest:
            return self._digest
        summary = hashlib.sha256()
        with closing(Transport(TLS(), Limits())) as transport, self._place.open("wb") as file:
            for piece in self._answer(transport):
                summary.update(piece)
                file.write(piece)
        found = f"sha256:{summary.hexdigest()}"
        if self._checksum and found != self._checksum:
            raise UsageError(f"{_shown(self._url)} has other bytes than --checksum says: {found}")
        self._digest = found
        return found

    def _answer(self, transport: Transport) -> Iterator[bytes]:
        location = _location(self._url)
        for _ in range(transport.limits.redirects + 1):
            with transport.send("GET", location, {}, None, Stop()) as response:
                if response.status in (301, 302, 303, 307, 308):
                    location = next_location(location, response.header("Location"), "redirect")
                    continue
                if response.status == 404:
                    raise NotFound(f"there is no {location.shown}")
                if response.status != 200:
                    raise RegistryFailed(f"{location.shown} answers {response.status}",
                                         host=location.host, status=response.status)  # fmt: skip
                self._when = _time(response.header("Last-Modified"))
                size = 0
                for piece in response.chunks():
                    size += len(piece)
                    yield piece
                if response.length not in (None, size):
                    raise RegistryFailed(f"{location.shown} ended too early", host=location.host)
                return
        raise RegistryFailed(f"{_shown(self._url)}: too many redirects", host=location.host)


@contextmanager
def fetched(url: str, checksum: str, place: Path) -> Iterator[Page]:
    """What a URL is of, while the block lasts. UsageError, NotFound, RegistryFailed."""
    try:
        yield Page(url, checksum, place)
    finally:
        place.unlink(missing_ok=True)


def _location(url: str) -> Location:
    return next_location(Location(urlsplit(url).scheme, "ADD", "/"), url, "URL", absolute=True)


def _shown(url: str) -> str:
    """Without the query, which can be a key to something."""
    return f"{url.partition('?')[0]:.200}"


def _time(word: str) -> int:
    try:
        return max(0, int(parsedate_to_datetime(word).timestamp())) * 1_000_000_000
    except (ValueError, TypeError, OverflowError):
        return 0
