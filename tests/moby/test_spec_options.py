"""What a container's spec becomes, option by option."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.oci import Mount, Namespace, Process, Spec, dump_spec, parse_spec
from mobyshell.core.oci.image_config import Healthcheck, ImageConfig, ImageProcess, RootFS
from mobyshell.core.tasks.healthchecks import HEALTHCHECK, Check, read_check
from mobyshell.core.tasks.users import Read
from mobyshell.moby import spec_options as so
from mobyshell.moby.defaults import CAPABILITIES, container_spec

FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/false\n",
    "etc/group": b"root:x:0:\nwheel:x:10:root,web\nwww:x:34:\nlogs:x:40:web\n",
}


def reader(files: Mapping[str, bytes]) -> Read:
    def read(path: str, most: int) -> bytes:
        if path not in files:
            raise NotFound(path)
        return files[path][:most]

    return read


def making(files: Mapping[str, bytes] = FILES, **config: object) -> so.Making:
    process = ImageProcess(**config)  # type: ignore[arg-type]
    image = ImageConfig(
        architecture="amd64", os="linux", config=process, rootfs=RootFS(type="layers")
    )
    return so.Making("c", reader(files), image)


def made(*options: so.SpecOption, by: so.Making | None = None) -> Spec:
    spec = so.apply(container_spec(), options, by or making(cmd=("sh",)))
    return parse_spec(dump_spec(spec))  # it holds every rule of the specification


def process_of(spec: Spec) -> Process:
    assert spec.process is not None
    return spec.process


def test_an_image_says_what_is_run_as_whom_and_where() -> None:
    image = making(
        entrypoint=("/entry", "-v"), cmd=("serve",), env=("PATH=/bin", "A=1"), user="web",
        working_dir="/srv", stop_signal="SIGQUIT",
    )  # fmt: skip
    spec = made(so.with_image_config(), by=image)
    process = process_of(spec)
    assert process.args == ("/entry", "-v", "serve")
    assert process.env == ("PATH=/bin", "A=1")
    assert process.cwd == "/srv"
    assert (process.user.uid, process.user.gid, process.user.additional_gids) == (
        33, 34, (34, 10, 40),
    )  # fmt: skip
    assert spec.annotations == {so.STOP_SIGNAL: "SIGQUIT"}
    assert process_of(made(so.with_image_config("x"), by=image)).args == ("/entry", "-v", "x")


def test_an_image_says_how_to_know_whether_it_is_well() -> None:
    text = Healthcheck(test=("CMD-SHELL", "look"), interval=10**9, retries=2)
    spec = made(so.with_image_config(), by=making(cmd=("x",), healthcheck=text))
    annotation = (spec.annotations or {})[HEALTHCHECK]
    assert read_check(annotation) == Check(("/bin/sh", "-c", "look"), 1.0, retries=2)
    image = making(cmd=("x",), healthcheck=text, shell=("/bin/bash", "-ec"))
    annotation = (made(so.with_image_config(), by=image).annotations or {})[HEALTHCHECK]
    assert read_check(annotation) == Check(("/bin/bash", "-ec", "look"), 1.0, retries=2)
    assert not made(so.with_image_config(), so.with_healthcheck(None), by=image).annotations
    for check in (Healthcheck(test=("NONE",)), Healthcheck(), Healthcheck(test=("CMD",))):
        assert not made(
            so.with_image_config(), by=making(cmd=("x",), healthcheck=check)
        ).annotations
    listed = so.with_healthcheck(Healthcheck(test=("CMD", "a", "b")))
    annotation = (made(so.with_args("x"), listed).annotations or {})[HEALTHCHECK]
    assert read_check(annotation) == Check(("a", "b"))


def test_root_has_the_groups_that_the_image_gives_it() -> None:
    user = process_of(made(so.with_image_config(), by=making(cmd=("sh",)))).user
    assert (user.uid, user.gid, user.additional_gids) == (0, 0, (0, 10))


def test_an_image_without_accounts_runs_as_root_and_as_numbers_but_as_nobody_by_name() -> None:
    empty = making({}, cmd=("sh",))
    assert process_of(made(so.with_image_config(), by=empty)).user.uid == 0
    user = process_of(made(so.with_image_config(), so.with_user("7:8"), by=empty)).user
    assert (user.uid, user.gid) == (7, 8)
    with pytest.raises(NotFound, match="passwd"):
        made(so.with_user("web"), by=empty)
    with pytest.raises(UsageError):
        made(so.with_user("4294967295"), by=empty)


def test_nothing_to_run_is_an_error() -> None:
    with pytest.raises(UsageError, match="no command"):
        made(so.with_image_config(), by=making())


def test_later_options_win() -> None:
    spec = made(
        so.with_image_config(), so.with_env("A=1", "B=2"), so.with_env("A=3", "B"),
        so.with_cwd("/a"), so.with_cwd("b"),
        so.with_mounts(Mount(destination="/run", type="bind", source="/x", options=("rbind",))),
        so.with_rlimit("nofile", 10), so.with_memory_limit(1 << 20), so.with_cpus(0.5),
        so.with_pids_limit(7),
    )  # fmt: skip
    process = process_of(spec)
    assert [one for one in process.env or () if one[0] in "AB"] == ["A=3"]
    assert process.cwd == "/b"
    assert [one.source for one in spec.mounts or () if one.destination == "/run"] == ["/x"]
    assert [(one.type, one.hard) for one in process.rlimits or ()] == [("RLIMIT_NOFILE", 10)]
    assert spec.linux is not None
    resources = spec.linux.resources
    assert resources is not None
    assert resources.memory is not None
    assert resources.cpu is not None
    assert resources.pids is not None
    assert (resources.memory.limit, resources.cpu.quota, resources.pids.limit) == (
        1 << 20,
        50000,
        7,
    )
    assert resources.devices is not None  # all of it is still there


def test_namespaces_of_others() -> None:
    spec = made(
        so.with_image_config(), so.with_namespace("network", "/run/netns/x"),
        so.with_host_namespace("ipc"),
    )  # fmt: skip
    assert spec.linux is not None
    found = spec.linux.namespaces or ()
    assert Namespace(type="network", path="/run/netns/x") in found
    assert [one.type for one in found].count("network") == 1
    assert "ipc" not in [one.type for one in found]


def test_capabilities() -> None:
    def sets(*options: so.SpecOption) -> set[str]:
        found = process_of(made(so.with_image_config(), *options)).capabilities
        assert found is not None
        assert not found.inheritable  # CVE-2022-24769
        assert not found.ambient
        return set(found.bounding or ())

    assert sets() == set(CAPABILITIES)
    assert sets(so.with_added_capabilities("sys_time")) == {*CAPABILITIES, "CAP_SYS_TIME"}
    assert sets(so.with_dropped_capabilities("ALL"), so.with_added_capabilities("KILL")) == {
        "CAP_KILL"
    }
    assert "CAP_SYS_ADMIN" in sets(so.with_privileged())
    with pytest.raises(UsageError, match="no capability"):
        made(so.with_added_capabilities("EVERYTHING"))


def test_privileged_hides_nothing() -> None:
    spec = made(so.with_image_config(), so.with_privileged())
    assert spec.linux is not None
    assert not spec.linux.masked_paths
    assert not spec.linux.readonly_paths
    assert process_of(spec).no_new_privileges is False
    sysfs = next(one for one in spec.mounts or () if one.type == "sysfs")
    assert "ro" not in (sysfs.options or ())


def test_a_terminal_has_a_name() -> None:
    assert "TERM=xterm" in (process_of(made(so.with_image_config(), so.with_terminal())).env or ())
    kept = made(so.with_image_config(), so.with_env("TERM=vt100"), so.with_terminal())
    assert "TERM=vt100" in (process_of(kept).env or ())
