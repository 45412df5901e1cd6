"""AppArmor's labels on a kernel that runs it: what a spec asks for is what confines, whoever makes the
process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import HookDone
from mobyshell.core.linux import lsm, probe
from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from mobyshell.runc import words
from tests.core.runtime.conftest import Change, House, running
from tests.peers import vm
from tests.waiting import eventually

# /etc/passwd is what the images of tests have; what a profile denies, root is denied as well
PROFILES = """
profile mobyshell-strict flags=(attach_disconnected,mediate_deleted) {
  file, network, capability, umount, ptrace, signal,
  deny /etc/passwd r,
}
profile mobyshell-other flags=(attach_disconnected,mediate_deleted) {
  file, network, capability, umount, ptrace, signal,
  deny /etc/group r,
}
profile mobyshell-deaf flags=(attach_disconnected,mediate_deleted) {
  file, network, capability, umount,
  signal peer=mobyshell-deaf,
}
"""
LOOK = "cat /proc/self/attr/apparmor/current; for one in passwd group; do " \
       "cat /etc/$one > /dev/null && echo $one; done; true"  # fmt: skip
STRICT = ["mobyshell-strict (enforce)", "group"]
OTHER = ["mobyshell-other (enforce)", "passwd"]
FREE = ["unconfined", "passwd", "group"]
OURS = str(Path(os.sys.executable).parent / "mobyshell-runc")  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def seen_without() -> tuple[str, ...]:
    """The modules, as they are seen where securityfs is not mounted."""
    return lsm.active()


@pytest.fixture(scope="module")
def profiles(
    tmp_path_factory: pytest.TempPathFactory, seen_without: tuple[str, ...]
) -> Iterator[Path]:
    """The profiles, loaded."""
    file = tmp_path_factory.mktemp("profiles") / "profiles"
    file.write_text(PROFILES)
    subprocess.run(["mount", "-t", "securityfs", "none", "/sys/kernel/security"], check=True)
    parser(file, "-a")
    yield file
    parser(file, "-R")
    subprocess.run(["umount", "/sys/kernel/security"], check=True)


def parser(file: Path, action: str) -> None:
    subprocess.run(
        ["apparmor_parser", "-K", action, str(file)], check=True, stderr=subprocess.DEVNULL
    )


def labelled(profile: str = "mobyshell-strict", *more: Change) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["process"]["apparmorProfile"] = profile
        for one in more:
            one(document)

    return change


def in_user_namespace(document: dict[str, Any]) -> None:
    linux = document["linux"]
    linux["namespaces"].append({"type": "user"})
    ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    linux.update(uidMappings=ids, gidMappings=ids)


def in_the_hosts_network(document: dict[str, Any]) -> None:
    kinds = document["linux"]["namespaces"]
    next(one for one in kinds if one["type"] == "network")["path"] = "/proc/1/ns/net"


def as_somebody(document: dict[str, Any]) -> None:
    document["process"].update(user={"uid": 12, "gid": 12}, noNewPrivileges=False)


def test_a_profile_confines_what_runs(house: House, profiles: Path) -> None:
    house.runtime._executor = NativeExecutor()
    for more in ((), (in_user_namespace,), (in_the_hosts_network,), (as_somebody,)):
        assert house.sh(LOOK, labelled("mobyshell-strict", *more)) == STRICT
    assert house.sh(LOOK, labelled("unconfined")) == FREE
    assert house.sh(LOOK) == FREE
    house.runtime._executor = PortableExecutor()
    for more in ((), (in_the_hosts_network,)):
        assert house.sh(LOOK, labelled("mobyshell-strict", *more)) == STRICT


def test_a_profile_that_is_not_loaded_is_the_error_of_create(house: House, profiles: Path) -> None:
    for executor in (NativeExecutor(), PortableExecutor()):
        house.runtime._executor = executor
        with pytest.raises(SyscallFailed, match="ask AppArmor for the label nosuch") as told:
            house.create("c", house.spec(labelled("nosuch"), "true"))
        assert told.value.hint == "is it loaded? AppArmor knows no label of that name"
        assert house.runtime.list() == []


def test_a_further_process_is_confined_as_the_first(house: House, profiles: Path) -> None:
    """By a process of its own, by an usher, and in Python; unless it says otherwise."""
    root = house.runtime.root
    all_of = (
        (None, STRICT), (None, STRICT), ("mobyshell-other", OTHER), ("mobyshell-other", OTHER),
        ("unconfined", FREE), ("", STRICT),
    )  # fmt: skip
    for executor, ushers, asked in (
        (NativeExecutor(), False, all_of[1:3]), (NativeExecutor(), True, all_of),
        (PortableExecutor(), False, all_of[1:3]),
    ):  # fmt: skip
        house.runtime = Runtime(root, executor=executor, ushers=ushers)
        with running(house, change=labelled()):
            for profile, seen in asked:
                done = house.exec("c", "sh", "-c", LOOK, apparmor_profile=profile)
                assert done.output.splitlines() == seen, (done.errors, profile, ushers)
            with pytest.raises(SyscallFailed, match="ask AppArmor for the label nosuch"):
                house.exec("c", "true", apparmor_profile="nosuch")
            house.runtime.rest(0)
    house.runtime = Runtime(root)


def test_a_hook_inside_is_confined_as_the_program(house: House, profiles: Path) -> None:
    look = {"path": "/bin/sh", "args": ["sh", "-c", LOOK]}
    outside = {"path": "/bin/cat", "args": ["cat", "/proc/self/attr/apparmor/current"]}

    def change(document: dict[str, Any]) -> None:
        labelled()(document)
        document["hooks"] = {"createContainer": [outside], "startContainer": [look]}

    for executor in (NativeExecutor(), PortableExecutor()):
        house.runtime._executor = executor
        house.events.clear()
        house.run("true", change=change)
        told = {one.kind: one.stdout for one in house.events if isinstance(one, HookDone)}
        assert told["startContainer"].splitlines() == STRICT
        assert told["createContainer"] == "unconfined\n"


def test_what_is_told(house: House, profiles: Path, seen_without: tuple[str, ...]) -> None:
    assert seen_without == ("apparmor",)
    assert "apparmor" in lsm.active()
    found = {one.feature: one for one in probe._security()}
    assert (found["apparmor"].ok, found["apparmor"].detail) == (True, "active")
    assert not found["selinux"].ok
    with running(house, change=labelled()):
        (line,) = [one for one in house.runtime.diff("c") if "apparmor" in one.path]
        assert (line.agrees, line.found, line.note) == (
            True, "mobyshell-strict", "in mode enforce",
        )  # fmt: skip


def test_who_may_take_no_signal_is_killed_by_the_cgroup(house: House, profiles: Path) -> None:
    with running(house, change=labelled("mobyshell-deaf")):
        with pytest.raises(SyscallFailed, match="Permission denied") as told:
            run(house.runtime.kill("c", signal.SIGKILL))
        said = words.said(told.value, "kill")
        assert said.startswith("unable to signal init: permission denied (")
        run(house.runtime.kill("c", signal.SIGKILL, all_processes=True))
        eventually(lambda: house.runtime.state("c")[1] is Status.STOPPED)


def test_the_drop_in_does_as_runc(house: House, profiles: Path, tmp_path: Path) -> None:
    """Each time: by the library, by a stored plan, without Python; and not when the profile has gone."""
    document = spec_to_json(default_spec())
    labelled()(document)
    document["process"].update(terminal=False, args=["sh", "-c", LOOK])
    document["root"]["path"] = str(house.bundle / "rootfs")
    bundle = tmp_path / "bundle"
    bundle.mkdir()

    def call(program: str, *words: str) -> tuple[int, list[str], str]:
        root = tmp_path / program.rpartition("/")[2]
        done = subprocess.run(
            [program, "--root", str(root), *words], cwd=bundle, capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL, timeout=vm.PATIENCE,
        )  # fmt: skip
        return done.returncode, done.stdout.splitlines(), done.stderr

    (bundle / "config.json").write_text(json.dumps(document))
    assert call("runc", "run", "c")[:2] == (0, STRICT)
    for _ in range(4):
        assert call(OURS, "run", "c")[:2] == (0, STRICT)
    process = {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh", "-c", LOOK],
               "env": ["PATH=/bin"], "apparmorProfile": "mobyshell-other"}  # fmt: skip
    (bundle / "process.json").write_text(json.dumps(process))
    document["process"]["args"] = ["sleep", "1000"]
    (bundle / "config.json").write_text(json.dumps(document))
    for program, times in (("runc", 1), (OURS, 2)):
        with open(os.devnull, "w") as quiet:
            words = [program, "--root", str(tmp_path / program.rpartition("/")[2])]
            subprocess.run([*words, "run", "-d", "d"], cwd=bundle, check=True, stdout=quiet,
                           stderr=quiet, stdin=subprocess.DEVNULL)  # fmt: skip
        try:
            for _ in range(times):
                done = call(program, "exec", "--process", "process.json", "d")
                assert done[:2] == (0, OTHER), (program, done[2])
        finally:
            call(program, "delete", "--force", "d")
    document["process"]["args"] = ["sh", "-c", LOOK]
    (bundle / "config.json").write_text(json.dumps(document))
    parser(profiles, "-R")
    try:
        for program in ("runc", OURS):
            status, said, errors = call(program, "run", "c")
            assert (status, said) == (1, []), errors
            assert "unable to apply apparmor profile: apparmor failed to apply profile: write " \
                   "/proc/self/attr/apparmor/exec: no such file or directory" in errors  # fmt: skip
    finally:
        parser(profiles, "-a")
