"""Files on their way into a layer: a tree on the side, which then is written as one.

Owns how they get there: where a target leads in the image is looked up through its layers, so that
no link of the image leads anywhere else; directories that are there keep their modes and owners.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mobyshell.core.errors import NotFound, SyscallFailed, UsageError
from mobyshell.core.linux.paths import MOST_LINKS
from mobyshell.core.oci import User
from mobyshell.core.runtime.bundle import programs
from mobyshell.core.store.stack import Stack
from mobyshell.core.tasks import users
from mobyshell.moby.build.archives import is_archive, unpack
from mobyshell.moby.build.context import Item, Source, kept
from mobyshell.moby.build.modes import Wanted, changed
from mobyshell.moby.build.owning import Owning
from mobyshell.moby.build.patterns import Patterns
from mobyshell.moby.build.steps import Copy, Programs, Write


class Piece(Protocol):
    """A file that is in no source: it stands in the build file, or was fetched. `when`: nanoseconds
    since the epoch, 0 for now."""

    @property
    def name(self) -> str: ...

    @property
    def mode(self) -> int: ...

    @property
    def when(self) -> int: ...

    def pieces(self) -> Iterator[bytes]:
        """Its content."""
        ...


@dataclass(frozen=True, slots=True)
class Below:
    """The image so far, into which files go: its layers (None: there are none). `accounts`: where
    users are looked up, if that is elsewhere."""

    stack: Stack | None
    accounts: Stack | None = None

    def stat(self, path: str) -> os.stat_result | None:
        """What is at `path`, links followed; None if there is nothing."""
        if self.stack is None:
            return None
        try:
            return self.stack.stat(path).found
        except (NotFound, SyscallFailed):
            return None

    def real(self, path: str) -> str:
        """Where `path` leads: the same without links, as far as it is there."""
        parts, done, links = [one for one in path.split("/") if one], "/", 0
        while parts:
            part = parts.pop(0)
            if part in (".", ".."):
                done = posixpath.dirname(done) if part == ".." else done
                continue
            here = posixpath.join(done, part)
            try:
                entry = self.stack.stat(here, follow=False) if self.stack is not None else None
            except (NotFound, SyscallFailed):
                entry = None
            if entry is None or not stat.S_ISLNK(entry.found.st_mode):
                done = here
                continue
            links += 1
            if links > MOST_LINKS:
                raise UsageError(f"{path:.100}: too many links")
            parts = [one for one in entry.target.split("/") if one] + parts
            done = "/" if entry.target.startswith("/") else done
        return done

    def owner(self, text: str) -> tuple[int, int]:
        """The ids of `user[:group]`, as the image's accounts say; root's for nothing."""
        if not text:
            return 0, 0

        stack = self.accounts or self.stack

        def read(path: str, most: int) -> bytes:
            if stack is None:
                raise NotFound(f"there is no {path}")
            return stack.read(path, most)

        user, colon, _ = text.partition(":")
        found = users.resolve(text, User(uid=0, gid=0), read)
        # as Docker: of a number without a group, the group of that number
        gid = found.uid if not colon and user.isdecimal() else found.gid
        return found.uid, gid


class Scratch:
    """A directory that will be a layer: only what is put into it is in there."""

    def __init__(self, place: Path, below: Below, owning: Owning) -> None:
        self.path = place
        self._below, self._owning = below, owning
        self._copied: set[str] = set()
        place.mkdir(mode=0o755)

    def directory(self, path: str, mode: int = 0o755, owner: tuple[int, int] = (0, 0)) -> Path:
        """Where the directory `path` of the image is in here, made with all above it."""
        inside, known, links = self.path, "/", 0
        parts = [one for one in self._below.real(path).split("/") if one]
        while parts:
            part = parts.pop(0)
            known, inside = posixpath.join(known, part), inside / part
            if inside.is_symlink():
                # one that this very layer brings: /bin, where programs of a merged /usr came from
                links += 1
                if links > MOST_LINKS:
                    raise UsageError(f"{path:.100}: too many links")
                known = posixpath.normpath(
                    posixpath.join(posixpath.dirname(known), os.readlink(inside))
                )
                parts = [one for one in known.split("/") if one] + parts
                inside, known = self.path, "/"
                continue
            if inside.exists() and not inside.is_dir():
                raise UsageError(f"{known} is not a directory")
            if inside.is_dir():
                continue
            inside.mkdir()
            found = self._below.stat(known)
            if found is None:
                self._owning.give(inside, *owner)
                inside.chmod(mode)
            elif stat.S_ISDIR(found.st_mode):
                self._owning.give(inside, *self._owning.of(found))
                inside.chmod(stat.S_IMODE(found.st_mode))
                os.utime(inside, ns=(found.st_mtime_ns, found.st_mtime_ns))
                self._copied.add(known)
            else:
                raise UsageError(f"{known} in the image is not a directory")
        return inside

    def write(self, step: Write) -> None:
        """One file or directory."""
        owner = self._below.owner(step.owner)
        if step.content is None:
            inside = self.directory(step.path, step.mode, owner)
            self._owning.give(inside, *owner)
            inside.chmod(step.mode)
            return
        parent, name = posixpath.split(posixpath.normpath(posixpath.join("/", step.path)))
        if not name:
            raise UsageError(f"{step.path!r:.60} is no file's name")
        inside = self.directory(parent) / name
        inside.write_text(step.content)
        self._owning.give(inside, *owner)
        inside.chmod(step.mode)

    def programs(self, step: Programs) -> None:
        """Programs of this machine, and further names for them."""
        notices: list[str] = []
        programs.fill(self.path, ",".join(step.names), notices.append)
        first = next(iter(step.names))
        for name, target in step.links.items():
            place = Path(name if name.startswith("/") else f"/bin/{name}")
            inside = self.directory(str(place.parent)) / place.name
            with suppress(FileExistsError):
                inside.symlink_to(target or first)

    def copy(
        self, step: Copy, source: Source | None, workdir: str, pieces: Sequence[Piece] = ()
    ) -> None:
        """Files of `source` (Docker's COPY: of a directory, what is in it), and others."""
        owner = self._below.owner(step.owner) if step.owner else None
        target = posixpath.join(workdir or "/", step.target)
        into = step.target.endswith("/") or step.target in (".", "..")
        paths = [(path, _above(pattern)) for pattern in step.paths
                 for path in (source.match(pattern) if source is not None else ())]  # fmt: skip
        if not paths and not pieces:
            raise NotFound(f"nothing is named {' '.join(step.paths):.100}")
        there = self._below.stat(target)
        several = len(paths) + len(pieces) > 1 or into or step.parents or (
            there is not None and stat.S_ISDIR(there.st_mode)
        )  # fmt: skip
        left_out = Patterns(step.excluded)
        for path, above in paths:
            assert source is not None
            inside = posixpath.relpath(path, above or ("/" if path[:1] == "/" else ".")) if (
                step.parents
            ) else posixpath.basename(path)  # fmt: skip
            items = kept(source.items(path), left_out)
            top = next(items, None)
            if top is None:
                continue
            if top.is_directory:
                place = posixpath.join(target, inside) if step.parents else target
                self._tree(items, source, place, step, owner)
            elif step.unpack and is_archive(source, top):
                self._archive(source, top, target, step)
            else:
                place = posixpath.join(target, inside) if several else target
                self._put(top, source, place, step, owner)
        for piece in pieces:
            place = posixpath.join(target, piece.name) if several else target
            self._piece(piece, place, step.mode, owner or (0, 0))

    def _archive(self, source: Source, item: Item, target: str, step: Copy) -> None:
        if step.owner or step.mode is not None:
            raise UsageError(f"{item.place:.60} is an archive, which says owners and modes itself",
                             hint="COPY it, and RUN tar; or leave --chown and --chmod")  # fmt: skip
        unpack(source, item, self.directory(target), self.path.with_name(f"{self.path.name}-tar"),
               self._owning.enter)  # fmt: skip

    def _tree(
        self, items: Iterator[Item], source: Source, target: str, step: Copy,
        owner: tuple[int, int] | None,
    ) -> None:  # fmt: skip
        self.directory(target, 0o755, owner or (0, 0))
        for item in items:
            place = posixpath.join(target, item.path)
            if item.is_directory:
                mode = changed(stat.S_IMODE(item.found.st_mode), step.mode, directory=True)
                inside = self.directory(place, mode, owner or self._own(source, item))
                if place not in self._copied:
                    os.utime(inside, ns=(item.found.st_mtime_ns, item.found.st_mtime_ns))
            else:
                self._put(item, source, place, step, owner)

    def _own(self, source: Source, item: Item) -> tuple[int, int]:
        """Whose a file is that nobody was said to own: of a context's, root's."""
        return self._owning.of(item.found) if source.keeps_owners else (0, 0)

    def _put(
        self, item: Item, source: Source, place: str, step: Copy, owner: tuple[int, int] | None
    ) -> None:
        mode = item.found.st_mode
        if stat.S_ISLNK(mode):
            inside = self._free(place, owner)
            inside.symlink_to(item.target)
        elif stat.S_ISREG(mode):
            inside = self._free(place, owner)
            with open(inside, "xb") as file:
                for piece in source.read(item.place):
                    file.write(piece)
        else:
            raise UsageError(f"{item.place:.60} is neither file, directory nor link",
                             hint="leave it out by .dockerignore")  # fmt: skip
        self._owning.give(inside, *(owner or self._own(source, item)))
        if stat.S_ISREG(mode):  # after chown(2), which takes setuid bits away
            inside.chmod(changed(stat.S_IMODE(mode), step.mode))
            self._owning.mark(inside, source.attributes(item.place))
        times = (item.found.st_mtime_ns, item.found.st_mtime_ns)
        os.utime(inside, ns=times, follow_symlinks=False)

    def _piece(self, piece: Piece, place: str, mode: Wanted | None, owner: tuple[int, int]) -> None:
        inside = self._free(place, owner)
        with open(inside, "xb") as file:
            for part in piece.pieces():
                file.write(part)
        self._owning.give(inside, *owner)
        inside.chmod(changed(piece.mode, mode))
        if piece.when:
            os.utime(inside, ns=(piece.when, piece.when))

    def _free(self, place: str, owner: tuple[int, int] | None) -> Path:
        """Where the file `place` comes, its directory made and whatever was there gone."""
        parent, name = posixpath.split(posixpath.normpath(place))
        inside = self.directory(parent, 0o755, owner or (0, 0)) / name
        with suppress(FileNotFoundError):
            inside.unlink()
        return inside

    def finish(self) -> None:
        """Nothing more is put into it: all belongs to whom it shall. SyscallFailed."""
        self._owning.finish()


def _above(pattern: str) -> str:
    """What of a path `--parents` leaves away: all before `/./`."""
    before, pivot, _ = pattern.partition("/./")
    if not pivot:
        return ""
    return posixpath.normpath(before) if before.startswith("/") else (
        posixpath.normpath(f"/{before}").lstrip("/") or "."
    )  # fmt: skip
