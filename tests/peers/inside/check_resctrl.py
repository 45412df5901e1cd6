"""Classes of service that are made and removed, on a v1 hierarchy without controllers.

That stands in for resctrl: there, too, a new directory has its `tasks`, takes pids, and goes with
its files. Only here, for whoever looks at a machine's hierarchies sees it.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.runtime.plan import Actor, Phase
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House
from tests.core.runtime.test_resctrl import ALL, asking, with_class


@pytest.fixture
def hierarchy(tmp_path: Path) -> Iterator[Path]:
    """A v1 hierarchy of our own, without controllers."""
    root = tmp_path / "hierarchy"
    root.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    name = f"none,name=mobyshell{os.getpid()}".encode()
    assert libc.mount(b"none", bytes(root), b"cgroup", 0, name) == 0, os.strerror(
        ctypes.get_errno()
    )
    yield root
    assert libc.umount2(bytes(root), 0) == 0


def test_a_class_goes_with_its_container(house: House, hierarchy: Path) -> None:
    with_class(house, Resctrl(str(hierarchy), ALL))
    container = house.create("c", house.spec(asking(), "sleep", "1000"))
    try:
        assert (hierarchy / "c/tasks").read_text().split() == [str(container.pid)]
        state = json.loads((house.runtime.root / "c/state.json").read_text())
        assert state["resctrl"] == [str(hierarchy / "c")]
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)
    assert not (hierarchy / "c").exists()


def test_one_that_was_there_stays(house: House, hierarchy: Path) -> None:
    (hierarchy / "c").mkdir()
    with_class(house, Resctrl(str(hierarchy), ALL))
    assert house.run("true", change=asking()).status == 0
    (hierarchy / "c").rmdir()


def test_a_container_that_fails_leaves_none(house: House, hierarchy: Path) -> None:
    with_class(house, Resctrl(str(hierarchy), ALL))

    def change(document: dict[str, Any]) -> None:
        asking()(document)
        document["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}

    with pytest.raises(MobyshellError):
        house.create("c", house.spec(change, "true"))
    assert not (hierarchy / "c").exists()
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(asking()))
    assert plan.attended
    assert plan.of(Actor.PARENT, Phase.ATTACH)
