"""ADD of a git repository: a checkout of one commit, by the git program of this machine.

    https://example.com/a.git                 its HEAD
    https://example.com/a.git#v1.2            a branch, a tag, a commit
    git@example.com:a.git#main:docs           a directory of it

Owns how git is called: with nothing of the user's or the machine's configuration, no hooks, no
prompts, over the network only; and that files have the commit's time, so that a commit is the same
layer whenever it is fetched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobyshell.core.errors import MobyshellError, NotFound, TimedOut, Unsupported, UsageError
from mobyshell.core.oci.safejson import show
from mobyshell.moby.build.context import Directory

_URL = re.compile(r"git@[^#\s]+:[^#\s]+|(git|ssh)://[^#\s]+|https?://[^#?\s]+\.git/?")
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SECONDS = 600.0
_SETTINGS = (
    "core.hooksPath=/dev/null", "protocol.allow=never", "protocol.https.allow=always",
    "protocol.http.allow=always", "protocol.git.allow=always", "protocol.ssh.allow=always",
    "advice.detachedHead=false", "gc.auto=0", "init.defaultBranch=main",
)  # fmt: skip


def is_repository(word: str) -> bool:
    """Whether a source of ADD is one."""
    return _URL.fullmatch(word.partition("#")[0]) is not None


class Repository:
    """One commit of a repository, in the directory `place`, which is made."""

    def __init__(self, word: str, checksum: str, place: Path, *, keep: bool) -> None:
        """`keep`: the files have their .git beside them. `checksum`: the commit that it must be.

        Unsupported where there is no git; NotFound for what the repository has not; TimedOut.
        """
        self._url, _, rest = word.partition("#")
        ref, _, below = rest.partition(":")
        if ref.startswith("-"):
            raise UsageError(f"{show(ref)} is no branch, tag or commit")
        self._git = shutil.which("git") or ""
        if not self._git:
            raise Unsupported("ADD of a git repository needs git", hint="apt install git")
        self._tree = place
        place.mkdir(mode=0o700)
        self._call("init", "-q")
        self.commit = self._fetch(ref or "HEAD")
        if checksum and not self.commit.startswith(checksum):
            raise UsageError(
                f"{self._url:.200} has another commit than --checksum says: {self.commit}"
            )
        self._settle(keep)
        # links of the repository lead nowhere but into it
        self.source = Directory(place, ignore=Path(os.devnull))
        self.path = below or "."

    def _fetch(self, ref: str) -> str:
        """The commit, checked out with its submodules."""
        try:
            self._call("fetch", "-q", "--depth=1", "--no-tags", "--", self._url, ref)
            found = "FETCH_HEAD"
        except MobyshellError:
            # not every server gives a commit by its name, or a part of a history
            self._call("fetch", "-q", "--", self._url, "+refs/*:refs/remotes/from/*")
            found = ref if _SHA.fullmatch(ref) else self._named(ref)
        self._call("checkout", "-q", found, "--")
        if (self._tree / ".gitmodules").exists():
            self._call("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1")
        return self._call("rev-parse", "HEAD").strip()

    def _named(self, ref: str) -> str:
        for one in (f"refs/remotes/from/heads/{ref}", f"refs/remotes/from/tags/{ref}"):
            try:
                return self._call("rev-parse", "--verify", "-q", f"{one}^{{commit}}").strip()
            except MobyshellError:
                continue
        raise NotFound(f"{self._url:.200} has no {show(ref)}")

    def _settle(self, keep: bool) -> None:
        when = int(self._call("log", "-1", "--format=%ct").strip()) * 1_000_000_000
        for above, directories, files in os.walk(self._tree):
            if ".git" in directories and not keep:
                shutil.rmtree(Path(above, ".git"))
                directories.remove(".git")
            if ".git" in files and not keep:  # of a submodule
                Path(above, ".git").unlink()
                files.remove(".git")
            for name in (*directories, *files):
                os.utime(Path(above, name), ns=(when, when), follow_symlinks=False)

    def _call(self, *words: str) -> str:
        # ssh is the user's: its keys, and whom it knows
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "SSH_AUTH_SOCK", "http_proxy",
                "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY") if name in os.environ}  # fmt: skip
        environment = {
            **kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        }  # fmt: skip
        settings = [word for one in _SETTINGS for word in ("-c", one)]
        try:
            done = subprocess.run([self._git, *settings, *words], cwd=self._tree, env=environment,
                                  capture_output=True, text=True, errors="replace", umask=0o022,
                                  stdin=subprocess.DEVNULL, timeout=_SECONDS, check=False)  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TimedOut(f"{self._url:.200} takes longer than {_SECONDS:g} s") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()
            why = next((one for one in said if one.startswith(("fatal:", "error:"))), said[-1] if said
                       else f"status {done.returncode}")  # fmt: skip
            raise MobyshellError(f"git {words[0]} of {self._url:.200}: {why:.300}")
        return done.stdout


@contextmanager
def cloned(word: str, checksum: str, place: Path, *, keep: bool) -> Iterator[Repository]:
    """A checkout, while the block lasts."""
    found: Repository | None = None
    try:
        found = Repository(word, checksum, place, keep=keep)
        yield found
    finally:
        if found is not None:
            found.source.close()
        shutil.rmtree(place, ignore_errors=True)
