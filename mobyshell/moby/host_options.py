"""What a container has of the host, and of the file systems that it begins with. Options of its spec."""

from __future__ import annotations

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.oci import Mount, Spec
from mobyshell.core.values import replace
from mobyshell.moby.spec_options import (
    Making,
    SpecOption,
    with_env,
    with_mounts,
)


def with_host_hosts_file() -> SpecOption:
    """The host's /etc/hosts, read-only."""
    return with_mounts(_shown("/etc/hosts"))


def with_host_resolvconf() -> SpecOption:
    """The host's /etc/resolv.conf, read-only."""
    return with_mounts(_shown("/etc/resolv.conf"))


def with_host_localtime() -> SpecOption:
    """The host's /etc/localtime, read-only: the same time of day in both."""
    return with_mounts(_shown("/etc/localtime"))


def with_env_file(path: str) -> SpecOption:
    """Environment from a file of the host: `NAME=value` a line, `#` for a comment. SyscallFailed."""

    def option(spec: Spec, making: Making) -> Spec:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                lines = [line.strip() for line in file]
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        return with_env(*(one for one in lines if one and not one.startswith("#")))(spec, making)

    return option


def with_domainname(name: str) -> SpecOption:
    """The NIS domain's name inside."""
    return lambda spec, _: replace(spec, domainname=name)


def with_default_path_env() -> SpecOption:
    """The PATH that everybody expects, if there is none."""

    def option(spec: Spec, making: Making) -> Spec:
        env = spec.process.env if spec.process is not None else None
        if any(one.startswith("PATH=") for one in env or ()):
            return spec
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return with_env(f"PATH={path}")(spec, making)

    return option


def with_shm_size(size: int) -> SpecOption:
    """Bytes that /dev/shm may hold."""

    def option(spec: Spec, making: Making) -> Spec:
        there = next((one for one in spec.mounts or () if one.destination == "/dev/shm"), None)
        words = there.options if there is not None else ("nosuid", "noexec", "nodev", "mode=1777")
        kept = tuple(one for one in words or () if not one.startswith("size="))
        again = Mount(destination="/dev/shm", type="tmpfs", source="shm",
                      options=(*kept, f"size={size}"))  # fmt: skip
        if there is None:
            return replace(spec, mounts=(*(spec.mounts or ()), again))
        return replace(
            spec, mounts=tuple(again if one is there else one for one in spec.mounts or ())
        )

    return option


def without_mounts(*destinations: str) -> SpecOption:
    """Without the mounts on these places, such as /run."""

    def option(spec: Spec, _: Making) -> Spec:
        gone = {one.rstrip("/") or "/" for one in destinations}
        kept = (one for one in spec.mounts or () if one.destination.rstrip("/") not in gone)
        return replace(spec, mounts=tuple(kept))

    return option


def _shown(path: str) -> Mount:
    return Mount(destination=path, type="bind", source=path, options=("rbind", "ro", "rprivate"))
