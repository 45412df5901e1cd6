"""Where the states of containers are if nobody says it: as runc has it (main.go, rootless_linux.go)."""

from __future__ import annotations

import posix

import pytest

from mobyshell.runc import place

MACHINE = b"         0          0 4294967295\n"
INSIDE = b"         0       1000          1\n         1     100000      65536\n"


@pytest.mark.parametrize(
    ("euid", "variables", "ids", "expected"),
    [
        (0, {}, MACHINE, "/run/runc"),
        (0, {b"XDG_RUNTIME_DIR": b"/run/user/0"}, MACHINE, "/run/runc"),
        (0, {b"XDG_RUNTIME_DIR": b"/run/user/0", b"USER": b"somebody"}, MACHINE, "/run/runc"),
        (1000, {}, MACHINE, "/run/runc"),
        (1000, {b"XDG_RUNTIME_DIR": b""}, MACHINE, "/run/runc"),
        (1000, {b"XDG_RUNTIME_DIR": b"/run/user/1000"}, MACHINE, "/run/user/1000/runc"),
        # as podman calls it for a user, and as it is in a container that has an engine of its own
        (0, {b"XDG_RUNTIME_DIR": b"/run/user/1000"}, INSIDE, "/run/user/1000/runc"),
        (0, {b"XDG_RUNTIME_DIR": b"/x", b"USER": b"somebody"}, INSIDE, "/x/runc"),
        (0, {b"XDG_RUNTIME_DIR": b"/x", b"USER": b"root"}, INSIDE, "/run/runc"),
        (0, {}, INSIDE, "/run/runc"),
    ],
)
def test_whose_place_it_is(
    euid: int, variables: dict[bytes, bytes], ids: bytes, expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in (b"XDG_RUNTIME_DIR", b"USER"):
        monkeypatch.delitem(posix.environ, name, raising=False)
    for name, value in variables.items():
        monkeypatch.setitem(posix.environ, name, value)
    monkeypatch.setattr("posix.geteuid", lambda: euid)
    monkeypatch.setattr(place, "read", lambda path: ids)
    assert place.usual() == expected
