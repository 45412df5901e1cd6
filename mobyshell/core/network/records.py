"""What is attached, on disk: one directory per container, from before the kernel knows of it until
after it has forgotten.

    <state>/.networks/lock                   held while what many share is looked at and changed
    <state>/.networks/addresses/<network>/   reservations of our networks (`addresses`)
    <state>/.networks/<namespace>/<id>/      attachment.json, lock, netns, resolv.conf, hosts, …

Owns the directory, its record, and its lock: whoever makes or undoes an attachment holds that, and
its death lets go, so what is incomplete and unlocked is a dead process's. The state root does not
outlive the machine, and neither does what is recorded here.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mobyshell.core.errors import InvalidSpec, MobyshellError, SyscallFailed
from mobyshell.core.linux.paths import make_private
from mobyshell.core.network import files
from mobyshell.core.network.values import Attachment, Joined, Lease, PortMapping, Users
from mobyshell.core.oci.safejson import read_json

ROOT = ".networks"
ADDRESSES = "addresses"
_GONE = ".gone-"
_RECORD, _LOCK, _NETNS, _USERNS = "attachment.json", "lock", "netns", "userns"


class Records:
    """The attachments of all namespaces of a state root."""

    def __init__(self, state: str) -> None:
        self.root = f"{state}/{ROOT}"

    def directory(self, namespace: str, id: str) -> str:
        """Where the attachment of a container is."""
        return f"{self.root}/{namespace}/{id}"

    def netns(self, namespace: str, id: str) -> str:
        """Where its network namespace is mounted, if we keep it."""
        return f"{self.directory(namespace, id)}/{_NETNS}"

    def userns(self, namespace: str, id: str) -> str:
        """Where its user namespace is mounted, if we made and keep it."""
        return f"{self.directory(namespace, id)}/{_USERNS}"

    def prepare(self) -> None:
        """Make the directory of all of it, 0700. SyscallFailed."""
        try:
            make_private(self.root)
        except OSError as error:
            raise SyscallFailed.of(error, "mkdir", path=self.root) from None

    def common_lock(self) -> str:
        """The lock under which attachments are first recorded, ports chosen, and bridges deleted."""
        return f"{self.root}/lock"

    def lock(self, namespace: str, id: str, *, make: bool = False) -> int:
        """The lock of an attachment, without waiting; -1 if it is held, or if there is none and
        none is to be made."""
        directory = self.directory(namespace, id)
        try:
            if make:
                make_private(directory)
            return files.lock(f"{directory}/{_LOCK}", wait=False)
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=directory) from None

    def write(self, attachment: Attachment) -> None:
        """Put the record in place at once."""
        document = asdict(attachment)
        document["ports"] = [one.to_json() for one in attachment.ports]
        directory = self.directory(attachment.namespace, attachment.id)
        files.write(f"{directory}/{_RECORD}", json.dumps(document).encode())

    def read(self, namespace: str, id: str) -> Attachment | None:
        """An attachment; None if there is none. MobyshellError if its record is damaged."""
        path = f"{self.directory(namespace, id)}/{_RECORD}"
        try:
            with open(path, "rb") as file:
                document = read_json(file.read(), path)
            return _attachment(document)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        except (InvalidSpec, TypeError, KeyError, ValueError, AttributeError) as error:
            raise MobyshellError(f"the record {path} is damaged: {error}") from None

    def pending(self, namespace: str, id: str) -> bool:
        """Whether a record may speak of a network that is being joined or left: a quick look, since
        everybody's is looked at."""
        try:
            with open(f"{self.directory(namespace, id)}/{_RECORD}", "rb") as file:
                return b'"pending": true' in file.read()
        except OSError:
            return False

    def remove(self, namespace: str, id: str) -> None:
        """Forget an attachment, at once: whoever comes next makes a directory anew."""
        gone = f"{self.root}/{_GONE}{os.urandom(6).hex()}"
        try:
            os.rename(self.directory(namespace, id), gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise SyscallFailed.of(error, "rename", path=self.directory(namespace, id)) from None
        os.unlink(f"{gone}/{_LOCK}")  # who waits for it finds that it is none any more
        shutil.rmtree(gone, ignore_errors=True)

    def sweep(self) -> None:
        """Delete what a death left of directories that were being removed."""
        for name in _names(self.root, hidden=True):
            if name.startswith(_GONE):
                shutil.rmtree(f"{self.root}/{name}", ignore_errors=True)

    def ids(self) -> list[tuple[str, str]]:
        """(namespace, id) of every attachment, also of unfinished and damaged ones."""
        found = []
        for namespace in _names(self.root):
            if namespace != ADDRESSES:
                found += [(namespace, id) for id in _names(f"{self.root}/{namespace}")]
        return found

    def all(self) -> list[Attachment]:
        """Every attachment that can be read."""
        found = []
        for namespace, id in self.ids():
            try:
                one = self.read(namespace, id)
            except MobyshellError:
                continue
            if one is not None:
                found.append(one)
        return found


def _names(path: str, *, hidden: bool = False) -> list[str]:
    try:
        return sorted(one.name for one in os.scandir(path)
                      if one.is_dir() and one.name.startswith(".") == hidden)  # fmt: skip
    except OSError:
        return []


def _attachment(document: Mapping[str, Any]) -> Attachment:
    values = dict(document)
    values["joined"] = tuple(
        Joined(**{**one, "leases": tuple(Lease(**lease) for lease in one["leases"]),
                  "ips": tuple(one.get("ips", ())), "aliases": tuple(one.get("aliases", ()))})
        for one in values["joined"]
    )  # fmt: skip
    values["ports"] = tuple(PortMapping.from_json(one) for one in values["ports"])
    users = values.get("users")
    if users is not None:
        maps = {kind: tuple(tuple(one) for one in users[kind]) for kind in ("uids", "gids")}
        values["users"] = Users(users["path"], **maps)
    return Attachment(**values)
