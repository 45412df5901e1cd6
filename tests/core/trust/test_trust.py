"""Who signed what, and whether that is enough: signatures that must not count, most of all."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from mobyshell.core.errors import InvalidSpec, Refused, UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import parse_manifest
from mobyshell.core.oci.reference import parse_reference
from mobyshell.core.trust import keys
from mobyshell.core.trust import signatures as sig
from mobyshell.core.trust.policy import Require, read_policy

REFERENCE = parse_reference("registry.example.com/team/app:1")
DIGEST = Digest.of(b"a manifest")
PRIVATE, PUBLIC = keys.generate(b"secret")
OTHER_PRIVATE, OTHER_PUBLIC = keys.generate(b"")
KEY, OTHER = keys.read_private(PRIVATE, b"secret"), keys.read_private(OTHER_PRIVATE)


def by(*signed: sig.Signed, digest: Digest = DIGEST, reference: str = "") -> set[str]:
    known = [keys.read_public(PUBLIC), keys.read_public(OTHER_PUBLIC)]
    return set(sig.verified(signed, known, digest, reference))


def test_a_signature_counts_for_its_key_and_its_digest_only() -> None:
    signed = sig.sign(KEY, REFERENCE, DIGEST, {"by": "me"})
    assert by(signed) == {KEY.public.id}
    assert by(signed, digest=Digest.of(b"another manifest")) == set()
    assert by(signed, reference="registry.example.com/team/app") == {KEY.public.id}
    assert by(signed, reference="registry.example.com/team/other") == set()
    assert by(signed, sig.sign(OTHER, REFERENCE, DIGEST)) == {KEY.public.id, OTHER.public.id}
    assert sig.claim_of(signed.payload).optional == {"by": "me"}


def test_what_is_not_exactly_what_was_signed_does_not_count() -> None:
    good = sig.sign(KEY, REFERENCE, DIGEST)
    other = sig.sign(KEY, REFERENCE, Digest.of(b"another manifest"))
    assert by(replace(good, payload=good.payload + b" ")) == set()
    assert by(replace(good, payload=good.payload[:-1])) == set()
    assert by(replace(good, signature=other.signature)) == set()
    assert by(replace(good, signature=b"")) == set()
    assert by(replace(good, signature=good.signature[:-1])) == set()


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"critical": {}}, {"critical": None},
        {"critical": {"identity": {"docker-reference": "x"}, "type": sig.TYPE,
                      "image": {"docker-manifest-digest": "sha256:short"}}},
        {"critical": {"identity": {"docker-reference": "x"}, "type": "something else",
                      "image": {"docker-manifest-digest": DIGEST}}},
        {"critical": {"identity": {"docker-reference": 1}, "type": sig.TYPE,
                      "image": {"docker-manifest-digest": DIGEST}}},
    ],
)  # fmt: skip
def test_a_valid_signature_of_something_else_does_not_count(document: Any) -> None:
    payload = json.dumps(document).encode()
    assert by(sig.Signed(payload, KEY.sign(payload))) == set()


def test_a_key_that_stands_twice_in_a_payload_does_not_count() -> None:
    """Two digests: one reader sees the first, another the last."""
    good = sig.sign(KEY, REFERENCE, DIGEST).payload.decode()
    twice = good.replace('"image":{', f'"image":{{"docker-manifest-digest":"{Digest.of(b"evil")}",')
    payload = twice.encode()
    assert by(sig.Signed(payload, KEY.sign(payload)), digest=Digest.of(b"evil")) == set()
    assert by(sig.Signed(payload, KEY.sign(payload))) == set()


def test_they_are_kept_as_an_image_and_read_back() -> None:
    signed = [sig.sign(KEY, REFERENCE, DIGEST), sig.sign(OTHER, REFERENCE, DIGEST)]
    manifest, parts = sig.to_image(signed)
    blobs = {one.descriptor.digest: one.content for one in parts}
    read = parse_manifest(manifest.content, manifest.descriptor.media_type)
    assert list(sig.from_image(read, lambda one: blobs[one.digest])) == signed
    assert sig.tag_of(DIGEST) == f"sha256-{DIGEST.hex}.sig"


def test_sha512_has_a_tag_too() -> None:
    """With all of its digits it would be too long for one."""
    digest = Digest.of(b"", "sha512")
    where = REFERENCE.with_tag(sig.tag_of(digest))
    assert where.tag == f"sha512-{digest.hex[:64]}.sig"
    assert by(sig.sign(KEY, REFERENCE, digest), digest=digest) == {KEY.public.id}


def test_an_image_of_signatures_by_a_stranger() -> None:
    manifest, _ = sig.to_image([sig.sign(KEY, REFERENCE, DIGEST)])
    read = parse_manifest(manifest.content, manifest.descriptor.media_type)
    layer = read.layers[0]
    bad = [
        replace(layer, annotations=None),
        replace(layer, annotations={sig.SIGNATURE: "not base64!"}),
        replace(layer, media_type="application/vnd.oci.image.layer.v1.tar"),
        replace(layer, size=1 << 30),
    ]
    assert list(sig.from_image(replace(read, layers=tuple(bad)), lambda one: b"")) == []
    # bytes that are not what the layer's digest names are no payload
    assert list(sig.from_image(read, lambda one: b"other bytes")) == []


# keys


def test_keys_and_their_passwords() -> None:
    assert b"ENCRYPTED" in PRIVATE
    for password in (b"", b"wrong"):
        with pytest.raises(Refused):
            keys.read_private(PRIVATE, password)
    for data in (b"", b"nothing", PUBLIC):
        with pytest.raises(UsageError):
            keys.read_private(data)
    for data in (b"", b"nothing", OTHER_PRIVATE):
        with pytest.raises(UsageError):
            keys.read_public(data)


def sealed_as(change: Callable[[dict[str, Any]], object]) -> bytes:
    """`PRIVATE`, with something else in what it says of itself."""
    head, *body, foot = PRIVATE.decode().split("\n")[:-1]
    document = json.loads(base64.b64decode("".join(body)))
    change(document)
    return "\n".join(
        (head, base64.b64encode(json.dumps(document).encode()).decode(), foot)
    ).encode()


def test_a_private_key_is_sealed_as_cosign_seals_it() -> None:
    key = keys.read_private(PRIVATE, b"secret")
    assert keys.read_public(PUBLIC).verifies(key.sign(b"x"), b"x")
    old = PRIVATE.replace(b"SIGSTORE", b"COSIGN")  # as its first versions named it
    assert keys.read_private(old, b"secret").public.id == key.public.id
    assert keys.read_private(sealed_as(lambda _: None), b"secret").public.id == key.public.id
    for change in (
        lambda one: one["kdf"]["params"].update(N=1 << 40),
        lambda one: one["kdf"]["params"].update(N=65537),
        lambda one: one["kdf"]["params"].update(p=-1),
        lambda one: one["kdf"].update(name="argon2"),
        lambda one: one["cipher"].update(nonce="AAAA"),
        lambda one: one["cipher"].update(name="rot13"),
        lambda one: one.pop("ciphertext"),
        lambda one: one.update(kdf=None),
        lambda one: one.update(ciphertext="%"),
    ):
        with pytest.raises(UsageError):
            keys.read_private(sealed_as(change), b"secret")
    with pytest.raises(Refused):
        keys.read_private(sealed_as(lambda one: one.update(ciphertext="AAAA" * 20)), b"secret")
    for cut in range(0, len(PRIVATE), 97):
        with pytest.raises(UsageError):
            keys.read_private(PRIVATE[:cut], b"secret")


def test_what_openssl_has_encrypted_is_read(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(OTHER_PRIVATE)
    subprocess.run(
        ["openssl", "pkcs8", "-topk8", "-in", tmp_path / "plain", "-out", tmp_path / "key",
         "-passout", "pass:word"], check=True, capture_output=True,
    )  # fmt: skip
    pem = (tmp_path / "key").read_bytes()
    assert b"ENCRYPTED PRIVATE KEY" in pem
    assert keys.read_private(pem, b"word").public.id == keys.read_public(OTHER_PUBLIC).id
    with pytest.raises(Refused):
        keys.read_private(pem, b"other")


def test_openssl_agrees(tmp_path: Path) -> None:
    """Its signature counts for us and ours for it: the format is everybody's."""
    (tmp_path / "key").write_bytes(OTHER_PRIVATE)
    (tmp_path / "pub").write_bytes(OTHER_PUBLIC)
    signed = sig.sign(OTHER, REFERENCE, DIGEST)
    (tmp_path / "data").write_bytes(signed.payload)
    (tmp_path / "ours").write_bytes(signed.signature)
    run = ["openssl", "dgst", "-sha256"]
    said = subprocess.run(
        [*run, "-verify", "pub", "-signature", "ours", "data"], cwd=tmp_path, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "Verified OK" in said.stdout
    subprocess.run([*run, "-sign", "key", "-out", "theirs", "data"], cwd=tmp_path, check=True)
    assert by(sig.Signed(signed.payload, (tmp_path / "theirs").read_bytes())) == {OTHER.public.id}


@pytest.mark.parametrize(
    ("how", "good"),
    [(["genrsa", "2048"], True), (["genrsa", "1024"], False),
     (["genpkey", "-algorithm", "ed25519"], True), (["genpkey", "-algorithm", "x25519"], False)],
)  # fmt: skip
def test_other_kinds_of_keys(how: list[str], good: bool) -> None:
    made = subprocess.run(["openssl", *how], capture_output=True, check=True).stdout
    if not good:
        with pytest.raises(UsageError):
            keys.read_private(made)
        return
    key = keys.read_private(made)
    signed = sig.sign(key, REFERENCE, DIGEST)
    assert set(sig.verified([signed], [keys.read_public(key.public.pem)], DIGEST)) == {
        key.public.id
    }


# the policy


def policy(tmp_path: Path, text: str) -> Any:
    (tmp_path / "one.pub").write_bytes(PUBLIC)
    (tmp_path / "two.pub").write_bytes(OTHER_PUBLIC)
    (tmp_path / "trust.toml").write_text(text)
    return read_policy(tmp_path / "trust.toml")


RULES = """
default = "reject"
[[organisation]]
name = "Example"
images = ["registry.example.com/team"]
require = "signature"
keys = ["one.pub", "two.pub"]
threshold = 2
[[organisation]]
name = "Open"
images = ["registry.example.com/", "docker.io/library/"]
require = "accept"
[[organisation]]
name = "Strict"
images = ["mirror.example.com/"]
require = "signature"
keys = ["one.pub"]
identity = true
"""


def test_the_longest_rule_decides(tmp_path: Path) -> None:
    found = policy(tmp_path, RULES)
    names = {
        "registry.example.com/team/app": "Example", "registry.example.com/team": "Example",
        "registry.example.com/teamwork/app": "Open", "registry.example.com/x": "Open",
        "busybox": "Open", "evil/busybox": "", "registry.example.com.evil.org/team/app": "",
    }  # fmt: skip
    assert {one: found.rule_for(parse_reference(one)).name for one in names} == names
    assert found.rule_for(parse_reference("evil/busybox")).require is Require.REJECT


def test_the_policy_counts_keys_not_signatures(tmp_path: Path) -> None:
    found = policy(tmp_path, RULES)
    mine, theirs = sig.sign(KEY, REFERENCE, DIGEST), sig.sign(OTHER, REFERENCE, DIGEST)
    with pytest.raises(Refused, match="signed by 1 of the keys of Example, 2 are needed"):
        found.check(REFERENCE, DIGEST, lambda: [mine, sig.sign(KEY, REFERENCE, DIGEST), mine])
    assert found.check(REFERENCE, DIGEST, lambda: [mine, theirs]).name == "Example"
    with pytest.raises(Refused, match="rejects"):
        found.check(parse_reference("evil/x"), DIGEST, lambda: [mine, theirs])

    def fetch() -> NoReturn:
        pytest.fail("signatures are fetched only where they count")

    found.check(parse_reference("busybox"), DIGEST, fetch)
    mirrored = parse_reference("mirror.example.com/team/app:1")
    with pytest.raises(Refused):
        found.check(mirrored, DIGEST, lambda: [mine])
    both = [mine, sig.sign(KEY, mirrored, DIGEST)]
    assert found.check(mirrored, DIGEST, lambda: both).name == "Strict"


@pytest.mark.parametrize(
    "text",
    [
        "default = 'signature'",
        "default = 1",
        "defualt = 'reject'",
        "= broken",
        "[organisation]",
        "[[organisation]]\nimages = ['x/']\nrequire = 'reject'",
        "[[organisation]]\nname = 'x'\nimages = []\nrequire = 'reject'",
        "[[organisation]]\nname = 'x'\nimages = 'x/'\nrequire = 'reject'",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'maybe'",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'signature'",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'signature'\nkeys = ['gone']",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'signature'\nkeys = ['trust.toml']",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'signature'\n"
        "keys = ['one.pub', 'one.pub']\nthreshold = 2",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'reject'\nthreshold = 0",
        "[[organisation]]\nname = 'x'\nimages = ['x/']\nrequire = 'reject'\nkyes = []",
    ],
)
def test_a_policy_that_is_not_understood_trusts_nobody(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSpec, match=r"trust\.toml") as caught:
        policy(tmp_path, text)
    assert not any(python in caught.value.message for python in ("Errno", "{'"))


def test_what_cosign_writes_is_read() -> None:
    """The shape of a payload of cosign 2, signed here: it writes `optional` as null or an object."""
    text = (
        '{"critical":{"identity":{"docker-reference":"registry.example.com/team/app"},'
        f'"image":{{"docker-manifest-digest":"{DIGEST}"}},"type":"cosign container image signature"}},'
        '"optional":null}'
    )
    signed = sig.Signed(text.encode(), KEY.sign(text.encode()))
    assert by(signed) == {KEY.public.id}
    assert sig.sign(KEY, REFERENCE, DIGEST).payload == text.encode()
    assert base64.b64encode(signed.signature)
