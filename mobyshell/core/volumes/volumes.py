"""The volumes of a namespace: `<root>/volumes/<namespace>/<name>/{volume.json,lock,data/}`.

Owns their making and removal: a volume appears and goes by one rename, so that a death in between
leaves nothing that looks like one. Whether a container uses a volume is for the caller to know; who
is about to use one holds it (`hold`), and what is held is not removed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mobyshell.core.errors import (
    AlreadyExists,
    InvalidSpec,
    MobyshellError,
    NotFound,
    SyscallFailed,
    UsageError,
    WrongState,
)
from mobyshell.core.linux.files import sync_directory
from mobyshell.core.linux.paths import make_private
from mobyshell.core.oci.labels import check_labels
from mobyshell.core.oci.safejson import read_json

DATA, _RECORD, _LOCK = "data", "volume.json", "lock"
_MAKING, _GONE = ".making-", ".gone-"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_HEXADECIMAL = frozenset("0123456789abcdef")
_MORE = _LETTERS | frozenset("_.-")


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume. `path`: its data, what a container sees; `created`: seconds since the epoch."""

    name: str
    namespace: str
    path: str
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


def check_name(name: str) -> str:
    """`name` if a volume can have it. UsageError."""
    if not 0 < len(name) <= 128 or name[0] not in _LETTERS or not _MORE.issuperset(name):
        raise UsageError(f"{name!r:.80} is no name of a volume",
                         hint="letters, digits and _ . -, beginning with a letter or digit")  # fmt: skip
    return name


def new_name() -> str:
    """A name for a volume that is given none, as Docker has them: 64 hexadecimal digits."""
    return os.urandom(32).hex()


def is_anonymous(name: str) -> bool:
    """Whether nobody has chosen a volume's name (`new_name`)."""
    return len(name) == 64 and _HEXADECIMAL.issuperset(name)


class Volumes:
    """The volumes of one namespace below the store's root. `erase`: removes what the caller may not,
    for who is not root and has files of several owners."""

    def __init__(
        self, root: str, namespace: str, erase: Callable[[str], object] | None = None
    ) -> None:
        self._root, self._namespace, self._erase = f"{root}/volumes", namespace, erase
        self._here = f"{self._root}/{namespace}"

    def ls(self) -> list[Volume]:
        """Every volume, by name; what is damaged is left out."""
        found = []
        for name in _names(self._here):
            try:
                found.append(self.get(name))
            except MobyshellError:
                continue
        return found

    def place(self, name: str) -> str:
        """Where the data of a volume is, if it is there or will be."""
        return f"{self._here}/{check_name(name)}/{DATA}"

    def get(self, name: str) -> Volume:
        """A volume. NotFound, with the namespaces that have one of that name."""
        check_name(name)
        path = f"{self._here}/{name}/{_RECORD}"
        try:
            with open(path, "rb") as file:
                document = read_json(file.read(), path)
            return Volume(name, self._namespace, f"{self._here}/{name}/{DATA}",
                          float(document["created"]), dict(document["labels"]))  # fmt: skip
        except FileNotFoundError:
            others = [one for one in _names(self._root) if os.path.exists(
                f"{self._root}/{one}/{name}/{_RECORD}")]  # fmt: skip
            raise NotFound(
                f"no volume {name} in namespace {self._namespace}",
                hint=f"there is one in namespace {', '.join(others)}" if others
                else "`mobyshell volume ls` lists them",
            ) from None  # fmt: skip
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        except (InvalidSpec, KeyError, TypeError, ValueError) as error:
            raise MobyshellError(f"the record {path} is damaged: {error}") from None

    def create(
        self, name: str, labels: Mapping[str, str] | None = None, *, created: float | None = None
    ) -> Volume:
        """Make a volume, empty, 0755. AlreadyExists; UsageError for a name or label that cannot be."""
        check_name(name)
        check_labels(labels or {})
        making = f"{self._here}/{_MAKING}{os.getpid()}-{os.urandom(4).hex()}"
        document = {"created": time.time() if created is None else created,
                    "labels": dict(labels or {})}  # fmt: skip
        try:
            make_private(f"{making}/{DATA}")
            os.chmod(f"{making}/{DATA}", 0o755)
            for file, data in ((_RECORD, json.dumps(document).encode()), (_LOCK, b"")):
                _write(f"{making}/{file}", data)
            sync_directory(making)
            os.rename(making, f"{self._here}/{name}")
            sync_directory(self._here)
        except OSError as error:
            shutil.rmtree(making, ignore_errors=True)
            if os.path.exists(f"{self._here}/{name}"):
                raise AlreadyExists(
                    f"there is a volume {name} in namespace {self._namespace}",
                    hint=f"`mobyshell volume inspect {name}` shows it",
                ) from None
            raise SyscallFailed.of(error, "mkdir", path=self._here) from None
        return self.get(name)

    def ensure(self, name: str) -> Volume:
        """The volume, made if there is none."""
        try:
            return self.get(name)
        except NotFound:
            pass
        try:
            return self.create(name)
        except AlreadyExists:
            return self.get(name)

    def hold(self, name: str) -> int:
        """A descriptor that keeps a volume from being removed until it is closed. NotFound."""
        path = f"{self._here}/{check_name(name)}/{_LOCK}"
        while True:
            self.get(name)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # it goes at this moment: then there is none
            except OSError as error:
                raise SyscallFailed.of(error, "open", path=path) from None
            fcntl.flock(fd, fcntl.LOCK_SH)
            if os.fstat(fd).st_nlink:
                return fd
            os.close(fd)

    def remove(self, name: str, users: tuple[str, ...] = ()) -> None:
        """Delete a volume and what is in it. NotFound; WrongState if it is held, or has `users`."""
        self.get(name)
        if users:
            raise WrongState(f"the volume {name} is in use by {', '.join(users)}",
                             hint=f"`mobyshell task delete {users[0]}` first")  # fmt: skip
        fd = self.hold(name)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = f"{self._here}/{_GONE}{os.urandom(6).hex()}"
            os.rename(f"{self._here}/{name}", gone)
            sync_directory(self._here)
            os.unlink(f"{gone}/{_LOCK}")
        except BlockingIOError:
            raise WrongState(f"a container is being made with the volume {name}") from None
        except OSError as error:
            raise SyscallFailed.of(error, "rename", path=f"{self._here}/{name}") from None
        finally:
            os.close(fd)
        self.sweep()

    def sweep(self) -> None:
        """Delete what was removed, and what a dead process had begun to make."""
        for name in _names(self._here, hidden=True):
            pid = name.removeprefix(_MAKING).partition("-")[0]
            dead = (
                name.startswith(_MAKING) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}")
            )
            if dead or name.startswith(_GONE):
                shutil.rmtree(f"{self._here}/{name}", ignore_errors=True)
                if self._erase is not None and os.path.lexists(f"{self._here}/{name}"):
                    self._erase(f"{self._here}/{name}")


def _names(path: str, *, hidden: bool = False) -> list[str]:
    try:
        return sorted(one for one in os.listdir(path) if one.startswith(".") == hidden)
    except OSError:
        return []


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
