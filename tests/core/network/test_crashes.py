"""A worker that is killed or refused at any of its steps, and a client that dies with it: the next
one finds nothing of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError
from mobyshell.core.network import orphans, ports, work
from mobyshell.core.network.attaching import Attaching
from mobyshell.core.network.values import Request
from tests.core.network.conftest import Home
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]

POINTS = (1, 2, 4, 7, 10, 12, 14, 16, 17)
"""Of the calls of the worker that change something (messages to the kernel, mounts)."""


class Saboteur:
    """Python, under strace: once, the n-th call of the next worker is what the worker dies of."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._armed = directory / "armed"
        program = directory / "python"
        program.write_text(
            "#!/bin/sh\n"
            f"if how=$(cat {self._armed} 2>/dev/null); then rm {self._armed}\n"
            f"exec strace -f -qq -o {directory}/trace -e trace=sendto,mount,umount2 "
            f'-e "inject=sendto,mount,umount2:$how" {sys.executable} "$@"; fi\n'
            f'exec {sys.executable} "$@"\n'
        )
        program.chmod(0o755)

        class Python:
            executable = str(program)

        monkeypatch.setattr(work, "sys", Python)

    def arm(self, how: str) -> None:
        self._armed.write_text(how)

    @property
    def struck(self) -> bool:
        return not self._armed.exists()


@pytest.fixture
def saboteur(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Saboteur:
    return Saboteur(tmp_path, monkeypatch)


def _request(home: Home) -> tuple[Request, dict[str, Any]]:
    home.net.networks.create("web", bridge="br0", ipv6=True)
    before = home.leftovers()
    return Request("one", ("web",), ports.parse("8080:80"), hostname="one"), before


def _addresses(home: Home) -> list[str]:
    directory = home.state / ".networks" / "addresses" / "web"
    return sorted(one for one in os.listdir(directory) if one[0] in "123456789f")


def test_killed_at_any_step_all_is_undone(home: Home, saboteur: Saboteur) -> None:
    request, before = _request(home)
    for point in POINTS:
        saboteur.arm(f"signal=KILL:when={point}")
        with pytest.raises(MobyshellError, match="the network worker was killed by signal 9"):
            home.net.attach(request)
        assert saboteur.struck
        assert home.leftovers() == before, point
        assert _addresses(home) == [], point
    home.attach("one", "web", publish=("8080:80",))


def test_refused_at_any_step_all_is_undone_and_the_reason_said(
    home: Home, saboteur: Saboteur
) -> None:
    request, before = _request(home)
    for point in POINTS[::2]:
        saboteur.arm(f"error=EPERM:when={point}")
        with pytest.raises(MobyshellError, match="Operation not permitted"):
            home.net.attach(request)
        assert home.leftovers() == before, point
        assert _addresses(home) == [], point


def test_a_client_that_dies_too_is_cleaned_up_after(
    home: Home, saboteur: Saboteur, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, before = _request(home)

    def die(self: Attaching) -> None:
        os.close(self._fd)  # what the kernel does of a dead process' locks

    for point in POINTS[::3]:
        with monkeypatch.context() as patch:
            patch.setattr(Attaching, "undo", die)
            saboteur.arm(f"signal=KILL:when={point}")
            with pytest.raises(MobyshellError):
                home.net.attach(request)
        assert home.net.records.ids() == [("default", "one")]
        # the one who cleans up dies as well, somewhere
        saboteur.arm("signal=KILL:when=2")
        assert home.net.reconcile() == []
        assert home.net.reconcile() == ["default/one"]
        left = home.leftovers()
        assert left["links"] <= {"br0"}, point
        assert {**left, "links": set()} == before, point
        assert _addresses(home) == [], point


def test_what_somebody_is_at_is_left_alone(home: Home) -> None:
    home.net.networks.create("web")
    with home.net.attach(Request("one", ("web",))):
        assert home.net.reconcile() == []
        with pytest.raises(AlreadyExists, match="by somebody else"):
            home.net.attach(Request("one", ("web",)))
    assert home.net.reconcile() == ["default/one"]


def test_an_error_while_the_container_is_made_undoes_all(home: Home) -> None:
    request, before = _request(home)
    with pytest.raises(RuntimeError), home.net.attach(request):
        raise RuntimeError("no container")
    assert home.leftovers() == before


def test_a_damaged_record_does_not_stay_for_ever(home: Home) -> None:
    home.net.networks.create("web")
    one = home.attach("one", "web")
    Path(one.directory, "attachment.json").write_text("{")
    (home.state / "default" / "one").rmdir()
    assert home.net.reconcile() == ["default/one"]
    left = home.leftovers()
    assert (left["mounts"], left["records"]) == ([], [])
    # the kernel takes a namespace apart some time after its last user
    eventually(lambda: not any(link.startswith("veth") for link in home.leftovers()["links"]))


def test_leftovers_of_a_removal_are_swept(home: Home) -> None:
    home.net.records.prepare()
    gone = Path(home.net.records.root, ".gone-1")
    gone.mkdir()
    (gone / "hosts").write_text("")
    assert home.net.reconcile() == []
    assert not gone.exists()


def test_things_without_a_record_are_found_by_their_marks(home: Home) -> None:
    home.net.networks.create("web", bridge="br0")
    one = home.attach("one", "web", publish=("8080:80",))
    two = home.attach("two", "web")
    before = orphans.find(home.net)
    assert before == []
    Path(one.directory, "attachment.json").unlink()
    (home.state / "default" / "one").rmdir()
    assert home.net.reconcile() == ["default/one"]
    found = orphans.find(home.net)
    mark, cni = home.net.identity("one").mark, home.net.identity("one").cni_id
    assert {(each.kind, each.whose) for each in found if each.kind != "device"} == {
        ("rules", mark), ("address", cni),
    }  # fmt: skip
    orphans.remove(home.net, found)
    assert "default/one" not in home.leftovers()["rules"]
    assert "default/two" in home.leftovers()["rules"]
    assert _addresses(home) == [two.joined[0].leases[0].ip]
    home.delete("two")
    home.net.networks.remove("web")
    assert [(each.kind, each.name) for each in orphans.find(home.net)] == [("bridge", "br0")]
    orphans.remove(home.net, orphans.find(home.net))
    assert home.leftovers()["links"] == set()
