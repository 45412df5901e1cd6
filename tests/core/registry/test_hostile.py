"""Registries that fail, stall and lie: a clear error, nothing wrong kept, an end in any case."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from mobyshell.core.errors import (
    Interrupted,
    InvalidImage,
    MobyshellError,
    NotFound,
    RegistryFailed,
    TimedOut,
    Unsupported,
)
from mobyshell.core.oci import media_types as m
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import parse_manifest
from mobyshell.core.registry import Client, Stop
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.core.registry.manifests import fetch, resolve
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.tags import tags
from tests.core.registry.conftest import QUICK, Listener, repository, stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry, Request
from tests.core.registry.shelf import Shelf

HASTY = replace(QUICK, answer=0.4, stall=0.3, connect=2, attempts=2)
"""For servers that would keep us waiting."""


@pytest.fixture
def there(registry: Registry) -> Shelf:
    """An image at the registry: its shelf."""
    shelf = Shelf()
    stock(registry, shelf, image(shelf, sizes=(400_000,)))
    return shelf


@pytest.fixture
def hasty() -> Iterator[Client]:
    with Client(keyring=NoKeyring(), certs_d=(), plain_http=True, limits=HASTY) as found:
        yield found


def layer_of(there: Shelf) -> Descriptor:
    """The one layer of the image."""
    content = max(there.blobs.values(), key=len)
    return Descriptor(media_type=m.OCI_LAYER_GZIP, digest=Digest.of(content), size=len(content))


def fails(client: Client, registry: Registry, shelf: Shelf, name: str = "a/b:1") -> MobyshellError:
    """The error of a pull; nothing that is wrong may be on the shelf then."""
    with pytest.raises(MobyshellError) as caught:
        pull(repository(client, registry, name), shelf)
    for digest, content in shelf.blobs.items():
        assert digest.verifies(content)
    assert caught.value.message.isprintable()
    assert "\n" not in caught.value.hint
    assert len(caught.value.message) < 500
    return caught.value


@pytest.mark.parametrize(
    ("status", "tries", "kind", "says"),
    [
        (400, 1, RegistryFailed, "HTTP status 400"),
        (403, 1, RegistryFailed, "does not let strangers at a/b"),
        (404, 1, NotFound, "has no a/b:1"),
        (418, 1, RegistryFailed, "HTTP status 418"),
        (429, 5, RegistryFailed, "asked too often"),
        (500, 5, RegistryFailed, "HTTP status 500"),
        (503, 5, RegistryFailed, "HTTP status 503"),
        (204, 1, RegistryFailed, "HTTP status 204"),
        (300, 1, RegistryFailed, "HTTP status 300"),
    ],
)
def test_statuses(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf,
    status: int, tries: int, kind: type[MobyshellError], says: str,
) -> None:  # fmt: skip
    registry.on("manifests/1")(
        lambda request: request.answer(status, headers={"Content-Length": "0"})
    )
    error = fails(client, registry, shelf)
    assert type(error) is kind
    assert says in error.message
    assert len(registry.log) == tries
    if isinstance(error, RegistryFailed):
        assert (error.status, error.host) == (status, registry.host)


def test_what_passes_is_tried_again(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, listener: Listener
) -> None:
    registry.on("manifests/1", times=2)(lambda request: request.answer(503))
    registry.on("blobs/", times=1)(lambda request: request.reset())
    registry.on("manifests/sha256", times=1)(
        lambda request: request.answer(429, headers={"Retry-After": "0"})
    )
    pull(repository(client, registry, progress=listener), shelf)
    assert listener.kinds().count("Retrying") == 4


def test_a_wish_to_wait_for_hours_is_a_no(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    registry.on("manifests/1")(lambda request: request.answer(429, headers={"Retry-After": "7200"}))
    assert "asked too often" in fails(client, registry, shelf).message
    assert len(registry.log) == 1


def test_the_words_of_a_registry_are_told_escaped(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    said = "no\x1b[31m\n" + "x" * 10_000
    registry.on("manifests/1", "HEAD")(lambda request: request.answer(405))
    registry.on("manifests/1", "GET")(lambda request: registry.error(request, 403, "DENIED", said))
    error = fails(client, registry, shelf)
    assert "(no\\u001b[31m\\n" in error.message
    assert isinstance(error, RegistryFailed)
    assert error.code == "DENIED"


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"errors":1}', b'{"errors":[1]}', b'{"errors":[{"code":1}]}', b"\xff",
             b"[" * 1000, b"x" * 200_000],
    ids=range(8),
)  # fmt: skip
def test_errors_that_are_none(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, body: bytes
) -> None:
    registry.on("manifests/1", "HEAD")(lambda request: request.answer(405))
    registry.on("manifests/1", "GET")(lambda request: request.answer(400, body))
    assert "HTTP status 400" in fails(client, registry, shelf).message


def test_truncated_blobs_are_gone_on_with(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    whole = there.blobs[layer_of(there).digest]

    @registry.on("blobs/" + layer_of(there).digest, times=3)
    def truncated(request: Request) -> bool:
        start = int(request.seen.headers.get("range", "bytes=0-")[6:-1])
        status = b"206 Partial Content" if start else b"200 OK"
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
        head %= status, len(whole) - start, start, len(whole) - 1, len(whole)
        return request.raw(head + whole[start : start + 65_536])

    pull(repository(client, registry), shelf)
    assert shelf.blobs[layer_of(there).digest] == whole
    assert shelf.written <= len(whole) + 2000, "no byte is fetched twice"


@pytest.mark.parametrize("how", ["reset", "empty", "one byte"])
def test_a_blob_that_never_comes_has_five_tries(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, how: str
) -> None:
    layer = layer_of(there)

    @registry.on("blobs/" + layer.digest)
    def broken(request: Request) -> bool:
        if how == "reset":
            return request.reset()
        start = int(request.seen.headers.get("range", "bytes=0-")[6:-1])
        status = b"206 Partial Content" if start else b"200 OK"
        head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n"
        head %= status, layer.size - start, start, layer.size - 1, layer.size
        return request.raw(head + (b"x" if how == "one byte" else b""))

    fails(client, registry, shelf)
    assert len(registry.asked("GET", layer.digest)) == 5


def lying(
    registry: Registry, digest: str, status: int = 200, body: bytes = b"", **headers: str
) -> None:
    """What is answered in place of a blob."""
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    registry.on("blobs/" + digest)(lambda request: request.answer(status, body, shown))


def test_a_blob_of_other_bytes(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    layer = layer_of(there)
    lying(registry, layer.digest, body=b"x" * layer.size)
    error = fails(client, registry, shelf)
    assert type(error) is InvalidImage
    assert f"other bytes for {layer.digest}" in error.message
    assert len(registry.asked("GET", layer.digest)) == 1
    assert layer.digest not in shelf.blobs
    assert not any(one.digest in shelf.blobs for one in [layer])


@pytest.mark.parametrize("more", [-1, 1, 10**9])
def test_a_blob_of_another_size(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, more: int
) -> None:
    layer = layer_of(there)

    @registry.on("blobs/" + layer.digest)
    def other_size(request: Request) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (layer.size + more)
        return request.raw(head + b"x" * 1000)

    error = fails(client, registry, shelf)
    assert f"{layer.size + more} bytes instead of {layer.size}" in error.message
    assert len(registry.asked("GET", layer.digest)) == 1


def test_an_endless_blob(registry: Registry, client: Client, shelf: Shelf, there: Shelf) -> None:
    layer = layer_of(there)

    @registry.on("blobs/" + layer.digest)
    def endless(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            request.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    assert f"more than {layer.size} bytes" in fails(client, registry, shelf).message
    assert shelf.written < 2 * layer.size


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-399999/400000", "bytes 101-399999/400000", "bytes 100-399999/9", "bytes 100-400000/*",
     "x" * 5000],
)  # fmt: skip
def test_ranges_that_were_not_asked_for(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, content_range: str
) -> None:
    layer = layer_of(there)
    shelf.partial[layer.digest] = bytearray(there.blobs[layer.digest][:100])
    lying(registry, layer.digest, 206, there.blobs[layer.digest][100:], Content_Range=content_range)
    assert "range" in fails(client, registry, shelf).message


def test_a_stall(registry: Registry, hasty: Client, shelf: Shelf, there: Shelf) -> None:
    layer, release = layer_of(there), threading.Event()

    @registry.on("blobs/" + layer.digest)
    def stall(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nxxxx" % layer.size)
        release.wait(30)
        return True

    error = fails(hasty, registry, shelf)
    release.set()
    assert "in time" in error.message


def dripping(request: Request, head: bytes, release: threading.Event) -> bool:
    """A byte now and then, for ever."""
    request.raw(head)
    while not release.wait(0.05):
        request.wfile.write(b"1")
    return True


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["status", "header", "body", "chunk"],
)  # fmt: skip
def test_a_drip(registry: Registry, hasty: Client, shelf: Shelf, there: Shelf, head: bytes) -> None:
    release = threading.Event()
    registry.on("blobs/" + layer_of(there).digest)(lambda request: dripping(request, head, release))
    error = fails(hasty, registry, shelf)
    release.set()
    assert "in time" in error.message or "almost nothing" in error.message
    assert len(registry.asked("GET", layer_of(there).digest)) == HASTY.attempts


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n", b"X: " + b"y" * 60_000 + b"\r\n", b"X: y\r\n",
        b"X: " + b"y" * 70_000,
    ],
    ids=["continue", "long", "many", "too long"],
)  # fmt: skip
def test_floods_of_headers(
    registry: Registry, hasty: Client, shelf: Shelf, there: Shelf, flood: bytes
) -> None:
    @registry.on("manifests/1")
    def flooding(request: Request) -> bool:
        request.raw(b"" if b"100" in flood else b"HTTP/1.1 200 OK\r\n")
        while True:
            request.wfile.write(flood)

    assert type(fails(hasty, registry, shelf)).__name__ == "Unreachable"
    assert len(registry.log) == HASTY.attempts


def test_no_http_at_all(registry: Registry, client: Client, shelf: Shelf) -> None:
    registry.on("manifests")(lambda request: request.raw(b"SSH-2.0-OpenSSH_9.2\r\n" * 100))
    assert registry.host in fails(client, registry, shelf).message


def test_nobody_there(client: Client, shelf: Shelf) -> None:
    gone = Registry(host="127.0.0.1:1")
    error = fails(client, gone, shelf)
    assert error.message == "127.0.0.1:1: Connection refused"


def test_a_deadline(registry: Registry, shelf: Shelf, there: Shelf) -> None:
    registry.on("blobs/")(lambda request: request.answer(503))
    limits = replace(QUICK, backoff=20, longest_backoff=60, deadline=0.5)
    with Client(keyring=NoKeyring(), certs_d=(), plain_http=True, limits=limits) as client:
        error = fails(client, registry, shelf)
    assert type(error) is TimedOut


class StoppedMeanwhile(Stop):
    """Stopped just when a request has been begun, and has no socket yet."""

    def check(self) -> None:
        super().check()
        self.stop()


def test_stopped_before_there_is_a_socket(registry: Registry, there: Shelf) -> None:
    release, released = threading.Event(), list[bool]()
    registry.on("/v2/")(lambda request: released.append(release.wait(60)))
    limits = replace(QUICK, answer=300, stall=300)
    with Client(keyring=NoKeyring(), certs_d=(), plain_http=True, limits=limits) as client:
        with pytest.raises(Interrupted):
            resolve(repository(client, registry, stop=StoppedMeanwhile()))
        assert released == [], "it was waited for"
    release.set()


def test_stopped_from_outside(registry: Registry, client: Client, there: Shelf) -> None:
    begun, release = threading.Event(), threading.Event()

    @registry.on("blobs/" + layer_of(there).digest)
    def stall(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n")
        begun.set()
        release.wait(30)
        return True

    stop = Stop()

    def stop_once_begun() -> None:
        begun.wait(30)
        stop.stop()

    helper = threading.Thread(target=stop_once_begun)
    helper.start()
    start = time.monotonic()
    with pytest.raises(Interrupted):
        pull(repository(client, registry, stop=stop), Shelf())
    assert time.monotonic() - start < QUICK.stall, "the waiting socket was shut"
    release.set()
    helper.join()


def manifest_of(registry: Registry, content: bytes, media_type: str = m.OCI_MANIFEST) -> None:
    registry.manifests["a/b", "1"] = media_type, content
    registry.manifests["a/b", Digest.of(content)] = media_type, content


@pytest.mark.parametrize("claimed", [True, False])
def test_a_manifest_of_100_mb(
    registry: Registry, client: Client, shelf: Shelf, claimed: bool
) -> None:
    @registry.on("manifests/")
    def huge(request: Request) -> bool:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n" % m.OCI_MANIFEST.encode()
        if claimed:
            head += b"Content-Length: 100000000\r\nDocker-Content-Digest: %s\r\n" % (
                Digest.of(b"x").encode()
            )
        request.raw(head + b"\r\n")
        if request.command != "HEAD":
            for _ in range(1600):
                request.wfile.write(b" " * 65536)
        return True

    error = fails(client, registry, shelf)
    assert "at most 4194304" in error.message or "larger than 4194304" in error.message


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"Docker-Content-Digest": "sha256:../../etc/passwd"}, "no digest"),
        ({"Docker-Content-Digest": "md5:" + "0" * 32}, "no digest"),
        ({"Content-Type": "../x"}, "instead of a manifest"),
        ({"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, "schema 1"),
    ],
)
def test_heads_that_cannot_be(
    registry: Registry,
    client: Client,
    shelf: Shelf,
    there: Shelf,
    headers: dict[str, str],
    says: str,
) -> None:
    good = {"Content-Type": m.OCI_MANIFEST, "Docker-Content-Digest": Digest.of(b"")}
    registry.on("manifests/1", "HEAD")(
        lambda request: request.answer(200, b"xx", {**good, **headers})
    )
    error = fails(client, registry, shelf)
    assert says in error.message
    assert isinstance(error, Unsupported) == (says == "schema 1")


def test_a_manifest_that_changes_between_head_and_get(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    top = resolve(repository(client, registry))
    other = b" " * top.size
    registry.on("manifests/sha256", "GET")(
        lambda request: request.answer(200, other, {"Content-Type": m.OCI_MANIFEST})
    )
    assert f"other bytes than {top.digest}" in fails(client, registry, shelf).message


def test_a_manifest_of_another_type(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf
) -> None:
    top = resolve(repository(client, registry))
    content = registry.manifests["a/b", top.digest][1]
    registry.on("manifests/sha256", "GET")(
        lambda request: request.answer(200, content, {"Content-Type": m.OCI_INDEX})
    )
    assert "instead of" in fails(client, registry, shelf).message
    assert not shelf.blobs


@pytest.mark.parametrize(
    ("document", "media_type", "says"),
    [
        ({"schemaVersion": 2, "manifests": [], "layers": []}, m.OCI_INDEX, "two things at once"),
        ({"schemaVersion": 2, "mediaType": m.OCI_INDEX, "manifests": []}, m.OCI_MANIFEST, "says itself"),
        ({"schemaVersion": 1, "fsLayers": []}, m.OCI_MANIFEST, "schema 1"),
        ({"schemaVersion": 2, "config": {}, "layers": []}, m.OCI_MANIFEST, "config.mediaType"),
        ({"schemaVersion": 2, "manifests": []}, m.OCI_MANIFEST, "has manifests"),
        ([], m.OCI_MANIFEST, "not an object"),
    ],
)  # fmt: skip
def test_manifests_that_are_something_else(
    registry: Registry, client: Client, shelf: Shelf, document: object, media_type: str, says: str
) -> None:
    manifest_of(registry, json.dumps(document).encode(), media_type)
    assert says in fails(client, registry, shelf).message


def test_a_type_that_no_puller_knows(registry: Registry, client: Client, shelf: Shelf) -> None:
    manifest_of(registry, b"<html>", "text/html")
    assert "no image" in fails(client, registry, shelf).message or shelf.blobs == {}


def test_embedded_manifests_need_no_request(registry: Registry, client: Client) -> None:
    import base64

    one = Descriptor(
        media_type=m.OCI_MANIFEST, digest=Digest.of(b"{}"), size=2,
        data=base64.b64encode(b"{}").decode(),
    )  # fmt: skip
    assert fetch(repository(client, registry), one) == b"{}"
    assert not registry.log


def test_endless_lists(registry: Registry, client: Client) -> None:
    pages = iter(range(10**9))

    @registry.on("tags/list")
    def endless(request: Request) -> bool:
        body = json.dumps({"name": "a/b", "tags": [f"t{next(pages)}"]}).encode()
        link = f'</v2/a/b/tags/list?n=1&last={next(pages)}>; rel="next"'
        return request.answer(200, body, {"Link": link})

    with pytest.raises(RegistryFailed, match="more than 100 pages"):
        tags(repository(client, registry))
    assert len(registry.log) == QUICK.pages


@pytest.mark.parametrize(
    "link", ['</v2/a/b/tags/list?n=1000>; rel="next"', '<http://127.0.0.1:1/x>; rel="next"',
             '<file:///etc/passwd>; rel="next"', '<//user:pw@127.0.0.1:1/>; rel="next"'],
)  # fmt: skip
def test_pages_elsewhere(registry: Registry, client: Client, link: str) -> None:
    registry.on("tags/list")(lambda request: request.answer(200, b'{"tags":[]}', {"Link": link}))
    with pytest.raises(RegistryFailed, match="next page"):
        tags(repository(client, registry))
    assert len(registry.log) == 1


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"tags":["a/b"]}', b'{"tags":[1]}', b'{"tags":{}}', b"\x00"]
)
def test_lists_that_are_none(registry: Registry, client: Client, body: bytes) -> None:
    registry.on("tags/list")(lambda request: request.answer(200, body))
    if body == b"{}":
        assert tags(repository(client, registry)) == ()
        return
    with pytest.raises(RegistryFailed):
        tags(repository(client, registry))


def test_one_failing_blob_ends_the_others(registry: Registry, client: Client, shelf: Shelf) -> None:
    there = Shelf()
    top = image(there, sizes=(1000, 2000, 3000))
    stock(registry, there, top)
    release = threading.Event()
    small, _, large = parse_manifest(there.blobs[top.digest]).layers

    @registry.on("blobs/" + large.digest)
    def stall(request: Request) -> bool:
        request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        release.wait(30)
        return True

    registry.on("blobs/" + small.digest)(lambda request: request.answer(404))
    start = time.monotonic()
    error = fails(client, registry, shelf)
    assert type(error) is NotFound
    assert time.monotonic() - start < QUICK.stall
    release.set()


def resets(number: int) -> Callable[[Request], bool]:
    """Ends the connection after so many bytes of the body, once."""

    def script(request: Request) -> bool:
        content = request.server.registry.blobs["a/b", request.seen.path.rpartition("/")[2]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:number])
        request.wfile.flush()
        return request.reset()

    return script


@pytest.mark.parametrize("number", range(0, 400_000, 65_536))
def test_a_reset_at_each_64_kib(
    registry: Registry, client: Client, shelf: Shelf, there: Shelf, number: int
) -> None:
    layer = layer_of(there)
    registry.on("blobs/" + layer.digest, times=1)(resets(number))
    pull(repository(client, registry), shelf)
    assert shelf.blobs[layer.digest] == there.blobs[layer.digest]
    assert len(registry.asked("GET", layer.digest)) == 2
