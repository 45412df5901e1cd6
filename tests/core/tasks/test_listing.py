"""Listing tasks: in the order people count, of what is damaged too, and with little imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.listing import list_fields, natural, read_document


def record(state: Path, id: str, **members: object) -> None:
    directory = state / "default" / id / "task"
    directory.mkdir(parents=True)
    document = {"id": id, "pid": 1, "exit_status": 0, **members}
    (directory / "process.json").write_text(json.dumps(document))


def test_ids_are_listed_as_people_count(tmp_path: Path) -> None:
    for id in ("task10", "task2", "task1", "b", "task2a", "10", "9", "task02"):
        record(tmp_path, id)
    wanted = ["9", "10", "b", "task1", "task02", "task2", "task2a", "task10"]
    assert [one["id"] for one in list_fields(str(tmp_path), "default")] == wanted
    with TaskClient(tmp_path) as client:
        assert [one.id for one in client.ls()] == wanted


@given(st.lists(st.text(alphabet="ab019-_.é", max_size=6), max_size=8))
def test_the_order_is_one(words: list[str]) -> None:
    ordered = sorted(words, key=natural)
    backwards = words[::-1]
    assert sorted(backwards, key=natural) == ordered
    numbers = [word for word in ordered if word.isascii() and word.isdecimal()]
    assert [int(word) for word in numbers] == sorted(int(word) for word in numbers)


@pytest.mark.parametrize("form", ["sha256:{}", "{}", "sha256:{} (native)", "{:.12}…"])
def test_digests_are_texts(form: str) -> None:
    digests = [sha256(bytes([number])).hexdigest() for number in range(100)]
    texts = [form.format(one) for one in digests]
    assert sorted(texts, key=natural) == sorted(texts)


def test_what_only_looks_like_a_digest_is_counted() -> None:
    for words in (["202611300315", "1202611300315"], ["host:9", "host:10"],
                  ["abcdef123456x9", "abcdef123456x10"], ["feed9", "feed10"]):  # fmt: skip
        assert sorted([*reversed(words)], key=natural) == words


def test_a_number_of_thousands_of_digits_has_its_place() -> None:
    assert natural("a" + "9" * 10_000) < natural("a1" + "0" * 10_000)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", '{"id": 5}', '{"id": "x", "pid": "1"}', '{"id": "x", "args": [1]}',
     '{"id": "x", "args": 7}', '{"id": "x", "exit_status": "0"}', "[" * 100_000, "\udc80",
     '{"id": "x", "created_ns": null}'],
)  # fmt: skip
def test_what_is_damaged_is_an_error_and_still_listed(tmp_path: Path, text: str) -> None:
    directory = tmp_path / "default" / "x" / "task"
    directory.mkdir(parents=True)
    (directory / "process.json").write_bytes(os.fsencode(text))
    with pytest.raises(MobyshellError, match="is damaged") as caught:
        read_document(str(directory))
    assert str(caught.value).isprintable()
    (row,) = list_fields(str(tmp_path), "default")
    assert (row["id"], row["status"], row["exit_status"]) == ("x", "stopped", -1)


_MODULES = """
import os, sys
before = set(sys.modules)
from mobyshell.commands.cli import run
code = run(["task", "ls"])
print(code, *sorted(set(sys.modules) - before))
"""


def test_what_lists_tasks_imports_little(tmp_path: Path) -> None:
    record(tmp_path, "x", exit_status=None, pid_start=5)
    environment = {**os.environ, "MOBYSHELL_STATE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-I", "-c", _MODULES],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    code, *modules = done.stdout.split()
    assert code == "0", done.stderr
    heavy = {"typing", "dataclasses", "inspect", "subprocess", "shutil", "yaml", "socket",
             "threading", "mobyshell.core.oci", "mobyshell.core.runtime",
             "mobyshell.core.tasks.client", "mobyshell.commands.task_looks"}  # fmt: skip
    assert heavy.isdisjoint(modules)
