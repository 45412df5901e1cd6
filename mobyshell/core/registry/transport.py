"""One HTTP request, one answer: urllib3, with nothing done behind our back.

Owns connections, their time limits, and the words for what goes wrong with them. Never follows a
redirect, never tries again, never adds credentials: `session` decides all of that. urllib3 because
it streams at three times the speed of httpx for a fifth of its processor time, and is imported in
half the time.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from mobyshell import __version__
from mobyshell.core.errors import Interrupted, RegistryFailed, TimedOut
from mobyshell.core.registry.locations import Location
from mobyshell.core.registry.proxies import proxy_for, proxy_manager
from mobyshell.core.registry.stop import Stop
from mobyshell.core.registry.tls import context_of
from mobyshell.core.registry.values import TLS, Limits
from mobyshell.core.registry.watch import Wait, Watch

CHUNK = 1 << 20
USER_AGENT = f"mobyshell/{__version__}"
_LONGEST_REASON = 120
_LITTLE = 64 << 10  # bytes that are rather read than a connection given up
_BRIEF = 2.0  # seconds for that
_NO_TLS = ("WRONG_VERSION_NUMBER", "UNEXPECTED_EOF", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
"""How OpenSSL calls an answer that is no TLS."""
_NO_HOST = "no such host"
_UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA)
"""getaddrinfo(3): it is known that there is none; EAI_AGAIN says that nobody could be asked."""


class Body(Protocol):
    """What is sent: read in parts, as a file is."""

    def read(self, size: int = -1, /) -> bytes: ...


class Unreachable(RegistryFailed):
    """No whole answer came: trying again may help."""


class NoSuchHost(Unreachable):
    """There is none of this name: trying again does not help."""


class NotTLS(RegistryFailed):
    """The other side does not speak TLS."""


class Response:
    """An answer whose body is still to be read. `location` is what was asked."""

    def __init__(
        self, raw: Any, location: Location, wait: Wait, transport: Transport, stop: Stop
    ) -> None:
        self._raw, self._wait, self._transport, self._stop = raw, wait, transport, stop
        self.location = location
        self.status: int = raw.status

    def header(self, name: str) -> str:
        """The value of a header; "" where there is none."""
        value = self._raw.headers.get(name)
        return value if isinstance(value, str) else ""

    def headers(self, name: str) -> list[str]:
        """All values of a header that may come several times."""
        return list(self._raw.headers.getlist(name))

    @property
    def length(self) -> int | None:
        """Bytes of the body, as far as the server says."""
        word = self.header("Content-Length")
        return int(word) if word.isascii() and word.isdecimal() and len(word) < 20 else None

    @property
    def media_type(self) -> str:
        """Content-Type without parameters, lower case."""
        return self.header("Content-Type").partition(";")[0].strip().lower()

    def chunks(self) -> Iterator[bytes]:
        """The body in parts of at most CHUNK bytes. Unreachable where it breaks off or stalls."""
        limits, begun, total, counted = self._transport.limits, time.monotonic(), 0, 0
        while True:
            self._stop.check()
            now = time.monotonic()
            if now - begun > limits.answer:
                if total - counted < limits.slowest * limits.answer:
                    raise self._broke("sends almost nothing")
                begun, counted = now, total
            self._wait.until = self._stop.until(now + limits.answer)
            part = self._read()
            if not part:
                return
            total += len(part)
            yield part

    def small(self, most: int) -> bytes:
        """The whole body. RegistryFailed where it is larger than `most`."""
        if (self.length or 0) > most:
            raise self._too_large(most)
        parts, size = [], 0
        end = self._stop.until(time.monotonic() + self._transport.limits.answer)
        for part in self.chunks():
            size += len(part)
            if size > most:
                raise self._too_large(most)
            if time.monotonic() > end:
                raise self._broke("is too slow")
            parts.append(part)
        return b"".join(parts)

    def _read(self) -> bytes:
        try:
            part: bytes = self._raw.read1(CHUNK, decode_content=False)
            return part
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # the last two are http.client's, about a connection that was shut under it
            raise self._transport.failed(error, self.location, self._wait, self._stop) from None

    def _too_large(self, most: int) -> RegistryFailed:
        host = self.location.host
        return RegistryFailed(
            f"{self.location.shown}: the answer is larger than {most} bytes",
            host=host,
            status=self.status,
        )

    def _broke(self, how: str) -> Unreachable:
        host = self.location.host
        return Unreachable(f"{host}: the answer {how}", host=host, status=self.status)

    def close(self) -> None:
        """Done with it. A little that is left is read, so that the connection can serve again."""
        left = self._raw.length_remaining
        if left is not None and left <= _LITTLE and not self._raw.closed:
            self._wait.until = time.monotonic() + _BRIEF
            try:
                self._read()
            except (RegistryFailed, Interrupted, TimedOut):
                pass
        self._transport.watch.remove(self._wait)
        self._stop.remove(self._wait)
        self._raw.close()  # a connection whose answer was read has gone back to its pool

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transport:
    """Connections to servers that are believed by one set of TLS settings."""

    def __init__(self, tls: TLS, limits: Limits, *, dial_timeout: float | None = None) -> None:
        self.limits, self.dial = limits, dial_timeout or limits.connect
        self.watch = Watch()
        self._tls = tls
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str], urllib3.PoolManager] = {}

    def send(
        self, method: str, location: Location, headers: Mapping[str, str], body: bytes | Body | None,
        stop: Stop,
    ) -> Response:  # fmt: skip
        """Ask, and have the head of the answer.

        Raises Unreachable, NotTLS, RegistryFailed; Interrupted and TimedOut as `stop` says.
        """
        stop.check()
        wait = Wait(lambda: None)
        stop.add(wait)
        _CURRENT.wait, _CURRENT.stop = wait, stop
        try:
            raw = self._manager(location).urlopen(
                method, str(location), body=body, headers={"User-Agent": USER_AGENT, **headers},
                redirect=False, retries=False, preload_content=False, decode_content=False,
                assert_same_host=False,
            )  # fmt: skip
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            stop.remove(wait)
            raise self.failed(error, location, wait, stop) from None
        except BaseException:
            stop.remove(wait)
            raise
        finally:
            _CURRENT.wait = _CURRENT.stop = None
        if wait.late:  # http.client takes the end of a connection for the end of a head
            raw.close()
            stop.remove(wait)
            raise self.failed(TimeoutError(), location, wait, stop)
        self.watch.add(wait)
        return Response(raw, location, wait, self, stop)

    def close(self) -> None:
        """Close every connection."""
        for one in self._managers.values():
            one.clear()

    def failed(
        self, error: Exception, location: Location, wait: Wait, stop: Stop
    ) -> RegistryFailed:
        """What went wrong, in our words: none of the server's, and no URL with a query."""
        stop.check()
        if wait.late:
            return Unreachable(f"{location.host} does not answer in time", host=location.host)
        reason = _reason(error)
        host = location.host
        if isinstance(error, urllib3.exceptions.SSLError):
            if any(one in reason for one in _NO_TLS):
                return NotTLS(
                    f"{host} does not speak TLS", host=host,
                    hint="plain http: --plain-http once, or an http:// URL in hosts.toml",
                )  # fmt: skip
            return RegistryFailed(
                f"{host}: {reason}", host=host,
                hint="its authority is believed by --ca FILE, ca in hosts.toml, or *.crt in certs.d",
            )  # fmt: skip
        kind = NoSuchHost if reason == _NO_HOST else Unreachable
        return kind(f"{host}: {reason}", host=host)

    def _manager(self, location: Location) -> urllib3.PoolManager:
        proxy = proxy_for(location)
        with self._lock:
            found = self._managers.get((location.scheme, proxy))
            if found is None:
                found = self._managers[location.scheme, proxy] = self._made(proxy, location)
        return found

    def _made(self, proxy: str, location: Location) -> urllib3.PoolManager:
        options: dict[str, Any] = {
            "maxsize": 8, "retries": False, "blocksize": 256 << 10,
            "timeout": urllib3.Timeout(connect=self.dial, read=self.limits.stall),
        }  # fmt: skip
        if location.scheme == "https" or proxy.startswith("https:"):
            options["ssl_context"] = context_of(self._tls, location.host)  # reads all authorities
        manager = proxy_manager(proxy, options) if proxy else urllib3.PoolManager(**options)
        manager.pool_classes_by_scheme = {"http": self._pool("http"), "https": self._pool("https")}
        return manager

    def _pool(self, scheme: str) -> type[Any]:
        """Connections of urllib3's own kinds, looked at while they wait for a head."""
        transport = self
        plain = scheme == "http"
        kind: type[Any] = HTTPConnection if plain else HTTPSConnection
        pool: type[Any] = HTTPConnectionPool if plain else HTTPSConnectionPool

        class Connection(kind):  # type: ignore[misc]
            def connect(self) -> None:
                with transport.looked_at(lambda: self.sock, transport.dial):
                    super().connect()
                self.is_verified = True  # or urllib3 warns of what the user has decided

            def request(self, *words: Any, **more: Any) -> Any:
                _CURRENT.wait.sock = lambda: self.sock  # a body may not get through
                _CURRENT.wait.renew()
                return super().request(*words, **more)

            def getresponse(self) -> Any:
                sock = self.sock  # an answer that ends the connection takes it from us
                with transport.looked_at(lambda: sock, transport.limits.answer):
                    return super().getresponse()

        return type("Pool", (pool,), {"ConnectionCls": Connection})

    def looked_at(self, sock: Callable[[], Any], seconds: float) -> _Looked:
        """Within, the request of this thread fails when that many seconds are over."""
        wait: Wait = _CURRENT.wait
        wait.sock, wait.until = sock, _CURRENT.stop.until(time.monotonic() + seconds)
        return _Looked(self.watch, wait)


class _Looked:
    """The watch looks at a wait within; what is left of it is up to who reads the body."""

    def __init__(self, watch: Watch, wait: Wait) -> None:
        self._watch, self._wait = watch, wait

    def __enter__(self) -> None:
        self._watch.add(self._wait)
        self._wait.renew()

    def __exit__(self, *_: object) -> None:
        self._watch.remove(self._wait)
        self._wait.until = math.inf


class _Current(threading.local):
    """The request that a thread is sending: urllib3's connections are told nothing else of it."""

    wait: Any = None
    stop: Any = None


_CURRENT = _Current()


def _reason(error: BaseException) -> str:
    """The innermost reason, in one short printable line."""
    for _ in range(8):
        inner = next((one for one in error.args if isinstance(one, BaseException)), None)
        inner = inner or getattr(error, "reason", None) or error.__cause__
        if isinstance(inner, str):
            return _line(inner)
        if not isinstance(inner, BaseException):
            break
        error = inner
    if isinstance(error, socket.gaierror):
        return _NO_HOST if error.errno in _UNKNOWN else "no name server answers for it"
    if isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError)):
        return "it does not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return _line(error.strerror)
    if isinstance(error, urllib3.exceptions.IncompleteRead):
        return "the answer breaks off"
    return _line(f"no HTTP ({type(error).__name__})")


def _line(text: str) -> str:
    text = "".join(one if one.isprintable() else "?" for one in text)
    return text[:_LONGEST_REASON]
