"""hosts.toml and certs.d: which endpoints there are, and what each is trusted with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError, NotFound, RegistryFailed
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.registry import TLS, Client
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.core.registry.hosts import CERTS_D, certs_directories, endpoints_of
from mobyshell.core.registry.manifests import resolve
from mobyshell.core.registry.pull import pull
from tests.core.registry.conftest import QUICK, stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry, serving
from tests.core.registry.shelf import Shelf

ALL = {"pull", "resolve", "push", "referrers"}


def write(directory: Path, registry: str, text: str) -> Path:
    place = directory / registry
    place.mkdir(parents=True)
    (place / "hosts.toml").write_text(text)
    return place


@pytest.mark.parametrize(
    ("registry", "scheme", "host", "verify"),
    [
        ("docker.io", "https", "registry-1.docker.io", True),
        ("quay.io", "https", "quay.io", True),
        ("quay.io:5000", "https", "quay.io:5000", True),
        ("localhost", "https", "localhost", True),
        ("localhost:443", "https", "localhost:443", True),
        ("localhost:5000", "auto", "localhost:5000", False),
        ("127.0.0.1:5000", "auto", "127.0.0.1:5000", False),
        ("[::1]:5000", "auto", "[::1]:5000", False),
        ("127.0.0.1.example.com:5000", "https", "127.0.0.1.example.com:5000", True),
        ("localhost.example.com:5000", "https", "localhost.example.com:5000", True),
    ],
)
def test_without_a_file(
    tmp_path: Path, registry: str, scheme: str, host: str, verify: bool
) -> None:
    (one,) = endpoints_of(registry, (tmp_path, tmp_path / "nowhere"))
    assert (one.scheme, one.host, one.path, one.tls.verify) == (scheme, host, "/v2", verify)
    assert one.capabilities == ALL
    assert not one.is_mirror
    (plain,) = endpoints_of(registry, (), plain_http=True)
    assert plain.scheme == "http"
    (wanted,) = endpoints_of(registry, (), tls=TLS())
    assert wanted.scheme == "https"
    assert wanted.tls.verify


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    place = write(tmp_path, "a.com", '''
server = "https://upstream.com"
ca = ["one.pem", "/etc/two.pem"]

[host."https://public-mirror.com"]
  capabilities = ["Pull"]
[host."http://mirror.internal:5000/some/path"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  dial_timeout = "1m1.5s"
  client = [["c.cert", "c.key"], ["both.pem", ""]]
  [host."http://mirror.internal:5000/some/path".header]
    x-one = "a"
    x-two = ["b", "c"]
[host."odd.com/v2/upstream"]
  override_path = true
  client = "only.pem"
''')  # fmt: skip
    public, internal, odd, itself = endpoints_of("a.com", (tmp_path,))
    assert (public.scheme, public.host, public.path) == ("https", "public-mirror.com", "/v2")
    assert public.capabilities == {"pull"}
    assert public.is_mirror
    assert (internal.scheme, internal.host, internal.path) == (
        "http", "mirror.internal:5000", "/some/path/v2",
    )  # fmt: skip
    assert internal.dial_timeout == 61.5
    assert internal.headers == {"x-one": ("a",), "x-two": ("b", "c")}
    assert internal.tls.client == ((f"{place}/c.cert", f"{place}/c.key"), (f"{place}/both.pem", ""))
    assert not internal.tls.verify
    assert odd.path == "/v2/upstream"
    assert odd.tls.client == ((f"{place}/only.pem", ""),)
    assert odd.capabilities == ALL
    assert itself.host == "upstream.com"
    assert itself.tls.ca == (f"{place}/one.pem", "/etc/two.pem")


@pytest.mark.parametrize(
    ("name", "registry", "found"),
    [
        ("a.com_5000_", "a.com:5000", "mirror.com"), ("a.com:5000", "a.com:5000", "mirror.com"),
        ("_default", "a.com:5000", "mirror.com"), ("a.com", "a.com:5000", "a.com:5000"),
        ("a.com", "a.com", "mirror.com"),
    ],
)  # fmt: skip
def test_where_it_lies(tmp_path: Path, name: str, registry: str, found: str) -> None:
    write(tmp_path, name, '[host."https://mirror.com"]\n')
    endpoints = endpoints_of(registry, (tmp_path,))
    assert endpoints[0].host == found
    assert endpoints[-1].host == registry, "the registry itself is the last resort"


@pytest.mark.parametrize(
    "text",
    [
        "server =", 'server = 1', 'server = "ftp://a"', 'server = "https://u:p@a.com"',
        'server = "https://"', 'server = "https://a.com?x"', 'server = "http://a:99999999"',
        'host = 1', 'host."https://a" = 1', '[host."https://a"]\ncapabilities = ["delete"]',
        '[host."https://a"]\ncapabilities = [1]', 'ca = 1', 'client = [["a"]]', 'client = [["", "a"]]',
        'client = 1', 'skip_verify = "yes"', 'dial_timeout = 5', 'dial_timeout = "5 days"', 'header = 1',
        '[header]\n"a b" = "c"', '[header]\na = "b\\nc"', '[header]\na = 1', "a = [" * 2000,
        "x" * (2 << 20), "\x00",
    ],
    ids=range(25),
)  # fmt: skip
def test_files_that_are_wrong(tmp_path: Path, text: str) -> None:
    write(tmp_path, "a.com", text)
    with pytest.raises(InvalidSpec) as caught:
        endpoints_of("a.com", (tmp_path,))
    assert str(tmp_path) in caught.value.message
    assert caught.value.message.isprintable()


def test_what_is_wrong_with_a_file_is_told_to_the_end(tmp_path: Path) -> None:
    write(tmp_path, "a.com", 'server = "https://a.com"\n[host."https://b.com"\n')
    with pytest.raises(InvalidSpec, match=r"\(at line 2, column \d+\)$"):
        endpoints_of("a.com", (tmp_path,))


def test_the_user_s_own_come_first() -> None:
    assert certs_directories({}) == CERTS_D
    assert certs_directories({"HOME": "/h"})[:2] == (
        "/h/.config/containerd/certs.d", "/h/.config/docker/certs.d",
    )  # fmt: skip
    assert certs_directories({"HOME": "/h", "XDG_CONFIG_HOME": "/c"})[0] == "/c/containerd/certs.d"
    assert certs_directories({"HOME": "/h"})[2:] == CERTS_D


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    place = write(tmp_path, "localhost:5000", "")
    (one,) = endpoints_of("localhost:5000", (tmp_path,))
    assert one.scheme == "auto"
    (place / "ca.crt").write_text("")
    (one,) = endpoints_of("localhost:5000", (tmp_path,))
    assert (one.scheme, one.tls.ca, one.tls.verify) == ("https", (f"{place}/ca.crt",), True)


@pytest.fixture
def mirror() -> Iterator[Registry]:
    with serving() as found:
        yield found


def mirrored(tmp_path: Path, registry: Registry, mirror: Registry, capabilities: str) -> Client:
    write(
        tmp_path, registry.host,
        f'server = "http://{registry.host}"\n'
        f'[host."http://{mirror.host}"]\ncapabilities = {capabilities}\n'
        f'[host."http://{mirror.host}".header]\nx-secret = "for the mirror"\n',
    )  # fmt: skip
    return Client(keyring=NoKeyring(), certs_d=(tmp_path,), limits=QUICK)


BOTH, PULL_ONLY = '["pull", "resolve"]', '["pull"]'


def pulled(client: Client, registry: Registry) -> Shelf:
    shelf = Shelf()
    with client:
        pull(client.repository(parse_reference(f"{registry.host}/a/b:1")), shelf)
    return shelf


def test_a_mirror_is_asked_first(tmp_path: Path, registry: Registry, mirror: Registry) -> None:
    there = Shelf()
    stock(mirror, there, image(there))
    shelf = pulled(mirrored(tmp_path, registry, mirror, BOTH), registry)
    assert shelf.blobs == there.blobs
    assert not registry.log
    assert all(one.query == {"ns": [registry.host]} for one in mirror.log)
    assert all(one.headers["x-secret"] == "for the mirror" for one in mirror.log)
    assert shelf.sources[shelf.order[0]] == {f"{registry.host}/a/b"}


def test_a_mirror_that_may_not_resolve_is_not_asked_for_names(
    tmp_path: Path, registry: Registry, mirror: Registry
) -> None:
    there = Shelf()
    top = image(there)
    stock(registry, there, top)
    stock(mirror, there, top)
    pulled(mirrored(tmp_path, registry, mirror, PULL_ONLY), registry)
    assert [one.method for one in registry.log] == ["HEAD"]
    assert not mirror.asked("HEAD", "")
    assert "x-secret" not in registry.log[0].headers


@pytest.mark.parametrize(
    "how", ["gone", "404", "500", "lies", "truncates", "redirects", "other size", "a page"]
)
def test_a_mirror_that_fails_is_passed_over(
    tmp_path: Path, registry: Registry, mirror: Registry, how: str
) -> None:
    there = Shelf()
    top = image(there, sizes=(100_000,))
    stock(registry, there, top)
    stock(mirror, there, top)
    for key, content in list(mirror.blobs.items()):
        if how == "lies":
            mirror.blobs[key] = b"x" * len(content)
        if how == "other size":
            mirror.blobs[key] = content + b"x"
    if how in ("404", "500"):
        mirror.on("/v2/")(lambda request: request.answer(int(how)))
    if how == "a page":
        page = {"Content-Type": "text/html; charset=utf-8"}
        mirror.on("/v2/")(lambda request: request.answer(200, b"<html>log in</html>", page))
    if how == "truncates":
        mirror.on("blobs/")(
            lambda request: request.raw(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxxx"
            )
        )
    if how == "redirects":
        mirror.on("/v2/")(lambda request: request.answer(302, headers={"Location": "file:///x"}))
    if how == "gone":
        mirror.host = "127.0.0.1:1"
    shelf = pulled(mirrored(tmp_path, registry, mirror, BOTH), registry)
    assert shelf.blobs == there.blobs
    for digest, content in shelf.blobs.items():
        assert digest.verifies(content)
    assert len(mirror.asked("GET", "blobs")) <= 2, "a mirror is not asked twice for the same"


def test_when_all_fail_the_registry_s_own_words_are_told(
    tmp_path: Path, registry: Registry, mirror: Registry
) -> None:
    with pytest.raises(NotFound) as caught:
        pulled(mirrored(tmp_path, registry, mirror, BOTH), registry)
    assert registry.host in caught.value.message


def test_nobody_may(tmp_path: Path, registry: Registry) -> None:
    write(tmp_path, registry.host, f'server = "http://{registry.host}"\ncapabilities = ["push"]')
    with Client(keyring=NoKeyring(), certs_d=(tmp_path,), limits=QUICK) as client:
        with pytest.raises(RegistryFailed, match="no endpoint") as caught:
            resolve(client.repository(parse_reference(f"{registry.host}/a:1")))
        assert "hosts.toml" in caught.value.hint
    assert isinstance(caught.value, MobyshellError)
