"""The runtime spec: round trips, every problem told, nothing hostile gets further than an error."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidSpec, NotFound, UsageError
from mobyshell.core.oci import (
    Spec,
    check,
    check_id,
    default_spec,
    dump_spec,
    load_spec,
    parse_spec,
    spec_to_json,
    with_process,
)  # fmt: skip
from mobyshell.core.oci.safejson import DEEPEST, LARGEST, read_json, show

MODEST = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def document() -> dict[str, Any]:
    value: dict[str, Any] = spec_to_json(default_spec())
    return value


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    found = [path]
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, one in items:
        found += places(one, (*path, key))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The document with something else at a place."""
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copy


def problems_of(doc: Any) -> dict[str, str]:
    return {one.path: one.allowed for one in check(doc)}


@pytest.mark.peer
@pytest.mark.parametrize("options", [[], ["--rootless"]])
def test_the_default_is_runcs(tmp_path: Path, options: list[str]) -> None:
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert runc is not None, "apt install runc"
    subprocess.run([runc, "spec", *options], cwd=tmp_path, check=True)
    theirs = json.loads((tmp_path / "config.json").read_text())
    ours = json.loads(dump_spec(default_spec(rootless=bool(options))))
    theirs.pop("ociVersion"), ours.pop("ociVersion")  # each names the version it was made for
    assert ours == theirs
    assert list(ours) == list(theirs)


def test_a_spec_survives_text() -> None:
    spec = default_spec()
    assert parse_spec(dump_spec(spec)) == spec
    assert dump_spec(spec).splitlines()[1].startswith('\t"ociVersion"')


@MODEST
@given(st.sampled_from([p for p in places(document()) if not p or isinstance(p[-1], str)]),
       st.text(min_size=1, max_size=8).map(lambda text: "x-" + text.replace("\0", "")), JSON)  # fmt: skip
def test_unknown_members_are_kept_anywhere(path: tuple[Any, ...], name: str, value: Any) -> None:
    doc = document()
    at: Any = doc
    for key in path:
        at = at[key]
    if not isinstance(at, dict):
        return
    doc = put(doc, (*path, name), value)
    try:
        text = json.dumps(doc)
        text.encode()
    except (UnicodeEncodeError, ValueError):
        return
    assert spec_to_json(parse_spec(text)) == json.loads(text)


@MODEST
@given(st.sampled_from(places(document())), JSON)
def test_anything_anywhere_is_a_spec_or_problems(path: tuple[Any, ...], value: Any) -> None:
    doc = put(document(), path, value)
    try:
        spec = parse_spec(json.dumps(doc))
    except InvalidSpec as error:
        assert error.message.isprintable()
        assert "\n" not in error.message
        if isinstance(doc, dict):
            assert error.problems or "JSON" in error.message or "twice" in error.message
    else:
        assert isinstance(spec, Spec)
        assert check(doc) == []


@MODEST
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_text_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(text)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' + '"' + "x" * (LARGEST + 1) + '"}', "too large"),
        ("[" * 100 + "]" * 100, "deeper"),
        ('{"a":' * 100 + "1" + "}" * 100, "deeper"),
        ('{"ociVersion": "1", "ociVersion": "2"}', "twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        (b"\xff\xfe\x00", "UTF-8"),
        ("", "JSON"),
        ("{", "JSON"),
        ("[1,2", "JSON"),
        ('{"a": ' + "9" * 6000 + "}", "digits"),
        ("null", "an object"),
    ],
)
def test_absurd_documents(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        parse_spec(text)


def test_brackets_in_strings_are_not_depth() -> None:
    assert read_json(json.dumps({"a": "[" * 500})) == {"a": "[" * 500}
    with pytest.raises(InvalidSpec):
        read_json("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


def test_what_is_shown_is_short_and_harmless() -> None:
    assert show("\x1b[31m" + "x" * 1000).isprintable()
    assert len(show("x" * 1000)) <= 60
    assert show({"a": 1}) == "an object of 1 members"


def test_all_problems_are_told_at_once() -> None:
    doc = document()
    doc["process"]["cwd"] = "relative"
    doc["process"]["args"] = []
    doc["process"]["user"]["uid"] = -1
    doc["linux"]["namespaces"].append({"type": "bogus"})
    doc["mounts"][0]["destination"] = 7
    found = problems_of(doc)
    assert set(found) == {
        "process.cwd", "process.user.uid", "linux.namespaces[5].type", "mounts[0].destination",
    }  # fmt: skip
    with pytest.raises(InvalidSpec, match=r"and 3 more") as caught:
        parse_spec(json.dumps(doc))
    assert len(caught.value.problems) == 4


RULES: list[tuple[str, Any, str]] = [
    ("process.args", [], "process.args"),
    ("process.args", ["a\0b"], "process.args[0]"),
    ("process.cwd", "tmp", "process.cwd"),
    ("process.env", ["=x"], "process.env[0]"),
    ("process.user.umask", 0o1000, "process.user.umask"),
    ("process.oomScoreAdj", 2000, "process.oomScoreAdj"),
    ("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}], "process.rlimits[0].soft"),
    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "process.rlimits[0].type"),
    ("process.rlimits", [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "process.rlimits[1].type"),
    ("process.consoleSize", {"height": 70000, "width": 1}, "process.consoleSize.height"),
    ("root", None, "root"),
    ("hostname", "x" * 65, "hostname"),
    ("mounts", [{"destination": "proc", "type": "proc"}], "mounts[0].destination"),
    ("mounts", [{"destination": "/x", "options": ["bind"]}], "mounts[0].source"),
    ("mounts", [{"destination": "/x"}], "mounts[0].type"),
    ("hooks", {"prestart": [{"path": "x"}]}, "hooks.prestart[0].path"),
    ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout"),
    ("annotations", {"a": 1}, 'annotations["a"]'),
    ("linux.namespaces", [{"type": "uts"}, {"type": "uts"}], "linux.namespaces[1].type"),
    ("linux.namespaces", [{"type": "net"}], "linux.namespaces[0].type"),
    ("linux.namespaces", [{"type": "pid", "path": "x"}], "linux.namespaces[0].path"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], "linux.uidMappings"),
    ("linux.sysctl", {"kernel.panic": "1"}, 'linux.sysctl["kernel.panic"]'),
    ("linux.sysctl", {"net.../x": "1"}, 'linux.sysctl["net.../x"]'),
    ("linux.devices", [{"path": "/dev/x", "type": "c", "major": 1}], "linux.devices[0].minor"),
    ("linux.devices", [{"path": "/dev/../etc", "type": "p"}], "linux.devices[0].path"),
    ("linux.resources.devices", [{"allow": True, "access": "rx"}], "linux.resources.devices[0].access"),
    ("linux.resources.cpu", {"cpus": "3-1"}, "linux.resources.cpu.cpus"),
    ("linux.resources.cpu", {"shares": -1}, "linux.resources.cpu.shares"),
    ("linux.resources.memory", {"limit": 2**70}, "linux.resources.memory.limit"),
    ("linux.resources.unified", {"../x.y/z": "1"}, 'linux.resources.unified["../x.y/z"]'),
    ("linux.cgroupsPath", "a/../../b", "linux.cgroupsPath"),
    ("linux.maskedPaths", ["proc"], "linux.maskedPaths[0]"),
    ("linux.rootfsPropagation", "sideways", "linux.rootfsPropagation"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_MAYBE"}, "linux.seccomp.defaultAction"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW",
                       "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]},
     "linux.seccomp.syscalls[0].names"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW",
                       "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                                     "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]},
     "linux.seccomp.syscalls[0].args[0].index"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "problem"), RULES, ids=lambda value: str(value)[:40])
def test_every_rule_has_its_path_and_section(path: str, value: Any, problem: str) -> None:
    doc = put(document(), tuple(path.split(".")), value)
    if value is None:
        del doc[path]
    found = check(doc)
    assert [one.path for one in found] == [problem]
    assert found[0].section.startswith("config")
    assert found[0].allowed


def test_without_a_uts_namespace_there_is_no_hostname() -> None:
    doc = put(document(), ("linux", "namespaces"), [{"type": "mount"}])
    assert set(problems_of(doc)) == {"hostname"}


def test_overlapping_maps() -> None:
    doc = spec_to_json(default_spec(rootless=True))
    one = {"containerID": 0, "hostID": 1000, "size": 10}
    doc["linux"]["uidMappings"] = [one, {"containerID": 5, "hostID": 5000, "size": 10}]
    assert set(problems_of(doc)) == {"linux.uidMappings[1].containerID"}


def test_the_version_is_not_a_gate() -> None:
    assert parse_spec(json.dumps({**document(), "ociVersion": "bogus"})).oci_version == "bogus"


def test_null_is_absent_as_go_writes_it() -> None:
    assert parse_spec(json.dumps({**document(), "hooks": None})).hooks is None


def test_with_process() -> None:
    spec = with_process(default_spec(), args=("true",), terminal=False)
    assert spec.process is not None
    assert (spec.process.args, spec.process.terminal) == (("true",), False)


def test_loading(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"config\.json not found"):
        load_spec(tmp_path)
    (tmp_path / "config.json").write_text(dump_spec(default_spec()))
    assert load_spec(tmp_path) == default_spec()


@pytest.mark.parametrize("id", ["a", "web-1", "A.b_c+d", "_x", "0" * 76])
def test_ids(id: str) -> None:
    check_id(id)


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", "a b", "-x", ".x", "ü", "a\0", "x" * 77, "\x1b"]
)
def test_bad_ids(id: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_id(id)
    assert caught.value.message.isprintable()
