"""What the kernel refuses of a process is told with its reason, on the line that callers read."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.runc.conftest import Machine

Document = dict[str, Any]
DEADLINE = {"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1000000, "period": 1000000}


def test_a_deadline_on_some_of_the_cpus(ours: Machine) -> None:
    def change(document: Document) -> None:
        document["linux"]["resources"].update(cpu={"cpus": "0"})
        document["process"]["scheduler"] = DEADLINE

    ours.spec("true", change=change)
    done = ours.call("run", "c")
    # where the first CPU is the only one, it is all of them
    alone = done.returncode == 0 and os.cpu_count() == 1
    assert alone or "process scheduler can't be used together with AllowedCPUs" in done.stderr


@pytest.mark.parametrize("path", ["/nowhere.sock", "@nowhere"])
def test_an_agent_that_does_not_listen(ours: Machine, path: str) -> None:
    def change(document: Document) -> None:
        rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [rule],
        }  # fmt: skip

    ours.spec("true", change=change)
    assert "failed to connect with seccomp agent" in ours.fails("run", "c")


def test_a_call_that_no_agent_can_be_asked_about(ours: Machine) -> None:
    def change(document: Document) -> None:
        rule = {"names": ["write"], "action": "SCMP_ACT_NOTIFY"}
        document["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x", "syscalls": [rule],
        }  # fmt: skip

    ours.spec("true", change=change)
    said = "SCMP_ACT_NOTIFY cannot be used for the write syscall"
    assert said in ours.fails("run", "c")


def test_a_file_that_is_no_namespace(ours: Machine) -> None:
    def change(document: Document) -> None:
        document["linux"]["namespaces"][1]["path"] = "/proc/self/ns/uts"

    ours.spec("true", change=change)
    assert "is not the file of a network namespace" in ours.fails("run", "c")


def test_a_parameter_of_the_whole_machine(ours: Machine) -> None:
    ours.spec("true", change=lambda d: d["linux"].update(sysctl={"kernel.panic": "1"}))
    assert 'sysctl "kernel.panic" is not in a separate kernel namespace' in ours.fails("run", "c")
