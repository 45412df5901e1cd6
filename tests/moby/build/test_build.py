"""Images built for real: containers on snapshots, caches, and contexts that want to escape."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed, UsageError
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.gc.collect import collect
from mobyshell.core.store.layers import LayerWorker
from mobyshell.core.store.stack import Stack
from mobyshell.moby import look
from mobyshell.moby.build.builder import build
from mobyshell.moby.build.buildfile import parse_buildfile
from mobyshell.moby.build.cache import Cache
from mobyshell.moby.build.dockerfile import parse_dockerfile
from mobyshell.moby.build.files import Scratch
from mobyshell.moby.build.options import Options
from mobyshell.moby.build.trees import bases
from mobyshell.moby.client import Moby
from mobyshell.moby.image import Image
from tests.moby.test_client import put_image
from tests.undertaker import subreaper

pytestmark = pytest.mark.root

EPOCH = 1_700_000_000


class Site:
    """A client, a context, and what a build told."""

    def __init__(self, moby: Moby, context: Path) -> None:
        self.moby, self.context = moby, context
        self.told: list[tuple[str, bool]] = []
        self.said = b""

    def write(self, **files: str) -> None:
        for name, text in files.items():
            path = self.context / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def build(self, text: str, name: str = "made", arguments: Mapping[str, str] | None = None,
              **more: Any) -> Image:  # fmt: skip
        self.told, self.said = [], b""

        def output(data: bytes) -> None:
            self.said += data

        platform = more.pop("platform", "")
        options = Options(
            context=self.context, told=lambda step, cached: self.told.append((step, cached)),
            output=output, **{"epoch": EPOCH, **more},
        )  # fmt: skip
        stages = parse_dockerfile(text, arguments, platform=platform, bases=bases(self.moby.tenant))
        build(self.moby.tenant, stages, [name], options)
        return self.moby.image(name)

    def run(self, *args: str, name: str = "made") -> str:
        done = self.moby.run(name, args)
        assert done.status == 0, done.stderr
        return done.stdout.decode()

    @property
    def cached(self) -> list[bool]:
        return [cached for step, cached in self.told if step.split()[0] in ("RUN", "COPY", "ADD")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "context").mkdir()
    with subreaper(), Moby(tmp_path / "root", tmp_path / "state", "demo") as moby:
        put_image(moby)
        yield Site(moby, tmp_path / "context")


def test_steps_make_an_image_that_runs(site: Site) -> None:
    site.write(app="#!/bin/sh\necho app $1 $A\n")
    (site.context / "app").chmod(0o755)
    image = site.build("""
FROM busybox
ENV A=env
RUN echo "by $A as $(id -u)" > /made && touch /gone
WORKDIR /srv/app
COPY app .
RUN rm /gone; pwd > /where
USER web
LABEL a=b
ENTRYPOINT ["/srv/app/app"]
CMD ["arg"]
""")
    assert site.run() == "app arg env\n"
    config = image.config.config
    assert config is not None
    assert (config.user, config.labels, config.working_dir) == ("web", {"a": "b"}, "/srv/app")
    assert look.content(image, "/made") == b"by env as 0\n"
    assert look.content(image, "/where") == b"/srv/app\n"
    names = {row.path for row in look.files(image)}
    assert "/gone" not in names
    history = [(one.number, one.created_by.partition(" ")[0]) for one in look.history(image)]
    assert history[-9:] == [
        (-1, "ENV"), (1, "RUN"), (2, "WORKDIR"), (3, "COPY"), (4, "RUN"), (-1, "USER"),
        (-1, "LABEL"), (-1, "ENTRYPOINT"), (-1, "CMD"),
    ]  # fmt: skip
    # a layer holds what its step did, and nothing else
    assert [one.path for one in look.changes(image, 4) if one.path.count("/") == 1] == [
        "/gone", "/where",
    ]  # fmt: skip


DOCKERFILE = """
FROM busybox
ARG WORD=x
RUN echo one > /one
COPY a b /files/
RUN echo $WORD > /two
"""


def test_the_cache_knows_what_a_step_depends_on(site: Site) -> None:
    site.write(a="a", b="b", unused="u")
    first = site.build(DOCKERFILE)
    assert site.cached == [False, False, False]
    again = site.build(DOCKERFILE)
    assert site.cached == [True, True, True]
    assert again.target.digest == first.target.digest
    site.write(unused="changed")
    os.utime(site.context / "a", (1, 1))
    site.build(DOCKERFILE)
    assert site.cached == [True, True, True]  # neither another file nor a time is content
    site.write(b="changed")
    changed = site.build(DOCKERFILE)
    assert site.cached == [True, False, False]
    assert changed.target.digest != first.target.digest
    site.write(b="b")
    assert site.build(DOCKERFILE).target.digest == first.target.digest
    site.build(DOCKERFILE, arguments={"WORD": "y"})
    assert site.cached == [False, False, False]  # its value is in what runs, from there on
    assert site.run("cat", "/two") == "y\n"
    site.build("FROM busybox\nENV X=1\nARG WORD=x\nRUN echo one > /one\n")
    assert site.cached == [False]
    (site.context / "a").chmod(0o700)
    site.build(DOCKERFILE)
    assert site.cached == [True, False, False]


def test_a_clean_build_is_the_same_image(site: Site) -> None:
    site.write(a="a", b="b")
    first = site.build(DOCKERFILE)
    without = site.build(DOCKERFILE, cached=False)
    assert site.cached == [False, False, False]
    assert without.target.digest == first.target.digest
    assert Cache(site.moby.tenant.store).prune() == 3
    assert site.build(DOCKERFILE).target.digest == first.target.digest


def test_what_was_built_before_is_the_same_image_again(site: Site) -> None:
    """Without an epoch as well: times are those at which the layers were made."""
    site.write(a="a")
    text = "FROM scratch\nENV A=1\nCOPY a /a\nLABEL b=2\nCMD x\n"
    first = site.build(text, epoch=None)
    assert site.build(text, epoch=None).target.digest == first.target.digest
    times = [one.created for one in first.config.history or ()]
    assert None not in times
    assert set(times) == {first.config.created}
    other = site.build(text.replace("CMD x", "CMD y"), epoch=None)
    assert other.target.digest != first.target.digest
    site.write(a="b")
    assert str(site.build(text, epoch=None).config.created) > str(first.config.created)
    only = site.build("FROM scratch\nCMD x\n", epoch=None).config
    assert only.created == (only.history or ())[0].created != ""


def test_what_is_cached_is_kept_and_what_is_not_needed_goes(site: Site) -> None:
    site.write(a="a", b="b")
    site.build(DOCKERFILE).delete()
    moby = site.moby
    cleanup = moby.tenant.snapshotter().cleanup

    def garbage() -> int:
        collect(moby.store.root, moby.store.database, moby.tenant.store.scope.clock, [cleanup])
        return len(list(moby.store.root.blobs.glob("*/*")))

    assert garbage() == 3 + 3  # the base, and three layers
    site.build(DOCKERFILE)
    assert site.cached == [True, True, True]
    moby.image("made").delete()
    Cache(moby.tenant.store).prune()
    assert garbage() == 3
    assert list((moby.root / "build").iterdir()) == []


def test_stages(site: Site) -> None:
    site.write(source="source")
    site.build("""
FROM busybox AS build
COPY source /in
RUN cat /in /in > /out
FROM busybox AS unused
RUN false
FROM scratch
COPY --from=build /bin /bin
COPY --from=build /out /result
COPY --from=busybox /etc/passwd /passwd
CMD ["/bin/cat", "/result"]
""")
    assert site.run() == "sourcesource"
    assert site.run("cat", "/passwd").startswith("root:")
    site.build("FROM busybox AS a\nARG V=given\nFROM a\nRUN echo $V > /v\n")
    assert site.run("cat", "/v") == "given\n"
    site.build(
        "FROM busybox AS a\nFROM a AS b\nRUN echo b > /b\nFROM b\nRUN cat /b > /c", target="b"
    )
    assert site.moby.run("made", ["cat", "/b"]).stdout == b"b\n"
    assert site.moby.run("made", ["cat", "/c"]).status == 1  # the later stage was not built


def test_a_command_that_fails_ends_the_build(site: Site) -> None:
    with pytest.raises(MobyshellError, match="line 2: RUN echo before; exit 3: ended with 3"):
        site.build("FROM busybox\nRUN echo before; exit 3\n")
    assert site.said == b"before\n"
    with pytest.raises(NotFound):
        site.moby.image("made")
    assert site.moby.tenant.tasks.ls() == []
    assert {str(one.kind) for one in site.moby.tenant.snapshotter().walk()} == {"committed"}


def test_half_a_layer_is_given_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a full disk leaves it."""
    whole = LayerWorker.diff_trees

    def half(self: LayerWorker, lower: int, upper: int, output: int, **more: Any) -> Any:
        os.write(output, bytes(4096))
        raise SyscallFailed("write", errno.ENOSPC, path="the copy")

    monkeypatch.setattr(LayerWorker, "diff_trees", half)
    site.write(page="text")
    with pytest.raises(MobyshellError, match="line 2: COPY page /: write the copy: No space"):
        site.build("FROM busybox\nCOPY page /\n")
    assert site.moby.tenant.store.content.statuses() == []
    assert list(site.moby.store.root.ingests.iterdir()) == []
    monkeypatch.setattr(LayerWorker, "diff_trees", whole)
    site.build("FROM busybox\nCOPY page /\n")


def test_a_full_disk_is_told_with_its_step(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Scratch, *words: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Scratch, "copy", full)
    site.write(page="text")
    with pytest.raises(SyscallFailed, match="line 2: COPY page /: write: No space left") as caught:
        site.build("FROM busybox\nCOPY page /\n")
    assert "store gc" in caught.value.hint


def test_nothing_of_ours_is_in_a_builds_environment(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "leaked")
    image = site.build("FROM busybox\nARG GIVEN=1\nENV KEPT=2\nRUN env > /env\n")
    seen = look.content(image, "/env").decode().splitlines()
    assert {"GIVEN=1", "KEPT=2", "PATH=/bin", "A=1"} <= set(seen)
    assert not any("SECRET" in line or "MOBY" in line for line in seen)
    assert image.config.config is not None
    assert not any("GIVEN" in one for one in image.config.config.env or ())


def test_owners_modes_and_patterns(site: Site) -> None:
    site.write(
        a__one="1", a__two="2", a__deep__three="3", **{".dockerignore": "a/two\n*.md\n!keep.md\n"}
    )
    for name in ("drop.md", "keep.md"):
        (site.context / name).write_text(name)
    image = site.build("""
FROM busybox
COPY --chown=web:www --chmod=640 a /own/
COPY a/* /flat/
COPY *.md /
COPY a/one /named
COPY --chmod=u=rwX,go=rX a /letters/
""")
    rows = {row.path: row for row in look.files(image, "/letters")}
    assert (rows["/letters/one"].mode, rows["/letters/deep"].mode) == (0o644, 0o755)
    rows = {row.path: row for row in look.files(image, "/own")}
    assert set(rows) == {"/own/one", "/own/deep"}
    assert (rows["/own/one"].uid, rows["/own/one"].gid, rows["/own/one"].mode) == (33, 34, 0o640)
    assert [row.path for row in look.files(image, "/flat")] == ["/flat/one", "/flat/three"]
    names = {row.path for row in look.files(image)}
    assert {"/keep.md", "/named"} <= names
    assert "/drop.md" not in names
    # what was there keeps its mode
    assert next(row for row in look.files(image) if row.path == "/etc").mode == 0o755


NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
"""`cap_net_raw=ep`, as setcap(8) writes it."""


def attributes(image: Image, path: str) -> dict[str, bytes]:
    """Of a file, as a container sees it."""
    snapshots = image.tenant.store.snapshotter()
    image.unpack()
    place = snapshots.directories(image.chain_id)
    with Stack([place.directory, *place.lowers]) as stack:
        fd = stack.open(path)
        try:
            return {name: os.getxattr(fd, name) for name in os.listxattr(fd)}
        finally:
            os.close(fd)


def test_capabilities_go_along(site: Site) -> None:
    site.write(ping="ping", plain="plain")
    os.setxattr(site.context / "ping", "security.capability", NET_RAW)
    os.setxattr(site.context / "ping", "user.note", b"mine")
    text = """
FROM busybox AS one
COPY ping plain /bin/
COPY --chown=33:34 ping /own/ping
FROM busybox
COPY --from=one /bin/ping /given
COPY --from=one /own /taken
COPY --from=one --chown=7:8 --chmod=4755 /own/ping /changed
COPY --from=one /bin/plain /
"""
    image = site.build(text)
    for path in ("/given", "/taken/ping", "/changed"):
        # what the user notes of their files is no image's
        assert attributes(image, path) == {"security.capability": NET_RAW}
    assert attributes(image, "/plain") == {}
    site.build(text)
    assert all(site.cached)
    os.removexattr(site.context / "ping", "security.capability")
    image = site.build(text)
    assert not any(site.cached[:2])
    assert attributes(image, "/given") == {}


def test_a_context_has_no_way_out(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (site.context / "link").symlink_to(tmp_path / "secret")
    (site.context / "up").symlink_to("../secret")
    (site.context / "directory").symlink_to(tmp_path)
    for path in ("link", "up", "../secret", "directory/secret", "/../secret"):
        with pytest.raises(MobyshellError):
            site.build(f"FROM scratch\nCOPY {path} /x\n")
    os.mkfifo(site.context / "fifo")
    with pytest.raises(UsageError, match="neither file"):
        site.build("FROM scratch\nCOPY fifo /x\n")
    (site.context / "fifo").unlink()
    image = site.build("FROM scratch\nCOPY . /all/\n")
    found = {row.path: row.target for row in look.files(image, "/all")}
    assert found == {"/all/link": str(tmp_path / "secret"), "/all/up": "../secret",
                     "/all/directory": str(tmp_path)}  # fmt: skip


def test_an_image_has_no_way_out_either(site: Site, tmp_path: Path) -> None:
    site.write(file="from the context")
    (tmp_path / "victim").mkdir()
    image = site.build(f"""
FROM busybox
RUN ln -s {tmp_path}/victim /out && ln -s /etc /inside && ln -s loop /loop
COPY file /out/file
COPY file /inside/copied
WORKDIR /out/work
""")
    assert list((tmp_path / "victim").iterdir()) == []
    assert look.content(image, "/etc/copied") == b"from the context"
    assert look.content(image, f"{tmp_path}/victim/file") == b"from the context"
    with pytest.raises(UsageError, match="links"):
        site.build("FROM busybox\nRUN ln -s loop /loop\nCOPY file /loop/x\n")


def test_a_step_is_told_in_words_and_not_in_pythons() -> None:
    (stage,) = parse_buildfile("""
from: busybox
steps:
  - programs: [/bin/sh, /bin/a b]
  - run: echo one
  - run: [echo, one]
env: {PATH: "/bin:/usr/bin", SAID: "two words"}
expose: [8080]
cmd: [sh, -c, "a b"]
""")
    assert [one.text for one in stage.steps] == [
        "programs /bin/sh '/bin/a b'", "run echo one", 'run ["echo", "one"]',
        "env PATH=/bin:/usr/bin SAID='two words'", 'cmd ["sh", "-c", "a b"]', "expose 8080",
    ]  # fmt: skip


def test_a_build_file_makes_a_base_from_this_machine(site: Site) -> None:
    stages = parse_buildfile("""
steps:
  - programs: [/bin/busybox]
    links: {sh: busybox, cat: busybox}
  - file: /etc/motd
    content: "welcome\\n"
  - directory: /tmp
    mode: "1777"
  - run: cat /etc/motd > /tmp/seen
env: {PATH: /bin:/usr/bin}
cmd: [cat, /tmp/seen]
""")
    build(site.moby.tenant, stages, ["base", "base:1"], Options(epoch=EPOCH))
    assert site.run(name="base") == "welcome\n"
    assert site.moby.image("base:1").target.digest == site.moby.image("base").target.digest
    assert isinstance(site.moby.image("base").target.digest, Digest)


KILLED = r"""
import sys
from pathlib import Path
from mobyshell.moby.build.builder import build
from mobyshell.moby.build.dockerfile import parse_dockerfile
from mobyshell.moby.build.options import Options
from mobyshell.moby.build.trees import bases
from mobyshell.moby.client import Moby
text = "FROM busybox\nCOPY big /big\nRUN echo ready; sleep 1000\n"
with Moby(sys.argv[1], sys.argv[2], "demo") as moby:
    build(moby.tenant, parse_dockerfile(text), ["made"],
          Options(context=Path(sys.argv[3]), output=lambda data: print(data.decode(), flush=True)))
"""


def test_a_killed_build_leaves_nothing_to_the_next(site: Site) -> None:
    moby = site.moby
    site.write(big="x" * 100_000)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(moby.root), moby.state, str(site.context)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "ready" in process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    (task,) = moby.tenant.tasks.ls()
    assert task.status == "running"
    site.build("FROM busybox\nCOPY big /big\n")
    assert moby.tenant.tasks.ls() == []
    moby.store.collect()
    assert list(moby.store.root.ingests.iterdir()) == []
    assert list(moby.store.root.scratch.iterdir()) == []
    assert [one.name for one in moby.tenant.snapshotter().walk() if "build-" in one.name] == []


def test_what_is_not_there_is_named(site: Site) -> None:
    for text, said in (
        ("FROM nothing-here", "no image docker.io/library/nothing-here"),
        ("FROM busybox\nCOPY missing /", "missing"), ("FROM busybox\nCOPY *.none /", "none"),
        ("FROM busybox\nCOPY --from=nowhere /a /b", "nowhere"),
        ("FROM busybox\nCOPY --chown=nobody-here . /x", "nobody-here"),
        ("FROM busybox\nUSER nobody-here\nRUN true", "nobody-here"),
        ("FROM busybox\nRUN [\"/no/such\"]", "/no/such"),
    ):  # fmt: skip
        with pytest.raises(MobyshellError, match=said):
            site.build(text)
    with pytest.raises(UsageError, match="no stage"):
        site.build("FROM busybox", target="none")
