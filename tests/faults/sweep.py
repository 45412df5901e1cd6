"""The whole sweep, a part after the other: what `make sweep` runs.

python -m tests.faults.sweep DIRECTORY     DIRECTORY keeps what is done, and the results

The quick experiments come first, and those with most points last, so that a sweep which is ended early
has had something of each. Started again it goes on with the part at which it was ended; parts that
were done with another commit are done again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.record import table

HERE = Path(__file__).parents[2]
_KILLED = "tests/faults/test_killed.py::test_killed_at_each_step"
_REFUSED = "tests/faults/test_refused.py::test_refused_at_each_step"
PARTS = (
    "tests/core/registry/test_hostile.py", "tests/faults/test_damaged.py",
    "tests/faults/test_inside.py", "tests/faults/test_limits.py", f"{_KILLED}[commit]",
    f"{_KILLED}[remove]", "tests/faults/test_cut.py", "tests/faults/test_together.py",
    f"{_KILLED}[import]", f"{_KILLED}[build]", f"{_KILLED}[pull]", "tests/core/store/test_killed.py",
    "tests/core/store/test_unpack_killed.py",
    "tests/faults/test_refused.py::test_interrupted_again_and_again", "tests/faults/test_containers.py",
    f"{_REFUSED}[commit]", f"{_REFUSED}[remove]", f"{_REFUSED}[import]", f"{_REFUSED}[pull]",
    f"{_REFUSED}[build]",
)  # fmt: skip


def sweep(directory: Path) -> int:
    """Do what is not done; 0 if nothing was violated in any part."""
    directory.mkdir(parents=True, exist_ok=True)
    done = directory / "done.jsonl"
    commit = _commit()
    known = [json.loads(line) for line in _lines(done)]
    before = {one["part"]: one for one in known if one["commit"] == commit}
    for number, part in enumerate(PARTS):
        if part not in before:
            before[part] = _run(directory / f"{number}.jsonl", part, commit)
            with done.open("a") as file:
                file.write(json.dumps(before[part]) + "\n")
    lines = [json.loads(line) for number in range(len(PARTS))
             for line in _lines(directory / f"{number}.jsonl")]  # fmt: skip
    print(table(lines))
    print(f"\n{sum(one['points'] for one in lines)} points, "
          f"{sum(one['violations'] for one in lines)} violations, "
          f"{sum(one['seconds'] for one in before.values()) / 60:.0f} minutes, commit {commit}")  # fmt: skip
    failed = [part for part in PARTS if before[part]["status"]]
    for part in failed:
        print(f"failed: {part}")
    return 1 if failed else 0


def _run(record: Path, part: str, commit: str) -> dict[str, object]:
    record.unlink(missing_ok=True)
    began = time.monotonic()
    env = {**os.environ, "MOBYSHELL_SWEEP": "all", "MOBYSHELL_SWEEP_RECORD": str(record)}
    words = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=0", part]
    status = subprocess.run(words, cwd=HERE, env=env, check=False).returncode
    if status == 2:  # interrupted
        sys.exit(status)
    return {"part": part, "commit": commit, "status": status,
            "seconds": round(time.monotonic() - began)}  # fmt: skip


def _commit() -> str:
    """With a mark if something was changed since."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(words, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    sys.exit(sweep(Path(sys.argv[1]).absolute()))
