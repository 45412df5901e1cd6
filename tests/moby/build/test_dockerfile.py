"""Dockerfiles read into stages: what is meant, and what is refused by name."""

from __future__ import annotations

import pytest

from mobyshell.core.errors import InvalidSpec
from mobyshell.moby.build.buildfile import parse_buildfile
from mobyshell.moby.build.dockerfile import parse_dockerfile
from mobyshell.moby.build.steps import Argument, Copy, Programs, Run, Set, Workdir, Write
from mobyshell.moby.build.words import substitute, words

FULL = r"""
# syntax=docker/dockerfile:1
ARG VERSION=3
FROM --platform=linux/amd64 busybox:${VERSION} AS Builder
ARG VERSION
ENV A=1 B="two words" C=$A-${D:-none}
RUN echo one \
    # a comment among continued lines

    && echo $A
RUN ["echo", "$A"]
WORKDIR /src
COPY --chown=1:2 --chmod=755 a b dir/
FROM scratch
COPY --from=builder /src /
ADD x.txt "/a b/"
LABEL org.example.a="x y" b=c
EXPOSE 80 53/udp 8000-8010
VOLUME ["/data"]
USER web
STOPSIGNAL SIGQUIT
SHELL ["/bin/ash", "-ec"]
ENTRYPOINT ["/entry"]
CMD serve --port 80
"""


def test_everything_of_the_subset() -> None:
    builder, final = parse_dockerfile(FULL, {"VERSION": "4"})
    assert (builder.base, builder.name, builder.platform) == ("busybox:4", "builder", "linux/amd64")
    argument, env, run, listed, workdir, copy = builder.steps
    assert isinstance(argument, Argument)
    assert (argument.name, argument.value) == ("VERSION", "4")
    assert isinstance(env, Set)
    assert env.value == {"A": "1", "B": "two words", "C": "-none"}
    assert isinstance(run, Run)
    assert run.args[:2] == ("/bin/sh", "-c")
    assert run.args[2].split() == ["echo", "one", "&&", "echo", "$A"]
    assert isinstance(listed, Run)
    assert listed.args == ("echo", "$A")
    assert isinstance(workdir, Workdir)
    assert isinstance(copy, Copy)
    assert (copy.paths, copy.target, copy.owner, copy.mode) == (("a", "b"), "dir/", "1:2", 0o755)
    told = {one.member: one.value for one in final.steps if isinstance(one, Set)}
    assert told == {
        "labels": {"org.example.a": "x y", "b": "c"},
        "exposed_ports": frozenset({"80/tcp", "53/udp", "8000-8010/tcp"}),
        "volumes": frozenset({"/data"}), "user": "web", "stop_signal": "SIGQUIT",
        "entrypoint": ("/entry",), "cmd": ("/bin/ash", "-ec", "serve --port 80"),
    }  # fmt: skip
    assert [one.source for one in final.steps if isinstance(one, Copy)] == ["builder", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "without FROM"), ("RUN x", "line 1: RUN before FROM"), ("FROM", "no image"),
        ("FROM a b", "after AS"), ("FROM $NOTHING", "no image"),
        ("FROM a\nFETCH x", "line 2: FETCH is no instruction"),
        ("FROM a\nHEALTHCHECK CMD x", "HEALTHCHECK is not supported"),
        ("FROM a\nONBUILD RUN x", "not supported"), ("FROM a\nMAINTAINER x", "not supported"),
        ("FROM a\nRUN --mount=type=secret x", "--mount is not supported"),
        ("FROM a\nRUN <<EOF\nx\nEOF", "here-documents"), ("FROM a\nRUN", "no command"),
        ("FROM a\nRUN []", "no command"), ("FROM a\nCOPY a", "sources and a target"),
        ("FROM a\nCOPY a b c", "let it end in /"), ("FROM a\nCOPY --chmod=9 a b", "no mode"),
        ("FROM a\nADD https://example.com/x /", "does not fetch"), ("FROM a\nEXPOSE http", "no port"),
        ("FROM a\nEXPOSE 99999", "no port"), ("FROM a\nENV", "nothing is set"),
        ("FROM a\nENV X", "no value"), ("FROM a\nLABEL x='", "does not end"),
        ("FROM a\nENV A=${", "does not end"), ("FROM a\nENV A=${B?x}", "are known"),
        ("FROM a\nSHELL sh", "a list"), ("FROM a\nUSER", "one word"),
        ("# syntax=evil/frontend\nFROM a", "another syntax"), ("# escape=x\nFROM a", "escape"),
        ("FROM a\nARG B", ""),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, said: str) -> None:
    if not said:
        parse_dockerfile(text)
        return
    with pytest.raises(InvalidSpec) as caught:
        parse_dockerfile(text)
    assert said in f"{caught.value} {caught.value.hint}"


def test_an_argument_that_nothing_names_is_an_error() -> None:
    with pytest.raises(InvalidSpec, match="no ARG in the Dockerfile names X"):
        parse_dockerfile("FROM a\n", {"X": "1"})
    parse_dockerfile("FROM a\n", {"HTTP_PROXY": "x"})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$A", "1"), ("${A}b", "1b"), ("$Ab", ""), ("\\$A", "$A"), ("'$A'", "'$A'"), ('"$A"', '"1"'),
        ("${X:-d}", "d"), ("${A:-d}", "1"), ("${A:+e}", "e"), ("${X:+e}", ""), ("${X:-$A}", "1"),
        ("a$", "a$"), ("$1", "$1"), ("\\n$A", "\\n1"),
    ],
)  # fmt: skip
def test_variables(text: str, found: str) -> None:
    assert substitute(text, {"A": "1"}, 1) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", ["a", "b"]), ("  a  ", ["a"]), ("'a b' c", ["a b", "c"]), ('"a \\" b"', ['a " b']),
        ("a\\ b", ["a b"]), ('a"b c"d', ["ab cd"]), ("''", [""]), ("'\\n'", ["\\n"]), ("", []),
    ],
)  # fmt: skip
def test_words(text: str, found: list[str]) -> None:
    assert words(text, 1) == found


def test_another_escape() -> None:
    (stage,) = parse_dockerfile("# escape=`\nFROM a\nRUN x `\n y\\\n")
    assert isinstance(stage.steps[0], Run)
    assert stage.steps[0].args[2].split() == ["x", "y\\"]


# build.yml


def test_a_build_file() -> None:
    (stage,) = parse_buildfile("""
from: scratch
steps:
  - programs: [busybox]
    links: {sh: busybox}
  - file: /etc/motd
    content: "hello\\n"
    mode: "0600"
  - directory: /tmp
    mode: "0o1777"
  - copy: [a, b]
    to: /x/
  - run: echo
  - run: [echo, a]
env: {A: "1"}
expose: [80, 53/udp]
entrypoint: [/entry]
cmd: serve
workdir: /srv
""")
    kinds = [type(one).__name__ for one in stage.steps]
    assert kinds == [
        "Programs", "Write", "Write", "Copy", "Run", "Run", "Set", "Workdir", "Set", "Set", "Set",
    ]  # fmt: skip
    programs, motd, tmp = stage.steps[:3]
    assert isinstance(programs, Programs)
    assert programs.links == {"sh": "busybox"}
    assert isinstance(motd, Write)
    assert (motd.content, motd.mode) == ("hello\n", 0o600)
    assert isinstance(tmp, Write)
    assert (tmp.content, tmp.mode) == (None, 0o1777)


@pytest.mark.parametrize(
    "text",
    [
        "[]", "x: [", "from: 1", "unknown: 1", "steps: {}", "steps: [1]", "steps: [{}]",
        "steps: [{run: x, copy: y}]", "steps: [{run: x, unknown: 1}]", "steps: [{run: []}]",
        "steps: [{copy: a}]", "steps: [{file: /x, mode: 644}]", "steps: [{file: /x, mode: '99999'}]",
        "steps: [{file: /x, mode: '888'}]",
        "env: [A]", "env: {A: 1}", "env: {A: x, A: y}", "cmd: []", "a: &x [*x]", "env: &a {B: c}\nlabels: *a",
        "steps: !!python/object/apply:os.system [id]",
    ],
)  # fmt: skip
def test_build_files_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_buildfile(text)
