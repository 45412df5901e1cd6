"""A plan as a POSIX shell script that does the same with util-linux tools.

Owns how the operations' shell lines are put together: what the parent does runs outside, what the
child does runs inside an `unshare`d copy of the script. Three things differ from the runtime, and
the script says so: the old root is hidden by moving the new one over it (a shell cannot pivot
away from under its own tools), CAP_SYS_CHROOT stays, and a seccomp filter is not loaded.
"""

from __future__ import annotations

from collections.abc import Iterable

from mobyshell.core.oci import Process, Spec
from mobyshell.core.runtime.operations.calls import quote
from mobyshell.core.runtime.plan import Actor, Operation, Phase, Plan

_HEAD = """\
#!/bin/sh
# Container {id}, made with util-linux tools as mobyshell would make it by system calls.
# Needs root, util-linux 2.38, coreutils. Run it with sh.
set -eu
id={id_q}
bundle={bundle}
rootfs={rootfs}
"""

_ATTACH = """\

attach() {
    pid=$1
"""


def script(plan: Plan, spec: Spec) -> str:
    """The script of `plan`, which was made from `spec`."""
    assert spec.process is not None
    lines = _HEAD.format(id=plan.id, id_q=quote(plan.id), bundle=quote(plan.bundle),
                         rootfs=quote(plan.rootfs))  # fmt: skip
    inside = [*_of(plan, Actor.CHILD, Phase.SETUP), *_before_move(plan), *_limits(plan)]
    return "".join(
        (
            lines,
            '\nif [ "${1:-}" = inside ]; then\n',
            _indented(_explained(inside)),
            "    # who it is, what it may, and then the program\n",
            _indented(_finally(spec.process)),
            "fi\n",
            "\n# cgroups and their limits\n",
            _cleanup(plan),
            *(f"{line}\n" for line in _explained(_of(plan, Actor.PARENT, Phase.PREPARE))),
            _ATTACH,
            _indented(_explained(_of(plan, Actor.PARENT, Phase.ATTACH), maps=False)) or "    :\n",
            "}\n\n",
            _launch(plan),
        )
    )


def _of(plan: Plan, actor: Actor, *phases: Phase) -> list[Operation]:
    return [operation for _, operation in plan.of(actor, *phases)]


def _before_move(plan: Plan) -> list[Operation]:
    """The child's last mounts, with the move of the root as the very last."""
    pivots = _of(plan, Actor.CHILD, Phase.PIVOT)
    return sorted(pivots, key=lambda one: "mount --move . /" in one.shell)


def _limits(plan: Plan) -> list[Operation]:
    """What the process sets on itself and keeps through execve."""
    return _of(plan, Actor.CHILD, Phase.EXEC)


def _explained(operations: Iterable[Operation], *, maps: bool = True) -> list[str]:
    lines = []
    for one in operations:
        # maps are options of unshare, not commands
        if one.shell and (maps or not one.shell[0].startswith("--map-")):
            lines += [f"# {one.title}", *one.shell]
    return lines


def _indented(lines: list[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def _cleanup(plan: Plan) -> str:
    if not plan.cgroups:
        return ""
    paths = " ".join(quote(path) for path in plan.cgroups.values())
    return f"cleanup() {{ rmdir {paths} 2>/dev/null || :; }}\ntrap cleanup EXIT\n"


def _launch(plan: Plan) -> str:
    """Into the cgroups, then into the namespaces, and from the top again, inside."""
    joins = [word for one in _of(plan, Actor.CHILD, Phase.JOIN) for word in one.shell]
    clone = next(one for one in plan.operations if one.phase is Phase.CLONE)
    new = list(clone.shell)
    if any("cgroup namespace" in one.title for one in plan.operations):
        new.append("--cgroup")
    maps = [word for one in _of(plan, Actor.PARENT, Phase.ATTACH) for word in one.shell
            if word.startswith("--map-")]  # fmt: skip
    if "--user" in new:
        maps += ["--setuid 0", "--setgid 0"]
    words = ["unshare", *new, *maps, "--propagation unchanged" if "--mount" in new else "",
             "--kill-child" if any("--fork" in one for one in new) else "", "--"]  # fmt: skip
    enter = f"nsenter {' '.join(joins)} -- " if joins else ""
    unshare = " ".join(word for word in words if word)
    return (
        "# the child: its own shell, so that the cgroups hold for it alone\n"
        f'sh -c \'kill -STOP $$; exec {enter}{unshare} sh "$0" inside\' "$0" &\n'
        "child=$!\n"
        'until [ "$(ps -o stat= -p "$child" | cut -c 1)" = T ]; do sleep 0.01; done\n'
        'attach "$child"\n'
        'kill -CONT "$child"\n'
        'wait "$child"\n'
    )


def _finally(process: Process) -> list[str]:
    capabilities = process.capabilities
    keep = (capabilities.bounding or ()) if capabilities else ()
    names = "".join(f",+{one.removeprefix('CAP_').lower()}" for one in keep)
    user = process.user
    groups = ",".join(str(one) for one in user.additional_gids or ())
    setpriv = [
        "setpriv",
        f"--reuid {user.uid} --regid {user.gid}",
        f"--groups {groups}" if groups else "--clear-groups",
        f"--bounding-set -all,+sys_chroot{names}",
    ]
    if user.uid != 0:
        setpriv.append("--inh-caps +sys_chroot --ambient-caps +sys_chroot")
    if process.no_new_privileges:
        setpriv.append("--no-new-privs")
    environment = " ".join(quote(one) for one in process.env or ())
    words = " ".join(quote(word) for word in process.args or ())
    lines = [f"exec {' '.join(setpriv)} \\"]
    run = f'    env -i {environment} "$chroot" . '
    if process.cwd == "/":
        return ["chroot=$(command -v chroot)", *lines, run + words]
    into = quote('cd "$0" && exec "$@"')
    run += f"/bin/sh -c {into} {quote(process.cwd)} {words}"
    return ["chroot=$(command -v chroot)", *lines, run]
