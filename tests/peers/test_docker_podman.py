"""The real docker and podman with our runtime: they speak the same language, so one suite asks both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.engines import NAME, Engine, limit
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]

COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /tmp/count; sleep 0.02; done"


def options(engine: Engine) -> tuple[str, ...]:
    """What each needs here: no network, and its cgroups below one of the test's own."""
    return ("--network", "none", "--cgroup-parent", f"/{engine.group}")


def run(engine: Engine, *words: str) -> tuple[str, ...]:
    """`run` with `words`: options, then NAME, then the command."""
    return ("run", *options(engine), *words)


def up(engine: Engine, name: str, *words: str, script: str = "sleep 1000") -> int:
    """A detached container that runs `script`; its pid."""
    engine.ok(*run(engine, "-d", "--name", name, *words), NAME, "sh", "-c", script)
    return int(look(engine, name, ".State.Pid"))


def look(engine: Engine, name: str, field: str) -> str:
    return engine.ok("inspect", "--format", "{{" + field + "}}", name)


def status(engine: Engine, name: str) -> str:
    return look(engine, name, ".State.Status")


def remove(engine: Engine, *names: str) -> None:
    """Without waiting for what does not listen to TERM; docker does so anyhow."""
    engine.ok("rm", "-f", *(("-t", "0") if engine.name == "podman" else ()), *names)


def test_run_prints_and_passes_the_exit_code_on(engine: Engine) -> None:
    script = "echo out; echo err >&2; exit 7"
    done = engine.call(*run(engine, "--rm"), NAME, "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    eventually(lambda: engine.call("ps", "-aq").stdout == "")


def test_run_takes_what_the_image_and_the_flags_say(engine: Engine) -> None:
    text = engine.ok(
        *run(engine, "--rm", "-e", "WHO=me", "-w", "/tmp", "-u", "moby", "--hostname", "boat",
             "--read-only", "--cap-drop", "all", "--cap-add", "CHOWN"),
        NAME, "sh", "-c",
        "echo $WHO; pwd; id -u; id -g; id -G; hostname; touch /x 2>&1; grep CapBnd /proc/self/status",
    ).splitlines()  # fmt: skip
    assert text[:4] == ["me", "/tmp", "1000", "1001"]
    assert set(text[4].split()) == {"1001", "50"}
    assert text[5:7] == ["boat", "touch: /x: Read-only file system"]
    assert text[7].split() == ["CapBnd:", f"{1:016x}"]


def test_volumes_and_tmpfs_are_mounted(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("from outside\n")
    script = "cat /mnt/note; echo x > /scratch/x && stat -f -c %T /scratch; touch /mnt/y 2>&1 || :"
    text = engine.ok(
        *run(engine, "--rm", "-v", f"{tmp_path}:/mnt:ro", "--tmpfs", "/scratch"),
        NAME, "sh", "-c", script,
    )  # fmt: skip
    assert text.splitlines() == ["from outside", "tmpfs", "touch: /mnt/y: Read-only file system"]


def test_input_comes_through_to_its_end(engine: Engine) -> None:
    assert engine.ok(*run(engine, "--rm", "-i"), NAME, "wc", "-c", stdin=b"x" * 100_000) == "100000"


def test_at_a_terminal(engine: Engine) -> None:
    with engine.talk(*run(engine, "--rm", "-it"), NAME, "sh") as talk:
        talk.expect("# ")
        talk.send("tty; echo $((40+2)); exec sh -c 'while ! stty size | grep -q \"24 80\"; do "
                  "sleep 0.05; done; echo si$((1))ed; exit 9'\r")  # fmt: skip
        talk.expect("/dev/pts/0")
        talk.expect("42")
        talk.expect("si1ed")
        assert talk.end() == 9


def test_ctrl_c_reaches_the_container(engine: Engine) -> None:
    script = "trap 'echo cau$((1))ht; exit 5' INT; echo rea$((1))y; while :; do sleep 0.05; done"
    with engine.talk(*run(engine, "--rm", "-it"), NAME, "sh", "-c", script) as talk:
        talk.expect("rea1y")
        talk.send("\x03")
        talk.expect("cau1ht")
        assert talk.end() == 5


def test_detached_stop_and_remove(engine: Engine) -> None:
    name = "sleeper"
    pid = up(engine, name, script="trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    assert status(engine, name) == "running"
    assert Path(f"/proc/{pid}/cgroup").read_text().count(engine.group) > 0
    eventually(lambda: "ready" in engine.ok("logs", name))
    engine.ok("stop", "-t", "60", name)
    assert (status(engine, name), look(engine, name, ".State.ExitCode")) == ("exited", "3")
    engine.ok("start", name)
    assert status(engine, name) == "running"
    remove(engine, name)
    eventually(lambda: engine.call("ps", "-aq").stdout == "")


def test_stop_kills_what_does_not_listen(engine: Engine) -> None:
    up(engine, "deaf", script="trap '' TERM; while :; do sleep 0.05; done")
    engine.ok("stop", "-t", "1", "deaf")
    assert look(engine, "deaf", ".State.ExitCode") == "137"


@pytest.mark.parametrize(("signal", "code"), [("USR1", "11"), ("KILL", "137")])
def test_kill_sends_signals(engine: Engine, signal: str, code: str) -> None:
    name = f"hit-{signal.lower()}"
    up(engine, name, script="trap 'exit 11' USR1; echo ready; while :; do sleep 0.05; done")
    eventually(lambda: "ready" in engine.ok("logs", name))
    engine.ok("kill", "-s", signal, name)
    assert engine.ok("wait", name) == code


def test_exec_runs_beside_and_passes_its_code_on(engine: Engine) -> None:
    up(engine, "host", "-e", "WHO=spec")
    done = engine.call(
        "exec", "-e", "MORE=x", "-w", "/tmp", "-u", "1000:50", "host", "sh", "-c",
        "echo $WHO $MORE; pwd; id -u; id -g; exit 5",
    )  # fmt: skip
    assert done.stdout.splitlines() == ["spec x", "/tmp", "1000", "50"], done.stderr
    assert done.returncode == 5
    assert engine.call("exec", "host", "sh", "-c", "kill -9 $$").returncode == 137
    assert engine.ok("exec", "-i", "host", "wc", "-c", stdin=b"four") == "4"


def test_exec_detached(engine: Engine) -> None:
    up(engine, "host")
    engine.ok("exec", "-d", "host", "sh", "-c", "echo made > /tmp/made")
    eventually(lambda: "made" in engine.call("exec", "host", "cat", "/tmp/made").stdout)


def test_exec_at_a_terminal(engine: Engine) -> None:
    up(engine, "host")
    with engine.talk("exec", "-it", "host", "sh") as talk:
        talk.expect("# ")
        talk.send("test -t 0 && echo is$((1+1))tty; exit 4\r")
        talk.expect("is2tty")
        assert talk.end() == 4


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("nosuch", 127, "executable file not found in $PATH"),
        ("/nosuch", 127, "no such file or directory"),
        ("/etc/not-a-program", 126, "permission denied"),
    ],
)
def test_a_command_that_cannot_run_is_told(
    engine: Engine, command: str, code: int, said: str
) -> None:
    done = engine.call(*run(engine, "--rm"), NAME, command)
    assert said in done.stderr
    assert done.returncode == code
    up(engine, "host")
    done = engine.call("exec", "host", command)
    assert said in done.stderr + done.stdout
    # docker 20.10 tells them apart for `run` only
    assert done.returncode == (126 if engine.name == "docker" else code)


def test_pause_and_resume(engine: Engine) -> None:
    pid = up(engine, "cold", script=COUNT)
    engine.ok("pause", "cold")
    assert status(engine, "cold") == "paused"
    assert limit(pid, "freezer/freezer.state", "cgroup.freeze") in ("FROZEN", "1")
    engine.ok("unpause", "cold")
    assert status(engine, "cold") == "running"
    before = engine.call("exec", "cold", "cat", "/tmp/count").stdout
    eventually(lambda: engine.call("exec", "cold", "cat", "/tmp/count").stdout != before)


def test_top_and_ps_list_processes(engine: Engine) -> None:
    up(engine, "host", script="sleep 1000; true")
    text = engine.ok("top", "host")
    assert "sleep 1000" in text
    assert "host" in engine.ok("ps", "--format", "{{.Names}}").split()


LIMITS = (
    (("-m", "64m"), "memory/memory.limit_in_bytes", "memory.max", (str(64 << 20),)),
    (("--pids-limit", "33"), "pids/pids.max", "pids.max", ("33",)),
    (("--cpu-shares", "512"), "cpu/cpu.shares", "cpu.weight", ("512", "20")),
    (("--cpuset-cpus", "0"), "cpuset/cpuset.cpus", "cpuset.cpus", ("0",)),
)


def test_limits_are_in_the_cgroups_and_updated_there(engine: Engine) -> None:
    pid = up(engine, "small", *(word for words, *_ in LIMITS for word in words), "--cpus", "0.5")
    for _, v1, v2, wanted in LIMITS:
        assert limit(pid, v1, v2) in wanted, v1
    assert limit(pid, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    engine.ok("update", "-m", "96m", "--memory-swap", "192m", "--cpu-shares", "256", "small")
    assert limit(pid, "memory/memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert limit(pid, "cpu/cpu.shares", "cpu.weight") in ("256", "10")
    assert status(engine, "small") == "running"


def test_stats_count(engine: Engine) -> None:
    up(engine, "busy", "-m", "64m", script=COUNT)
    form = "{{.PIDs}} {{.MemUsage}}"
    pids, used = engine.ok("stats", "--no-stream", "--format", form, "busy").split(" ", 1)
    assert int(pids) >= 1
    assert used.endswith("/ 67.11MB" if engine.name == "podman" else "/ 64MiB")
    assert not used.startswith("0B")


def test_logs_keep_both_streams(engine: Engine) -> None:
    engine.ok(*run(engine, "-d", "--name", "talker"), NAME, "sh", "-c", "echo one; echo two >&2")
    engine.ok("wait", "talker")
    done = engine.call("logs", "talker")
    assert (done.stdout, done.stderr) == ("one\n", "two\n")


def test_a_container_over_its_memory_is_killed(engine: Engine) -> None:
    engine.call(
        *run(engine, "--name", "fat", "-m", "16m", "--memory-swap", "16m"), NAME, "sh", "-c",
        "x=$(head -c 64000000 /dev/zero | tr '\\0' x); echo $?",
    )  # fmt: skip
    assert look(engine, "fat", ".State.ExitCode") == "137"


def test_what_the_engines_forbid_is_forbidden(engine: Engine) -> None:
    """A seccomp profile, masked paths and no new privileges, as the engines ask for them."""
    text = engine.ok(
        *run(engine, "--rm", "--security-opt", "no-new-privileges"), NAME, "sh", "-c",
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; cat /proc/kcore | wc -c; "
        "mount -t tmpfs x /tmp 2>&1 || true",
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[0].split() == ["NoNewPrivs:", "1"]
    assert lines[1].split() == ["Seccomp:", "2"]
    assert lines[2] == "0"
    assert "denied" in lines[3] or "not permitted" in lines[3]


def test_many_at_once(engine: Engine) -> None:
    names = [f"many-{number}" for number in range(4)]
    for name in names:
        up(engine, name)
    assert sorted(engine.ok("ps", "--format", "{{.Names}}").split()) == names
    remove(engine, *names)
    eventually(lambda: engine.call("ps", "-aq").stdout == "")
