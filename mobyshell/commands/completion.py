"""`completion`: shell completion, and the hidden question that the shells ask."""

from __future__ import annotations

import os

from mobyshell.commands import registry as r
from mobyshell.commands.arguments import own_words
from mobyshell.commands.registry import READ, Parameter, Verb, verb
from mobyshell.commands.results import Text
from mobyshell.commands.rows import task_row
from mobyshell.core.errors import MobyshellError

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from mobyshell.commands.context import Context

_BASH = """\
_mobyshell() {
    local IFS=$'\\n'
    COMPREPLY=($(mobyshell completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    # a file name: let bash add the slash or the space
    [ "${#COMPREPLY[@]}" -eq 0 ] && compopt -o default
    return 0
}
complete -o nosort -F _mobyshell mobyshell
"""

_ZSH = """\
#compdef mobyshell
_mobyshell() {
    local -a words_found
    words_found=("${(@f)$(mobyshell completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${words_found[1]}" ]]; then compadd -a words_found; else _files; fi
}
compdef _mobyshell mobyshell
"""

_FISH = """\
function __mobyshell_words
    set -l words (commandline -opc) (commandline -ct)
    mobyshell completion words -- $words[2..-1] 2>/dev/null
end
complete -c mobyshell -f -a '(__mobyshell_words)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def _declare(shell: str, where: str) -> None:
    @verb("completion", shell, effect=READ, example=f"completion {shell}")
    def script(ctx: Context) -> Text:
        return Text(SCRIPTS[shell])

    script.__doc__ = f"Print the completion script for {shell}.\n\n{where}"


_declare("bash", "    mobyshell completion bash > /etc/bash_completion.d/mobyshell")
_declare("zsh", "    mobyshell completion zsh > /usr/share/zsh/site-functions/_mobyshell")
_declare("fish", "    mobyshell completion fish > /etc/fish/completions/mobyshell.fish")


@verb(
    "completion", "words",
    Parameter("words", "text", "the words so far, the last one unfinished", rest=True),
    effect=READ, example="completion words -- task r",
)  # fmt: skip
def words(ctx: Context, *, words: tuple[str, ...]) -> Text:
    """Print what the last of some words could become: what the shells' scripts ask."""
    found = complete(ctx, list(words) or [""])
    return Text("".join(f"{one}\n" for one in found))


def complete(ctx: Context, words: list[str]) -> list[str]:
    """The completions of the last word, given those before it; none where it may be anything."""
    *before, last = words
    try:
        found = _candidates(ctx, before, last)
    except MobyshellError:
        return []
    return [one for one in found if one.startswith(last)]


def _candidates(ctx: Context, before: list[str], last: str) -> list[str]:
    from mobyshell.commands.cli import SWITCHES, VALUED, Options

    if "--" not in before and before[-1:] and before[-1] in VALUED:
        return _namespaces(ctx) if before[-1] == "--namespace" else _directories(last, bundles=True)
    before = Options().take(before)
    everywhere = [*VALUED, *(one for one in SWITCHES if one.startswith("--"))]
    if not before:
        return everywhere if last.startswith("-") else [*r.NOUNS, *r.SHORTCUTS, "help", "repl"]
    if before[0] == "help":
        return [*r.NOUNS, *r.SHORTCUTS] if len(before) == 1 else [*r.verbs_of(before[1])]
    if before[0] == "repl":
        flags = ["--keep-going", "-c", "-k"]
        return flags if last.startswith("-") else _directories(last, bundles=False)
    if before[0] not in r.SHORTCUTS and len(before) == 1:
        table = r.verbs_of(before[0])
        if "" not in table:
            return everywhere if last.startswith("-") else list(table)
    found, given = r.lookup(before)
    if "--" in given:
        return []
    waiting = _option_waiting(found, given)
    if waiting is not None:
        return values_of(ctx, waiting, last)
    if last.startswith("-"):
        own = [flag for one in found.parameters for flag in one.flags if flag.startswith("--")]
        return own + [one for one in everywhere if one != "--plan" or found.plan is not None]
    place = _position(found, given)
    return values_of(ctx, place, last) if place is not None else []


def _namespaces(ctx: Context) -> list[str]:
    from mobyshell.core.tasks.view import namespaces

    return namespaces(ctx.state)


def _option_waiting(found: Verb, given: list[str]) -> Parameter | None:
    """The option whose value comes next."""
    if not given or not given[-1].startswith("-"):
        return None
    return next(
        (one for one in found.parameters if given[-1] in one.flags and not one.switch), None
    )


def _position(found: Verb, given: list[str]) -> Parameter | None:
    """The positional parameter that comes next."""
    count, _ = own_words(found, given)
    positional = found.positional
    if count < len(positional):
        return positional[count]
    return positional[-1] if positional and positional[-1].many else None


def values_of(ctx: Context, parameter: Parameter, prefix: str) -> list[str]:
    """What a parameter could be, beginning with `prefix`."""
    if parameter.choices:
        return list(parameter.choices)
    kind = parameter.kind
    if kind in (r.TASK, r.WHERE):
        return [str(task_row(one)["id"]) for one in ctx.listed()]
    if kind == r.RUNNABLE:
        return sorted(
            {*_stored(ctx, r.CONTAINER), *(str(task_row(one)["id"]) for one in ctx.listed())}
        )
    if kind == r.SNAPSHOT:
        from mobyshell.core.store.snapshots.choose import snapshotter

        return [one.name for one in snapshotter(ctx.space.scope).walk()]
    if kind == r.SIGNAL:
        return ["TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH"]
    if kind == r.SOURCE:
        if prefix.startswith("tar:"):
            return [f"tar:{one}" for one in _directories(prefix[4:], bundles=False)]
        return ["busybox", "host:", "tar:"]
    if kind in (r.IMAGE, r.CONTAINER, r.BLOB, r.TENANT, r.LEASE):
        return _stored(ctx, kind)
    if kind == r.PROCESS:
        from mobyshell.core.tasks.attachable import processes

        return ["shim", *(str(one.pid) for one in processes())]
    if kind == r.NETWORK:
        return _networks(ctx, flag=bool(parameter.flags))
    if kind == r.VOLUME:
        return _volumes(ctx, prefix, flag=bool(parameter.flags))
    if kind in (r.BUNDLE, r.FILE):
        return _directories(prefix, bundles=kind == r.BUNDLE)
    return []


def _stored(ctx: Context, kind: str) -> list[str]:
    """Names of what is in the store, where there is one."""
    if not ctx.has_store:
        return []
    if kind == r.TENANT:
        return sorted({*_namespaces(ctx), *(one.name for one in ctx.store.namespaces.list())})
    if kind == r.IMAGE:
        return [one.name for one in ctx.space.images.list()]
    if kind == r.CONTAINER:
        return [one.id for one in ctx.space.containers.list()]
    if kind == r.LEASE:
        return [one.id for one in ctx.space.leases.list()]
    return [one.digest for one in ctx.space.content.walk()]


def _networks(ctx: Context, *, flag: bool) -> list[str]:
    from mobyshell.core.network.networks import Networks

    found = [one.name for one in Networks(ctx.root, ctx.namespace, "").ls()]
    if flag:
        found += ["none", "host", "pasta", "slirp4netns"]
        found += [f"container:{task_row(one)['id']}" for one in ctx.listed()]
    return found


def _volumes(ctx: Context, prefix: str, *, flag: bool) -> list[str]:
    from mobyshell.core.volumes.volumes import Volumes

    if flag and prefix.startswith("/"):
        return _directories(prefix, bundles=False)
    return [f"{one.name}:/" if flag else one.name for one in Volumes(ctx.root, ctx.namespace).ls()]


def _directories(prefix: str, *, bundles: bool) -> list[str]:
    head, _, _ = prefix.rpartition("/")
    base = f"{head}/" if head or prefix.startswith("/") else ""
    try:
        entries = sorted(os.scandir(base or "."), key=lambda one: one.name)
    except OSError:
        return []
    found = []
    for one in entries:
        if one.name.startswith(".") or not (one.is_dir() or not bundles):
            continue
        is_bundle = bundles and os.path.exists(os.path.join(one.path, "config.json"))
        found.append(base + one.name + ("" if is_bundle or not one.is_dir() else "/"))
    return found
