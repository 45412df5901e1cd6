"""The client's pure parts: words of a command line, logs, answers, and the console socket."""

from __future__ import annotations

import array
import os
import pty
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    RuntimeFailed,
    TimedOut,
    Unsupported,
    WrongState,
)
from mobyshell.core.runtime.client import (
    CheckpointOptions,
    ConsoleSocket,
    ExecOptions,
    GlobalOptions,
    Limits,
    RestoreOptions,
    Runc,
    RunOptions,
    read_pid_file,
    values,
)
from mobyshell.core.runtime.client.log import LogEntry, failure, last_error, parse
from mobyshell.core.runtime.client.options import words


def test_options_become_words_in_their_order() -> None:
    assert words(RunOptions()) == []
    assert words(RunOptions(no_pivot=True, preserve_fds=2, keep=True)) == [
        "--no-pivot", "--preserve-fds", "2", "--keep",
    ]  # fmt: skip
    assert words(ExecOptions(env=("A=1", "B=2"), additional_gids=(5,), cgroups=("cpu:x",))) == [
        "--env", "A=1", "--env", "B=2", "--additional-gids", "5", "--cgroup", "cpu:x",
    ]  # fmt: skip
    assert words(Limits(memory=-1, cpu_idle=0)) == ["--memory", "-1", "--cpu-idle", "0"]
    assert words(GlobalOptions(root="/r", systemd_cgroup=True)) == [
        "--root", "/r", "--systemd-cgroup",
    ]  # fmt: skip
    assert words(CheckpointOptions(status_fd=0, empty_ns=("network",))) == [
        "--empty-ns", "network", "--status-fd", "0",
    ]  # fmt: skip
    assert words(RestoreOptions(lsm_profile="x:y")) == ["--lsm-profile", "x:y"]


def test_a_log_is_read_whatever_is_in_it() -> None:
    log = parse(
        b'{"level":"warning","msg":"hm","time":"t"}\n\nnot json\n[1]\n{"msg":1}\n'
        b'{"level":"error","msg":"first"}\n{"level":"error","msg":"last"}\n\xff\n'
    )
    assert log[0] == LogEntry("warning", "hm", "t")
    assert [entry.level for entry in log[1:4]] == ["unknown"] * 3
    assert last_error(log) == "last"
    assert last_error(log[:1]) == ""


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("container does not exist", NotFound),
        ("container with given ID already exists", AlreadyExists),
        ("cannot start a container that has stopped", WrongState),
        ("unknown command events", Unsupported),
        ("it is Tuesday", RuntimeFailed),
        ("", RuntimeFailed),
    ],
)
def test_words_become_errors(said: str, kind: type[MobyshellError]) -> None:
    error = failure("runx", "create", 9, [LogEntry("error", said)], b"")
    assert type(error) is kind
    assert str(error).startswith("runx create: ")
    assert type(failure("runx", "create", 9, [], said.encode())) is kind


def test_answers_that_are_none() -> None:
    bad: Any
    for bad in ([], {"id": 1}, {"id": "a", "pid": "x"}, {"annotations": {"a": 1}}, "x"):
        with pytest.raises(MobyshellError):
            values.state(bad)
    for bad in ({}, ["1"], [True]):
        with pytest.raises(MobyshellError):
            values.pids(bad)
    with pytest.raises(MobyshellError):
        values.version("hello")
    assert values.states(None) == ()


def test_a_runtime_that_is_not_there() -> None:
    with pytest.raises(Unsupported, match="no runtime 'nosuch-runtime'"):
        Runc("nosuch-runtime").version()
    with pytest.raises(Unsupported, match="no runtime at /nosuch/runtime"):
        Runc("/nosuch/runtime").list()


def test_a_runtime_that_hangs_or_talks_nonsense(tmp_path: Path) -> None:
    program = tmp_path / "strange"
    program.write_text("#!/bin/sh\ncase $5 in state) echo '{';; list) sleep 1000;; esac\n")
    program.chmod(0o755)
    with pytest.raises(MobyshellError, match="no JSON"):
        Runc(str(program)).state("one")
    with pytest.raises(TimedOut):
        Runc(str(program), timeout=0.3).list()
    with pytest.raises(MobyshellError, match="no pid file"):
        Runc(str(program)).create("one", "/")


def test_a_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    with pytest.raises(MobyshellError):
        read_pid_file(str(path))
    path.write_text("12")
    assert read_pid_file(str(path)) == 12
    path.write_text("x")
    with pytest.raises(MobyshellError):
        read_pid_file(str(path))


def _send(path: str, *fds: int) -> None:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(path)
        peer.sendmsg([b"name"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


@pytest.mark.parametrize("deep", [False, True])
def test_a_console_socket_takes_a_terminal(tmp_path: Path, deep: bool) -> None:
    directory = tmp_path
    if deep:  # deeper than an address is long
        directory = tmp_path / ("d" * 120) / "e"
        directory.mkdir(parents=True)
    master, slave = pty.openpty()
    with ConsoleSocket(str(directory)) as console:
        assert stat.S_IMODE(next(directory.glob("console-*.sock")).stat().st_mode) == 0o600
        _send(console.path, master)
        received = console.receive()
    assert os.isatty(received)
    assert list(directory.iterdir()) == []
    for fd in (master, slave, received):
        os.close(fd)


def test_a_console_socket_refuses_anything_else() -> None:
    with ConsoleSocket() as console:
        directory = Path(console.path).parent
        with open("/dev/null", "rb") as null:
            _send(console.path, null.fileno())
            with pytest.raises(MobyshellError, match="no terminal"):
                console.receive()
        with pytest.raises(TimedOut):
            console.receive(0.05)
    assert not directory.exists()
