"""What is killed, or loses its power, while images are unpacked; and what has to be there then.

python -m tests.core.store.unpack_actor ROOT SNAPSHOTTER COUNT    prints the number of each image that
is there for good
"""

from __future__ import annotations

import sys
from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.store.check import check_root
from mobyshell.core.store.references import child_labels
from mobyshell.core.store.snapshots.choose import snapshotter
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.unpack import unpack
from mobyshell.core.store.walk import resolve
from tests.core.store import images
from tests.core.store.snapshots.conftest import seen


def layers(number: int) -> list[dict[str, bytes]]:
    """The layers of an image; the second one deletes something of the first."""
    return [
        {f"d{number}/file-{one}": f"{number}.{one}\n".encode() * 500 for one in range(12)},
        {f"d{number}/.wh.file-3": b"", "top": f"{number}\n".encode() * 5000},
    ]


def expected(number: int) -> dict[str, object]:
    """What is seen then."""
    first, second = layers(number)
    found: dict[str, object] = {f"d{number}": None, "top": second["top"].decode()}
    found |= {name: text.decode() for name, text in first.items() if not name.endswith("file-3")}
    return found


def act(space: Namespace, name: str, number: int) -> str:
    """Have an image, unpacked; its chain id."""
    with space.leased() as held:
        target = images.image(held.content, layers(number))
        found = resolve(held.content, target)
        # as a pull does it: what has a name holds its parts, or a check misses them later
        held.content.update(target.digest, child_labels(found.manifest.children))
        held.images.put(f"image-{number}", target)
        return unpack(held, found, snapshotter=name)


def findings(root: Path) -> list[str]:
    """What a check finds, but for files that no row names: they are garbage, or an ingest's that
    somebody may still go on with."""
    return [f"{one.kind} {one.subject}: {one.problem}" for one in check_root(root)
            if one.kind != "orphan"]  # fmt: skip


def judge(root: Path, name: str, said: list[int], most: int) -> list[str]:
    """What is wrong after a death: what was said to be there is not, something is half there, or
    whoever comes next stumbles over it."""
    wrong = findings(root)
    with Store.open(root) as store:
        space = store.namespace("default")
        snapshots = snapshotter(space.scope, name)
        for number in range(most):
            try:
                found = resolve(space.content, space.images.get(f"image-{number}").target)
                snapshots.stat(found.chain_id)
            except NotFound as error:
                if number in said:
                    wrong.append(f"image {number}: {error}")
                continue
            if seen(snapshots, found.chain_id) != expected(number):
                wrong.append(f"image {number} is not what it was")
        last = act(space, name, most)
        if seen(snapshots, last) != expected(most):
            wrong.append("another image cannot be unpacked")
        store.collect()
        with space.scope.database.read() as sql:
            trees = {str(one[0]) for one in sql.execute("SELECT id FROM trees")}
        left = {one.name for one in (store.root.snapshots / name).iterdir()} ^ trees
        wrong += [f"left: {one}" for one in left]
        wrong += [f"left: {one.name}" for one in snapshots.walk() if "extract" in one.name]
    return wrong + [f"after all: {one}" for one in findings(root)]


def main(root: str, name: str, count: str) -> None:
    """See the module."""
    with Store.open(Path(root)) as store:
        for number in range(int(count)):
            act(store.namespace("default"), name, number)
            print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
