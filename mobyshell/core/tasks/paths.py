"""Where tasks live on disk: the state root, namespaces, and the names inside.

Owns path arithmetic and the defaults; reads the environment, never touches a file but to look at
who owns a directory. Nothing heavy is imported: `task ls` runs through here.

    <state>/shim.lock shim.sock shim.log    one keeper and shim per state root
    <state>/debug.sock                      where the shim tells of itself (core/tasks/debugging)
    <state>/.debug/                         the same of faces that were asked (core/debug/door)
    <state>/.making/                        what is being put together or taken apart
    <state>/.forms/                         what the latest traces have in common (core/tasks/forms)
    <state>/.networks/                      what is attached to networks (core/network/records)
    <state>/<namespace>/events.jsonl        what happened lately, bounded
    <state>/<namespace>/<id>/               the runtime's directory of one container
    <state>/<namespace>/<id>/task/          ours in it: record, FIFOs, log segments, execs
"""

from __future__ import annotations

import os

from mobyshell.core.errors import UsageError
from mobyshell.core.tasks.bare import DIARY as DIARY
from mobyshell.core.tasks.bare import LOCK as LOCK

SOCKET = "shim.sock"
DEBUG_SOCKET = "debug.sock"
STAGING = "staging"
PENDING = "pending"
LOGS = "logs"
MAKING = ".making"
EVENTS = "events.jsonl"
NETWORKS = ".networks"
FORMS = ".forms"
TASK = "task"

RESERVED = frozenset({SOCKET, LOCK, DIARY, STAGING, PENDING, DEBUG_SOCKET})
"""Names in the state root that cannot be namespaces."""

DEFAULT_NAMESPACE = "default"

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_MORE = _LETTERS | frozenset("_.-+")


def state_root() -> str:
    """MOBYSHELL_STATE; else /run/mobyshell for root, `$XDG_RUNTIME_DIR/mobyshell` for others."""
    chosen = os.environ.get("MOBYSHELL_STATE")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/run/mobyshell"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if os.path.isdir(runtime) and os.access(runtime, os.W_OK):
        return os.path.join(runtime, "mobyshell")
    raise UsageError(
        f"no directory for the state of running tasks: {runtime} cannot be written",
        hint="set XDG_RUNTIME_DIR (systemd's login does), or MOBYSHELL_STATE to a directory of yours",
    )


def store_root() -> str:
    """MOBYSHELL_ROOT; else /var/lib/mobyshell for root, `$XDG_DATA_HOME/mobyshell` for others."""
    chosen = os.environ.get("MOBYSHELL_ROOT")
    if chosen:
        return os.path.abspath(chosen)
    if os.geteuid() == 0:
        return "/var/lib/mobyshell"
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "mobyshell")


def default_namespace() -> str:
    """MOBYSHELL_NAMESPACE; else what `namespace use` has kept for this user; else `default`."""
    chosen = os.environ.get("MOBYSHELL_NAMESPACE")
    if chosen:
        return chosen
    try:
        with open(_kept_namespace(), encoding="ascii") as file:
            return check_name(file.read(200).strip(), "namespace")
    except (OSError, ValueError, UsageError):
        return DEFAULT_NAMESPACE


def keep_default_namespace(name: str) -> None:
    """Keep `name` for this user, where nothing else is said. UsageError if it cannot be kept."""
    path = _kept_namespace()
    check_name(name, "namespace")
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        with open(f"{path}.new", "w", encoding="ascii") as file:
            file.write(f"{name}\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(f"{path}.new", path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}",
                         hint="set XDG_STATE_HOME to a directory of yours") from None  # fmt: skip


def _kept_namespace() -> str:
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return f"{base}/mobyshell/namespace"


def check_name(name: str, what: str = "id") -> str:
    """`name` if it can be one path component that means nothing else; UsageError otherwise.

    The rule is runc's for container ids, with containerd's first character and length (76).
    """
    if (
        not isinstance(name, str)
        or not 0 < len(name) <= 76
        or name[0] not in _LETTERS
        or not _MORE.issuperset(name)
        or (what == "namespace" and name in RESERVED)
    ):
        raise UsageError(
            f"invalid {what} {name!r:.100}",
            hint="letters, digits and _ . - +, beginning with a letter or digit, at most 76",
        )
    return name


def prepare_state_root(state: str) -> None:
    """Make the state root, 0700. UsageError if it is not ours: its socket commands containers."""
    try:
        os.makedirs(state, 0o700, exist_ok=True)
        found = os.stat(state)
    except OSError as error:
        raise UsageError(
            f"the state directory {state} cannot be made: {error.strerror}",
            hint="choose another with --state or MOBYSHELL_STATE",
        ) from None
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise UsageError(
            f"the state directory {state} can be written by others than you",
            hint="choose another with --state or MOBYSHELL_STATE, or chmod go-w it",
        )


def container_dir(state: str, namespace: str, id: str) -> str:
    """The runtime's directory of one container."""
    return f"{state}/{namespace}/{id}"


def task_dir(state: str, namespace: str, id: str) -> str:
    """The tasks floor's directory of one container's init."""
    return f"{state}/{namespace}/{id}/{TASK}"


def exec_dir(state: str, namespace: str, id: str, exec_id: str) -> str:
    """The directory of one further process."""
    return f"{state}/{namespace}/{id}/task/execs/{exec_id}"


def process_dir(state: str, namespace: str, id: str, exec_id: str = "") -> str:
    """The directory of the init (`exec_id` empty) or of a further process."""
    if exec_id:
        return exec_dir(state, namespace, id, exec_id)
    return task_dir(state, namespace, id)
