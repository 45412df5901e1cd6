"""Operations that stand for hooks: programs of the spec that run beside the container's life."""

from __future__ import annotations

from mobyshell.core.oci import Spec
from mobyshell.core.runtime.operations.calls import quote
from mobyshell.core.runtime.plan import Actor, Call, Operation, Phase, Text, Vector

_ATTRIBUTE = {
    "prestart": "prestart", "createRuntime": "create_runtime",
    "createContainer": "create_container", "startContainer": "start_container",
    "poststart": "poststart", "poststop": "poststop",
}  # fmt: skip

_WHY = {
    "prestart": "The old name of createRuntime, still in use.",
    "createRuntime": "Runs in the host's namespaces, when the container's exist: to wire its network.",
    "createContainer": "Runs in the container's namespaces, while the host's root is still in reach.",
    "startContainer": "Runs inside, as the last thing before the program.",
    "poststart": "Runs in the host's namespaces, when the program has started.",
    "poststop": "Runs in the host's namespaces, when the container is gone.",
}


def of(kind: str, spec: Spec) -> tuple[object, ...]:
    """The hooks of `kind` in the spec."""
    return tuple(getattr(spec.hooks, _ATTRIBUTE[kind]) or ()) if spec.hooks is not None else ()


def planned(kind: str, spec: Spec, phase: Phase) -> list[Operation]:
    """One operation a hook. The call is a pseudo call: the runtime runs it, not the kernel."""
    operations = []
    hooks = getattr(spec.hooks, _ATTRIBUTE[kind]) if spec.hooks is not None else None
    for index, hook in enumerate(hooks or ()):
        args = tuple(hook.args or (hook.path,))
        words = [*(hook.env or ()), hook.path, *args[1:]]
        limit = f"timeout -s KILL {hook.timeout} " if hook.timeout else ""
        operations.append(
            Operation(
                actor=Actor.PARENT,
                phase=phase,
                title=f"run the {kind} hook {' '.join((hook.path, *args[1:]))}",
                why=_WHY[kind],
                source=f"hooks.{kind}[{index}]",
                spec="config.md#posix-platform-hooks",
                man="execve(2)",
                calls=(Call("@hook", (Text(hook.path), Vector(args))),),
                shell=(
                    f'printf %s "$state" | {limit}env -i {" ".join(quote(word) for word in words)}',
                ),
            )
        )
    return operations
