"""`run` of images, as people type it: what it passes on, what it leaves, what it refuses."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import PROGRAM, Workplace
from tests.waiting import eventually

pytestmark = pytest.mark.root

BOX = """
steps:
  - programs: [/bin/busybox]
    links: {sh: busybox, cat: busybox, id: busybox, sleep: busybox, env: busybox, hostname: busybox}
  - directory: /data
  - file: /data/page
    content: "from the image"
  - file: /etc/passwd
    content: "root:x:0:0::/:/bin/sh\\nweb:x:33:33::/:/bin/sh\\n"
env: {PATH: /bin:/usr/bin, FROM: image}
cmd: [sh, -c, "echo default"]
"""


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    (workplace.directory / "box.yml").write_text(BOX)
    workplace.ok("image", "build", "-t", "box", "box.yml")
    return workplace


def left(place: Workplace) -> tuple[str, str, set[str]]:
    kinds = [json.loads(line)["kind"] for line in place.ok("snapshot", "ls").splitlines()]
    return place.ok("container", "ls"), place.ok("task", "ls", "-a"), set(kinds)


def test_output_exit_code_and_nothing_left(place: Workplace) -> None:
    assert place.ok("run", "--rm", "box") == "default\n"
    done = place.run("run", "--rm", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert place.run("run", "--rm", "-i", "box", "--", "cat", input="typed").stdout == "typed"
    assert left(place) == ("", "", {"committed"})


def test_options_become_the_spec(place: Workplace) -> None:
    (place.directory / "host").mkdir()
    (place.directory / "host/file").write_text("from the host")
    seen = place.ok(
        "run", "--rm", "-e", "A=1", "-e", "HOME", "-u", "web", "-w", "/data", "--hostname", "moby",
        "-m", "64M", "--cpus", "0.5", "--pids-limit", "20", "--cap-drop", "ALL", "--read-only",
        "-v", f"{place.directory}/host:/data/host:ro", "box", "--",
        "sh", "-c", "echo $A $FROM $HOME; id -u; cat /proc/self/status /data/host/file; hostname; echo $PWD",
    ).splitlines()  # fmt: skip
    assert seen[0] == f"1 image {place.environment['HOME']}"
    assert seen[1] == "33"
    assert "CapBnd:\t0000000000000000" in seen
    assert seen[-1] == "/data"
    assert seen[-2].endswith("moby")
    done = place.run("run", "--rm", "--read-only", "box", "--", "sh", "-c", "echo > /x")
    assert "Read-only" in done.stderr


def test_a_volume_begins_with_what_the_image_has_there(place: Workplace) -> None:
    assert place.ok("run", "--rm", "-v", "kept:/data", "box", "--", "cat", "/data/page") == (
        "from the image"
    )
    place.ok("run", "--rm", "-v", "kept:/data", "box", "--", "sh", "-c", "echo mine > /data/page")
    assert place.ok("run", "--rm", "-v", "kept:/data:ro", "box", "--", "cat", "/data/page") == (
        "mine\n"
    )
    bare = place.run("run", "--rm", "-v", "bare:/data:nocopy", "box", "--", "cat", "/data/page")
    assert "No such file" in bare.stderr
    assert left(place) == ("", "", {"committed"})


def test_a_container_lives_on_and_starts_again(place: Workplace) -> None:
    assert place.ok("run", "-d", "--name", "one", "box", "--", "sleep", "1000") == "one\n"
    assert place.ok("exec", "one", "sh", "-c", "echo inside > /made; cat /made") == "inside\n"
    refused = place.run("run", "-d", "--name", "one", "box")
    assert refused.returncode == 3
    place.ok("task", "delete", "-f", "one")
    assert '"one"' in place.ok("container", "ls")
    place.ok("container", "start", "-d", "one")
    assert place.ok("exec", "one", "cat", "/made") == "inside\n"
    place.ok("task", "delete", "-f", "one")
    place.ok("container", "rm", "one")
    assert left(place) == ("", "", {"committed"})


def test_a_name_that_a_snapshot_has_is_not_given_to_a_container(place: Workplace) -> None:
    for word in ("box", "box-2"):
        place.ok("snapshot", "prepare", word)
    assert place.ok("run", "-d", "box", "--", "sleep", "1000") == "box-3\n"
    place.ok("exec", "--workdir", "/data", "box-3", "cat", "page")
    place.ok("task", "kill", "-s", "KILL", "box-3")
    assert place.run("task", "wait", "box-3").returncode == 137
    assert place.ok("rm", "box-3") == "box-3\n"


def task(place: Workplace, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(place.ok("task", "inspect", id))
    return found


def labels(place: Workplace, id: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(place.ok("container", "inspect", id))["labels"]
    return {key.removeprefix("containerd.io/restart."): value for key, value in found.items()}


def test_a_policy_from_run_to_rm(place: Workplace) -> None:
    failed = place.run("run", "--restart", "on-failure:2", "--name", "one", "box", "--",
                       "sh", "-c", "echo x >> /made; cat /made; exit 4")  # fmt: skip
    assert (failed.returncode, failed.stdout) == (4, "x\n")
    eventually(lambda: task(place, "one")["status"] == "stopped")
    seen = task(place, "one")
    assert (seen["restart"], seen["restarts"], seen["exit"]) == ("on-failure:2", 2, 4)
    assert place.ok("logs", "one").split() == ["x"] * (1 + 2 + 3)
    assert labels(place, "one") == {"policy": "on-failure:2", "status": "running"}
    place.ok("container", "start", "-d", "one")  # again, and its log goes on
    eventually(lambda: task(place, "one")["status"] == "stopped")
    assert place.ok("logs", "one").split() == ["x"] * sum(range(1, 7))
    place.ok("rm", "one")
    assert left(place) == ("", "", {"committed"})


def test_words_that_are_at_odds_are_refused(place: Workplace) -> None:
    for bundle in ("box", "first"):
        refused = place.run("run", "--rm", "--restart", "always", bundle)
        assert refused.returncode == 2
        assert "--rm" in refused.stderr
        assert place.run("run", "--restart", "perhaps", bundle).returncode == 2
    assert left(place) == ("", "", {"committed"})


def test_a_policy_is_changed_and_what_somebody_stopped_is_remembered(place: Workplace) -> None:
    place.ok("run", "-d", "--name", "one", "box", "--", "sleep", "1000")
    assert labels(place, "one") == {}
    place.ok("container", "update", "--restart", "unless-stopped", "one")
    assert labels(place, "one") == {"policy": "unless-stopped", "status": "running"}
    os.kill(task(place, "one")["pid"], 9)
    eventually(lambda: task(place, "one")["restarts"] == 1)
    place.ok("container", "restart", "-t", "0.1", "one")
    assert labels(place, "one") == {"policy": "unless-stopped", "status": "running"}
    assert task(place, "one")["restarts"] == 0
    place.ok("stop", "-t", "0.1", "one")
    assert labels(place, "one")["explicitly-stopped"] == "true"
    assert place.ok("container", "start", "--all", "--filter", "should-start-on-boot=true") == ""
    place.ok("container", "start", "one", "-d")
    assert "explicitly-stopped" not in labels(place, "one")


def test_when_the_machine_starts(place: Workplace) -> None:
    """Its state root is empty then: what is to run is in the store."""
    sleeping = ("box", "--", "sleep", "1000")
    for policy in ("no", "always", "unless-stopped", "on-failure"):
        place.ok("run", "-d", "--name", f"c-{policy}", "--restart", policy, *sleeping)
        place.ok("run", "-d", "--name", f"s-{policy}", "--restart", policy, *sleeping)
    place.ok("container", "create", "--name", "never", "--restart", "always", *sleeping)
    for policy in ("no", "always", "unless-stopped", "on-failure"):
        place.ok("task", "kill", f"s-{policy}", "KILL")
    kept = place.environment["MOBYSHELL_STATE"]
    place.environment["MOBYSHELL_STATE"] = str(place.directory / "state-of-the-next-boot")
    try:
        place.ok("container", "start", "--all", "--filter", "should-start-on-boot=true")
        rows = [json.loads(line) for line in place.ok("ps").splitlines()]
        assert {row["id"] for row in rows} == {"c-always", "s-always", "c-unless-stopped"}
        place.ok("rm", "-f", *(row["id"] for row in rows))
    finally:
        place.environment["MOBYSHELL_STATE"] = kept
    by_policy = ("container", "start", "--all", "--filter", "restart-policy=on-failure")
    assert place.ok(*by_policy) == "s-on-failure\n"  # the other one runs


def test_what_cannot_be_run_leaves_nothing(place: Workplace) -> None:
    assert place.run("run", "--pull", "never", "missing").returncode == 3
    assert place.run("run", "--rm", "-u", "nobody-here", "box").returncode == 3
    assert place.run("run", "box", "--", "/no/such").returncode == 1
    assert place.run("run", "--cpus", "many", "box").returncode == 2
    assert place.run("run", "-v", "relative:path", "box").returncode == 2
    assert left(place) == ("", "", {"committed"})


def test_a_path_is_no_name_of_an_image(place: Workplace) -> None:
    for word in ("./nothing", ".", "/nothing"):
        done = place.run("run", word)
        assert (done.returncode, done.stderr.splitlines()[0]) == (
            3,
            f"mobyshell: no bundle at {word}",
        )


def test_a_plan_makes_nothing(place: Workplace) -> None:
    rows = [json.loads(line) for line in place.ok("run", "--plan", "box").splitlines()]
    titles = [row["title"] for row in rows]
    assert any("overlay of" in title for title in titles)
    assert left(place) == ("", "", {"committed"})


def test_a_plan_tells_what_becomes_of_volumes_and_networks(place: Workplace) -> None:
    def titles(*words: str) -> list[str]:
        rows = [json.loads(line) for line in place.ok("run", "--plan", *words).splitlines()]
        return [row["title"] for row in rows if row["actor"] == "volume" or "/data" in row["title"]]

    made, mounted = titles("-v", "kept:/data", "box")
    assert made == ("volume kept is made, and filled with 1 entry of the image's /data; "
                    "mounted on /data, to be written")  # fmt: skip
    assert "store/volumes/default/kept/data" in mounted
    assert place.ok("volume", "ls") == ""
    assert "left empty" in titles("-v", "kept:/data:nocopy", "box")[0]
    assert "nothing on /none" in json.dumps(
        [
            json.loads(line)
            for line in place.ok("run", "--plan", "-v", "k:/none", "box").splitlines()
        ]
    )
    place.ok("run", "--rm", "-v", "kept:/data", "box")
    read_only = titles("-v", "kept:/data:ro", "box")
    assert read_only[0] == "volume kept, which has 1 entry; mounted on /data, read-only"
    (place.directory / "host").mkdir()
    (of_host, _) = titles("-v", f"{place.directory}/host:/data", "box")
    assert "of the host, as it is" in of_host
    assert place.run("run", "--plan", "-v", "/no/such:/data", "box").returncode == 3
    assert titles("-v", "new:/data", "first")[0].startswith("volume new is made, empty")
    rows = [
        json.loads(line) for line in place.ok("run", "--plan", "-p", "8099:80", "box").splitlines()
    ]
    assert rows[0]["actor"] == "network"
    assert any("/etc/resolv.conf" in row["title"] for row in rows)
    assert left(place) == ("", "", {"committed"})


def test_a_bundle_is_run_by_the_same_word(place: Workplace) -> None:
    assert place.ok("run", "--rm", "first", "--", "echo", "bundle") == "bundle\n"
    assert place.ok("run", "--rm", str(Path(place.directory) / "first"), "--", "echo", "x") == "x\n"
    done = place.run("run", "--rm", "-e", "A=1", "first")
    assert done.returncode == 2
    assert "config.json" in done.stderr


def test_a_task_says_whether_it_is_well(place: Workplace) -> None:
    (place.directory / "Dockerfile").write_text(
        "FROM box\nHEALTHCHECK --interval=100ms --retries=1 CMD cat /data/page\n"
    )
    place.ok("image", "build", "-t", "well", "-f", "Dockerfile", ".")
    place.ok("run", "-d", "--name", "one", "well", "--", "sleep", "1000")
    eventually(lambda: task(place, "one")["health"] == "healthy")
    assert task(place, "one")["health_log"][-1]["output"] == "from the image"
    assert "healthy" in place.ok("task", "ls", "--table")
    place.ok("run", "-d", "--no-healthcheck", "--name", "two", "well", "--", "sleep", "1000")
    assert task(place, "two")["health"] is None
    told = place.ok("events", "ls", "--topic", "/tasks/health").splitlines()
    assert [json.loads(line)["id"] for line in told] == ["one"]
    place.ok("rm", "-f", "one", "two")


def test_an_image_of_another_namespace_is_not_only_looked_for_at_a_registry(
    place: Workplace,
) -> None:
    place.ok("image", "tag", "box", "127.0.0.1:1/box")
    done = place.run("--namespace", "other", "run", "--rm", "127.0.0.1:1/box")
    assert "127.0.0.1:1: Connection refused" in done.stderr
    assert "it is in namespace default: --namespace default" in done.stderr


def test_what_cat_cannot_show_goes_to_a_pipe_as_it_is(place: Workplace) -> None:
    assert place.ok("image", "cat", "box", "/data/page") == "from the image"
    words = [PROGRAM, "image", "cat", "box", "/bin/busybox"]
    done = subprocess.run(words, check=True, capture_output=True, env=place.environment)
    assert (done.stdout, done.stderr) == (Path("/bin/busybox").read_bytes(), b"")
    ours, theirs = os.openpty()
    shown = subprocess.run(words, check=False, stdout=theirs, stderr=subprocess.PIPE,
                           env=place.environment)  # fmt: skip
    os.close(theirs)
    os.close(ours)
    assert shown.returncode == 2
    assert b"/bin/busybox is longer than" in shown.stderr
    assert b"image unpack box DIRECTORY" in shown.stderr
    assert "busybox is longer" in place.run("repl", input="x = image cat box /bin/busybox\n").stderr
    assert place.run("repl", input="image cat box /bin/busybox |! wc -c\n").stdout.strip() == str(
        len(done.stdout)
    )


def test_files_and_directories_are_told_apart(place: Workplace) -> None:
    for words, said, hint in (
        (("tree", "box", "/data/page"), "/data/page is no directory", "image cat"),
        (("cat", "box", "/data"), "/data is no file, but a directory", "image tree"),
    ):
        done = place.run("image", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert hint in done.stderr


def test_a_quiet_build_says_what_it_made_or_why_not(place: Workplace) -> None:
    (place.directory / "loud").mkdir()
    file = place.directory / "loud/Dockerfile"
    file.write_text("FROM box\nRUN echo much; echo more >&2\n")
    done = place.run("image", "build", "-q", "-t", "loud", "loud")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sha256:")
    assert place.run("image", "build", "-q", "-f", "-", "loud", input="FROM box\n").returncode == 0
    file.write_text("FROM box\nRUN echo the reason; exit 3\n")
    done = place.run("image", "build", "-q", "loud")
    assert (done.stdout, "the reason\n" in done.stderr) == ("", True)


def test_what_is_no_utf8_is_not_changed_in_a_pipe(place: Workplace) -> None:
    (place.directory / "old").mkdir()
    (place.directory / "old/latin1").write_bytes(b"caf\xe9\r\n")
    (place.directory / "old/Dockerfile").write_text("FROM scratch\nCOPY latin1 /\n")
    place.ok("image", "build", "-t", "old", "old")
    done = subprocess.run([PROGRAM, "image", "cat", "old", "/latin1"], check=True,
                          capture_output=True, env=place.environment)  # fmt: skip
    assert done.stdout == b"caf\xe9\r\n"


def test_where_an_export_goes(place: Workplace) -> None:
    """Into a pipe, through a link, into a device: nothing but a file is replaced by one."""
    words = [PROGRAM, "image", "export", "box"]
    made = subprocess.run(words, check=True, capture_output=True, env=place.environment).stdout
    for name in ("-", "/dev/stdout"):
        done = subprocess.run([*words, "-o", name], check=True, capture_output=True,
                              env=place.environment, cwd=place.directory)  # fmt: skip
        assert done.stdout == made
    pipe, link, file = (place.directory / name for name in ("pipe", "link", "real.tar"))
    os.mkfifo(pipe)
    file.write_bytes(b"old")
    link.symlink_to("real.tar")
    with subprocess.Popen([*words, "-o", pipe], env=place.environment) as writer:
        assert pipe.read_bytes() == made
        assert writer.wait() == 0
    assert pipe.is_fifo()
    place.ok("image", "export", "box", "-o", str(link))
    assert (link.is_symlink(), file.read_bytes()) == (True, made)
    null = place.directory / "null"
    os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    place.ok("image", "export", "box", "-o", str(null))
    assert null.is_char_device()
    assert (
        place.run("image", "export", "box", "-o", str(place.directory / "no/such")).returncode == 1
    )
    assert not [one for one in os.listdir(place.directory) if one == "-" or one.endswith(".new")]


def test_a_platform_that_is_not_here_is_asked_for(place: Workplace) -> None:
    place.ok("image", "tag", "box", "127.0.0.1:1/box")
    done = place.run("run", "--rm", "--platform", "linux/s390x", "127.0.0.1:1/box")
    assert "127.0.0.1:1: Connection refused" in done.stderr
    done = place.run(
        "run", "--rm", "--pull", "never", "--platform", "linux/s390x", "127.0.0.1:1/box"
    )
    assert "no image for linux/s390x" in done.stderr
    assert done.returncode == 3


def volumes(place: Workplace) -> dict[str, str]:
    """Who has each."""
    rows = [json.loads(line) for line in place.ok("volume", "ls").splitlines()]
    return {row["name"]: row["used"] for row in rows}


def test_a_volume_of_a_container_without_a_task_stays(place: Workplace) -> None:
    place.ok(
        "container", "create", "--name", "c", "-v", "kept:/data", "box", "--", "cat", "/data/page"
    )
    place.ok("container", "start", "c")
    place.ok("task", "delete", "c")
    assert volumes(place) == {"kept": "c"}
    refused = place.run("volume", "rm", "--yes", "kept")
    assert refused.returncode == 3
    assert "in use by c" in refused.stderr
    assert place.ok("volume", "prune", "--all", "--yes") == ""
    place.ok("container", "rm", "--volumes", "c")
    assert volumes(place) == {"kept": ""}  # it has a name, so it is somebody's
    assert place.ok("volume", "prune", "--yes") == ""
    assert json.loads(place.ok("volume", "prune", "--all", "--yes")) == {"name": "kept"}
    assert volumes(place) == {}


def test_a_volume_without_a_name_is_its_containers(place: Workplace) -> None:
    more = "cat /data/page; echo more >> /data/page"
    place.ok("container", "create", "--name", "c", "-v", "/data", "box", "--", "sh", "-c", more)
    assert place.ok("container", "start", "c") == "from the image"
    assert place.ok("container", "start", "c") == "from the imagemore\n"
    ((name, used),) = volumes(place).items()
    assert (len(name), used) == (64, "c")
    assert place.ok("volume", "prune", "--yes") == ""
    place.ok("rm", "c")
    assert volumes(place) == {name: ""}
    assert name in place.ok("--plan", "volume", "prune")
    assert json.loads(place.ok("volume", "prune", "--yes")) == {"name": name}
    place.ok("run", "--rm", "-v", "/data", "box")
    place.ok("run", "-d", "--name", "d", "-v", "/data", "box", "--", "sleep", "1000")
    place.ok("rm", "-f", "-v", "d")
    assert volumes(place) == {}


def test_the_root_of_a_container_is_not_taken_away_beneath_it(place: Workplace) -> None:
    place.ok("run", "-d", "--name", "up", "box", "--", "sleep", "1000")
    try:
        for words in (("rm", "up"), ("commit", "saved", "up")):
            for plan in ([], ["--plan"]):
                done = place.run("snapshot", *words, *plan)
                assert (done.returncode, "root of container up" in done.stderr) == (3, True), words
        assert "`rm up` removes both" in place.run("snapshot", "rm", "up").stderr
        assert "`stop up` first" in place.run("snapshot", "commit", "saved", "up").stderr
        assert place.ok("exec", "up", "cat", "/data/page") == "from the image"
    finally:
        place.ok("task", "kill", "up", "KILL")
        place.run("task", "wait", "up")
    assert place.run("snapshot", "rm", "up").returncode == 3  # it may be started again
    place.ok("snapshot", "commit", "saved", "up")  # what it wrote is kept
    place.ok("rm", "up")
    place.ok("snapshot", "rm", "saved")
    place.ok("store", "check")
