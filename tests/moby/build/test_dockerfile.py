"""Dockerfiles read into stages: what is meant, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.image_config import Healthcheck, ImageProcess
from mobyshell.moby.build.buildfile import parse_buildfile
from mobyshell.moby.build.dockerfile import parse_dockerfile
from mobyshell.moby.build.steps import (
    Argument,
    Author,
    Copy,
    Inline,
    Programs,
    Run,
    RunMount,
    Set,
    Step,
    Workdir,
    Write,
)
from mobyshell.moby.build.variables import expand
from mobyshell.moby.build.words import split

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
EXPOSE 80 53/udp 8000-8002
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
        "exposed_ports": frozenset(
            {"80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"}
        ),
        "volumes": frozenset({"/data"}), "user": "web", "stop_signal": "SIGQUIT",
        "shell": ("/bin/ash", "-ec"), "entrypoint": ("/entry",),
        "cmd": ("/bin/ash", "-ec", "serve --port 80"),
    }  # fmt: skip
    assert [one.source for one in final.steps if isinstance(one, Copy)] == ["builder", ""]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "without FROM"), ("RUN x", "line 1: RUN before FROM"), ("FROM", "no image"),
        ("FROM a b", "after AS"), ("FROM $NOTHING", "no image"),
        ("FROM a\nFETCH x", "line 2: FETCH is no instruction"),
        ("FROM a\nHEALTHCHECK x", "CMD and a command, or NONE"), ("FROM a\nHEALTHCHECK CMD", "no command"),
        ("FROM a\nHEALTHCHECK NONE x", "nothing more"), ("FROM a\nHEALTHCHECK CMD []", "no command"),
        ("FROM a\nHEALTHCHECK --interval=1 CMD x", "no time"),
        ("FROM a\nHEALTHCHECK --timeout=1us CMD x", "less than a millisecond"),
        ("FROM a\nHEALTHCHECK --retries=x CMD y", "no number"),
        ("FROM a\nONBUILD FROM b", "cannot be"), ("FROM a\nONBUILD ONBUILD RUN x", "cannot be"),
        ("FROM a\nONBUILD", "cannot be"), ("FROM a\nONBUILD FETCH x", "FETCH is no instruction"),
        ("FROM a\nMAINTAINER", "no name"), ("FROM a\nRUN --security=insecure x", "not supported"),
        ("FROM a\nRUN --device=x y", "--device is not supported"),
        ("FROM a\nRUN --mount=type=cluster,target=/x y", "bind, cache, tmpfs, secret, ssh"),

        ("FROM a\nRUN --mount=type=secret x", "no id"), ("FROM a\nRUN --mount=target=/x,size=1 x", "no size"),
        ("FROM a\nRUN --mount=type=cache,target=/x,sharing=all y", "shared, private or locked"),
        ("FROM a\nRUN --mount=type=cache,target=/x,mode=9 y", "no mode"),
        ("FROM a\nRUN --mount=type=cache,target=/x,uid=root y", "no number"),
        ("FROM a\nRUN --mount=type=tmpfs,target=/x,size=many y", "no size"),
        ("FROM a\nRUN --mount=/x y", "no NAME=VALUE"), ("FROM a\nRUN --mount=dst=/x,target=/y z", "two of"),
        ("FROM a\nRUN --network=lan x", "none, host or default"),
        ("FROM a\nRUN <<EOF\nx\n", "line 2: the here-document EOF does not end"),
        ("FROM a\nCOPY <<EOF\nx\nEOF", "a target"), ("FROM a\nCOPY a <<EOF\nx\nEOF", "a target"),
        ("FROM a\nCOPY --from=b <<EOF /x\nx\nEOF", "no other stage"),
        ("FROM a\nCOPY <<../x /y\nx\n../x", "no file's name"),
        ("FROM a\nCOPY --from=b --from=c x /", "--from is there twice"),
        ("FROM a\nCOPY --link=perhaps x /", "true or false"), ("FROM a\nRUN", "no command"),
        ("FROM a\nRUN []", "no command"), ("FROM a\nCOPY a", "sources and a target"),
        ("FROM a\nCOPY a b c", "let it end in /"), ("FROM a\nCOPY --chmod=9 a b", "no mode"),
        ("FROM a\nADD ftp://example.com/x /", "does not fetch"), ("FROM a\nEXPOSE", "no port"),
        ("FROM a\nADD https://example.com/x.git#v1 b /", "the one source"),
        ("FROM a\nADD --keep-git-dir a /", "for a git repository"),
        ("FROM a\nADD --checksum=sha256:1 git@x:y /", "a commit's digits"),
        ("FROM a\nADD --checksum=md5:1 https://x/y /", "64 digits"),
        (f"FROM a\nADD --checksum=sha256:{'0' * 64} x /", "for one URL"), ("FROM a\nEXPOSE http", "no port"),
        ("FROM a\nEXPOSE 99999", "no port"), ("FROM a\nEXPOSE 3-1", "no port"),
        ("FROM a\nEXPOSE 1/", "no port"), ("FROM a\nENV", "nothing is set"),
        ("FROM a\nENV X", "no value"), ("FROM a\nLABEL x='", "does not end"),
        ("FROM a\nENV A=${", "does not end"), ("FROM a\nENV A=${B?x}", "B is not set: x"),
        ("FROM a\nENV A=${B@x}", "no form"), ("# escape=`\n# escape=`\nFROM a", "there twice"),
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
        ("$A", "1"), ("${A}b", "1b"), ("$Ab", ""), ("\\$A", "$A"), ("'$A'", "$A"), ('"$A"', "1"),
        ("${X:-d}", "d"), ("${A:-d}", "1"), ("${A:+e}", "e"), ("${X:+e}", ""), ("${X:-$A}", "1"),
        ("a$", "a$"), ("$1", "$1"), ("\\n$A", "n1"), ("${X-d}", "d"), ("${E-d}", ""), ("${E:-d}", "d"),
        ("${E+e}", "e"), ("${X:-${Y:-deep}}x", "deepx"), ("${F#*/}", "b/c.tar.gz"), ("${F##*/}", "c.tar.gz"),
        ("${F%.*}", "a/b/c.tar"), ("${F%%.*}", "a/b/c"), ("${F/b/X}", "a/X/c.tar.gz"),
        ("${F//[a]/X}", "a/b/c.tar.gz"), ("${F//a/X}", "X/b/c.tXr.gz"), ("${F%x}", "a/b/c.tar.gz"),
        ('"a b"\'c d\'', "a bc d"), ('"a \\" \\n b"', 'a " \\n b'), ("''", ""), ("'\\n'", "\\n"),
        ("${A:?no}", "1"), ("a\\ b", "a b"),
    ],
)  # fmt: skip
def test_variables(text: str, found: str) -> None:
    assert expand(text, {"A": "1", "E": "", "F": "a/b/c.tar.gz"}, 1) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$A 'q' \"$A\"", "1 'q' \"1\""), ("\\$A \\\\ \\n", "$A \\ n"), ("it's", "it's"),
    ],
)  # fmt: skip
def test_variables_of_a_document(text: str, found: str) -> None:
    assert expand(text, {"A": "1"}, 1, quotes=False) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a b", ["a", "b"]), ("  a  ", ["a"]), ("'a b' c", ["'a b'", "c"]),
        ('"a \\" b"', ['"a \\" b"']), ("a\\ b", ["a\\ b"]), ('a"b c"d', ['a"b c"d']), ("''", ["''"]),
        ("", []),
    ],
)  # fmt: skip
def test_words(text: str, found: list[str]) -> None:
    assert split(text, 1) == found


def steps(text: str, **more: Any) -> tuple[Step, ...]:
    """Of the last stage."""
    return parse_dockerfile(text, **more)[-1].steps


def test_values_with_blanks_are_one_value() -> None:
    first, second, third = steps('FROM a\nARG T="x y"\nENV A=$T B="$T z"\nLABEL $A=b\n')
    assert isinstance(first, Argument)
    assert isinstance(second, Set)
    assert isinstance(third, Set)
    assert (first.value, second.value) == ("x y", {"A": "x y", "B": "x y z"})
    assert third.value == {"x y": "b"}


def test_here_documents() -> None:
    plain, cut, script, several, copied, after = steps("""FROM a
ENV B=2
RUN <<EOF
echo "$B"
  second
EOF
RUN --network=none <<-"E O"
\techo $B
\tE O
RUN <<EOF
#!/usr/bin/env python3
print(1)
EOF
RUN cat <<A - <<-'B' > /x && true
one
A
\ttwo
\tB
COPY --chmod=600 <<EOF <<'RAW' file /etc/
it's $B \\$B "q"
EOF
$B \\$B
RAW
RUN echo $((1<<2)) <<<"word"
""")[1:]
    assert isinstance(plain, Run)
    assert plain.args == ("/bin/sh", "-c", 'echo "$B"\n  second\n')
    assert plain.text == 'RUN <<EOF (echo "$B"…)'
    assert isinstance(cut, Run)
    assert (cut.args[2], cut.network) == ("echo $B\n", "none")
    assert isinstance(script, Run)
    assert script.args == ("/dev/pipes/EOF",)
    assert script.script == Inline("EOF", "#!/usr/bin/env python3\nprint(1)\n")
    assert isinstance(several, Run)
    assert several.args[2] == "cat <<A - <<-'B' > /x && true\none\nA\n\ttwo\nB"
    assert isinstance(copied, Copy)
    assert copied.files == (
        Inline("EOF", 'it\'s 2 $B "q"\n'), Inline("RAW", "$B \\$B\n"),
    )  # fmt: skip
    assert (copied.paths, copied.target, copied.mode) == (("file",), "/etc/", 0o600)
    assert isinstance(after, Run)
    assert after.args[2] == 'echo $((1<<2)) <<<"word"'


def test_mounts() -> None:
    (run,) = steps("""FROM a
ARG C=/cache
RUN --mount=type=cache,target=$C,sharing=locked,uid=5 --mount=type=secret,id=k,env=K \\
    --mount=src=lib,dst=lib --mount=from=b,target=/b,rw --mount=type=tmpfs,target=/t,size=1m \\
    --mount=type=ssh,required make
""")[1:]
    assert isinstance(run, Run)
    assert run.mounts == (
        RunMount(kind="cache", target="/cache", id="/cache", sharing="locked", uid=5),
        RunMount(kind="secret", id="k", env="K"),
        RunMount(kind="bind", target="lib", source="lib", id="default", readonly=True),
        RunMount(kind="bind", target="/b", base="b", id="default"),
        RunMount(kind="tmpfs", target="/t", size=1 << 20, id="default"),
        RunMount(kind="ssh", id="default", required=True),
    )
    assert run.args[2] == "make"


def test_a_healthcheck() -> None:
    shell, listed, none = steps("""FROM a
HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0s --start-interval=2s --retries=5 \\
    CMD curl -f http://localhost/ || exit 1
HEALTHCHECK CMD ["check", "it"]
HEALTHCHECK NONE
""")
    assert isinstance(shell, Set)
    assert shell.value == Healthcheck(
        test=("CMD-SHELL", "curl -f http://localhost/ || exit 1"), interval=90 * 10**9,
        timeout=1_500_000_000, start_interval=2 * 10**9, retries=5,
    )  # fmt: skip
    assert isinstance(listed, Set)
    assert listed.value == Healthcheck(test=("CMD", "check", "it"))
    assert isinstance(none, Set)
    assert none.value == Healthcheck(test=("NONE",))


def test_what_a_base_brings() -> None:
    def bases(name: str, platform: str) -> ImageProcess | None:
        assert (name, platform) == ("base", "linux/arm64")
        return ImageProcess(env=("PATH=/bin", "X=y"), shell=("/bin/bash", "-c"), on_build=(
            "ARG V=1", "COPY <<EOF /v\n$V $X\nEOF", "RUN make",
        ))  # fmt: skip

    first, second = parse_dockerfile(
        "FROM base AS one\nENV PATH=/app:$PATH\nONBUILD RUN later $X\nONBUILD ARG Z\nFROM one\nRUN echo $X\n",
        platform="linux/arm64", bases=bases,
    )  # fmt: skip
    argument, copied, made, env, trigger, _ = first.steps
    assert isinstance(argument, Argument)
    assert isinstance(copied, Copy)
    assert copied.files == (Inline("EOF", "1 y\n"),)
    assert isinstance(made, Run)
    assert made.args == ("/bin/bash", "-c", "make")
    assert isinstance(env, Set)
    assert env.value == {"PATH": "/app:/bin"}
    assert isinstance(trigger, Set)
    assert (trigger.member, trigger.value) == ("on_build", ("RUN later $X",))
    # the triggers of a stage are for who builds upon it, and are spent then
    later, run = second.steps
    assert isinstance(later, Run)
    assert later.args == ("/bin/bash", "-c", "later $X")
    assert isinstance(run, Run)
    assert (first.triggered, second.triggered) == (True, True)


def test_arguments_and_their_scopes() -> None:
    text = """ARG BASE=a
ARG TAG=${BASE}1
FROM --platform=$BUILDPLATFORM $BASE:$TAG
ARG TAG
ENV E=env
ARG E=arg
ARG TARGETARCH TARGETVARIANT OTHER=$E
LABEL a="$BASE|$TAG|$E|$TARGETARCH|$OTHER"
RUN x
FROM b
LABEL a="$TAG"
ARG HTTP_PROXY
RUN x
"""
    first, second = parse_dockerfile(
        text, {"HTTP_PROXY": "http://p", "https_proxy": "s"}, platform="linux/arm/v7"
    )
    assert first.base == "a:a1"
    assert second.platform == "linux/arm/v7"
    label = next(one for one in first.steps if isinstance(one, Set) and one.member == "labels")
    assert label.value == {"a": "|a1|env|arm|env"}
    run = next(one for one in first.steps if isinstance(one, Run))
    assert run.unseen == {"HTTP_PROXY": "http://p", "https_proxy": "s"}
    empty, named, other = second.steps
    assert isinstance(empty, Set)
    assert empty.value == {"a": ""}
    assert isinstance(named, Argument)
    assert isinstance(other, Run)
    assert other.unseen == {"https_proxy": "s"}


def test_a_stage_upon_a_stage_has_its_arguments() -> None:
    (label,) = steps("FROM a AS b\nARG V=1\nENV E=$V\nFROM b\nLABEL a=$V$E\n")
    assert isinstance(label, Set)
    assert label.value == {"a": "11"}


def test_directives_end_with_the_first_line_that_is_none() -> None:
    (stage,) = parse_dockerfile(
        "# syntax=docker/dockerfile:1.7-labs\n# Escape = `\n# check=skip=all\n# any=thing\n"
        "# escape=\\\nFROM a\nRUN x `\n y\n"
    )
    (run,) = stage.steps
    assert isinstance(run, Run)
    assert run.args[2].split() == ["x", "y"]
    assert parse_dockerfile("\ufeff#escape=`\r\nFROM a\r\nRUN x `\r\n y\r\n")[0].steps


def test_options_of_copy_and_add() -> None:
    copied, added, author = steps(f"""FROM a
COPY --link --parents --exclude=*.md --exclude=x --chown=1 ./a/./b c /to/
ADD --checksum=sha256:{"a" * 64} https://example.com/x?y=1 /x
MAINTAINER Some One <some@example.com>
""")
    assert isinstance(copied, Copy)
    assert (copied.link, copied.parents, copied.excluded) == (True, True, ("*.md", "x"))
    assert copied.paths == ("./a/./b", "c")
    assert isinstance(added, Copy)
    assert (added.unpack, added.checksum) == (True, f"sha256:{'a' * 64}")
    assert isinstance(author, Author)
    assert author.name == "Some One <some@example.com>"


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
        "steps: !!python/object/apply:os.system [id]", "expose: [x]", "expose: [3-1]", "expose: [70000]",
    ],
)  # fmt: skip
def test_build_files_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        parse_buildfile(text)
