"""Private keys as cosign keeps them: sealed by a password, whose key scrypt makes.

The form is go-securesystemslib's `encrypted` package: a PEM around JSON that names how the key was
made of the password (scrypt) and the cipher (NaCl's secretbox); inside is PKCS #8. Owns that form;
`cryptography` and libsodium (by PyNaCl) do the work.
"""

from __future__ import annotations

import base64
import json
import os
import textwrap
from typing import Any

from mobyshell.core.errors import InvalidSpec, Refused, UsageError
from mobyshell.core.oci.safejson import read_json

_LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY"
_LABELS = (_LABEL, "ENCRYPTED COSIGN PRIVATE KEY")  # the second before cosign 2
_N, _R, _P = 65536, 8, 1
_SALT, _KEY = 32, 32
_MOST_MEMORY = 512 << 20
"""Bytes that a file may ask scrypt to take (128 N r)."""


def is_sealed(pem: bytes) -> bool:
    """Whether this is a key in cosign's form."""
    return any(f"-----BEGIN {one}-----".encode() in pem for one in _LABELS)


def seal(key: bytes, password: bytes) -> bytes:
    """The PEM of a private key (PKCS #8, DER) that `password` opens."""
    from nacl.secret import SecretBox

    salt, nonce = os.urandom(_SALT), os.urandom(SecretBox.NONCE_SIZE)
    box = SecretBox(_derived(password, salt, _N, _R, _P))
    document = {
        "kdf": {
            "name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": _text(salt),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": _text(nonce)},
        "ciphertext": _text(box.encrypt(key, nonce).ciphertext),
    }  # fmt: skip
    body = textwrap.wrap(_text(json.dumps(document, separators=(",", ":")).encode()), 64)
    return "\n".join((f"-----BEGIN {_LABEL}-----", *body, f"-----END {_LABEL}-----", "")).encode()


def unseal(pem: bytes, password: bytes) -> bytes:
    """The private key (PKCS #8, DER) in a PEM of cosign's.

    Raises:
        UsageError: it is damaged, or made in a way that cosign does not use.
        Refused: the password is wrong.
    """
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    document = _document(pem)
    try:
        kdf, cipher = document["kdf"], document["cipher"]
        if (kdf["name"], cipher["name"]) != ("scrypt", "nacl/secretbox"):
            raise UsageError("this key is sealed in a way that cosign does not use",
                             hint="it should be scrypt and nacl/secretbox")  # fmt: skip
        params = kdf["params"]
        numbers = [params[one] for one in ("N", "r", "p")]
        salt, nonce = _bytes(kdf["salt"]), _bytes(cipher["nonce"])
        ciphertext = _bytes(document["ciphertext"])
    except (KeyError, TypeError, ValueError):
        raise _damaged() from None
    if not all(type(one) is int and one > 0 for one in numbers):
        raise _damaged()
    n, r, p = numbers
    if 128 * n * r > _MOST_MEMORY or p > 16:
        raise UsageError(f"this key wants scrypt with N={n}, r={r}, p={p}: more than is sensible")
    try:
        return SecretBox(_derived(password, salt, n, r, p)).decrypt(ciphertext, nonce)
    except ValueError:  # a nonce of another length, an N that is no power of two
        raise _damaged() from None
    except CryptoError:
        raise Refused(
            "the key's password is wrong, or missing", hint="MOBYSHELL_PASSWORD"
        ) from None


def _document(pem: bytes) -> Any:
    lines = pem.decode("ascii", "replace").split("\n")
    body: list[str] | None = None
    for line in map(str.strip, lines):
        if line in (f"-----BEGIN {one}-----" for one in _LABELS):
            body = []
        elif line.startswith("-----END") and body is not None:
            try:
                return read_json(base64.b64decode("".join(body), validate=True), "the key")
            except (ValueError, InvalidSpec):
                raise _damaged() from None
        elif body is not None:
            body.append(line)
    raise _damaged()


def _derived(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt, _KEY, n, r, p).derive(password)


def _damaged() -> UsageError:
    return UsageError(
        "this is no private key of cosign's", hint="the file is cut short, or changed"
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
