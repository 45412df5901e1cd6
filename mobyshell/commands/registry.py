"""The verb table: what can be said, and all that every face must know to say it.

A verb is a function in `commands/<noun>.py`, declared by `@verb`. From this one declaration come
the command line, the REPL, completion, the TUI's command line, palette, keys, confirmations and
read-only mode, and the reference in docs/.

Plain classes, and nouns loaded when they are first asked for: this file is on the way of every
call of `mobyshell`, where each import is milliseconds.
"""

from __future__ import annotations

from importlib import import_module

from mobyshell.core.errors import UsageError

TYPE_CHECKING = False  # checkers know it by its name; typing's own costs a tenth of `task ls`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from mobyshell.commands.results import Result

READ, WRITE, DESTROY = "read", "write", "destroy"
"""What a verb does to the world: looks, makes or changes, or takes away what cannot be had back."""

RUNNABLE = "runnable"
"""A container or a task, which have the same id where they are the same thing."""
TASK, BUNDLE, FILE, SIGNAL, TEXT, NUMBER = "task", "bundle", "file", "signal", "text", "number"
SIZE, SECONDS, SOURCE, NAMESPACE_KIND, PID, SNAPSHOT = (
    "size", "seconds", "source", "namespace-kind", "pid", "snapshot",
)  # fmt: skip
IMAGE, CONTAINER, BLOB, TENANT = "image", "container", "blob", "namespace"
NETWORK, VOLUME, LEASE, WHERE, PROCESS = "network", "volume", "lease", "ns", "process"
"""Kinds of arguments: how they are completed, and how their words are read (`arguments`)."""


_USAGE = 80
"""Characters of a usage line that can be read at a glance."""


class Parameter:
    """One argument of a verb.

    `flags` are its spellings (`--detach`, `-d`); without any it is positional. A `switch` takes no
    value; `many` may be given several times; `rest` takes the command, which begins after the
    positional words (for verbs that are not `greedy` with a word that is no option, or after `--`).
    """

    __slots__ = ("choices", "default", "flags", "help", "kind", "many", "name", "required", "rest",
                 "switch")  # fmt: skip

    def __init__(
        self, name: str, kind: str = TEXT, help: str = "", *, flags: tuple[str, ...] = (),
        switch: bool = False, many: bool = False, rest: bool = False, required: bool = False,
        default: Any = None, choices: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.name, self.kind, self.help, self.flags = name, kind, help, flags
        self.switch, self.many, self.rest, self.required = switch, many, rest, required
        self.choices = choices
        self.default = False if switch and default is None else () if many or rest else default

    @property
    def metavar(self) -> str:
        """How the value is called in usage lines."""
        return "COMMAND…" if self.rest else self.name.upper().replace("_", "-")

    @property
    def usage(self) -> str:
        """How the parameter stands in a usage line."""
        if self.rest:
            return f"[{self.metavar}]"
        if not self.flags:
            word = f"{self.metavar}…" if self.many else self.metavar
            return word if self.required else f"[{word}]"
        flag = min(self.flags, key=len)
        return f"[{flag}]" if self.switch else f"[{flag} {self.metavar}]"


def argument(name: str, kind: str, help: str, **more: Any) -> Parameter:
    """A required positional argument."""
    return Parameter(name, kind, help, required=True, **more)


def optional(name: str, kind: str, help: str, **more: Any) -> Parameter:
    """A positional argument that may be left out."""
    return Parameter(name, kind, help, **more)


def option(flags: str, help: str, kind: str = TEXT, **more: Any) -> Parameter:
    """An option with a value; `flags` as in `--name` or `-n --name`."""
    spellings = tuple(flags.split())
    name = next(one for one in spellings if one.startswith("--"))[2:].replace("-", "_")
    return Parameter(more.pop("name", name), kind, help, flags=spellings, **more)


def switch(flags: str, help: str, **more: Any) -> Parameter:
    """An option without a value."""
    return option(flags, help, switch=True, **more)


def command(help: str) -> Parameter:
    """The words of a command to run."""
    return Parameter("command", TEXT, help, rest=True)


class Verb:
    """A verb of the table. `confirm` is the question before it, "" for none; `asks` what stands
    after the subject in a line that a person has to finish, None where the subject is enough."""

    __slots__ = (
        "asks",
        "confirm",
        "effect",
        "example",
        "greedy",
        "key",
        "noun",
        "parameters",
        "plan",
        "run",
        "verb",
    )

    def __init__(
        self, noun: str, verb: str, run: Callable[..., Result], *, effect: str,
        parameters: tuple[Parameter, ...], example: str, key: str, greedy: bool,
        plan: Callable[..., Result] | None, confirm: str = "", asks: str | None = None,
    ) -> None:  # fmt: skip
        self.noun, self.verb, self.run, self.effect = noun, verb, run, effect
        self.parameters, self.example, self.key = parameters, example, key
        self.greedy, self.plan, self.confirm, self.asks = greedy, plan, confirm, asks

    @property
    def name(self) -> str:
        """`task run`; a verb without a noun is its own name."""
        return f"{self.noun} {self.verb}" if self.verb else self.noun

    @property
    def summary(self) -> str:
        """The first line of its docstring."""
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    @property
    def description(self) -> str:
        """Its whole docstring, without the indentation."""
        import inspect

        return inspect.cleandoc(self.run.__doc__ or "")

    @property
    def usage(self) -> str:
        """`task run [-d] … BUNDLE [COMMAND…]`."""
        options = [one.usage for one in self.parameters if one.flags]
        return " ".join((self.name, *options, *self._words))

    @property
    def short_usage(self) -> str:
        """`task run [OPTION…] BUNDLE [COMMAND…]`, where all the options would fill several lines."""
        short = " ".join((self.name, "[OPTION…]", *self._words))
        return self.usage if len(self.usage) <= _USAGE else short

    @property
    def _words(self) -> list[str]:
        words = [one.usage for one in self.parameters if not one.flags]
        if self.greedy:
            words = [word.replace("[COMMAND…]", "COMMAND…") for word in words]
        return words

    @property
    def positional(self) -> tuple[Parameter, ...]:
        """The positional parameters, without the rest."""
        return tuple(one for one in self.parameters if not one.flags and not one.rest)

    @property
    def rest(self) -> Parameter | None:
        """The parameter that takes a command, if there is one."""
        return next((one for one in self.parameters if one.rest), None)

    @property
    def line_to_finish(self) -> str | None:
        """What a person has to go on from after the subject; None where there is nothing to add."""
        more = sum(one.required for one in self.positional) > 1
        more = more or (self.rest is not None and self.rest.required)
        return self.asks if self.asks is not None else "" if more else None

    @property
    def subject(self) -> str:
        """The kind of what it acts on: that of its first positional argument; "" if none."""
        first = self.positional
        return first[0].kind if first else ""


NOUNS = {
    "bundle": "bundles: a config.json and a root filesystem",
    "task": "tasks: containers alive",
    "image": "images: names for what registries and archives hold",
    "container": "containers: what is to run",
    "content": "content: blobs by their digest",
    "namespace": "namespaces: tenants, to whom all of this belongs",
    "lease": "leases: what holds things that nothing else needs yet",
    "snapshot": "snapshots: trees of files upon each other, of images and containers",
    "store": "the store as a whole: garbage, reasons, soundness",
    "network": "networks: what tasks are joined to",
    "volume": "volumes: directories that outlive tasks",
    "metrics": "metrics: numbers for Prometheus",
    "debug": "processes of mobyshell: what they do, hold, and spend their time on",
    "ns": "the kernel's namespaces",
    "events": "what happens, as it happens",
    "bench": "measuring against runc and others",
    "doctor": "what this machine can and cannot do",
    "completion": "shell completion",
    "version": "versions",
}
"""Every noun with what it is; its verbs are in the module of its name."""

_MODULES = {
    "task": ("task", "task_looks"),
    "container": ("container", "container_run", "container_start"),
    "snapshot": ("snapshot", "snapshot_looks"),
    "bench": ("bench", "bench_load"),
    "image": (
        "image_transfer",
        "image",
        "image_looks",
        "image_mount",
        "image_build",
        "image_trust",
    ),
}
"""Nouns whose verbs are in more than the module of their name, in the order they are listed."""

SHORTCUTS = {
    "run": ("container", "run"), "ps": ("task", "ls"), "exec": ("task", "exec"),
    "logs": ("task", "logs"), "stop": ("task", "stop"), "rm": ("container", "rm"),
}  # fmt: skip
"""The everyday words, and the verbs they stand for."""

_VERBS: dict[str, dict[str, Verb]] = {}  # filled once per noun by its module's import


def verb(
    noun: str, name: str, *parameters: Parameter, effect: str = READ, example: str, key: str = "",
    greedy: bool = False, plan: Callable[..., Result] | None = None, confirm: str = "",
    asks: str | None = None,
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:  # fmt: skip
    """Declare the decorated function as a verb.

    It is called with the context and its parameters by name. `example` is a line that a test
    runs; `key` the TUI's key for it; `plan` shows what it would do, for `--plan`;
    `confirm` is what a person at a terminal is asked first; `asks` are the words (mostly an option)
    that a verb wants besides its subject, as far as they can be known.
    """

    def declare(run: Callable[..., Result]) -> Callable[..., Result]:
        table = _VERBS.setdefault(noun, {})
        table[name] = Verb(noun, name, run, effect=effect, parameters=parameters, example=example,
                           key=key, greedy=greedy, plan=plan, confirm=confirm,
                           asks=asks)  # fmt: skip
        return run

    return declare


def verbs_of(noun: str) -> dict[str, Verb]:
    """The verbs of a noun, by name, in the order they were declared. UsageError for another word."""
    if noun not in NOUNS:
        from mobyshell.commands import foreign

        if noun.startswith("-"):
            raise UsageError(
                f"unknown option {noun!r}",
                hint=foreign.option("", noun) or "`mobyshell help` lists those there are",
            )
        hint = foreign.word(noun) or _elsewhere(noun) or _nearest(noun, (*NOUNS, *SHORTCUTS))
        raise UsageError(f"unknown command {noun!r}", hint=hint)
    # not "if it has none yet": a part of a noun may have been imported for something else
    modules = [f"mobyshell.commands.{module}" for module in _MODULES.get(noun, (noun,))]
    for module in modules:
        import_module(module)
    # nor as they came: that part would be the first
    table = _VERBS[noun]
    return {name: one for module in modules for name, one in table.items()
            if one.run.__module__ == module}  # fmt: skip


def all_verbs() -> Iterator[Verb]:
    """Every verb of every noun."""
    for noun in NOUNS:
        yield from verbs_of(noun).values()


def find(noun: str, name: str) -> Verb:
    """The verb `noun name`. UsageError, with what was perhaps meant, if there is none."""
    if noun in _MODULES:  # the module of its name, which often is enough
        import_module(f"mobyshell.commands.{noun}")
        if name in _VERBS[noun]:
            return _VERBS[noun][name]
    table = verbs_of(noun)
    if name not in table:
        from mobyshell.commands import foreign

        hint = (foreign.word(noun, name, table) or _beside(noun, name)
                or _nearest(name, tuple(table), noun))  # fmt: skip
        raise UsageError(f"unknown command {f'{noun} {name}'.strip()!r}", hint=hint)
    return table[name]


def lookup(words: list[str]) -> tuple[Verb, list[str]]:
    """The verb that `words` begin with, and the words after it. UsageError if they name none."""
    if not words:
        raise UsageError("no command", hint="`mobyshell help` lists them")
    first = words[0]
    if first in SHORTCUTS:
        return find(*SHORTCUTS[first]), words[1:]
    if first in _MODULES and len(words) > 1 and not words[1].startswith("-"):
        return find(first, words[1]), words[2:]
    table = verbs_of(first)
    if "" in table:
        return table[""], words[1:]
    if len(words) < 2 or words[1].startswith("-"):
        raise UsageError(f"{first}: which of {', '.join(table)}?",
                         hint=f"`mobyshell help {first}` explains them")  # fmt: skip
    return find(first, words[1]), words[2:]


def _elsewhere(word: str) -> str:
    """The nouns that have a verb of this name: other engines' words begin with it."""
    found = [f"`mobyshell {one.name}`" for one in all_verbs() if one.name == f"{one.noun} {word}"]
    return " or ".join(found[:3])


def _beside(noun: str, name: str) -> str:
    """The verb of a container's task, or of a task's container: most engines know only one."""
    other = {"container": "task", "task": "container"}.get(noun, "")
    return f"`mobyshell {other} {name}`" if other and name in verbs_of(other) else ""


def _nearest(word: str, known: tuple[str, ...], noun: str = "") -> str:
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {f'{noun} {close[0]}'.strip()!r}?"
    return f"`mobyshell help{f' {noun}' if noun else ''}` lists what there is"
