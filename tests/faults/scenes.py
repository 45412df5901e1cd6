"""Where the experiments happen: a store with an image in it, and commands that change it.

The store is made once and copied for each point, so that a point is one command and not ten.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.check import check_root
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.walk import resolve
from mobyshell.core.tasks.client import TaskClient
from mobyshell.moby.client import Moby
from tests.conftest import left_over
from tests.core.runtime.conftest import cgroups_left
from tests.core.store import images
from tests.faults.strace import HERE
from tests.moby.test_client import put_image

BASE = "docker.io/library/base:latest"
MADE, BUILT = "docker.io/library/made:latest", "docker.io/library/built:latest"
PULLED = "REGISTRY/team/made:1"
"""Whose host is the stage's."""
LAYERS = (
    {f"first/{number}": f"{number}\n".encode() * 500 for number in range(12)},
    {"first/.wh.3": b"", "second/.wh..wh..opq": b"", "second/top": b"top\n" * 5000},
)
DOCKERFILE = """FROM base
COPY text /text
RUN --mount=type=cache,target=/cache <<EOF
echo run >> /cache/log; echo made > /made; rm /etc/group
EOF
"""
EPOCH = "1700000000"
PATIENCE = 60.0


@dataclass
class Place:
    """A store and a state of one's own, and the program on them."""

    directory: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.directory / "store"

    @property
    def state(self) -> Path:
        return self.directory / "state"

    def words(self, *words: str) -> list[str]:
        """The command line of `mobyshell` here."""
        return [sys.executable, "-m", "mobyshell", "--root", str(self.root), "--state",
                str(self.state), "--namespace", "demo", *words]  # fmt: skip

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*words), env=self.env, cwd=HERE, text=True, check=False,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=120)  # fmt: skip

    def ok(self, *words: str) -> str:
        """What it prints; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


class Stage:
    """The material, and a store with the image `base`, of which each point gets a copy."""

    def __init__(self, directory: Path, registry: str) -> None:
        """`registry`: a host that serves plain HTTP, and gets the image `made`."""
        self.directory, self.registry = directory, registry
        self.archive = directory / "made.tar"
        self.context = directory / "context"
        self.context.mkdir(parents=True)
        (self.context / "Dockerfile").write_text(DOCKERFILE)
        (self.context / "text").write_text("some text\n" * 1000)
        home = directory / "home"
        home.mkdir()
        self.env = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": str(home),
            "MOBYSHELL_LINGER": "0.2", "XDG_STATE_HOME": str(home), "XDG_CONFIG_HOME": str(home),
        }  # fmt: skip
        self._count = 0
        source = Place(directory / "source", self.env)
        with Moby(source.root, source.state, "demo") as moby:
            put_image(moby, BASE)
            with (directory / "base.tar").open("wb") as file:
                moby.export_images([BASE], file)
            target = images.image(moby.tenant.store.content, LAYERS)
            moby.tenant.store.images.put(MADE, target)
            with self.archive.open("wb") as file:
                moby.export_images([MADE], file)
        source.ok("image", "push", MADE, f"{registry}/team/made:1")
        base = self._base = Place(directory / "base", self.env)
        base.ok("image", "import", str(directory / "base.tar"), "--name", BASE)
        with Store.open(base.root) as store:
            space = store.namespace("demo")
            chain = chain_of(space, BASE)
            base.ok("snapshot", "prepare", "work", chain)
            own = Path(space.snapshotter().directories("work").directory)
        for number in range(20):
            (own / f"file-{number}").write_text(f"{number}\n" * 2000)

    @property
    def pulled(self) -> str:
        """The name of the image `made` in the registry."""
        return PULLED.replace("REGISTRY", self.registry)

    def place(self) -> Place:
        """A copy of its own."""
        self._count += 1
        place = Place(self.directory / f"p{self._count}", self.env)
        place.directory.mkdir()
        subprocess.run(["cp", "-a", str(self._base.root), str(place.root)], check=True)
        return place

    def empty(self) -> Place:
        """A place with nothing in it, not even a store."""
        self._count += 1
        return Place(self.directory / f"p{self._count}", self.env)

    def forget(self, place: Place) -> None:
        """Make room."""
        shutil.rmtree(place.directory)


def listing(root: Path) -> set[str]:
    """What there is below a store's root, without what comes and goes with processes, and without
    numbers that are given anew."""
    found = set()
    for above, _, files in os.walk(root):
        for name in files:
            path = (Path(above) / name).relative_to(root)
            if path.parts[0] == "locks" or path.name.startswith(("meta.db", ".chosen")):
                continue
            parts = ["N" if one.isdecimal() else one for one in path.parts[:3]]
            found.add("/".join([*parts, *path.parts[3:]]))
    return found


def tree_of(space: Namespace, key: str) -> str:
    """A digest of what a snapshot shows: names, types, modes, owners, contents."""
    place = space.snapshotter().directories(key)
    told = hashlib.sha256()

    def look(stack: Stack, path: str) -> None:
        for entry in stack.ls(path):
            info, name = entry.found, f"{path.rstrip('/')}/{entry.name}"
            told.update(
                f"{name} {info.st_mode:o} {info.st_uid} {info.st_gid} {entry.target}".encode()
            )
            if entry.is_directory:
                look(stack, name)
            elif not entry.target:
                told.update(stack.read(name, 1 << 30, follow=False))

    with Stack([place.directory, *place.lowers]) as stack:
        look(stack, "/")
    return told.hexdigest()


def quiet(place: Place, patience: float = PATIENCE) -> list[str]:
    """Processes of a place that stay; nothing, once those that end have ended."""
    deadline = time.monotonic() + patience
    while left := left_over(place.directory):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.02)
    return []


def findings(root: Path) -> list[str]:
    """What a check finds, but for files that no row names: these are garbage, and no more."""
    return [f"{one.kind} {one.subject}: {one.problem}" for one in check_root(root)
            if one.kind not in ("orphan", "lock")]  # fmt: skip


def chain_of(space: Namespace, image: str) -> str:
    """The name of an image's tree."""
    return resolve(space.content, space.images.get(image).target).chain_id


@dataclass(frozen=True)
class Act:
    """A command that changes the store. `image`: the name that it gives, whose digest is the same
    each time; `snapshot`: the one that it makes; `gone`: what the repeated command says if it is
    done already; `clear`: what takes it back."""

    name: str
    experiment: int
    words: Callable[[Stage], list[str]]
    image: str = ""
    snapshot: str = ""
    gone: str = ""
    clear: tuple[tuple[str, ...], ...] = ()


ACTS = (
    Act("import", 1, lambda stage: ["image", "import", str(stage.archive), "--name", "made"],
        image=MADE, clear=(("image", "rm", MADE),)),
    Act("pull", 1, lambda stage: ["image", "pull", stage.pulled], image=PULLED,
        clear=(("image", "rm", PULLED),)),
    Act("remove", 1, lambda _: ["image", "rm", "base"], gone="no image"),
    Act("commit", 3, lambda _: ["snapshot", "commit", "kept", "work"], snapshot="kept",
        gone="no snapshot 'work'", clear=(("snapshot", "rm", "kept"),)),
    Act("build", 3, lambda stage: ["image", "build", "-t", "built", "--epoch", EPOCH,
                                   str(stage.context)],
        image=BUILT, clear=(("image", "rm", BUILT), ("image", "prune-cache"))),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What is there after an act: the digest of its image, of its tree; the files when all is
    taken back."""

    digest: str
    tree: str
    left: frozenset[str]


class Judge:
    """Knows what an act leads to when nothing happens, and compares."""

    def __init__(self, stage: Stage, act: Act) -> None:
        self.stage, self.act = stage, act
        place = stage.place()
        place.ok(*act.words(stage))
        self.good = Outcome(*self._seen(place), frozenset(self._cleared(place)))
        assert findings(place.root) == []
        stage.forget(place)
        self.worst = 0.0

    def words(self, place: Place) -> list[str]:
        """The act's command line."""
        return place.words(*self.act.words(self.stage))

    def wrong(self, place: Place, *, done: bool) -> list[str]:
        """What is wrong after something happened to the act; `done`: it said that it succeeded. The
        place is used up."""
        # a container that was made and never started is there, with its shim, until the next build
        quiet(place, 10)
        found = findings(place.root)
        try:
            seen = self._seen(place)
            if seen != (self.good.digest, self.good.tree):
                found.append("what is there is not what it should be")
        except NotFound as error:
            if done:
                found.append(f"it was said to be there: {error}")
        began = time.monotonic()
        again = place.run(*self.act.words(self.stage))
        self.worst = max(self.worst, time.monotonic() - began)
        if again.returncode and not (self.act.gone and self.act.gone in again.stderr):
            found.append(f"again: {again.stderr}")
            return found
        if self._seen(place) != (self.good.digest, self.good.tree):
            found.append("again: what is there is not what it should be")
        left = self._cleared(place)
        with TaskClient(str(place.state), "demo") as tasks:
            found += [f"a task stays: {one.id}" for one in tasks.ls()]
        found += [f"a cgroup stays: {one}" for one in cgroups_left(place.state / "demo")]
        found += [f"left: {one}" for one in sorted(left - self.good.left)[:5]]
        found += [f"lost: {one}" for one in sorted(self.good.left - left)[:5]]
        found += [f"after all: {one}" for one in findings(place.root)]
        found += [f"a process stays: {one}" for one in quiet(place)]
        return found + [f"mounted: {one}" for one in mounts_below(place.directory)]

    def _seen(self, place: Place) -> tuple[str, str]:
        """NotFound if it is not there; another error if half of it is."""
        with Store.open(place.root) as store:
            space = store.namespace("demo")
            if self.act.image:
                name = self.stage.pulled if self.act.image == PULLED else self.act.image
                target = space.images.get(name).target
                for digest in everything(space, target):
                    space.content.verify(digest)
                return target.digest, tree_of(space, chain_of(space, name))
            if self.act.snapshot:
                space.snapshotter().stat(self.act.snapshot)
                return "", tree_of(space, self.act.snapshot)
            return "", ""

    def _cleared(self, place: Place) -> set[str]:
        for words in self.act.clear:
            place.run(*(self.stage.pulled if one == PULLED else one for one in words))
        place.ok("store", "gc")
        with Store.open(place.root) as store:
            leases = store.namespace("demo").leases.list()
        return listing(place.root) | {f"lease {one.id}" for one in leases}


def everything(space: Namespace, target: Descriptor) -> list[Digest]:
    """All blobs of an image."""
    image = resolve(space.content, target)
    parts = (image.manifest.config, *image.layers)
    return [target.digest, *(one.digest for one in parts)]


def mounts_below(directory: Path) -> list[str]:
    """What is mounted there."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines if line.split()[4].startswith(f"{directory}/")]
