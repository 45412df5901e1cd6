"""Security modules: which run, and where a plan asks them for a label."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.linux import lsm
from mobyshell.core.oci import default_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Host, make_plan
from mobyshell.core.runtime.plan import Phase, Plan
from mobyshell.core.runtime.script import script


@pytest.mark.parametrize(
    ("listed", "apparmor", "filesystems", "found"),
    [
        ("capability,landlock,apparmor\n", "N\n", "", ("capability", "landlock", "apparmor")),
        ("", "Y\n", "nodev\tproc\n", ("apparmor",)),
        ("", "N\n", "nodev\tselinuxfs\n\text4\n", ("selinux",)),
        ("", "", "\text4\n", ()),
    ],
)
def test_which_modules_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, apparmor: str,
    filesystems: str, found: tuple[str, ...],
) -> None:  # fmt: skip
    for name, text in (("_LIST", listed), ("_APPARMOR", apparmor), ("_FILESYSTEMS", filesystems)):
        if text:
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(lsm, name, str(tmp_path / name))
    assert lsm.active() == found


def labelled(path: str = "", host: Host | None = None) -> tuple[Plan, Any]:
    document = spec_to_json(default_spec())
    document["process"].update(apparmorProfile="docker-default", selinuxLabel="u:r:t:s0")
    if path:
        document["linux"]["namespaces"][1]["path"] = path
    spec = parse_spec(json.dumps(document))
    host = host or Host(lsm=("apparmor", "selinux"))
    return make_plan(spec, bundle="/b", id="c", host=host), spec


@pytest.mark.parametrize(("path", "phase"), [("", Phase.SETUP), ("/run/netns/x", Phase.JOIN)])
def test_labels_are_asked_for_while_proc_is_the_hosts(path: str, phase: Phase) -> None:
    plan, _ = labelled(path)
    titles = [one.title for one in plan.operations]
    asked = [one for one in plan.operations if one.title.startswith("ask ")]
    assert [one.phase for one in asked] == [phase, phase]
    first = next(
        index for index, one in enumerate(plan.operations)
        if any(call.name in ("setns", "move_mount", "pivot_root") for call in one.calls)
    )  # fmt: skip
    assert max(titles.index(one.title) for one in asked) < first
    files = [call.args[1] for one in asked for call in one.calls if call.name == "openat2"]
    assert [getattr(one, "value", "") for one in files] == [
        "self/attr/apparmor/exec",
        "self/attr/exec",
    ]


def test_a_script_labels_the_program_and_not_its_tools() -> None:
    plan, spec = labelled()
    text = script(plan, spec)
    before, _, last = text.rpartition("setpriv")
    assert "--apparmor-profile='docker-default' --selinux-label='u:r:t:s0'" in last
    assert "--apparmor-profile" not in before


def test_a_label_of_a_module_that_does_not_run_is_left_out_and_told() -> None:
    plan, _ = labelled(host=replace(Host(), lsm=("apparmor",)))
    asked = [one.title for one in plan.operations if one.title.startswith("ask ")]
    assert asked == ["ask AppArmor for the label docker-default at exec"]
    assert [one for one in plan.notices if one.startswith("ignoring process.")] == [
        "ignoring process.selinuxLabel: this kernel does not run selinux, "
        "the program is not confined by it"
    ]
