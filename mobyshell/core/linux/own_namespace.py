"""A program that becomes another one, as root of a user namespace of its own.

    python -I -S own_namespace.py UIDS GIDS PATH… -- WORDS…
                    maps: INSIDE:OUTSIDE:COUNT[,…]; PATH: where our modules are

A map of the caller's own id alone is written here; any other by newuidmap(1) and newgidmap(1), which
know the ranges in /etc/subuid and /etc/subgid. It is a program of its own because nobody with threads
may enter a user namespace, and it keeps its process id: who started it can kill what it became.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # run by its path, as -I leaves sys.path bare; not to be loaded twice
    sys.path += sys.argv[3 : sys.argv.index("--")]
    from mobyshell.core.linux.own_namespace import main as _main

    sys.exit(_main(sys.argv[1:]))

from collections.abc import Mapping, Sequence
from typing import NoReturn

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.constants import CLONE_NEWUSER
from mobyshell.core.linux.interpreter import import_paths
from mobyshell.core.linux.syscalls import call

Map = Sequence[tuple[int, int, int]]
"""Lines of (inside, outside, count)."""

_PLACES = ("/usr/local/bin", "/usr/bin", "/bin")


def helper(kind: str) -> str | None:
    """newuidmap or newgidmap; never where a user's PATH leads."""
    paths = [f"{place}/new{kind}map" for place in _PLACES]
    return next((path for path in paths if os.access(path, os.X_OK)), None)


def program(uids: Map, gids: Map) -> tuple[str, ...]:
    """The words before those of the program to become."""
    python = getattr(sys, "_base_executable", None) or sys.executable
    return (python, "-I", "-S", __file__, _text(uids), _text(gids), *import_paths(), "--")


def main(argv: Sequence[str]) -> int:
    """Enter and become; 126 if the namespace cannot be had, with the reason on stderr."""
    words = argv[argv.index("--") + 1 :]
    maps = {"gid": _lines(argv[1]), "uid": _lines(argv[0])}
    own = {"gid": os.getegid(), "uid": os.geteuid()}
    target = os.getpid()
    ready, told = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(told)
        os._exit(_write(target, maps, own) if os.read(ready, 1) else 1)
    os.close(ready)
    try:
        call("unshare", CLONE_NEWUSER, what="making a user namespace")
        os.write(told, b".")
    except (MobyshellError, OSError) as error:
        print(f"mobyshell: {error}", file=sys.stderr)
        return 126
    finally:
        os.close(told)
        status = os.waitpid(helper, 0)[1]
    if status:
        return 126
    if not _alone(maps["gid"], own["gid"]):
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    return _become(words)


def _become(words: Sequence[str]) -> NoReturn:
    os.execv(words[0], [*words])


def _write(pid: int, maps: Mapping[str, Map], own: Mapping[str, int]) -> int:
    """From outside, where what newuidmap asks about is known."""
    for kind, lines in maps.items():
        try:
            if _alone(lines, own[kind]):
                if kind == "gid":
                    _put(f"/proc/{pid}/setgroups", "deny")
                _put(f"/proc/{pid}/{kind}_map", "".join(f"{a} {b} {c}\n" for a, b, c in lines))
                continue
        except OSError as error:
            print(f"mobyshell: {kind}_map: {error}", file=sys.stderr)
            return 1
        found = helper(kind)
        if found is None:
            print(f"mobyshell: new{kind}map is not installed", file=sys.stderr)
            return 1
        words = [found, str(pid), *(str(number) for one in lines for number in one)]
        if os.spawnv(os.P_WAIT, found, words):
            return 1  # it has said why
    return 0


def _put(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())  # taken in one write, or not at all
    finally:
        os.close(fd)


def _alone(lines: Map, own: int) -> bool:
    return len(lines) == 1 and tuple(lines[0])[1:] == (own, 1)


def _text(lines: Map) -> str:
    return ",".join(":".join(map(str, one)) for one in lines)


def _lines(text: str) -> list[tuple[int, int, int]]:
    found = []
    for one in text.split(","):
        inside, outside, count = (int(word) for word in one.split(":"))
        found.append((inside, outside, count))
    return found
