"""Counting memory: pages that are touched are counted, once; and both engines leave nothing."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

import pytest

from mobyshell.bench.memory import frames_of, measure, measure_memory
from mobyshell.bench.places import processes

pytestmark = pytest.mark.root
PAGES = 500


def test_pages_are_counted_once_that_two_processes_map() -> None:
    before = len(frames_of(os.getpid()))
    with mmap.mmap(-1, PAGES * mmap.PAGESIZE) as shared:
        for page in range(PAGES):
            shared[page * mmap.PAGESIZE] = 1
        assert len(frames_of(os.getpid())) >= before + PAGES * 0.9
    program = (
        "import mmap, os, sys\n"
        f"with mmap.mmap(-1, {PAGES} * mmap.PAGESIZE) as shared:\n"
        f"    for page in range({PAGES}): shared[page * mmap.PAGESIZE] = 1\n"
        "    child = os.fork()\n"
        "    sum(shared[0::mmap.PAGESIZE])\n"
        "    if child: print(os.getpid(), child, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        alone, both = measure(pids[:1]), measure(pids)
        process.communicate()
    assert both.frames - alone.frames < PAGES * mmap.PAGESIZE
    assert both.pss > alone.pss + PAGES * mmap.PAGESIZE * 0.4


def test_who_has_ended_has_nothing_resident() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert measure([process.pid]).frames == 0


@pytest.mark.peer
def test_both_engines_are_measured_and_gone() -> None:
    bench = measure_memory(2, lambda text: None)
    assert not bench.missing
    assert len(bench.found) == 12
    assert all(one.ratio is not None for one in bench.found)
    assert not processes(f"mobyshell-bench-{os.getpid()}-")
