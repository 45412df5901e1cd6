"""Keys: made, read, and used, by the `cryptography` library.

New ones are what cosign makes: ECDSA on P-256 with SHA-256, the public half a PEM of
SubjectPublicKeyInfo, which cosign, openssl and others read. The private half is PKCS #8, encrypted
by a password. RSA and Ed25519 keys are understood as well.
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

LARGEST = 64 << 10
"""Bytes of a file with a key."""

_SMALLEST_RSA = 2048
_COSIGN = b"SIGSTORE PRIVATE KEY"
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
    """A new key: (private PEM, encrypted by `password`; public PEM). An empty password encrypts
    nothing: whoever has the file can sign then."""
    key = ec.generate_private_key(ec.SECP256R1())
    how: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        how = serialization.BestAvailableEncryption(password)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return private, _pem(key.public_key())


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
        UsageError: there is none, or it is of cosign's own encryption.
        Refused: the password is wrong, or missing.
    """
    if _COSIGN in pem:
        raise UsageError(
            "this key is encrypted in cosign's own way",
            hint="make one here: mobyshell image keygen; its public half is read by cosign",
        )
    try:
        key = serialization.load_pem_private_key(pem, password or None)
    except TypeError:
        raise Refused("the key needs a password, or has none", hint="MOBYSHELL_PASSWORD") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" in pem:
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
