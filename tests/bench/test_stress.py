"""Stress: what goes well is counted, what is left is found, and Ctrl-C leaves nothing either."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mobyshell.bench import stress_hand
from mobyshell.bench.crew import ALL, Hand
from mobyshell.bench.leaks import leaks
from mobyshell.bench.places import processes
from mobyshell.bench.stress import stress
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups
from mobyshell.core.store.store import Store
from tests.conftest import PROGRAM

pytestmark = pytest.mark.root


def silent(text: object) -> None:
    pass


@pytest.fixture(autouse=True)
def in_a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_containers_come_and_go_and_nothing_is_left(tmp_path: Path) -> None:
    verdict = stress(1.5, 2, silent)
    assert verdict.sound, (verdict.failures, verdict.leaks)
    assert not verdict.interrupted
    by_name = {one.operation: one for one in verdict.lines}
    assert by_name[ALL].count >= 2
    assert by_name[ALL].rate
    assert by_name["create"].count >= by_name[ALL].count
    assert os.listdir(tmp_path) == []


@pytest.mark.peer
def test_images_that_come_from_a_registry_go_again(tmp_path: Path) -> None:
    verdict = stress(1.5, 2, silent, pull=True)
    assert verdict.sound, (verdict.failures, verdict.leaks)
    by_name = {one.operation: one for one in verdict.lines}
    assert by_name["pull"].count >= by_name["remove image"].count >= 2
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_with_all_checks(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [PROGRAM, "bench", "stress", "--for", "1h", "-c", "2", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert process.stderr.readline() == "2 workers, 3600 s\n"
        deadline = time.monotonic() + 60
        while not any(
            (tmp_path / place / "state" / "stress").exists() for place in os.listdir(tmp_path)
        ):
            assert time.monotonic() < deadline  # containers come and go
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    assert "nothing was left" in err
    assert all(json.loads(line)["kind"] == "operation" for line in out.splitlines())
    assert os.listdir(tmp_path) == []
    assert not processes(str(tmp_path))


def test_every_kind_of_leak_is_found(tmp_path: Path) -> None:
    root, state = tmp_path / "root", tmp_path / "state"
    prefix = f"leak{os.getpid()}"
    assert list(leaks(tmp_path, root, state, "stress", prefix, 0)) == []
    with (
        Store.open(root) as store,
        store.namespace("stress").content.writer("left") as writer,
    ):  # without a lease: it stays for a while
        writer.write(b"left")
        writer.commit()
    (state / "stress" / "left").mkdir(parents=True)
    group = Path(cgroups.detect().own["pids"]) / f"{prefix}c1"
    group.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", "print(); input()", str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as p:  # fmt: skip
        try:
            assert p.stdout is not None
            p.stdout.readline()  # before, its command line may not be there yet
            found = list(leaks(tmp_path, root, state, "stress", prefix, 0))
        finally:
            p.communicate("\n")
            group.rmdir()
    assert any(f"process {p.pid} " in one for one in found)
    assert any(str(group) in one for one in found)
    assert any("stress/left is there" in one for one in found)
    assert any(one.startswith("store: blob sha256:") for one in found)
    assert len(found) == 4


def test_a_failure_is_counted_by_its_reason_and_the_next_life_begins_clean() -> None:
    hand = Hand()

    class Tasks:
        def delete(self, id: str, *, force: bool) -> None:
            raise MobyshellError("no such task")

    class Broken:
        def image(self, name: str) -> object:
            return object()

        def new_container(self, id: str, *options: object) -> None:
            raise MobyshellError(f"container {id} cannot be made")

        def container(self, id: str) -> object:
            raise MobyshellError("no such container")

        @property
        def tenant(self) -> Broken:
            return self

        tasks = Tasks()

    job = {"prefix": "p", "image": "i:1", "pull": False, "tag": ""}
    stresser = stress_hand.Stresser(Broken(), hand, job)  # type: ignore[arg-type]
    for number in range(3):
        stresser.life(number)
    assert hand.errors == {("create", "container ID cannot be made"): 3}
    assert ALL not in hand.times
