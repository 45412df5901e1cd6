"""Snapshots in memory, for tests whose subject is the screen."""

from __future__ import annotations

from mobyshell.core.store.differences import Way
from mobyshell.core.store.snapshots.protocol import Mount
from mobyshell.moby.snapshot_survey import Holder, Layer, Makeup, SnapshotInfo
from mobyshell.moby.survey import TreeRow
from tests.fake_images import digest, entry
from tests.fakes import SECOND

PLACE = "/var/lib/mobyshell/snapshots/overlayfs"
BASE = digest("base")
TOOLS = "tools"
ROOT_LABEL = {"containerd.io/gc.root": "2026-11-29T12:00:00Z", "team": "blue"}


def info(
    now: int, key: str, kind: str, parent: str, age: int, *holders: Holder, size: int = 4096
) -> SnapshotInfo:
    made = now - age * SECOND
    labels = ROOT_LABEL if Holder("snapshot", key) in holders else {}
    return SnapshotInfo(key, kind, parent, made, made, size, size // 1024, holders, labels)


class FakeSnapshots:
    """`base` of an image; upon it `tools`, upon that two boxes; a view, and an orphan's garbage."""

    def __init__(self, now: int) -> None:
        image, box = Holder("image", "docker.io/library/box:latest"), Holder("container", "web")
        self.infos = [
            info(now, BASE, "committed", "", 7200, image, box, size=144_000),
            info(now, TOOLS, "committed", BASE, 3600, box, Holder("snapshot", TOOLS), size=24_000),
            info(now, "box-1", "active", TOOLS, 90, box),
            info(now, "box-2", "active", TOOLS, 60, Holder("lease", "pull-1")),
            info(now, "look", "view", BASE, 30, Holder("snapshot", "look")),
            info(now, "left", "active", "", 10),
        ]
        self.broken: Exception | None = None
        self.written: list[TreeRow] = []

    def ls(self) -> list[SnapshotInfo]:
        if self.broken is not None:
            raise self.broken
        return self.infos

    def tree(self, one: SnapshotInfo, path: str) -> list[TreeRow]:
        if self.broken is not None:
            raise self.broken
        if path == "/etc":
            return [entry("/etc/motd", "file", Way.CHANGED, 8), entry("/etc/unwanted", "deleted",
                                                                      Way.DELETED)]  # fmt: skip
        if path != "/":
            return []
        return [
            entry("/bin", "directory", None, touched=True),
            entry("/etc", "directory", Way.CHANGED, touched=True),
            entry("/sh", "link", Way.ADDED, target="bin/sh"),
            *self.written,
        ]

    def content(self, one: SnapshotInfo, path: str) -> bytes:
        return b"changed\n"

    def makeup(self, one: SnapshotInfo) -> Makeup:
        own = Layer(one.key, 4096, f"{PLACE}/3/fs")
        below = (Layer(TOOLS, 24_000, f"{PLACE}/2/fs"), Layer(BASE, 144_000, f"{PLACE}/1/fs"))
        options = ("index=off", f"workdir={PLACE}/3/work", f"upperdir={PLACE}/3/fs",
                   f"lowerdir={PLACE}/2/fs:{PLACE}/1/fs")  # fmt: skip
        through = "view" if one.key in (BASE, TOOLS) else ""
        return Makeup("overlayfs", "overlay", (own, *below), (Mount("overlay", "overlay", options),),
                      through)  # fmt: skip

    def why(self, one: SnapshotInfo) -> list[str]:
        if one.key == "left":
            return []
        return ["container web (containers are kept) → this (snapshot)",
                f"image box (images are kept) → content {digest('config')} (target) → this "
                "(containerd.io/gc.ref.snapshot.overlayfs)"]  # fmt: skip
