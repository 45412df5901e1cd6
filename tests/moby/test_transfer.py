"""Images between a client, a real registry, files, and other programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.oci.media_types import OCI_EMPTY, OCI_MANIFEST
from mobyshell.core.store.gc.collect import collect
from mobyshell.moby.client import Moby
from tests.core.registry.distribution import Distribution, distribution, skopeo
from tests.core.store import images
from tests.moby.test_client import put_image

pytestmark = [pytest.mark.root, pytest.mark.peer]

PULLER = """
import sys
from mobyshell import Moby
with Moby(sys.argv[1], sys.argv[2], "pullers") as moby:
    image = moby.pull(sys.argv[3])
    print(image.is_unpacked())
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[Distribution]:
    with distribution() as running:
        yield running


def garbage(moby: Moby) -> None:
    cleanup = moby.tenant.snapshotter().cleanup
    collect(moby.store.root, moby.store.database, moby.tenant.store.scope.clock, [cleanup])


def test_pushed_by_one_pulled_and_run_by_another(
    moby: Moby, registry: Distribution, tmp_path: Path
) -> None:
    pushed = put_image(moby)
    name = f"{registry.host}/team/busybox:1"
    assert moby.push("busybox", name).digest == pushed.target.digest
    with Moby(tmp_path / "other", moby.state, "b") as other:
        image = other.pull(name)
        assert image.target.digest == pushed.target.digest
        assert image.is_unpacked()
        # everything hangs on the name
        garbage(other)
        assert other.run(name, ["echo", "pulled"]).stdout == b"pulled\n"
        image.delete()
        garbage(other)
        assert list(other.store.root.blobs.glob("*/*")) == []
        assert [one for one in other.store.root.snapshots.glob("*/*") if one.is_dir()] == []


def test_what_refers_to_an_image_is_listed(moby: Moby, registry: Distribution) -> None:
    """By the tag that stands in for the API, which this registry has not."""
    image, name = put_image(moby), f"{registry.host}/team/referred:1"
    moby.push("busybox", name)
    content = moby.tenant.store.content
    empty = images.put(content, b"{}", OCI_EMPTY)
    subject = {"mediaType": image.target.media_type, "digest": image.target.digest,
               "size": image.target.size}  # fmt: skip
    for kind in ("a/sbom", "a/proof"):
        made = images.put_json(content, {
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": kind, "subject": subject,
            "config": images.plain(empty), "layers": [images.plain(empty)],
        }, OCI_MANIFEST)  # fmt: skip
        moby.tenant.store.images.put(f"{registry.host}/team/referred:of", made)
        moby.push(f"{registry.host}/team/referred:of")
    found = moby.referrers(name)
    assert sorted(str(one.artifact_type) for one in found) == ["a/proof", "a/sbom"]
    (one,) = moby.referrers(name, "a/sbom")
    assert one.media_type == OCI_MANIFEST
    words = ["--root", str(moby.store.root.path), "--state", moby.state, "--namespace", "demo"]
    done = subprocess.run(
        [sys.executable, "-m", "mobyshell", *words, "image", "referrers", name, "--type", "a/proof"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["type"] == "a/proof"


def test_two_processes_pull_one_image_once(
    moby: Moby, registry: Distribution, tmp_path: Path
) -> None:
    put_image(moby)
    name = f"{registry.host}/team/once:1"
    moby.push("busybox", name)
    words = [sys.executable, "-c", PULLER, str(tmp_path / "shared"), moby.state, name]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [one.communicate(timeout=120)[0] for one in both] == ["True\n"] * 3
    with Moby(tmp_path / "shared", moby.state, "pullers") as client:
        assert len(list(client.store.root.ingests.iterdir())) == 0
        kinds = [one.kind for one in client.tenant.snapshotter().walk()]
        assert kinds == ["committed"]


def test_what_is_not_there_leaves_no_name(moby: Moby, registry: Distribution) -> None:
    with pytest.raises(NotFound):
        moby.pull(f"{registry.host}/team/nothing:1")
    assert moby.images() == []


def test_others_read_what_we_push_and_we_what_they_do(moby: Moby, registry: Distribution) -> None:
    put_image(moby)
    moby.push("busybox", f"{registry.host}/team/ours:1")
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false",
           f"docker://{registry.host}/team/ours:1", f"docker://{registry.host}/team/theirs:1",
           "--format", "v2s2", "--dest-compress")  # fmt: skip
    moby.pull(f"{registry.host}/team/theirs:1")
    assert moby.run(f"{registry.host}/team/theirs:1", ["echo", "theirs"]).stdout == b"theirs\n"


def test_through_files(moby: Moby, tmp_path: Path) -> None:
    put_image(moby)
    with open(tmp_path / "busybox.tar", "wb") as file:
        moby.export_images(["busybox"], file)
    with moby.namespace("second"):
        (image,) = moby.import_images(tmp_path / "busybox.tar")
        assert image.name == "docker.io/library/busybox:latest"
        assert moby.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 9"]).status == 9
        ended = moby.run("busybox", ["sh", "-c", "echo out; echo err >&2"])
        assert (ended.stdout, ended.stderr) == (b"out\n", b"err\n")
        assert moby.containers() == []
        assert moby.tenant.tasks.ls() == []
        assert [one.kind for one in moby.tenant.snapshotter().walk()] == ["committed"]
