"""`image keygen sign verify`: who vouches for an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.image_transfer import REGISTRY_OPTIONS, client_of, find_image, tenant
from mobyshell.commands.registry import (
    FILE,
    IMAGE,
    READ,
    TEXT,
    WRITE,
    argument,
    option,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Rows
from mobyshell.commands.stored import labels_of
from mobyshell.core.errors import AlreadyExists, Refused, SyscallFailed, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context

N = "image"
_IMAGE = argument("image", IMAGE, "the image")
_LARGEST = 64 << 10


@verb(
    N, "keygen", argument("name", FILE, "the files are NAME.key and NAME.pub"),
    effect=WRITE, example="image keygen mine",
)  # fmt: skip
def keygen(ctx: Context, *, name: str) -> Done:
    """Make a pair of keys to sign images with: ECDSA on P-256, as cosign's.

    The private one is encrypted by a password that is asked for, or is in MOBYSHELL_PASSWORD; by an
    empty one it is not. The public one is what others put into their trust policy.
    """
    from mobyshell.core.trust.keys import generate

    if os.path.basename(name) in ("", ".", ".."):
        raise UsageError(f"{name!r} names a directory, and the keys need a name of their own",
                         hint="image keygen DIRECTORY/mine")  # fmt: skip
    password = _password(ctx, twice=True)
    private, public = generate(password)
    for path, data, mode in ((f"{name}.key", private, 0o600), (f"{name}.pub", public, 0o644)):
        _write(path, data, mode)
    open_ = "" if password else " (it has no password)"
    return Done(f"{name}.pub",
                said=f"keep {name}.key to yourself{open_}; {name}.pub is for everybody")  # fmt: skip


@verb(
    N, "sign", _IMAGE, option("--key", "the private key", FILE),
    option("--annotation", "NAME=VALUE to say with it", TEXT, many=True),
    effect=WRITE, example="image sign alpine --key mine.key", asks="--key ",
)  # fmt: skip
def sign(ctx: Context, *, image: str, key: str | None, annotation: tuple[str, ...]) -> Done:
    """Sign an image; `push` takes the signature along.

    What is signed is the digest of its manifest (of an index, with all its platforms), and its name.
    """
    from mobyshell.core.trust.keys import read_private
    from mobyshell.moby import trust

    found = find_image(ctx, image)
    if key is None:
        raise UsageError("no key to sign with", hint="--key NAME.key; `image keygen` makes one")
    pem = _read(key)
    password = _password(ctx) if b"ENCRYPTED" in pem else b""
    private = read_private(pem, password)
    trust.sign(tenant(ctx), found, private, labels_of(annotation))
    return Done(private.public.id, said=f"signed {found.name} ({found.target.digest})")


@verb(
    N, "verify", _IMAGE, option("--key", "public keys of whom you trust", FILE, many=True),
    switch("--fetch", "have the signatures that its registry has, first"), *REGISTRY_OPTIONS,
    effect=READ, example="image verify alpine --key mine.pub",
)  # fmt: skip
def verify(ctx: Context, *, image: str, key: tuple[str, ...], fetch: bool, **registry: Any) -> Rows:
    """Show by whom an image is signed, of the keys that are given; by none of them is an error.

    Without keys the trust policy is asked: $MOBYSHELL_TRUST, trust.toml in the store's root, or
    /etc/mobyshell/trust.toml, which pull and import obey as well.
    """
    from mobyshell.core.oci.reference import parse_reference
    from mobyshell.core.trust.keys import read_public
    from mobyshell.moby import trust

    found = find_image(ctx, image)
    columns = (("key", "KEY", "id"), ("reference", "SIGNED AS", "text"),
               ("annotations", "ANNOTATIONS", "text"))  # fmt: skip
    reference = parse_reference(found.name)
    if fetch:
        if ctx.readonly:
            raise Refused("verify --fetch is refused: this is read-only", hint="leave --fetch away")
        client = client_of(ctx, str(reference.domain), **registry)
        try:
            repository = client.repository(reference)
            trust.fetch_signatures(tenant(ctx), repository, found.target.digest)
        finally:
            client.close()
    if not key:
        rule = trust.policy_of(tenant(ctx)).rule_for(reference)
        trust.admit(tenant(ctx), reference, found.target.digest)
        name = rule.name or "the policy's default"
        return Rows(columns, [], "key", said=f"{found.name}: {rule.require} by {name}")
    keys = {one: read_public(_read(one)) for one in key}
    claims = trust.verify(tenant(ctx), found, keys.values())
    rows = [
        {"key": path, "id": public.id, "reference": claims[public.id].reference,
         "annotations": ", ".join(f"{name}={value}" for name, value in
                                  claims[public.id].optional.items())}
        for path, public in keys.items() if public.id in claims
    ]  # fmt: skip
    if not rows:
        raise Refused(f"{found.name} ({found.target.digest}) is signed by none of these keys",
                      hint="--fetch asks its registry for more" if not fetch else "")  # fmt: skip
    return Rows(columns, rows, "key")


def _password(ctx: Context, *, twice: bool = False) -> bytes:
    given = os.environ.get("MOBYSHELL_PASSWORD")
    if given is not None:
        return given.encode()
    if not ctx.interactive:
        raise UsageError("no password for the key, and nobody to ask",
                         hint="set MOBYSHELL_PASSWORD; if it is empty the key has none")  # fmt: skip
    word = ctx.secret("Password of the key")
    if twice and ctx.secret("Again") != word:
        raise UsageError("these were two different passwords")
    return word.encode()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=path) from None


def _write(path: str, data: bytes, mode: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        raise AlreadyExists(f"{path} is there already") from None
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=path) from None
    with open(fd, "wb") as file:
        file.write(data)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
