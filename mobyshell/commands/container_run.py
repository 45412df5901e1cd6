"""`container create run`, and the everyday `run`: from an image to a task."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mobyshell.commands.image_transfer import find_image, tenant
from mobyshell.commands.registry import (
    NUMBER,
    SIZE,
    TASK,
    TEXT,
    WRITE,
    argument,
    command,
    option,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Rows
from mobyshell.commands.stored import labels_of
from mobyshell.commands.task_surroundings import OPTIONS, RESTART
from mobyshell.core.errors import MobyshellError, NotFound, UsageError
from mobyshell.core.tasks.restarts import parse

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.moby.container import Container
    from mobyshell.moby.image import Image
    from mobyshell.moby.spec_options import SpecOption

N = "container"
_IMAGE = argument("image", TEXT, "an image, or the directory of a bundle")
_COMMAND = command("run this instead of the image's command")
_MAKING = (
    option("--name", "the container's id (default: after the image)", TASK),
    switch("-t --tty", "give it a terminal"),
    switch("-i --interactive", "keep its standard input open"),
    option("-e --env", "NAME=VALUE, or NAME as it is here", TEXT, many=True),
    option("-u --user", "user, uid, user:group or uid:gid", TEXT, default=""),
    option("-w --workdir", "its working directory", TEXT, default=""),
    option("--entrypoint", "instead of the image's", TEXT),
    option("--hostname", "the host's name inside", TEXT, default=""),
    option("-m --memory", "a limit, such as 64M", SIZE),
    option("--cpus", "as much time as this many processors have", TEXT),
    option("--pids-limit", "how many processes there may be", NUMBER),
    option("--cap-add", "a capability, or ALL", TEXT, many=True),
    option("--cap-drop", "a capability, or ALL", TEXT, many=True),
    switch("--privileged", "everything that root has"),
    switch("--read-only", "a root filesystem that cannot be written"),
    option("-l --label", "NAME=VALUE", TEXT, many=True),
    *OPTIONS, RESTART,
    switch("--no-healthcheck", "do not ask whether it is well, though the image says how"),
    option("--runtime", "mobyshell, runc, crun, or the path of an OCI runtime", TEXT,
           default="mobyshell"),
    option("--pull", "fetch the image: missing, always or never", TEXT, default="missing",
           choices=("missing", "always", "never")),
    option("--platform", "OS/ARCH[/VARIANT] (default: this machine's)", TEXT),
    option("--snapshotter", "which keeps its files"),
)  # fmt: skip


def _plan(ctx: Context, *, image: str, command: tuple[str, ...], **how: Any) -> Rows:
    """The kernel operations of its creation; nothing is made, and nothing fetched."""
    from mobyshell.commands import task_surroundings
    from mobyshell.commands.bundle import plan_rows
    from mobyshell.core.runtime.planner import make_plan
    from mobyshell.core.runtime.values import PLAIN, RootMount
    from mobyshell.core.store.stack import Stack
    from mobyshell.core.values import replace
    from mobyshell.moby.defaults import spec_in
    from mobyshell.moby.spec_options import Making, apply

    around = {name: how[name] for name in ("network", "publish", "volume")}
    if _is_bundle(image):
        from mobyshell.commands.task import plan_task

        return plan_task(ctx, bundle=image, command=command, name=how["name"], **around)
    found = find_image(ctx, image, how["platform"])
    snapshots = tenant(ctx).snapshotter(how["snapshotter"] or "")
    if not found.is_unpacked(snapshots.name):
        raise NotFound(f"{found.name} is not unpacked", hint=f"mobyshell image pull {found.name}")
    place = snapshots.directories(found.chain_id)
    layers = [str(place.directory), *map(str, place.lowers)]

    def read(path: str, most: int) -> bytes:
        with Stack(layers) as stack:
            return stack.read(path, most)

    id = how["name"] or _new_id(ctx, found.name, how["snapshotter"])
    spec = apply(
        spec_in(ctx.space.scope.root), _options(command, how), Making(id, read, found.config)
    )
    own = f"{ctx.root}/snapshots/{snapshots.name}/<new>"
    mount = RootMount("overlay", "overlay", (
        "index=off", f"workdir={own}/work", f"upperdir={own}/fs", f"lowerdir={':'.join(layers)}",
    ))  # fmt: skip
    bundle = f"{ctx.state}/{ctx.namespace}/{id}"

    def look(path: str) -> int | None:
        with Stack(layers) as stack, suppress(MobyshellError):
            return len(stack.ls(path)) if stack.stat(path).is_directory else None
        return None

    spec, before = task_surroundings.foresee(ctx, id, spec, look=look, **around)
    rows = plan_rows(make_plan(spec, bundle=bundle, id=id, host=ctx.host,
                               options=replace(PLAIN, rootfs=mount)))  # fmt: skip
    return Rows(rows.columns, [*before, *rows.rows], rows.key, rows.said)


@verb(
    N, "create", *_MAKING, argument("image", TEXT, "an image"), _COMMAND,
    effect=WRITE, example="container create --name made-of alpine -- /hello", plan=_plan,
)  # fmt: skip
def create(ctx: Context, *, image: str, command: tuple[str, ...], **how: Any) -> Done:
    """Describe a container of an image: its spec, and a snapshot of its own. Nothing runs yet."""
    return Done(_create(ctx, _image(ctx, image, how), command, how).id)


@verb(
    N, "run",
    switch("-d --detach", "do not wait for it; print its id"),
    switch("--rm", "forget it when it has ended"),
    *_MAKING,
    option("--detach-keys", "what leaves it running", TEXT, default="ctrl-p,ctrl-q"),
    _IMAGE, _COMMAND,
    effect=WRITE, example="container run --rm box-image -- /bin/busybox echo hello", plan=_plan,
)  # fmt: skip
def run(
    ctx: Context, *, image: str, command: tuple[str, ...], detach: bool, rm: bool,
    detach_keys: str, **how: Any,
) -> Done:  # fmt: skip
    """Run an image: make a container of it, start its task, and stay with it until it ends.

    Its exit code is passed on (128+n for signal n). ctrl-p ctrl-q leaves it running. An image that is
    not here is pulled first. A bundle's directory is run as `task run` does.
    """
    if rm and parse(how["restart"]):
        raise UsageError("--rm and --restart are at odds: what is forgotten is not started again",
                         hint="leave one of them away")  # fmt: skip
    if _is_bundle(image):
        return _run_bundle(ctx, image, command, detach=detach, rm=rm, keys=detach_keys, how=how)
    container = _create(ctx, _image(ctx, image, how), command, how)
    try:
        return start_container(ctx, container, detach=detach, rm=rm, keys=detach_keys)
    except MobyshellError:
        _forget(ctx, container)  # it never ran: what is left would only be in the way
        raise


def _is_bundle(word: str) -> bool:
    return os.path.isfile(os.path.join(word, "config.json"))


def _run_bundle(
    ctx: Context, bundle: str, command: tuple[str, ...], *, detach: bool, rm: bool, keys: str,
    how: dict[str, Any],
) -> Done:  # fmt: skip
    from mobyshell.commands.task import run_task

    around = {name: how[name] for name in ("network", "publish", "volume")}
    given = {name for name in ("env", "user", "workdir", "entrypoint", "hostname", "memory", "cpus",
                               "pids_limit", "cap_add", "cap_drop", "privileged", "read_only",
                               "label", "platform", "snapshotter") if how[name]}  # fmt: skip
    if given:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise UsageError(
            f"{flags}: of a bundle, config.json says that", hint=f"edit {bundle}/config.json"
        )
    tty, interactive = how["tty"], how["interactive"]
    implied = None if not (tty or interactive or detach) else False
    return run_task(ctx, bundle, name=how["name"], detach=detach, tty=tty or implied,
                    stdin=interactive or implied, rm=rm, command=command, keys=keys,
                    runtime=how["runtime"], restart=how["restart"], around=around)  # fmt: skip


def _image(ctx: Context, word: str, how: dict[str, Any]) -> Image:
    """The image; fetched if it is not here, or always."""
    if word.startswith((".", "/")):  # never an image's name
        raise NotFound(f"no bundle at {word}",
                       hint="a bundle has a config.json; `mobyshell bundle new` makes one")  # fmt: skip
    here = ("", "")
    if how["pull"] != "always":
        try:
            found = find_image(ctx, word, how["platform"])
            if how["platform"]:
                _ = found.resolved  # an index may be here without it
            return found
        except NotFound as error:
            if how["pull"] == "never":
                raise
            here = (
                error.message,
                error.hint,
            )  # perhaps another namespace has it, or it is misspelt
    from mobyshell.commands.image_transfer import pull

    try:
        pull(ctx, name=word, platform=how["platform"], all_platforms=False, no_unpack=False,
             snapshotter=how["snapshotter"], user=None, plain_http=False, insecure=False,
             ca=None)  # fmt: skip
    except MobyshellError as error:
        error.hint = "; ".join(one for one in (*here, error.hint) if one)
        raise
    return find_image(ctx, word, how["platform"])


def _options(command: tuple[str, ...], how: dict[str, Any]) -> list[SpecOption]:
    from mobyshell.moby import spec_options as so

    env = [word if "=" in word else f"{word}={os.environ[word]}"
           for word in how["env"] if "=" in word or word in os.environ]  # fmt: skip
    found = [so.with_image_config(*command)]
    if how["entrypoint"] is not None:
        words = (how["entrypoint"],) if how["entrypoint"] else ()
        found.append(so.with_args(*words, *command))
    if env:
        found.append(so.with_env(*env))
    if how["user"]:
        found.append(so.with_user(how["user"]))
    if how["workdir"]:
        found.append(so.with_cwd(how["workdir"]))
    if how["hostname"]:
        found.append(so.with_hostname(how["hostname"]))
    if how["privileged"]:
        found.append(so.with_privileged())
    if how["cap_drop"]:
        found.append(so.with_dropped_capabilities(*how["cap_drop"]))
    if how["cap_add"]:
        found.append(so.with_added_capabilities(*how["cap_add"]))
    if how["memory"] is not None:
        found.append(so.with_memory_limit(how["memory"]))
    if how["cpus"] is not None:
        found.append(so.with_cpus(_number(how["cpus"])))
    if how["pids_limit"] is not None:
        found.append(so.with_pids_limit(how["pids_limit"]))
    if how["read_only"]:
        found.append(so.with_readonly_rootfs())
    if how["tty"]:
        found.append(so.with_terminal())
    if how["no_healthcheck"]:
        found.append(so.with_healthcheck(None))
    return found


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"{word!r:.20} is no number of processors", hint="such as 0.5") from None


def _create(ctx: Context, image: Image, command: tuple[str, ...], how: dict[str, Any]) -> Container:
    from mobyshell.moby import around as beside
    from mobyshell.moby import container as made

    id = how["name"] or _new_id(ctx, image.name, how["snapshotter"])
    runtime = "" if how["runtime"] == "mobyshell" else how["runtime"]
    return made.create(
        tenant(ctx), id,
        (
            beside.with_network(*how["network"]), beside.with_port(*how["publish"]),
            beside.with_volume(*how["volume"]),
            beside.with_streams(terminal=how["tty"], stdin=how["interactive"]),
            *([beside.with_restart_policy(how["restart"])] if how["restart"] else []),
            made.with_image(image), made.with_snapshotter(how["snapshotter"] or ""),
            made.with_new_snapshot(id, image), made.with_runtime(runtime),
            made.with_labels(labels_of(how["label"])),
            made.with_new_spec(*_options(command, how)),
        ),
    )  # fmt: skip


def _new_id(ctx: Context, name: str, snapshotter: str | None) -> str:
    """After the image, with a number if that is taken."""
    from mobyshell.commands.task import first_free

    base = name.rpartition("/")[2].partition("@")[0].partition(":")[0][:60]
    taken = {one.id for one in ctx.space.containers.list()} | {one.id for one in ctx.tasks.ls()}
    kept = tenant(ctx).snapshotter(snapshotter or "")
    return first_free(base, taken | {one.name for one in kept.walk()})  # its own has its name


def start_container(
    ctx: Context, container: Container, *, detach: bool, rm: bool, keys: str
) -> Done:
    """Make a task of a container and let it run, in a terminal if it was made for one."""
    from mobyshell.commands.foreground import start_and_stay, window_size
    from mobyshell.moby.around import HOW

    how = container.info.extensions.get(HOW, {})
    terminal, stdin = bool(how.get("tty")), bool(how.get("interactive"))
    if terminal and not detach and not ctx.interactive:
        raise UsageError("-t needs a terminal, and standard input is none", hint="leave -t away")
    rows, columns = window_size() if terminal and ctx.interactive else (0, 0)
    container.create_task(terminal=terminal, stdin=stdin or terminal, rows=rows, columns=columns)
    return start_and_stay(
        ctx, container.id, detach=detach, terminal=terminal, stdin=stdin, keys=keys,
        forget=partial(_forget, ctx, container) if rm else None,
    )  # fmt: skip


def _forget(ctx: Context, container: Container) -> None:
    from mobyshell.commands import volume
    from mobyshell.moby.container import with_snapshot_cleanup
    from mobyshell.moby.volumes import names_of

    names: tuple[str, ...] = ()
    with suppress(NotFound):
        names = names_of(container.info)
        ctx.tasks.delete(container.id, force=True)
    with suppress(NotFound):
        container.delete(with_snapshot_cleanup)
    volume.forget(ctx, names)
