"""Cgroups that are made beside the child: it enters them before they can be seen, and waits if it must."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import CallDone
from mobyshell.core.linux import procfs
from mobyshell.core.linux.syscalls import number
from mobyshell.core.oci import default_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Host, Runtime
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.operations.cgroups import wait_until_made
from mobyshell.core.runtime.plan import Actor, Phase, Plan
from mobyshell.core.runtime.planner import make_plan
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House, cgroups_left

TOP = "/sys/fs/cgroup"
HYBRID = Host(
    cgroup_mode="hybrid", cgroup_own={"": f"{TOP}/unified", "memory": f"{TOP}/memory"},
    cgroup_roots={"": f"{TOP}/unified", "memory": f"{TOP}/memory"},
)  # fmt: skip
V2 = Host(cgroup_mode="v2", cgroup_own={"": TOP}, cgroup_roots={"": TOP}, cgroup_usable=TOP)
WAIT = wait_until_made().title


def plan(host: Host, *mounts: dict[str, Any], user: bool = False) -> Plan:
    document = spec_to_json(default_spec(rootless=user, uid=1000, gid=1000))
    document["mounts"] = [{"destination": "/proc", "type": "proc", "source": "proc"}, *mounts]
    return make_plan(parse_spec(json.dumps(document)), bundle="/b", id="c", host=host)


def entered(made: Plan) -> list[str]:
    """What the child does from the wait on, up to the first mount after it."""
    titles = [one.title for _, one in made.of(Actor.CHILD, Phase.SETUP)]
    return titles[titles.index(WAIT) - 1 : titles.index(WAIT) + 4]


def test_they_are_entered_right_before_a_mount_that_may_show_them() -> None:
    bind = {"source": f"{TOP}/memory/x/../c", "options": ["bind"]}
    shown = {"type": "cgroup", "source": "cgroup"}
    other = {"destination": "/other", "source": "/sys/fs/other", "options": ["bind"]}
    for there, what in (("/there", bind), ("/sys/fs/cgroup", shown)):
        one = {"destination": there, **what}
        before, wait, join, affinity, mount = entered(plan(HYBRID, other, one))
        assert "/other" in before
        assert (wait, join) == (WAIT, "move into the memory cgroup")
        assert "CPU" in affinity
        assert there in mount
    assert "/other" in entered(plan(HYBRID, other))[0]


def test_what_the_child_is_born_in_is_there_before_it() -> None:
    made = plan(HYBRID)
    assert next(one.title for _, one in made.of(Actor.PARENT, Phase.BESIDE)).startswith(
        "make the memory cgroup"
    )
    assert any("v2 cgroup" in one.title for _, one in made.of(Actor.PARENT, Phase.PREPARE))
    for alone in (plan(V2), plan(HYBRID, user=True)):
        assert alone.of(Actor.PARENT, Phase.BESIDE) == ()
        assert WAIT not in [one.title for one in alone.operations]


class Late:
    """An executor that makes cgroups beside a child only once the child waits for them."""

    long = False

    def __init__(self, executor: Executor) -> None:
        self._executor, self.child = executor, 0

    def run(self, program: Program) -> int | None:
        if self.child:
            until_it_waits(self.child, long=self.long)
        return self._executor.run(program)

    def spawn(self, program: Program, **how: Any) -> Spawned:
        child = self._executor.spawn(program, **how)
        self.child = child.pid
        return child


def until_it_waits(pid: int, *, long: bool = False) -> None:
    """For its cgroups, or so long that it has said so, and waits for an answer."""
    answer = [str(number("read")), "0x3"]
    look = [str(number("nanosleep"))]
    deadline = time.monotonic() + 60
    while True:
        now = Path(f"/proc/{pid}/syscall").read_text().split()
        if now[:2] == answer or (now[:1] == look and not long):
            return
        assert time.monotonic() < deadline
        time.sleep(0 if not long else 0.001)


@pytest.fixture
def late(house: House) -> House:
    if Host.detect().cgroup_mode == "v2":
        pytest.skip("on cgroup v2 alone a child is born in all it has")
    runtime = Runtime(
        house.runtime.root, executor=Late(house.runtime.executor), sink=house.runtime.sink
    )
    return replace(house, runtime=runtime)


@pytest.mark.root
@pytest.mark.parametrize("long", [False, True])
def test_a_child_that_is_early_waits(late: House, long: bool) -> None:
    late.runtime.executor.long = long  # type: ignore[attr-defined]
    container = late.create("c", late.spec(None, "cat", "/proc/self/cgroup"))
    waited = [one for one in late.events if isinstance(one, CallDone) and one.title == WAIT]
    said = [(one.name, one.errno) for one in waited]
    assert said[:2] == [("futex", ""), ("nanosleep", "")]
    if long:
        assert said[-3:] == [("futex", ""), ("write", ""), ("read", "")]
    places = Path(f"/proc/{container.pid}/cgroup").read_text()
    state = late.runtime.state("c")[0]
    for group in set(state.cgroups.values()):
        assert any(group.endswith(line.split(":", 2)[2]) for line in places.splitlines()), group
    run(late.runtime.start("c"))
    assert late.finish(container).status == 0
    assert cgroups_left(late.runtime.root) == []


@pytest.mark.root
def test_what_cannot_be_made_beside_it_is_its_end(late: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"]["cpu"] = {"cpus": "4000"}

    with pytest.raises(MobyshellError, match=r"cpuset\.cpus.*linux\.resources\.cpu\.cpus"):
        late.create("c", late.spec(change, "true"))
    assert cgroups_left(late.runtime.root) == []
    assert os.listdir(late.runtime.root) == []
    executor = late.runtime.executor
    assert isinstance(executor, Late)
    assert not os.path.exists(f"/proc/{executor.child}")


CREATE = """
import os, signal, sys
from pathlib import Path
from mobyshell.core.oci import parse_spec
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.steps import run
from tests.core.runtime.test_entering import Late, until_it_waits

class Never(Late):
    def run(self, program):
        if self.child:
            until_it_waits(self.child, long=True)
            print(self.child, flush=True)
            signal.pause()
        return super().run(program)

null = os.open("/dev/null", os.O_RDWR)
runtime = Runtime(Path(sys.argv[1]))
runtime._executor = Never(runtime.executor)
run(runtime.create("c", sys.argv[2], stdio=Stdio(null, null, null), spec=parse_spec(sys.stdin.read())))
"""


@pytest.mark.root
def test_a_child_whose_creator_is_killed_does_not_wait_for_ever(late: House) -> None:
    spec = json.dumps(spec_to_json(late.spec(None, "true")))
    creator = subprocess.Popen(
        [sys.executable, "-c", CREATE, str(late.runtime.root), str(late.bundle)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(one for one in sys.path if one)},
    )  # fmt: skip
    assert creator.stdin is not None
    assert creator.stdout is not None
    creator.stdin.write(spec)
    creator.stdin.close()
    pid = int(creator.stdout.readline())
    start = procfs.start_time(pid)
    creator.send_signal(signal.SIGKILL)
    creator.wait()
    creator.stdout.close()
    deadline = time.monotonic() + 60
    while procfs.alive(pid, start):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert late.runtime.list() == []
    assert cgroups_left(late.runtime.root) == []
