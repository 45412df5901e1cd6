"""ADD of a git repository: a commit of a server on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, Unsupported, UsageError
from mobyshell.moby import look
from mobyshell.moby.build.cloning import is_repository
from tests.moby.build.test_build import Site, site
from tests.waiting import eventually

__all__ = ["site"]
pytestmark = [pytest.mark.root, pytest.mark.peer]


@dataclass
class Served:
    """A repository, and what it is called by others."""

    path: Path
    url: str

    def git(self, *words: str) -> str:
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
            "GIT_AUTHOR_DATE": "1600000000 +0000", "GIT_COMMITTER_DATE": "1600000000 +0000",
        }  # fmt: skip
        return subprocess.run(["git", *words], cwd=self.path, env=environment, check=True,
                              capture_output=True, text=True).stdout.strip()  # fmt: skip

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", ".")
        self.git("commit", "-qm", "a change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    path = tmp_path / "served" / "a.git"
    path.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # by itself: `git daemon` would be a parent of it, and leave it behind
    programs = subprocess.check_output(["git", "--exec-path"], text=True).strip()
    daemon = subprocess.Popen(
        [f"{programs}/git-daemon", "--export-all", f"--base-path={path.parent}", f"--port={port}",
         "--listen=127.0.0.1", "--reuseaddr", str(path.parent)], stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
             "GIT_CONFIG_VALUE_0": "*"},
    )  # fmt: skip
    one = Served(path, f"git://127.0.0.1:{port}/a.git")
    one.git("init", "-q", "-b", "main")
    one.commit(text="first", docs__page="page")

    def answers() -> bool:
        done = subprocess.run(["git", "ls-remote", one.url], capture_output=True, check=False)
        return done.returncode == 0

    try:
        eventually(answers)
        yield one
    finally:
        daemon.kill()
        daemon.wait()


def test_a_commit_becomes_files(site: Site, served: Served) -> None:
    first = served.git("rev-parse", "HEAD")
    served.git("tag", "v1")
    (served.path / "link").symlink_to("/etc/passwd")
    second = served.commit(text="second")
    image = site.build(f"""FROM busybox
ADD {served.url} /head
ADD --chown=33:34 {served.url}#v1 /tag/
ADD --checksum={second} {served.url}#main:docs /docs
ADD {served.url}#{first} /commit
ADD --keep-git-dir {served.url} /whole
""")
    assert [look.content(image, path) for path in
            ("/head/text", "/tag/text", "/docs/page", "/commit/text", "/whole/text")] == [
        b"second", b"first", b"page", b"first", b"second",
    ]  # fmt: skip
    rows = {row.path: row for where in ("/head", "/tag", "/docs", "/whole")
            for row in look.files(image, where)}  # fmt: skip
    assert {path for path in rows if path.startswith("/head/")} == {
        "/head/docs", "/head/link", "/head/text",
    }  # fmt: skip
    assert "/whole/.git" in rows
    assert (rows["/tag/text"].uid, rows["/head/text"].uid, rows["/head/text"].mode) == (
        33,
        0,
        0o644,
    )
    assert rows["/head/link"].kind == "link"
    site.build(f"FROM busybox\nADD {served.url} /head\n")
    assert site.cached == [True]
    served.commit(text="third")
    site.build(f"FROM busybox\nADD {served.url} /head\n")
    assert site.cached == [False]
    assert list((site.moby.tenant.store.scope.root.path / "build").iterdir()) == []


def test_what_cannot_be_cloned_is_named(
    site: Site, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = served.git("rev-parse", "HEAD")
    for line, said in (
        (f"{served.url}#nothing /", "has no 'nothing'|nothing"),
        (
            f"{served.url}#{'0' * 40} /",
            "0{40}|not our ref|unable to read tree|reference is not a tree",
        ),
        (f"{served.url}#main:no-such /", "there is no no-such"),
        (f"{served.url}#-x /", "no branch, tag or commit"),
        (f"{served.url.replace('a.git', 'b.git')} /", "git fetch of"),
    ):
        with pytest.raises(MobyshellError, match=said):
            site.build(f"FROM busybox\nADD {line}\n")
    other = ("0" if first[0] != "0" else "1") * 40
    with pytest.raises(UsageError, match="another commit than --checksum says"):
        site.build(f"FROM busybox\nADD --checksum={other} {served.url} /\n")
    assert list((site.moby.tenant.store.scope.root.path / "build").iterdir()) == []
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unsupported, match="needs git"):
        site.build(f"FROM busybox\nADD {served.url} /\n")


@pytest.mark.parametrize(("word", "is_one"), [
    ("https://example.com/a.git", True), ("https://example.com/a.git#v1:docs", True),
    ("git@example.com:a/b.git", True), ("ssh://git@example.com/a", True), ("git://example.com/a", True),
    ("https://example.com/a.tar.gz", False), ("https://example.com/a.git?x", False), ("a.git", False),
    ("file:///a.git", False), ("ext::sh -c x", False),
])  # fmt: skip
def test_what_is_a_repository(word: str, is_one: bool) -> None:
    assert is_repository(word) is is_one
