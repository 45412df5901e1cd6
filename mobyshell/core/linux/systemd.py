"""systemd's manager over D-Bus: transient units, their properties, their end.

Owns the conversation (org.freedesktop.systemd1(5)); which unit and which properties a container
needs is in `core/runtime/units`. Waits block: this is for a process that does one thing, as
`mobyshell-runc`. The D-Bus library (jeepney, pure Python) is loaded only when it is asked for.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mobyshell.core.errors import (
    InvalidSpec,
    MobyshellError,
    NotFound,
    Refused,
    TimedOut,
    Unsupported,
)
from mobyshell.core.linux.own_ids import outside

Property = tuple[str, tuple[str, Any]]
"""(name, (D-Bus signature, value))."""

PATIENCE = 30.0
"""Seconds for systemd to answer, and again for a job to end."""
BOOTED = "/run/systemd/system"
"""There where the machine's init is systemd (sd_booted(3))."""

_NAME, _PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
_MANAGER = f"{_NAME}.Manager"
_NO_UNIT = (f"{_NAME}.NoSuchUnit", f"{_NAME}.UnitNotLoaded")
_DENIED = (
    "org.freedesktop.DBus.Error.AccessDenied",
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
)
_NOBODY = (
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",  # systemd's own entry is /bin/false
)
_BUS = "org.freedesktop.DBus"
_LONGEST_LINE = 4096


@contextmanager
def connected(*, user: bool) -> Iterator[Systemd]:
    """The system's systemd, or the user's own. Unsupported where there is none to be reached."""
    try:
        from jeepney.io import blocking
    except ImportError:
        raise Unsupported(
            "cgroups by systemd need the D-Bus library jeepney", hint="pip install jeepney"
        ) from None
    which = "user's systemd" if user else "systemd"
    bus = _user_bus() if user else "SYSTEM"
    try:
        connection = blocking.DBusConnection(_authenticated(blocking.get_bus(bus)))
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise Unsupported(
            f"no {which} to be reached over D-Bus: {reason}",
            hint="this machine does not run systemd, or no D-Bus: leave --systemd-cgroup out, "
            "and let the engine use the cgroupfs driver",
        ) from None
    try:
        yield Systemd(connection, which, runs=os.path.exists(_user_sign() if user else BOOTED))
    finally:
        connection.close()


def _authenticated(address: str) -> socket.socket:
    """A connection on which messages may follow, as the user who this is to the bus: outside of our
    user namespace, whose ids are not the bus's (D-Bus Specification, "EXTERNAL"). OSError."""
    who = str(outside(os.geteuid())).encode().hex()
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        line.settimeout(PATIENCE)
        line.connect(address)
        line.sendall(f"\0AUTH EXTERNAL {who}\r\n".encode())
        said = b""
        while not said.endswith(b"\r\n"):
            part = line.recv(_LONGEST_LINE - len(said))
            if not part:
                raise OSError(errno.EACCES, "it does not say who may come in")
            said += part
        if not said.startswith(b"OK "):
            raise OSError(errno.EACCES, f"it does not know uid {outside(os.geteuid())}")
        line.sendall(b"BEGIN\r\n")
        line.settimeout(None)
    except BaseException:
        line.close()
        raise
    return line


def _user_bus() -> str:
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    return address or f"unix:path={_user_directory()}/bus"


def _user_sign() -> str:
    """There where the user has a manager: its private socket."""
    return f"{_user_directory()}/systemd/private"


def _user_directory() -> str:
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{outside(os.geteuid())}"


class _Answer(Exception):
    """An error that came over D-Bus. `name` is its name."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Systemd:
    """A connection to a manager. `runs`: there is one, even if it is not on the bus at the moment."""

    def __init__(self, connection: Any, which: str, *, runs: bool) -> None:
        self._connection = connection
        self._which = which
        self._runs = runs

    def start(self, unit: str, properties: Sequence[Property]) -> None:
        """Start a transient unit and wait until it has started.

        One of that name that failed before is forgotten first. MobyshellError with what systemd
        says, Refused if it asks for privileges, TimedOut.
        """
        words: tuple[Any, ...] = (unit, "replace", list(properties), [])
        try:
            self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", words, unit)
        except _Answer as error:
            if error.name != f"{_NAME}.UnitExists":
                raise self._error(error, f"start {unit}") from None
            try:
                self._call("ResetFailedUnit", "s", (unit,))
                self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", words, unit)
            except _Answer as again:
                raise self._error(again, f"start {unit}") from None

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Change properties of a unit, until the next boot. Errors as `start`; NotFound."""
        try:
            self._call("SetUnitProperties", "sba(sv)", (unit, True, list(properties)))
        except _Answer as error:
            raise self._error(error, f"change {unit}") from None

    def stop(self, unit: str) -> None:
        """Stop a unit and forget that it failed; fine if there is none (any more)."""
        for member, signature, words in (
            ("StopUnit", "ss", (unit, "replace")),
            ("ResetFailedUnit", "s", (unit,)),
        ):
            try:
                if member == "StopUnit":
                    self._job(member, signature, words, unit)
                else:
                    self._call(member, signature, words)
            except _Answer as error:
                if error.name not in _NO_UNIT:
                    raise self._error(error, f"stop {unit}") from None

    def _call(self, member: str, signature: str, body: Sequence[Any]) -> tuple[Any, ...]:
        """Call the manager. One that runs, but has not (or, executing itself anew, no longer) its name
        on the bus, is waited for: such a call has reached nobody."""
        try:
            return self._send(member, signature, body, _MANAGER, _NAME, _PATH)
        except _Answer as error:
            if error.name not in _NOBODY or not self._runs:
                raise
        self._await_name()
        return self._send(member, signature, body, _MANAGER, _NAME, _PATH)

    def _call_bus(self, member: str, word: str) -> tuple[Any, ...]:
        return self._send(member, "s", (word,), _BUS, _BUS, "/org/freedesktop/DBus")

    def _await_name(self) -> None:
        from jeepney import MatchRule

        rule = MatchRule(type="signal", interface=_BUS, member="NameOwnerChanged")
        rule.add_arg_condition(0, _NAME)
        self._call_bus("AddMatch", rule.serialise())
        until = time.monotonic() + PATIENCE
        with self._connection.filter(rule, bufsize=100) as changed:
            owned = bool(self._call_bus("NameHasOwner", _NAME)[0])
            while not owned:
                left = max(0.0, until - time.monotonic())
                try:
                    signal = self._connection.recv_until_filtered(changed, timeout=left)
                except TimeoutError:
                    raise TimedOut(f"the {self._which} does not come to the D-Bus") from None
                owned = bool(signal.body[2])

    def _send(
        self, member: str, signature: str, body: Sequence[Any], interface: str, name: str, path: str
    ) -> tuple[Any, ...]:
        from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call

        address = DBusAddress(path, bus_name=name, interface=interface)
        message = new_method_call(address, member, signature, tuple(body))
        try:
            reply = self._connection.send_and_get_reply(message, timeout=PATIENCE)
        except TimeoutError:
            raise TimedOut(f"the {self._which} does not answer to {member}") from None
        except OSError as error:
            raise MobyshellError(f"the {self._which} has gone away: {error}") from None
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise InvalidSpec(f"{member}: a value that D-Bus cannot carry: {error}") from None
        if reply.header.message_type is MessageType.error:
            text = str(reply.body[0]) if reply.body else ""
            raise _Answer(str(reply.header.fields.get(HeaderFields.error_name, "")), text)
        found: tuple[Any, ...] = reply.body
        return found

    def _job(self, member: str, signature: str, body: Sequence[Any], unit: str) -> None:
        """Call what queues a job, and wait for the end of the job."""
        from jeepney import MatchRule

        rule = MatchRule(type="signal", interface=_MANAGER, member="JobRemoved", path=_PATH)
        # asked for before the call: the job may be done sooner than we have its name
        self._call_bus("AddMatch", rule.serialise())
        self._call("Subscribe", "", ())
        with self._connection.filter(rule, bufsize=10_000) as removed:
            (job,) = self._call(member, signature, body)
            while True:
                try:
                    signal = self._connection.recv_until_filtered(removed, timeout=PATIENCE)
                except TimeoutError:
                    raise TimedOut(f"the {self._which} does not end its job for {unit}") from None
                _, path, _, result = signal.body
                if path == job:
                    break
        if result != "done":
            raise MobyshellError(
                f"the {self._which} says of {unit}: {result}",
                hint=f"`systemctl {'--user ' if 'user' in self._which else ''}status {unit}`",
            )

    def _error(self, error: _Answer, what: str) -> MobyshellError:
        message = f"the {self._which} does not {what}: {error}"
        if error.name in _NO_UNIT:
            return NotFound(message)
        if error.name in _DENIED:
            return Refused(message, hint="run as root, or with a user manager of your own")
        if error.name in _NOBODY:
            return Unsupported(message, hint="this machine does not run systemd")
        return MobyshellError(message)
