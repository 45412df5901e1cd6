"""Stored plans: used for what was run before, never for anything else, and never noticed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobyshell.runc.quick import parse
from tests.runc.conftest import PATIENCE, PROGRAM, Machine, containers
from tests.waiting import eventually

# what `mobyshell-runc` does first; says whether that was all
ONLY_QUICK = """
import sys
from mobyshell.runc import quick
status = quick.attempt(sys.argv[1:])
sys.stderr.write("quick" if status is not None else "library")
loaded = [name for name in sys.modules if name.startswith("mobyshell.core")]
assert not loaded, loaded
sys.stdout.flush()
sys.exit(99 if status is None else status)
"""


@pytest.fixture
def quick(ours: Machine) -> Machine:
    """Only what was stored is run; `call` answers 99 where the library would have to help."""
    return ours.with_program([sys.executable, "-c", ONLY_QUICK])


def learn(machine: Machine, *flags: str) -> None:
    """Run what is in the bundle twice: then it is stored."""
    for _ in range(2):
        machine.call("run", *flags, "learn")
    assert len(plans(machine)) >= 1


def plans(machine: Machine) -> list[Path]:
    return sorted(one for one in (machine.root / ".plans").iterdir() if one.suffix != ".seen")


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("--root /r run -b /b c", True),
        ("--root=/r --log /l --log-format json create --bundle=/b --pid-file /p c", True),
        ("--root /r run -d --keep -b /b c", True),
        ("--root /r run -b /b", False),
        ("--root /r run -b /b c d", False),
        ("--root /r --debug run -b /b c", False),
        ("--root /r --systemd-cgroup run -b /b c", False),
        ("--root /r run --console-socket /s -b /b c", False),
        ("--root /r run --preserve-fds 1 -b /b c", False),
        ("--root r run -b /b c", False),
        ("--root /r run -b /b/../c c", False),
        ("--root /r run -b /b ../c", False),
        ("--root /r run -b /b .c", False),
        ("--root /r exec c true", False),
        ("--root /r state c", False),
        ("--root", False),
        ("", False),
    ],
)
def test_only_plain_calls_are_taken(line: str, known: bool) -> None:
    assert (parse(line.split()) is not None) is known


def test_what_was_run_twice_needs_no_library(ours: Machine, quick: Machine) -> None:
    ours.spec("sh", "-c", "echo out; echo err >&2; exit 3")
    assert quick.call("run", "c").returncode == 99
    assert ours.call("run", "c").returncode == 3
    assert plans(ours) == [], "containerd and podman never run a bundle twice"
    assert ours.call("run", "c").returncode == 3
    (plan,) = plans(ours)
    assert plan.stat().st_mode == 0o100600
    for id in ("c", "another-id", "c"):
        done = quick.call("run", id)
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\nquick")


def test_the_container_is_the_same(ours: Machine, quick: Machine) -> None:
    """By what it sees, and by what the state says."""
    script = (
        "cat /proc/self/cgroup /proc/self/status /proc/self/mountinfo /proc/keys; hostname; id; env; "
        "ls -l /proc/self/fd /dev"
    )
    ours.spec("sh", "-c", script)
    found = [steady(ours.ok("run", "c")) for _ in range(2)]
    assert steady(quick.ok("run", "c")) == found[0] == found[1]
    ours.spec("sleep", "1000")
    states = []
    for machine in (ours, ours, quick):
        machine.quiet("run", "-d", "c")
        state = json.loads((ours.root / "c" / "state.json").read_text())
        states.append(
            {k: v for k, v in state.items() if not k.startswith(("pid", "created", "start"))}
        )
        assert ours.status("c") == "running"
        ours.ok("delete", "--force", "c")
    assert states[0] == states[1] == states[2]


def steady(text: str) -> list[str]:
    """Without what differs from one container to the next: numbers of processes, mounts, times."""
    kept = []
    for line in text.splitlines():
        words = line.split()
        if (
            not words
            or words[0].endswith("ctxt_switches:")
            or words[0].startswith(("Vm", "Rss", "Mems", "SigQ"))
        ):
            continue
        if " - " in line:  # mountinfo: without the mounts' and filesystems' numbers
            words = words[3:]
        elif words[0][0] in "-dlcs" and len(words) > 8:  # ls -l: without times
            size = 2 if words[0][0] == "c" else 1  # a device has two numbers instead
            words = [words[0], *words[2 : 4 + size], *words[7 + size :]]
        elif (len(words) > 7 and words[1][-1:] == "Q") or "keyring" in words:
            words = words[-2:]  # /proc/keys
        kept.append(" ".join(word for word in words if "pipe:" not in word))
    return kept


def test_signals_and_ends(ours: Machine, quick: Machine) -> None:
    ours.spec("sh", "-c", "trap 'echo term; exit 5' TERM; echo on; while :; do sleep 0.05; done")
    out = ours.directory / "out"
    for machine in (ours, ours, quick):
        with open(out, "w") as file:
            process = subprocess.Popen(
                machine.words("run", "c"), stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.DEVNULL, cwd=ours.bundle, env=ours.environment,
            )  # fmt: skip
        try:
            eventually(lambda: out.read_text() == "on\n", seen=out.read_text)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 5
            assert out.read_text() == "on\nterm\n"
        finally:
            process.kill()
            process.wait(PATIENCE)
    ours.spec("sleep", "1000")
    learn_detached(ours)
    words = quick.words("run", "c")
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ours.bundle, env=ours.environment
    ) as process:  # fmt: skip
        eventually(
            lambda: (ours.root / "c" / "state.json").exists() and ours.status("c") == "running"
        )
        ours.ok("kill", "c", "KILL")
        assert process.wait(PATIENCE) == 137
    assert containers(ours.root) == []


def learn_detached(machine: Machine) -> None:
    for _ in range(2):
        machine.quiet("run", "-d", "learn")
        machine.ok("delete", "--force", "learn")


def test_create_and_the_verbs_after_it(ours: Machine, quick: Machine, tmp_path: Path) -> None:
    ours.spec("sleep", "1000")
    learn_detached(ours)
    file = tmp_path / "pid"
    quick.quiet("create", "--pid-file", str(file), "c")
    state = ours.state("c")
    assert (state["status"], str(state["pid"])) == ("created", file.read_text())
    assert "already exists" in ours.fails("create", "c")
    ours.ok("start", "c")
    assert ours.ok("exec", "c", "echo", "hi") == "hi\n"
    ours.ok("pause", "c")
    ours.ok("resume", "c")
    assert json.loads(ours.ok("events", "--stats", "c"))["data"]["pids"]["current"] == 1
    ours.ok("kill", "c", "KILL")
    eventually(lambda: ours.status("c") == "stopped")
    ours.ok("delete", "c")


def test_a_changed_bundle_is_planned_anew(ours: Machine, quick: Machine) -> None:
    ours.spec("echo", "one")
    learn(ours)
    assert quick.ok("run", "c") == "one\n"
    ours.spec("echo", "two", change=lambda document: document["process"].update(cwd="/proc"))
    assert quick.call("run", "c").returncode == 99
    assert ours.ok("run", "c") == "two\n"


def test_a_changed_passwd_is_looked_at_anew(ours: Machine, quick: Machine) -> None:
    passwd = ours.directory / "passwd"
    passwd.write_text("root:x:0:0::/one:\n")

    def bound(document: dict[str, Any]) -> None:
        document["mounts"].append(
            {"destination": "/etc/passwd", "type": "bind", "source": str(passwd), "options": ["bind"]}
        )  # fmt: skip

    ours.spec("sh", "-c", "echo $HOME", change=bound)
    learn(ours)
    assert quick.ok("run", "c") == "/one\n"
    passwd.write_text("root:x:0:0::/another:\n")
    assert quick.ok("run", "c") == "/another\n"
    passwd.unlink()
    passwd.mkdir()
    assert quick.call("run", "c").returncode == 99


@pytest.mark.parametrize("damage", ["short", "empty", "changed", "readable", "link", "directory"])
def test_an_entry_that_is_not_whole_or_not_ours_is_none(
    ours: Machine, quick: Machine, damage: str
) -> None:
    ours.spec("echo", "one")
    learn(ours)
    (plan,) = plans(ours)
    data = plan.read_bytes()
    if damage == "short":
        plan.write_bytes(data[: len(data) // 2])
    elif damage == "empty":
        plan.write_bytes(b"")
    elif damage == "changed":
        plan.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif damage == "readable":
        plan.chmod(0o644)
    else:
        plan.unlink()
        if damage == "link":
            (ours.directory / "elsewhere").write_bytes(data)
            plan.symlink_to(ours.directory / "elsewhere")
        else:
            plan.mkdir()
    assert quick.call("run", "c").returncode == 99
    assert ours.ok("run", "c") == "one\n"


def test_what_fails_is_explained_and_leaves_nothing(
    ours: Machine, quick: Machine, tmp_path: Path
) -> None:
    """The stored plan fails; the library does it again, and says why."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho one\n")
    script.chmod(0o755)

    def bound(document: dict[str, Any]) -> None:
        document["mounts"].append(
            {"destination": "/dev/script", "type": "bind", "source": str(script),
             "options": ["bind"]}
        )  # fmt: skip

    ours.spec("/dev/script", change=bound)
    learn(ours)
    assert quick.ok("run", "c") == "one\n"
    script.write_text("#!/nosuch\n")
    assert quick.call("run", "c").returncode == 99
    assert containers(ours.root) == []
    assert "exec /dev/script: no such file or directory" in ours.fails("run", "c")
    script.unlink()
    assert quick.call("run", "c").returncode == 99
    assert "no such file or directory" in ours.fails("run", "c")
    assert containers(ours.root) == []


def test_what_the_parent_must_attend_to_is_not_stored(ours: Machine) -> None:
    def hooked(document: dict[str, Any]) -> None:
        document["hooks"] = {"poststart": [{"path": "/bin/true"}]}

    ours.spec("true", change=hooked)
    for _ in range(3):
        ours.ok("run", "c")
    assert plans(ours) == []


def test_the_program_runs_once_whatever_happens(ours: Machine) -> None:
    """Groups of its own below its cgroup: what cannot be removed at once is left to the library."""

    def shown(document: dict[str, Any]) -> None:
        for one in document["mounts"]:
            if one["type"] == "cgroup":
                one["options"].remove("ro")
        document["linux"]["readonlyPaths"] = []
        document["linux"]["namespaces"].append({"type": "cgroup"})

    count = ours.directory / "count"
    ours.spec("sh", "-c", "echo ran; mkdir -p /sys/fs/cgroup/pids/below /sys/fs/cgroup/below; exit 4",
              change=shown)  # fmt: skip
    learn(ours)
    with open(count, "w") as file:
        done = ours.call("run", "c", capture_output=False, stdout=file, stderr=file)
    assert done.returncode == 4
    assert count.read_text().count("ran") == 1
    assert containers(ours.root) == []


def test_the_installed_program_finds_the_package() -> None:
    """It is started without `site`, by a link as well."""
    program = Path(sys.executable).parent / "mobyshell-runc"
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert done.stdout.startswith("runc version ")
    assert os.access(program, os.X_OK)
    assert PROGRAM[0] == sys.executable
