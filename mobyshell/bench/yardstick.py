"""The floor: the library's own plan, executed by a small C program.

Owns the making of that program (`yardstick.c`, compiled with gcc) and of what it is given.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mobyshell.bench.workshop import Workshop, program
from mobyshell.core.errors import Unsupported
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.plan import Actor, Phase
from mobyshell.core.runtime.prepared import CHILD
from mobyshell.core.runtime.program import HEADER_BYTES, Program

_CELLS = ("stdin", "stdout", "stderr", "sync", "fifo")


def yardstick(shop: Workshop, bundle: Path) -> Callable[[], int]:
    """One run of the bundle's container in C. Unsupported without gcc, or for plans with gates."""
    compiler = program("gcc")
    directory = shop.directory / "yardstick"
    directory.mkdir()
    plan = Runtime(directory / "root").plan("yardstick", str(bundle), spec=load_spec(bundle))
    if plan.attended or plan.of(Actor.CHILD, Phase.JOIN) or plan.of(Actor.PARENT, Phase.ATTACH):
        raise Unsupported("the yardstick runs plans without a word between parent and child only")
    parts = {
        "PREPARE": assemble(plan.of(Actor.PARENT, Phase.PREPARE, Phase.BESIDE)),
        "CHILD": assemble(plan.of(Actor.CHILD, *CHILD)),
    }
    lines = [f"#define HEADER_BYTES {HEADER_BYTES}", f"#define FLAGS {plan.clone_flags}ull"]
    for name, part in parts.items():
        part.fill({"id": "yardstick"})
        image = directory / name.lower()
        image.write_bytes(bytes(part.memory.view))
        lines += [
            f"#define {name} {json.dumps(str(image))}",
            f"#define {name}_BASE {part.memory.address}ull",
            f"#define {name}_BYTES {part.memory.size}",
            f"#define {name}_LENGTH {part.length}",
        ]
    lines += [f"#define CELL_{name.upper()} {_cell(parts['CHILD'], name)}" for name in _CELLS]
    lines.append(f"#define CELL_CGROUP {_cell(parts['PREPARE'], 'cgroup')}")
    lines.append(f"#define FIFO {json.dumps(str(directory / 'fifo'))}")
    lines.append("#define GROUPS " + ", ".join(json.dumps(one) for one in plan.cgroups.values()))
    for part in parts.values():
        part.close()
    (directory / "plan.h").write_text("\n".join(lines) + "\n")
    made = directory / "yardstick"
    source = Path(__file__).with_name("yardstick.c")
    subprocess.run([compiler, "-O2", f"-I{directory}", "-o", made, source], check=True)
    return partial(shop.stand.run, [str(made)])


def _cell(part: Program, name: str) -> int:
    return part.cells.get(name, -1)
