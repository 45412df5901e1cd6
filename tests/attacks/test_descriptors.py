"""A way back to the host by a descriptor that was left open (CVE-2024-21626, CVE-2016-9962)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.runtime.steps import run
from tests.attacks.conftest import SECRET, Attack, add_mount, without_mount
from tests.waiting import eventually

pytestmark = pytest.mark.root

NUMBERS = range(3, 24)


@pytest.fixture
def leaks(attack: Attack) -> Iterator[None]:
    """A caller that has left descriptors of the host's root open, and not even close-on-exec."""
    fds = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(12)]
    for fd in fds:
        os.set_inheritable(fd, True)
    yield
    for fd in fds:
        os.close(fd)


def working_in(path: str, document: dict[str, Any]) -> None:
    document["process"]["cwd"] = path


@pytest.mark.usefixtures("leaks")
@pytest.mark.parametrize("form", ["/proc/self/fd/{}", "/proc/thread-self/fd/{}", "/link{}/tmp"])
def test_working_directory(attack: Attack, form: str) -> None:
    """process.cwd, or a link of the image that it goes through, is a descriptor's link in /proc: if
    the runtime still has the host's directory open, the program starts out there. Success: the
    program runs, and its directory has the host's files."""
    for number in NUMBERS:
        (attack.image / f"link{number}").symlink_to(f"/proc/self/fd/{number}")
    for number in NUMBERS:
        path = form.format(number)
        result = attack.run(
            f"cat ../../../../..{attack.outside}/secret ./{attack.outside}/secret; pwd",
            partial(working_in, path),
        )
        assert SECRET not in result.output
        assert result.status == -1, path


@pytest.mark.usefixtures("leaks")
def test_working_directory_of_an_exec(attack: Attack) -> None:
    """The same with an exec into a running container, and with links that it makes while it runs.
    Success: the exec reads the host's file."""
    for number in NUMBERS:
        (attack.image / f"link{number}").symlink_to(f"/proc/self/fd/{number}")
    house = attack.house
    container = house.create("c", house.spec(attack.change(), "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        for number in NUMBERS:
            for cwd in (f"/proc/self/fd/{number}", f"/link{number}"):
                try:
                    done = house.exec("c", "cat", f".{attack.outside}/secret", cwd=cwd)
                except MobyshellError:
                    continue
                assert SECRET not in done.output
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


@pytest.mark.usefixtures("leaks")
def test_descriptors_of_the_program(attack: Attack) -> None:
    """The program, and the init that waits to become it, look through their descriptors. Success:
    one of them is a file or directory of the host that nobody gave to it."""
    result = attack.run("for one in /proc/self/fd/*; do readlink $one; done; ls /proc/self/fd")
    assert SECRET not in result.output
    # the streams, and the directory that is being read
    assert set(result.output.split()[-4:]) <= {"0", "1", "2", "3"}
    house = attack.house
    container = house.create("c", house.spec(attack.change(), "true"))
    try:
        fifo = str(house.runtime.root / "c" / "exec.fifo")
        # it is still closing the line to the runtime when that has heard the last word
        eventually(lambda: _others(container.pid) == [fifo])
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


def _others(pid: int) -> list[str]:
    """What the descriptors of a process lead to, but for its streams."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            if int(name) > 2:
                found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


def test_looking_into_an_exec(attack: Attack) -> None:
    """A process of the container, as root in there, traces or reads every process that comes in by
    an exec, while the runtime's code still runs in it. Success: it reads a descriptor, the memory or
    the root of one that is not yet its own program."""
    script = """
    while :; do
        for one in /proc/[0-9]*; do
            case $one in /proc/1|/proc/$$) continue;; esac
            exe=$(readlink $one/exe 2>/dev/null) || continue
            case $exe in */busybox|*/bin/*|"") ;; *) echo "$one $exe" ;; esac
            cat $one/root{outside}/secret $one/cwd{outside}/secret 2>/dev/null
        done
        [ -e /stop ] && exit
    done
    """.replace("{outside}", str(attack.outside))
    house = attack.house
    container = house.create("c", house.spec(attack.change(), "sh", "-c", script))
    run(house.runtime.start("c"))
    for _ in range(30):
        assert house.exec("c", "true").status == 0
    (attack.image / "stop").write_text("")
    result = house.finish(container)
    assert "python" not in result.output
    assert SECRET not in result.output


def test_the_null_device_of_the_host(attack: Attack) -> None:
    """A stream of the caller is the host's /dev/null: root in the container changes the mode of that
    through /proc/self/fd/0. Success: the stream, of the container or of an exec into it, leads to
    another file than the container's own device."""
    script = "stat -L -c %d:%i /proc/self/fd/0 /dev/null"
    change = attack.change()
    assert len(set(attack.house.sh(script, change))) == 1
    house = attack.house
    container = house.create("c", house.spec(change, "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        found = house.exec("c", "sh", "-c", script).output.splitlines()
        assert len(found) == 2
        assert len(set(found)) == 1
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


def test_a_null_device_that_is_none(attack: Attack) -> None:
    """The image's /dev is used, and has a file by that name, or a link. Success: the stream leads to it."""
    for target in ("", "zero"):
        null = attack.image / "dev" / "null"
        null.symlink_to(target) if target else null.touch()
        bound = add_mount("/dev", "bind", attack.image / "dev", "bind")
        found = attack.run("stat -L -c %t:%T /proc/self/fd/0", without_mount("/dev"), bound)
        assert found.output.strip() == "1:3", found
        null.unlink()
