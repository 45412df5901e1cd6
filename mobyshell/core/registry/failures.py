"""What a refusing answer means, as an error of ours.

Owns the reading of the distribution spec's error documents. Their words are strangers': cut,
made printable, and never more than a part of a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import InvalidSpec, MobyshellError, NotFound, RegistryFailed
from mobyshell.core.oci.safejson import read_json, show
from mobyshell.core.registry.transport import Response

if TYPE_CHECKING:
    from mobyshell.core.registry.session import Repository

_LARGEST = 64 << 10
_LONGEST = 160


def failure(response: Response, repository: Repository, method: str) -> MobyshellError:
    """The error for an answer that was not wanted. Reads its body, if that is small."""
    code, said = _told(response)
    status, location = response.status, response.location
    at_home = any(one.host == location.host for one in repository.endpoints)
    if status in (401, 403) and at_home:
        refused = repository.client.authorizer.refused(location, repository.path, status, code)
        if said:
            refused.message += f" ({said})"
        return refused
    what = f"{method} {location.shown}"
    if status == 404:
        more = f": {said}" if said else ""
        return NotFound(f"{location.host} has no {_thing(repository, location.target)}{more}")
    if status == 429:
        return RegistryFailed(
            f"{location.host} is asked too often" + (f": {said}" if said else ""), host=location.host,
            status=status, code=code, hint="wait, or log in: strangers may ask less",
        )  # fmt: skip
    about = f": {said}" if said else ""
    return RegistryFailed(
        f"{what}: HTTP status {status}{about}", host=location.host, status=status, code=code
    )


def _thing(repository: Repository, target: str) -> str:
    """What was asked for, from its place in the API."""
    path = target.partition("?")[0]
    rest = path.partition(f"/{repository.path}/")[2]
    kind, _, name = rest.partition("/")
    mark = "@" if ":" in name else ":"
    if kind == "manifests":
        return f"{repository.path}{mark}{show(name, 100)[1:-1]}"
    return f"{show(rest or path, 160)[1:-1]} of {repository.path}"


def _told(response: Response) -> tuple[str, str]:
    """Code and message of the first error in the answer; "" for what it does not say."""
    try:
        document = read_json(response.small(_LARGEST), "error") if response.length != 0 else None
    except (RegistryFailed, InvalidSpec):
        return "", ""
    errors: Any = document.get("errors") if isinstance(document, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    code, message = first.get("code"), first.get("message")
    code = code if isinstance(code, str) and code.isascii() and code.isidentifier() else ""
    shown = show(message, _LONGEST)[1:-1] if isinstance(message, str) and message else ""
    return code[:64], shown or code[:64]
