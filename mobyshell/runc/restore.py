"""restore: what `run` is for a bundle, for the images of a checkpoint."""

from __future__ import annotations

import os

from mobyshell.core.checkpoint.criu.settings import Settings
from mobyshell.core.runtime.create import Stdio
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc import bundle as bundles
from mobyshell.runc import streams
from mobyshell.runc.call import Call
from mobyshell.runc.create import check_place, undo


def restore(call: Call, settings: Settings) -> int:
    """Restore it; in the foreground, stay until it has ended."""
    flags = call.flags
    detached = flags.on("detach")
    bundle = os.path.abspath(flags.text("bundle") or ".")
    check_place(call, bundle)
    spec = bundles.load(bundle)
    terminal = bool(spec.process and spec.process.terminal)
    streams.check_console(terminal, detached, flags.text("console-socket"), call.command)
    streams.complete()
    runtime = call.runtime()
    container = steps(
        runtime.restore(
            call.id, bundle, settings, stdio=Stdio(0, 1, 2), spec=spec, note=call.log.warning
        )
    )
    try:
        streams.hand_out(call, container)
        if detached:
            return 0
        from mobyshell.runc.foreground import stay

        return stay(call, runtime, container)
    except BaseException:
        undo(runtime, call.id)
        raise
    finally:
        os.close(container.pidfd)
        if container.master is not None:
            os.close(container.master)
