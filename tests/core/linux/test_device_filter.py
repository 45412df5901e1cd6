"""Device rules as instructions: run by a small interpreter here, and by the kernel on a group of ours."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import cgroups, device_filter
from mobyshell.core.linux.cgroup_limits import DEFAULT_RULES

Rule = Mapping[str, Any]
BITS = {"m": 1, "r": 2, "w": 4}


def interpret(code: bytes, kind: int, asked: int, major: int, minor: int) -> int:
    """Run the few instructions that our programs are made of (Documentation/bpf/standardization)."""
    context = struct.pack("<III", asked << 16 | kind, major, minor)
    registers = [0xDEAD] * 11
    at = steps = 0
    while True:
        steps += 1
        assert steps <= len(code) // 8, "it only goes forward"
        operation, both, offset, signed = struct.unpack_from("<BBhi", code, at * 8)
        to, source, value = both & 15, both >> 4, signed & 0xFFFFFFFF
        at += 1
        match operation:
            case 0x61:
                assert source == 1
                registers[to] = struct.unpack_from("<I", context, offset)[0]
            case 0xBC:
                registers[to] = registers[source] & 0xFFFFFFFF
            case 0x54:
                registers[to] = registers[to] & value & 0xFFFFFFFF
            case 0x74:
                registers[to] = (registers[to] & 0xFFFFFFFF) >> value
            case 0xB7:
                registers[to] = signed
            case 0x16 if registers[to] & 0xFFFFFFFF == value:
                at += offset
            case 0x56 if registers[to] & 0xFFFFFFFF != value:
                at += offset
            case 0x46 if registers[to] & value:
                at += offset
            case 0x05:
                at += offset
            case 0x95:
                return registers[0]
            case 0x16 | 0x56 | 0x46:
                pass
            case _:
                raise AssertionError(f"an instruction nobody makes: {operation:#x}")


def evaluate(rules: list[Rule], kind: str, asked: str, major: int, minor: int) -> bool:
    """The same, as one would say it: for each access the last rule that speaks of it decides."""

    def decided(access: str) -> bool:
        answer = False
        for rule in rules:
            if (
                rule.get("type") in (None, "", "a", kind)
                and rule.get("major") in (None, -1, major)
                and rule.get("minor") in (None, -1, minor)
                and access in (rule.get("access") or "rwm")
            ):
                answer = rule["allow"]
        return answer

    return all(decided(one) for one in asked)


def asks(code: bytes, kind: str, asked: str, major: int, minor: int) -> bool:
    bits = sum(BITS[one] for one in asked)
    return bool(interpret(code, {"b": 1, "c": 2}[kind], bits, major, minor))


_NUMBER = st.sampled_from([0, 1, 2, 5, 136, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
_ACCESS = st.lists(st.sampled_from("rwm"), unique=True, max_size=3).map("".join)
_RULE = st.fixed_dictionaries(
    {"allow": st.booleans()},
    optional={
        "type": st.sampled_from([None, "", "a", "b", "c"]),
        "major": st.one_of(st.none(), st.just(-1), _NUMBER),
        "minor": st.one_of(st.none(), st.just(-1), _NUMBER),
        "access": st.one_of(st.none(), _ACCESS),
    },
)


@settings(max_examples=200, deadline=None)
@given(
    rules=st.lists(_RULE, max_size=8), kind=st.sampled_from("bc"), asked=_ACCESS,
    major=_NUMBER, minor=_NUMBER,
)  # fmt: skip
def test_the_program_says_what_the_rules_say(
    rules: list[Rule], kind: str, asked: str, major: int, minor: int
) -> None:
    code = device_filter.program(rules)
    assert asks(code, kind, asked, major, minor) == evaluate(rules, kind, asked, major, minor)


def test_a_denial_of_one_access_is_not_passed_by_asking_for_two() -> None:
    rules = [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "access": "w"}]
    code = device_filter.program(rules)
    assert [asks(code, "c", asked, 1, 3) for asked in ("r", "w", "rw")] == [True, False, False]
    assert asks(code, "b", "rwm", 8, 0)


def test_nothing_is_planned_that_cannot_be_reached() -> None:
    """The verifier refuses it."""
    last = {"allow": False, "access": "rwm"}
    assert device_filter.program([{"allow": True, "type": "c"}, last]) == device_filter.program(
        [last]
    )


def test_an_access_that_is_not_known_yet_is_refused() -> None:
    code = device_filter.program([{"allow": True, "type": "c", "access": "rwm"}])
    assert interpret(code, 2, 8, 1, 3) == 0


@pytest.fixture
def group() -> Iterator[str]:
    path = f"{cgroups.detect().roots['']}/mobyshell-test-filter-{os.getpid()}"
    os.mkdir(path)
    yield path
    cgroups.remove([path], timeout=60)


_TRY = """
import os, stat, sys
group, node, major, minor = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with open(f"{group}/cgroup.procs", "w") as file:
    file.write("0")
def attempt(what):
    try:
        what()
        return "yes"
    except OSError as error:
        return os.strerror(error.errno)
for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
    print(attempt(lambda: os.close(os.open(node, mode))))
print(attempt(lambda: os.mknod(node + ".new", stat.S_IFCHR | 0o600, os.makedev(major, minor))))
"""


def attempts(group: str, node: Path, major: int, minor: int) -> list[str]:
    """read, write, both, mknod: what a process in the group may."""
    words = [sys.executable, "-I", "-S", "-c", _TRY, group, str(node), str(major), str(minor)]
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
    Path(f"{node}.new").unlink(missing_ok=True)
    return done.stdout.splitlines()


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """/dev/full under another name: nothing else on the machine knows it."""
    path = tmp_path / "full"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))
    return path


NO = "Operation not permitted"


@pytest.mark.root
def test_the_kernel_runs_it_and_takes_another_in_its_place(group: str, node: Path) -> None:
    def attach(*rules: Rule) -> None:
        device_filter.attach(group, device_filter.program(rules))

    assert attempts(group, node, 1, 7) == ["yes"] * 4
    attach({"allow": False})
    assert attempts(group, node, 1, 7) == [NO] * 4
    attach({"allow": True, "type": "c", "major": 1, "access": "rm"})
    assert attempts(group, node, 1, 7) == ["yes", NO, NO, "yes"]
    attach({"allow": True}, {"allow": False, "type": "c", "major": 1, "minor": 7, "access": "w"})
    assert attempts(group, node, 1, 7) == ["yes", NO, NO, "yes"]
    attach(*DEFAULT_RULES)
    assert attempts(group, node, 1, 7) == ["yes"] * 4
    code = device_filter.program(DEFAULT_RULES)
    ((name, tag),) = device_filter.attached(group)
    assert name == "mobyshell_dev"
    assert tag in device_filter.tags(code)


@pytest.mark.root
def test_programs_of_others_stay_and_have_a_say(
    group: str, node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_filter, "NAME", b"somebody_else")
    device_filter.attach(group, device_filter.program([{"allow": True, "access": "r"}]))
    monkeypatch.undo()
    device_filter.attach(group, device_filter.program([{"allow": False}]))
    device_filter.attach(group, device_filter.program([{"allow": True}]))
    assert sorted(name for name, _ in device_filter.attached(group)) == [
        "mobyshell_dev",
        "somebody_else",
    ]
    assert attempts(group, node, 1, 7) == ["yes", NO, NO, NO]


@pytest.mark.root
@settings(max_examples=60, deadline=None)
@given(rules=st.lists(_RULE, max_size=12))
def test_the_verifier_takes_all_that_is_made(rules: list[Rule]) -> None:
    os.close(device_filter.load(device_filter.program(rules)))


@pytest.mark.root
def test_hundreds_of_rules() -> None:
    rules = [
        {
            "allow": index % 2 == 0,
            "type": "bc"[index % 2],
            "major": index,
            "minor": index,
            "access": "rw",
        }
        for index in range(400)
    ]
    os.close(device_filter.load(device_filter.program(rules)))


@pytest.mark.root
def test_what_the_verifier_says_is_in_the_error() -> None:
    never_ends = device_filter.instruction(0xB7, 1)
    with pytest.raises(SyscallFailed, match="load the device filter: bpf") as info:
        device_filter.load(never_ends)
    assert info.value.hint.startswith("the verifier says: ")


@pytest.mark.root
def test_without_privileges_it_is_said_what_is_missing() -> None:
    script = (
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "from mobyshell.core.linux import device_filter\n"
        "try: device_filter.available()\n"
        "except Exception as error: print(type(error).__name__, error, '|', error.hint)"
    )
    # imported before it becomes nobody, who may not enter every directory on the way
    script = "from mobyshell.core.linux import device_filter\n" + script
    done = subprocess.run([sys.executable, "-c", script], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.startswith(
        "SyscallFailed load the device filter: bpf: Operation not permitted |"
    )
    assert "CAP_BPF" in done.stdout
