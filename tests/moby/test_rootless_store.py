"""A user without privileges keeps, runs, builds and removes images: with ranges of ids as the images
say, without them as files of one owner. The machine is left as it was: what such a user needs in
/etc is seen by these processes alone.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.moby.client import Moby
from tests.core.registry.distribution import distribution
from tests.core.store import images
from tests.core.tasks.conftest import nobody_left
from tests.moby.build.test_build import NET_RAW
from tests.moby.test_client import busybox_layer
from tests.users import package_for_all, python_for
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]

UID = 61234
RANGES = f"tester:{UID * 10}:1000\ntester:{UID * 20}:65536\n"
FIRST = UID * 10
"""Who is user 1 inside."""

IN_PRIVATE = """
set -e
for file in passwd group subuid subgid; do mount --bind "$1/$file" "/etc/$file"; done
shift
exec setpriv --reuid=61234 --regid=61234 --clear-groups "$@"
"""
MAIN = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from mobyshell.__main__ import main
sys.exit(main())
"""
DOCKERFILE = """
FROM made
COPY --chown=web:www text /www/text
RUN --mount=type=cache,target=/cache,uid=33 --mount=target=/context \\
    --mount=type=secret,id=word,target=/word,uid=33 <<EOF
set -e
test "$(stat -c %u /cache) $(stat -c %u /word)" = "33 33"
cat /context/text /word > /cache/all
echo x > /run-made
chown 33:34 /run-made
chmod 4755 /run-made
rm /www/file
EOF
WORKDIR /www/deep
"""


def layers() -> list[bytes]:
    """Two: one with directories of a user web, closed to others; one with something in these."""
    first, second = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=first, mode="w") as archive:
        with tarfile.open(fileobj=io.BytesIO(busybox_layer())) as base:
            for member in base:
                archive.addfile(member, base.extractfile(member) if member.isreg() else None)
        for name, mode in (("secret", 0o700), ("www", 0o755)):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode, directory.uid, directory.gid = (
                tarfile.DIRTYPE,
                mode,
                33,
                34,
            )
            archive.addfile(directory)
            _file(archive, f"{name}/file", 2000)
    with tarfile.open(fileobj=second, mode="w") as archive:
        _file(archive, "secret/more", 33)
    return [first.getvalue(), second.getvalue()]


def _file(archive: tarfile.TarFile, name: str, uid: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uid, member.gid = 3, 0o640, uid, 34
    archive.addfile(member, io.BytesIO(b"abc"))


@dataclass
class User:
    """Somebody with a home, and what of /etc is about them."""

    python: str
    home: Path
    etc: Path

    def give(self, ranges: str) -> None:
        for name in ("subuid", "subgid"):
            (self.etc / name).write_text(ranges)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`mobyshell`, as this user."""
        variables = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"),
                     "PATH": "/usr/local/bin:/usr/bin:/bin", "MOBYSHELL_LINGER": "0.2"}  # fmt: skip
        return subprocess.run(
            ["unshare", "-m", "sh", "-c", IN_PRIVATE, "sh", str(self.etc), self.python, "-c", MAIN,
             package_for_all(), *words],
            env=variables, cwd="/", capture_output=True, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        """What it prints; it must succeed."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def owners(self, image: str, *paths: str, snapshotter: str) -> list[str]:
        """Whose these are, as a container of the image sees it."""
        return self.ok("run", "--rm", "--snapshotter", snapshotter, image, "--", "busybox", "stat",
                       "-c", "%u:%g %a", *paths).splitlines()  # fmt: skip

    @property
    def store(self) -> Path:
        return self.home / ".local/share/mobyshell"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    python = python_for(UID)
    with tempfile.TemporaryDirectory(prefix="moby-user-") as name:
        top = Path(name)
        top.chmod(0o755)
        one = User(python, top / "home", top / "etc")
        one.etc.mkdir()
        one.home.mkdir()
        (one.home / "run").mkdir(mode=0o700)
        for path in (one.home, one.home / "run"):
            shutil.chown(path, UID, UID)
        for file, line in (("passwd", f"tester:x:{UID}:{UID}::{one.home}:/bin/sh\n"),
                           ("group", f"tester:x:{UID}:\n")):  # fmt: skip
            (one.etc / file).write_text(Path(f"/etc/{file}").read_text() + line)
        one.give(RANGES)
        (top / "context").mkdir()
        (top / "context" / "Dockerfile").write_text(DOCKERFILE)
        (top / "context" / "text").write_text("text\n")
        with Moby(tmp_path / "source", tmp_path / "state", "demo") as moby:
            content = moby.tenant.store.content
            tars = layers()
            blobs = [images.put(content, one, images.LAYER.removesuffix("+gzip")) for one in tars]
            config = images.put_json(content, {
                "architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/bin"]},
                "rootfs": {"type": "layers", "diff_ids": [Digest.of(one) for one in tars]},
            }, images.CONFIG)  # fmt: skip
            target = images.put_json(content, {
                "schemaVersion": 2, "mediaType": images.MANIFEST, "config": images.plain(config),
                "layers": [images.plain(one) for one in blobs],
            }, images.MANIFEST)  # fmt: skip
            moby.tenant.store.images.put("docker.io/library/made:latest", target)
            with (top / "made.tar").open("wb") as archive:
                moby.export_images(["made"], archive)
        try:
            yield one
        finally:
            state = one.home / "run" / "mobyshell"
            eventually(lambda: nobody_left(state))


@pytest.mark.parametrize("snapshotter", sorted(DRIVERS))
def test_files_belong_to_whom_the_image_says(user: User, snapshotter: str) -> None:
    top, how = user.home.parent, ("--snapshotter", snapshotter)
    user.ok("image", "import", *how, str(top / "made.tar"))
    assert user.owners("made", "/bin", "/secret", "/secret/file", "/secret/more", "/www",
                       snapshotter=snapshotter) == [
        "0:0 755", "33:34 700", "2000:34 640", "33:34 640", "33:34 755",
    ]  # fmt: skip
    trees = [
        one for one in (user.store / "snapshots" / snapshotter).iterdir() if one.name.isdecimal()
    ]
    seen = {one.stat().st_uid for tree in trees for one in (tree / "fs").rglob("*")}
    # 2000 lies in the second range: the first has a thousand
    assert {UID, FIRST + 32, UID * 20 + 999} <= seen
    secret = f"id=word,src={top / 'context' / 'text'}"
    user.ok("image", "build", *how, "--secret", secret, "-t", "built", str(top / "context"))
    assert user.owners("built", "/www/text", "/run-made", "/www/deep", snapshotter=snapshotter) == [
        "33:34 644", "33:34 4755", "0:0 755",
    ]  # fmt: skip
    user.ok("image", "export", "built", "-o", str(user.home / "built.tar"))
    found = owners_in(user.home / "built.tar")
    assert (found["www/text"], found["run-made"]) == ((33, 34), (33, 34))
    assert user.ok("store", "check") == ""
    for name in ("made", "built"):
        user.ok("image", "rm", name)
    user.ok("image", "prune-cache")
    user.ok("store", "gc")
    assert list((user.store / "snapshots" / snapshotter).iterdir()) == []
    assert list((user.store / "build").iterdir()) == []


CAPABLE = """FROM made AS one
COPY --chown=33:34 ping /bin/ping
FROM made
COPY --from=one /bin/ping /taken/
"""


def test_volumes_are_filled_kept_and_removed(user: User) -> None:
    user.ok("image", "import", str(user.home.parent / "made.tar"))
    run = ("run", "--rm", "-v", "kept:/secret")
    look = ("made", "busybox", "stat", "-c", "%u:%g %a %n", "/secret", "/secret/file")
    expected = ["33:34 700 /secret", "2000:34 640 /secret/file"]
    assert user.ok(*run, *look).splitlines() == expected
    assert user.ok(*run, *look).splitlines() == expected
    assert "some of other owners" in user.ok("--plan", *run, *look)
    user.ok("volume", "rm", "kept")
    assert list((user.store / "volumes" / "default").iterdir()) == []


def test_the_network_of_another_container_is_shared(user: User) -> None:
    user.ok("image", "import", str(user.home.parent / "made.tar"))
    user.ok("run", "-d", "--name", "one", "--network", "none", "made", "sleep", "1000")
    try:
        both = [user.ok("run", "--rm", "--network", "container:one", "made", "busybox", "readlink",
                        "/proc/self/ns/net"),
                user.ok("exec", "one", "busybox", "readlink", "/proc/self/ns/net")]  # fmt: skip
        assert both[0] == both[1]
    finally:
        user.ok("rm", "-f", "one")


def test_capabilities_of_files_go_along(user: User) -> None:
    """They are another's than they say: of the root of the user namespace, not of the machine's."""
    top = user.home.parent
    context = top / "capable"
    context.mkdir()
    (context / "Dockerfile").write_text(CAPABLE)
    (context / "ping").write_text("ping")
    os.setxattr(context / "ping", "security.capability", NET_RAW)
    user.ok("image", "import", str(top / "made.tar"))
    user.ok("image", "build", "-t", "built", str(context))
    (kept,) = user.store.glob("snapshots/*/*/fs/taken/ping")
    on_disk = os.getxattr(kept, "security.capability")
    assert (on_disk[3], on_disk[20:]) == (3, UID.to_bytes(4, "little"))
    user.ok("image", "export", "built", "-o", str(user.home / "built.tar"))
    layers = members_in(user.home / "built.tar")
    said = layers["taken/ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert said.encode("utf-8", "surrogateescape") == NET_RAW
    assert layers["taken/ping"].uid == 33


def members_in(archive: Path) -> dict[str, tarfile.TarInfo]:
    """All files in all layers of an exported image."""
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(archive) as outer:
        for member in outer:
            if member.isreg() and (file := outer.extractfile(member)):
                data = file.read()
                try:
                    with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                        found |= {one.name.rstrip("/"): one for one in layer}
                except tarfile.TarError:
                    continue
    return found


def owners_in(archive: Path) -> dict[str, tuple[int, int]]:
    """Of all files in all layers of an exported image."""
    return {name: (one.uid, one.gid) for name, one in members_in(archive).items()}


def test_what_is_pulled_from_a_registry_runs(user: User) -> None:
    """Pull, run, write, commit nothing: then push it back under another name, and have it again."""
    with (
        distribution() as registry,
        Moby(user.home.parent / "pushed", user.home.parent / "state", "demo") as moby,
    ):
        moby.import_images(user.home.parent / "made.tar", unpack=False)
        name, again = f"{registry.host}/team/made:1", f"{registry.host}/team/again:2"
        moby.push("made", name)
        assert user.ok("image", "pull", name) == f"{name}\n"
        assert user.ok("run", "--rm", name, "--", "busybox", "id", "-u") == "0\n"
        assert user.owners(name, "/secret", "/secret/file", snapshotter="overlayfs") == [
            "33:34 700", "2000:34 640",
        ]  # fmt: skip
        user.ok("image", "push", name, again)
        user.ok("image", "rm", name)
        assert user.ok("image", "ls", "-q") == ""
        # `run` fetches what is not here
        user.ok("run", "-d", "--name", "up", again, "--", "busybox", "sleep", "1000")
        assert "running" in user.ok("ps", "--table")
        user.ok("rm", "-f", "up")
        user.ok("image", "rm", again)
        assert user.ok("store", "check") == ""


def test_without_ranges_all_is_of_one_owner(user: User) -> None:
    user.give("")
    user.ok("image", "import", str(user.home.parent / "made.tar"))
    assert user.owners("made", "/bin", "/secret", "/www", snapshotter="overlayfs") == [
        "0:0 755", "0:0 700", "0:0 755",
    ]  # fmt: skip
    (line,) = [one for one in map(json.loads, user.ok("doctor", "--all", "--json").splitlines())
               if one["feature"] == "files of several owners"]  # fmt: skip
    assert not line["ok"]
    assert "tester has nothing in /etc/subuid" in line["detail"]
    # ranges that come later do not change what is there
    user.give(RANGES)
    assert user.owners("made", "/secret", snapshotter="overlayfs") == ["0:0 700"]
    user.ok("image", "rm", "made")
    user.ok("store", "gc")


def test_ranges_that_were_taken_away_are_named(user: User) -> None:
    user.ok("image", "import", str(user.home.parent / "made.tar"))
    user.give(f"tester:{UID * 30}:65536\n")
    done = user.run("run", "--rm", "made", "--", "true")
    assert done.returncode != 0
    assert f"1:{FIRST}:1000" in done.stderr
    user.give(RANGES + f"tester:{UID * 30}:65536\n")  # more is as good
    user.ok("run", "--rm", "made", "--", "true")
    user.ok("image", "rm", "made")
    assert user.ok("store", "check") == ""
