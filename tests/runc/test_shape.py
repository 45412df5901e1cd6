"""Shapes of bundles: one plan for all of a shape, with nothing in it that depends on the values."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.planner import make_plan
from mobyshell.runc import bundle as bundles
from mobyshell.runc import shape as shapes
from mobyshell.runc import stored
from mobyshell.runc.compiled import same
from mobyshell.runc.shape import filled, pieces, place
from tests.runc.conftest import Machine
from tests.runc.test_quick import quick as quick  # a fixture
from tests.waiting import eventually

HOST = Host.detect()

NASTY = st.sampled_from(
    ["", ".", "..", "a/../b", "//", "a//b", "/.", "=", "a=b", "{pid}", "{pid:<10}", "%s", " ", "'",
     '"', "\\", "\n", "é", "🐳", "PATH", "HOME=", "-", "/proc", "/sys/fs/cgroup", "/rootfs", "a:b"]
)  # fmt: skip
WORD = NASTY | st.text(st.characters(exclude_characters="\0\ue000", codec="utf-8"), max_size=12)
NAME = st.text("abcXYZ019_.-", min_size=1, max_size=12)
PLAIN = st.lists(st.text("abcXYZ019_é -", min_size=1, max_size=12), min_size=2, max_size=5)
PATH = (PLAIN | PLAIN | st.lists(NAME | WORD, max_size=5)).map(lambda parts: "/" + "/".join(parts))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Specs that differ in what tells containers apart, and in some of what does not."""
    document: dict[str, Any] = copy.deepcopy(spec_to_json(default_spec()))
    process, linux = document["process"], document["linux"]
    process["terminal"] = False
    process["args"] = [
        draw(st.sampled_from(["sh", "/bin/true"])),
        *draw(st.lists(WORD, max_size=3)),
    ]
    names = draw(st.lists(st.sampled_from(["A", "B", "PATH", "HOME"]), max_size=4, unique=True))
    process["env"] = [f"{name}={draw(WORD)}" for name in names]
    document["root"]["path"] = draw(st.just("rootfs") | PATH)
    document["hostname"] = draw(WORD)
    document["annotations"] = draw(st.dictionaries(WORD, WORD, max_size=2))
    if draw(st.booleans()):
        linux["cgroupsPath"] = draw(PATH | NAME)
    if draw(st.booleans()):
        linux["rootfsPropagation"] = draw(st.sampled_from(["rprivate", "slave", "shared"]))
    for destination in draw(st.lists(st.sampled_from(["/etc/hosts", "/data"]), max_size=2)):
        document["mounts"].append({
            "destination": destination, "type": "bind", "source": draw(PATH),
            "options": draw(st.sampled_from([["rbind", "ro"], ["bind", "rprivate", "nosuid"]])),
        })  # fmt: skip
    return document


@pytest.mark.root
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(document=documents())
def test_the_plan_of_a_shape_is_the_plan_of_its_bundles(
    tmp_path: Path, document: dict[str, Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(document))
    bundle, runtime = str(tmp_path), Runtime(tmp_path / "root")
    try:
        shape = shapes.read(bundle)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return  # left to the library
    try:
        spec = bundles.of(copy.deepcopy(shape.document))
        general = runtime.plan(stored.ID, f"/{place(shapes.BUNDLE)}", spec=spec)
    except MobyshellError:
        return  # what is refused is never stored
    # no value may be a reason to refuse a bundle whose shape is not refused
    actual = runtime.plan(stored.ID, bundle, spec=bundles.load(bundle))
    spreads = document["linux"].get("rootfsPropagation") in ("slave", "shared")
    # there the plan goes up the path of the rootfs step by step: such a shape is never stored
    assert same(general, shape.values, actual) is not spreads


@pytest.mark.root
def test_what_is_no_value_is_another_shape(tmp_path: Path) -> None:
    def key(change: Any = lambda document: None) -> bytes:
        document = copy.deepcopy(spec_to_json(default_spec()))
        document["process"]["env"] = ["A=1", "PATH=/bin"]
        document["mounts"].append(
            {"destination": "/d", "type": "bind", "source": "/a", "options": ["bind"]}
        )
        change(document)
        (tmp_path / "config.json").write_text(json.dumps(document))
        return stored.key("/run/x", shapes.read(str(tmp_path)).document, True)

    first = key()
    assert key(lambda d: d.update(hostname="other")) == first
    assert key(lambda d: d["process"].update(env=["A=2", "PATH=/bin"])) == first
    assert key(lambda d: d["mounts"][-1].update(source="/tmp/x/y")) == first
    for change in (
        lambda d: d["process"].update(args=["ls"]),
        lambda d: d["process"].update(args=["sh", "-c"]),
        lambda d: d["process"].update(env=["A=1", "PATH=/sbin"]),
        lambda d: d["process"].update(env=["B=1", "PATH=/bin"]),
        lambda d: d["process"].update(cwd="/tmp"),
        lambda d: d["process"]["user"].update(uid=1),
        lambda d: d["process"]["rlimits"][0].update(soft=7),
        lambda d: d["root"].update(readonly=False),
        lambda d: d.pop("hostname"),
        lambda d: d["mounts"][-1].update(destination="/e"),
        lambda d: d["mounts"][-1].update(options=["rbind"]),
        lambda d: d["linux"].update(cgroupsPath="/a/b"),
        lambda d: d["linux"]["namespaces"].pop(),
        lambda d: d["linux"]["maskedPaths"].pop(),
        lambda d: d.update(hooks={}),
    ):
        assert key(change) != first


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["root"].update(path="../rootfs"),
        lambda d: d["root"].update(path="/"),
        lambda d: d["root"].update(path="/rootfs"),
        lambda d: d["process"].update(env=["A=1", "A=2"]),
        lambda d: d["process"].update(env=["A"]),
        lambda d: d["process"].update(env=["A=\0"]),
        lambda d: d["process"].update(args=["true", "\ue000" + "1\ue000"]),
        lambda d: d["process"].update(args=[]),
        lambda d: d["process"].update(args="true"),
        lambda d: d["process"].update(args=["true", ["a"]]),
        lambda d: d["process"].update(args=["true", 1]),
        lambda d: d["process"].update(env="A=1"),
        lambda d: d["process"].update(env={"A=1": 2}),
        lambda d: d["root"].update(path=["rootfs"]),
        lambda d: d.update(hostname=["a"]),
        lambda d: d.update(annotations=[]),
        lambda d: d["linux"].update(cgroupsPath=["/a"]),
        lambda d: d.update(hostname="x" * 65),
        lambda d: d.update(annotations={"a": 1}),
        lambda d: d.update(mounts={"a": 1}),
        lambda d: d["linux"].update(cgroupsPath="/a/.."),
        lambda d: d["mounts"].append({"destination": "/d", "options": ["bind"], "source": "here"}),
        lambda d: d["mounts"].append({"destination": "/d/../e", "type": "tmpfs"}),
        lambda d: d.pop("linux"),
        lambda d: d.pop("process"),
    ],
)
def test_what_has_no_shape_is_the_librarys(tmp_path: Path, change: Any) -> None:
    document = copy.deepcopy(spec_to_json(default_spec()))
    change(document)
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError, IndexError)):
        shapes.read(str(tmp_path))


def test_a_mount_in_the_rootfs_has_no_shape(tmp_path: Path) -> None:
    for entry in (
        {"destination": "/d", "source": f"{tmp_path}/rootfs/a", "options": ["bind"]},
        {"destination": f"{tmp_path}/rootfs/d", "type": "tmpfs"},
    ):
        document = copy.deepcopy(spec_to_json(default_spec()))
        document["mounts"].append(entry)
        (tmp_path / "config.json").write_text(json.dumps(document))
        with pytest.raises(ValueError, match=r"path with turns|another kind"):
            shapes.read(str(tmp_path))


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}', "{} {}", "nul"])
def test_what_is_no_proper_document_has_no_shape(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises((ValueError, KeyError)):
        shapes.read(str(tmp_path))


def test_texts_with_places() -> None:
    assert pieces("plain") == ("plain",)
    parts = pieces(f"/a/{place(3)}{place(0)}b")
    assert parts == ("/a/", 3, 0, "b")
    assert filled(parts, ["x", "", "", "y/z"]) == "/a/y/zxb"


SCRIPT = (
    'echo "$@" $0; hostname; env | sort; cat /data/file; pwd; cat /proc/self/cgroup; '
    "grep -E 'Cap|NoNew|Uid' /proc/self/status; cut -d' ' -f4-6 /proc/self/mountinfo | sort"
)


@pytest.mark.root
def test_a_bundle_never_seen_is_run_as_the_library_runs_it(
    ours: Machine, quick: Machine, tmp_path: Path
) -> None:
    def bundle(name: str) -> None:
        """As an engine makes one: other names, other files."""
        data = tmp_path / f"data of {name}"
        data.mkdir(exist_ok=True)
        (data / "file").write_text(f"of {name}\n")

        def change(document: dict[str, Any]) -> None:
            document["hostname"] = f"host-{name}"
            document["annotations"] = {f"name of {name}": name * 3}
            document["process"]["env"] = ["PATH=/bin", f"NAME={name}", "EMPTY=", f"L={name * 400}"]
            document["linux"]["cgroupsPath"] = f"/moby-shape-{os.getpid()}/{name}"
            document["mounts"].append({
                "destination": "/data", "type": "bind", "source": str(data), "options": ["bind"],
            })  # fmt: skip

        ours.spec("sh", "-c", SCRIPT, name, f"{name} 'quoted' \"é\"", change=change)

    for name in ("one", "another"):
        bundle(name)
        ours.ok("run", name)
    for name in ("x", "long" * 9, "y"):
        bundle(name)
        assert quick.ok("run", name) == ours.ok("--debug", "run", name)
        quick.quiet("create", name)
        record = json.loads((ours.root / name / "state.json").read_text())
        assert record["annotations"] == {f"name of {name}": name * 3}
        assert record["args"][-1] == f"{name} 'quoted' \"é\""
        assert record["cgroup_levels"]
        assert (ours.root / name / "config.json").read_bytes() == (
            ours.bundle / "config.json"
        ).read_bytes()
        ours.ok("delete", "--force", name)
        assert not any(Path(one).exists() for one in record["cgroup_levels"])


@pytest.mark.root
def test_another_rootfs_with_other_users(
    ours: Machine, quick: Machine, tmp_path: Path
) -> None:  # fmt: skip
    def rootfs(name: str, passwd: str | None) -> dict[str, Any]:
        place = tmp_path / name
        (place / "bin").mkdir(parents=True)
        (place / "etc").mkdir()
        (place / "bin" / "sh").write_bytes((ours.rootfs / "bin" / "sh").read_bytes())
        (place / "bin" / "sh").chmod(0o755)
        if passwd is not None:
            (place / "etc" / "passwd").write_text(passwd)
        return ours.spec(
            "sh", "-c", "echo $HOME", change=lambda d: d["root"].update(path=str(place))
        )

    for name in ("a", "b"):
        rootfs(name, f"root:x:0:0::/{name}:\n")
        assert ours.ok("run", "c") == f"/{name}\n"
    rootfs("c", "other:x:1:1::/other:\nroot:x:0:0:Root:/root of c:/bin/sh\n")
    assert quick.ok("run", "c") == "/root of c\n"
    rootfs("none", None)
    assert quick.ok("run", "c") == ours.ok("--debug", "run", "c") == "/\n"
    rootfs("link", None)
    (tmp_path / "link" / "etc" / "passwd").symlink_to("/etc/hostname")
    assert quick.call("run", "c").returncode == 99
    eventually(lambda: not (ours.root / "c").exists())


STEP = st.sampled_from(["a", "b", "conmon-1", "conmon-2"])
STEPS = st.lists(STEP, max_size=4).map(lambda steps: "".join(f"/{one}" for one in steps))


@pytest.mark.root
@settings(max_examples=150, deadline=None)
@given(above=STEPS, owns=st.tuples(STEPS, STEPS), name=st.sampled_from(["/c", "c", ""]))
def test_where_the_caller_is_counts_only_where_the_plan_shows_it(
    above: str, owns: tuple[str, str], name: str
) -> None:
    """podman calls from another cgroup for each container."""
    spec = default_spec()
    assert spec.linux is not None
    path = f"{above}{name}" if name else None
    spec = replace(spec, linux=replace(spec.linux, cgroups_path=path))
    mounts = [b"1 1 0:1 / /sys/fs/cgroup/x rw - cgroup"]
    keys: list[tuple[Any, ...]] = []
    found: list[object] = []
    for own in owns:
        groups = {"cpuset": own, "memory": own, "": own}
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(stored, "own_groups", lambda groups=groups: groups)
            keys.append(stored._beside(path or "", mounts))
        host = replace(
            HOST,
            cgroup_own={one: f"/sys/fs/cgroup/{one or 'unified'}{own}" for one in groups},
            cgroup_roots={one: f"/sys/fs/cgroup/{one or 'unified'}" for one in groups},
            cgroup_usable="/sys/fs/cgroup/unified",
            cgroup_mode="hybrid",
            cgroup_writable=True,
        )
        try:
            plan = make_plan(spec, bundle="/b", id="c", host=host)
        except MobyshellError as error:
            found.append(str(error))
        else:
            found.append([(one.calls, one.phase) for one in plan.operations])
    if keys[0] == keys[1]:
        assert found[0] == found[1]
