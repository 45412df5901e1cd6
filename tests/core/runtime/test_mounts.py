"""Every mount option does what it says, or says why not."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.mounts import MountInfo, parse_line
from mobyshell.core.runtime.plan import show_call
from mobyshell.core.runtime.planner import make_plan
from tests.core.runtime.conftest import House, descriptors

pytestmark = pytest.mark.root

Document = dict[str, Any]


def tmpfs(destination: str, *options: str) -> Document:
    return {
        "destination": destination,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": list(options),
    }


def bind(destination: str, source: Path | str, *options: str) -> Document:
    return {"destination": destination, "source": str(source), "options": ["bind", *options]}


@pytest.fixture
def rootfs(house: House, tmp_path: Path) -> Path:
    """A rootfs of one's own."""
    place = tmp_path / "rootfs"
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(place)], check=True)
    return place


def with_mounts(*mounts: Document, rootfs: Path | None = None) -> Any:
    def change(document: Document) -> None:
        document["root"]["readonly"] = False
        if rootfs is not None:
            document["root"]["path"] = str(rootfs)
        document["mounts"] += mounts

    return change


def table(house: House, *mounts: Document, rootfs: Path | None = None) -> dict[str, MountInfo]:
    lines = house.sh("cat /proc/self/mountinfo", with_mounts(*mounts, rootfs=rootfs))
    return {one.mount_point: one for one in map(parse_line, lines)}


@pytest.mark.parametrize(
    ("options", "mount", "superblock"),
    [
        (["nosuid", "nodev", "noexec", "nosymfollow"],
         {"nosuid", "nodev", "noexec", "nosymfollow", "rw", "relatime"}, {"rw"}),
        (["nosuid", "suid", "nodev", "dev", "noexec", "exec", "ro", "rw"], {"rw", "relatime"}, {"rw"}),
        (["ro"], {"ro", "relatime"}, {"ro"}),
        (["noatime", "nodiratime"], {"rw", "noatime", "nodiratime"}, {"rw"}),
        (["noatime", "atime"], {"rw", "relatime"}, {"rw"}),
        (["strictatime"], {"rw"}, {"rw"}),
        (["noatime", "norelatime"], {"rw", "noatime"}, {"rw"}),
        (["sync"], {"rw", "relatime"}, {"rw", "sync"}),
        (["sync", "async", "dirsync"], {"rw", "relatime"}, {"rw", "dirsync"}),
        (["mand", "lazytime"], {"rw", "relatime"}, {"rw", "mand", "lazytime"}),
        (["mand", "nomand", "lazytime", "nolazytime"], {"rw", "relatime"}, {"rw"}),
        (["defaults", "rro", "rnosuid"], {"ro", "nosuid", "relatime"}, {"rw"}),
        # those that only mount(2) takes; the others may not be lost on the way
        (["silent", "ro", "nosuid", "noatime", "sync"], {"ro", "nosuid", "noatime"}, {"ro", "sync"}),
        (["iversion", "nodev", "strictatime", "dirsync"], {"rw", "nodev"}, {"rw", "dirsync"}),
        (["acl", "noexec", "rro"], {"ro", "noexec", "relatime"}, {"ro"}),
        (["silent", "loud", "iversion", "noiversion", "acl", "noacl"], {"rw", "relatime"}, {"rw"}),
    ],
)  # fmt: skip
def test_options_of_a_filesystem(
    house: House, options: list[str], mount: set[str], superblock: set[str]
) -> None:
    found = table(house, tmpfs("/t", "size=64k", *options))["/t"]
    assert set(found.options) == mount
    assert set(found.super_options) - {"inode64", "mode=755"} == superblock | {"size=64k"}
    assert found.optional == ()


def test_size_mode_and_owner(house: House) -> None:
    lines = house.sh(
        "stat -c '%a %u %g' /t; dd if=/dev/zero of=/t/x bs=1k count=100 2>/dev/null || echo full",
        # several in one word, as mount(8) takes them
        with_mounts(tmpfs("/t", "size=64k,mode=0710", "uid=7", "gid=8")),
    )
    assert lines == ["710 7 8", "full"]


def test_a_long_option_takes_nothing_from_the_others(house: House, tmp_path: Path) -> None:
    lower = tmp_path / ("l" * 120) / ("m" * 120)
    for name in ("a", "b"):
        (lower / name).mkdir(parents=True)
        (lower / name / f"of-{name}").write_text("")
    overlay = {
        "destination": "/t", "type": "overlay", "source": "overlay",
        "options": ["ro", "nosuid", "noexec", "noatime", "slave", f"lowerdir={lower}/a:{lower}/b"],
    }  # fmt: skip
    found = table(house, overlay)["/t"]
    assert set(found.options) == {"ro", "nosuid", "noexec", "noatime"}
    assert "ro" in found.super_options
    assert house.sh("ls /t", with_mounts(overlay)) == ["of-a", "of-b"]


def test_a_long_option_does_not_lose_the_propagation(house: House) -> None:
    mount = tmpfs("/t", "nodev", "shared")
    mount["source"] = "x" * 300
    found = table(house, mount)["/t"]
    assert (set(found.options), found.optional[0][:7]) == ({"rw", "nodev", "relatime"}, "shared:")


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        (tmpfs("/t", "frobnicate"), ("mount tmpfs on /t (frobnicate) (mounts[7])", "frobnicate")),
        (tmpfs("/t", "size=much"), ("mounts[7]", "fsconfig size=much", "Invalid argument")),
        ({"destination": "/t", "type": "nosuchfs", "source": "x"}, ("fsopen nosuchfs", "No such device")),
        (tmpfs("/t", "remount", "ro"), ("change the mount on /t", "mounts[7]")),
    ],
)  # fmt: skip
def test_what_is_refused_is_named(house: House, mount: Document, words: tuple[str, ...]) -> None:
    with pytest.raises(SyscallFailed) as caught:
        house.run("true", change=with_mounts(mount))
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint or "change" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "top", "inner"),
    [
        (["ro", "nosuid"], {"ro", "nosuid", "relatime"}, {"rw", "relatime"}),
        (["rro", "rnosuid", "rnodev", "rnoexec"], {"ro", "nosuid", "nodev", "noexec", "relatime"},
         {"ro", "nosuid", "nodev", "noexec", "relatime"}),
        (["rnoatime", "rnodiratime"], {"rw", "noatime", "nodiratime"},
         {"rw", "noatime", "nodiratime"}),
        (["rnoatime", "rrelatime"], {"rw", "relatime"}, {"rw", "relatime"}),
        (["rstrictatime"], {"rw"}, {"rw"}),
        (["rnosymfollow"], {"rw", "nosymfollow", "relatime"}, {"rw", "nosymfollow", "relatime"}),
        (["rro", "rrw", "rnodev", "rdev", "rnoexec", "rexec", "rnosuid", "rsuid", "rsymfollow"],
         {"rw", "relatime"}, {"rw", "relatime"}),
        # the tree's attributes come after those of its top
        (["ro", "rrw"], {"rw", "relatime"}, {"rw", "relatime"}),
    ],
)  # fmt: skip
def test_attributes_of_a_tree(
    house: House, material: Path, options: list[str], top: set[str], inner: set[str]
) -> None:
    one = {"destination": "/t", "source": str(material), "options": ["rbind", *options]}
    found = table(house, one)
    assert set(found["/t"].options) == top
    assert set(found["/t/inner"].options) == inner


def test_remounts(house: House, material: Path) -> None:
    """All attributes are replaced, as mount(2) does; a filesystem's own are changed with them."""
    found = table(
        house,
        tmpfs("/fs", "size=64k", "nosuid"), tmpfs("/fs", "remount", "ro", "noexec", "size=128k"),
        tmpfs("/one", "nosuid"), bind("/one", "", "remount", "ro", "nodev"),
        bind("/b", material, "noexec"), bind("/b", "", "remount", "nosuid", "slave"),
    )  # fmt: skip
    assert set(found["/fs"].options) == {"ro", "noexec", "relatime"}
    assert {"ro", "size=128k"} <= set(found["/fs"].super_options)
    assert set(found["/one"].options) == {"ro", "nodev", "relatime"}
    assert "rw" in found["/one"].super_options  # this mount of it alone
    assert set(found["/b"].options) == {"rw", "nosuid", "relatime"}


def test_what_a_bind_cannot_change_is_said(house: House, material: Path) -> None:
    spec = house.spec(with_mounts(bind("/t", material, "sync", "size=1m", "ro")))
    notices = house.runtime.plan("c", str(house.bundle), spec=spec).notices
    assert any("mounts[7]" in one and "sync, size=1m" in one for one in notices)


@pytest.fixture
def flagged(tmp_path: Path) -> Iterator[Any]:
    """Mounts a tmpfs of the host, whose attributes can be set again and again."""
    place = tmp_path / "flagged"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "strictatime", "tmpfs", str(place)], check=True)

    def set_flags(words: str) -> Path:
        subprocess.run(["mount", "-o", "remount,bind,diratime,strictatime", str(place)], check=True)
        subprocess.run(["mount", "-o", f"remount,bind,{words}", str(place)], check=True)
        return place

    yield set_flags
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize(
    ("host", "options", "found", "mapped"),
    [
        # `found` without a user namespace, `mapped` with one: None is a refusal
        ("ro,noexec,nosymfollow,nodiratime", "", "ro noexec nosymfollow nodiratime",
         "ro noexec nosymfollow nodiratime"),
        ("ro,noexec,nosymfollow,nodiratime", "dev", "rw nodiratime", "ro noexec nodiratime"),
        ("ro", "nosuid,nodev", "rw nosuid nodev", "ro nosuid nodev"),
        ("ro", "rw,nosuid,nodev", "rw nosuid nodev", None),
        ("nosuid,nodev,noexec,noatime", "dev,suid,exec,atime", "rw noatime", None),
        ("rw,nodev,nosuid,noexec,noatime", "ro", "ro noatime", "ro nosuid nodev noexec noatime"),
        ("rw,nodev,nosymfollow", "ro,symfollow", "ro", "ro nodev"),
        ("nodev,nosuid,noatime", "ro,exec", "ro noatime", "ro nosuid nodev noatime"),
        ("noatime", "norelatime", "rw noatime", "rw noatime"),
        ("noatime", "relatime", "rw relatime", None),
        ("noatime", "nodiratime", "rw nodiratime relatime", None),
        ("noatime", "nodiratime,strictatime", "rw nodiratime", None),
        ("nodiratime", "strictatime", "rw", None),
        ("relatime", "strictatime", "rw", None),
        ("strictatime", "noatime", "rw noatime", None),
        ("strictatime", "nostrictatime", "rw", "rw"),
        ("nodiratime", "diratime", "rw nodiratime", "rw nodiratime"),
        ("relatime", "relatime", "rw relatime", "rw relatime"),
    ],
)  # fmt: skip
def test_attributes_of_a_bind(
    house: House, flagged: Any, host: str, options: str, found: str, mapped: str | None
) -> None:
    """None: as the host's mount has them. Any: all, as mount(2) does, but not the access times
    unless one of these is set. In a user namespace what the host has stays, as runc does."""
    place = flagged(host)

    def attributes(user: bool) -> set[str]:
        def change(document: Document) -> None:
            with_mounts(bind("/t", place, *(options.split(",") if options else ())))(document)
            if user:
                document["linux"]["namespaces"].append({"type": "user"})
                for kind in ("uidMappings", "gidMappings"):
                    document["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]

        lines = house.sh("cat /proc/self/mountinfo", change)
        return set(next(one for one in map(parse_line, lines) if one.mount_point == "/t").options)

    def expected(words: str) -> set[str]:
        # Debian's mount(8) adds relatime where it is told nothing else
        return set(words.split())

    assert attributes(False) - {"relatime"} == expected(found) - {"relatime"}
    if mapped is not None:
        assert attributes(True) - {"relatime"} == expected(mapped) - {"relatime"}
        return
    with pytest.raises(MobyshellError, match=r"mounts\[7\].*operation not permitted"):
        attributes(True)


@pytest.mark.parametrize("options", ["rbind", "rbind,idmap"])
@pytest.mark.parametrize("user", [False, True])
def test_sources_in_the_rootfs(
    house: House, rootfs: Path, tmp_path: Path, options: str, user: bool
) -> None:
    """Binds of what binds before them have put into the rootfs, by the host's paths."""
    for name in ("a/x", "b/y", "c/z"):
        (tmp_path / "source" / name).mkdir(parents=True)
        (tmp_path / "source" / name / "file").write_text(f"{name}\n")
    (rootfs / "mnt").mkdir(exist_ok=True)
    source = tmp_path / "source"
    mapping = MAPS if "idmap" in options else {}
    steps = [
        (source / "a", "/mnt", "bind"), (source / "b", "/mnt/x", "bind"),
        (source / "c", "/mnt/x/y", "bind"), (source / "a", "/mnt/x/y/z", "bind"),
        (rootfs / "mnt/x", f"{rootfs}/mnt/x/y/z/x", options),
        (rootfs / "mnt/x/y", f"{rootfs}/mnt/x/y/z", options),
        (rootfs / "mnt", f"{rootfs}/final", options),
    ]  # fmt: skip

    def change(document: Document) -> None:
        document["root"] = {"path": str(rootfs)}
        for origin, destination, words in steps:
            one = {"source": str(origin), "destination": destination, "options": words.split(",")}
            document["mounts"].append(one if words == "bind" else {**one, **mapping})
        if user:
            document["linux"]["namespaces"].append({"type": "user"})
            for kind in ("uidMappings", "gidMappings"):
                document["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]

    assert house.sh("cat /final/x/y/z/z/x/y/z/x/file", change) == ["a/x"]


# tmpfs over what is there


def test_a_tmpfs_keeps_the_mode_of_what_it_covers(house: House, rootfs: Path) -> None:
    (rootfs / "kept").mkdir()
    (rootfs / "kept").chmod(0o7751)
    lines = house.sh(
        "stat -c %a /kept /given /new",
        with_mounts(tmpfs("/kept"), tmpfs("/given", "mode=700"), tmpfs("/new"), rootfs=rootfs),
    )
    assert lines == ["7751", "700", "1777"]


def test_copying_up_leaves_the_mode_that_is_asked_for(house: House, rootfs: Path) -> None:
    """One that was not there has a tmpfs's own, as under runc and crun: podman copies up by itself,
    and not only root shall write to what it made. Its owner is that of what it covers."""
    for name in ("kept", "given", "owned"):
        (rootfs / name).mkdir()
        (rootfs / name).chmod(0o2751)
        os.chown(rootfs / name, 7, 8)
    lines = house.sh(
        "stat -c '%a %u:%g' /kept /given /owned /new /strict",
        with_mounts(
            tmpfs("/kept", "tmpcopyup"), tmpfs("/given", "tmpcopyup", "mode=700"),
            tmpfs("/owned", "tmpcopyup", "uid=3", "gid=4"), tmpfs("/new", "tmpcopyup"),
            tmpfs("/strict", "tmpcopyup", "mode=750"), rootfs=rootfs,
        ),
    )  # fmt: skip
    assert lines == ["2751 7:8", "700 7:8", "2751 3:4", "1777 0:0", "750 0:0"]


def test_copying_up(house: House, rootfs: Path) -> None:
    top = rootfs / "data"
    (top / "deep" / "er").mkdir(parents=True)
    (top / "file").write_text("said\n")
    os.chown(top / "file", 7, 8)
    (top / "file").chmod(0o4644)
    os.utime(top / "file", (1, 2))
    (top / "deep" / "er" / "big").write_bytes(b"x" * 3000000)
    (top / "link").symlink_to("/etc/passwd")
    (top / "out").symlink_to("../../../../../../../../etc/shadow")
    os.mkfifo(top / "fifo", 0o600)
    os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    for number in range(300):
        (top / "deep" / f"{number}").write_text("")
    top.chmod(0o1770)
    lines = house.sh(
        "stat -c '%a %u %g %Y' /data/file; cat /data/file; stat -c %s /data/deep/er/big;"
        "readlink /data/link; readlink /data/out; stat -c %F /data/fifo; stat -c %t:%T /data/null;"
        "ls /data/deep | wc -l; stat -c %a /data; touch /data/new 2>/dev/null || echo ro",
        with_mounts(tmpfs("/data", "tmpcopyup", "ro", "nodev"), rootfs=rootfs),
    )
    assert lines == ["4644 7 8 2", "said", "3000000", "/etc/passwd",
                     "../../../../../../../../etc/shadow", "fifo", "1:3", "301", "1770", "ro"]  # fmt: skip
    assert not (top / "new").exists()


@pytest.mark.parametrize("kind", ["tmpfs", "bind", "in a user namespace"])
def test_what_lies_on_the_root_is_the_root(
    house: House, rootfs: Path, tmp_path: Path, kind: str
) -> None:
    """As with runc: later mounts and the program are in there, and the image stays as it was."""
    over = tmpfs("/", "tmpcopyup")
    if kind == "bind":
        copy = tmp_path / "copy"
        subprocess.run(["cp", "-a", str(rootfs), str(copy)], check=True)
        over = {"destination": "/./", "type": "bind", "source": str(copy), "options": ["bind"]}

    def change(document: Document) -> None:
        with_mounts(rootfs=rootfs)(document)
        document["mounts"] = [over, *document["mounts"], tmpfs("/made")]
        document["linux"]["rootfsPropagation"] = "rslave"
        if kind == "in a user namespace":
            document["linux"]["namespaces"].append({"type": "user"})
            for member in ("uidMappings", "gidMappings"):
                mapping = {"containerID": 0, "hostID": 0, "size": 65536}
                document["linux"][member] = [mapping]

    lines = house.sh(
        "touch /new /made/new && ls /new /made/new;cut -d' ' -f5 /proc/self/mountinfo | grep -cx /",
        change,
    )
    assert lines[:2] == ["/made/new", "/new"]
    assert lines[2:] == ["1"]
    assert not {"new", "made"} & {one.name for one in rootfs.iterdir()}


def test_copying_up_more_than_fits(house: House, rootfs: Path) -> None:
    (rootfs / "data").mkdir()
    (rootfs / "data" / "big").write_bytes(b"x" * 1000000)
    with pytest.raises(SyscallFailed) as caught:
        house.run(
            "true", change=with_mounts(tmpfs("/data", "tmpcopyup", "size=64k"), rootfs=rootfs)
        )
    assert "mounts[7]" in str(caught.value)
    assert "No space left" in str(caught.value)
    assert "size=" in caught.value.hint


def test_a_link_that_is_copied(house: House, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/there")
    (tmp_path / "longer").symlink_to("/etc/there/and/further")
    lines = house.sh(
        "readlink /a/link; readlink /longer; readlink /here; cat /plain",
        with_mounts(
            bind("/longer", tmp_path / "longer", "copy-symlink"),
            bind("/a/link", tmp_path / "link", "copy-symlink"),
            bind("/here", tmp_path / "link", "copy-symlink"),
            bind("/plain", "/etc/hostname", "copy-symlink"), rootfs=rootfs,
        ),
    )  # fmt: skip
    assert lines[:3] == ["/etc/there", "/etc/there/and/further", "/etc/there"]
    assert lines[3:] == Path("/etc/hostname").read_text().splitlines()


# mapped ids

MAPS = {
    "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 10}],
    "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 10}],
}


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Path]:
    """Files of several owners, on a filesystem that can map ids, with another mounted in it."""
    place = tmp_path / "owned"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
    (place / "inner").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place / "inner")], check=True)
    for path, owner in ((place / "a", (0, 0)), (place / "b", (3, 4)), (place / "inner/c", (3, 4))):
        path.write_text("")
        os.chown(path, *owner)
    yield place
    subprocess.run(["umount", "-R", str(place)], check=True)


@pytest.mark.parametrize(
    ("options", "inner"),
    [(["rbind"], "3 4"), (["rbind", "idmap"], "3 4"), (["rbind", "ridmap"], "1003 2004")],
)  # fmt: skip
def test_mapped_ids(house: House, owned: Path, options: list[str], inner: str) -> None:
    one = {"destination": "/t", "source": str(owned), "options": options, **MAPS}
    lines = house.sh(
        "stat -c '%u %g' /t/a /t/b /t/inner/c; grep ' /t ' /proc/self/mountinfo | grep -c idmapped",
        with_mounts(one),
    )
    assert lines == ["1000 2000", "1003 2004", inner, "1"]


def test_ids_mapped_as_the_user_namespace(house: House, owned: Path, rootfs: Path) -> None:
    """Then what belongs to root on the host belongs to root inside, though that is somebody else."""

    def change(document: Document) -> None:
        with_mounts(bind("/t", owned, "idmap"), rootfs=rootfs)(document)
        document["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    subprocess.run(["chown", "-R", "100000:100000", str(rootfs)], check=True)
    lines = house.sh("stat -c '%u %g' /t/a /t/b; id -u; touch /t/new", change)
    assert lines == ["0 0", "3 4", "0"]
    assert ((owned / "new").stat().st_uid, (owned / "new").stat().st_gid) == (0, 0)


def test_ids_that_cannot_be_mapped(house: House, owned: Path) -> None:
    one = {"destination": "/t", "source": "/proc/tty", "options": ["bind"], **MAPS}
    before = descriptors()
    with pytest.raises(SyscallFailed, match=r"ids mapped \(mounts\[7\].uidMappings\)") as caught:
        house.run("true", change=with_mounts(one))
    assert "id-mapped" in caught.value.hint
    one = {**one, "source": str(owned), "uidMappings": MAPS["uidMappings"] * 2}
    with pytest.raises(MobyshellError, match=r"mounts\[7\]"):
        house.run("true", change=with_mounts(one))
    assert descriptors() == before


def test_the_plan_tells_how_ids_are_mapped(house: House, owned: Path) -> None:
    one = {"destination": "/t", "source": str(owned), "options": ["rbind"], **MAPS}
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(with_mounts(one)))
    text = json.dumps([str(call) for one in plan.operations for call in one.calls])
    assert "@user_namespace" in text
    assert "0 1000 10" in text


def test_a_label_for_the_files_of_new_filesystems(house: House) -> None:
    """The plan of it; tests/peers/selinux sees it on a kernel with SELinux."""
    label = "system_u:object_r:container_file_t:s0:c1,c2"

    def change(document: Document) -> None:
        document["linux"]["mountLabel"] = label
        document["mounts"] += [tmpfs("/t"), bind("/b", "/etc")]

    host = replace(house.runtime.host, lsm=("selinux",))
    plan = make_plan(house.spec(change), bundle=str(house.bundle), id="c", host=host)
    labelled = {
        one.source: [show_call(call) for call in one.calls if '"context"' in show_call(call)]
        for one in plan.operations
        if one.source.startswith("mounts[")
    }
    told = f'fsconfig(<context>, FSCONFIG_SET_STRING, "context", "{label}", 0)'
    # /dev, /dev/pts, /dev/shm, /t, where v1 hierarchies lie; not /proc, /sys, and what is bound
    where = {"mounts[6]"} if host.cgroup_mode != "v2" else set()
    assert {source for source, calls in labelled.items() if calls == [told]} == where | {
        "mounts[1]", "mounts[2]", "mounts[3]", "mounts[7]",
    }  # fmt: skip
    # of message queues only the root has one; what hides directories is a file system as well
    others = {
        one.source or one.title
        for one in plan.operations
        for call in one.calls if label in show_call(call) and not one.source.startswith("mounts[")
    }  # fmt: skip
    assert {one.partition("[")[0] for one in others} == {
        "linux.maskedPaths",
        "open /dev/null, and make sure that it is the device; make an empty tmpfs",
    }
    (mqueue,) = [one for one in plan.operations if one.source == "mounts[4]"]
    assert [call.name for call in mqueue.calls if label in show_call(call)] == ["fsetxattr"]
    # and where nobody would look at it, it is left out, and that is told
    here = make_plan(house.spec(change), bundle=str(house.bundle), id="c", host=house.runtime.host)
    assert not any('"context"' in show_call(call) for one in here.operations for call in one.calls)
    assert "ignoring linux.mountLabel: this kernel does not run selinux" in here.notices
    assert house.run("true", change=change).status == 0


def test_what_hides_directories_is_one(house: House, rootfs: Path) -> None:
    for name in ("hide-a", "hide-b"):
        (rootfs / name).mkdir()

    def change(document: Document) -> None:
        with_mounts(rootfs=rootfs)(document)
        document["linux"]["maskedPaths"] = ["/hide-a", "/hide-b", "/hide-a"]

    lines = house.sh("stat -c %d /hide-a /hide-b; grep -c ' /hide-a ' /proc/self/mountinfo", change)
    assert lines[0] == lines[1]
    assert lines[2] == "1"


def test_the_multiplexer_of_the_spec_is_the_link(house: House) -> None:
    one = {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}

    def change(document: Document) -> None:
        document["linux"]["devices"] = [one]

    assert house.sh("readlink /dev/ptmx; stat -L -c %t:%T /dev/ptmx", change) == ["pts/ptmx", "5:2"]


def test_what_is_read_only_is_so_when_all_is_in_it(house: House) -> None:
    def change(document: Document) -> None:
        for entry in document["mounts"]:
            if entry["destination"] == "/dev":
                entry["options"].append("ro")
        inner = {"destination": "/t/inner", "type": "tmpfs", "source": "tmpfs"}
        document["mounts"] += [{**tmpfs("/t"), "options": ["ro", "size=64k"]}, inner]

    lines = house.sh(
        "echo x > /dev/null && touch /dev/shm/x /t/inner/x && echo made;"
        "touch /dev/x /t/x 2>/dev/null || echo refused;"
        "grep -E ' (/dev|/t) ' /proc/mounts",
        change,
    )
    assert lines[:2] == ["made", "refused"]
    assert [line.split()[1] for line in lines[2:]] == ["/dev", "/t"]
    assert all(line.split()[3].startswith("ro,") for line in lines[2:])
    assert "size=64k" in lines[3]
    assert "mode=755" in lines[2]
