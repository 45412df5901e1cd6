"""`image build`: from a Dockerfile, or from build.yml."""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.commands.image_transfer import tenant
from mobyshell.commands.output import clean
from mobyshell.commands.registry import FILE, NUMBER, TEXT, WRITE, option, optional, switch, verb
from mobyshell.commands.results import Done
from mobyshell.commands.stored import labels_of
from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobyshell.commands.context import Context
    from mobyshell.moby.build.steps import Stage
    from mobyshell.moby.tenant import Tenant

LARGEST = 1 << 20
N = "image"
_KEPT = 200
"""Pieces of the output of RUN that are remembered where it is not shown."""
_FILES = ("Dockerfile", "Containerfile", "build.yml", "build.yaml")


@verb(
    N, "build",
    optional("context", FILE, "the directory whose files can be copied, or a build file", default="."),
    option("-t --tag", "a name for the image", TEXT, many=True),
    option("-f --file", "the Dockerfile or build.yml (default: what the context has); - for stdin", FILE),
    option("--build-arg", "NAME=VALUE for an ARG", TEXT, many=True),
    option("--target", "the stage to build (default: the last)", TEXT, default=""),
    option("--label", "NAME=VALUE", TEXT, many=True),
    option("--platform", "OS/ARCH[/VARIANT] to build for (default: this machine's)", TEXT, default=""),
    option("--secret", "for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME", TEXT, many=True),
    option("--ssh", "for RUN --mount=type=ssh: default or ID=SOCKET", TEXT, many=True),
    option("--network", "of RUN: none, host, or a network (bridge, pasta, …)", TEXT, default="none"),
    option("--epoch", "no time in the image is later: seconds (default: $SOURCE_DATE_EPOCH)", NUMBER),
    option("--snapshotter", "which keeps its trees"),
    switch("--no-cache", "do every step again"),
    effect=WRITE, example="image build -t made build.yml", asks="-t ",
)  # fmt: skip
def build(
    ctx: Context, *, context: str, tag: tuple[str, ...], file: str | None,
    build_arg: tuple[str, ...], target: str, label: tuple[str, ...], platform: str,
    secret: tuple[str, ...], ssh: tuple[str, ...], network: str, epoch: int | None,
    snapshotter: str | None, no_cache: bool,
) -> Done:  # fmt: skip
    """Build an image: each step upon the one before, cached by what it depends on.

    A Dockerfile (docs/build.md says what of it; the rest is refused by name), or build.yml: a list of
    programs of this machine, files and commands, for bases that need no network. With an epoch the
    same input makes the same image, wherever it is built.
    """
    from mobyshell.moby.build.builder import build as make
    from mobyshell.moby.build.dockerfile import EPOCH
    from mobyshell.moby.build.options import Options
    from mobyshell.moby.build.secrets import read_secret

    directory, path = _where(context, file)
    if path is None and ctx.narrate is not None:  # where the keys are the face's
        raise UsageError("-f - is for the command line", hint="-f FILE")
    arguments = _arguments(build_arg)
    write, kept = _output(ctx), deque[bytes](maxlen=_KEPT)
    space = tenant(ctx)
    stages = _stages(path, arguments, platform, space)
    options = Options(
        context=directory, ignore=_ignore(path), target=target, cached=not no_cache,
        epoch=_epoch(epoch, arguments.get(EPOCH, "")),
        network=network, snapshotter=snapshotter or "", labels=labels_of(label),
        secrets=dict(read_secret(word) for word in secret), agents=dict(_agent(word) for word in ssh),
        told=lambda step, cached: ctx.say(f"{'cached  ' if cached else '        '}{clean(step)}"),
        output=kept.append if ctx.quiet else write,
    )  # fmt: skip
    try:
        done = make(space, stages, tag, options)
    except MobyshellError:
        for data in kept:  # why it failed is told, however quiet it shall be
            write(data)
        raise
    return Done(done.digest, said=f"built {', '.join(tag) or done.digest}")


@verb(
    N, "prune-cache", effect=WRITE, example="image prune-cache",
)  # fmt: skip
def prune_cache(ctx: Context) -> Done:
    """Forget what builds have cached, layers and cache mounts; the disk space comes back with it."""
    from mobyshell.commands.stored import collect
    from mobyshell.moby.build.cache import Cache

    count = Cache(ctx.space).prune()
    said = collect(ctx)
    return Done(said=f"forgot {count} step{'s'[: count != 1]}" + (f"; {said}" if said else ""))


def _where(context: str, file: str | None) -> tuple[Path, Path | None]:
    """The context and the build file; None for standard input."""
    given = Path(context)
    if file is None and given.is_file():
        return given.parent, given
    if not given.is_dir():
        raise NotFound(f"there is no directory {clean(context):.100}")
    if file is not None:
        return given, Path(file) if file != "-" else None
    for name in _FILES:
        if (given / name).is_file():
            return given, given / name
    raise NotFound(f"no {' or '.join(_FILES[:3])} in {clean(context):.100}", hint="-f FILE")


def _ignore(path: Path | None) -> Path | None:
    """The build file's own .dockerignore, which counts instead of the context's."""
    own = path.with_name(f"{path.name}.dockerignore") if path is not None else None
    return own if own is not None and own.is_file() else None


def _arguments(words: tuple[str, ...]) -> dict[str, str]:
    given = {}
    for word in words:
        name, equals, value = word.partition("=")
        given[name] = value if equals else os.environ.get(name, "")
    return given


def _agent(word: str) -> tuple[str, str]:
    """The id and the socket of `default`, `ID` or `ID=SOCKET`."""
    id, equals, path = word.partition("=")
    path = path if equals else os.environ.get("SSH_AUTH_SOCK", "")
    if not path:
        raise UsageError("there is no SSH_AUTH_SOCK", hint="ssh-agent, or --ssh ID=SOCKET")
    if Path(path).is_file():
        raise UsageError(f"{clean(path):.100} is a key, and not an agent's socket",
                         hint="ssh-add it to an agent")  # fmt: skip
    return id, path


def _stages(
    path: Path | None, arguments: dict[str, str], platform: str, space: Tenant
) -> list[Stage]:
    from dataclasses import replace

    from mobyshell.moby.build.buildfile import parse_buildfile
    from mobyshell.moby.build.dockerfile import parse_dockerfile
    from mobyshell.moby.build.trees import bases

    try:
        with path.open("rb") if path is not None else nullcontext(sys.stdin.buffer) as file:
            text = file.read(LARGEST + 1).decode("utf-8", "replace")
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from None
    if path is not None and path.suffix in (".yml", ".yaml"):
        if arguments:
            raise UsageError("a build.yml has no arguments")
        return [replace(one, platform=one.platform or platform) for one in parse_buildfile(text)]
    return parse_dockerfile(text, arguments, platform=platform, bases=bases(space))


def _epoch(given: int | None, argument: str) -> int | None:
    if given is not None:
        return given
    word = argument or os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(word) if word.isdecimal() and len(word) < 12 else None


def _output(ctx: Context) -> Callable[[bytes], None]:
    """Where the output of RUN goes: it is narration, and a stranger's."""

    def write(data: bytes) -> None:
        if ctx.narrate is not None:
            for line in data.decode("utf-8", "replace").splitlines():
                ctx.say(clean(line))
            return
        text = data.decode("utf-8", "replace")
        sys.stderr.write("".join(ch if ch in "\n\t" or ch.isprintable() else "?" for ch in text))
        sys.stderr.flush()

    return write
