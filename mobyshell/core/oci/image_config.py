"""The configuration of an image: how it is run, and of which trees it is made (image-spec config.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mobyshell.core.oci.digest import Digest, digest_kind
from mobyshell.core.oci.kinds import (
    I64,
    array,
    boolean,
    extras,
    mapping,
    member,
    names,
    one_of,
    record,
    text,
)
from mobyshell.core.oci.platform import Platform
from mobyshell.core.values import named_value

_SECTION = "config.md#properties"


@named_value
class Healthcheck:
    """How to find out whether a container is well. `test`: `NONE`, or `CMD` and words, or `CMD-SHELL`
    and a text; times in nanoseconds, 0 for the engine's own (Docker's image specification, 1.2;
    config.md reserves the name)."""

    test: tuple[str, ...] | None = member("Test", array(text()), _SECTION)
    interval: int | None = member("Interval", I64, _SECTION)
    timeout: int | None = member("Timeout", I64, _SECTION)
    start_period: int | None = member("StartPeriod", I64, _SECTION)
    start_interval: int | None = member("StartInterval", I64, _SECTION)
    retries: int | None = member("Retries", I64, _SECTION)
    extra: dict[str, Any] = extras()


@named_value
class ImageProcess:
    """What a container of the image runs, unless it is told otherwise."""

    user: str | None = member("User", text(), _SECTION)
    exposed_ports: frozenset[str] | None = member("ExposedPorts", names, _SECTION)
    env: tuple[str, ...] | None = member("Env", array(text()), _SECTION)
    entrypoint: tuple[str, ...] | None = member("Entrypoint", array(text()), _SECTION)
    cmd: tuple[str, ...] | None = member("Cmd", array(text()), _SECTION)
    volumes: frozenset[str] | None = member("Volumes", names, _SECTION)
    working_dir: str | None = member("WorkingDir", text(), _SECTION)
    labels: dict[str, str] | None = member("Labels", mapping(text(), text()), _SECTION)
    stop_signal: str | None = member("StopSignal", text(), _SECTION)
    # of Docker's, whose names config.md reserves
    healthcheck: Healthcheck | None = member("Healthcheck", record(Healthcheck), _SECTION)
    on_build: tuple[str, ...] | None = member("OnBuild", array(text()), _SECTION)
    shell: tuple[str, ...] | None = member("Shell", array(text()), _SECTION)
    extra: dict[str, Any] = extras()

    @property
    def args(self) -> tuple[str, ...]:
        """The program and its arguments: the entrypoint, then the command."""
        return (self.entrypoint or ()) + (self.cmd or ())


@named_value
class RootFS:
    """The layers by the digests of their tars, unpacked; the lowest first."""

    type: str = member("type", one_of("layers"), _SECTION, required=True)
    diff_ids: tuple[Digest, ...] | None = member("diff_ids", array(digest_kind), _SECTION)
    extra: dict[str, Any] = extras()


@named_value
class History:
    """How a layer came to be; `empty_layer`: a step that made none."""

    created: str | None = member("created", text(), _SECTION)
    author: str | None = member("author", text(), _SECTION)
    created_by: str | None = member("created_by", text(), _SECTION)
    comment: str | None = member("comment", text(), _SECTION)
    empty_layer: bool | None = member("empty_layer", boolean, _SECTION)
    extra: dict[str, Any] = extras()


@named_value
class ImageConfig:
    """An image as config.md describes it. `created` is RFC 3339."""

    created: str | None = member("created", text(), _SECTION)
    author: str | None = member("author", text(), _SECTION)
    architecture: str = member("architecture", text(), _SECTION, required=True)
    os: str = member("os", text(), _SECTION, required=True)
    os_version: str | None = member("os.version", text(), _SECTION)
    os_features: tuple[str, ...] | None = member("os.features", array(text()), _SECTION)
    variant: str | None = member("variant", text(), _SECTION)
    config: ImageProcess | None = member("config", record(ImageProcess), _SECTION)
    rootfs: RootFS = member("rootfs", record(RootFS), _SECTION, required=True)
    history: tuple[History, ...] | None = member("history", array(record(History)), _SECTION)
    extra: dict[str, Any] = extras()

    @property
    def platform(self) -> Platform:
        """For which machine it is."""
        return Platform(
            architecture=self.architecture, os=self.os, os_version=self.os_version,
            os_features=self.os_features, variant=self.variant or None,
        )  # fmt: skip

    @property
    def diff_ids(self) -> tuple[Digest, ...]:
        """The layers by the digests of their tars; Docker leaves them out where there are none."""
        return self.rootfs.diff_ids or ()

    @property
    def chain_id(self) -> Digest | None:
        """The name of the whole tree; None of an image without layers."""
        return chain_id(self.diff_ids)


def chain_ids(diff_ids: Iterable[Digest]) -> tuple[Digest, ...]:
    """For each layer the name of the tree that it makes on all below it (config.md#layer-chainid)."""
    found: list[Digest] = []
    for one in diff_ids:
        found.append(Digest.of(f"{found[-1]} {one}".encode()) if found else one)
    return tuple(found)


def chain_id(diff_ids: Iterable[Digest]) -> Digest | None:
    """The name of the tree that all these layers make; None of no layer."""
    found = chain_ids(diff_ids)
    return found[-1] if found else None
