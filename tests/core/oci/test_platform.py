"""Platforms: their text, their other names, and what a machine can run (containerd's rules)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import UsageError
from mobyshell.core.oci.platform import (
    Platform,
    host_platform,
    matcher,
    normalise,
    parse_platform,
)

HERE = host_platform()


@pytest.mark.parametrize(
    ("word", "formatted", "normal"),
    [
        ("linux/amd64", "linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64", "linux/amd64"),
        ("linux/amd64/v2", "linux/amd64/v2", "linux/amd64/v2"),
        ("linux/arm64", "linux/arm64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64/v8", "linux/arm64"),
        ("linux/aarch64", "linux/arm64", "linux/arm64"),
        ("linux/arm64/9", "linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6", "linux/arm/v6"),
        ("linux/i386", "linux/386", "linux/386"),
        ("linux/riscv64", "linux/riscv64", "linux/riscv64"),
        ("linux/unheard-of/v12", "linux/unheard-of/v12", "linux/unheard-of/v12"),
        ("macos/arm64", "darwin/arm64", "darwin/arm64"),
        ("windows(10.0.17763)/amd64", "windows/amd64", "windows/amd64"),
        ("arm64", "linux/arm64", "linux/arm64"),
        ("s390x", "linux/s390x", "linux/s390x"),
        ("armel", "linux/arm/v6", "linux/arm/v6"),
        ("linux", str(HERE), str(normalise(HERE))),
    ],
)
def test_text(word: str, formatted: str, normal: str) -> None:
    found = parse_platform(word)
    assert str(found) == formatted
    assert str(normalise(found)) == normal
    assert normalise(normalise(found)) == normalise(found)


@pytest.mark.parametrize(
    "word",
    ["", "/", "linux/", "/amd64", "linux//v7", "linux/amd64/v1/x", "*", "linux/*", "unheard-of", "a b",
     "linux/amd64\n", "linux(/amd64", "linux/a\0", "é/amd64", "a" * 65, "linux/" + "a" * 65],
)  # fmt: skip
def test_what_is_none(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_platform(word)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("machine", "platform"),
    [
        ("x86_64", "linux/amd64"), ("aarch64", "linux/arm64"), ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"), ("i686", "linux/386"), ("ppc64le", "linux/ppc64le"),
        ("loongarch64", "linux/loong64"),
    ],
)  # fmt: skip
def test_machines(machine: str, platform: str) -> None:
    assert str(host_platform(machine)) == platform


@pytest.mark.parametrize(
    ("machine", "runs", "not_these"),
    [
        ("amd64", ["amd64", "386"], ["amd64/v2", "arm64"]),
        ("amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"], ["amd64/v4"]),
        ("arm/v7", ["arm/v7", "arm/v6", "arm/v5"], ["arm/v8", "arm64"]),
        ("arm/v5", ["arm/v5"], ["arm/v6"]),
        ("arm64", ["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"], ["arm64/v8.1", "arm64/v9"]),
        ("arm64/v8.1", ["arm64/v8.1", "arm64", "arm/v8"], ["arm64/v8.2"]),
        (
            "arm64/v9",
            ["arm64/v9", "arm64/v8.5", "arm64/v8.1", "arm64/v8", "arm/v8"],
            ["arm64/v8.6"],
        ),
        ("arm64/v9.6", ["arm64/v9.6", "arm64/v9", "arm64/v8.9", "arm64"], ["arm64/v9.7"]),
        ("arm64/v12", ["arm64/v12"], ["arm64/v8", "arm/v7"]),
        ("riscv64", ["riscv64"], ["amd64"]),
    ],
)
def test_a_machine_runs_its_own_best(machine: str, runs: list[str], not_these: list[str]) -> None:
    one = matcher(parse_platform(f"linux/{machine}"))
    ranks = [one.rank(parse_platform(f"linux/{word}")) for word in runs]
    assert None not in ranks
    assert ranks == sorted(set(ranks), key=lambda rank: rank or 0)
    assert ranks[0] == 0
    for word in not_these:
        assert not one.matches(parse_platform(f"linux/{word}"))
    assert not one.matches(parse_platform(f"windows/{machine}"))
    strict = matcher(parse_platform(f"linux/{machine}"), strict=True)
    assert [strict.matches(parse_platform(f"linux/{word}")) for word in runs] == [
        True, *itertools.repeat(False, len(runs) - 1)
    ]  # fmt: skip


def test_windows_runs_its_own_build() -> None:
    one = matcher(parse_platform("windows(10.0.17763.1)/amd64"))
    assert one.matches(Platform(os="windows", architecture="amd64", os_version="10.0.17763.9"))
    assert not one.matches(Platform(os="windows", architecture="amd64", os_version="10.0.20348.1"))
    wants = Platform(os="linux", architecture="amd64", os_features=("gpu",))
    assert not matcher(parse_platform("linux/amd64")).matches(wants)


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=8))
def test_a_stranger_may_write_anything(name: str, architecture: str, variant: str) -> None:
    one = Platform(os=name, architecture=architecture, variant=variant)
    normal = normalise(one)
    assert normalise(normal) == normal
    assert matcher(one).rank(one) == 0
    matcher().rank(one)
