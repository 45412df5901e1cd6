"""Signatures of images, as cosign makes, stores and finds them.

    <repository>:sha256-<hex>.sig        an image whose layers are what was signed, one a signature
      layer        application/vnd.dev.cosign.simplesigning.v1+json
      annotation   dev.cosignproject.cosign/signature: base64 of the signature of the layer's bytes

What is signed says the digest of the manifest ("simple signing",
github.com/containers/image/blob/main/docs/containers-signature.5.md). Owns these documents; whatever
does not read as one is no signature, never an accepted one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mobyshell.core.errors import InvalidImage, InvalidSpec, MobyshellError
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor, describe
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_spec import dump_image
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.oci.reference import Reference
from mobyshell.core.oci.safejson import read_json
from mobyshell.core.trust.keys import PrivateKey, PublicKey

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
TYPE = "cosign container image signature"
MOST = 100
"""Signatures of one image that are looked at."""
LARGEST = 64 << 10
"""Bytes of what is signed."""
_NO_TIME = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature says, and the exact bytes that were signed."""

    payload: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said in a payload: of which manifest, under which name, with which annotations."""

    digest: Digest
    reference: str
    optional: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes of a signature's image, to be stored under their digest."""

    descriptor: Descriptor
    content: bytes


def tag_of(digest: Digest) -> str:
    """Under which tag, in the image's repository, its signatures are.

    A tag has 128 characters at most, which sha512's digits alone are: of those there are as many as
    in the tag that lists referrers (distribution-spec 1.1, "Referrers Tag Schema"). The whole digest
    is in what is signed.
    """
    return f"{digest.algorithm}-{digest.hex[:64]}.sig"


def sign(
    key: PrivateKey, reference: Reference, digest: Digest, annotations: dict[str, str] | None = None
) -> Signed:
    """Say that this manifest is the one meant, under this name."""
    payload = json.dumps({
        "critical": {
            "identity": {"docker-reference": reference.name},
            "image": {"docker-manifest-digest": digest},
            "type": TYPE,
        },
        "optional": annotations or None,
    }, separators=(",", ":"), ensure_ascii=False).encode()  # fmt: skip
    return Signed(payload, key.sign(payload))


def claim_of(payload: bytes) -> Claim:
    """What a payload says. InvalidSpec if it is none."""
    document = read_json(payload, "a signature's payload")
    try:
        critical = document["critical"]
        digest = Digest(critical["image"]["docker-manifest-digest"])
        reference = critical["identity"]["docker-reference"]
        kind = critical["type"]
    except (KeyError, TypeError, MobyshellError):
        raise InvalidSpec("what was signed does not say which image is meant") from None
    if kind != TYPE or not isinstance(reference, str):
        raise InvalidSpec(f"what was signed is something else: {kind!r:.60}")
    optional = document.get("optional")
    return Claim(digest, reference, optional if isinstance(optional, dict) else {})


def verified(
    signatures: Iterable[Signed], keys: Iterable[PublicKey], digest: Digest, reference: str = ""
) -> dict[str, Claim]:
    """By whom of `keys` this manifest is signed, under the name `reference` if one is given: key id →
    what it says. Of others nothing counts."""
    found: dict[str, Claim] = {}
    known = tuple(keys)
    for one in signatures:
        for key in known:
            if key.id in found or not key.verifies(one.signature, one.payload):
                continue
            try:
                claim = claim_of(one.payload)
            except InvalidSpec:
                continue
            if claim.digest == digest and reference in ("", claim.reference):
                found[key.id] = claim
    return found


def to_image(
    signatures: Iterable[Signed], others: Iterable[Descriptor] = ()
) -> tuple[Document, list[Document]]:
    """The image that holds signatures: (its manifest, what it refers to). `others`: layers that stand
    before them, and whose bytes are known."""
    layers, documents = list(others), []
    for one in signatures:
        descriptor = describe(
            one.payload, PAYLOAD,
            annotations={SIGNATURE: base64.b64encode(one.signature).decode()},
        )  # fmt: skip
        layers.append(descriptor)
        documents.append(Document(descriptor, one.payload))
    config = json.dumps({
        "architecture": "", "created": _NO_TIME, "history": [{"created": _NO_TIME}], "os": "",
        "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]}, "config": {},
    }, separators=(",", ":")).encode()  # fmt: skip
    described = describe(config, media_types.OCI_CONFIG)
    documents.append(Document(described, config))
    manifest = Manifest(
        schema_version=2,
        media_type=media_types.OCI_MANIFEST,
        config=described,
        layers=tuple(layers),
    )
    content = dump_image(manifest)
    return Document(describe(content, media_types.OCI_MANIFEST), content), documents


def from_image(manifest: Manifest, read: Callable[[Descriptor], bytes]) -> Iterator[Signed]:
    """The signatures in an image; what is none of them is left out. `read`: verified bytes."""
    for layer in manifest.layers[:MOST]:
        found = from_layer(layer, read)
        if found is not None:
            yield found


def from_layer(layer: Descriptor, read: Callable[[Descriptor], bytes]) -> Signed | None:
    """The signature in a layer, if it is one."""
    text = (layer.annotations or {}).get(SIGNATURE)
    if layer.media_type != PAYLOAD or text is None or layer.size > LARGEST:
        return None
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    payload = read(layer)
    return Signed(payload, signature) if layer.digest.verifies(payload) else None


def check_size(manifest: Manifest, what: str) -> None:
    """InvalidImage for what is too large to hold signatures."""
    if len(manifest.layers) > MOST or any(one.size > LARGEST for one in manifest.children):
        raise InvalidImage(f"{what} is too large to be signatures")


def missing(here: Iterable[Descriptor], there: Iterable[Descriptor]) -> list[Descriptor]:
    """The layers of `here` that are not `there`: of other bytes, or signed by others."""
    known = {_identity(one) for one in there}
    return [one for one in here if _identity(one) not in known]


def _identity(layer: Descriptor) -> tuple[Digest, str]:
    return layer.digest, (layer.annotations or {}).get(SIGNATURE, "")
