"""Which endpoints a registry has: containerd's hosts.toml, Docker's certs.d, or the registry itself.

Owns reading these directories. A file that is there and cannot be understood is an error, not a
reason to ask somebody else than the user said.
"""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.reference import DEFAULT_DOMAIN
from mobyshell.core.oci.safejson import show
from mobyshell.core.registry.locations import is_local
from mobyshell.core.registry.values import CAPABILITIES, TLS, Endpoint

CERTS_D = ("/etc/containerd/certs.d", "/etc/docker/certs.d")
"""Where containerd and Docker look; their rootless forms look in the user's own first."""

_DOCKER_HUB = "registry-1.docker.io"
_LARGEST = 1 << 20
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")


def certs_directories(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The user's own directories, then the machine's."""
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    own = (f"{config}/containerd/certs.d", f"{config}/docker/certs.d") if config else ()
    return (*own, *CERTS_D)


def endpoints_of(
    registry: str,
    directories: Iterable[str | Path] = CERTS_D,
    *,
    plain_http: bool = False,
    tls: TLS | None = None,
) -> tuple[Endpoint, ...]:
    """Where to ask for a registry's images, in this order. InvalidSpec for a bad hosts.toml.

    `plain_http` and `tls` are the user's words on the registry itself; mirrors have their own.
    """
    itself = _itself(registry, plain_http=plain_http, tls=tls)
    for directory in directories:
        for name in _names(registry):
            place = Path(directory) / name
            if place.is_dir():
                return _load(place, itself)
    return (itself,)


def _itself(registry: str, *, plain_http: bool, tls: TLS | None) -> Endpoint:
    host = _DOCKER_HUB if registry == DEFAULT_DOMAIN else registry
    parts = urlsplit(f"//{host}")
    scheme = "http" if plain_http else "https"
    local = is_local(parts.hostname or "") and parts.port not in (None, 443)
    if local and tls is None and not plain_http:
        # to a registry on this very machine nobody listens: whatever it speaks will do
        scheme, tls = "auto", TLS(verify=False)
    return Endpoint(registry=registry, scheme=scheme, host=host, tls=tls or TLS())


def _names(registry: str) -> list[str]:
    host, colon, port = registry.rpartition(":")
    ported = [f"{host}_{port}_"] if colon and port.isdecimal() else []
    return [*ported, registry, "_default"]


def _load(directory: Path, itself: Endpoint) -> tuple[Endpoint, ...]:
    path = directory / "hosts.toml"
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1).decode()
        document = tomllib.loads(text) if len(text) <= _LARGEST else None
    except (FileNotFoundError, NotADirectoryError):
        return (_with_certificates(directory, itself),)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSpec(f"{path}: {_why(error)}") from None
    if document is None:
        raise InvalidSpec(f"{path} is too large")
    if not document:
        return (_with_certificates(directory, itself),)
    return _parsed(document, path, itself)


def _why(error: Exception) -> str:
    return error.strerror or "" if isinstance(error, OSError) else show(str(error), 200)[1:-1]


def _parsed(document: dict[str, Any], path: Path, itself: Endpoint) -> tuple[Endpoint, ...]:
    hosts = document.get("host", {})
    if not isinstance(hosts, dict):
        raise InvalidSpec(f'{path}: host is {show(hosts)}, not a table such as [host."https://…"]')
    found = [_endpoint(url, table, path, itself) for url, table in hosts.items()]
    server = document.get("server", "")
    if server:
        return (*found, _endpoint(server, document, path, itself))
    options = {one: document[one] for one in document if one not in ("host", "server")}
    return (*found, _with_options(itself, options, path, "the registry"))


def _endpoint(url: Any, table: Any, path: Path, itself: Endpoint) -> Endpoint:
    if not isinstance(url, str) or not isinstance(table, dict):
        raise InvalidSpec(f"{path}: {show(url)} is not a server with its options")
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, scheme, port = parts.netloc, parts.scheme, parts.port
    except ValueError:
        parts, host, scheme, port = urlsplit(""), "", "", None
    if (
        scheme not in ("http", "https")
        or not parts.hostname
        or "@" in host
        or parts.query
        or port == 0
    ):
        raise InvalidSpec(f"{path}: {show(url)} is not the URL of a server")
    override = table.get("override_path") is True
    at = posixpath.normpath(parts.path) if parts.path not in ("", "/") else ""
    if not override and not at.endswith("/v2"):
        at += "/v2"
    one = Endpoint(registry=itself.registry, scheme=scheme, host=host, path=at)
    return _with_options(one, table, path, url)


def _with_options(one: Endpoint, table: dict[str, Any], path: Path, name: str) -> Endpoint:
    capabilities = one.capabilities
    if table.get("capabilities"):
        words = _strings(table["capabilities"], path, f"capabilities of {name}")
        capabilities = frozenset(word.lower() for word in words)
        if not capabilities <= CAPABILITIES:
            odd = sorted(capabilities - CAPABILITIES)[0]
            raise InvalidSpec(
                f"{path}: unknown capability {show(odd)}", hint="pull, resolve, push, referrers"
            )
    scheme = one.scheme
    if scheme == "auto" and not table.keys().isdisjoint(("ca", "client", "skip_verify")):
        scheme = "https"  # who speaks of certificates wants them
    return replace(
        one, scheme=scheme, capabilities=capabilities, tls=_tls(one.tls, table, path, name),
        headers=_headers(table.get("header", {}), path),
        dial_timeout=_seconds(table["dial_timeout"], path) if "dial_timeout" in table else None,
    )  # fmt: skip


def _tls(tls: TLS, table: dict[str, Any], path: Path, name: str) -> TLS:
    beside = path.parent
    if "ca" in table:
        files = _strings(table["ca"], path, f"ca of {name}")
        tls = replace(tls, ca=tuple(str(beside / one) for one in files), verify=True)
    if "client" in table:
        tls = replace(tls, client=tuple(_pairs(table["client"], path)))
    if "skip_verify" in table:
        if not isinstance(table["skip_verify"], bool):
            raise InvalidSpec(f"{path}: skip_verify is true or false")
        tls = replace(tls, verify=not table["skip_verify"])
    return tls


def _pairs(value: Any, path: Path) -> Iterable[tuple[str, str]]:
    for one in value if isinstance(value, list) else [value]:
        pair = one if isinstance(one, list) else [one, ""]
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair) or not pair[0]:
            raise InvalidSpec(f"{path}: client is a path, paths, or pairs of certificate and key")
        yield str(path.parent / pair[0]), str(path.parent / pair[1]) if pair[1] else ""


def _headers(table: Any, path: Path) -> dict[str, tuple[str, ...]]:
    if not isinstance(table, dict):
        raise InvalidSpec(f"{path}: header is a table of names and values")
    found = {}
    for name, value in table.items():
        values = _strings(value, path, f"header {show(name)}")
        if not _HEADER.fullmatch(name) or any(not one.isprintable() for one in values):
            raise InvalidSpec(f"{path}: {show(name)} is not a header with its value")
        found[name] = values
    return found


def _strings(value: Any, path: Path, what: str) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise InvalidSpec(f"{path}: {what} is a string, or an array of strings")
    return tuple(values)


def _seconds(value: Any, path: Path) -> float:
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise InvalidSpec(f"{path}: dial_timeout is a time such as 1s or 500ms")
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", value)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _with_certificates(directory: Path, itself: Endpoint) -> Endpoint:
    """Docker's way: *.crt are authorities, *.cert with *.key say who we are."""
    names = sorted(one.name for one in directory.iterdir() if one.is_file())
    ca = tuple(str(directory / one) for one in names if one.endswith(".crt"))
    pairs = []
    for name in names:
        if name.endswith(".cert"):
            key = name.removesuffix(".cert") + ".key"
            pairs.append((str(directory / name), str(directory / key) if key in names else ""))
    if not ca and not pairs:
        return itself
    tls = TLS(ca=ca, client=tuple(pairs), verify=bool(ca) or itself.tls.verify)
    return replace(itself, scheme=itself.scheme.replace("auto", "https"), tls=tls)
