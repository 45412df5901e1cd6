"""What a user of the library imports, and options as containerd's client has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import mobyshell
from mobyshell import (
    Mount,
    Spec,
    UsageError,
    with_ambient_capabilities,
    with_apparmor_profile,
    with_capabilities,
    with_cpu_quota,
    with_cpu_shares,
    with_cpuset,
    with_default_path_env,
    with_devices,
    with_env_file,
    with_host_hosts_file,
    with_masked_paths,
    with_memory_limit,
    with_memory_swap,
    with_mounts,
    with_process_args,
    with_process_cwd,
    with_readonly_paths,
    with_resources,
    with_rootfs_readonly,
    with_seccomp,
    with_shm_size,
    with_tty,
    without_mounts,
)
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.oci import CPU, Linux, Resources
from tests.moby.test_spec_options import made, making, process_of


def linux_of(spec: Spec) -> Linux:
    assert spec.linux is not None
    return spec.linux


def test_every_public_name_is_there() -> None:
    for name in dir(mobyshell):
        assert getattr(mobyshell, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'with_nothing'"):
        _ = mobyshell.with_nothing


def test_all_of_them_come_with_a_star() -> None:
    names: dict[str, object] = {}
    exec("from mobyshell import *", names)
    assert names["Moby"] is mobyshell.Moby
    assert set(names) - {"__builtins__"} == set(dir(mobyshell)) - {"__version__"}


def test_containerds_names_mean_the_same() -> None:
    spec = made(with_process_args("a", "b"), with_process_cwd("/srv"), with_rootfs_readonly(),
                with_tty())  # fmt: skip
    process = process_of(spec)
    assert (process.args, process.cwd, process.terminal) == (("a", "b"), "/srv", True)
    assert spec.root is not None
    assert spec.root.readonly


def test_limits() -> None:
    spec = made(with_process_args("x"), with_memory_limit(1 << 20), with_memory_swap(2 << 20),
                with_cpuset("0-1", "0"), with_cpu_shares(512), with_cpu_quota(5000, 10_000))  # fmt: skip
    found = linux_of(spec).resources
    assert found is not None
    assert found.memory is not None
    assert (found.memory.limit, found.memory.swap) == (1 << 20, 2 << 20)
    assert found.cpu == CPU(shares=512, quota=5000, period=10_000, cpus="0-1", mems="0")
    chosen = Resources(cpu=CPU(shares=2))
    again = linux_of(made(with_process_args("x"), with_resources(chosen))).resources
    assert again is not None
    assert again.cpu == CPU(shares=2)


def test_devices_of_the_host(tmp_path: Path) -> None:
    spec = made(with_process_args("x"), with_devices("/dev/null", "/dev/hole", "r"))
    (device,) = linux_of(spec).devices or ()
    there = os.stat("/dev/null")
    assert (device.path, device.type, device.major, device.minor) == ("/dev/hole", "c", 1, 3)
    assert device.file_mode == there.st_mode & 0o7777
    resources = linux_of(spec).resources
    assert resources is not None
    assert [(one.allow, one.type, one.major, one.minor, one.access)
            for one in resources.devices or ()][-1] == (True, "c", 1, 3, "r")  # fmt: skip
    with pytest.raises(UsageError, match="is no device"):
        made(with_process_args("x"), with_devices(str(Path(__file__))))
    with pytest.raises(UsageError, match="no permissions"):
        with_devices("/dev/null", permissions="rx")
    with pytest.raises(SyscallFailed):
        made(with_process_args("x"), with_devices(str(tmp_path / "none")))


def test_what_it_is_kept_from() -> None:
    spec = made(with_process_args("x"), with_capabilities("net_admin", "CAP_CHOWN"),
                with_masked_paths("/proc/x"), with_readonly_paths(), with_seccomp(None),
                with_apparmor_profile("mine"))  # fmt: skip
    sets = process_of(spec).capabilities
    assert sets is not None
    assert sets.bounding == sets.effective == sets.permitted == ("CAP_CHOWN", "CAP_NET_ADMIN")
    assert process_of(spec).apparmor_profile == "mine"
    assert (linux_of(spec).masked_paths, linux_of(spec).readonly_paths) == (("/proc/x",), ())
    none = process_of(made(with_process_args("x"), with_capabilities())).capabilities
    assert none is not None
    assert none.bounding == ()
    kept = process_of(made(with_process_args("x"), with_ambient_capabilities("net_admin")))
    assert kept.capabilities is not None
    assert kept.capabilities.ambient == kept.capabilities.inheritable == ("CAP_NET_ADMIN",)
    assert "CAP_CHOWN" in (kept.capabilities.bounding or ())


def test_what_it_has_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# of us\nA=1\n\nB=two words\n")
    spec = made(with_process_args("x"), with_env_file(str(tmp_path / "env")),
                with_host_hosts_file(), with_shm_size(1 << 20), without_mounts("/run/"),
                with_mounts(Mount(destination="/m", type="tmpfs", source="tmpfs")))  # fmt: skip
    assert (process_of(spec).env or ())[-2:] == ("A=1", "B=two words")
    mounts = {one.destination: one for one in spec.mounts or ()}
    assert "/run" not in mounts
    assert mounts["/etc/hosts"].source == "/etc/hosts"
    assert [one for one in mounts["/dev/shm"].options or () if one.startswith("size=")] == [
        f"size={1 << 20}"
    ]
    assert list(mounts)[-1] == "/m"
    bare = made(with_process_args("x"), mobyshell.with_env("PATH"), with_default_path_env(),
                by=making())  # fmt: skip
    assert any(one.startswith("PATH=/usr/local/sbin") for one in process_of(bare).env or ())
