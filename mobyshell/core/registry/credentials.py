"""Who the user is at which registry: docker's config.json, its credential helpers, and what
`podman login` and `skopeo login` write.

Owns reading them. Writes none: `docker login` and the others do. A secret stands in no message.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from mobyshell.core.errors import InvalidSpec, RegistryFailed
from mobyshell.core.oci.safejson import LARGEST, read_json, show
from mobyshell.core.registry.values import Credentials

HELPER_PATIENCE = 60.0
_HELPER_OUTPUT = 64 << 10
_HELPER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NOT_FOUND = "credentials not found"
_DOCKER_HUB = (
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
    "docker.io",
)
_TOKEN_USER = "<token>"


class Keyring(Protocol):
    """Knows who the user is."""

    def find(self, host: str, repository: str) -> Credentials | None:
        """The credentials for a registry (host, with its port), or for one repository of it."""
        ...


class NoKeyring:
    """Knows nobody."""

    def find(self, host: str, repository: str) -> Credentials | None:
        return None


class OneKeyring:
    """Knows who the user is at one registry, because the user said so just now."""

    def __init__(self, host: str, credentials: Credentials) -> None:
        self._host, self._credentials = host, credentials

    def find(self, host: str, repository: str) -> Credentials | None:
        same = host == self._host or (host in _DOCKER_HUB and self._host in _DOCKER_HUB)
        return self._credentials if same else None


class ConfigKeyring:
    """Reads config.json when it is asked; the first file that knows the host decides."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files

    def find(self, host: str, repository: str) -> Credentials | None:
        """InvalidSpec where a file is malformed; RegistryFailed where a helper fails."""
        for path in self._files:
            document = _read(path)
            if document is not None:
                found = _find(document, host, repository, path)
                if found is not None:
                    return found
        return None


def default_keyring(environment: Mapping[str, str] = os.environ) -> ConfigKeyring:
    """Where the user's logins are: REGISTRY_AUTH_FILE, or DOCKER_CONFIG, ~/.docker/config.json and
    containers-auth.json(5)."""
    if environment.get("REGISTRY_AUTH_FILE"):
        return ConfigKeyring((Path(environment["REGISTRY_AUTH_FILE"]),))
    home = Path(environment.get("HOME") or "/")
    files = [Path(environment.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    files.append(Path(runtime) / "containers" / "auth.json")
    files.append(
        Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json"
    )
    return ConfigKeyring(tuple(files))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise InvalidSpec(f"{path}: {error.strerror}") from None
    document = read_json(content, str(path)) if content.strip() else {}
    if not isinstance(document, dict):
        raise InvalidSpec(f"{path} is not an object")
    return document


def _find(document: dict[str, Any], host: str, repository: str, path: Path) -> Credentials | None:
    helpers, auths = document.get("credHelpers"), document.get("auths")
    helpers = helpers if isinstance(helpers, dict) else {}
    auths = auths if isinstance(auths, dict) else {}
    names = _DOCKER_HUB if host in _DOCKER_HUB else (host,)
    for name in names:
        if isinstance(helpers.get(name), str):
            return _ask(helpers[name], name)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        for name in names[:1]:
            if (found := _ask(store, name)) is not None:
                return found
    known = {_plain(key): value for key, value in auths.items()}
    known.update(auths)
    for key in _keys(names, repository):
        if isinstance(known.get(key), dict) and known[key]:
            return _entry(known[key], key, path)
    return None


def _keys(names: tuple[str, ...], repository: str) -> Iterator[str]:
    """A repository's own entry before those of what it lies in, and the registry's last."""
    parts = repository.split("/") if repository else []
    for length in range(len(parts), 0, -1):
        yield f"{names[-1]}/{'/'.join(parts[:length])}"
    yield from names


def _plain(key: str) -> str:
    """A key as a host: old Dockers wrote URLs."""
    if not key.startswith(("http://", "https://")):
        return key
    return key.partition("://")[2].partition("/")[0]


def _entry(entry: dict[str, Any], key: str, path: Path) -> Credentials | None:
    token, user, password = (
        value if isinstance(value := entry.get(name), str) else ""
        for name in ("identitytoken", "username", "password")
    )
    auth = entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            text = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidSpec(
                f"{path}: auth of {show(key)} is not base64 of user:password"
            ) from None
        user, _, password = text.partition(":")
        password = password.strip("\0")
    if token:
        return Credentials(identity_token=token)
    return Credentials(user, password) if user and password else None


def _ask(helper: str, host: str) -> Credentials | None:
    """What `docker-credential-HELPER get` says about a host."""
    if not _HELPER.fullmatch(helper):
        raise InvalidSpec(f"no name of a credential helper: {show(helper)}")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=HELPER_PATIENCE, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise RegistryFailed(
            f"no program {program}, which is to know the login for {host}", host=host,
            hint="install it, or take it out of config.json",
        ) from None  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        raise RegistryFailed(f"{program} does not answer about {host}", host=host) from None
    if done.returncode != 0:
        if _NOT_FOUND in done.stdout[:1024].decode("utf-8", "replace"):
            return None
        raise RegistryFailed(
            f"{program} failed for {host}: exit status {done.returncode}", host=host,
            hint=f"try `echo {host} | {program} get`",
        )  # fmt: skip
    return _answered(done.stdout[: _HELPER_OUTPUT + 1], program)


def _answered(output: bytes, program: str) -> Credentials | None:
    try:
        document = read_json(output[:_HELPER_OUTPUT], program)
    except InvalidSpec:
        document = None  # what it said may be half a secret
    if not isinstance(document, dict):
        raise RegistryFailed(f"{program} answers no JSON object")
    user, secret = document.get("Username"), document.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not secret:
        return None
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)
