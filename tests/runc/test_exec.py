"""exec, as a process: what its flags change, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runc.conftest import Machine
from tests.waiting import eventually


@pytest.fixture
def running(ours: Machine) -> Machine:
    """With a container `c` that sleeps."""
    ours.background("c")
    return ours


def sh(machine: Machine, script: str, *flags: str) -> list[str]:
    return machine.ok("exec", *flags, "c", "sh", "-c", script).splitlines()


def test_status_and_streams(running: Machine) -> None:
    done = running.call("exec", "c", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert running.call("exec", "c", "sh", "-c", "kill -9 $$").returncode == 137
    assert running.ok("exec", "c", "cat", input="in") == "in"


def test_flags_belong_to_the_command_behind_the_id(running: Machine) -> None:
    assert running.ok("exec", "c", "echo", "--cwd", "-t") == "--cwd -t\n"


def test_what_flags_change(running: Machine) -> None:
    assert sh(running, "id -u; id -g; id -G", "--user", "1000:1001", "-g", "7", "-g", "8") == [
        "1000", "1001", "1001 7 8",
    ]  # fmt: skip
    assert sh(running, "pwd; echo $A $B", "--cwd", "/bin", "-e", "A=1", "--env", "B=2 3") == [
        "/bin", "1 2 3",
    ]  # fmt: skip
    plain, more = (
        int(sh(running, "grep CapEff /proc/self/status", *flags)[0].split()[1], 16)
        for flags in ((), ("--cap", "CAP_SYS_ADMIN", "-c", "CAP_SYS_TIME"))
    )
    assert more ^ plain == 1 << 21 | 1 << 25


@pytest.mark.parametrize("word", ["NAME", "=value", ""])
def test_what_is_no_variable_is_refused(running: Machine, word: str) -> None:
    """As in a config.json, and by runc: no program expects such strings in its environment."""
    done = running.call("exec", "--env", word, "c", "true")
    assert done.returncode == 255
    assert f'invalid environment variable: "{word}"'.replace('"', '\\"') in done.stderr


def test_capabilities_that_are_left_out_are_a_warning_each_time(
    running: Machine, tmp_path: Path
) -> None:
    """config.md#linux-process; runc's words."""
    told = "ignoring unknown or unavailable capabilities: [CAP_NONSENSE]"
    file = tmp_path / "process.json"
    file.write_text(json.dumps({
        "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["true"],
        "capabilities": {"bounding": ["CAP_KILL", "CAP_NONSENSE"]},
    }))  # fmt: skip
    for words in [["--cap", "CAP_NONSENSE", "c", "true"]] + 3 * [["--process", str(file), "c"]]:
        done = running.call("exec", *words)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(told) == 1


def test_a_process_from_a_file(running: Machine, tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "terminal": False, "user": {"uid": 5, "gid": 6}, "cwd": "/bin", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "id -u; id -g; pwd"],
    }  # fmt: skip
    file = tmp_path / "process.json"
    file.write_text(json.dumps(document))
    assert running.ok("exec", "--process", str(file), "c") == "5\n6\n/bin\n"
    file.write_text(json.dumps({**document, "args": []}))
    assert running.fails("exec", "-p", str(file), "c", status=255) == (
        "exec failed: args must not be empty"
    )


def test_detached(running: Machine, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    running.quiet("exec", "--detach", "--pid-file", str(file), "c", "sleep", "999")
    pid = file.read_text()
    assert pid.isdecimal()
    eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\000999\0")
    assert int(pid) in json.loads(running.ok("ps", "-f", "json", "c"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["c"], "exec failed: exec args cannot be empty"),
        (["c", "nosuch"], 'process: exec: "nosuch": executable file not found in $PATH'),
        (["c", "/nosuch"], 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        (["c", "/etc"], 'exec: "/etc": is a directory'),
        (["c", "/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["--user", "root", "c", "true"], "parsing root as int for uid failed"),
        (["--user", "4294967295", "c", "id"], "4294967295 is no user or group id"),
        (["--user", "0:4294967295", "c", "id"], "4294967295 is no user or group id"),
        (["--cwd", "/nosuch", "c", "true"], 'chdir to cwd ("/nosuch") set in config.json failed'),
        (["--cgroup", "nosuch:/x", "c", "true"], "unknown controller nosuch"),
        (["--cgroup", "../../x", "c", "true"], "bad sub cgroup path"),
        (["-d", "-t", "c", "true"], "cannot allocate tty if runc will detach"),
        (["--console-socket", "x", "c", "true"], "cannot use console socket if runc will not"),
    ],
)
def test_errors(running: Machine, words: list[str], said: str, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    found = running.fails("exec", "--pid-file", str(file), *words, status=255)
    assert found.startswith("exec failed: ")
    assert said in found
    assert not file.exists(), "a pid file says that the program runs"


def test_in_a_sub_cgroup(running: Machine) -> None:
    config = json.loads((running.root / "c" / "state.json").read_text())
    controller, path = next(iter(config["cgroups"].items()))
    below = Path(path) / "below"
    below.mkdir()
    try:
        given = f"{controller}:/below"
        lines = sh(running, "cat /proc/self/cgroup", "--cgroup", given)
        found = [line.split(":") for line in lines]
        own = [p for _, names, p in found if controller in names.split(",")]
        assert own[0].endswith("/below")
    finally:
        eventually(lambda: not below.exists() or not _busy(below))


def _busy(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return True
    return False


def test_in_a_created_container(ours: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    assert ours.ok("exec", "c", "echo", "hi") == "hi\n"
