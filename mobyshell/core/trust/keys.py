"""Keys: made, read, and used, by the `cryptography` library.

New ones are what cosign makes: ECDSA on P-256 with SHA-256, the public half a PEM of
SubjectPublicKeyInfo, which cosign, openssl and others read. The private half is PKCS #8, sealed by a
password as cosign does (`sealed`). Keys that openssl has encrypted, RSA and Ed25519 are understood
as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from mobyshell.core.errors import Refused, UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.trust.sealed import is_sealed, seal, unseal

LARGEST = 64 << 10
"""Bytes of a file with a key."""

_SMALLEST_RSA = 2048
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """Who can be shown to have signed. `id` is the digest of the key itself (DER)."""

    pem: bytes
    id: str
    _verify: Callable[[bytes, bytes], None]

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether this is a signature of exactly these bytes, by the private half."""
        try:
            self._verify(signature, data)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """Who can sign."""

    public: PublicKey
    _sign: Callable[[bytes], bytes]

    def sign(self, data: bytes) -> bytes:
        """The signature of these bytes."""
        return self._sign(data)


def generate(password: bytes) -> tuple[bytes, bytes]:
    """A new key: (private PEM, sealed by `password`; public PEM). An empty password seals nothing:
    whoever has the file can sign then."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.DER if password else serialization.Encoding.PEM
    private = key.private_bytes(
        form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return seal(private, password) if password else private, _pem(key.public_key())


def read_public(pem: bytes) -> PublicKey:
    """The public key in a PEM. UsageError if there is none that could be trusted."""
    try:
        return _public(serialization.load_pem_public_key(pem))
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(
            "this is no public key", hint="a PEM that begins with PUBLIC KEY"
        ) from None


def read_private(pem: bytes, password: bytes = b"") -> PrivateKey:
    """The private key in a PEM.

    Raises:
        UsageError: there is none.
        Refused: the password is wrong, or missing.
    """
    try:
        if is_sealed(pem):
            key = serialization.load_der_private_key(unseal(pem, password), None)
        else:
            key = serialization.load_pem_private_key(pem, password or None)
    except TypeError:
        raise Refused("the key needs a password, or has none", hint="MOBYSHELL_PASSWORD") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in pem and not is_sealed(pem):
            raise Refused("the key's password is wrong") from None
        raise UsageError("this is no private key", hint=str(error)[:100]) from None
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve = key
        return PrivateKey(
            _public(key.public_key()), lambda data: curve.sign(data, ec.ECDSA(hashes.SHA256()))
        )
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return PrivateKey(_public(key.public_key()), key.sign)
    if isinstance(key, rsa.RSAPrivateKey):
        large = key
        return PrivateKey(
            _public(key.public_key()),
            lambda data: large.sign(data, padding.PKCS1v15(), hashes.SHA256()),
        )
    raise UsageError("a key of this kind cannot sign images", hint="ECDSA, Ed25519 or RSA")


def _public(key: Any) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        curve = key

        def verify(signature: bytes, data: bytes) -> None:
            curve.verify(signature, data, ec.ECDSA(hashes.SHA256()))

    elif isinstance(key, ed25519.Ed25519PublicKey):
        verify = key.verify
    elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA:
        large = key

        def verify(signature: bytes, data: bytes) -> None:
            large.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())

    else:
        raise UsageError("a key of this kind, or so small, proves nothing",
                         hint="ECDSA, Ed25519, or RSA of 2048 bits and more")  # fmt: skip
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return PublicKey(_pem(key), Digest.of(der), verify)


def _pem(key: Any) -> bytes:
    found: bytes = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return found
