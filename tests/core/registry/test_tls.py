"""TLS: whom we believe, who we are, and that what is encrypted stays so."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, RegistryFailed
from mobyshell.core.registry import TLS, Client, Credentials, OneKeyring
from mobyshell.core.registry.credentials import NoKeyring
from mobyshell.core.registry.manifests import resolve
from mobyshell.core.registry.pull import pull
from mobyshell.core.registry.push import push
from tests.core.registry.certificates import Authority, make_authority
from tests.core.registry.conftest import QUICK, repository, stock
from tests.core.registry.images import image
from tests.core.registry.scripted import Registry, serving
from tests.core.registry.shelf import Shelf
from tests.core.registry.test_authorization import WHO, wants_basic, wants_token


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


def believing(authority: Authority, **more: object) -> Client:
    tls = TLS(ca=(str(authority.ca),))
    options: dict[str, object] = {
        "keyring": NoKeyring(),
        "tls": tls,
        "certs_d": (),
        "limits": QUICK,
    }
    return Client(**(options | more))  # type: ignore[arg-type]


def works(client: Client, registry: Registry) -> None:
    with client:
        shelf, there = Shelf(), Shelf()
        stock(registry, there, image(there))
        pull(repository(client, registry), shelf)
        assert len(shelf.blobs) == 4


def fails(client: Client, registry: Registry) -> MobyshellError:
    with client, pytest.raises(MobyshellError) as caught:
        resolve(repository(client, registry))
    return caught.value


def test_an_authority_of_one_s_own(authority: Authority) -> None:
    with serving(authority.server_context()) as registry:
        works(believing(authority), registry)


def test_by_certs_d(authority: Authority, tmp_path: Path) -> None:
    """Docker's layout: *.crt beside *.cert and *.key."""
    with serving(authority.server_context(wants_client=True)) as registry:
        place = tmp_path / registry.host
        place.mkdir()
        for source, name in ((authority.ca, "ca.crt"), (authority.client, "client.cert"),
                             (authority.client_key, "client.key")):  # fmt: skip
            (place / name).write_bytes(source.read_bytes())
        works(believing(authority, tls=None, certs_d=(tmp_path,)), registry)


def test_by_hosts_toml(authority: Authority, tmp_path: Path) -> None:
    with serving(authority.server_context(wants_client=True)) as registry:
        place = tmp_path / registry.host.replace(":", "_")
        place = place.with_name(place.name + "_")
        place.mkdir()
        (place / "hosts.toml").write_text(
            f'server = "https://{registry.host}"\nca = "{authority.ca}"\n'
            f'client = [["{authority.client}", "{authority.client_key}"]]\n'
        )
        works(believing(authority, tls=None, certs_d=(tmp_path,)), registry)


def test_an_unknown_authority_is_not_believed(tmp_path: Path) -> None:
    """Not even on this machine, once the user spoke of TLS."""
    stranger = make_authority(tmp_path)
    with serving(stranger.server_context()) as registry:
        client = Client(keyring=NoKeyring(), certs_d=(), tls=TLS(), limits=QUICK)
        error = fails(client, registry)
        assert not registry.log
    assert isinstance(error, RegistryFailed)
    assert "certificate verify failed" in error.message.replace("_", " ").lower()
    assert "ca in hosts.toml" in error.hint


def test_on_this_machine_anything_goes(authority: Authority) -> None:
    """Without a word of the user's: TLS by whatever certificate, or plain http."""
    for context in (authority.server_context(), None):
        with serving(context) as registry:
            works(Client(keyring=NoKeyring(), certs_d=(), limits=QUICK), registry)


def test_a_server_wants_to_know_who_we_are(authority: Authority) -> None:
    with serving(authority.server_context(wants_client=True)) as registry:
        assert isinstance(fails(believing(authority), registry), RegistryFailed)
        tls = TLS(ca=(str(authority.ca),),
                  client=((str(authority.client), str(authority.client_key)),))  # fmt: skip
        works(believing(authority, tls=tls), registry)


def test_https_never_becomes_http(authority: Authority) -> None:
    with serving(authority.server_context()) as registry, serving() as plain:
        there = Shelf()
        stock(registry, there, image(there))
        registry.on("manifests/1")(
            lambda request: request.answer(302, headers={"Location": f"http://{plain.host}/x"})
        )
        assert "plain http" in fails(believing(authority), registry).message
        assert not plain.log


def test_no_token_service_by_plain_http_either(authority: Authority) -> None:
    with serving(authority.server_context()) as registry, serving() as plain:
        wants_token(registry, f"http://{plain.host}/token")
        client = believing(authority, keyring=OneKeyring(registry.host, WHO))
        assert "plain http" in fails(client, registry).message
        assert not plain.log


def test_no_upload_by_plain_http_either(authority: Authority) -> None:
    with serving(authority.server_context()) as registry, serving() as plain:
        shelf = Shelf()
        top = image(shelf)
        where = {"Location": f"http://{plain.host}/up"}
        registry.on("uploads", "POST")(lambda request: request.answer(202, headers=where))
        with (
            believing(authority) as client,
            pytest.raises(RegistryFailed, match="plain http") as caught,
        ):
            push(repository(client, registry), shelf, top)
        assert "REGISTRY_HTTP_HOST" in caught.value.hint
        assert not plain.log


def test_what_holds_for_one_host_holds_for_no_other(authority: Authority) -> None:
    """Without verification, and with a client's certificate: for the host that was meant."""
    tls = TLS(client=((str(authority.client), str(authority.client_key)),), verify=False)
    with (
        serving(authority.server_context()) as registry,
        serving(authority.server_context()) as other,
    ):
        there = Shelf()
        stock(registry, there, image(there))
        elsewhere = f"https://localhost:{other.host.rpartition(':')[2]}/x"
        registry.on("manifests/1")(
            lambda request: request.answer(307, headers={"Location": elsewhere})
        )
        error = fails(believing(authority, tls=tls), registry)
        assert "verify failed" in error.message.replace("_", " ").lower()
        assert not other.log


def test_files_that_are_no_certificates(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "junk").write_text("junk")
    with serving(authority.server_context()) as registry:
        for tls in (TLS(ca=("/nowhere",)), TLS(ca=(str(tmp_path / "empty"),)),
                    TLS(ca=(str(tmp_path / "junk"),)), TLS(client=((str(authority.client), ""),)),
                    TLS(client=((str(tmp_path / "junk"), "/nowhere"),))):  # fmt: skip
            error = fails(believing(authority, tls=tls), registry)
            assert isinstance(error, RegistryFailed)
            assert "hosts.toml" in error.hint
        assert not registry.log


def test_plain_http_where_tls_was_wanted(authority: Authority) -> None:
    with serving() as registry:
        assert "does not speak TLS" in fails(believing(authority), registry).message


def test_a_handshake_that_never_ends(authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = Registry(host=f"127.0.0.1:{silent.getsockname()[1]}")
        limits = replace(QUICK, connect=0.3, attempts=2)
        error = fails(believing(authority, limits=limits), registry)
        assert "in time" in error.message


def test_credentials_go_over_tls(authority: Authority) -> None:
    with serving(authority.server_context()) as registry:
        wants_basic(registry)
        keyring = OneKeyring(registry.host, Credentials(WHO.username, WHO.password))
        works(believing(authority, keyring=keyring), registry)
