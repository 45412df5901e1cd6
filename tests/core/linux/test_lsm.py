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
from mobyshell.core.runtime.exec_planner import make_exec_plan
from mobyshell.core.runtime.execution import confinement
from mobyshell.core.runtime.plan import Phase, Plan
from mobyshell.core.runtime.script import script
from mobyshell.core.runtime.values import Options


@pytest.mark.parametrize(
    ("listed", "apparmor", "filesystems", "own", "found"),
    [
        ("capability,landlock,apparmor\n", "N\n", "", "", ("capability", "landlock", "apparmor")),
        ("", "Y\n", "nodev\tproc\n", "unconfined\n", ("apparmor",)),
        ("", "N\n", "nodev\tselinuxfs\n\text4\n", "u:r:t:s0\0", ("selinux",)),
        ("", "", "\text4\n", "", ()),
        # it runs, and has no policy
        ("capability,selinux\n", "N\n", "nodev\tselinuxfs\n", "kernel\0", ("capability",)),
        ("", "N\n", "nodev\tselinuxfs\n", "kernel\0", ()),
    ],
)
def test_which_modules_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, apparmor: str,
    filesystems: str, own: str, found: tuple[str, ...],
) -> None:  # fmt: skip
    for name, text in (
        ("_LIST", listed), ("_APPARMOR", apparmor), ("_FILESYSTEMS", filesystems), ("_OWN", own),
    ):  # fmt: skip
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


def test_the_keyring_has_the_programs_label() -> None:
    """Before it is made; and none is asked for if there is to be no keyring of its own."""
    plan, spec = labelled()
    titles = [one.title for one in plan.operations]
    asked = "have SELinux know the session's keyring by the label u:r:t:s0"
    assert titles.index(asked) < titles.index("start a new session and keyring")
    host = Host(lsm=("apparmor", "selinux"))
    without = make_plan(spec, bundle="/b", id="c", host=host, options=Options(keyring=False))
    assert asked not in [one.title for one in without.operations]


def test_a_further_process_has_the_labels_of_the_first() -> None:
    _, spec = labelled()
    assert spec.process is not None
    host = Host(lsm=("apparmor", "selinux"))
    for given, shown in ((None, "docker-default"), ("", "docker-default"), ("mine", "mine")):
        process = replace(spec.process, apparmor_profile=given, selinux_label=None)
        plan = make_exec_plan(spec, process, id="c", bundle="/b", host=host, cgroups={})
        asked = [one.title for one in plan.operations if one.title.startswith("ask ")]
        assert asked == [f"ask AppArmor for the label {shown} at exec",
                         "ask SELinux for the label u:r:t:s0 at exec"]  # fmt: skip


def test_a_hook_inside_has_the_labels_of_the_program_before_it_is_in_there() -> None:
    _, spec = labelled()
    becoming = confinement(spec, Host(lsm=("apparmor", "selinux")), lambda *_: (b"", 0, ""))
    assert [one.title for one in becoming if one.phase is Phase.JOIN] == [
        "ask AppArmor for the label docker-default at exec",
        "ask SELinux for the label u:r:t:s0 at exec",
    ]


def test_a_script_labels_the_program_and_not_its_tools() -> None:
    plan, spec = labelled()
    text = script(plan, spec)
    before, _, last = text.rpartition("setpriv")
    written = (
        "printf %s '\\''exec docker-default'\\'' > /proc/self/attr/apparmor/exec && "
        "printf %s '\\''u:r:t:s0'\\'' > /proc/self/attr/exec && exec \"$@\"' sh"
    )
    assert written in last
    assert last.index(written) < last.index('"$host_env"')  # which is labelled as well
    assert "/proc/self/attr" not in before


def test_a_label_of_a_module_that_does_not_run_is_left_out_and_told() -> None:
    plan, _ = labelled(host=replace(Host(), lsm=("apparmor",)))
    asked = [one.title for one in plan.operations if one.title.startswith("ask ")]
    assert asked == ["ask AppArmor for the label docker-default at exec"]
    assert [one for one in plan.notices if one.startswith("ignoring process.")] == [
        "ignoring process.selinuxLabel: this kernel does not run selinux, "
        "the program is not confined by it"
    ]
