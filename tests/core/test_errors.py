"""The tree of errors: exit codes, wording, and the way across a socket."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from mobyshell.core import errors
from mobyshell.core.errors import ExitCode, MobyshellError, SyscallFailed, from_wire

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MobyshellError)
]


def example(kind: type[MobyshellError]) -> MobyshellError:
    if kind is SyscallFailed:
        return SyscallFailed("mount", errno.EPERM, path="/proc", what="mount proc", hint="be root")
    return kind("it broke", hint="mend it")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_crosses_the_wire_as_itself(kind: type[MobyshellError]) -> None:
    error = example(kind)
    arrived = from_wire(json.loads(json.dumps(error.to_wire())))
    assert type(arrived) is kind
    assert vars(arrived) == vars(error)
    assert str(arrived) == str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_in_the_tree_of_the_docstring(kind: type[MobyshellError]) -> None:
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if f"{kind.__name__} " in line)
    assert int(next(word for word in line.split() if word.isdigit())) == kind.exit_code


def test_an_unknown_kind_from_a_newer_shim_is_still_an_error() -> None:
    arrived = from_wire({"kind": "FromTheFuture", "message": "later", "detail": 1})
    assert type(arrived) is MobyshellError
    assert arrived.exit_code is ExitCode.FAILED


def test_hostile_attribute_names_are_not_set() -> None:
    arrived = from_wire({"kind": "NotFound", "message": "x", "__class__": "y", "a b": 1})
    assert vars(arrived) == {"message": "x", "hint": ""}


def test_syscall_failed_names_call_path_and_reason() -> None:
    error = example(SyscallFailed)
    assert isinstance(error, SyscallFailed)
    assert str(error) == "mount proc: mount /proc: Operation not permitted"
    assert error.errno_name == "EPERM"


def test_an_oserror_becomes_a_syscall_failure_with_its_file() -> None:
    with pytest.raises(FileNotFoundError) as caught:
        Path("/nonexistent/file").read_text()
    error = SyscallFailed.of(caught.value, "openat")
    assert (error.errno, error.path) == (errno.ENOENT, "/nonexistent/file")
