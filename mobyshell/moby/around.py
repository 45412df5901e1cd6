"""What a container has that is not of its spec: networks, ports, volumes, a restart policy.

Owns the options for it, and where they are kept from a container's making to each of its starts: an
extension of the container, which every face reads. What they become is `core/tasks/surroundings`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mobyshell.core.oci import dump_spec, parse_spec
from mobyshell.core.tasks.restarts import POLICY, parse
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.core.volumes.volumes import Volume
    from mobyshell.moby.container import Draft
    from mobyshell.moby.tenant import Tenant

HOW = "io.mobyshell/run"
"""The extension that remembers what is not of the spec: networks, ports, volumes, streams."""

_WISHES = ("network", "publish", "volume")


@value
class Around:
    """An option of a container that changes nothing of its spec."""

    change: Callable[[Draft], None]

    def __call__(self, draft: Draft) -> None:
        self.change(draft)


def with_network(*names: str) -> Around:
    """Joined to these networks: `NAME` or `NAME:ip=ADDRESS,alias=NAME`, or alone `none`, `host`,
    `container:ID`, `pasta`, `slirp4netns`. Without it the spec says (and there is a network of its
    own with nothing in it)."""
    return _with("network", names)


def with_port(*published: str) -> Around:
    """Ports of the host that lead to it: `[[IP:]HOST:]CONTAINER[/udp]`, as `mobyshell run -p` has
    them. Without `with_network` it is on the bridge, or has pasta's or slirp4netns'
    network where we are not root."""
    return _with("publish", published)


def with_volume(*volumes: str) -> Around:
    """Volumes and directories of the host: `NAME:/path[:ro,nocopy]`, `/directory:/path[:ro]`. A
    volume is made when it is first used, and filled with what the image has there. `/path`: one of
    its own, whose name is made here."""
    from mobyshell.core.tasks.surroundings import with_name

    return _with("volume", tuple(with_name(one) for one in volumes))


def with_restart_policy(policy: str) -> Around:
    """Whether its task is started again when it ends: `no`, `on-failure[:N]`, `always` or
    `unless-stopped`; the last two also when the machine starts (`core/tasks/restarts`)."""
    found = parse(policy)
    return Around(lambda draft: draft.set(labels={**draft.row.labels, POLICY: str(found)}))


def with_streams(*, terminal: bool = False, stdin: bool = False) -> Around:
    """What `mobyshell container start` gives it: a terminal, a standard input."""

    def change(draft: Draft) -> None:
        _keep(draft, tty=terminal, interactive=stdin)

    return Around(change)


def _with(name: str, words: tuple[str, ...]) -> Around:
    def change(draft: Draft) -> None:
        if not words:
            return
        before = draft.row.extensions.get(HOW, {}).get(name, ())
        _keep(draft, **{name: [*before, *words]})
        _wishes(draft.row.extensions[HOW])  # what is wrong is said before anything is made

    return Around(change)


def _keep(draft: Draft, **how: Any) -> None:
    extensions = draft.row.extensions
    draft.set(extensions={**extensions, HOW: {**extensions.get(HOW, {}), **how}})


def _wishes(how: Mapping[str, Any]) -> Any:
    from mobyshell.core.tasks.surroundings import Wishes

    return Wishes.read(*(how.get(name, ()) for name in _WISHES))


@contextmanager
def around(
    tenant: Tenant, id: str, text: str, how: Mapping[str, Any],
    fill: Callable[[str, Volume], object] | None,
) -> Iterator[str]:  # fmt: skip
    """While a task is created: its config.json with what is around it."""
    if not any(how.get(name) for name in _WISHES):
        yield text
        return
    place, spec = tenant.surroundings(), parse_spec(text)
    with place.around(tenant.tasks, id, spec, _wishes(how), fill) as surrounded:
        yield dump_spec(surrounded)
