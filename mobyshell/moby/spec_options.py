"""What a container's spec is made of, one option at a time: containerd's oci.SpecOpts.

An option is a function from a spec to a spec; they are applied in the order in which they are given,
so later ones win. What it needs to know beside the spec is in `Making`. Nothing here touches more
than the image's files.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from mobyshell.core.errors import UsageError
from mobyshell.core.linux.capabilities import NAMES
from mobyshell.core.oci import (
    CPU,
    Capabilities,
    DeviceCgroup,
    IDMapping,
    Linux,
    Memory,
    Mount,
    Namespace,
    Pids,
    Process,
    Resources,
    Rlimit,
    Spec,
)
from mobyshell.core.oci.image_config import Healthcheck, ImageConfig
from mobyshell.core.tasks import users
from mobyshell.core.tasks.healthchecks import HEALTHCHECK, annotation_of
from mobyshell.core.values import replace, value


@value
class Making:
    """For whom a spec is made. `read`: files of the root filesystem, as `core/tasks/users` asks
    for them; `config`: of the container's image, if it has one."""

    id: str
    read: users.Read
    config: ImageConfig | None = None


SpecOption: TypeAlias = Callable[[Spec, Making], Spec]


def apply(spec: Spec, options: Iterable[SpecOption], making: Making) -> Spec:
    """`spec` with all options applied. UsageError if then there is nothing to run."""
    for option in options:
        spec = option(spec, making)
    if not _process(spec).args:
        raise UsageError(
            "no command: neither does the image say what to run, nor was anything given",
            hint="give it after the image's name; in Python with_image comes before with_new_spec",
        )
    return spec


# what an image says


def with_image_config(*args: str) -> SpecOption:
    """Environment, directory, user and command as the image says; `args` instead of its Cmd
    (image-spec conversion.md)."""

    def option(spec: Spec, making: Making) -> Spec:
        config = making.config.config if making.config is not None else None
        if config is None:
            return with_args(*args)(spec, making) if args else spec
        spec = with_env(*(config.env or ()))(spec, making)
        if config.working_dir:
            spec = with_cwd(config.working_dir)(spec, making)
        command = (*(config.entrypoint or ()), *(args or config.cmd or ()))
        if command:
            spec = with_args(*command)(spec, making)
        if config.stop_signal:
            spec = with_annotations({STOP_SIGNAL: config.stop_signal})(spec, making)
        if config.healthcheck is not None:
            spec = with_healthcheck(config.healthcheck, config.shell or _SHELL)(spec, making)
        # of root, too, the groups that the image gives it
        return with_user(config.user or "0")(spec, making)

    return option


_SHELL = ("/bin/sh", "-c")


def with_healthcheck(check: Healthcheck | None, shell: tuple[str, ...] = _SHELL) -> SpecOption:
    """What the shim asks, time after time, to know whether the task is well; None, or a check that is
    `NONE`, for nothing. `shell` is for one that is written as a text."""

    def option(spec: Spec, making: Making) -> Spec:
        found = dict(spec.annotations or {})
        found.pop(HEALTHCHECK, None)
        words = (check.test or ()) if check is not None else ()
        if check is not None and words[:1] in (("CMD",), ("CMD-SHELL",)) and words[1:]:
            program = words[1:] if words[0] == "CMD" else (*shell, *words[1:])
            found[HEALTHCHECK] = annotation_of(program, {
                "Interval": check.interval, "Timeout": check.timeout,
                "StartPeriod": check.start_period, "StartInterval": check.start_interval,
                "Retries": check.retries,
            })  # fmt: skip
        return replace(spec, annotations=found or None)

    return option


STOP_SIGNAL = "org.opencontainers.image.stopSignal"
"""The annotation under which conversion.md keeps the image's signal."""


# the process


def with_args(*args: str) -> SpecOption:
    """What is run."""
    return lambda spec, _: _with_process(spec, args=args)


def with_env(*settings: str) -> SpecOption:
    """Environment, `NAME=value` each; a name alone is taken away. Others stay."""

    def option(spec: Spec, _: Making) -> Spec:
        names = {one.partition("=")[0] for one in settings}
        kept = (one for one in _process(spec).env or () if one.partition("=")[0] not in names)
        return _with_process(spec, env=(*kept, *(one for one in settings if "=" in one)))

    return option


def with_cwd(path: str) -> SpecOption:
    """The working directory, absolute."""
    return lambda spec, _: _with_process(spec, cwd=os.path.join("/", path))


def with_user(text: str) -> SpecOption:
    """`user`, `uid`, `user:group`, `uid:gid`; names as the image's /etc/passwd and /etc/group say."""

    def option(spec: Spec, making: Making) -> Spec:
        user = users.resolve(text, _process(spec).user, making.read)
        return _with_process(spec, user=user)

    return option


def with_additional_gids(*gids: int) -> SpecOption:
    """Further groups of the process."""

    def option(spec: Spec, _: Making) -> Spec:
        user = _process(spec).user
        both = tuple(dict.fromkeys((*(user.additional_gids or ()), *gids)))
        return _with_process(spec, user=replace(user, additional_gids=both))

    return option


def with_terminal(terminal: bool = True) -> SpecOption:
    """A terminal, and TERM to say so."""

    def option(spec: Spec, making: Making) -> Spec:
        spec = _with_process(spec, terminal=terminal)
        named = any(one.startswith("TERM=") for one in _process(spec).env or ())
        return with_env("TERM=xterm")(spec, making) if terminal and not named else spec

    return option


def with_new_privileges() -> SpecOption:
    """Let setuid programs have their powers (they have none by default)."""
    return lambda spec, _: _with_process(spec, no_new_privileges=False)


def with_added_capabilities(*names: str) -> SpecOption:
    """Capabilities beside those that are there; `ALL` for all."""
    return lambda spec, _: _with_capabilities(spec, add=names)


def with_dropped_capabilities(*names: str) -> SpecOption:
    """Without these capabilities; `ALL` for none at all."""
    return lambda spec, _: _with_capabilities(spec, drop=names)


def with_rlimit(name: str, soft: int, hard: int | None = None) -> SpecOption:
    """A resource limit (getrlimit(2)): `nofile` or `RLIMIT_NOFILE`."""
    kind = name.upper() if name.upper().startswith("RLIMIT_") else f"RLIMIT_{name.upper()}"
    limit = Rlimit(type=kind, soft=soft, hard=soft if hard is None else hard)

    def option(spec: Spec, _: Making) -> Spec:
        kept = (one for one in _process(spec).rlimits or () if one.type != kind)
        return _with_process(spec, rlimits=(*kept, limit))

    return option


# where it runs


def with_hostname(name: str) -> SpecOption:
    """The host's name inside."""
    return lambda spec, _: replace(spec, hostname=name)


def with_mounts(*mounts: Mount) -> SpecOption:
    """Mounts beside those that are there; one on the same place instead of what was there."""

    def option(spec: Spec, _: Making) -> Spec:
        places = {one.destination for one in mounts}
        kept = (one for one in spec.mounts or () if one.destination not in places)
        return replace(spec, mounts=(*kept, *mounts))

    return option


def with_readonly_rootfs() -> SpecOption:
    """A root filesystem that cannot be written."""

    def option(spec: Spec, _: Making) -> Spec:
        assert spec.root is not None
        return replace(spec, root=replace(spec.root, readonly=True))

    return option


def with_namespace(kind: str, path: str) -> SpecOption:
    """An existing namespace instead of one of its own; kinds as in the spec (`network`)."""

    def option(spec: Spec, _: Making) -> Spec:
        kept = [one for one in _linux(spec).namespaces or () if one.type != kind]
        return _with_linux(spec, namespaces=(*kept, Namespace(type=kind, path=path)))

    return option


def with_host_namespace(kind: str) -> SpecOption:
    """The host's namespace instead of one of its own."""

    def option(spec: Spec, _: Making) -> Spec:
        kept = tuple(one for one in _linux(spec).namespaces or () if one.type != kind)
        return _with_linux(spec, namespaces=kept)

    return option


def with_user_namespace(host_id: int, count: int = 65536) -> SpecOption:
    """A user namespace of its own: root in it, and the `count` - 1 users and groups after, are
    `host_id` and those after on the host. Its snapshot is then one `with_remapped_snapshot`."""

    def option(spec: Spec, _: Making) -> Spec:
        ids = (IDMapping(container_id=0, host_id=host_id, size=count),)
        kept = [one for one in _linux(spec).namespaces or () if one.type != "user"]
        return _with_linux(spec, namespaces=(*kept, Namespace(type="user")),
                           uid_mappings=ids, gid_mappings=ids)  # fmt: skip

    return option


def with_cgroup(path: str) -> SpecOption:
    """Where its cgroups are, as `linux.cgroupsPath` has it."""
    return lambda spec, _: _with_linux(spec, cgroups_path=path)


def with_memory_limit(limit: int) -> SpecOption:
    """Bytes; swap is not given beside it."""
    return lambda spec, _: _with_resources(spec, memory=Memory(limit=limit, swap=limit))


_PERIOD = 100_000


def with_cpus(count: float) -> SpecOption:
    """As much time as this many processors have, of all together."""
    if isinstance(count, str) or count <= 0:
        raise UsageError(f"{count} processors",
                         hint="a number more than 0, such as 0.5; with_cpuset chooses which")  # fmt: skip
    quota = max(1000, round(count * _PERIOD))
    return lambda spec, _: _with_resources(
        spec, cpu=replace(_resources(spec).cpu or CPU(), quota=quota, period=_PERIOD)
    )


def with_pids_limit(limit: int) -> SpecOption:
    """How many tasks of the kernel there may be."""
    return lambda spec, _: _with_resources(spec, pids=Pids(limit=limit))


def with_sysctls(settings: Mapping[str, str]) -> SpecOption:
    """Kernel settings of its namespaces."""
    return lambda spec, _: _with_linux(spec, sysctl={**(_linux(spec).sysctl or {}), **settings})


def with_annotations(annotations: Mapping[str, str]) -> SpecOption:
    """Annotations beside those that are there."""
    return lambda spec, _: replace(spec, annotations={**(spec.annotations or {}), **annotations})


def with_privileged() -> SpecOption:
    """Everything that root has: all capabilities and devices, nothing hidden or read-only."""

    def option(spec: Spec, making: Making) -> Spec:
        spec = _with_capabilities(with_new_privileges()(spec, making), add=("ALL",))
        opened = tuple(
            replace(
                one, options=tuple("rw" if word == "ro" else word for word in one.options or ())
            )
            if one.type in ("sysfs", "cgroup")
            else one
            for one in spec.mounts or ()
        )
        spec = replace(spec, mounts=opened)
        spec = _with_resources(spec, devices=(DeviceCgroup(allow=True, access="rwm"),))
        return _with_linux(spec, masked_paths=(), readonly_paths=())

    return option


# parts of a spec, where all of them are


def _process(spec: Spec) -> Process:
    if spec.process is None:
        raise UsageError("the spec has no process")
    return spec.process


def _linux(spec: Spec) -> Linux:
    return spec.linux or Linux()


def _resources(spec: Spec) -> Resources:
    return _linux(spec).resources or Resources()


def _with_process(spec: Spec, **changes: object) -> Spec:
    return replace(spec, process=replace(_process(spec), **changes))


def _with_linux(spec: Spec, **changes: object) -> Spec:
    return replace(spec, linux=replace(_linux(spec), **changes))


def _with_resources(spec: Spec, **changes: object) -> Spec:
    return _with_linux(spec, resources=replace(_resources(spec), **changes))


def _with_capabilities(
    spec: Spec, *, add: tuple[str, ...] = (), drop: tuple[str, ...] = ()
) -> Spec:
    sets = _process(spec).capabilities or Capabilities()
    present = set(sets.bounding or ())
    present = (present | _capabilities(add)) - _capabilities(drop)
    listed = tuple(name for name in NAMES if name in present)
    return _with_process(
        spec, capabilities=Capabilities(bounding=listed, effective=listed, permitted=listed)
    )


def _capabilities(names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for name in names:
        word = name.upper()
        if word == "ALL":
            return set(NAMES)
        word = word if word.startswith("CAP_") else f"CAP_{word}"
        if word not in NAMES:
            raise UsageError(f"there is no capability {name:.40}", hint="such as NET_ADMIN, or ALL")
        found.add(word)
    return found
