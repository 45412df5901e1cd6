"""The verbs on what is kept: images, containers, content, namespaces, the store."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.store.store import Store
from tests.commands.stored import ALPINE, HELLO, MANIFEST, furnish
from tests.conftest import PROGRAM, Workplace

pytestmark = pytest.mark.root


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    furnish(workplace.directory / "store")
    return workplace


def rows(place: Workplace, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.ok(*words).splitlines()]


def test_lists(place: Workplace) -> None:
    (image,) = rows(place, "image", "ls")
    assert (image["name"], image["digest"], image["size"]) == (ALPINE, HELLO, 5)
    (container,) = rows(place, "container", "ls")
    assert (container["id"], container["image"]) == ("web", ALPINE)
    (blob,) = rows(place, "content", "ls")
    assert (blob["digest"], blob["size"]) == (HELLO, 5)
    (ingest,) = rows(place, "content", "active")
    assert (ingest["ref"], ingest["offset"]) == ("started", 4)
    table = place.ok("image", "ls", "--table").splitlines()
    assert table[0].split() == ["IMAGE", "DIGEST", "UPDATED"]
    assert place.ok("image", "ls", "-q") == f"{ALPINE}\n"
    assert rows(place, "image", "ls", "name~=busybox") == []
    done = place.run("image", "ls", "name=alpine")
    assert (done.returncode, "character 5" in done.stderr) == (2, True)


def test_content_goes_in_and_out(place: Workplace) -> None:
    file = place.directory / "file"
    file.write_bytes(bytes(range(256)) * 100)
    digest = place.ok("content", "ingest", "file", "--label", "a=b").strip()
    assert place.ok("content", "ingest", "file") == f"{digest}\n"
    (found,) = rows(place, "content", "ls", "labels.a==b")
    assert found["digest"] == digest
    place.ok("content", "get", digest[7:20], "-o", "copy")
    assert (place.directory / "copy").read_bytes() == file.read_bytes()
    for words in ((), ("-o", "-"), ("-o", "/dev/stdout")):
        piped = subprocess.run([PROGRAM, "content", "get", digest, *words], check=True,
                               capture_output=True, env=place.environment)  # fmt: skip
        assert (piped.stdout, piped.stderr) == (file.read_bytes(), b"")
    assert not (place.directory / "-").exists()
    assert place.ok("content", "get", HELLO) == "hello"
    wrong = place.run("content", "ingest", "first/config.json", "--expected", HELLO)
    assert wrong.returncode == 0  # it is there already: nothing was to be written
    (place.directory / "other").write_text("other")
    done = place.run("content", "ingest", "other", "--expected", "sha256:" + "0" * 64)
    assert (done.returncode, "expected is sha256:0000" in done.stderr) == (3, True)
    assert 'ingest of "/' in done.stderr
    for name in ("-", "/dev/stdin"):
        piped = subprocess.run([PROGRAM, "content", "ingest", name], input=b"hello", check=True,
                               capture_output=True, env=place.environment)  # fmt: skip
        assert piped.stdout.decode().strip() == HELLO


def test_the_plan_of_a_removal_says_what_goes_and_what_stays(place: Workplace) -> None:
    forget, takes = rows(place, "--plan", "image", "rm", "alpine")
    assert (forget["what"], forget["why"]) == (
        f"forget the name {ALPINE}", "it has no other name; made of it: web, which keep what they need"
    )  # fmt: skip
    assert takes["what"] == "remove nothing from the disk"  # the blob is a root of its own
    place.ok("content", "label", HELLO, "containerd.io/gc.root=")
    place.ok("image", "tag", "alpine", "alpine:3")
    forget, takes = rows(place, "--plan", "image", "rm", "alpine")
    assert forget["why"].startswith(f"it is still called {ALPINE.replace('latest', '3')};")
    assert takes["what"] == "remove nothing from the disk"
    *_, takes = rows(place, "--plan", "image", "rm", "alpine", "alpine:3")
    assert takes["what"] == "remove 1 blob, 5B of blobs"
    assert len(rows(place, "image", "ls")) == 2
    place.ok("namespace", "create", "fresh")
    (step,) = rows(place, "--plan", "namespace", "rm", "fresh")
    assert step["what"] == "remove namespace fresh, and its labels"
    refused = place.run("--plan", "namespace", "rm", "default")
    assert (refused.returncode, "1 container (web), 2 images" in refused.stderr) == (3, True)


def test_one_that_is_missing_does_not_keep_the_others(place: Workplace) -> None:
    """As with docker rmi: what can be removed is, the disk has its room back, and it is an error."""
    place.ok("image", "tag", "alpine", "second")
    place.ok("content", "label", HELLO, "containerd.io/gc.root=")
    place.ok("container", "rm", "web")
    for verb, names in (("content", [f"sha256:{'0' * 64}", HELLO]),
                        ("image", ["nowhere", "alpine", "second"])):  # fmt: skip
        done = place.run(verb, "rm", *names)
        assert (done.returncode, done.stdout) == (3, "")
        assert f"{names[0]}" in done.stderr
    assert rows(place, "image", "ls") == []
    assert not list((place.directory / "store/content/blobs/sha256").iterdir())


def test_an_image_is_found_by_its_digest(place: Workplace) -> None:
    """As tables show it, as docker takes it; but what is a name is one first."""
    words = (HELLO, HELLO[:11], HELLO[:19], HELLO[7:19], HELLO[7:])
    for number, word in enumerate(words):
        place.ok("image", "tag", word, f"by-{number}")
    for word in ("sha256:ffff", HELLO[7:12], "ffffffffffff"):
        done = place.run("image", "tag", word, "none")
        assert (done.returncode, "no image docker.io/library/" in done.stderr) == (3, True)
    several = place.run("image", "rm", HELLO[:19])
    assert (several.returncode, f"{HELLO[:19]} has 6 names" in several.stderr) == (2, True)
    assert "one of docker.io/library/alpine:latest" in several.stderr
    place.ok("image", "tag", "by-1", HELLO[7:19])
    place.ok("image", "rm", HELLO[7:19])
    assert len(rows(place, "image", "ls")) == 6
    place.ok("image", "rm", *(f"by-{number}" for number in range(len(words))))
    place.ok("image", "rm", HELLO[7:19])
    assert rows(place, "image", "ls") == []


def test_a_name_with_a_digest_is_of_nothing_else(place: Workplace) -> None:
    """Who runs foo@sha256:… trusts that it is that."""
    wrong = f"sha256:{'0' * 64}"
    for words in (("tag", "alpine", f"foo@{wrong}"), ("tag", "-f", "alpine", f"foo:1@{wrong}"),
                  ("push", "alpine", f"127.0.0.1:1/foo@{wrong}")):  # fmt: skip
        done = place.run("image", *words)
        assert (done.returncode, f"and this is {HELLO}" in done.stderr) == (
            2,
            True,
        )
    assert len(rows(place, "image", "ls")) == 1
    place.ok("image", "tag", "alpine", f"foo@{HELLO}")
    assert len(rows(place, "image", "ls")) == 2


def test_removing_gives_the_disk_back(place: Workplace) -> None:
    place.ok("image", "rm", "alpine")
    assert len(rows(place, "content", "ls")) == 1  # a root of its own
    place.ok("content", "rm", HELLO)
    assert not list((place.directory / "store/content/blobs/sha256").iterdir())
    place.ok("content", "abort", "started")
    place.ok("container", "rm", "web")
    assert rows(place, "namespace", "ls")[0]["containers"] == 0


def test_a_container_goes_with_its_task_when_that_is_over_or_by_force(place: Workplace) -> None:
    place.ok("run", "-d", "--name", "web", "first", "sleep", "1000")
    done = place.run("rm", "web")
    assert (done.returncode, "running" in done.stderr) == (3, True)
    assert len(rows(place, "container", "ls")) == 1
    done = place.run("namespace", "rm", "default")
    assert "1 task" in done.stderr
    assert place.ok("rm", "-f", "web") == "web\n"
    assert (rows(place, "container", "ls"), rows(place, "ps", "--all")) == ([], [])
    done = place.run("rm", "web")
    assert (done.returncode, "no container web" in done.stderr) == (3, True)


def test_rm_undoes_run_without_a_store_or_with_one(workplace: Workplace) -> None:
    workplace.ok("run", "--name", "ran", "first", "true")
    workplace.ok("rm", "ran")
    assert not (workplace.directory / "store/meta.db").exists()
    (workplace.directory / "box.yml").write_text("steps: [{programs: [/bin/busybox]}]")
    workplace.ok("image", "build", "-t", "box", "box.yml")
    workplace.ok("run", "--name", "ran", "box", "busybox", "true")
    again = workplace.run("run", "--name", "ran", "box", "busybox", "true")
    assert (again.returncode, "container ran is in" in again.stderr) == (3, True)
    workplace.ok("rm", "ran")
    workplace.ok("run", "--name", "ran", "box", "busybox", "true")
    workplace.ok("rm", "ran")
    assert not [one for one in rows(workplace, "snapshot", "ls") if one["key"] == "ran"]


def test_tags(place: Workplace) -> None:
    assert place.ok("image", "tag", "alpine", "alpine:3") == "docker.io/library/alpine:3\n"
    assert place.run("image", "tag", "alpine", "alpine:3").returncode == 3
    place.ok("image", "tag", "-f", "alpine", "alpine:3")
    assert len(rows(place, "image", "ls", f"target.digest=={HELLO}")) == 2
    assert place.run("image", "tag", "alpine", "Bad Name").returncode == 2


def test_an_empty_list_says_where_there_are_some(place: Workplace) -> None:
    done = place.run("image", "ls", "--namespace", "tenant")
    assert (done.stdout, done.stderr) == ("", "no images in namespace tenant; default has 1\n")
    done = place.run("container", "ls", "--namespace", "tenant", "-q")
    assert (done.stdout, done.stderr) == ("", "")


def test_labels_and_inspect(place: Workplace) -> None:
    place.ok("container", "label", "web", "a=1", "b=2")
    place.ok("container", "label", "web", "a=")
    found = json.loads(place.ok("container", "inspect", "web"))
    assert found["labels"] == {"b": "2"}
    assert found["spec"] == {"ociVersion": "1.2.0"}


def test_the_namespace_in_use_holds_for_all_verbs(place: Workplace) -> None:
    assert place.run("namespace", "use", "nowhere").returncode == 3
    place.ok("namespace", "use", "tenant")
    assert rows(place, "image", "ls") == []
    assert [one["name"] for one in rows(place, "namespace", "ls") if one["used"]] == ["tenant"]
    place.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    assert rows(place, "ps", "--namespace", "default") == []
    assert rows(place, "ps")[0]["id"] == "up"
    assert len(rows(place, "image", "ls", "--namespace", "default")) == 1
    done = place.run("image", "rm", "alpine")
    assert "it is in namespace default" in done.stderr
    place.ok("rm", "-f", "up")
    place.ok("namespace", "use", "default")
    place.ok("namespace", "rm", "tenant")
    place.ok("namespace", "use", "--create", "made")
    done = place.run("namespace", "rm", "default")
    assert done.returncode == 3
    for what in ("1 container (web), 1 image (docker.io/library/alpine", f"1 blob ({HELLO[:20]}…)"):
        assert what in done.stderr
    # one that the store knows nothing of is made by what is put into it, too
    place.ok("volume", "create", "--namespace", "files", "kept")
    place.ok("network", "create", "--namespace", "files", "lan")
    assert "files" in [one["name"] for one in rows(place, "namespace", "ls")]
    refused = place.run("namespace", "rm", "files")
    assert (refused.returncode, "1 network (lan), 1 volume (kept)" in refused.stderr) == (3, True)
    place.ok("network", "rm", "--namespace", "files", "lan")
    place.ok("volume", "rm", "--namespace", "files", "kept")
    assert "files" not in [one["name"] for one in rows(place, "namespace", "ls")]
    assert place.run("namespace", "rm", "files").returncode == 3
    place.ok("volume", "create", "--namespace", "made", "kept")
    place.ok("namespace", "use", "default")
    refused = place.run("namespace", "rm", "made")
    assert (refused.returncode, "1 volume (kept)" in refused.stderr) == (3, True)
    place.ok("volume", "rm", "--namespace", "made", "kept")
    place.ok("namespace", "rm", "made")
    found = json.loads(place.ok("namespace", "inspect", "default"))
    assert (found["containers"], found["content"], found["volumes"]) == (["web"], [HELLO], [])
    assert found["bytes"] == rows(place, "namespace", "ls")[0]["bytes"] == 5
    place.ok("namespace", "use", "default")


def test_gc_says_what_and_why(place: Workplace) -> None:
    with Store.open(place.directory / "store") as store:
        space = store.namespace("default")
        with space.leased() as held, held.content.writer("loose") as ingest:
            ingest.write(b"loose" * 1000)
            loose = ingest.commit().digest
        labels = {"containerd.io/gc.ref.content.l.0": HELLO}
        with space.leased() as held, held.content.writer("manifest") as ingest:
            ingest.write(b"manifest")
            manifest = ingest.commit(labels=labels).digest
        space.content.update(HELLO, {"containerd.io/gc.root": None})
        space.images.put(ALPINE, Descriptor(media_type=MANIFEST, digest=manifest, size=8))
    found = rows(place, "store", "gc", "--dry-run", "--why")
    why = {one["key"]: (one["kept"], one["why"]) for one in found}
    assert why[loose] == (False, "nothing needs it")
    assert why[HELLO] == (
        True,
        f"image {ALPINE} (images are kept) → content {manifest} (target)"
        " → this (containerd.io/gc.ref.content.l.0)",
    )
    assert rows(place, "store", "why", HELLO[:14])[0]["why"] == why[HELLO][1]
    assert rows(place, "store", "why", "alpine")[0]["kept"] is True
    assert place.run("store", "why", "nobody").returncode == 3
    assert [one["key"] for one in rows(place, "store", "gc")] == [loose]
    assert rows(place, "store", "gc") == []


def test_check_and_repair(place: Workplace) -> None:
    assert rows(place, "store", "check") == []
    assert rows(place, "doctor", "--store") == []
    path = place.directory / "store/content/blobs/sha256" / HELLO.hex
    path.chmod(0o600)
    path.write_bytes(b"hellO")
    for words in (["store", "check"], ["doctor", "--store"], ["content", "verify"]):
        done = place.run(*words)
        assert done.returncode == 1
        assert HELLO in done.stdout
        assert "store check --repair" in done.stderr
    (planned,) = rows(place, "doctor", "--store", "--repair", "--plan")
    assert planned["subject"] == HELLO
    assert planned["does"] == f"dropped, and image default: {ALPINE}"
    assert place.run("--readonly", "doctor", "--store", "--repair").returncode == 5
    assert path.exists()
    (found,) = rows(place, "doctor", "--store", "--repair")
    assert found["repaired"] is True
    assert rows(place, "store", "check") == []
    assert place.run("doctor", "--repair").returncode == 2


@pytest.mark.parametrize(("answer", "left"), [("n", True), ("y", False)])
def test_a_person_is_shown_what_a_repair_does_and_asked(
    place: Workplace, answer: str, left: bool
) -> None:
    path = place.directory / "store/content/blobs/sha256" / HELLO.hex
    path.chmod(0o600)
    path.write_bytes(b"hellO")
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [PROGRAM, "doctor", "--store", "--repair"], cwd=place.directory, env=place.environment,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 4096)
    assert f"blob {HELLO}".encode() in said
    assert b"dropped, and image default" in said
    os.write(ours, answer.encode() + b"\n")
    try:
        while os.read(ours, 4096):
            pass
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.wait(60) == (5 if left else 0)
    with Store.open(place.directory / "store") as store:
        assert bool(store.namespace("default").images.list()) is left


def test_readonly(place: Workplace) -> None:
    for words in (["image", "rm", "alpine"], ["store", "gc"], ["namespace", "use", "tenant"]):
        assert place.run("--readonly", *words).returncode == 5


def test_events_of_the_store(place: Workplace) -> None:
    found = rows(place, "events", "ls", "--topic", "/images")
    assert [(one["topic"], one["id"]) for one in found] == [("/images/create", ALPINE)]
    follower = subprocess.Popen(
        [PROGRAM, "events", "follow", "--topic", "/images", "-n", "2", "--json"],
        cwd=place.directory, env=place.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert follower.stdout is not None
    try:
        # until it listens
        for number in range(600):
            place.ok("image", "tag", "alpine", f"alpine:{number}")
            if follower.poll() is not None:
                break
        told = [json.loads(line)["topic"] for line in follower.stdout]
        assert told == ["/images/create"] * 2
        assert follower.wait(60) == 0
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()


def test_completion(place: Workplace) -> None:
    for words, wanted in (
        (["image", "rm", "docker"], ALPINE),
        (["container", "inspect", ""], "web"),
        (["content", "get", "sha256:2c"], str(HELLO)),
        (["namespace", "use", "te"], "tenant"),
    ):
        assert wanted in place.ok("completion", "words", "--", *words).splitlines()


def test_no_store_is_made_by_looking_at_events(workplace: Workplace) -> None:
    workplace.ok("events", "ls")
    workplace.ok("completion", "words", "--", "image", "rm", "")
    assert not Path(workplace.environment["MOBYSHELL_ROOT"]).exists()


def test_a_lease_holds_what_nothing_else_needs(place: Workplace) -> None:
    id = place.ok("lease", "create", "--expires", "1h", "--label", "for=tests").strip()
    place.ok("lease", "add", id, HELLO[:20], "snapshots/overlayfs/later", "ingests/started")
    (found,) = rows(place, "lease", "ls", "labels.for==tests")
    assert (found["id"], found["held"], 0 < found["left"] <= 3600 * 10**9) == (id, 3, True)
    place.ok("content", "label", HELLO, "containerd.io/gc.root=")
    place.ok("image", "rm", "alpine")
    place.ok("store", "gc")
    assert len(rows(place, "content", "ls")) == 1
    held = json.loads(place.ok("lease", "inspect", id))["resources"]
    assert held == [f"content/{HELLO}", "ingests/started", "snapshots/overlayfs/later"]
    missing = place.run("lease", "drop", id, HELLO, "ingests/other")
    assert missing.returncode == 3
    assert len(rows(place, "content", "ls")) == 1  # nothing of it was done
    place.ok("lease", "drop", id, HELLO)
    place.ok("lease", "rm", id)
    assert rows(place, "content", "ls") == rows(place, "lease", "ls") == []
    assert place.ok("lease", "create", "for-ever", "-x", "0", "--flat") == "for-ever\n"
    (found,) = rows(place, "lease", "ls")
    assert (found["left"], found["labels"]) == (None, {"containerd.io/gc.flat": "true"})
    wrong = place.run("lease", "add", "for-ever", "elsewhere/x")
    assert (wrong.returncode, "ingests/REF" in wrong.stderr) == (2, True)
