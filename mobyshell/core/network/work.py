"""Having operations done: starts the worker, waits, and makes errors of its answer."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from mobyshell.core.errors import MobyshellError, SyscallFailed, TimedOut, from_wire
from mobyshell.core.linux.interpreter import import_paths
from mobyshell.core.network.values import Operation

_SECONDS = 300.0
_PROGRAM = (  # without site, which would take a while to find the same
    "import sys; sys.path[:0] = sys.argv[1:]\n"
    "from mobyshell.core.network.worker import main\n"
    "sys.exit(main())"
)


def work(
    operations: Sequence[Operation], *, host: str = "", netns: str = "", lock: int = -1,
    keep_going: bool = False,
) -> list[Any]:  # fmt: skip
    """Have `operations` done; their results. The first failure is raised, with `keep_going` after
    the others were tried.

    `host`: the network namespace that is the host's, "" for ours; `netns`: the container's. The
    worker holds the descriptor `lock` too: if we die, nobody takes what it still does for over.
    """
    if not operations:
        return []
    task = {"host": host, "netns": netns, "keep_going": keep_going,
            "operations": [one.to_json() for one in operations]}  # fmt: skip
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *import_paths()],
            input=json.dumps(task).encode(), capture_output=True, check=False,
            pass_fds=(lock,) if lock >= 0 else (), timeout=_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise TimedOut("the network's operations did not end", hint="see `ip link`") from None
    except OSError as error:
        raise SyscallFailed.of(error, "execve", path=sys.executable) from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
        raise MobyshellError(f"the network worker {how} {''.join(said)[:300]}".strip()) from None
    if answer["error"] is not None:
        raise from_wire(answer["error"])
    results: list[Any] = answer["results"]
    return results
