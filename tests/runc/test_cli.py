"""The command line: what is read how, and what is said and answered when it cannot be."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.runc.events import duration
from mobyshell.runc.flags import BOOL, LIST, NUMBER, TEXT, FlagError, parse
from mobyshell.runc.kill import parse_signal
from mobyshell.runc.table import COMMANDS
from mobyshell.runc.update import _size
from mobyshell.runc.words import said
from tests.runc.conftest import Machine, message

KINDS = {"force": BOOL, "bundle": TEXT, "env": LIST, "count": NUMBER}
SHORT = {"f": "force", "b": "bundle", "e": "env"}


def test_flags_are_read_as_go_reads_them() -> None:
    words = ["-force", "--bundle=b", "-e", "A=1", "--env", "B=2", "--count=0x10", "id", "rest"]
    flags = parse(KINDS, SHORT, words, anywhere=False)
    assert flags.on("force")
    assert flags.text("bundle") == "b"
    assert flags.list("env") == ["A=1", "B=2"]
    assert flags.number("count") == 16
    assert flags.words == ["id", "rest"]


def test_flags_behind_arguments_where_the_command_takes_them() -> None:
    assert parse(KINDS, SHORT, ["id", "-f"], anywhere=True).on("force")
    assert parse(KINDS, SHORT, ["id", "-f"], anywhere=False).words == ["id", "-f"]
    assert parse(KINDS, SHORT, ["id", "-9"], anywhere=True).words == ["id", "-9"]
    assert parse(KINDS, SHORT, ["id", "--", "-f"], anywhere=True).words == ["id", "-f"]
    assert parse(KINDS, SHORT, ["--", "-f"], anywhere=False).words == ["-f"]


def test_booleans_take_values_only_behind_an_equals_sign() -> None:
    assert not parse(KINDS, SHORT, ["--force=false", "x"], anywhere=True).on("force")
    assert parse(KINDS, SHORT, ["--force", "false"], anywhere=True).words == ["false"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bogus"], "flag provided but not defined: -bogus"),
        (["-b"], "flag needs an argument: -b"),
        (["--count", "x"], 'invalid value "x" for flag -count: parse error'),
        (["--force=maybe"], 'invalid boolean value "maybe" for -force: parse error'),
    ],
)
def test_what_cannot_be_read(words: list[str], said: str) -> None:
    with pytest.raises(FlagError) as caught:
        parse(KINDS, SHORT, words, anywhere=True)
    assert str(caught.value) == said


def test_signals_by_any_name() -> None:
    assert [parse_signal(word) for word in ("9", "KILL", "sigkill", "SIGKILL")] == [9] * 4
    assert parse_signal("rtmin") == 34


def test_sizes_and_durations() -> None:
    assert [_size("memory", word) for word in ("64M", "1g", "10", "1.5k", "2MiB", "-1")] == [
        64 << 20, 1 << 30, 10, 1536, 2 << 20, -1,
    ]  # fmt: skip
    assert [duration(word) for word in ("5s", "1m30s", "200ms", "0")] == [5, 90, 0.2, 0]


def test_every_command_has_help(ours: Machine) -> None:
    assert {name for name in COMMANDS if f"\n   {name}" not in ours.ok("--help")} == set()
    said = ours.ok("checkpoint", "--help")
    assert "--image-path value" in said
    assert ours.ok("help", "kill") == ours.ok("kill", "-h")


def test_version_has_the_lines_that_callers_split(ours: Machine) -> None:
    lines = ours.ok("--version").splitlines()
    assert lines[0].startswith("runc version 1.3.0")
    assert lines[1].startswith("commit: ")
    assert lines[2] == "spec: 1.2.0"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["bogus"], 3, "No help topic for 'bogus'\n"),
        (["create"], 1, 'mobyshell-runc: "create" requires exactly 1 argument(s)'),
        (["kill"], 1, 'mobyshell-runc: "kill" requires a minimum of 1 argument(s)'),
        (["kill", "a", "b", "c"], 1, 'mobyshell-runc: "kill" requires a maximum of 2 argument(s)'),
        (["list", "--bogus"], 1, "flag provided but not defined: -bogus"),
        (["--bogus", "list"], 1, "flag provided but not defined: -bogus"),
        (["--log-format", "xml", "list"], 1, "invalid log-format: xml"),
        (["create", "../x"], 1, "runc create failed: invalid container ID format"),
        (["exec"], 1, 'mobyshell-runc: "exec" requires a minimum of 1 argument(s)'),
        (["exec", "nosuch", "true"], 255, "exec failed: container does not exist"),
        *(
            ([verb, "nosuch"], 1, "container does not exist")
            for verb in ("state", "start", "kill", "delete", "pause", "resume", "ps", "events",
                         "update", "checkpoint")
        ),
    ],
)  # fmt: skip
def test_errors(ours: Machine, words: list[str], status: int, said: str) -> None:
    assert ours.fails(*words, status=status) == said


def test_deleting_by_force_what_is_not_there_is_fine(ours: Machine) -> None:
    assert ours.ok("delete", "nosuch", "--force") == ""


def test_without_a_bundle(ours: Machine) -> None:
    (ours.bundle / "config.json").unlink()
    assert ours.fails("create", "c").startswith(
        "runc create failed: JSON specification file config.json not found"
    )


def test_the_log_is_a_stream_of_objects_and_stderr_the_bare_message(
    ours: Machine, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    for _ in range(2):
        done = ours.call("--log", str(log), "--log-format=json", "state", "nosuch")
        assert (done.returncode, done.stderr) == (1, "container does not exist\n")
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(one["level"], one["msg"]) for one in entries] == [
        ("error", "container does not exist")
    ] * 2
    assert "T" in entries[0]["time"]
    done = ours.call("--log", str(log), "state", "nosuch")
    assert message(log.read_text()) == "container does not exist"


def test_spec_writes_a_config_and_never_over_one(ours: Machine, tmp_path: Path) -> None:
    place = tmp_path / "new"
    place.mkdir()
    ours.ok("spec", "--bundle", str(place))
    document = json.loads((place / "config.json").read_text())
    assert document["process"]["args"] == ["sh"]
    assert "config.json exists" in ours.fails("spec", "-b", str(place))
    (place / "config.json").unlink()
    ours.ok("spec", "--rootless", "-b", str(place))
    assert json.loads((place / "config.json").read_text())["linux"]["uidMappings"]


def test_features(ours: Machine) -> None:
    found = json.loads(ours.ok("features"))
    assert found["ociVersionMin"] == "1.0.0"
    assert len(found["hooks"]) == 6
    assert {
        "ro",
        "rbind",
        "rslave",
        "rro",
        "remount",
        "idmap",
        "tmpcopyup",
        "sync",
        "iversion",
    } <= set(found["mountOptions"])
    assert found["linux"]["mountExtensions"] == {"idmap": {"enabled": True}}
    assert "CAP_CHECKPOINT_RESTORE" in found["linux"]["capabilities"]
    assert found["linux"]["seccomp"]["enabled"] is True
    assert found["linux"]["intelRdt"] == {"enabled": True, "schemata": True, "monitoring": True}
    assert "MPOL_WEIGHTED_INTERLEAVE" in found["linux"]["memoryPolicy"]["modes"]
    assert found["linux"]["netDevices"] == {"enabled": True}
    told = found["annotations"]
    assert told["org.opencontainers.runc.checkpoint.enabled"] == "true"
    assert told["io.github.seccomp.libseccomp.version"].count(".") == 2


def test_an_empty_list_as_go_writes_it(ours: Machine) -> None:
    assert "no such file or directory" in ours.fails("list")
    ours.root.mkdir()
    assert ours.ok("list", "-f", "json") == "null\n"
    assert ours.ok("list").split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert ours.ok("list", "-q") == ""
    assert ours.fails("list", "--format", "xml") == "invalid format option"


def test_a_limit_that_the_kernel_refuses_is_told_with_its_reason() -> None:
    """podman and docker show this line, and nothing else."""
    busy = SyscallFailed("write", errno.EBUSY, path="/x", what="a = 1", hint="it is in use")
    assert said(busy, "update").endswith("Device or resource busy (it is in use)")
