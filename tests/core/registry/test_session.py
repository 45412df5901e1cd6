"""A piece of work: asked whether a registry is there, failed without harm to others, stopped."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest

from mobyshell.core.errors import Interrupted, NotFound, RegistryFailed
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import Client, OneKeyring, Stop
from mobyshell.core.registry.ping import ping
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.session import next_link
from tests.core.registry.conftest import QUICK, repository, stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry
from tests.core.registry.shelf import Shelf
from tests.core.registry.test_authorization import WHO, wants_basic


def test_a_registry_is_there(registry: Registry, client: Client) -> None:
    ping(repository(client, registry))
    assert [one.path for one in registry.log] == ["/v2/"]


def test_whether_it_knows_us(registry: Registry, client: Client) -> None:
    wants_basic(registry)
    with pytest.raises(RegistryFailed, match="strangers"):
        ping(repository(client, registry))
    known = OneKeyring(registry.host, WHO)
    with Client(keyring=known, certs_d=(), plain_http=True, limits=QUICK) as friend:
        ping(repository(friend, registry))


def test_no_registry(registry: Registry, client: Client) -> None:
    registry.on("/v2/$")(lambda request: request.answer(404))
    with pytest.raises(NotFound):
        ping(repository(client, registry))


def test_a_pull_that_failed_can_be_tried_again(
    registry: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    stock(registry, there, image(there))
    registry.on("blobs/", times=1)(lambda request: request.answer(404))
    here = repository(client, registry)
    with pytest.raises(NotFound):
        pull(here, shelf)
    pull(here, shelf)
    assert shelf.blobs == there.blobs


@pytest.mark.parametrize(("code", "asked", "told"), [
    (socket.EAI_NONAME, 1, "no such host"),
    (socket.EAI_AGAIN, QUICK.attempts, "no name server"),
])  # fmt: skip
def test_a_name_without_a_host_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, shelf: Shelf, code: int, asked: int, told: str
) -> None:
    asks = []

    def getaddrinfo(host: str, *_: object, **__: object) -> NoReturn:
        asks.append(host)
        raise socket.gaierror(code, "as the resolver says it")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with Client(certs_d=(), plain_http=True, limits=QUICK) as client:
        here = client.repository(parse_reference("registry.invalid/a/b:1"))
        with pytest.raises(RegistryFailed, match=told):
            pull(here, shelf)
    assert asks == ["registry.invalid"] * asked


def test_what_is_stopped_stays_so(registry: Registry, client: Client, shelf: Shelf) -> None:
    stop = Stop()
    here = repository(client, registry, stop=stop)
    stop.stop()
    with pytest.raises(Interrupted):
        pull(here, shelf)
    assert not registry.log


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ('</v2/a/tags/list?last=b>; rel="next"', "/v2/a/tags/list?last=b"),
        ("</x>; rel=next", "/x"), ('</x>; rel="prev", </y>; rel="next"', "/y"),
        ('</x>; rel="prev"', ""), ("", ""), ("<", ""), ("x; rel=next", ""), (",,,;;", ""),
    ],
)  # fmt: skip
def test_links(value: str, target: str) -> None:
    assert next_link(value) == target
