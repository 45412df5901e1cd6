"""What a build consists of, as values; whatever it was read from. Touches nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mobyshell.core.oci.image_config import Healthcheck
from mobyshell.moby.build.modes import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`text`: as it was written, for people and for the history; `line`: where."""

    text: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Inline:
    """A file whose content stands in the Dockerfile itself."""

    name: str
    content: str
    mode: int = 0o644
    when: int = 0

    def pieces(self) -> Iterator[bytes]:
        """Its content (`files.Piece`)."""
        yield self.content.encode("utf-8", "surrogateescape")


BIND, CACHE, TMPFS, SECRET, SSH = "bind", "cache", "tmpfs", "secret", "ssh"
SHARED, PRIVATE, LOCKED = "shared", "private", "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """What a RUN sees besides the image: nothing of it is in the layer. `source`: a path in the
    stage or image `base` ("" for the build's context); `id`: of a cache, secret or agent; `env`: the
    variable that a secret is in, instead of a file; `size`: bytes of a tmpfs."""

    kind: str
    target: str = ""
    source: str = ""
    base: str = ""
    id: str = ""
    readonly: bool = False
    sharing: str = SHARED
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size: int = 0
    required: bool = False
    env: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Step):
    """Run a command. `args` whole; with `shell` it is one word, for the stage's shell. `script`: a
    program to be run instead, at `SCRIPTS`; `unseen`: variables that the layer does not depend on."""

    args: tuple[str, ...]
    shell: bool = False
    network: str = ""
    mounts: tuple[RunMount, ...] = ()
    script: Inline | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)


SCRIPTS = "/dev/pipes"
"""Where a RUN finds its script (as BuildKit has it)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Step):
    """Files into the image. `source`: another stage or image; "" for the build's context; `files`
    stand for themselves. `unpack`: archives among them are unpacked, URLs fetched (ADD). `link`: the
    layer depends on nothing below it; `parents`: paths keep their directories; `excluded`: patterns of
    what is left out; `checksum`: of what is fetched; `repository`: the one path is a git repository,
    whose .git comes along with `keep_git`."""

    paths: tuple[str, ...]
    target: str
    source: str = ""
    owner: str = ""
    mode: Wanted | None = None
    unpack: bool = False
    files: tuple[Inline, ...] = ()
    link: bool = False
    parents: bool = False
    excluded: tuple[str, ...] = ()
    checksum: str = ""
    repository: bool = False
    keep_git: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs(Step):
    """Programs of this machine, with what they need; `links`: other names for them."""

    names: tuple[str, ...]
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Write(Step):
    """One file with this content, or (`content` None) a directory."""

    path: str
    content: str | None
    mode: int = 0o644
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Step):
    """The directory of what follows; made if it is not there."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Set(Step):
    """Change the configuration. `member`: its field there; values replace (a text, a list) or are
    added to what is there (a mapping, a set, the list of `on_build`)."""

    member: str
    value: str | tuple[str, ...] | Mapping[str, str] | frozenset[str] | Healthcheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Author(Step):
    """Who answers for the image (MAINTAINER)."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument(Step):
    """A variable of the build: its value is in the environment of what is run, not in the image."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps upon a base: an image, an earlier stage, or `scratch`. `triggered`: those that the base
    asks for (ONBUILD) are among them."""

    base: str
    name: str
    steps: tuple[Step, ...]
    platform: str = ""
    line: int = 0
    triggered: bool = False


SCRATCH = "scratch"
DEFAULT_SHELL = ("/bin/sh", "-c")
