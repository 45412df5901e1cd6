"""TLS: which servers are believed, and the certificates that say who we are."""

from __future__ import annotations

import ssl

from mobyshell.core.errors import RegistryFailed
from mobyshell.core.registry.values import TLS


def context_of(tls: TLS, host: str) -> ssl.SSLContext:
    """What OpenSSL needs to know. RegistryFailed where a file cannot be read or is no PEM.

    The system's authorities are believed beside the given ones, as containerd does.
    """
    context = ssl.create_default_context()
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    for path in tls.ca:
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise _unreadable("certificates of the authority", path, error, host) from None
    for certificate, key in tls.client:
        try:
            # a key with a passphrase would be asked for on the terminal
            context.load_cert_chain(certificate, key or None, password="")
        except (OSError, ssl.SSLError, ValueError) as error:
            raise _unreadable("the client's certificate", certificate, error, host) from None
    return context


def _unreadable(what: str, path: str, error: Exception, host: str) -> RegistryFailed:
    said = error.strerror if isinstance(error, OSError) and error.strerror else "not PEM"
    reason = getattr(error, "reason", None)
    return RegistryFailed(
        f"{what} for {host}, {path}: {reason or said}", host=host, hint="see hosts.toml or certs.d"
    )
