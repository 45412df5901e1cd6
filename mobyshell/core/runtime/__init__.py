"""runC: spec → plan → container. One file a verb; `Runtime` is the face.

Names are loaded when they are asked for: whoever only lists containers needs no planner.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.runtime.create import Container, Stdio
    from mobyshell.core.runtime.exec import ExecProcess
    from mobyshell.core.runtime.host import Host
    from mobyshell.core.runtime.plan import Plan
    from mobyshell.core.runtime.planner import make_plan
    from mobyshell.core.runtime.runtime import Runtime
    from mobyshell.core.runtime.state import State

__all__ = ["Container", "ExecProcess", "Host", "Plan", "Runtime", "State", "Stdio", "make_plan"]

_WHERE = {
    "Container": "create", "ExecProcess": "exec", "Host": "host", "Plan": "plan",
    "Runtime": "runtime", "State": "state", "Stdio": "create", "make_plan": "planner",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(name)
    found = globals()[name] = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    return found
