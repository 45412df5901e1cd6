"""spec: a config.json to begin with."""

from __future__ import annotations

import os

from mobyshell.core.oci import default_spec, dump_spec
from mobyshell.runc.call import Call, Failure


def run(call: Call) -> int:
    """`spec`."""
    bundle = call.flags.text("bundle") or "."
    path = os.path.join(bundle, "config.json")
    text = dump_spec(default_spec(call.flags.on("rootless")))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Failure("File config.json exists. Remove it first") from None
    except FileNotFoundError:
        raise Failure(f"chdir {bundle}: no such file or directory") from None
    with open(fd, "w") as file:
        file.write(text)
    return 0
