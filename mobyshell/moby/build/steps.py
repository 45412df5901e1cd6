"""What a build consists of, as values; whatever it was read from. Touches nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`text`: as it was written, for people and for the history; `line`: where."""

    text: str
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Step):
    """Run a command. `args` whole; with `shell` it is one word, for the stage's shell."""

    args: tuple[str, ...]
    shell: bool = False
    network: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Step):
    """Files into the image. `source`: another stage or image; "" for the build's context. `unpack`:
    archives among them are unpacked (ADD)."""

    paths: tuple[str, ...]
    target: str
    source: str = ""
    owner: str = ""
    mode: int | None = None
    unpack: bool = False


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
    added to what is there (a mapping, a set)."""

    member: str
    value: str | tuple[str, ...] | Mapping[str, str] | frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Step):
    """What runs a RUN, CMD or ENTRYPOINT that is written as one text."""

    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument(Step):
    """A variable of the build: its value is in the environment of what is run, not in the image."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps upon a base: an image, an earlier stage, or `scratch`."""

    base: str
    name: str
    steps: tuple[Step, ...]
    platform: str = ""
    line: int = 0


SCRATCH = "scratch"
DEFAULT_SHELL = ("/bin/sh", "-c")
