"""Classes of service (linux.intelRdt), on a directory that stands in for the mount of resctrl.

Few machines have one. What makes and removes classes is tried in tests/peers/inside.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, SyscallFailed, Unsupported
from mobyshell.core.linux import resctrl
from mobyshell.core.linux.resctrl import Resctrl, disagreement
from mobyshell.core.oci.linux import IntelRdt
from mobyshell.core.runtime import Host, Runtime, classes
from mobyshell.core.runtime.diff.classes import class_lines
from mobyshell.core.runtime.operations.resctrl import lines_of
from mobyshell.core.runtime.plan import Actor, operation_json
from mobyshell.core.runtime.script import script
from mobyshell.core.runtime.steps import run
from mobyshell.runc import classes as counters
from tests.core.runtime.conftest import House

ALL = ("L3", "MB", "L3_MON")


def with_class(house: House, there: Resctrl | None) -> House:
    host = replace(Host.detect(), resctrl=there)
    house.runtime = Runtime(house.runtime.root, sink=house.runtime.sink, host=host)
    return house


def asking(**asked: Any) -> Any:
    return lambda document: document["linux"].update(intelRdt=asked)


def planned(house: House, **asked: Any) -> list[dict[str, Any]]:
    with_class(house, Resctrl("/r", ALL))
    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(asking(**asked)))
    shown = [operation_json(one) for _, one in plan.of(Actor.PARENT)]
    return [one for one in shown if one["spec"] == "config-linux.md#intelrdt"]


def test_a_class_of_its_own(house: House) -> None:
    found = planned(
        house, l3CacheSchema="L3:0=f;1=f0", memBwSchema="MB:0=20", enableMonitoring=True
    )
    assert [one["title"] for one in found] == [
        "make the class of service /r/c",
        "allot cache and bandwidth: L3:0=f;1=f0, MB:0=20",
        "make the monitoring group /r/c/mon_groups/c",
        "move the process into /r/c",
        "move the process into /r/c/mon_groups/c",
    ]
    assert [one["phase"] for one in found] == ["prepare"] * 3 + ["attach"] * 2
    assert "L3:0=f;1=f0\\nMB:0=20\\n" in found[1]["calls"][1]


def test_one_that_others_share(house: House) -> None:
    found = planned(house, closID="gold")
    assert [one["title"] for one in found] == [
        "see that there is the class of service /r/gold",
        "move the process into /r/gold",
    ]
    assert [one["title"] for one in planned(house, closID="/")] == ["move the process into /r"]


def test_the_lines_of_the_schemata() -> None:
    asked = IntelRdt(
        l3_cache_schema="L3:0=f\nMB:0=70", mem_bw_schema="MB:0=20", schemata=("L2:0=1",)
    )
    assert lines_of(asked) == ("L3:0=f", "MB:0=20", "L2:0=1")
    assert lines_of(IntelRdt(l3_cache_schema="L3:0=f\nMB:0=70")) == ("L3:0=f", "MB:0=70")
    assert lines_of(IntelRdt(clos_id="gold")) == ()


def test_the_same_as_a_script(house: House) -> None:
    with_class(house, Resctrl("/r", ALL))
    spec = house.spec(asking(closID="gold", l3CacheSchema="L3:0=f"))
    text = script(house.runtime.plan("c", str(house.bundle), spec=spec), spec)
    assert "mkdir -p '/r/gold'" in text
    assert "printf '%s\\n' 'L3:0=f' > '/r/gold/schemata'" in text
    assert "echo \"$pid\" > '/r/gold/tasks'" in text


@pytest.mark.parametrize(
    ("can", "asked", "said"),
    [
        (None, {}, "this machine has no resctrl mounted"),
        ((), {"l3CacheSchema": "L3:0=f"}, "l3CacheSchema: this machine has no cache allocation"),
        (("L3",), {"memBwSchema": "MB:0=9"}, "memBwSchema: this machine has no bandwidth"),
        (("L3",), {"enableMonitoring": True}, "enableMonitoring: this machine has no monitoring"),
    ],
)
def test_what_the_machine_lacks(
    house: House, can: tuple[str, ...] | None, asked: dict[str, Any], said: str
) -> None:
    with_class(house, Resctrl("/r", can) if can is not None else None)
    with pytest.raises(Unsupported, match=said):
        house.create("c", house.spec(asking(**asked)))


@pytest.mark.parametrize(
    ("there", "wanted", "found"),
    [
        ("L3:0=00ff;1=ffff\n    MB:0=100", ["L3:0=ff"], ""),
        ("L3:0=ff;1=f", ["L3:1=F;0=0ff"], ""),
        ("L3:0=ff", ["L3:0=f"], "L3:0=ff"),
        ("L3:0=ff", ["L3:1=f"], "no L3:1"),
        ("L3:0=ff", ["MB:0=10"], "no MB:0"),
        ("MB:0=20", ["MB:0=11"], ""),
        ("MB:0=20", ["MB:0=21"], "MB:0=20"),
    ],
)
def test_comparing_schemata(tmp_path: Path, there: str, wanted: list[str], found: str) -> None:
    (tmp_path / "schemata").write_text(there)
    assert disagreement(str(tmp_path), wanted, 10) == found


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """Where resctrl would be: files of the root, info/, and one class that is set up."""
    root = tmp_path / "resctrl"
    for name in ("info/L3", "info/MB", "info/L3_MON", "gold/mon_groups", "gold/mon_data/mon_L3_00"):
        (root / name).mkdir(parents=True)
    files = {
        "schemata": "L3:0=fff\nMB:0=100\n", "tasks": "", "gold/schemata": "L3:0=0f\nMB:0=100\n",
        "gold/tasks": "", "info/last_cmd_status": "Mask is not contiguous\n",
        "info/L3/cbm_mask": "fff\n", "info/L3/min_cbm_bits": "1\n", "info/L3/num_closids": "16\n",
        "info/MB/bandwidth_gran": "10\n", "info/MB/min_bandwidth": "10\n",
        "info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\n",
        "gold/mon_data/mon_L3_00/llc_occupancy": "4096\n",
        "gold/mon_data/mon_L3_00/mbm_total_bytes": "77\n",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).write_text(text)
    return root


@pytest.mark.root
def test_joining_a_class(house: House, mounted: Path) -> None:
    there = resctrl.at(str(mounted))
    with_class(house, there)
    spec = house.spec(asking(closID="gold", l3CacheSchema="L3:0=f"), "sleep", "1000")
    container = house.create("c", spec)
    try:
        run(house.runtime.start("c"))
        assert (mounted / "gold/tasks").read_text().split() == [str(container.pid)]
        assert (mounted / "gold/schemata").read_text().startswith("L3:0=f\n")
        # one more process comes in beside it
        house.exec("c", "true")
        assert (mounted / "gold/tasks").read_text().split() != [str(container.pid)]
        told = counters.counted(house.runtime.root, "c", there)
        assert told["l3_cache_info"] == {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16}
        assert told["l3_cache_schema_root"] == "L3:0=fff"
        assert told["mbm_stats"] == [{"mbm_total_bytes": 77}]
        assert told["cmt_stats"] == [{"llc_occupancy": 4096}]
        state, _ = house.runtime.state("c")
        said = list(class_lines(spec, state, there))
        # the last one that came in is all that the stand-in's file remembers
        assert [(one.path, one.agrees) for one in said] == [
            ("linux.intelRdt.closID", False), ("linux.intelRdt.schemata", True),
        ]  # fmt: skip
        (mounted / "gold/tasks").write_text(f"{container.pid}\n")
        (mounted / "gold/schemata").write_text("L3:0=1\nMB:0=100\n")
        said = list(class_lines(spec, state, there))
        assert [(one.agrees, one.found) for one in said] == [
            (True, f"in {mounted}/gold"), (False, "L3:0=1"),
        ]  # fmt: skip
        if resctrl.detect() is None:
            assert next(class_lines(spec, state)).agrees is None
        classes.change(house.runtime.root, "c", there, cache="L3:0=3", bandwidth="")
        assert (mounted / "gold/schemata").read_text().startswith("L3:0=3\n")
        assert '"L3:0=3"' in (house.runtime.root / "c" / "config.json").read_text()
        with pytest.raises(Unsupported, match="l3 cache schema is not enabled"):
            classes.change(house.runtime.root, "c", None, cache="L3:0=3", bandwidth="")
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)
    assert (mounted / "gold").is_dir()


@pytest.mark.root
def test_a_class_that_is_another(house: House, mounted: Path) -> None:
    with_class(house, resctrl.at(str(mounted)))
    with pytest.raises(InvalidSpec, match="gold is there with L3:0=0f, not with L3:0=ff"):
        house.create("c", house.spec(asking(closID="gold", l3CacheSchema="L3:0=ff")))
    with pytest.raises(SyscallFailed, match="see that there is the class of service") as caught:
        house.create("c", house.spec(asking(closID="silver")))
    assert "made beforehand" in caught.value.hint
    assert not (house.runtime.root / "c").exists()
    assert house.runtime.list() == []


@pytest.mark.root
def test_what_the_kernel_says_of_a_change(house: House, mounted: Path) -> None:
    (mounted / "gold/schemata").unlink()
    with pytest.raises(SyscallFailed) as caught:
        resctrl.write_schemata(str(mounted / "gold"), ["L3:0=5"])
    assert caught.value.hint == "last_cmd_status: Mask is not contiguous"


def test_where_it_is_mounted(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    line = "30 25 0:27 / {} rw,relatime shared:9 - resctrl resctrl rw\n"
    table.write_text("24 1 0:22 / /proc rw - proc proc rw\n")
    assert resctrl.detect(str(table)) is None
    table.write_text(line.format("/mnt/rdt"))
    assert resctrl.detect(str(table)) == Resctrl("/mnt/rdt")
    table.write_text(line.format("/mnt/rdt") + line.format(resctrl.USUAL))
    assert resctrl.detect(str(table)).root == resctrl.USUAL  # type: ignore[union-attr]
