"""What `task diff` says of mounts with every kind of option: nothing, until one of both is changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.core.runtime.conftest import House, running
from tests.core.runtime.test_diff import claim, lines, wrong

pytestmark = pytest.mark.root

Document = dict[str, Any]
MAPS = [{"containerID": 0, "hostID": 1000, "size": 10}]


def every_option(place: Path) -> Any:
    """Mounts of all kinds; `place` is what is bound."""
    (place / "link").symlink_to("/etc/there")

    def change(document: Document) -> None:
        document["root"]["readonly"] = False

        def one(destination: str, *words: str, type: str = "tmpfs", **more: Any) -> None:
            document["mounts"].append(
                {
                    "destination": destination,
                    "type": type,
                    "source": "tmpfs",
                    "options": [*words],
                    **more,
                }
            )

        one("/d/sync", "sync", "dirsync", "mand", "lazytime", "size=64k", "ro")
        one("/d/once", "nosuid")
        one("/d/once", "remount", "bind", "ro", "nodev")
        one("/d/twice", "size=64k", "noexec")
        one("/d/twice", "size=128k", "nodev")
        one("/d/tree", "rbind", "rro", "rnosuid", source="/dev/shm", type="bind")
        one("/d/off", "bind", "ro", "rrw", source=str(place), type="bind")
        one("/d/mapped", "bind", source=str(place), type="bind", uidMappings=MAPS, gidMappings=MAPS)
        one("/d/link", "bind", "copy-symlink", source=str(place / "link"), type="bind")
        one("/d/strict", "strictatime", "rslave", "tmpcopyup")

    return change


def test_options_are_as_the_spec_says(house: House, tmp_path: Path) -> None:
    with running(house, change=every_option(tmp_path)):
        assert wrong(house) == {}
        found = lines(house)
        assert found["mounts[7] /d/sync"].found == "tmpfs ro sync dirsync mand lazytime size=64k"
        assert found["mounts[8] /d/once"].note == "changed by mounts[9]"
        assert found["mounts[9] /d/once"].found == "remount ro nodev"
        assert found["mounts[10] /d/twice"].found == "tmpfs noexec size=64k"
        assert found["mounts[11] /d/twice"].found == "tmpfs nodev size=128k"
        assert found["mounts[14] /d/mapped"].found == "bind idmapped"
        assert found["mounts[15] /d/link"].found == "a link to /etc/there"


@pytest.mark.parametrize(
    ("index", "options"),
    [
        (7, ["size=64k", "ro"]), (7, ["sync", "dirsync", "mand", "lazytime", "size=1k", "ro"]),
        (9, ["remount", "bind", "ro"]), (10, ["size=64k"]), (11, ["size=64k", "nodev"]),
        (12, ["rbind", "rnoexec"]), (13, ["bind", "ro"]), (14, ["bind", "noexec"]),
        (16, ["relatime", "noatime"]), (16, ["nosymfollow"]),
    ],
)  # fmt: skip
def test_another_option_shows(house: House, tmp_path: Path, index: int, options: list[str]) -> None:
    with running(house, change=every_option(tmp_path)):
        claim(house, lambda document: document["mounts"][index].update(options=options))
        expected = {} if (index, options[0]) == (7, "size=64k") else {index}
        found = {int(path[len("mounts[") :].split("]")[0]) for path in wrong(house)}
        assert found == set(expected)


def test_what_is_not_there_any_more_shows(house: House, tmp_path: Path) -> None:
    with running(house, change=every_option(tmp_path)):
        (tmp_path / "link").unlink()
        os.symlink("/etc/elsewhere", tmp_path / "link")
        assert wrong(house) == {
            "mounts[15] /d/link": ("a link to /etc/elsewhere", "a link to /etc/there")
        }
        claim(house, lambda document: document["mounts"][14].update(uidMappings=[], gidMappings=[]))
        assert "mounts[14] /d/mapped" not in wrong(house)  # a bind may have more than was asked
