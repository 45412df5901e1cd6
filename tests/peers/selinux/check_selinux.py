"""SELinux's labels on a kernel that enforces a policy: of programs, their keys, and file systems.

The first test here is before there is a policy: it stands first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import HookDone
from mobyshell.core.linux import lsm, probe
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.script import script
from tests.core.runtime.conftest import Change, House, running
from tests.peers import vm
from tests.peers.selinux.policy import POLICY
from tests.waiting import eventually

LABEL, OTHER = "u:r:container_t:s0:c1,c2", "u:r:other_t:s0:c0"
FILES = "u:object_r:content_t:s0:c0,c2"
SECRET = "/etc/group"
LOOK = (
    f"echo $(tr '\\0' ' ' < /proc/self/attr/current); cat {SECRET} > /dev/null && echo read; true"
)
CONFINED, OTHERWISE, FREE = [LABEL], [OTHER, "read"], ["u:r:host_t:s0", "read"]
OURS = str(Path(sys.executable).parent / "mobyshell-runc")


def labelled(document: dict[str, Any]) -> None:
    document["process"]["selinuxLabel"] = LABEL
    document["linux"]["mountLabel"] = FILES


def in_user_namespace(document: dict[str, Any]) -> None:
    linux = document["linux"]
    linux["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    linux.update(uidMappings=ids, gidMappings=ids)


def both(one: Change, other: Change) -> Change:
    def change(document: dict[str, Any]) -> None:
        one(document)
        other(document)

    return change


def test_before_there_is_a_policy_nothing_is_promised(house: House) -> None:
    assert lsm.active() == ()
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(labelled))
    assert {
        "ignoring linux.mountLabel: this kernel does not run selinux",
        "ignoring process.selinuxLabel: this kernel does not run selinux, "
        "the program is not confined by it",
    } <= set(plan.notices)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The policy, enforced; the secret is one from here on."""
    directory = tmp_path_factory.mktemp("policy")
    (directory / "policy.cil").write_text(POLICY)
    words = ["secilc", "-c", "33", "-o", "policy", "-f", "contexts", "policy.cil"]
    subprocess.run(words, cwd=directory, check=True)
    subprocess.run(["mount", "-t", "selinuxfs", "selinuxfs", "/sys/fs/selinux"], check=True)
    fd = os.open("/sys/fs/selinux/load", os.O_WRONLY)
    try:
        data = (directory / "policy").read_bytes()
        assert os.write(fd, data) == len(data)
    finally:
        os.close(fd)
    assert Path("/sys/fs/selinux/enforce").read_text() == "1"
    # without it the C library of SELinux takes it for switched off, and so does mount(8)
    config = Path("/etc/selinux/config")
    config.parent.mkdir(exist_ok=True)
    config.write_text("SELINUX=enforcing\nSELINUXTYPE=small\n")
    yield
    subprocess.run(["umount", "/sys/fs/selinux"], check=True)


@pytest.fixture
def labels(house: House, policy: None) -> House:
    """The house, whose runtime was made before there was a policy."""
    secret = f"{house.bundle}/rootfs{SECRET}"
    os.setxattr(secret, "security.selinux", b"u:object_r:secret_t:s0\0")
    house.runtime = Runtime(house.runtime.root, sink=lambda _, one: house.events.append(one))
    return house


def test_a_label_confines_what_runs(labels: House) -> None:
    for executor in (NativeExecutor(), PortableExecutor()):
        labels.runtime._executor = executor
        assert labels.sh(LOOK, labelled) == CONFINED
    assert labels.sh(LOOK) == FREE
    assert labels.sh(LOOK, both(labelled, in_user_namespace)) == CONFINED


def test_a_label_that_the_policy_does_not_know_is_the_error_of_create(labels: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["process"]["selinuxLabel"] = "u:r:nosuch_t:s0"

    def files(document: dict[str, Any]) -> None:
        document["linux"]["mountLabel"] = "u:object_r:nosuch_t:s0"

    with pytest.raises(SyscallFailed, match="ask SELinux for the label u:r:nosuch_t:s0") as told:
        labels.create("c", labels.spec(change, "true"))
    assert told.value.hint == "is it loaded? SELinux knows no label of that name"
    with pytest.raises(SyscallFailed, match="context=u:object_r:nosuch_t:s0: Invalid argument"):
        labels.create("c", labels.spec(files, "true"))
    assert labels.runtime.list() == []


def test_a_further_process_is_confined_as_the_first(labels: House) -> None:
    root = labels.runtime.root
    twice = ((None, CONFINED), (None, CONFINED), (OTHER, OTHERWISE), (OTHER, OTHERWISE))
    once = ((None, CONFINED), (OTHER, OTHERWISE))
    for executor, ushers, asked in (
        (NativeExecutor(), True, twice), (PortableExecutor(), False, once),
    ):  # fmt: skip
        labels.runtime = Runtime(root, executor=executor, ushers=ushers)
        with running(labels, change=labelled):
            for label, seen in asked:
                done = labels.exec("c", "sh", "-c", LOOK, selinux_label=label)
                assert done.output.splitlines() == seen, (done.errors, label, ushers)
            with pytest.raises(SyscallFailed, match="ask SELinux for the label nosuch"):
                labels.exec("c", "true", selinux_label="nosuch")
            labels.runtime.rest(0)
    labels.runtime = Runtime(root)


def test_its_keys_are_its_own(labels: House) -> None:
    """The session's keyring has the program's label: another it could not even see."""

    def unmasked(document: dict[str, Any]) -> None:
        document["linux"]["maskedPaths"] = []

    look = "grep -c ' _ses[.]c' /proc/keys"
    with running(labels, change=both(labelled, unmasked)):
        # the one of the container's first process, and its own
        assert labels.exec("c", "sh", "-c", look).output == "2\n"
    assert labels.sh(look, both(labelled, unmasked)) == ["1"]
    assert labels.sh(look, both(both(labelled, unmasked), in_user_namespace)) == ["1"]


def test_file_systems_that_are_made_for_it_are_its_own(labels: House) -> None:
    more = [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]},
        {"destination": "/tmp/in", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]},
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "loud"]},
    ]  # fmt: skip

    def change(document: dict[str, Any]) -> None:
        labelled(document)
        document["mounts"] += more

    for executor in (NativeExecutor(), PortableExecutor()):
        labels.runtime._executor = executor
        with running(labels, change=change) as state:
            table = {
                one.mount_point: ",".join(one.super_options) for one in read_mountinfo(state.pid)
            }
            told = {place for place, options in table.items() if f'context="{FILES}"' in options}
            assert told >= {
                "/dev",
                "/dev/pts",
                "/dev/shm",
                "/tmp",
                "/tmp/in",
                "/mnt",
                "/sys/firmware",
            }
            assert not told & {"/", "/proc", "/sys", "/sys/fs/cgroup", "/proc/kcore"}
            queues = os.getxattr(f"/proc/{state.pid}/root/dev/mqueue", "security.selinux")
            assert queues == FILES.encode() + b"\0"
            found = {one.path: one for one in labels.runtime.diff("c") if "abel" in one.path}
            assert {path: one.agrees for path, one in found.items()} == {
                "process.selinuxLabel": True, "linux.mountLabel": True,
            }  # fmt: skip


def test_message_queues_are_its_own_in_a_user_namespace(labels: House) -> None:
    with running(labels, change=both(labelled, in_user_namespace)) as state:
        queues = f"/proc/{state.pid}/root/dev/mqueue"
        assert os.stat(queues).st_uid == 100000
        assert os.getxattr(queues, "security.selinux") == FILES.encode() + b"\0"


def test_a_hook_inside_is_confined_as_the_program(labels: House) -> None:
    look = {"path": "/bin/sh", "args": ["sh", "-c", LOOK]}
    outside = {"path": "/bin/cat", "args": ["cat", "/proc/self/attr/current"]}

    def change(document: dict[str, Any]) -> None:
        labelled(document)
        document["hooks"] = {"createContainer": [outside], "startContainer": [look]}

    labels.run("true", change=change)
    told = {one.kind: one.stdout for one in labels.events if isinstance(one, HookDone)}
    assert told["startContainer"].splitlines() == CONFINED
    assert told["createContainer"].startswith("u:r:host_t:s0")


def test_what_is_told(labels: House) -> None:
    assert lsm.active() == ("selinux",)
    found = {one.feature: one for one in probe._security()}
    assert (found["selinux"].ok, found["selinux"].detail) == (True, "active, enforcing")
    assert not found["apparmor"].ok


def test_the_script_confines_the_program(labels: House) -> None:
    def change(document: dict[str, Any]) -> None:
        labelled(document)
        document["mounts"] = [one for one in document["mounts"] if one["type"] in ("proc", "tmpfs")]
        document["linux"].update(maskedPaths=["/proc/acpi"], readonlyPaths=[], resources={})

    spec = labels.spec(change, "sh", "-c", f"{LOOK}; grep -c context= /proc/self/mountinfo")
    plan = labels.runtime.plan("s", str(labels.bundle), spec=spec)
    text = script(plan, spec)
    done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[:1] == CONFINED, done.stderr
    assert done.stdout.splitlines()[-1] == "3"  # /dev, /dev/shm, and what hides a directory
    assert done.stderr == f"cat: can't open '{SECRET}': Permission denied\n"


def test_the_drop_in_does_as_runc_and_crun(labels: House, tmp_path: Path) -> None:
    document = spec_to_json(default_spec())
    labelled(document)
    document["ociVersion"] = "1.0.2"
    document["process"].update(terminal=False, args=["sh", "-c", f"{LOOK}; exec sleep 1000"])
    document["root"]["path"] = f"{labels.bundle}/rootfs"
    (tmp_path / "config.json").write_text(json.dumps(document))
    for program in ("runc", "crun", OURS):
        root = str(tmp_path / program.rpartition("/")[2])
        with open(f"{root}.out", "w") as output:
            subprocess.run(
                [program, "--root", root, "run", "--detach", "c"], cwd=tmp_path, check=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=vm.PATIENCE,
            )  # fmt: skip
        try:
            eventually(lambda: LABEL in Path(f"{root}.out").read_text())  # noqa: B023
            for words, seen in (((), CONFINED), (("--process-label", OTHER), OTHERWISE)):
                done = subprocess.run(
                    [program, "--root", root, "exec", *words, "c", "sh", "-c", LOOK],
                    capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                )  # fmt: skip
                assert done.stdout.splitlines() == seen, (program, done.stderr)
        finally:
            subprocess.run([program, "--root", root, "delete", "--force", "c"], check=True)
        lines = Path(f"{root}.out").read_text().splitlines()
        assert lines == [LABEL, f"cat: can't open '{SECRET}': Permission denied"], program
