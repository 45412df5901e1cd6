"""Reports as JSON: what is written down is what an event would have said."""

from __future__ import annotations

import copy
import errno
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.oci.spec import spec_of
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.lines import Run, read
from mobyshell.core.runtime.plan import Actor, Phase, Plan, named
from mobyshell.core.runtime.prepared import CHILD
from mobyshell.core.runtime.program import ID, REPORT, Program
from mobyshell.core.runtime.report import events

PARTS = ((Actor.PARENT, (Phase.PREPARE,)), (Actor.CHILD, CHILD), (Actor.PARENT, (Phase.ATTACH,)))


def plan(tmp_path: Path) -> Plan:
    """One with a user namespace, for the texts that have a pid in them, and strange words."""
    document = copy.deepcopy(spec_to_json(default_spec()))
    document["process"]["args"] = ["sh", "\\u0000id\\u0000 \"é\n'"]
    linux = document["linux"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 1000, "size": 9}]
    return Runtime(tmp_path).plan(ID, "/bundle", spec=spec_of(document))


def as_if_run(program: Program, id: str) -> None:
    """As if it had run: some calls refused, some passed over."""
    program.fill({"id": id, "pid": "4711"})
    at = program.reports_at
    for index in range(program.length):
        refused, passed = index % 7 == 3, index % 11 == 5
        code = 0 if not refused else errno.ENOENT if index % 2 else 4095
        result = (1 << 64) - 1 if refused else index
        report = (0, 0, 0) if passed else (result, code, 100 + index)
        for word, value in enumerate(report):
            program.words[at + index * REPORT + word] = value


@pytest.mark.parametrize("part", range(len(PARTS)))
def test_the_lines_are_the_events(tmp_path: Path, part: int) -> None:
    template = plan(tmp_path)
    actor, phases = PARTS[part]
    program = assemble(template.of(actor, *phases))
    try:
        for id, first in (("one", 0), ("another.id", 0), ("third", 3)):
            as_if_run(program, id)
            told = [asdict(one) for one in events(named(template, ID, id), program, first)]
            run = Run(lambda: template, program, program.copied_reports(), first, program.values)
            assert [json.loads(one) for one in run.lines()] == json.loads(json.dumps(told))
            assert told
            if run.form():
                found = read(run.text(), json.loads(run.data()), id)
                assert [json.loads(one) for one in found] == json.loads(json.dumps(told))
            else:  # texts with a pid in them
                assert actor is Actor.PARENT
                assert phases == (Phase.ATTACH,)
    finally:
        program.close()
