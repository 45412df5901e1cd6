"""A registry on 127.0.0.1 that does as it is told: a small honest one, and scripts that make it lie.

A script is a function of the request: it answers by itself (True), or leaves it to the honest part.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from mobyshell.core.oci.digest import Digest

Script = Callable[["Request"], bool | None]


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


class Request(BaseHTTPRequestHandler):
    """One request, to be answered."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer waits for an acknowledgement of its head
    server: Server
    seen: Seen

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen = Seen(self.command, parts.path, parse_qs(parts.query), headers, body)
        self.server.registry.log.append(self.seen)
        try:
            for script in list(self.server.registry.scripts):
                if script(self):
                    return
            self.server.registry.honest(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> bool:
        """Answer, and have answered."""
        self.send_response(status)
        shown = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in shown.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def raw(self, data: bytes) -> bool:
        """Write bytes as they are; the connection ends after them."""
        self.close_connection = True
        self.wfile.write(data)
        return True

    def reset(self) -> bool:
        """End the connection without a word, as a crash does."""
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        return True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: Registry

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away in the middle is what many tests are about


@dataclass
class Registry:
    """What it has: blobs and manifests by repository; its scripts, and a log of what was asked."""

    host: str = ""
    scheme: str = "http"
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    scripts: list[Script] = field(default_factory=list)
    log: list[Seen] = field(default_factory=list)
    ranges: bool = True

    def asked(self, method: str, pattern: str) -> list[Seen]:
        """The requests so far whose path has this in it."""
        return [one for one in self.log if one.method == method and re.search(pattern, one.path)]

    def on(
        self, pattern: str, *methods: str, times: int | None = None
    ) -> Callable[[Script], Script]:
        """A decorator: the script is for paths with this in them, so many times."""

        def decorate(script: Script) -> Script:
            left = [times]

            def only(request: Request) -> bool | None:
                if methods and request.command not in methods:
                    return False
                if not re.search(pattern, request.path) or left[0] == 0:
                    return False
                if left[0] is not None:
                    left[0] -= 1
                return script(request)

            self.scripts.append(only)
            return script

        return decorate

    def honest(self, request: Request) -> bool:
        path = request.seen.path
        if path == "/v2/":
            return request.answer(200, b"{}")
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags|uploads)/([^/]*)", path)
        if not found:
            return request.answer(404)
        name, kind, last = found.groups()
        name = name.removesuffix("/blobs")
        if kind == "uploads":
            return self._upload(request, name, last)
        if kind == "manifests":
            return self._manifest(request, name, last)
        if kind == "blobs" and (name, last) in self.blobs:
            return self._blob(request, self.blobs[name, last])
        return self.error(request, 404, "BLOB_UNKNOWN", "unknown blob")

    def error(self, request: Request, status: int, code: str, message: str) -> bool:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        return request.answer(status, body, {"Content-Type": "application/json"})

    def _blob(self, request: Request, content: bytes) -> bool:
        wanted = re.fullmatch(r"bytes=(\d+)-", request.seen.headers.get("range", ""))
        if wanted and self.ranges:
            start = int(wanted[1])
            shown = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return request.answer(206, content[start:], {"Content-Range": shown})
        return request.answer(200, content)

    def _manifest(self, request: Request, name: str, last: str) -> bool:
        if request.command == "PUT":
            kind = request.seen.headers["content-type"]
            for key in (last, Digest.of(request.seen.body)):
                self.manifests[name, key] = kind, request.seen.body
            return request.answer(
                201, headers={"Docker-Content-Digest": Digest.of(request.seen.body)}
            )
        if (name, last) not in self.manifests:
            return self.error(request, 404, "MANIFEST_UNKNOWN", "manifest unknown")
        if request.command == "DELETE":
            del self.manifests[name, last]
            return request.answer(202)
        kind, content = self.manifests[name, last]
        digest = Digest.of(content)
        return request.answer(200, content, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _upload(self, request: Request, name: str, last: str) -> bool:
        method, query = request.command, request.seen.query
        if method == "POST":
            if "mount" in query and (query["from"][0], query["mount"][0]) in self.blobs:
                self.blobs[name, query["mount"][0]] = self.blobs[
                    query["from"][0], query["mount"][0]
                ]
                return request.answer(201)
            last = f"upload{len(self.uploads)}"
            self.uploads[last] = bytearray()
        there = self.uploads[last]
        if method in ("PATCH", "PUT"):
            there += request.seen.body
        if method == "PUT":
            digest = query["digest"][0]
            if Digest.of(bytes(there)) != digest:
                return self.error(request, 400, "DIGEST_INVALID", "other bytes")
            self.blobs[name, digest] = bytes(there)
            return request.answer(201)
        status = 204 if method == "GET" else 202
        where = {"Location": f"/v2/{name}/blobs/uploads/{last}?state=secret-state"}
        return request.answer(status, headers={**where, "Range": f"0-{max(len(there) - 1, 0)}"})


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[Registry]:
    """A registry that serves as long as it is needed."""
    server = Server(("127.0.0.1", 0), Request)
    if context is not None:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    registry = server.registry = Registry(
        host=f"127.0.0.1:{server.server_address[1]}", scheme="https" if context else "http"
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
