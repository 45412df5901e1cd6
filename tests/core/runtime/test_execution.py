"""What surrounds the program: its directory, environment, streams; and why it is not executed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.oci import User
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.diagnosis import diagnose
from mobyshell.core.runtime.environment import complete, home
from mobyshell.core.runtime.plan import HOME
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]
Change = Callable[[Document], None]


@pytest.fixture
def rootfs(tmp_path: Path, house: House) -> Path:
    """A root filesystem that a test may write to."""
    made = tmp_path / "rootfs"
    shutil.copytree(house.bundle / "rootfs", made, symlinks=True)
    (made / "etc").mkdir(exist_ok=True)
    return made


def within(rootfs: Path, **process: Any) -> Change:
    def change(document: Document) -> None:
        document["root"] = {"path": str(rootfs)}
        document["process"].update(process)

    return change


# the working directory


def test_a_working_directory_is_made_where_the_image_has_none(house: House, rootfs: Path) -> None:
    (rootfs / "up").symlink_to("../../../../../..")
    outside = Path("/nobody-has-this")
    assert house.sh("pwd", within(rootfs, cwd="/srv/new/deep")) == ["/srv/new/deep"]
    assert stat.S_IMODE((rootfs / "srv/new").stat().st_mode) == 0o755
    assert house.sh("pwd", within(rootfs, cwd=f"/up{outside}/x")) == [f"{outside}/x"]
    assert not outside.exists()
    assert (rootfs / "nobody-has-this/x").is_dir()
    with pytest.raises(SyscallFailed, match="make the working directory"):
        house.run("true", change=within(rootfs, cwd="/bin/busybox/x"))


def test_a_working_directory_that_only_root_may_enter(house: House, rootfs: Path) -> None:
    (rootfs / "private").mkdir(mode=0o700)
    user = {"uid": 1000, "gid": 1000}
    assert house.run("true", change=within(rootfs, cwd="/private", user=user)).status == 0


def test_an_exec_makes_no_directory(house: House, rootfs: Path) -> None:
    container = house.create("c", house.spec(within(rootfs), "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        with pytest.raises(SyscallFailed, match="change to /not-there"):
            house.exec("c", "true", cwd="/not-there")
        assert not (rootfs / "not-there").exists()
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


# the environment


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["A=1", "B=2", "A=3"], ["B=2", "A=3", f"HOME={HOME}"]),
        (["HOME=/x", "A=1"], ["HOME=/x", "A=1"]),
        (["HOME=", "A=1"], ["A=1", f"HOME={HOME}"]),
        (["HOME=/x", "HOME="], [f"HOME={HOME}"]),
        (["A=1", "A=1"], ["A=1", f"HOME={HOME}"]),
        ([], [f"HOME={HOME}"]),
    ],
)  # fmt: skip
def test_each_name_once_and_a_home(given: list[str], expected: list[str]) -> None:
    assert list(complete(given)) == expected


PASSWD = """\
root:x:0:0:root:/root:/bin/sh
broken
short:x:7
app:x:1000:1000::/srv/app:/bin/sh
app2:x:1000:1000::/srv/second:/bin/sh
empty:x:8:8:::/bin/sh
"""


def test_home_is_what_the_image_says(house: House, rootfs: Path) -> None:
    (rootfs / "etc/passwd").write_text(PASSWD)
    show = "echo $HOME"
    for uid, place in ((0, "/root"), (1000, "/srv/app"), (7, "/"), (8, "/"), (9, "/")):
        change = within(rootfs, user={"uid": uid, "gid": 0})
        assert house.sh(show, change) == [place]
    given = within(rootfs, env=["PATH=/bin", "HOME=/given"])
    assert house.sh(show, given) == ["/given"]


def test_home_is_looked_up_in_what_is_mounted(house: House, rootfs: Path, tmp_path: Path) -> None:
    (rootfs / "etc/passwd").write_text("root:x:0:0:root:/below:/bin/sh\n")
    (tmp_path / "passwd").write_text("root:x:0:0:root:/above:/bin/sh\nx:x:5:5::/five:/bin/sh\n")

    def change(document: Document) -> None:
        within(rootfs)(document)
        document["mounts"].append(
            {"destination": "/etc/passwd", "source": str(tmp_path / "passwd"), "options": ["bind"]}
        )

    container = house.create("c", house.spec(change, "sh", "-c", "echo $HOME; sleep 1000"))
    run(house.runtime.start("c"))
    try:
        done = house.exec("c", "sh", "-c", "echo $HOME", user=User(uid=5, gid=5))
        assert done.output == "/five\n"
        found = {one.path: one.agrees for one in house.runtime.diff("c")}
        assert found["process.env"] is True
    finally:
        run(house.runtime.kill("c", 9))
        assert house.finish(container).output == "/above\n"


@pytest.mark.parametrize("kind", ["fifo", "directory", "device", "link", "huge", "long", "nothing"])
def test_a_hostile_passwd_is_no_home(rootfs: Path, kind: str) -> None:
    place = rootfs / "etc/passwd"
    place.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    elif kind == "device":
        os.mknod(place, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "link":
        place.symlink_to("/proc/self/root/etc/passwd")
    elif kind == "huge":
        place.write_bytes(b"x" * (2 << 20) + b"\nroot:x:0:0:root:/too/far:/bin/sh\n")
    elif kind == "long":
        place.write_text(f"root:x:0:0:root:/{'x' * 5000}:/bin/sh\n")
    assert home(0, str(rootfs)) == "/"


def test_the_plan_says_where_the_home_comes_from(house: House) -> None:
    from mobyshell.core.runtime.plan import operation_json

    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(None, "true"))
    last = operation_json(plan.operations[-1])
    assert 'HOME=<as /etc/passwd says>"' in last["calls"][-1]


# the streams


def test_streams_are_given_to_the_user_but_the_null_device_is_not(
    house: House, rootfs: Path, tmp_path: Path
) -> None:
    before = os.stat("/dev/null")
    spec = house.spec(within(rootfs, user={"uid": 1234, "gid": 1234}), "sh", "-c",
                      "echo again > /proc/self/fd/1")  # fmt: skip
    container = house.create("c", spec)
    run(house.runtime.start("c"))
    assert house.finish(container).output == "again\n"
    assert (tmp_path / "c.out").stat().st_uid == 1234
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)


def test_streams_that_cannot_be_given_away_are_left(house: House, rootfs: Path) -> None:
    # procfs keeps its owners: the kernel refuses
    with open("/proc/self/status") as source, open("/dev/null", "w") as null:
        stdio = Stdio(source.fileno(), null.fileno(), null.fileno())
        spec = house.spec(within(rootfs, user={"uid": 1234, "gid": 1234}), "true")
        container = run(house.runtime.create("c", str(house.bundle), stdio=stdio, spec=spec))
    run(house.runtime.start("c"))
    assert house_status(house, container) == 0


def house_status(house: House, container: Any) -> int:
    status = run(house.runtime.wait(container.id, timeout=60))
    os.close(container.pidfd)
    run(house.runtime.delete(container.id))
    return status


# why it is not executed


def script(rootfs: Path, text: bytes, mode: int = 0o755) -> str:
    (rootfs / "start.sh").write_bytes(text)
    (rootfs / "start.sh").chmod(mode)
    return "/start.sh"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"#!/bin/nosuch\n", "no such file or directory (the interpreter of /start.sh, /bin/nosuch,"),
        (b"#!/bin/sh\r\necho\r\n", "no such file or directory (the first line of /start.sh ends with"),
        (b"#!\n", "exec format error (the first line of /start.sh names no interpreter"),
        (b"", "exec format error (/start.sh is empty"),
        (b"hello\n", "exec format error (/start.sh is neither a program"),
        (b"\x7fELF\x02\x01" + b"\0" * 12 + b"\x28\x00" + b"\0" * 50,
         "exec format error (/start.sh is a program for another machine (ELF machine 40)"),
    ],
)  # fmt: skip
def test_the_reason_is_named(house: House, rootfs: Path, text: bytes, said: str) -> None:
    path = script(rootfs, text)
    with pytest.raises(SyscallFailed) as caught:
        house.run(path, change=within(rootfs))
    assert caught.value.message.startswith(f'exec: "{path}": {said}')


def test_a_loader_that_is_not_in_the_image(house: House, rootfs: Path) -> None:
    program = shutil.which("true")
    assert program is not None
    shutil.copy(program, rootfs / "dynamic")
    with pytest.raises(SyscallFailed) as caught:
        house.run("/dynamic", change=within(rootfs))
    assert 'exec: "/dynamic": no such file or directory (the loader of /dynamic, /lib' in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": no such file or directory'),
        ("/etc", 'exec: "/etc": is a directory'),
        (
            "/start.sh",
            'exec: "/start.sh": permission denied',
        ),
    ],
)
def test_in_the_words_that_callers_look_for(
    house: House, rootfs: Path, name: str, said: str
) -> None:
    script(rootfs, b"#!/bin/sh\n", 0o644)
    with pytest.raises(SyscallFailed) as caught:
        house.run(name, change=within(rootfs))
    assert caught.value.message == said
    if name == "/start.sh":
        assert caught.value.hint == "/start.sh is not executable: chmod +x"


def test_in_the_search_path_too(house: House, rootfs: Path) -> None:
    (rootfs / "bin/tool").write_bytes(b"#!/usr/bin/nosuch -x\n")
    (rootfs / "bin/tool").chmod(0o755)
    (rootfs / "sbin/folder").mkdir(parents=True)
    with pytest.raises(SyscallFailed) as caught:
        house.run("tool", change=within(rootfs))
    assert "(the interpreter of /bin/tool, /usr/bin/nosuch, is not in the image)" in str(
        caught.value
    )
    with pytest.raises(SyscallFailed, match='"folder": executable file not found in \\$PATH'):
        house.run("folder", change=within(rootfs))


def test_a_diagnosis_never_follows_a_link_out(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"#!/bin/nosuch\n")
    (tmp_path / "host").chmod(0o755)
    (rootfs / "out").symlink_to(f"../../../../../../{tmp_path}/host")
    (rootfs / "loop").symlink_to("loop")
    os.mkfifo(rootfs / "fifo")
    root = str(rootfs)
    for name in ("/out", "/loop", "/fifo", "/bin/busybox", "/nosuch"):
        assert diagnose(root, name, errno.ENOENT) == ""
    assert diagnose(root, "/fifo", errno.EACCES) == "/fifo is not a regular file"
    assert diagnose(str(tmp_path / "no-rootfs"), "/bin/busybox", errno.ENOENT) == ""
    assert "\x1b" not in diagnose(root, script(rootfs, b"#!/bin/\x1b[31mred\n"), errno.ENOENT)
    damaged = bytearray((rootfs / "bin/busybox").resolve().read_bytes()[:64])
    struct.pack_into("=Q", damaged, 32, 1 << 60)
    assert diagnose(root, script(rootfs, bytes(damaged)), errno.ENOENT) == ""
    assert "is damaged" in diagnose(root, "/start.sh", errno.ENOEXEC)


def test_an_unmapped_user_is_named(house: House, rootfs: Path) -> None:
    subprocess.run(["chown", "-R", "100000:100000", str(rootfs)], check=True)
    for path in (rootfs.parent, *rootfs.parent.parents):
        if path.is_relative_to("/tmp/pytest-of-root"):
            path.chmod(path.stat().st_mode | 0o011)

    def change(document: Document) -> None:
        within(rootfs, user={"uid": 70000, "gid": 0})(document)
        document["linux"]["namespaces"].append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = mapping

    with pytest.raises(MobyshellError) as caught:
        house.run("true", change=change)
    assert caught.value.hint == "cannot setuid to unmapped uid 70000 in user namespace"
