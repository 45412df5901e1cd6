"""More power than was given: capabilities, devices, cgroups.

CVE-2022-29162, CVE-2022-0492 (release_agent), CVE-2023-25809, and device nodes of an image.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci import Capabilities, User
from mobyshell.core.runtime import Host, handed_trees
from mobyshell.core.runtime.steps import run
from tests.attacks.conftest import Attack, add_mount, without_mount

pytestmark = pytest.mark.root

Document = dict[str, Any]
EVERY = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SETUID",
    "CAP_SETGID", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_AUDIT_WRITE", "CAP_KILL",
]  # fmt: skip


def capable(document: Document) -> None:
    document["process"]["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted"), EVERY
    )
    document["process"]["noNewPrivileges"] = False


def sets(text: str) -> dict[str, int]:
    lines = (line.split(":") for line in text.splitlines() if line.startswith("Cap"))
    return {name: int(value, 16) for name, value in lines}


def test_inheritable_capabilities(attack: Attack) -> None:
    """A program that is not root executes a file with inheritable file capabilities: if the runtime
    put any into the inheritable set on its own account, it gains them. Success: a set is not empty
    that the spec did not name, in the container or in an exec."""

    def user(document: Document) -> None:
        document["process"]["user"] = {"uid": 1000, "gid": 1000}
        caps = ["CAP_NET_RAW", "CAP_SETUID"]
        document["process"]["capabilities"] = {"bounding": caps, "permitted": caps}

    # capabilities(7): version 2, permitted and inheritable, low words and high words
    bits = 1 << 7 | 1 << 13  # CAP_SETUID, CAP_NET_RAW
    program = attack.image / "bin" / "capable"
    shutil.copy(attack.image / "bin" / "busybox", program)
    os.setxattr(program, "security.capability", struct.pack("<5I", 0x2000000, 0, bits, 0, 0))
    for name in ("sleep", "cat"):
        (attack.image / "bin" / name).unlink()
        (attack.image / "bin" / name).symlink_to("capable")
    house = attack.house
    container = house.create("c", house.spec(attack.change(user), "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        own = sets(Path(f"/proc/{container.pid}/status").read_text())
        caps = Capabilities(bounding=("CAP_NET_RAW",), permitted=("CAP_NET_RAW",))
        done = house.exec("c", "cat", "/proc/self/status", user=User(uid=1000, gid=1000),
                          capabilities=caps)  # fmt: skip
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)
    for found in (own, sets(done.output)):
        assert (found["CapInh"], found["CapAmb"], found["CapEff"]) == (0, 0, 0)


NOBODY_AT_ALL = 2**32 - 1


@pytest.mark.parametrize(
    ("member", "user"),
    [("uid", User(uid=NOBODY_AT_ALL, gid=1000)), ("gid", User(uid=1000, gid=NOBODY_AT_ALL))],
    ids=["uid", "gid"],
)
def test_the_user_that_is_none(attack: Attack, member: str, user: User) -> None:
    """The image, or whoever may choose a user but not root, asks for number 4294967295: as (uid_t) -1
    it tells setresuid(2) to change nothing (CVE-2026-30892). Success: a program runs, and is root."""
    done = attack.run(
        "id", lambda document: document["process"]["user"].update({member: NOBODY_AT_ALL})
    )
    assert (done.status, done.output) == (-1, "")
    house = attack.house
    container = house.create("c", house.spec(attack.change(), "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        with pytest.raises(InvalidSpec, match="4294967295 is no user or group id"):
            house.exec("c", "id", user=user)
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


def root_disk() -> tuple[int, int]:
    device = os.stat("/").st_dev
    return os.major(device), os.minor(device)


def test_devices_that_come_with_the_image(attack: Attack) -> None:
    """The image has nodes of the host's disk, its memory and its log, for everybody to read, and the
    container makes others with CAP_MKNOD. Success: one can be opened."""
    major, minor = root_disk()
    nodes = [("disk", 0o60666, major, minor), ("mem", 0o20666, 1, 1), ("kmsg", 0o20666, 1, 11)]
    for name, mode, *numbers in nodes:
        os.mknod(attack.image / name, mode, os.makedev(*numbers))
    result = attack.run(
        f"mknod /dev/disk b {major} {minor}; mknod /tmp/kmsg c 1 11;"
        "for f in /disk /mem /kmsg /dev/disk /tmp/kmsg; do"
        " dd if=$f of=/dev/null bs=1 count=1 2>/dev/null && echo opened $f; done; true",
        capable,
    )
    assert result.output == ""
    assert result.status == 0


def test_a_device_of_the_spec_is_there_as_another(attack: Attack) -> None:
    """The spec names a harmless device for a user, and the image has the host's disk, a link to it,
    or a file in its place: the runtime would give that to the user. Success: the container starts,
    or the node's owner is another."""
    major, minor = root_disk()
    (attack.image / "d").mkdir()
    os.mknod(attack.image / "d" / "disk", 0o60600, os.makedev(major, minor))
    (attack.image / "d" / "link").symlink_to("disk")
    (attack.image / "d" / "file").write_text("")
    # a block device of the numbers that the spec has for a character device
    os.mknod(attack.image / "d" / "block", 0o60600, os.makedev(1, 3))
    for name in ("disk", "link", "file", "block"):
        one = {"path": f"/d/{name}", "type": "c", "major": 1, "minor": 3, "uid": 1000, "gid": 1000}
        result = attack.run("true", lambda d, one=one: d["linux"].update(devices=[one]))  # type: ignore[misc]
        assert result.status == -1
        assert f"what is at /d/{name} already is not the device c 1:3" in result.errors
        assert (attack.image / "d" / name).lstat().st_uid == 0


def test_devices_of_the_host_are_not_to_be_changed(attack: Attack) -> None:
    """A user namespace in which the host's root is root, and which has the host's devices bound: it
    changes their times, mode and owner. Success: they are changed for the host. (The attack sets what
    is set already, but for the times.)"""

    def change(document: Document) -> None:
        document["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            document["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]
        for kind in ("bounding", "effective", "permitted"):
            document["process"]["capabilities"][kind] = ["CAP_CHOWN", "CAP_FOWNER"]

    names = "null zero full random urandom tty"
    script = f"for one in {names}; do touch -d @86400 /dev/$one; chmod 666 /dev/$one; done; true"
    result = attack.run(f"{script}; echo x > /dev/null && head -c 3 /dev/zero | wc -c", change)
    assert not [one for one in names.split() if os.stat(f"/dev/{one}").st_mtime == 86400]
    assert result.errors.lower().count("read-only file system") == 12, result.errors
    assert result.output == "3\n"  # and as devices they work


@pytest.mark.parametrize("made", [True, False])
def test_a_device_of_the_host_is_another(
    attack: Attack, monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    """In a user namespace devices are made for the container, or, by older kernels, are the host's
    own, bound by their names: the spec (or the image, by a link in /dev) names a harmless device
    where the host has another. Success: the container gets the host's, or a device lies on what
    the link leads to."""
    if not made:
        monkeypatch.setattr(handed_trees, "CLONES_OF_CLONES", (99, 0))
    (attack.image / "target").write_text("mine\n")
    (attack.image / "dev" / "full").symlink_to("/target")
    (attack.image / "dev" / "link").symlink_to(attack.outside / "secret")
    subprocess.run(["chown", "-hR", "100000:100000", str(attack.image)], check=True)

    def change(path: str, major: int, minor: int) -> Any:
        def change(document: Document) -> None:
            without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")(document)
            document["linux"]["namespaces"].append({"type": "user"})
            for kind in ("uidMappings", "gidMappings"):
                document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
            one = {"path": path, "type": "c", "major": major, "minor": minor}
            document["linux"]["devices"] = [one]

        return change

    result = attack.run("stat -c %t:%T /dev/zero", change("/dev/zero", 1, 3))
    if made and Host.detect().kernel >= handed_trees.CLONES_OF_CLONES:
        assert result.output == "1:3\n"
    else:
        assert result.status == -1
        assert "/dev/zero of this machine is not the device c 1:3" in result.errors
    script = "cat /target; stat -c %t:%T /dev/full; grep -c ' /target ' /proc/self/mountinfo; true"
    result = attack.run(script, change("/dev/full", 1, 7))
    assert result.output.split() == ["mine", "1:7", "0"], result.errors


def test_a_device_that_is_there_stays_as_it_is(attack: Attack) -> None:
    """No attack: the very device that the spec names is in the image, with an owner and a mode. It is
    taken as it is: whoever made the image may have reasons."""
    os.mknod(attack.image / "mine", 0o20600, os.makedev(1, 5))
    os.chown(attack.image / "mine", 5, 6)
    one = {"path": "/mine", "type": "c", "major": 1, "minor": 5, "uid": 1000, "gid": 1000}
    result = attack.run("stat -c '%a %u %g' /mine", lambda d: d["linux"].update(devices=[one]))
    assert result.output == "600 5 6\n"


ESCAPE = """
d=$(ls -d /sys/fs/cgroup/*/ | head -n 1)
for where in /sys/fs/cgroup $d /sys/fs/cgroup/*; do
    (echo 1 > $where/notify_on_release) 2>/dev/null && echo notified $where
    (echo /payload > $where/release_agent) 2>/dev/null && echo agent $where
    mkdir $where/mine 2>/dev/null && echo made $where
    (echo max > $where/pids.max) 2>/dev/null && echo raised $where
done
mkdir /new
for name in memory pids cpu rdma misc systemd; do
    mount -t cgroup -o $name cgroup /new 2>/dev/null || continue
    (echo /payload > /new/release_agent) 2>/dev/null && echo agent new $name
    umount /new
done
true
"""


@pytest.mark.parametrize("namespace", [False, True])
def test_release_agent(attack: Attack, namespace: bool) -> None:
    """Root of the container writes a program of its own as the release agent of a cgroup, which the
    kernel would run on the host; it makes groups, raises its own limits, and mounts the cgroup file
    system again. Success: any of the writes is taken."""

    def change(document: Document) -> None:
        if namespace:
            document["linux"]["namespaces"].append({"type": "cgroup"})

    result = attack.run(ESCAPE, change)
    assert result.output == "", result.errors


def test_release_agent_in_a_user_namespace(attack: Attack) -> None:
    """The same by root of a user namespace, with every capability in there, who may mount. Success: a
    release agent is written, or a limit of the container raised."""

    def change(document: Document) -> None:
        capable(document)
        document["linux"]["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
        for kind in ("uidMappings", "gidMappings"):
            document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    subprocess.run(["chown", "-R", "100000:100000", str(attack.image)], check=True)
    result = attack.run(ESCAPE, change)
    assert "agent" not in result.output
    assert "raised" not in result.output
    assert result.status == 0, result.errors


@pytest.mark.parametrize("namespace", [False, True])
def test_writable_cgroups_are_its_own(attack: Attack, namespace: bool) -> None:
    """The spec mounts the cgroups writable. Success: the container sees or writes another's, the one
    above its own included, or becomes free of its limits by leaving its group."""

    def change(document: Document) -> None:
        for one in document["mounts"]:
            if one["type"] == "cgroup":
                one["options"].remove("ro")
        document["linux"]["resources"]["pids"] = {"limit": 20}
        if namespace:
            document["linux"]["namespaces"].append({"type": "cgroup"})

    result = attack.run(
        "cd /sys/fs/cgroup/pids || exit 0; cat pids.max;"
        "ls ..; ls -d ../pids/../pids/mobyshell* 2>/dev/null; ls | grep -c mobyshell;"
        "[ -e release_agent ] && echo agent; mount --bind .. /tmp 2>/dev/null && echo bound; true",
        change,
    )
    lines = result.output.split()
    assert lines[0] == "20"
    assert lines[-1] == "0"  # no group but its own
    assert "agent" not in lines


def test_the_host_is_not_in_reach_by_mounting(attack: Attack) -> None:
    """Root of a user namespace unmounts, and moves mounts, to see what lies below them: the old root,
    what is masked. Success: it finds the host's files, or what was hidden."""

    def change(document: Document) -> None:
        capable(document)
        document["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        document["linux"]["maskedPaths"].append("/etc/hidden")
        add_mount("/volume", "bind", attack.outside / "deep", "bind", "ro")(document)

    (attack.image / "etc" / "hidden").write_text("hidden\n")
    subprocess.run(["chown", "-R", "100000:100000", str(attack.image)], check=True)
    result = attack.run(
        "umount /etc/hidden 2>/dev/null; cat /etc/hidden;"
        f"umount -l / 2>/dev/null; ls {attack.outside} /.. 2>/dev/null | grep secret;"
        f"mkdir /o && mount --bind / /o && ls /o/../.. | grep secret; cat /volume/../secret; true",
        change,
    )
    assert "secret" not in result.output
