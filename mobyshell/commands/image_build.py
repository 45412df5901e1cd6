"""`image build`: from a Dockerfile, or from build.yml."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.commands.image_transfer import tenant
from mobyshell.commands.output import clean
from mobyshell.commands.registry import FILE, NUMBER, TEXT, WRITE, option, optional, switch, verb
from mobyshell.commands.results import Done
from mobyshell.commands.stored import labels_of
from mobyshell.core.errors import NotFound, SyscallFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobyshell.commands.context import Context
    from mobyshell.moby.build.steps import Stage

N = "image"
_FILES = ("Dockerfile", "Containerfile", "build.yml", "build.yaml")


@verb(
    N, "build",
    optional("context", FILE, "the directory whose files can be copied, or a build file", default="."),
    option("-t --tag", "a name for the image", TEXT, many=True),
    option("-f --file", "the Dockerfile or build.yml (default: what the context has)", FILE),
    option("--build-arg", "NAME=VALUE for an ARG", TEXT, many=True),
    option("--target", "the stage to build (default: the last)", TEXT, default=""),
    option("--label", "NAME=VALUE", TEXT, many=True),
    option("--network", "of RUN: none or host", TEXT, default="none", choices=("none", "host")),
    option("--epoch", "no time in the image is later: seconds (default: $SOURCE_DATE_EPOCH)", NUMBER),
    option("--snapshotter", "which keeps its trees"),
    switch("--no-cache", "do every step again"),
    effect=WRITE, example="image build -t made build.yml",
)  # fmt: skip
def build(
    ctx: Context, *, context: str, tag: tuple[str, ...], file: str | None,
    build_arg: tuple[str, ...], target: str, label: tuple[str, ...], network: str,
    epoch: int | None, snapshotter: str | None, no_cache: bool,
) -> Done:  # fmt: skip
    """Build an image: each step upon the one before, cached by what it depends on.

    A Dockerfile (FROM, RUN, COPY, ENV, … ; what is not supported is refused by name), or build.yml:
    a list of programs of this machine, files and commands, for bases that need no network. With an
    epoch the same input makes the same image, wherever it is built.
    """
    from mobyshell.moby.build.builder import build as make
    from mobyshell.moby.build.options import Options

    directory, path = _where(context, file)
    stages = _stages(path, build_arg)
    options = Options(
        context=directory, target=target, cached=not no_cache, epoch=_epoch(epoch),
        network=network, snapshotter=snapshotter or "", labels=labels_of(label),
        told=lambda step, cached: ctx.say(f"{'cached  ' if cached else '        '}{clean(step)}"),
        output=_output(ctx),
    )  # fmt: skip
    done = make(tenant(ctx), stages, tag, options)
    return Done(done.digest, said=f"built {', '.join(tag) or done.digest}")


@verb(
    N, "prune-cache", effect=WRITE, example="image prune-cache",
)  # fmt: skip
def prune_cache(ctx: Context) -> Done:
    """Forget what builds have cached; the disk space comes back with it."""
    from mobyshell.commands.stored import collect
    from mobyshell.moby.build.cache import Cache

    count = Cache(ctx.space).prune()
    said = collect(ctx)
    return Done(said=f"forgot {count} step{'s'[: count != 1]}" + (f"; {said}" if said else ""))


def _where(context: str, file: str | None) -> tuple[Path, Path]:
    """The context and the build file."""
    given = Path(context)
    if file is None and given.is_file():
        return given.parent, given
    if not given.is_dir():
        raise NotFound(f"there is no directory {clean(context):.100}")
    if file is not None:
        return given, Path(file)
    for name in _FILES:
        if (given / name).is_file():
            return given, given / name
    raise NotFound(f"no {' or '.join(_FILES[:3])} in {clean(context):.100}", hint="-f FILE")


def _stages(path: Path, arguments: tuple[str, ...]) -> list[Stage]:
    from mobyshell.moby.build.buildfile import parse_buildfile
    from mobyshell.moby.build.dockerfile import parse_dockerfile

    try:
        text = path.read_bytes()[: (1 << 20) + 1].decode("utf-8", "replace")
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from None
    given = {}
    for word in arguments:
        name, equals, value = word.partition("=")
        given[name] = value if equals else os.environ.get(name, "")
    if path.suffix in (".yml", ".yaml"):
        if given:
            raise UsageError("a build.yml has no arguments")
        return parse_buildfile(text)
    return parse_dockerfile(text, given)


def _epoch(given: int | None) -> int | None:
    if given is not None:
        return given
    word = os.environ.get("SOURCE_DATE_EPOCH", "")
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
