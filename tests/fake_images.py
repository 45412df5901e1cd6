"""Images in memory, for tests whose subject is the screen."""

from __future__ import annotations

from mobyshell.core.errors import NotFound
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.differences import Way
from mobyshell.moby.look import FileRow, LayerRow, Wasted
from mobyshell.moby.survey import ImageInfo, Part, TreeRow
from tests.fakes import SECOND

BOX, WEB = "docker.io/library/box:latest", "registry.example.com/team/web:1.2"


def digest(word: str) -> str:
    return Digest.of(word.encode())


def entry(path: str, kind: str, way: Way | None, size: int = 0, target: str = "",
          touched: bool = False) -> TreeRow:  # fmt: skip
    return TreeRow(FileRow(path, kind, 0o755, size, 0, 0, 0, target), way, touched)


class FakeImages:
    """Two images; `box` is unpacked and has two layers, `web` is packed."""

    def __init__(self, now: int) -> None:
        self.infos = [
            ImageInfo(BOX, "box", digest("box"), 1_200_000, ("linux/amd64",), True,
                      now - 90 * SECOND, ("sh", "-c", "echo default")),
            ImageInfo(WEB, WEB, digest("web"), 48_000_000, ("linux/amd64", "linux/arm64"), False,
                      now - 7200 * SECOND),
        ]  # fmt: skip
        self.broken: Exception | None = None
        self.lost = [Wasted("/etc/passwd", 2, 318)]

    def ls(self) -> list[ImageInfo]:
        if self.broken is not None:
            raise self.broken
        return self.infos

    def layers(self, name: str) -> list[LayerRow]:
        made = [("programs busybox", 1_100_000), ("RUN echo hello > /data/a; rm /etc/passwd", 568)]
        rows = [
            LayerRow(number, digest(by), digest(f"{by} diff"), digest(f"{by} chain"), size, "", by,
                     "") for number, (by, size) in enumerate(made)
        ]  # fmt: skip
        return [*rows, LayerRow(-1, "", "", "", 0, "", "ENV X=1", "")]

    def tree(self, name: str, layer: int, path: str) -> list[TreeRow]:
        if name == WEB:
            raise NotFound(f"{WEB} is not unpacked", hint="press u")
        if path == "/data":
            return [entry("/data/a", "file", Way.ADDED, 6), entry("/data/b", "file", None, 80)]
        if path != "/":
            return []
        way = Way.ADDED if layer == 0 else None
        return [
            entry("/data", "directory", way, touched=layer == 1),
            entry("/etc", "directory", way, touched=layer == 1),
            entry("/passwd", "deleted" if layer else "file", Way.DELETED if layer else way),
            entry("/sh", "link", Way.CHANGED if layer else way, target="busybox"),
        ]

    def content(self, name: str, layer: int, path: str) -> bytes:
        return b"hello\n" if path == "/data/a" else b"bin\0ary"

    def wasted(self, name: str) -> list[Wasted]:
        return self.lost if name == BOX else []

    def parts(self, name: str) -> list[Part]:
        oci = "application/vnd.oci.image"
        return [
            Part(0, "index", digest("index"), 500, f"{oci}.index.v1+json", True, False),
            Part(1, "manifest", digest("manifest"), 714, f"{oci}.manifest.v1+json", True, True,
                 "linux/amd64"),
            Part(2, "config", digest("config"), 1600, f"{oci}.config.v1+json", True, True),
            Part(2, "layer", digest("layer"), 1_100_000, f"{oci}.layer.v1.tar+gzip", True, True),
            Part(1, "manifest", digest("other"), 714, f"{oci}.manifest.v1+json", False, False,
                 "linux/arm64"),
        ]  # fmt: skip
