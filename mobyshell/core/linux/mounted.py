"""A helper process that becomes an OCI runtime which sees one more mount than the host does.

`main` takes TARGET TYPE SOURCE OPTIONS RUNTIME --log FILE…, OPTIONS one a line. It makes a mount
namespace, in which the mount is, and executes the runtime there: the container that it makes comes
from there, and the mount is gone with it. The host is never touched.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.linux.syscalls import call

_MODULE = "mobyshell.core.linux.mounted"
_CODE = f"import sys; sys.path.insert(0, {{!r}}); from {_MODULE} import main; main(sys.argv[1:])"


def words(target: str, kind: str, source: str, options: Sequence[str]) -> tuple[str, ...]:
    """The command line that a runtime's is to be put behind."""
    place = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    code = _CODE.format(place)
    given = "\n".join(options)
    return (sys.executable, "-I", "-S", "-c", code, target, kind, source, given)


def main(argv: list[str]) -> None:
    """Mount and execute; it never returns. What fails is written as the runtime would write it."""
    target, kind, source, given, *command = argv
    try:
        call("unshare", c.CLONE_NEWNS, what="a mount namespace of its own")
        # slaves: the host's later mounts are still seen, ours never by the host
        call("mount", 0, b"/\0", 0, c.MS_SLAVE | c.MS_REC, 0)
        options = parse_options(given.split("\n"))
        place = _text(target)
        if options.bind:
            kept = c.MS_BIND | (c.MS_REC if options.recursive else 0)
            call("mount", _text(source), place, 0, kept, 0, path=target)
            if options.read_only:
                call("mount", 0, place, 0, c.MS_BIND | c.MS_REMOUNT | c.MS_RDONLY, 0, path=target)
        else:
            flags, data = options.as_flags()
            text = _text(",".join(data))
            if len(text) > os.sysconf("SC_PAGESIZE"):
                raise SyscallFailed("mount", errno.E2BIG, path=target)
            call("mount", _text(source), place, _text(kind), flags, text, path=target)
        os.execvp(command[0], command)
    except (MobyshellError, OSError) as error:
        with open(command[command.index("--log") + 1], "a") as log:
            said = f"{command[0]}: {error}"
            log.write(json.dumps({"level": "error", "msg": said}) + "\n")
        os._exit(1)


def _text(word: str) -> bytes:
    return os.fsencode(word) + b"\0"
