"""A whole config.json: into values and out again, whatever is in it; hostile ones no further than
an error of one line."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidSpec, MobyshellError, NotFound
from mobyshell.core.oci import (
    Spec,
    check,
    default_spec,
    dump_spec,
    load_spec,
    parse_spec,
    spec_to_json,
    warnings_of,
    with_process,
)
from mobyshell.core.oci.safejson import DEEPEST, LARGEST
from tests.core.oci.documents import (
    ANY_JSON,
    VALID,
    Document,
    Place,
    at,
    copy,
    default,
    full,
    locate,
    places,
    put,
    without,
)

MODEST = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FULL = full()
PLACES = st.sampled_from(places(FULL))
MEMBERS = st.sampled_from([place for place in places(FULL) if place])
OBJECTS = st.sampled_from([place for place in places(FULL) if isinstance(at(FULL, place), dict)])

# objects whose keys are the user's own: there is no unknown member in them
MAPS = {("annotations",), ("linux", "sysctl"), ("linux", "netDevices"), ("linux", "timeOffsets"),
        ("linux", "resources", "rdma"), ("linux", "resources", "unified")}  # fmt: skip


def judged(document: Any) -> list[str]:
    """Problems of a document, by both ways in; each has to be fit to be shown."""
    problems = check(document)
    text = json.dumps(document)
    try:
        spec = parse_spec(text)
    except InvalidSpec as error:
        assert error.problems == [str(one) for one in problems]
        assert error.message.isprintable()
        assert len(error.message) < 500
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        assert error.message == f"config.json: {problems[0]}{more}"
        assert problems[0].section in error.hint
    else:
        assert problems == []
        assert spec_to_json(parse_spec(dump_spec(spec))) == spec_to_json(spec)
        warnings_of(spec)
    for one in problems:
        assert str(one).isprintable()
        assert one.found
        assert one.allowed
        assert one.section.startswith("config")
        assert len(one.found) <= 80
    return [one.path for one in problems]


# round trips


def test_every_member_is_known() -> None:
    """Nothing of the full document is left over as unknown, and it is written in Go's order."""
    spec = parse_spec(json.dumps(FULL))
    assert spec_to_json(spec) == FULL
    assert dump_spec(spec) == json.dumps(FULL, indent="\t", ensure_ascii=False)

    def unknown(value: Any) -> list[Any]:
        if isinstance(value, tuple):
            return [one for each in value for one in unknown(each)]
        if isinstance(value, dict):
            return [one for each in value.values() for one in unknown(each)]
        if not hasattr(value, "__dataclass_fields__"):
            return []
        found = [value.extra] if value.extra else []
        return found + [
            one for name in type(value).__slots__ if name != "extra"
            for one in unknown(getattr(value, name))
        ]  # fmt: skip

    assert unknown(spec) == []


def test_names_in_python_are_the_specs() -> None:
    spec = parse_spec(json.dumps(FULL))
    assert spec.process is not None
    assert spec.linux is not None
    assert spec.linux.resources is not None
    assert spec.linux.resources.cpu is not None
    assert spec.process.no_new_privileges is True
    assert spec.process.exec_cpu_affinity is not None
    assert spec.process.exec_cpu_affinity.final == "0-3,7"
    assert spec.process.user.additional_gids == (5, 6)
    assert spec.linux.cgroups_path == "/moby/one"
    assert spec.linux.resources.cpu.realtime_period == 1_000_000
    assert spec.linux.time_offsets is not None
    assert spec.linux.time_offsets["monotonic"].secs == -5
    assert spec.linux.seccomp is not None
    assert spec.linux.seccomp.listener_path == "/run/agent.sock"


@MODEST
@given(VALID)
def test_what_a_runtime_has_to_take_is_taken_and_kept(document: Document) -> None:
    assert judged(document) == []
    written = spec_to_json(parse_spec(json.dumps(document, ensure_ascii=False).encode()))
    assert written == document
    assert dump_spec(parse_spec(json.dumps(document))).encode()


@MODEST
@given(OBJECTS, st.text(min_size=1, max_size=8), ANY_JSON)
def test_an_unknown_member_is_kept_anywhere(place: Place, name: str, value: Any) -> None:
    assume(place not in MAPS)
    document = put(FULL, (*place, f"x-{name}"), value)
    assert judged(document) == []
    assert spec_to_json(parse_spec(json.dumps(document))) == document


@MODEST
@given(MEMBERS)
def test_null_is_absent_as_go_has_it(place: Place) -> None:
    """Only of members, not in arrays or maps: there it is no value."""
    assume(isinstance(place[-1], str))
    assume(place[:-1] not in MAPS)
    missing, null = without(FULL, place), put(FULL, place, None)
    if check(missing):
        assert {one.path for one in check(null)} == {one.path for one in check(missing)}
    else:
        assert spec_to_json(parse_spec(json.dumps(null))) == missing


def test_an_empty_array_is_not_an_absent_one() -> None:
    document = default()
    document["mounts"] = []
    document["linux"]["maskedPaths"] = []
    spec = parse_spec(json.dumps(document))
    assert spec.mounts == ()
    assert spec_to_json(spec) == document


def test_other_platforms_are_kept() -> None:
    document = {
        **default(),
        "windows": {"layerFolders": ["a"]},
        "solaris": {},
        "vm": None,
        "zos": 1,
    }
    spec = parse_spec(json.dumps(document))
    assert set(spec.extra) == {"windows", "solaris", "vm", "zos"}
    assert spec_to_json(spec) == document


def test_values_can_be_compared_replaced_and_sent() -> None:
    spec = parse_spec(json.dumps(FULL))
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert replace(spec, hostname="other") != spec
    assert replace(replace(spec, hostname="other"), hostname="moby") == spec


# hostile input


@settings(MODEST, max_examples=300)
@example(("linux", "sysctl"), {"\x1f": ""})
@given(PLACES, ANY_JSON)
def test_anything_anywhere_is_a_spec_or_problems(place: Place, value: Any) -> None:
    judged(put(FULL, place, value))


@settings(MODEST, max_examples=300)
@given(st.lists(st.tuples(MEMBERS, ANY_JSON), min_size=1, max_size=5))
def test_problems_point_at_what_is_there_or_missing(changes: list[tuple[Place, Any]]) -> None:
    document = FULL
    for place, value in changes:
        try:
            document = put(document, place, value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    for path in judged(document):
        if "…" in path:
            continue  # a key that takes more than 60 characters to show
        place = locate(path)
        assert isinstance(at(document, place[:-1]), (dict, list)), path
        if isinstance(at(document, place[:-1]), list):
            at(document, place)


@settings(MODEST, max_examples=200)
@given(MEMBERS)
def test_anything_can_be_missing(place: Place) -> None:
    judged(without(FULL, place))


@MODEST
@given(ANY_JSON)
def test_any_other_document(value: Any) -> None:
    judged(value)


HOSTILE: list[tuple[str, str | bytes, str]] = [
    ("10 MB string", '{"ociVersion": "' + "x" * 10_000_000 + '"}', "config.json is too large"),
    ("100 levels", '{"process":' * 100 + "1" + "}" * 100, "nested deeper than 64"),
    ("deep within extra", '{"x":' + "[" * DEEPEST + "]" * DEEPEST + "}", "nested deeper"),
    ("not an object", "[]", "found an array of 0 elements, allowed: an object"),
    ("a string", '"config"', 'found "config", allowed: an object'),
    ("null", "null", "found null, allowed: an object"),
    ("empty object", "{}", "ociVersion: found nothing, allowed: it is required (and 2 more)"),
    ("wrong everywhere", json.dumps({"ociVersion": 1, "process": 1, "root": 1, "hostname": 1,
     "domainname": 1, "mounts": 1, "hooks": 1, "annotations": 1, "linux": 1}), "(and 8 more)"),
    ("escape sequences", '{"ociVersion": {"\\u001b]0;x\\u0007": 1}}', "an object of 1 member"),
    ("colours as a type", '{"linux": {"rootfsPropagation": "\\u001b[31m\\n"}}', r'\u001b[31m\n"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"), [one[1:] for one in HOSTILE], ids=[one[0] for one in HOSTILE]
)
def test_hostile_documents(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(text)
    assert any(words in one for one in (caught.value.message, *caught.value.problems))
    assert caught.value.message.isprintable()


def test_a_long_key_makes_no_long_problem() -> None:
    document = default()
    document["annotations"] = {"k" * 1_000_000: 1, "\x1b[31m": 2, "": 3}
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(json.dumps(document))
    assert all(len(one) < 200 and one.isprintable() for one in caught.value.problems)
    assert len(caught.value.problems) == 3


# files


def test_a_bundle_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(dump_spec(default_spec()))
    assert load_spec(tmp_path) == load_spec(str(tmp_path)) == default_spec()
    os.rename(tmp_path / "config.json", tmp_path / "real")
    (tmp_path / "config.json").symlink_to("real")
    assert load_spec(tmp_path) == default_spec()


@pytest.mark.parametrize("bundle", ["", "nosuch", "file", "a\0b", "x\n\x1b[31m", "x" * 5000])
def test_there_is_no_bundle(tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("{}")
    with pytest.raises(MobyshellError) as caught:
        load_spec(bundle)
    assert isinstance(caught.value, NotFound) or len(bundle) > 4096
    assert caught.value.message.isprintable()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    os.mkfifo(config)
    with pytest.raises(InvalidSpec, match="not a regular file"):
        load_spec(tmp_path)
    config.unlink()
    config.mkdir()
    with pytest.raises(InvalidSpec, match="not a regular file"):
        load_spec(tmp_path)
    config.rmdir()
    config.symlink_to("/dev/zero")
    with pytest.raises(InvalidSpec, match="not a regular file"):
        load_spec(tmp_path)
    config.unlink()
    config.symlink_to("config.json")
    with pytest.raises(InvalidSpec, match="cannot be read: Too many levels"):
        load_spec(tmp_path)


def test_of_a_huge_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.touch()
    os.truncate(config, 2**40)
    with pytest.raises(InvalidSpec, match=f"too large: {LARGEST + 1} bytes"):
        load_spec(tmp_path)


# conveniences


def test_with_process() -> None:
    spec = with_process(default_spec(), args=("true",), terminal=False)
    assert spec.process is not None
    assert (spec.process.args, spec.process.terminal) == (("true",), False)
    assert with_process(default_spec()) == default_spec()
    assert with_process(Spec(oci_version="1"), args=("x",)) == Spec(oci_version="1")


# the peer's judgement


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "rootfs"
    (path / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", path / "bin/busybox")
    return path


def runcs(rootfs: Path, document: Document) -> tuple[int, str]:
    """Its exit code and words for a container of this document."""
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert runc is not None, "apt install runc"
    bundle = rootfs.parent
    (bundle / "config.json").write_text(json.dumps(document))
    done = subprocess.run(
        [runc, "--root", bundle / "state", "run", "--bundle", bundle, f"moby-{uuid.uuid4()}"],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr


# not in here, because runc 1.1 lets it pass: the same rlimit twice (the spec: MUST generate an
# error) and mappings without a user namespace (since runc 1.2 an error)
JUDGED: list[tuple[str, Any, bool]] = [
    ("ociVersion", "9.9.9-bogus", True),
    ("process.args", [], False),
    ("process.args", ["nosuch\0"], False),
    ("process.cwd", "tmp", False),
    ("process.env", ["NAME"], False),
    ("process.env", ["=value"], False),
    ("process.env", ["NAME="], True),
    ("process.rlimits", [{"type": "RLIMIT_X", "hard": 0, "soft": 0}], False),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "hard": 0, "soft": 1}], False),
    ("process.capabilities.bounding", ["CAP_BOGUS"], True),
    ("process.user.uid", -1, False),
    ("process.user.uid", 2**32, False),
    ("root", None, False),
    ("mounts[0].destination", "proc", True),
    ("mounts[0].type", None, False),
    ("mounts[0].type", "bind", False),
    ("annotations", {"a": 1}, False),
    ("hooks", {"poststop": []}, True),
    ("linux.namespaces[4]", {"type": "pid"}, False),
    ("linux.namespaces[4]", {"type": "net"}, False),
    ("linux.namespaces[3]", {"type": "cgroup"}, False),
    ("linux.sysctl", {"kernel.panic": "0"}, False),
    ("linux.sysctl", {"kernel.hostname": "x"}, False),
    ("linux.sysctl", {"net.ipv4.ip_forward": "1"}, True),
    ("linux.resources.memory", {"limit": 2**70}, False),
    ("linux.resources.devices[0].allow", "no", False),
    ("linux.rootfsPropagation", "sideways", False),
    ("linux.rootfsPropagation", "", True),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_MAYBE"}, False),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_NOTIFY"}, False),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW"}, True),
    ("linux.maskedPaths", [], True),
    ("windows", {}, True),
    ("unknown", {"a": [None]}, True),
]  # fmt: skip


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize(
    ("place", "value", "taken"),
    JUDGED,
    ids=[f"{place}={str(value)[:30]}" for place, value, _ in JUDGED],
)
def test_runc_judges_alike(rootfs: Path, place: str, value: Any, taken: bool) -> None:
    document = default()
    document["process"]["terminal"] = False
    document["process"]["args"] = ["/bin/busybox", "true"]
    document = put(document, locate(place), value)
    code, words = runcs(rootfs, document)
    assert (code == 0) is taken, words
    assert (check(copy(document)) == []) is taken
