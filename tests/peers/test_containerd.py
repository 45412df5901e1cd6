"""The real containerd with our runtime: its shim runc-v2 calls it, ctr drives it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.peers.counted import compare
from tests.peers.engines import NAME, RUNTIME, Engine, limit
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]


def run_words(ctr: Engine, *options: str) -> tuple[str, ...]:
    """`ctr run` with our runtime, whose root is the engine's own directory."""
    return ("run", "--runc-binary", RUNTIME, "--runc-root", f"{ctr.directory}/runc", *options)


def up(ctr: Engine, id: str, *options: str) -> int:
    """A container that sleeps; its pid."""
    ctr.ok(*run_words(ctr, "-d", "--null-io", *options), NAME, id, "sleep", "1000")
    return pid_of(ctr, id)


def row(ctr: Engine, id: str) -> list[str]:
    """The line of a task: id, pid, status."""
    lines = [line.split() for line in ctr.ok("tasks", "ls").splitlines()]
    return next(line for line in lines if line[0] == id)


def pid_of(ctr: Engine, id: str) -> int:
    return int(row(ctr, id)[1])


def status(ctr: Engine, id: str) -> str:
    return row(ctr, id)[2]


WAIT = "while [ ! -e /shared/go ]; do sleep 0.02; done"


def told(ctr: Engine, shared: Path, words: tuple[str, ...], script: str, code: int = 0) -> str:
    """What `script` prints, on both streams, run by the client with `words`; it must end with `code`.

    ctr forgets what it has not yet read when the process ends (on a busy machine, with every
    runtime): so the script waits at its end until the test has seen all of it.
    """
    (shared / "go").unlink(missing_ok=True)
    whole = f"{script}; echo .; echo . >&2; {WAIT}; exit {code}"
    with ctr.behind(shared, *words, "sh", "-c", whole) as run:
        run.expect(".\n")
        run.expect_errors(".\n")
        (shared / "go").touch()
        assert run.end() == code
        return run.output().removesuffix(".\n") + run.errors().removesuffix(".\n")


def sharing(directory: Path) -> tuple[str, str]:
    """The directory as /shared."""
    return "--mount", f"type=bind,src={directory},dst=/shared,options=rbind:rw"


def test_run_prints_and_passes_the_exit_code_on(ctr: Engine, tmp_path: Path) -> None:
    words = (*run_words(ctr, "--rm", *sharing(tmp_path)), NAME, "hello")
    assert told(ctr, tmp_path, words, "echo out; echo err >&2", 7) == "out\nerr\n"
    eventually(lambda: ctr.ok("containers", "ls", "-q") == "")


def test_run_takes_what_the_image_and_the_flags_say(ctr: Engine, tmp_path: Path) -> None:
    more = ("--env", "WHO=me", "--cwd", "/tmp", "--read-only", *sharing(tmp_path))
    words = (*run_words(ctr, "--rm", *more), NAME, "flags")
    text = told(ctr, tmp_path, words, "echo $WHO; pwd; touch /x 2>&1")
    assert text.splitlines() == ["me", "/tmp", "touch: /x: Read-only file system"]


def test_detached_then_kill_and_delete(ctr: Engine) -> None:
    pid = up(ctr, "sleeper")
    assert status(ctr, "sleeper") == "RUNNING"
    assert os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid")
    ctr.ok("tasks", "kill", "-s", "KILL", "sleeper")
    eventually(lambda: status(ctr, "sleeper") == "STOPPED", seen=lambda: str(row(ctr, "sleeper")))
    ctr.ok("tasks", "rm", "sleeper")
    ctr.ok("containers", "rm", "sleeper")
    assert not Path(ctr.directory, "runc", ctr.group, "sleeper").exists()


@pytest.mark.parametrize(("signal", "code"), [("TERM", 3), ("KILL", 137)])
def test_signals_arrive_and_decide_the_exit_code(
    ctr: Engine, tmp_path: Path, signal: str, code: int
) -> None:
    script = f"trap 'echo caught; {WAIT}; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    words = (*run_words(ctr, "--rm", *sharing(tmp_path)), NAME, "trap", "sh", "-c", script)
    with ctr.behind(tmp_path, *words) as run:
        run.expect("ready")
        ctr.ok("tasks", "kill", "-s", signal, "trap")
        if signal == "TERM":
            run.expect("caught")
            (tmp_path / "go").touch()
        assert run.end() == code


def test_a_detached_one_writes_its_log(ctr: Engine, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ctr.ok(*run_words(ctr, "-d", "--log-uri", f"file://{log}"), NAME, "logged", "echo", "line")
    eventually(lambda: log.exists() and log.read_text() == "line\n")
    eventually(lambda: status(ctr, "logged") == "STOPPED")


def test_exec_runs_beside_and_passes_its_code_on(ctr: Engine, tmp_path: Path) -> None:
    up(ctr, "host", "--env", "WHO=spec", *sharing(tmp_path))
    tmp_path.chmod(0o755)
    words = ("tasks", "exec", "--exec-id", "e1", "--cwd", "/tmp", "--user", "1000", "host")
    assert told(ctr, tmp_path, words, "echo $WHO; pwd; id -u", 5).split() == [
        "spec",
        "/tmp",
        "1000",
    ]
    assert ctr.call(*words[:3], "e2", "host", "sh", "-c", "kill -9 $$").returncode == 137


def test_exec_of_nothing_says_so(ctr: Engine) -> None:
    up(ctr, "host")
    done = ctr.call("tasks", "exec", "--exec-id", "e1", "host", "nosuch")
    assert done.returncode == 1
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("/nosuch", 'exec: "/nosuch": stat /nosuch: no such file or directory'),
        ("/etc/not-a-program", 'exec: "/etc/not-a-program": permission denied'),
    ],
)
def test_a_command_that_cannot_run_is_told(ctr: Engine, command: str, said: str) -> None:
    done = ctr.call(*run_words(ctr, "--rm"), NAME, "failing", command)
    assert done.returncode == 1
    assert "OCI runtime create failed" in done.stderr
    assert said in done.stderr
    eventually(lambda: ctr.ok("tasks", "ls", "-q") == "")


def test_at_a_terminal(ctr: Engine) -> None:
    with ctr.talk(*run_words(ctr, "--rm", "-t"), NAME, "talk", "sh") as talk:
        talk.expect("# ")
        # the size comes a moment after the start
        talk.send("tty; until stty size | grep -q '24 80'; do sleep 0.02; done; echo siz$((1))d\r")
        talk.expect("/dev/pts/0")
        talk.expect("siz1d")
        talk.expect("# ")
        talk.send("exit 9\r")
        assert talk.end() == 9


def test_exec_at_a_terminal(ctr: Engine) -> None:
    up(ctr, "host")
    with ctr.talk("tasks", "exec", "-t", "--exec-id", "e1", "host", "sh") as talk:
        talk.expect("# ")
        talk.send("test -t 0 && echo is$((1+1))tty; exit 4\r")
        talk.expect("is2tty")
        assert talk.end() == 4


def test_input_comes_through(ctr: Engine, tmp_path: Path) -> None:
    script = "head -n 1 > /shared/line"  # ctr passes no end on
    words = (*run_words(ctr, "--rm", *sharing(tmp_path)), NAME, "head", "sh", "-c", script)
    ctr.ok(*words, stdin=b"line\n")
    assert (tmp_path / "line").read_text() == "line\n"


def test_pause_and_resume(ctr: Engine) -> None:
    pid = up(ctr, "cold")
    ctr.ok("tasks", "pause", "cold")
    assert status(ctr, "cold") == "PAUSED"
    assert limit(pid, "freezer/freezer.state", "cgroup.freeze") in ("FROZEN", "1")
    ctr.ok("tasks", "resume", "cold")
    assert status(ctr, "cold") == "RUNNING"
    assert limit(pid, "freezer/freezer.state", "cgroup.freeze") in ("THAWED", "0")


def test_ps_lists_every_process(ctr: Engine) -> None:
    pid = up(ctr, "host")
    ctr.ok("tasks", "exec", "-d", "--fifo-dir", str(ctr.directory / "fifo"), "--exec-id", "more",
           "host", "sleep", "1000")  # fmt: skip
    pids = [int(line.split()[0]) for line in ctr.ok("tasks", "ps", "host").splitlines()[1:]]
    assert pid in pids
    assert len(pids) == 2


def test_limits_are_in_the_cgroups(ctr: Engine) -> None:
    pid = up(ctr, "small", "--memory-limit", str(64 << 20), "--cpus", "0.5")
    assert limit(pid, "memory/memory.limit_in_bytes", "memory.max") == str(64 << 20)
    quota = limit(pid, "cpu/cpu.cfs_quota_us", "cpu.max").split()
    period = limit(pid, "cpu/cpu.cfs_period_us", "cpu.max").split()
    assert int(quota[0]) * 2 == int(period[-1])


def test_metrics_count(ctr: Engine) -> None:
    up(ctr, "busy", "--memory-limit", str(64 << 20))
    document = json.loads(ctr.ok("tasks", "metrics", "--format", "json", "busy"))
    text = json.dumps(document).lower()
    assert str(64 << 20) in text
    assert "pids" in text


def test_we_count_what_containerd_counts(ctr: Engine) -> None:
    compare(ctr, ctr.env["CONTAINERD_METRICS"])


def test_the_state_of_the_runtime_is_ours(ctr: Engine) -> None:
    up(ctr, "seen")
    assert Path(ctr.directory, "runc", ctr.group, "seen", "state.json").exists()
