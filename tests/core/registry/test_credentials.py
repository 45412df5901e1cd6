"""Where the user's logins are: config.json in all its forms, and the helpers that it names."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError, RegistryFailed
from mobyshell.core.registry.credentials import ConfigKeyring, OneKeyring, default_keyring
from mobyshell.core.registry.values import Credentials

SECRET = "hunter2"


def auth(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def find(tmp_path: Path, document: object, host: str, repository: str = "") -> Credentials | None:
    path = tmp_path / "config.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return ConfigKeyring((tmp_path / "none", path)).find(host, repository)


@pytest.mark.parametrize(
    ("auths", "host", "repository", "user"),
    [
        ({"a.com": auth("u")}, "a.com", "", "u"),
        ({"a.com": auth("u")}, "b.com", "", None),
        ({"a.com:5000": auth("u")}, "a.com", "", None),
        ({"https://a.com/v1/": auth("u")}, "a.com", "", "u"),
        ({"https://index.docker.io/v1/": auth("u")}, "registry-1.docker.io", "library/x", "u"),
        ({"docker.io": auth("u")}, "registry-1.docker.io", "library/x", "u"),
        ({"a.com": auth("all"), "a.com/team": auth("team"), "a.com/team/one": auth("one")},
         "a.com", "team/one", "one"),
        ({"a.com": auth("all"), "a.com/team": auth("team")}, "a.com", "team/two/x", "team"),
        ({"a.com": auth("all"), "a.com/team": auth("team")}, "a.com", "teams", "all"),
        ({"a.com": {"username": "u", "password": SECRET}}, "a.com", "", "u"),
        ({"a.com": {}}, "a.com", "", None),
        ({"a.com": auth("u", "")}, "a.com", "", None),
        ({"a.com": "nonsense"}, "a.com", "", None),
        ([], "a.com", "", None),
    ],
)  # fmt: skip
def test_auths(tmp_path: Path, auths: object, host: str, repository: str, user: str | None) -> None:
    found = find(tmp_path, {"auths": auths}, host, repository)
    assert found == (Credentials(user, SECRET) if user else None)


def test_passwords_may_have_colons(tmp_path: Path) -> None:
    found = find(tmp_path, {"auths": {"a.com": auth("u", "a:b")}}, "a.com")
    assert found == Credentials("u", "a:b")


def test_a_login_s_token(tmp_path: Path) -> None:
    entry = {**auth("u"), "identitytoken": "t"}
    assert find(tmp_path, {"auths": {"a.com": entry}}, "a.com") == Credentials(identity_token="t")


@pytest.mark.parametrize("text", ["", " ", "{}"])
def test_files_that_say_nothing(tmp_path: Path, text: str) -> None:
    assert find(tmp_path, text, "a.com") is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"auths":{"a.com":{"auth":"!"}}}', '{"a":1,"a":2}',
     '{"auths":{"a.com":{"auth":"/w=="}}}'],
)  # fmt: skip
def test_files_that_are_wrong(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        find(tmp_path, text, "a.com")
    assert "config.json" in caught.value.message


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")
    return directory


def helper(directory: Path, name: str, script: str) -> None:
    path = directory / f"docker-credential-{name}"
    path.write_text(f'#!/bin/sh\nread host\n[ "$1" = get ] || exit 9\n{script}\n')
    path.chmod(0o755)


def test_helpers(tmp_path: Path, helpers: Path) -> None:
    answer = 'printf \'{"ServerURL":"%s","Username":"%s","Secret":"hunter2"}\' "$host" "$host"'
    helper(helpers, "one", answer)
    helper(helpers, "all", 'echo "credentials not found in native keychain"; exit 1')
    helper(helpers, "token", 'echo \'{"Username":"<token>","Secret":"t"}\'')
    document = {"credHelpers": {"a.com": "one", "t.com": "token"}, "credsStore": "all",
                "auths": {"c.com": auth("u")}}  # fmt: skip
    assert find(tmp_path, document, "a.com") == Credentials("a.com", SECRET)
    assert find(tmp_path, document, "t.com") == Credentials(identity_token="t")
    assert find(tmp_path, document, "b.com") is None
    assert find(tmp_path, document, "c.com") == Credentials("u", SECRET)
    document["credsStore"] = "one"
    found = find(tmp_path, document, "registry-1.docker.io")
    assert found == Credentials("https://index.docker.io/v1/", SECRET)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo hunter2; exit 3", "exit status 3"), ("echo hunter2", "no JSON"), ("", "no JSON"),
        ("echo '[]'", "no JSON"), ("head -c 200000 /dev/zero", "no JSON"),
    ],
)  # fmt: skip
def test_helpers_that_fail(tmp_path: Path, helpers: Path, script: str, says: str) -> None:
    helper(helpers, "bad", script)
    with pytest.raises(RegistryFailed) as caught:
        find(tmp_path, {"credsStore": "bad"}, "a.com")
    assert says in caught.value.message
    assert SECRET not in json.dumps(caught.value.to_wire())


@pytest.mark.parametrize("name", ["../x", "a b", "a/b", "$(id)", "", "x" * 65, "gone"])
def test_names_that_are_no_helper(tmp_path: Path, helpers: Path, name: str) -> None:
    with pytest.raises(MobyshellError):
        find(tmp_path, {"credHelpers": {"a.com": name}}, "a.com")


def test_where_they_are_looked_for(tmp_path: Path) -> None:
    def write(path: Path, user: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {f"{user}.com": auth(user)}}))

    home, runtime = tmp_path / "home", tmp_path / "run"
    write(home / ".docker/config.json", "home")
    write(runtime / "containers/auth.json", "podman")
    write(tmp_path / "docker/config.json", "docker")
    write(tmp_path / "given.json", "given")
    environment = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}

    def knows(environment: dict[str, str]) -> set[str]:
        keyring = default_keyring(environment)
        return {
            one for one in ("home", "podman", "docker", "given") if keyring.find(f"{one}.com", "")
        }

    assert knows(environment) == {"home", "podman"}
    assert knows({**environment, "DOCKER_CONFIG": str(tmp_path / "docker")}) == {"docker", "podman"}
    assert knows({**environment, "REGISTRY_AUTH_FILE": str(tmp_path / "given.json")}) == {"given"}
    assert knows({"HOME": str(tmp_path / "nowhere")}) == set()


def test_who_is_given_for_one_registry() -> None:
    who = Credentials("u", SECRET)
    assert OneKeyring("a.com", who).find("a.com", "x") is who
    assert OneKeyring("a.com", who).find("b.com", "x") is None
    assert OneKeyring("docker.io", who).find("registry-1.docker.io", "x") is who
