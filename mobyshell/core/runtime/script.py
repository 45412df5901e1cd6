"""A plan as a POSIX shell script that does the same with util-linux tools.

Owns how the operations' shell lines are put together. Lines of the parent's operations run in the
script itself, lines of the child's in a shell inside `unshare`. An entry that begins with a tool
of `_WRAPPERS` is not a command but goes around what comes next: several of one tool are one call.

What a bundle says is text of a stranger: everything of it that reaches the script is quoted, or,
in comments, printable and on one line.

    #!/bin/sh
    PREPARE                              cgroups and limits
    ( ATTACH, hooks ) &                  cgroup.procs and id maps, when the child says its pid
    nsenter JOIN unshare CLONE sh:       waits for that, then
        setpriv, unshare --cgroup sh:    SETUP, PIVOT, EXEC
            setpriv env PROGRAM
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from mobyshell.core.oci import Spec
from mobyshell.core.runtime.operations.calls import quote
from mobyshell.core.runtime.plan import Actor, Operation, Phase, Plan

_WRAPPERS = frozenset({"unshare", "nsenter", "setpriv", "env", "setarch", "sh"})

_HEAD = """\
#!/bin/sh
# Container {id}, made by util-linux tools as mobyshell makes it by system calls.
# `mobyshell bundle plan` tells the reasons for each step. Needs util-linux 2.38 and coreutils.
# For images you trust: a path below the root is followed wherever a link in the image leads.
# Descriptors above 9 that the caller left open stay open: sh cannot close them.
set -eu
PATH=$PATH:/usr/sbin:/sbin
id={id_word}
bundle={bundle}
rootfs={rootfs}
gate=$(mktemp -d)
helper=
set --
export id bundle rootfs gate PATH

cleanup() {{
    [ -z "$helper" ] || kill "$helper" 2>/dev/null || :
    rm -rf "$gate"
    # a cgroup is busy for a moment after its last process; those made inside of it go first
    for group; do
        for try in 1 2 3 4 5 6 7 8 9; do
            find "$group" -depth -type d -exec rmdir {{}} + 2>/dev/null || :
            [ -d "$group" ] || break
            sleep 0.1
        done
    done
}}
trap 'cleanup "$@"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
"""

_HELPER = """\
mkfifo "$gate/child" "$gate/parent"
# beside the child, as the runtime: does what must be done from outside, and lets the child go on
(
    trap ': > "$gate/parent"' EXIT
    read -r pid < "$gate/child"
"""

_LET_GO = """\
    echo go > "$gate/parent"
"""

_ENTER = """\
set -eu
# /proc is still the host's, so this is our number out there
read -r pid rest < /proc/self/stat
export pid
echo "$pid" > "$gate/child"
read -r go < "$gate/parent"
exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
"""

_WAIT_FOR_HOOKS = """\
# the hooks run now, outside
echo hooks > "$gate/child"
read -r go < "$gate/parent"
"""

_OLD_ROOT = """\
# From pivot_root on no path leads to the host. What is still needed of it is run from its old
# root, where this shell's working directory stays, by the loader, told where the libraries are.
cd /usr
here() { case $1 in /usr/*) echo "./${1#/usr/}" ;; *) echo "..$1" ;; esac; }
tool() { here "$(readlink -f "$(command -v "$1")")"; }
old=
for one in /lib64/ld-linux-*.so.* /lib/ld-linux-*.so.* /lib/ld-musl-*.so.*; do
    [ -e "$one" ] || continue
    libraries=
    for path in "/usr/lib/$(uname -m)-linux-gnu" "/lib/$(uname -m)-linux-gnu" \\
        /usr/lib64 /lib64 /usr/lib /lib; do
        [ ! -d "$path" ] || libraries=$libraries:$(here "$path")
    done
    old="$(here "$(readlink -f "$one")") --library-path ${libraries#:}"
    break
done
for one in chroot mount prlimit env setpriv setarch sh; do eval "host_$one=\\$(tool $one)"; done
# umount looks things up in /proc and may write to /run: in those of the root that it unmounts
umount() { $old "$host_chroot" .. umount "$@"; }
mount() { $old "$host_mount" -n "$@"; }
prlimit() { $old "$host_prlimit" "$@"; }
env() { $old "$host_env" "$@"; }
"""


def script(plan: Plan, spec: Spec) -> str:
    """The script of `plan`, which was made from `spec`.

    It ends as the program does. What no tool can do (loading a seccomp filter, opening the
    container's own terminal: it gets the caller's) is named in a comment.
    """
    hooks = _of(plan, Actor.PARENT, Phase.HOOKS)
    parts = [
        _HEAD.format(
            id=_comment(plan.id), id_word=quote(plan.id), bundle=quote(plan.bundle),
            rootfs=quote(plan.rootfs),
        ),
        "".join(f"# note: {_comment(notice)}\n" for notice in plan.notices),
        "\n",
        *_commands(_staying(_of(plan, Actor.PARENT, Phase.PREPARE, Phase.BESIDE))),
        "\n",
        _helper(plan, spec, hooks),
        "\n",
        _text("enter", _ENTER + _exec(_staying(_of(plan, Actor.CHILD, Phase.SETUP)), 'sh -c "$setup"')),
        _text("setup", _setup(plan, spec, bool(hooks))),
        "export enter setup\n\n",
        _launch(plan),
    ]  # fmt: skip
    return "".join(parts)


def _of(plan: Plan, actor: Actor, *phases: Phase) -> list[Operation]:
    """The operations in `phases`. Labels go with the program: here, every tool is a program."""
    return [
        one for _, one in plan.of(actor) if (Phase.EXEC if _labels(one) else one.phase) in phases
    ]


def _labels(operation: Operation) -> bool:
    return operation.source in ("process.apparmorProfile", "process.selinuxLabel")


def _moves(operation: Operation) -> bool:
    """Whether it moves the child into a cgroup: a shell does that from outside, by its pid."""
    return any('"$pid"' in line for line in operation.shell)


def _attaching(plan: Plan) -> list[Operation]:
    """Everything that needs the child's pid, whoever does it in the plan."""
    moving = [
        one
        for one in (*_of(plan, Actor.PARENT, Phase.PREPARE), *_of(plan, Actor.CHILD, Phase.SETUP))
        if _moves(one)
    ]
    return [*moving, *_of(plan, Actor.PARENT, Phase.ATTACH)]


def _staying(operations: list[Operation]) -> list[Operation]:
    return [one for one in operations if not _moves(one)]


def _comment(text: str) -> str:
    """`text` on one line, with nothing in it that could end the comment or move the cursor."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _is_wrapper(entry: str) -> bool:
    return entry.partition(" ")[0] in _WRAPPERS


def _commands(operations: Iterable[Operation]) -> list[str]:
    """The commands of `operations`, each group under the operation's title."""
    lines = []
    for one in operations:
        commands = [entry for entry in one.shell if not _is_wrapper(entry)]
        if commands:
            lines += [f"# {_comment(one.title)}\n", *(f"{entry}\n" for entry in commands)]
        elif one.source and not one.shell:
            lines.append(f"# not done here: {_comment(one.title)} ({_comment(one.source)})\n")
    return lines


def _wrappers(operations: Iterable[Operation]) -> dict[str, list[str]]:
    """tool → its words, in the order in which the tools first come."""
    found: dict[str, list[str]] = {}
    for one in operations:
        for entry in one.shell:
            if _is_wrapper(entry):
                tool, _, words = entry.partition(" ")
                found.setdefault(tool, []).append(words)
    return found


def _exec(operations: Iterable[Operation], command: str) -> str:
    """`command`, with the wrappers of `operations` around it, in place of this shell."""
    lines = [f"{tool} {' '.join(words)} \\\n    " for tool, words in _wrappers(operations).items()]
    return f"exec {''.join(lines)}{command}\n"


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def _text(name: str, body: str) -> str:
    """A variable that holds `body`, by a here-document that nothing in `body` can end."""
    lines = set(body.splitlines())
    end, number = name.upper(), 0
    while end in lines:
        number += 1
        end = f"{name.upper()}_{number}"
    return f"{name}=$(cat <<'{end}'\n{body}{end}\n)\n"


# beside the child


def _helper(plan: Plan, spec: Spec, hooks: list[Operation]) -> str:
    parts = [
        _HELPER,
        _indented("".join(_commands(_attaching(plan)))),
        _LET_GO,
    ]
    if hooks:
        parts += [
            '    read -r word < "$gate/child"\n',
            f"    {_state(plan, spec, 'creating')}\n",
            "    export state\n",
            *(_hook(spec, one) for one in hooks),
            _LET_GO,
        ]
    return "".join((*parts, "    trap - EXIT\n", ") &\n", "helper=$!\n"))


def _state(plan: Plan, spec: Spec, status: str) -> str:
    """Sets `state` to what hooks get on standard input (runtime.md#state)."""
    before = {"ociVersion": spec.oci_version, "id": plan.id, "status": status}
    after = {
        "bundle": plan.bundle,
        **({"annotations": spec.annotations} if spec.annotations else {}),
    }
    left = json.dumps(before)[:-1] + ', "pid": '
    right = ", " + json.dumps(after)[1:]
    return f'state={quote(left)}"$pid"{quote(right)}'


def _hook(spec: Spec, operation: Operation) -> str:
    (line,) = operation.shell
    if "createContainer" in operation.source:
        line = f'nsenter --target "$pid" {_own_namespaces(spec)} sh -c {quote(line)}'
    return f"    # {_comment(operation.title)}\n    {line}\n"


_OPTION = {"network": "--net", "user": "--user --preserve-credentials"}


def _own_namespaces(spec: Spec) -> str:
    given = (spec.linux.namespaces if spec.linux else None) or ()
    return " ".join(_OPTION.get(one.type, f"--{one.type}") for one in given)


# the child


def _setup(plan: Plan, spec: Spec, hooks: bool) -> str:
    """From the new namespaces to the program."""
    pivots = _of(plan, Actor.CHILD, Phase.PIVOT)
    # by path they must be done before the paths change
    before = [one for one in pivots if not _pivots(one) and _below_root(one)]
    after = [one for one in pivots if one not in before]
    last = _of(plan, Actor.CHILD, Phase.EXEC)
    parts = [
        "set -eu\numask 022\n",
        *_commands(_staying(_of(plan, Actor.CHILD, Phase.SETUP))),
        _WAIT_FOR_HOOKS if hooks else "",
        *_commands(before),
        _home(last, spec),
        "\n",
        _OLD_ROOT,
        *_commands(after),
        *_start_hooks(plan, spec),
        *_commands(_without_program(last)),
        "# who it is, what it may, and then the program\n",
        _program(last),
    ]
    return "".join(parts)


def _home(operations: list[Operation], spec: Spec) -> str:
    """Sets `home` for an environment that asks for it: while it is the host's tools that look."""
    if not any("$home" in entry for one in operations for entry in one.shell):
        return ""
    uid = spec.process.user.uid if spec.process else 0
    return (
        "# where its user is at home\n"
        f"home=$(cut -d : -f 3,6 \"$rootfs/etc/passwd\" 2>/dev/null | sed -n 's/^{uid}://p;T;q')\n"
        "home=${home:-/}\n"
    )


def _pivots(operation: Operation) -> bool:
    return any(entry.startswith("pivot_root ") for entry in operation.shell)


def _below_root(operation: Operation) -> bool:
    return any('"$rootfs"' in entry for entry in operation.shell)


def _start_hooks(plan: Plan, spec: Spec) -> list[str]:
    planned = _of(plan, Actor.PARENT, Phase.START)
    inside = [one for one in planned if "startContainer" in one.source]
    lines = [
        f"# not done here: {_comment(one.title)} ({one.source})\n"
        for one in planned
        if one not in inside
    ]
    if inside:
        lines += [_state(plan, spec, "created") + "\n", *_with_env(inside)]
    return lines


def _with_env(operations: list[Operation]) -> list[str]:
    lines = []
    for one in operations:
        lines += [f"# {_comment(one.title)}\n", *(f"{entry}\n" for entry in one.shell)]
    return lines


def _without_program(operations: list[Operation]) -> list[Operation]:
    return [one for one in operations if not any(_executes(entry) for entry in one.shell)]


def _executes(entry: str) -> bool:
    return entry.startswith("exec ")


def _program(operations: list[Operation]) -> str:
    """setpriv and env, from the old root; env leaves that one for the new working directory. What is
    to be said by the process itself, as late as can be (`sh`), a shell says between them."""
    program = next(
        entry.removeprefix("exec ") for one in operations for entry in one.shell if _executes(entry)
    )
    found, where = _wrappers(operations), ""
    if said := found.pop("sh", []):
        found["sh"] = ["-c", quote(" && ".join((*said, 'exec "$@"'))), "sh"]
        where = "PWD=/proc/self/cwd "  # a shell looks where it is, and complains of a lost root
    # env comes last: with the working directory it leaves the tools behind
    wrappers = sorted(found.items(), key=lambda one: {"sh": 1, "env": 2}.get(one[0], 0))
    lines = [f'$old "$host_{tool}" {" ".join(words)} \\\n    ' for tool, words in wrappers]
    return f"{where}exec {''.join(lines)}{program}\n"


def _launch(plan: Plan) -> str:
    """Into the namespaces; the script ends as the child does."""
    way = [*_of(plan, Actor.CHILD, Phase.JOIN), *_of(plan, Actor.PARENT, Phase.CLONE)]
    lines = [f"{tool} {' '.join(words)} \\\n    " for tool, words in _wrappers(way).items()]
    titles = "".join(f"# {_comment(one.title)}\n" for one in way)
    # what is written before a namespace is joined is inherited by what this shell starts
    first = "".join(_commands(_of(plan, Actor.CHILD, Phase.JOIN)))
    return f'{first}{titles}{"".join(lines)}sh -c "$enter"\n'
