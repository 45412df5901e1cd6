"""What the attacks share: an image to spoil, and a place of the host that must stay as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from tests.core.runtime.conftest import House, Result, busybox, house

__all__ = ["busybox", "house"]

Document = dict[str, Any]
APPLETS = """sh cat chmod chown cp cut dd grep head ls mkdir mknod mount readlink sleep stat touch true
    umount wc"""
SECRET = "what no container may read"


@dataclass
class Attack:
    """A container of an image that the attacker has made; `outside` is on the host."""

    house: House
    image: Path
    outside: Path

    def change(self, *changes: Callable[[Document], object]) -> Callable[[Document], None]:
        """The image as a writable root, then `changes`."""

        def change(document: Document) -> None:
            document["root"] = {"path": str(self.image)}
            for one in changes:
                one(document)

        return change

    def run(self, script: str, *changes: Callable[[Document], object]) -> Result:
        """Run a shell script inside to its end; a refusal of the runtime is an error (-1)."""
        try:
            return self.house.run("sh", "-c", script, change=self.change(*changes))
        except MobyshellError as error:
            return Result(-1, "", str(error))

    def untouched(self) -> bool:
        """Whether the host's place is as it was."""
        names = sorted(one.name for one in self.outside.rglob("*"))
        return names == ["deep", "secret"] and (self.outside / "secret").read_text() == SECRET


@pytest.fixture
def attack(house: House, tmp_path: Path) -> Iterator[Attack]:
    """An image of one's own; afterwards the host is as it was (mounts: the house looks)."""
    image, outside = tmp_path / "image", tmp_path / "outside"
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp"):
        (image / name).mkdir(parents=True)
    shutil.copy(house.bundle / "rootfs" / "bin" / "busybox", image / "bin" / "busybox")
    for name in APPLETS.split():
        (image / "bin" / name).symlink_to("busybox")
    (outside / "deep").mkdir(parents=True)
    (outside / "secret").write_text(SECRET)
    made = Attack(house, image, outside)
    yield made
    assert made.untouched(), sorted(outside.rglob("*"))


def add_mount(
    destination: str, type: str = "tmpfs", source: str | Path = "tmpfs", *options: str
) -> Callable[[Document], None]:
    """One more mount."""
    one = {"destination": destination, "type": type, "source": str(source), "options": [*options]}
    return lambda document: document["mounts"].append(one)


def without_mount(*destinations: str) -> Callable[[Document], None]:
    """Fewer mounts: then the image's own directories are used."""

    def change(document: Document) -> None:
        document["mounts"] = [
            one for one in document["mounts"] if one["destination"] not in destinations
        ]

    return change
