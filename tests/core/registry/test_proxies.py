"""Proxies: which the environment's words mean, and a pull through one."""

from __future__ import annotations

import base64

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import Client
from mobyshell.core.registry.locations import Location
from mobyshell.core.registry.proxies import proxy_for
from mobyshell.core.registry.pull import pull
from tests.core.registry.conftest import stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry
from tests.core.registry.shelf import Shelf

NAMES = ("http_proxy", "https_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("host", "without", "proxied"),
    [
        ("a.com", "", True), ("a.com", "b.com", True), ("a.com", "a.com", False),
        ("x.a.com", "a.com", False), ("x.a.com", ".a.com", False), ("x.a.com", "*.a.com", False),
        ("ba.com", "a.com", True), ("a.com", "*", False), ("a.com", " b.com , a.com ", False),
        ("a.com:5000", "a.com:5000", False), ("a.com:5000", "a.com", False),
        ("10.1.2.3:5000", "10.0.0.0/8", False), ("11.1.2.3", "10.0.0.0/8", True),
        ("a.com", "nonsense/99", True), ("localhost:5000", "", False), ("127.0.0.1", "", False),
        ("[::1]:5000", "", False), ("a.com", ",", True),
    ],
)  # fmt: skip
def test_which(monkeypatch: pytest.MonkeyPatch, host: str, without: str, proxied: bool) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", without)
    found = proxy_for(Location("https", host, "/"))
    assert found == ("http://proxy.example:3128" if proxied else "")
    assert proxy_for(Location("http", host, "/")) == ""


def test_a_pull_through_one(
    registry: Registry, client: Client, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Shelf()
    stock(registry, there, image(there))
    monkeypatch.setenv("http_proxy", f"http://me:a%20secret@{registry.host}")
    pull(client.repository(parse_reference("registry.invalid:5000/a/b:1")), shelf)
    assert shelf.blobs == there.blobs
    who = base64.b64encode(b"me:a secret").decode()
    for one in registry.log:
        assert one.headers["host"] == "registry.invalid:5000"
        assert one.headers["proxy-authorization"] == f"Basic {who}"


def test_a_proxy_that_is_gone(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://me:a-secret@127.0.0.1:1")
    with pytest.raises(MobyshellError) as caught:
        pull(client.repository(parse_reference("registry.invalid:5000/a/b:1")), Shelf())
    assert "a-secret" not in str(caught.value.to_wire())
