"""Debian's docker-registry and skopeo, as the tests need them."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.image_spec import image_to_json
from tests.core.registry.certificates import Authority
from tests.core.registry.images import everything
from tests.core.registry.scripted import Registry, Request
from tests.core.registry.shelf import Shelf

PATIENCE = 60


class Distribution:
    """A docker-registry, which can be killed and started again."""

    def __init__(self, root: Path, port: int) -> None:
        self.root, self._port = root, port
        self.host = f"127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "OTEL_TRACES_EXPORTER": "none",
        }
        with (self.root / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["docker-registry", "serve", str(self.root / "config.yml")], env=environment,
                stdout=subprocess.DEVNULL, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        _wait_for(self._port, self._process, self.root / "log")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def distribution(
    authority: Authority | None = None, *, htpasswd: tuple[str, str] | None = None,
    token_realm: str = "",
) -> Iterator[Distribution]:  # fmt: skip
    """docker-registry on a free port, with or without TLS, and one way to say who one is."""
    with tempfile.TemporaryDirectory(prefix="moby-registry-") as directory:
        root = Path(directory)
        port = _free_port()
        config: dict[str, Any] = {
            "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(root / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{port}"},
        }  # fmt: skip
        if authority is not None:
            config["http"]["tls"] = {
                "certificate": str(authority.server), "key": str(authority.server_key)
            }  # fmt: skip
        if htpasswd is not None:
            line = subprocess.run(
                ["htpasswd", "-Bbn", *htpasswd], capture_output=True, text=True, check=True
            ).stdout
            (root / "htpasswd").write_text(line)
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}
        if token_realm:
            assert authority is not None
            config["auth"] = {"token": {
                "realm": token_realm, "service": "tests", "issuer": "tests",
                "rootcertbundle": str(authority.ca),
            }}  # fmt: skip
        (root / "config.yml").write_text(json.dumps(config))  # YAML is a superset
        found = Distribution(root, port)
        try:
            found.start()
            yield found
        finally:
            found.kill()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def skopeo(*words: str) -> str:
    """Run skopeo; its output."""
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *words], capture_output=True, text=True, timeout=PATIENCE,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_layout(shelf: Shelf, top: Descriptor, directory: Path, tag: str = "1") -> str:
    """An OCI layout of what is on a shelf; skopeo's name for it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for digest in everything(shelf, top):
        (blobs / digest.hex).write_bytes(shelf.blobs[digest])
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    named = {**image_to_json(top), "annotations": {"org.opencontainers.image.ref.name": tag}}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return f"oci:{directory}:{tag}"


def read_layout(directory: Path) -> tuple[Shelf, Descriptor]:
    """The content of an OCI layout, and its one image."""
    shelf = Shelf()
    for path in (directory / "blobs" / "sha256").iterdir():
        shelf.add(path.read_bytes())
    (entry,) = json.loads((directory / "index.json").read_bytes())["manifests"]
    content = (directory / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
    return shelf, describe(content, entry["mediaType"])


def serve_tokens(server: Registry, authority: Authority, user: str, password: str) -> None:
    """Make a scripted server a token service (distribution's auth spec): it signs what the user
    may, and strangers may pull from `public/…`."""
    known = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    @server.on("^/token")
    def token(request: Request) -> bool:
        who = request.seen.authorization
        if who not in ("", known):
            return request.answer(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}')
        access: list[dict[str, object]] = []
        for scope in request.seen.query.get("scope", []):
            kind, name, actions = scope.split(":")
            wanted = actions.split(",")
            allowed = wanted if who else ["pull"] if name.startswith("public/") else []
            granted = [one for one in wanted if one in allowed]
            access.append({"type": kind, "name": name, "actions": granted})
        body = json.dumps({"token": _signed(authority, access), "expires_in": 300}).encode()
        return request.answer(200, body)


def _signed(authority: Authority, access: list[dict[str, object]]) -> str:
    """A JSON web token of the server's certificate, which the authority vouches for."""
    key = load_pem_private_key(authority.server_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = load_pem_x509_certificate(authority.server.read_bytes())
    chain = [base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()]
    now = int(time.time())
    claims = {"iss": "tests", "aud": "tests", "sub": "", "exp": now + 300, "nbf": now - 300,
              "iat": now, "jti": os.urandom(8).hex(), "access": access}  # fmt: skip
    text = ".".join(_base64(json.dumps(one).encode())
                    for one in ({"typ": "JWT", "alg": "ES256", "x5c": chain}, claims))  # fmt: skip
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{text}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
