"""Who embeds the library: containers of this very process, of which nothing stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.bench.embedded import executing, living
from mobyshell.bench.workshop import workshop
from mobyshell.core.errors import MobyshellError

pytestmark = pytest.mark.root


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_it_makes_containers_and_executes_in_them_and_nothing_stays() -> None:
    before = _children()
    with workshop() as shop:
        with living(shop, shop.with_args("true", "/bin/true")) as live:
            for _ in range(3):
                live()
        idle = shop.with_args("idle", "/bin/sleep", "100000")
        with executing(shop, idle, ["/bin/true"]) as execute:
            for _ in range(3):
                execute()
        kept = [one for one in os.listdir(shop.directory / "embedded") if one[0] != "."]
    assert (_children(), kept) == (before, [])


def test_what_fails_is_not_counted() -> None:
    with workshop() as shop:
        with (
            living(shop, shop.with_args("false", "/bin/false")) as live,
            pytest.raises(MobyshellError),
        ):
            live()
        idle = shop.with_args("idle", "/bin/sleep", "100000")
        with (
            executing(shop, idle, ["/bin/false"]) as execute,
            pytest.raises(MobyshellError),
        ):
            execute()
