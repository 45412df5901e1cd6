"""`container start restart update`: containers that are there already, set going (again)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mobyshell.commands.container_run import start_container
from mobyshell.commands.image_transfer import tenant
from mobyshell.commands.registry import (
    CONTAINER,
    SECONDS,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Done
from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.tasks.restarts import (
    POLICY,
    STATUS,
    labels_at_start,
    parse,
    starts_at_boot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.containers import Container as Row

N = "container"
_ALIVE = ("creating", "created", "running", "paused", "restarting")
_ALL = (
    optional("id", CONTAINER, "their ids", many=True),
    switch("--all", "all containers of the namespace, but those that run"),
    option("--filter", "of all, only those with restart-policy=NAME, should-start-on-boot=true, or what "
           "`container ls` takes", TEXT, many=True),
)  # fmt: skip


@verb(
    N, "start",
    *_ALL,
    switch("-d --detach", "do not wait for it (as with several)"),
    switch("--rm", "forget it when it has ended"),
    option("--detach-keys", "what leaves it running", TEXT, default="ctrl-p,ctrl-q"),
    effect=WRITE, example="container start -d box", key="S", asks="",
)  # fmt: skip
def start(
    ctx: Context, *, id: tuple[str, ...], all: bool, filter: tuple[str, ...], detach: bool,
    rm: bool, detach_keys: str,
) -> Done:  # fmt: skip
    """Let containers run, with the networks and volumes they were made with.

    One whose task has ended runs again: its log goes on.

    After the machine has started, `container start --all --filter should-start-on-boot=true` starts
    what was to be running: policy always, or unless-stopped and not stopped by anybody.
    """
    chosen = _chosen(ctx, id, all, filter)
    if len(chosen) == 1 and not all:
        return _start(ctx, chosen[0], detach=detach, rm=rm, keys=detach_keys)
    if rm:
        raise UsageError("--rm is for one container", hint="leave it away")
    return _each(chosen, lambda one: _start(ctx, one, detach=True, rm=False, keys=""))


@verb(
    N, "restart",
    argument("id", CONTAINER, "their ids", many=True),
    option("-t --time", "seconds until KILL follows TERM", SECONDS, default=10.0),
    effect=WRITE, example="container restart -t 0.5 box",
)  # fmt: skip
def restart(ctx: Context, *, id: tuple[str, ...], time: float) -> Done:
    """Stop containers that run, and start them again."""
    from mobyshell.commands.task import stop

    def again(one: str) -> None:
        with suppress(NotFound):
            stop(ctx, id=(one,), time=time)
        _start(ctx, one, detach=True, rm=False, keys="")

    return _each(_chosen(ctx, id, False, ()), again)


@verb(
    N, "update",
    argument("id", CONTAINER, "their ids", many=True),
    option("--restart", "start it again when it ends: no, on-failure[:N], always, unless-stopped", TEXT,
           default=""),
    effect=WRITE, example="container update --restart on-failure:3 web", asks="--restart ",
)  # fmt: skip
def update(ctx: Context, *, id: tuple[str, ...], restart: str) -> Done:
    """Change when containers are started again. The limits of what runs: `task update`."""
    chosen = _chosen(ctx, id, False, ())
    if not restart:
        raise UsageError("there is nothing to change", hint="--restart always")
    parse(restart)
    return _each(chosen, lambda one: set_policy(ctx, one, restart))


def set_policy(ctx: Context, id: str, policy: str) -> None:
    """Give a container, or a task without one, a restart policy. NotFound."""
    found = parse(policy)
    labels: dict[str, str | None] = {POLICY: str(found)}
    row = True
    try:
        ctx.space.containers.get(id)
    except NotFound:
        row = False
    try:
        info = ctx.tasks.set_restart_policy(id, str(found), store=ctx.root if row else "")
        if found and info.started_ns:
            labels[STATUS] = "running"
    except NotFound:
        if not row:
            raise
    if row:
        ctx.space.containers.update(id, labels=labels)


def _chosen(ctx: Context, ids: Sequence[str], all: bool, filters: Sequence[str]) -> list[str]:
    """The containers meant. NotFound for one that is not there; UsageError for none."""
    if not all:
        if not ids or filters:
            raise UsageError("which containers?", hint="give their ids, or --all with --filter")
        return [ctx.space.containers.get(one).id for one in ids]
    if ids:
        raise UsageError("either ids or --all")
    alive = {one.id for one in ctx.tasks.ls() if str(one.status) in _ALIVE}
    plain = [one for one in filters if not one.startswith(_OWN)]
    found = ctx.space.containers.list(*plain)
    return [one.id for one in found if one.id not in alive and _fits(one, filters)]


_OWN = ("restart-policy=", "should-start-on-boot=")


def _fits(row: Row, filters: Sequence[str]) -> bool:
    """Whether all of the filters that podman has agree."""
    wanted = [one.split("=", 1) for one in filters if one.startswith(_OWN)]
    names = {value for key, value in wanted if key == "restart-policy"}
    boots = {value in ("true", "1") for key, value in wanted if key == "should-start-on-boot"}
    policy = row.labels.get(POLICY, "no").partition(":")[0]
    return (not names or policy in names) and (not boots or starts_at_boot(row.labels) in boots)


def _start(ctx: Context, id: str, *, detach: bool, rm: bool, keys: str) -> Done:
    from mobyshell.moby.container import Container as Made

    container = Made(tenant(ctx), id)
    try:
        info = ctx.tasks.get(id)
    except NotFound:
        return start_container(ctx, container, detach=detach, rm=rm, keys=keys)
    if info.status in ("created", "restarting"):  # which need not wait for its time
        ctx.tasks.start(id)
    elif info.status == "stopped":
        if not detach:  # who wants to see it from the beginning attaches before it starts
            ctx.tasks.delete(id)
            return start_container(ctx, container, detach=detach, rm=rm, keys=keys)
        ctx.tasks.restart(id)
    if changes := labels_at_start(container.labels):
        container.set_labels(changes)
    return Done(id)


def _each(ids: Sequence[str], work: Callable[[str], object]) -> Done:
    """The same for several: what fails does not keep the others from it."""
    failed: list[MobyshellError] = []
    done = []
    for one in ids:
        try:
            work(one)
            done.append(one)
        except MobyshellError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return Done(" ".join(done))
