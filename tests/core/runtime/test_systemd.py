"""cgroups by systemd: what is asked of it (pure), and the driver against a D-Bus and a small systemd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidSpec, MobyshellError, NotFound, Unsupported
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.systemd import connected
from mobyshell.core.oci import default_spec, dump_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Host, Runtime, groups, gvariant, units
from mobyshell.core.runtime.planner import make_plan
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House, places_of

NONE = 2**64 - 1
TOP = "/sys/fs/cgroup"


def test_a_unit_is_named_by_cgroups_path() -> None:
    unit = units.unit_of("test-a-b.slice:cri:c1", "id", user=False)
    assert (unit.name, unit.path) == (
        "cri-c1.scope", "/test.slice/test-a.slice/test-a-b.slice/cri-c1.scope",
    )  # fmt: skip
    assert units.unit_of("", "id", user=False).path == "/system.slice/mobyshell-id.scope"
    assert units.unit_of("", "id", user=True).path == "/user.slice/mobyshell-id.scope"
    assert units.unit_of("::c", "id", user=False).path == "/system.slice/c.scope"
    assert units.unit_of("-.slice:p:c", "id", user=False).path == "/p-c.scope"
    assert units.unit_of("a.slice:ignored:a-b.slice", "id", user=False).name == "a-b.slice"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/pod/one", 'of format "slice:prefix:name" for systemd cgroups, got "/pod/one" instead'),
        ("a.slice:b", "slice:prefix:name"),
        ("a.slice:b:", "slice:prefix:name"),
        ("a.slice:b:c/d", "slice:prefix:name"),
        ("a:b:c", "invalid slice name: a"),
        ("a--b.slice:b:c", "invalid slice name: a--b.slice"),
        ("../a.slice:b:c", "invalid slice name"),
        (".slice:b:c", "invalid slice name"),
    ],
)
def test_paths_that_name_no_unit(path: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        units.unit_of(path, "id", user=False)


LIMITS: dict[str, Any] = {
    "cpu": {"shares": 1024, "quota": 25000, "period": 100000, "cpus": "0-2,9", "mems": "0"},
    "memory": {"limit": 1 << 30, "reservation": 1 << 20, "swap": 3 << 29},
    "pids": {"limit": -1}, "blockIO": {"weight": 100},
}  # fmt: skip


def test_limits_as_properties() -> None:
    v2 = dict(units.limit_properties(LIMITS, v2=True))
    assert v2 == {
        "MemoryMax": ("t", 1 << 30), "MemoryLow": ("t", 1 << 20), "MemorySwapMax": ("t", 1 << 29),
        "CPUWeight": ("t", 39), "CPUQuotaPeriodUSec": ("t", 100000), "CPUQuotaPerSecUSec": ("t", 250000),
        "TasksMax": ("t", NONE), "AllowedCPUs": ("ay", b"\x07\x02"), "AllowedMemoryNodes": ("ay", b"\x01"),
    }  # fmt: skip
    v1 = dict(units.limit_properties(LIMITS, v2=False))
    assert {
        "MemoryLimit": ("t", 1 << 30),
        "CPUShares": ("t", 1024),
        "BlockIOWeight": ("t", 100),
    }.items() <= v1.items()
    assert not {"MemoryMax", "MemoryLow", "MemorySwapMax", "CPUWeight"} & set(v1)


def test_a_quota_is_rounded_up_to_what_systemd_can_count() -> None:
    def second(**cpu: int) -> int:
        found: int = dict(units.limit_properties({"cpu": cpu}, v2=True))["CPUQuotaPerSecUSec"][1]
        return found

    assert second(quota=10) == 10_000
    assert second(quota=30_001, period=100_000) == 310_000
    assert second(quota=-1) == NONE


def test_unified_files_that_are_properties() -> None:
    files = {"memory.high": "max", "cpu.max": "max 50000", "pids.max": "7", "cpuset.cpus": "1",
             "io.max": "8:0 rbps=1", "memory.oom.group": "1"}  # fmt: skip
    assert dict(units.limit_properties({"unified": files}, v2=True)) == {
        "MemoryHigh": ("t", NONE), "CPUQuotaPeriodUSec": ("t", 50000), "CPUQuotaPerSecUSec": ("t", NONE),
        "TasksMax": ("t", 7), "AllowedCPUs": ("ay", b"\x02"),
    }  # fmt: skip


def test_devices_as_properties() -> None:
    deny: dict[str, Any] = {"allow": False, "access": "rwm"}
    some: dict[str, Any] = {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"}
    found = dict(units.device_properties([deny, some, {"allow": True, "type": "c", "major": 226}]))
    assert found["DevicePolicy"] == ("s", "strict")
    allowed = found["DeviceAllow"][1]
    assert allowed[:2] == [("/dev/block/8:0", "r"), ("char-226", "rwm")]
    assert {
        ("char-*", "m"),
        ("block-*", "m"),
        ("/dev/char/1:3", "rwm"),
        ("char-136", "rwm"),
    } <= set(allowed)
    # what it cannot say it allows, and our own filter decides
    for rules in ([some], [deny, {"allow": True}], [{"allow": True}, {**some, "allow": False}]):
        assert units.device_properties(rules) == [
            ("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", [])),
        ]  # fmt: skip


def test_properties_come_back_from_a_plan() -> None:
    unit = units.unit_of("a.slice:b:c", "c", user=False)
    given = units.start_properties(
        unit, "c", {**LIMITS, "devices": [{"allow": False}]}, {"org.systemd.property.After": "['x.service']"},
        v2=True,
    )  # fmt: skip
    assert units.from_json(units.to_json(given)) == given
    assert ("Slice", ("s", "a.slice")) in given
    assert ("Delegate", ("b", True)) in given
    assert ("DefaultDependencies", ("b", False)) in given


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)), ("'it\\'s'", ("s", "it's")), ('"x"', ("s", "x")), ("5", ("i", 5)),
        ("-5", ("i", -5)), ("uint64 5", ("t", 5)), ("0x10", ("i", 16)), ("1.5", ("d", 1.5)),
        ("2e3", ("d", 2000.0)),
        ("double 3", ("d", 3.0)), ("byte 255", ("y", 255)), ("['a', 'b']", ("as", ["a", "b"])),
        ("@as []", ("as", [])), ("@at [1, 2]", ("at", [1, 2])), ("('a', uint32 1)", ("(su)", ("a", 1))),
        ("@a(ss) [('a', 'b')]", ("a(ss)", [("a", "b")])), (" [ true,false ] ", ("ab", [True, False])),
        ("objectpath '/a'", ("o", "/a")),
    ],
)  # fmt: skip
def test_values_of_annotations(text: str, value: tuple[str, Any]) -> None:
    assert gvariant.parse(text, "x") == value


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "'open", "[]", "[1, 'a']", "5 5", "byte 256", "uint64 -1", "int32 1.5", "(", "()",
     "[" * 50, "true true", "@s 5", "uint64 'a'", "@a [1]", "\0", "-"],
)  # fmt: skip
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(InvalidSpec, match="annotations"):
        gvariant.parse(text, "annotations[x]")


def send(properties: list[tuple[str, tuple[str, Any]]]) -> None:
    """Put them into a message; raises if D-Bus cannot carry them."""
    from jeepney import DBusAddress, new_method_call

    manager = DBusAddress("/", bus_name="a.b", interface="a.b")
    new_method_call(manager, "Member", "a(sv)", (properties,)).serialise(serial=1)


_BIT = st.sampled_from(
    ["true", "5", "-7", "1.5", "1e999", "0x1F", "uint64", "byte", "double", "@as", "@a(ss)", "@t", "[", "]",
     "(", ")", ",", "'a'", '"b"', "'", "\\", " ", "\0", "\udc80", "99999999999999999999", "NaN"]
)  # fmt: skip


@given(
    text=st.lists(_BIT, max_size=12).map("".join), name=st.sampled_from(["TimeoutStopSec", "Any"])
)
def test_any_text_is_a_property_or_a_named_problem(text: str, name: str) -> None:
    try:
        found = units.annotated({f"org.systemd.property.{name}": text})
    except InvalidSpec as error:
        assert "annotations[" in str(error)
        return
    # what is taken can be sent, and can stand in a plan
    send(found)
    assert units.from_json(units.to_json(found)) == found


_NUMBER = st.sampled_from([-1, 0, 1, 999, 100_000, 2**63 - 1])
_FILES = st.sampled_from(
    ["cpu.max", "memory.max", "pids.max", "cpuset.cpus", "cpu.weight", "io.max"]
)
_VALUES = st.sampled_from(["max", "5", "9" * 60, "max 5", f"{'9' * 60} {'9' * 60}", "", "0-3", "x"])


@given(quota=_NUMBER, period=_NUMBER.filter(lambda one: one >= 0), memory=_NUMBER, pids=_NUMBER,
       files=st.dictionaries(_FILES, _VALUES))  # fmt: skip
def test_limits_of_any_size_can_be_sent(
    quota: int, period: int, memory: int, pids: int, files: dict[str, str]
) -> None:
    resources = {"cpu": {"quota": quota, "period": period}, "memory": {"limit": memory},
                 "pids": {"limit": pids}, "unified": files}  # fmt: skip
    for v2 in (False, True):
        try:
            found = units.limit_properties(resources, v2=v2)
        except InvalidSpec as error:
            assert "list of CPUs" in str(error)
            continue
        send(found)


@pytest.mark.root
@pytest.mark.peer
def test_a_name_that_d_bus_cannot_carry(bus: Bus) -> None:
    with connected(user=False) as manager, pytest.raises(InvalidSpec, match="D-Bus cannot carry"):
        manager.set_properties("\udc80.scope", [])


def test_annotations_are_properties_and_seconds_microseconds() -> None:
    given = {"org.systemd.property.TimeoutStopSec": "uint64 5",
             "org.systemd.property.CollectMode": "'inactive-or-failed'",
             "org.systemd.property.RuntimeMaxUSec": "uint64 7", "org.opencontainers.image": "x"}  # fmt: skip
    assert units.annotated(given) == [
        ("TimeoutStopUSec", ("t", 5_000_000)), ("CollectMode", ("s", "inactive-or-failed")),
        ("RuntimeMaxUSec", ("t", 7)),
    ]  # fmt: skip
    assert units.annotated({"org.systemd.property.TimeoutStopSec": "1.5"}) == [
        ("TimeoutStopUSec", ("t", 1_500_000))
    ]
    for key, text in (("bad name", "5"), ("TimeoutStopSec", "'a'"), ("TimeoutStopSec", "-5")):
        with pytest.raises(InvalidSpec, match="annotations"):
            units.annotated({f"org.systemd.property.{key}": text})


def test_the_plan_on_v2_alone() -> None:
    host = Host(cgroup_mode="v2", cgroup_own={"": f"{TOP}/init.scope"}, cgroup_roots={"": TOP},
                cgroup_usable=TOP, cgroup_v2_controllers=("cpu", "memory", "pids", "hugetlb"))  # fmt: skip
    document = spec_to_json(default_spec())
    document["linux"]["cgroupsPath"] = "a-b.slice:p:c"
    document["linux"]["resources"].update(
        memory={"limit": 4096}, hugepageLimits=[{"pageSize": "2MB", "limit": 0}]
    )
    spec = parse_spec(json.dumps(document))
    made = make_plan(spec, bundle="/b", id="c", host=host, systemd=True)
    assert (made.unit, made.cgroups) == ("p-c.scope", {"": f"{TOP}/a.slice/a-b.slice/p-c.scope"})
    assert made.attended
    titles = [one.title for one in made.operations if one.phase == "attach"]
    assert titles[:3] == [
        "have systemd start p-c.scope in a-b.slice, with the child in it",
        # systemd hands down what it knows
        f"hand hugetlb down to what is below {TOP}/a.slice/a-b.slice",
        "memory.max = 4096",
    ]
    assert not any("cgroup" in one.title for one in made.operations if one.phase == "prepare")
    user = replace(host, euid=1000, uid=1000)
    rootless = spec_to_json(default_spec(rootless=True, uid=1000, gid=1000))
    spec = parse_spec(json.dumps(rootless))
    made = make_plan(spec, bundle="/b", id="c", host=replace(user, egid=1000), systemd=True)
    assert (
        made.cgroups[""]
        == f"{TOP}/user.slice/user-1000.slice/user@1000.service/user.slice/mobyshell-c.scope"
    )
    with pytest.raises(Unsupported, match="no cgroups to give on this machine"):
        make_plan(spec, bundle="/b", id="c", host=replace(user, cgroup_mode="hybrid"), systemd=True)


@dataclass
class Bus:
    """A D-Bus of our own with a systemd on it."""

    journal: Path

    def calls(self, member: str) -> list[Any]:
        lines = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [body for name, body in lines if name == member]

    def properties(self, number: int = 0) -> dict[str, Any]:
        return {name: value for name, (_, value) in self.calls("StartTransientUnit")[number][2]}


CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


@pytest.fixture
def empty_bus(tmp_path: Path) -> Iterator[str]:
    """The address of a bus with nobody on it."""
    config, socket = tmp_path / "bus.conf", tmp_path / "bus"
    config.write_text(CONFIG.format(socket=socket))
    words = ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address"]
    with ending(words) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline().startswith("unix:")
        yield f"unix:path={socket}"


@pytest.fixture
def bus(empty_bus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", empty_bus)
    here = cgroups.detect().roots
    tops = [top for name, top in here.items() if name not in groups.UNMANAGED]
    with fake_systemd(empty_bus, tmp_path / "journal", *tops):
        yield Bus(tmp_path / "journal")


@contextmanager
def fake_systemd(address: str, journal: Path, *tops: str) -> Iterator[None]:
    with ending([sys.executable, str(FAKE), address, str(journal), *tops]) as systemd:
        assert systemd.stdout is not None
        assert systemd.stdout.readline() == "ready\n"
        yield


@contextmanager
def ending(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A program that is killed at the end of the block."""
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def managed(house: House, bus: Bus) -> House:
    house.runtime = Runtime(house.runtime.root, sink=house.runtime.sink, systemd=True)
    return house


FAKE = Path(__file__).parents[1] / "linux" / "fake_systemd.py"
SLICE = f"mobyshelltest{os.getpid()}.slice"


def in_slice(**resources: Any) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["cgroupsPath"] = f"{SLICE}:test:c"
        document["linux"]["resources"].update(resources)
        document.setdefault("annotations", {})["org.systemd.property.CollectMode"] = (
            "'inactive-or-failed'"
        )

    return change


@pytest.mark.root
@pytest.mark.peer
def test_the_life_of_a_container_in_a_scope(managed: House, bus: Bus) -> None:
    change = in_slice(pids={"limit": 9}, memory={"limit": 64 << 20})
    container = managed.create("c", managed.spec(change, "sleep", "1000"))
    state = run(managed.runtime.start("c"))
    try:
        assert state.unit == "test-c.scope"
        assert all(path.endswith(f"/{SLICE}/test-c.scope") for path in state.cgroups.values())
        assert all(state.pid in cgroups.processes(path) for path in state.cgroups.values())
        ((unit, mode, _, _),) = bus.calls("StartTransientUnit")
        assert (unit, mode) == ("test-c.scope", "replace")
        given = bus.properties()
        assert given["PIDs"] == [state.pid]
        assert (given["Slice"], given["TasksMax"], given["CollectMode"]) == (
            SLICE,
            9,
            "inactive-or-failed",
        )
        assert (given["Delegate"], given["DefaultDependencies"], given["DevicePolicy"]) == (
            True,
            False,
            "strict",
        )
        assert [one for one in managed.runtime.diff("c") if one.agrees is False] == []
        run(managed.runtime.update("c", {"pids": {"limit": 8}}))
        assert bus.calls("SetUnitProperties") == [["test-c.scope", True, [["TasksMax", ["t", 8]]]]]
        assert cgroups.read(state.cgroups["pids"], "pids.max") == "8"
        with pytest.raises(MobyshellError):
            run(managed.runtime.update("c", {"pids": {"limit": 7}, "cpu": {"cpus": "900"}}))
        # taken back with the writes: systemd is told of what it was
        assert ["TasksMax", ["t", 8]] in bus.calls("SetUnitProperties")[-1][2]
        result = managed.exec("c", "cat", "/proc/self/cgroup")
        places = places_of(result.output, state.cgroups)
        assert places
        assert all(line.endswith("/test-c.scope") for line in places)
    finally:
        os.close(container.pidfd)
        run(managed.runtime.delete("c", force=True))
    assert bus.calls("StopUnit") == [["test-c.scope", "replace"]]
    assert bus.calls("ResetFailedUnit") == [["test-c.scope"]]
    assert not any(os.path.exists(os.path.dirname(path)) for path in state.cgroups.values())


@pytest.mark.root
@pytest.mark.peer
@pytest.mark.parametrize("inside", ["--map-root-user", "--map-user=1000"])
def test_the_bus_knows_us_by_who_we_are_outside(empty_bus: str, inside: str) -> None:
    """As under podman of a user, which calls its runtime as root of a user namespace."""
    script = "from mobyshell.core.linux.systemd import connected\nwith connected(user=False): print('in')"
    done = subprocess.run(
        ["unshare", "--user", inside, sys.executable, "-c", script], text=True, check=False,
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": empty_bus}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "in\n", done.stderr


@pytest.mark.root
@pytest.mark.peer
def test_a_bus_that_does_not_let_us_in(empty_bus: str) -> None:
    script = "from mobyshell.core.linux.systemd import connected\nwith connected(user=False): print('in')"
    done = subprocess.run(
        [sys.executable, "-c", script], text=True, check=False, capture_output=True, timeout=60,
        env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": empty_bus}, user=61238,
    )  # fmt: skip
    assert done.returncode != 0
    assert "no systemd to be reached over D-Bus" in done.stderr


@pytest.mark.root
@pytest.mark.peer
def test_a_unit_that_failed_before_is_forgotten(managed: House, bus: Bus) -> None:
    with connected(user=False) as manager:
        properties = [("Description", ("s", "x")), ("Slice", ("s", SLICE))]
        manager.start("test-c.scope", properties)
        manager._job(
            "StopUnit", "ss", ("test-c.scope", "replace"), "test-c.scope"
        )  # left as failed
    container = managed.create("c", managed.spec(in_slice(), "true"))
    os.close(container.pidfd)
    run(managed.runtime.delete("c"))
    assert len(bus.calls("StartTransientUnit")) == 3


@pytest.mark.root
@pytest.mark.peer
def test_what_systemd_says_is_the_error_and_nothing_is_left(managed: House, bus: Bus) -> None:
    def nonsense(document: dict[str, Any]) -> None:
        in_slice()(document)
        document["annotations"] = {"org.systemd.property.Nonsense": "true"}

    with pytest.raises(
        MobyshellError, match=r"does not start test-c.scope: Cannot set property Nonsense"
    ):
        managed.create("c", managed.spec(nonsense, "true"))
    with pytest.raises(MobyshellError, match=r"says of test-c.scope: failed") as info:
        managed.create("unlucky", managed.spec(in_slice(), "true"))
    assert info.value.hint == "`systemctl status test-c.scope`"
    assert os.listdir(managed.runtime.root) == []
    with connected(user=False) as manager, pytest.raises(NotFound, match="not loaded"):
        manager.set_properties("nowhere.scope", [])
    with connected(user=False) as manager:
        manager.stop("nowhere.scope")


@pytest.mark.root
def test_a_machine_without_systemd_says_so(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={tmp_path}/nobody")
    house.runtime = Runtime(house.runtime.root, systemd=True)
    with pytest.raises(
        Unsupported, match="no systemd to be reached over D-Bus: No such file"
    ) as info:
        house.create("c", house.spec(in_slice(), "true"))
    assert "cgroupfs" in info.value.hint
    assert os.listdir(house.runtime.root) == []


@pytest.mark.peer
def test_a_systemd_that_is_not_on_the_bus_yet_is_waited_for(
    empty_bus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", empty_bus)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with (
        connected(user=True) as manager,
        pytest.raises(Unsupported, match=r"does not stop nowhere.scope: The name") as info,
    ):
        manager.stop("nowhere.scope")
    assert info.value.hint == "this machine does not run systemd"
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    failures: list[BaseException] = []

    def stop() -> None:
        try:
            with connected(user=True) as manager:
                manager.stop("nowhere.scope")
        except BaseException as error:
            failures.append(error)

    early = threading.Thread(target=stop)
    early.start()
    with fake_systemd(empty_bus, tmp_path / "journal"):
        early.join(60)
        assert not early.is_alive()
    assert failures == []
    assert Bus(tmp_path / "journal").calls("StopUnit") == [["nowhere.scope", "replace"]]


@pytest.mark.root
@pytest.mark.peer
def test_the_runtime_as_a_process_asks_systemd(house: House, bus: Bus, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    spec = house.spec(in_slice(), "cat", "/proc/self/cgroup")
    (bundle / "config.json").write_text(dump_spec(spec))
    words = [
        sys.executable,
        "-m",
        "mobyshell.runc",
        "--root",
        str(tmp_path / "runc"),
        "--systemd-cgroup",
    ]
    done = subprocess.run([*words, "run", "-b", str(bundle), "one"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    places = places_of(done.stdout, cgroups.detect().own)
    assert places
    assert all(line.endswith(f"/{SLICE}/test-c.scope") for line in places)
    assert bus.calls("StopUnit") == [["test-c.scope", "replace"]]
    nobody = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={tmp_path}/nobody"}
    done = subprocess.run([*words, "run", "-b", str(bundle), "one"], stdin=subprocess.DEVNULL, env=nobody,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 1
    assert "no systemd to be reached over D-Bus" in done.stderr
    assert not (tmp_path / "runc" / "one").exists()
