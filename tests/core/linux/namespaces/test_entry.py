"""Going into namespaces: the plan, and the program that follows it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.linux.namespaces import KINDS, inode
from mobyshell.core.linux.namespaces.entry import (
    Entry,
    enter_namespaces,
    enter_process,
    environment,
    nsenter,
    program,
    steps,
)
from mobyshell.core.linux.namespaces.survey import survey
from tests.core.linux.namespaces.inhabitants import READY, inhabitant
from tests.users import package_for_all, python_for

pytestmark = pytest.mark.root

ALL = ("--user", "--map-root-user", "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid",
       "--time", "--fork", "--mount-proc")  # fmt: skip


def run(
    entry: Entry, *command: str, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*before, *program(entry, command)], capture_output=True, text=True,
                          timeout=60, check=False, env={**os.environ, "SECRET": "ours"})  # fmt: skip


def test_into_all_of_a_process() -> None:
    with inhabitant(*ALL, script=f"hostname inside; {READY}") as pid:
        entry = enter_process(survey(), pid)
        assert entry.kinds == set(KINDS)
        assert entry.targets[0].kind == "user"
        script = "hostname; id -u; echo $SECRET; pwd; cd /proc/self/ns; stat -Lc %i "
        script += " ".join(KINDS)
        done = run(entry, "sh", "-c", script)
        assert done.stderr == ""
        name, uid, secret, place, *inodes = done.stdout.splitlines()
        assert (name, uid, secret, place) == ("inside", "0", "", "/")
        assert inodes == [str(inode(pid, kind)) for kind in KINDS]


def test_its_exit_status_is_the_commands() -> None:
    with inhabitant("--pid", "--fork", "--uts") as pid:
        entry = enter_process(survey(), pid)
        assert run(entry, "sh", "-c", "exit 7").returncode == 7
        assert run(entry, "sh", "-c", "kill -9 $$").returncode == 137
        assert run(entry, "/no/such/program").returncode == 127
        only = enter_process(survey(), pid, ("uts",))
        assert not only.forks
        assert run(only, "sh", "-c", "exit 8").returncode == 8


def test_into_some_by_inode_and_the_rest_stays_ours() -> None:
    with (
        inhabitant("--net") as one,
        inhabitant("--uts", script=f"hostname other; {READY}") as other,
    ):
        entry = enter_namespaces(survey(), [inode(one, "net"), inode(other, "uts")])
        done = run(
            entry,
            "sh",
            "-c",
            "hostname; readlink /proc/self/ns/net /proc/self/ns/mnt; echo $SECRET",
        )
        assert done.stdout.splitlines() == [
            "other", f"net:[{inode(one, 'net')}]", f"mnt:[{inode(os.getpid(), 'mnt')}]", "ours",
        ]  # fmt: skip
        with pytest.raises(UsageError, match="both net"):
            enter_namespaces(survey(), [inode(one, "net"), inode(other, "net")])
    with pytest.raises(NotFound):
        enter_namespaces(survey(), [1])
    gone = run(entry, "true")
    assert gone.returncode == 126
    assert "is gone" in gone.stderr or "any more" in gone.stderr


def test_what_it_does_not_own_is_entered_before_the_user_namespace() -> None:
    """Afterwards nobody could: in there, root is root of what it owns only."""
    with inhabitant("--user", "--map-root-user", "--uts") as pid, inhabitant("--net") as other:
        found = survey()
        theirs = found.of(pid)
        entry = enter_namespaces(
            found, [theirs["uts"].inode, theirs["user"].inode, inode(other, "net")]
        )
        assert [one.kind for one in entry.targets] == ["net", "user", "uts"]
        done = run(entry, "readlink", "/proc/self/ns/net", "/proc/self/ns/user")
        assert done.stdout.splitlines() == [
            f"net:[{inode(other, 'net')}]", f"user:[{theirs['user'].inode}]",
        ], done.stderr  # fmt: skip


AS_NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
ENTER = """
import os, sys
from mobyshell.core.linux.namespaces.entry import enter_namespaces, program
from mobyshell.core.linux.namespaces.survey import survey
entry = enter_namespaces(survey(), [int(sys.argv[1])])
print([one.kind for one in entry.targets], entry.added, flush=True)
words = program(entry, ["sh", "-c", "id -u; readlink /proc/self/ns/net"])
os.execv(words[0], words)
"""


def test_without_privileges_the_user_namespace_comes_first_unasked() -> None:
    with inhabitant("--user", "--map-root-user", "--net", before=AS_NOBODY) as pid:
        owner, net = inode(pid, "user"), inode(pid, "net")
        words = [python_for(65534), "-c", ENTER, str(net)]
        environment = {**os.environ, "PYTHONPATH": package_for_all()}
        done = subprocess.run([*AS_NOBODY, *words], capture_output=True, text=True, timeout=60,
                              check=False, cwd="/", env=environment)  # fmt: skip
        assert done.stdout.splitlines() == [
            f"['user', 'net'] ({owner},)", "0", f"net:[{net}]",
        ], done.stderr  # fmt: skip


def test_a_process_that_is_another_one_by_now_lends_no_root() -> None:
    with inhabitant("--mount") as pid, inhabitant("--mount") as other:
        entry = replace(enter_process(survey(), pid, ("mnt",)), root=other)
        done = run(entry, "true")
        assert (done.returncode, "is not in that mount namespace" in done.stderr) == (126, True)


def test_where_we_are_already_is_not_entered() -> None:
    entry = enter_process(survey(), os.getpid())
    assert entry == Entry(())
    (step,) = steps(entry, ["true"])
    assert step.call == "execve(true)"
    assert run(entry, "sh", "-c", "exit 3").returncode == 3


def test_the_plan_says_each_call_and_the_same_with_util_linux() -> None:
    with inhabitant("--uts", "--pid", "--fork", script=f"hostname inside; {READY}") as pid:
        entry = enter_process(survey(), pid, ("uts", "pid"))
        calls = [one.call for one in steps(entry, ["hostname"])]
        assert calls == [
            "prctl(PR_SET_DUMPABLE, 0)", f"open(/proc/{pid}/ns/pid)", f"open(/proc/{pid}/ns/uts)",
            "setns(CLONE_NEWPID)", "setns(CLONE_NEWUTS)", "fork()", "execve(hostname)",
        ]  # fmt: skip
        words = nsenter(entry, ["hostname"])
        assert words[:3] == ["nsenter", f"--pid=/proc/{pid}/ns/pid", f"--uts=/proc/{pid}/ns/uts"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, run(entry, "hostname").stdout) == ("inside\n", "inside\n")


def test_what_the_command_gets_around_it() -> None:
    ours = {"TERM": "xterm", "LC_ALL": "C", "TOKEN": "secret", "PATH": "/home/me/bin"}
    assert environment(frozenset({"net"}), ours) == ours
    inside = environment(frozenset({"mnt", "net"}), ours)
    assert "TOKEN" not in inside
    assert (inside["TERM"], inside["LC_ALL"]) == ("xterm", "C")
    assert "/home" not in inside["PATH"]
