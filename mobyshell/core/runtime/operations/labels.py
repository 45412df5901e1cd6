"""Operations by which security modules know the program, its keys and its files by the spec's labels."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.lsm import KEYS, SELINUX, XATTR, Module
from mobyshell.core.runtime.operations.calls import close, flags, quote
from mobyshell.core.runtime.operations.verify import write_proc
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Operation, Phase, Text

Label = tuple[Module, str, str]
"""The module that looks at it, the label, and its member in the spec."""


def planned(labels: Sequence[Label], phase: Phase, *, keyring: bool) -> list[Operation]:
    """What the program is labelled by; and its session's `keyring`, if it is to be made."""
    asked = [_at_exec(*one, phase) for one in labels]
    keys = [_of_keys(label, source, phase) for module, label, source in labels if module is SELINUX]
    return [*asked, *(keys if keyring else [])]


def _at_exec(module: Module, label: str, source: str, phase: Phase) -> Operation:
    """The label that a security module puts on the program at execve."""
    unknown = f"is it loaded? {module.name} knows no label of that name"
    return Operation(
        actor=Actor.CHILD,
        phase=phase,
        title=f"ask {module.name} for the label {label} at exec",
        why="The module confines the program from its first instruction. Asked for while /proc is "
        "still the host's: that of the container may be missing, or something else.",
        source=source,
        spec="config.md#linux-process",
        man="proc_pid_attr(5)",
        calls=tuple(write_proc(module.file, module.form.format(label))),
        hints=((errno.ENOENT, unknown), (errno.EINVAL, unknown)),
        # not by setpriv(1), which looks for the module's own file system before, and finds none inside
        shell=(f"sh printf %s {quote(module.form.format(label))} > {module.file}",),
    )


def _of_keys(label: str, source: str, phase: Phase) -> Operation:
    """The label of keys that the process makes before its program is executed: its keyring."""
    return Operation(
        actor=Actor.CHILD,
        phase=phase,
        title=f"have SELinux know the session's keyring by the label {label}",
        why="Else it has the runtime's, whose keys a confined program may not use. execve ends it.",
        source=source,
        spec="config.md#linux-process",
        man="proc_pid_attr(5), session-keyring(7)",
        calls=tuple(write_proc(KEYS, label)),
    )


def of_files(mount: Cell, label: str) -> list[Call]:
    """Label the root of a filesystem that has no option for it: `mount` lies nowhere yet."""
    root, data = Cell("labelled"), label.encode() + b"\0"
    how = flags("open", c.O_RDONLY | c.O_DIRECTORY | c.O_CLOEXEC)
    return [
        Call("openat", (mount, Text("."), how), result=root),
        # whether its files have labels is the policy's to say
        Call("fsetxattr", (root, Text(XATTR), Data(data, repr(label)), len(data), 0),
             tolerate=(errno.EOPNOTSUPP,)),
        close(root),
    ]  # fmt: skip
