"""What Dockerfiles ask for beyond the plain steps, built for real: documents, mounts, ADD, links."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidLayer, MobyshellError, NotFound, UsageError
from mobyshell.core.oci.image_config import Healthcheck
from mobyshell.core.oci.platform import host_platform, parse_platform
from mobyshell.moby import look
from mobyshell.moby.build.cache import Cache
from mobyshell.moby.build.secrets import Secret
from mobyshell.moby.image import Image
from tests.moby.build.test_build import Site
from tests.moby.build.test_build import site as site

pytestmark = pytest.mark.root


def changed(image: Image, layer: int) -> list[str]:
    """The paths in a layer, without directories above."""
    paths = [one.path for one in look.changes(image, layer)]
    return [one for one in paths if not any(other.startswith(f"{one}/") for other in paths)]


def test_here_documents_and_what_an_image_remembers(site: Site) -> None:
    image = site.build("""
FROM busybox
ENV PATH=/app:$PATH
RUN <<EOF
set -e
echo "first $A" > /said
cd /tmp
pwd >> /said
EOF
RUN <<-'SCRIPT'
\t#!/bin/cat
\tit is its own text
\tSCRIPT
RUN cat <<ONE > /both && cat <<'TWO' >> /both
one $A
ONE
two $A
TWO
COPY --chmod=755 <<EOF /app/hello
#!/bin/sh
echo hello $A \\$A
EOF
COPY <<"a.conf" <<b.conf /etc/conf/
raw $A
a.conf
cooked $A
b.conf
HEALTHCHECK --interval=5s --retries=2 CMD hello
SHELL ["/bin/sh", "-e", "-c"]
MAINTAINER Somebody
STOPSIGNAL SIGINT
CMD hello
""")
    assert site.run() == "hello 1 1\n"
    assert look.content(image, "/said") == b"first 1\n/tmp\n"
    assert b"#!/bin/cat\nit is its own text\n" in site.said
    assert look.content(image, "/both") == b"one 1\ntwo $A\n"
    assert look.content(image, "/etc/conf/a.conf") == b"raw $A\n"
    assert look.content(image, "/etc/conf/b.conf") == b"cooked 1\n"
    config = image.config.config
    assert config is not None
    assert config.healthcheck == Healthcheck(
        test=("CMD-SHELL", "hello"), interval=5 * 10**9, retries=2
    )
    assert config.shell == ("/bin/sh", "-e", "-c")
    assert (config.stop_signal, image.config.author) == ("SIGINT", "Somebody")
    assert (config.env or ())[0] == "PATH=/app:/bin"
    # nothing of what a RUN sees is in its layer
    assert changed(image, 1) == ["/said"]
    told = [one.created_by for one in look.history(image)]
    assert "RUN <<EOF (set -e…)" in told
    site.build("FROM made\nHEALTHCHECK NONE\n", "upon")
    upon = site.moby.image("upon").config.config
    assert upon is not None
    assert upon.healthcheck == Healthcheck(test=("NONE",))


def test_steps_for_who_builds_upon_it(site: Site) -> None:
    site.write(app="app")
    site.build("""
FROM busybox
ENV WHERE=/in
ONBUILD ARG WORD=none
ONBUILD COPY app $WHERE/
ONBUILD RUN echo $WORD >> /in/app
""", "base")  # fmt: skip
    base = site.moby.image("base").config.config
    assert base is not None
    assert len(base.on_build or ()) == 3
    site.build("FROM base\nRUN cat /in/app > /seen\n", arguments={"WORD": "given"})
    assert site.run("cat", "/seen") == "appgiven\n"
    made = site.moby.image("made").config.config
    assert made is not None
    assert made.on_build is None
    (site.context / "app").unlink()
    with pytest.raises(MobyshellError, match="there is no app"):
        site.build("FROM base\n")


MOUNTS = """
FROM busybox AS lib
RUN mkdir /lib && echo shared > /lib/shared && ln -s shared /lib/link
FROM busybox
WORKDIR /work
RUN --mount=type=cache,target=/root/.cache echo $WORD >> /root/.cache/log && cat /root/.cache/log > /log
RUN --mount=target=src --mount=from=lib,src=/lib,dst=/lib,rw cat src/a /lib/link > /seen; touch /lib/x; \\
    ! touch src/x; ls src/sub
RUN --mount=type=tmpfs,target=/tmp/t,size=64k \\
    echo x > /tmp/t/x && ! dd if=/dev/zero of=/tmp/t/y bs=1k count=99
"""


def test_mounts_of_a_run(site: Site) -> None:
    site.write(a="a\n", sub__b="b", unused="u", **{".dockerignore": "unused\n"})
    text = MOUNTS.replace("$WORD", "one")
    image = site.build(text)
    assert look.content(image, "/log") == b"one\n"
    assert look.content(image, "/seen") == b"a\nshared\n"
    assert b"b\n" in site.said
    # neither what was mounted, nor where, nor the directories above it
    assert [changed(image, number) for number in (2, 3)] == [["/log"], ["/seen"]]
    assert changed(image, 4) in ([], ["/"])
    assert len(image.config.diff_ids) == 5
    site.build(text)
    assert site.cached == [True] * 4
    # of what is bound the content counts; of a cache only its name
    site.write(sub__b="changed", unused="v")
    site.build(text)
    assert site.cached == [True, True, False, False]
    again = site.build(MOUNTS.replace("$WORD", "two"))
    assert look.content(again, "/log") == b"one\ntwo\n"
    assert Cache(site.moby.tenant.store).prune() > 4
    site.moby.store.collect()
    assert look.content(site.build(MOUNTS.replace("$WORD", "new")), "/log") == b"new\n"


def test_a_cache_is_for_one_at_a_time_or_for_all(site: Site) -> None:
    text = """
FROM busybox
RUN --mount=type=cache,target=/c,sharing=SHARING,id=SHARING,mode=1770,uid=33 \\
    touch /c/me-WHO; n=0; while test $(ls /c | grep -c me-) -lt 2 && test $n -lt LIMIT; do sleep 0.05; \\
    n=$((n+1)); done; ls -ld /c | cut -c1-10; ls /c > /saw; END
"""

    def both(sharing: str, limit: int) -> list[list[str]]:
        sites = [Site(site.moby, site.context) for _ in range(2)]
        wrong: list[BaseException] = []

        def one(number: int) -> None:
            try:
                words = text.replace("SHARING", sharing).replace("WHO", str(number))
                words = words.replace(
                    "END", "true" if sharing == "shared" else f"rm /c/me-{number}"
                )
                sites[number].build(words.replace("LIMIT", str(limit)), f"{sharing}{number}")
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        return [
            look.content(site.moby.image(f"{sharing}{number}"), "/saw").decode().split()
            for number in range(2)
        ]

    assert both("shared", 1200) == [["me-0", "me-1"]] * 2
    assert sorted(both("locked", 5)) == [["me-0"], ["me-1"]]
    assert sorted(both("private", 5)) == [["me-0"], ["me-1"]]


def test_secrets_are_seen_and_kept_nowhere(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from a file")
    monkeypatch.setenv("TOKEN", "from the environment")
    secrets = {"key": Secret(path=str(tmp_path / "key")), "token": Secret(variable="TOKEN")}
    text = """
FROM busybox
RUN --mount=type=secret,id=key --mount=type=secret,id=token,env=T --mount=type=secret,id=none \\
    --mount=type=secret,id=token,target=/etc/token,mode=0444,uid=33 \\
    id > /made; echo "$(cat /run/secrets/key), $T, $(cat /etc/token)"; ls -ln /run/secrets/key /etc/token
USER web
RUN --mount=type=secret,id=token,target=/etc/token,uid=33 cat /etc/token; ls /run/secrets || true
"""
    image = site.build(text, secrets=secrets)
    assert b"from a file, from the environment, from the environment\n" in site.said
    assert b"-r-------- 1 0" in site.said.replace(b"    ", b" ")
    assert site.said.count(b"from the environment") == 3
    assert changed(image, 1) == ["/made"]
    (tmp_path / "key").write_text("another")
    site.build(text, secrets=secrets)
    assert site.cached == [True, True]
    content = site.moby.tenant.store.content
    blobs = [content.read(one.digest) for one in content.walk()]
    blobs += [gzip.decompress(one) for one in blobs if one[:2] == b"\x1f\x8b"]
    assert not any(b"from the environment" in one for one in blobs)
    left = [path for path in (tmp_path / "state").rglob("*") if path.name == "secret"]
    assert left == []
    for mount in ("target=/", "target=.", "type=cache"):
        with pytest.raises(UsageError, match="the root itself"):
            site.build(f"FROM busybox\nRUN --mount={mount} true\n")
    with pytest.raises(UsageError, match="needs the secret other"):
        site.build("FROM busybox\nRUN --mount=type=secret,id=other,required true\n")


def test_an_agent(site: Site, tmp_path: Path) -> None:
    place = Path(os.path.relpath(tmp_path / "agent"))  # a path that a socket's address has room for
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(place))
        text = 'FROM busybox\nRUN --mount=type=ssh ls -l $SSH_AUTH_SOCK; test -S "$SSH_AUTH_SOCK"\n'
        image = site.build(text, agents={"default": str(tmp_path / "agent")})
    assert b"/run/buildkit/ssh_agent.0" in site.said
    assert changed(image, 1) in ([], ["/"])
    with pytest.raises(MobyshellError, match="ended with"):
        site.build(text, cached=False)


def archive(suffix: str) -> bytes:
    """A tar with a file, a directory and a link, compressed as the suffix says."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("d/f", tarfile.REGTYPE),
            ("l", tarfile.SYMTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.uid, member.linkname = (
                kind,
                0o750,
                33,
                "d/f" * (name == "l"),
            )
            member.size = 4 * (name == "d/f")
            tar.addfile(member, io.BytesIO(b"text"[: member.size]))
    made = data.getvalue()
    halves = made[:1000], made[1000:]  # two streams, as programs write them that work in parallel
    packs: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
    }  # fmt: skip
    return b"".join(map(packs.get(suffix, bytes), halves))


def test_archives_are_unpacked_by_add_alone(site: Site) -> None:
    names = [f"x.tar{suffix}" for suffix in ("", ".gz", ".bz2", ".xz")]
    for name in names:
        (site.context / name).write_bytes(archive(name.removeprefix("x.tar")))
    lines = [f"ADD {name} /to{number}/" for number, name in enumerate(names)]
    image = site.build("\n".join(["FROM busybox", *lines, "COPY x.tar /copied"]))
    for number in range(len(names)):
        rows = {row.path: row for row in look.files(image, f"/to{number}")}
        assert set(rows) == {f"/to{number}/d", f"/to{number}/l"}
        assert (rows[f"/to{number}/d"].uid, rows[f"/to{number}/d"].mode) == (33, 0o750)
        assert look.content(image, f"/to{number}/l") == b"text"
    assert look.content(image, "/copied") == archive("")
    (site.context / "bad.tar.gz").write_bytes(archive(".gz")[:60])
    (site.context / "bad.tar.xz").write_bytes(archive(".xz")[:60])
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../out"))
    (site.context / "out.tar").write_bytes(data.getvalue())
    for name in ("bad.tar.gz", "bad.tar.xz", "out.tar"):
        with pytest.raises((UsageError, InvalidLayer)):
            site.build(f"FROM busybox\nADD {name} /x/\n")
    with pytest.raises(UsageError, match="says owners"):
        site.build("FROM busybox\nADD --chown=1 x.tar /x/\n")


@contextmanager
def web(pages: dict[str, tuple[int, dict[str, str], bytes]], asked: list[str]) -> Iterator[str]:
    """A server on this machine; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status, headers, body = pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_what_add_fetches(site: Site) -> None:
    asked: list[str] = []
    modified = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    pages = {
        "/dir/file.txt?v=1": (200, modified, b"fetched"),
        "/moved": (302, {"Location": "/dir/file.txt?v=1"}, b""),
        "/loop": (302, {"Location": "/loop"}, b""), "/short": (200, {"Content-Length": "9"}, b"x"),
        "/broken": (500, {}, b""),
    }  # fmt: skip
    sha = f"sha256:{hashlib.sha256(b'fetched').hexdigest()}"
    with web(pages, asked) as url:
        text = (
            f"FROM busybox\nADD {url}/dir/file.txt?v=1 /to/\nADD --chmod=644 {url}/moved /named\n"
        )
        image = site.build(text)
        assert look.content(image, "/to/file.txt") == b"fetched"
        rows = {row.path: row for row in (*look.files(image, "/to"), *look.files(image))}
        assert (rows["/to/file.txt"].mode, rows["/named"].mode) == (0o600, 0o644)
        asked.clear()
        site.build(text)
        assert site.cached == [True, True]  # by its bytes, which were asked for
        assert len(asked) == 3
        checked = f"FROM busybox\nADD --checksum={sha} {url}/dir/file.txt?v=1 /to/\n"
        site.build(checked)
        asked.clear()
        site.build(checked)
        assert (site.cached, asked) == ([True], [])
        for line, said in (
            (f"--checksum=sha256:{'0' * 64} {url}/moved /x", "other bytes"),
            (f"{url}/none /x", "there is no"),
            (f"{url}/loop /x", "too many redirects"), (f"{url}/broken /x", "answers 500"),
            (f"{url}/short /x", "line 2"), (f"{url}/ /x", "names no file"),
        ):  # fmt: skip
            with pytest.raises(MobyshellError, match=said):
                site.build(f"FROM busybox\nADD {line}\n")
    assert list((site.moby.root / "build").iterdir()) == []


def test_a_linked_layer_depends_on_nothing_below(site: Site) -> None:
    site.write(a="a", src__x__one="1", src__x__two_md="2", src__three="3")
    text = """
FROM busybox
RUN echo {} > /x; ln -s etc /link
COPY --link --chown=web a /link/a
RUN cat /link/a
"""
    first = site.build(text.format("one"))
    second = site.build(text.format("two"))
    assert site.cached == [False, True, False]
    assert first.config.diff_ids[2] == second.config.diff_ids[2]
    assert first.config.diff_ids[1] != second.config.diff_ids[1]
    rows = {row.path: row for row in look.files(second, "/link")}
    assert set(rows) == {"/link/a"}  # no link is followed: it has become a directory
    assert rows["/link/a"].uid == 33
    row = next(row for row in look.files(second) if row.path == "/link")
    assert (row.uid, row.mode) == (33, 0o755)


def test_parents_excluded_and_owners_of_stages(site: Site) -> None:
    site.write(src__x__one="1", src__x__two="2", src__three="3", src__deep__x__two="4")
    image = site.build("""
FROM busybox AS from
RUN mkdir -m 700 /own && echo x > /own/file && chown -R 33:34 /own && chmod 4750 /own/file
FROM busybox
COPY --parents src/x/one src/three /all/
COPY --parents src/./x/one ./src/*/x/ /cut/
COPY --exclude=**/two src /some/
COPY --exclude=* --exclude=!three src /back/
COPY --from=from /own /taken
COPY --from=from --chown=7:8 /own/file /given
COPY --chown=web src/three /new/directory/
USER web
WORKDIR /home/web
""")

    def all_below(path: str) -> list[str]:
        found: list[str] = []
        for row in look.files(image, path):
            found += all_below(row.path) if row.kind == "directory" else [row.path]
        return sorted(found)

    assert all_below("/all") == ["/all/src/three", "/all/src/x/one"]
    assert all_below("/cut") == ["/cut/src/deep/x/two", "/cut/x/one"]
    assert all_below("/some") == ["/some/three", "/some/x/one"]
    assert all_below("/back") == ["/back/three"]
    rows = {row.path: row for row in (*look.files(image, "/taken"), *look.files(image))}
    assert (rows["/taken/file"].uid, rows["/taken/file"].gid) == (33, 34)
    assert rows["/taken/file"].mode == 0o4750
    assert (rows["/given"].uid, rows["/given"].gid) == (7, 8)
    # what is made on the way is of the same owner, and a user's directory is the user's
    rows |= {row.path: row for path in ("/new", "/home") for row in look.files(image, path)}
    owned = ("/new", "/new/directory", "/home", "/home/web")
    assert [rows[path].uid for path in owned] == [33] * 4


def test_what_the_context_leaves_out(site: Site, tmp_path: Path) -> None:
    site.write(a__keep__x="1", a__drop="2", a__deep__x="3", b="4")
    site.write(**{".dockerignore": "a\n!a/keep\n[^ab]*\n"})
    (site.context / "c").write_text("5")
    image = site.build("FROM busybox\nCOPY . /all/\n")
    assert [row.path for row in look.files(image, "/all")] == ["/all/a", "/all/b"]
    assert [row.path for row in look.files(image, "/all/a")] == ["/all/a/keep"]
    with pytest.raises(NotFound, match="left out"):
        site.build("FROM busybox\nCOPY a/drop /\n")
    (tmp_path / "own").write_text("b\n")
    image = site.build("FROM busybox\nCOPY . /all/\n", ignore=tmp_path / "own")
    assert {"/all/a", "/all/c"} <= {row.path for row in look.files(image, "/all")}
    assert "/all/b" not in {row.path for row in look.files(image, "/all")}


def test_platforms_and_networks(site: Site) -> None:
    machine = host_platform()
    image = site.build("""
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETARCH
ARG BUILDARCH
RUN echo "$BUILDARCH to $TARGETARCH" > /said
FROM scratch
COPY --from=build /said /
""", platform="linux/arm64/v8")  # fmt: skip
    with pytest.raises(NotFound, match="no image for"):
        image.resolved.config.diff_ids  # noqa: B018
    image = site.moby.image("made", platform=parse_platform("linux/arm64"))
    assert look.content(image, "/said").decode() == f"{machine.architecture} to arm64\n"
    text = "FROM busybox\nRUN --network={} cat /proc/net/dev > /net\n"
    alone = look.content(site.build(text.format("none"), network="host"), "/net")
    host = look.content(site.build(text.format("host"), network="host"), "/net")
    assert alone.count(b":") == 1
    assert host.splitlines()[2:] != alone.splitlines()[2:] or host.count(b":") == 1
    with pytest.raises(UsageError, match="asks for the host's network"):
        site.build(text.format("host"))


@pytest.mark.peer
def test_a_network_by_its_name(site: Site) -> None:
    networking = site.moby.tenant.surroundings().networking
    networking.networks.create("net-build", subnets=["10.213.79.0/24"])
    try:
        text = "FROM busybox\nRUN cat /proc/net/dev > /net; echo > /etc/mine; cat /etc/hosts\n"
        image = site.build(text, network="net-build")
        assert b"eth0" in look.content(image, "/net")
        assert b"10.213.79." in site.said
        assert changed(image, 1) == ["/etc/mine", "/net"]
        with pytest.raises(MobyshellError, match="ended with 3"):
            site.build("FROM busybox\nRUN exit 3\n", network="net-build")
        with pytest.raises(MobyshellError, match="no-such-network"):
            site.build("FROM busybox\nRUN true\n", network="no-such-network")
    finally:
        networking.remove_network("net-build")
    records = Path(site.moby.state) / ".networks" / "demo"
    assert not records.exists() or os.listdir(records) == []
