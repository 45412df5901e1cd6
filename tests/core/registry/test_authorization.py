"""Who we are: said to whom it belongs, and to nobody else, by whatever way a registry tries."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest

from mobyshell.core.errors import MobyshellError, RegistryFailed
from mobyshell.core.registry import Client, Credentials, OneKeyring
from mobyshell.core.registry.challenge import parse_challenges
from mobyshell.core.registry.manifests import resolve
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.push import push
from mobyshell.core.registry.tags import tags
from tests.core.registry.conftest import QUICK, repository, stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry, Request, serving
from tests.core.registry.shelf import Shelf

PASSWORD = "hunter2-is-secret"
WHO = Credentials("moby", PASSWORD)
BASIC = "Basic " + base64.b64encode(f"moby:{PASSWORD}".encode()).decode()


def logged_in(registry: Registry, who: Credentials = WHO) -> Client:
    keyring = OneKeyring(registry.host, who)
    return Client(keyring=keyring, certs_d=(), plain_http=True, limits=QUICK)


@pytest.fixture
def other() -> Iterator[Registry]:
    """Another server: a token service, a store of blobs, or a thief."""
    with serving() as found:
        yield found


@pytest.fixture
def there(registry: Registry) -> Shelf:
    shelf = Shelf()
    stock(registry, shelf, image(shelf))
    return shelf


def wants_basic(registry: Registry) -> None:
    @registry.on("/v2/")
    def ask(request: Request) -> bool:
        if request.seen.authorization == BASIC:
            return False
        return request.answer(401, headers={"WWW-Authenticate": 'Basic realm="it"'})


def wants_token(
    registry: Registry, realm: str, token: str = "t0ken", scheme: str = "Bearer"
) -> None:
    @registry.on("/v2/")
    def ask(request: Request) -> bool:
        if request.seen.authorization == f"Bearer {token}":
            return False
        value = f'{scheme} realm="{realm}",service="reg",scope="repository:a/b:pull,push"'
        return request.answer(401, headers={"WWW-Authenticate": value})


def gives_token(server: Registry, **members: object) -> None:
    document = {"token": "t0ken", **members}
    server.on("^/token")(lambda request: request.answer(200, json.dumps(document).encode()))


def no_secret(error: MobyshellError) -> None:
    shown = json.dumps(error.to_wire())
    for secret in (PASSWORD, BASIC[6:], "t0ken"):
        assert secret not in shown


def test_basic(registry: Registry, there: Shelf, shelf: Shelf) -> None:
    wants_basic(registry)
    with logged_in(registry) as client:
        pull(repository(client, registry), shelf)
    assert [one.authorization for one in registry.log].count("") == 1, "it is asked for once"


def test_basic_as_a_stranger(
    registry: Registry, there: Shelf, client: Client, shelf: Shelf
) -> None:
    wants_basic(registry)
    with pytest.raises(RegistryFailed, match="does not let strangers at a/b") as caught:
        pull(repository(client, registry), shelf)
    assert caught.value.status == 401
    assert f"docker login {registry.host}" in caught.value.hint
    assert len(registry.log) == 1


def test_a_wrong_password(registry: Registry, there: Shelf, shelf: Shelf) -> None:
    registry.on("/v2/")(
        lambda request: request.answer(401, headers={"WWW-Authenticate": 'Basic realm="it"'})
    )
    with logged_in(registry) as client, pytest.raises(RegistryFailed) as caught:
        pull(repository(client, registry), shelf)
    assert "does not let the user moby at a/b" in caught.value.message
    no_secret(caught.value)
    assert len(registry.log) == 2


@pytest.mark.parametrize("name", ["token", "access_token"])
def test_a_token_for_a_stranger(
    registry: Registry, other: Registry, there: Shelf, client: Client, shelf: Shelf, name: str
) -> None:
    wants_token(registry, f"http://{other.host}/token")
    gives_token(other, **{"token": None, name: "t0ken"})
    pull(repository(client, registry), shelf)
    (asked,) = other.log
    assert asked.query == {"service": ["reg"], "scope": ["repository:a/b:pull"]}
    assert asked.authorization == ""


def test_a_token_service_that_is_gone_is_told_as_such(
    registry: Registry, there: Shelf, client: Client, shelf: Shelf
) -> None:
    wants_token(registry, "http://127.0.0.1:1/token")
    with pytest.raises(RegistryFailed) as caught:
        pull(repository(client, registry), shelf)
    assert caught.value.message == (
        f"127.0.0.1:1: Connection refused (it is to give tokens for {registry.host})"
    )


def test_a_token_for_a_user(
    registry: Registry, other: Registry, there: Shelf, shelf: Shelf
) -> None:
    wants_token(registry, f"http://{other.host}/token?realm=x")
    gives_token(other)
    with logged_in(registry) as client:
        pull(repository(client, registry), shelf)
    (asked,) = other.log
    assert asked.authorization == BASIC
    assert asked.query["account"] == ["moby"]
    assert asked.query["realm"] == ["x"]
    assert all(one.authorization in ("", "Bearer t0ken") for one in registry.log)


def test_a_login_s_token_is_posted(
    registry: Registry, other: Registry, there: Shelf, shelf: Shelf
) -> None:
    wants_token(registry, f"http://{other.host}/token")
    gives_token(other)
    with logged_in(registry, Credentials(identity_token="refresh-me")) as client:
        pull(repository(client, registry), shelf)
    (asked,) = other.log
    form = parse_qs(asked.body.decode())
    assert asked.method == "POST"
    assert form["refresh_token"] == ["refresh-me"]
    assert form["grant_type"] == ["refresh_token"]
    assert form["scope"] == ["repository:a/b:pull"]


def test_many_downloads_share_a_token(
    registry: Registry, other: Registry, client: Client, shelf: Shelf
) -> None:
    there = Shelf()
    stock(registry, there, image(there, sizes=(1000,) * 8))
    wants_token(registry, f"http://{other.host}/token")
    gives_token(other)
    pull(repository(client, registry), shelf)
    assert len(other.log) == 1


def test_a_token_that_was_revoked_is_fetched_anew(
    registry: Registry, other: Registry, there: Shelf, client: Client, shelf: Shelf
) -> None:
    good = ["first"]

    @registry.on("/v2/")
    def ask(request: Request) -> bool:
        if request.seen.authorization == f"Bearer {good[0]}":
            return False
        value = f'Bearer realm="http://{other.host}/token",service="reg",error="invalid_token"'
        return request.answer(401, headers={"WWW-Authenticate": value})

    other.on("^/token")(
        lambda request: request.answer(200, json.dumps({"token": good[0]}).encode())
    )
    resolve(repository(client, registry))
    good[0] = "second"
    pull(repository(client, registry), shelf)
    assert len(other.log) == 2


def test_a_token_ends(
    registry: Registry,
    other: Registry,
    there: Shelf,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    wants_token(registry, f"http://{other.host}/token")
    gives_token(other, expires_in=300)
    resolve(repository(client, registry))
    resolve(repository(client, registry))
    assert len(other.log) == 1
    now = time.monotonic
    monkeypatch.setattr("mobyshell.core.registry.authorization.time.monotonic", lambda: now() + 295)
    resolve(repository(client, registry))
    assert len(other.log) == 2


def test_a_registry_that_never_is_content(
    registry: Registry, other: Registry, there: Shelf, client: Client
) -> None:
    wants_token(registry, f"http://{other.host}/token", token="another")
    gives_token(other)
    with pytest.raises(RegistryFailed, match="does not let strangers"):
        resolve(repository(client, registry))
    assert len(registry.log) == 3
    assert len(other.log) == 2


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, b"", "does not take the user moby"),
        (403, b"", "does not take the user moby"),
        (500, b"", "gives no token"),
        (200, b"", "no JSON"),
        (200, b"[]", "no JSON"),
        (200, b'{"token":"a","token":"b"}', "no JSON"),
        (200, b"{}", "without a token"),
        (200, b'{"token":1}', "without a token"),
        (200, b'{"token":"a\\r\\nX: y"}', "cannot be one"),
        (200, b'{"token":"' + b"t" * 100_000 + b'"}', "cannot be one"),
        (200, b'{"token":"\xc3\xa9"}', "cannot be one"),
        (200, b'{"token":"' + b"t" * (2 << 20) + b'"}', "larger than 1048576"),
    ],
    ids=range(12),
)
def test_token_services_that_fail(
    registry: Registry, other: Registry, there: Shelf, status: int, body: bytes, says: str
) -> None:
    wants_token(registry, f"http://{other.host}/token")
    other.on("^/token")(lambda request: request.answer(status, body))
    with logged_in(registry) as client, pytest.raises(RegistryFailed) as caught:
        resolve(repository(client, registry))
    assert says in caught.value.message
    no_secret(caught.value)
    assert len(other.log) == 1


@pytest.mark.parametrize(
    "realm",
    ["", "file:///etc/passwd", "gopher://127.0.0.1/", "http://user:pw@127.0.0.1/", "//", "http://",
     "http:///token", "http://[::1", "http://127.0.0.1:99999/"],
)  # fmt: skip
def test_realms_that_are_none(registry: Registry, there: Shelf, realm: str) -> None:
    wants_token(registry, realm)
    with logged_in(registry) as client, pytest.raises(RegistryFailed) as caught:
        resolve(repository(client, registry))
    no_secret(caught.value)
    assert len(registry.log) == 1
    assert "pw" not in caught.value.message


def test_a_redirect_elsewhere_gets_no_credentials(
    registry: Registry, other: Registry, there: Shelf, shelf: Shelf
) -> None:
    wants_basic(registry)
    registry.on("blobs/")(
        lambda request: request.answer(
            307, headers={"Location": f"http://{other.host}{request.path}?X-Amz-Signature=s3cret"}
        )
    )
    other.blobs = dict(registry.blobs)
    with logged_in(registry) as client:
        pull(repository(client, registry), shelf)
    assert other.asked("GET", "blobs")
    for one in other.log:
        assert one.authorization == ""


def test_whoever_asks_there_is_not_told(
    registry: Registry, other: Registry, there: Shelf, shelf: Shelf
) -> None:
    wants_basic(registry)
    wants_basic(other)
    registry.on("blobs/")(
        lambda request: request.answer(
            302, headers={"Location": f"http://{other.host}{request.path}?s=s3cret"}
        )
    )
    with logged_in(registry) as client, pytest.raises(RegistryFailed) as caught:
        pull(repository(client, registry), shelf)
    assert caught.value.status == 401
    assert "s3cret" not in caught.value.message
    assert {one.authorization for one in other.log} == {""}


def test_back_from_elsewhere_nothing_is_told_either(
    registry: Registry, other: Registry, there: Shelf
) -> None:
    """Once a request has left the origin it comes back as a stranger."""
    wants_basic(registry)
    registry.on("manifests/1")(
        lambda request: request.answer(302, headers={"Location": f"http://{other.host}/x"})
    )
    back = f"http://{registry.host}/v2/a/b/manifests/2"
    other.on("/x")(lambda request: request.answer(302, headers={"Location": back}))
    with logged_in(registry) as client, pytest.raises(MobyshellError):
        resolve(repository(client, registry))
    assert [one.authorization for one in registry.asked("HEAD", "manifests/2")] == [""]


def test_redirects_within_an_origin_keep_them(registry: Registry, there: Shelf) -> None:
    wants_basic(registry)
    registry.on("manifests/1$")(
        lambda request: request.answer(308, headers={"Location": "/v2/a/b/manifests/1/"})
    )
    top = registry.manifests["a/b", "1"]
    registry.manifests["a/b", "1/"] = top
    registry.on("manifests/1/$")(
        lambda request: request.answer(200, top[1], {"Content-Type": top[0]})
    )
    with logged_in(registry) as client:
        assert resolve(repository(client, registry)).media_type == top[0]


@pytest.mark.parametrize(
    "location", ["", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/", "http://", "\x01", "http://[x"]
)
def test_redirects_to_nowhere(
    registry: Registry, there: Shelf, client: Client, location: str
) -> None:
    registry.on("manifests")(lambda request: request.answer(302, headers={"Location": location}))
    with pytest.raises(RegistryFailed, match="redirect"):
        resolve(repository(client, registry))
    assert len(registry.log) == 1


def test_redirects_without_end(registry: Registry, there: Shelf, client: Client) -> None:
    registry.on("manifests")(
        lambda request: request.answer(302, headers={"Location": request.path + "/"})
    )
    with pytest.raises(RegistryFailed, match="more than 5 redirects"):
        resolve(repository(client, registry))
    assert len(registry.log) == QUICK.redirects + 1


def test_an_upload_sent_elsewhere_gets_no_credentials(registry: Registry, other: Registry) -> None:
    wants_basic(registry)
    shelf = Shelf()
    top = image(shelf, sizes=(1000,))
    other.uploads["there"] = bytearray()
    location = f"http://{other.host}/v2/x/blobs/uploads/there?sig=s3cret"
    registry.on("blobs/uploads", "POST", times=None)(
        lambda request: (
            bool(request.seen.authorization) and request.answer(202, headers={"Location": location})
        )
    )
    other.on("uploads", "PUT")(lambda request: request.answer(201))
    with logged_in(registry) as client:
        push(repository(client, registry), shelf, top)
    assert other.asked("PUT", "uploads")
    for one in other.log:
        assert one.authorization == ""
        assert "cookie" not in one.headers


def test_a_token_is_not_carried_to_the_next_page_elsewhere(
    registry: Registry, other: Registry, client: Client
) -> None:
    wants_token(registry, f"http://{other.host}/token")
    gives_token(other)
    link = f'<http://{other.host}/v2/a/b/tags/list>; rel="next"'
    registry.on("tags/list")(lambda request: request.answer(200, b'{"tags":["x"]}', {"Link": link}))
    with pytest.raises(RegistryFailed, match="no page of its own"):
        tags(repository(client, registry))
    assert not other.asked("GET", "tags")


def test_credentials_of_one_registry_are_not_another_s(
    registry: Registry, other: Registry, there: Shelf
) -> None:
    wants_basic(other)
    with logged_in(registry) as client, pytest.raises(RegistryFailed, match="strangers"):
        resolve(repository(client, other))
    assert {one.authorization for one in other.log} == {""}


def test_who_one_is_is_never_shown() -> None:
    assert PASSWORD not in repr(WHO) + str(WHO)
    assert "refresh" not in repr(Credentials(identity_token="refresh")) + str(
        Credentials(identity_token="refresh")
    )


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"',
         [("bearer", {"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"})]),
        ("Basic realm=x", [("basic", {"realm": "x"})]),
        ('BASIC realm="a\\"b"', [("basic", {"realm": 'a"b'})]),
        ('Negotiate, Basic realm="x", Bearer realm="y"',
         [("negotiate", {}), ("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ("", []), ("=", []), (" , , ", []), ('Bearer realm="', [("bearer", {}), ("realm", {})]),
        ("x" * 10_000, []),
    ],
)  # fmt: skip
def test_challenges(value: str, found: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges([value])] == found


def test_hostile_challenges_take_no_time() -> None:
    import time

    start = time.process_time()
    for value in (
        'Bearer realm="' + "\\" * 8000,
        "a=" * 4000,
        " ," * 4000,
        'x="' * 2700,
        '"' * 8000,
    ):
        parse_challenges([value] * 5)
    assert time.process_time() - start < 5


def test_two_threads_one_client(
    registry: Registry, other: Registry, there: Shelf, client: Client
) -> None:
    wants_token(registry, f"http://{other.host}/token")
    gives_token(other)
    shelves = [Shelf() for _ in range(4)]
    threads = [
        threading.Thread(target=pull, args=(repository(client, registry), one)) for one in shelves
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert all(one.blobs == shelves[0].blobs and one.blobs for one in shelves)
