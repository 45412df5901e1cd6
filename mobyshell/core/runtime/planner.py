"""From a spec to a plan. Pure: looks at the spec and the `Host`, never at the machine.

Owns the order of things and the reasons for it. What the spec asks for and this runtime cannot
do is refused here, by name, before anything has happened.
"""

from __future__ import annotations

import os.path

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.linux.cgroups import together
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.oci import Mount, Namespace, Process, Spec, User
from mobyshell.core.runtime import groups
from mobyshell.core.runtime.delegation import delegated
from mobyshell.core.runtime.entering import entering, first_to_show
from mobyshell.core.runtime.execution import CompileSeccomp, execution
from mobyshell.core.runtime.handed_trees import choose_trees, mapped
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.id_maps import planned_maps
from mobyshell.core.runtime.notification import agent_path, process_state
from mobyshell.core.runtime.operations import (
    cgroups,
    consoles,
    devices,
    hidden,
    hooks,
    identity,
    joining,
    labels,
    mounts,
    namespaces,
    null_streams,
    process,
    resctrl,
    roots,
    scheduling,
    snapshot_root,
    trees,
)  # fmt: skip
from mobyshell.core.runtime.plan import Actor, Operation, Phase, Plan
from mobyshell.core.runtime.refusals import refuse, usable_labels, usable_mount_label
from mobyshell.core.runtime.values import PLAIN, Options, Status
from mobyshell.core.values import replace

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from mobyshell.core.runtime.units import Unit


def make_plan(
    spec: Spec,
    *,
    bundle: str,
    id: str,
    host: Host,
    terminal: bool | None = None,
    rows: int = 0,
    columns: int = 0,
    compile_seccomp: CompileSeccomp | None = None,
    cgroup: str = "",
    options: Options = PLAIN,
    systemd: bool = False,
) -> Plan:
    """The plan that makes container `id` from `spec` on `host`.

    `terminal` replaces the spec's; `cgroup` is where its cgroups are if the spec has no
    cgroupsPath (default `mobyshell-ID`); with `systemd` they are a unit of systemd's, and cgroupsPath
    is `slice:prefix:name`. Without `compile_seccomp` a filter is planned but empty: fit
    to be shown, not to be run. Raises Unsupported for what this runtime cannot do, InvalidSpec
    for what only a planner can see.
    """
    planner = Planner(spec, bundle, id, host, terminal, rows, columns, compile_seccomp)
    planner.options = options
    if systemd:
        planner.use_systemd()
    else:
        planner.groups = planner.choose_groups(cgroup or f"mobyshell-{id}")
    return planner.plan()


class Planner:
    """One plan in the making. `exec_planner` makes those of further processes of it."""

    def __init__(
        self, spec: Spec, bundle: str, id: str, host: Host, terminal: bool | None, rows: int,
        columns: int, compile_seccomp: CompileSeccomp | None,
    ) -> None:  # fmt: skip
        if spec.root is None or spec.linux is None:
            raise InvalidSpec(
                "a container needs root and linux in its config.json",
                hint="`mobyshell bundle spec` shows a complete one",
            )
        self.spec, self.bundle, self.id, self.host = spec, bundle, id, host
        # a container may be created without a process: then `start` refuses
        self.process = spec.process or Process(user=User(uid=0, gid=0), cwd="/")
        self.root, self.linux = spec.root, spec.linux
        self.terminal = self.process.terminal if terminal is None else terminal
        size = self.process.console_size
        self.rows = rows or (size.height if size else 0)
        self.columns = columns or (size.width if size else 0)
        self.compile_seccomp, self.options = compile_seccomp, PLAIN
        self.rootfs = os.path.normpath(os.path.join(bundle, self.root.path))
        self.notices: list[str] = []
        self.mount_label = usable_mount_label(self.linux, host, self.notices)
        self.joined: list[tuple[int, Namespace]] = []
        self.new: list[tuple[int, Namespace]] = []
        for index, one in enumerate(self.linux.namespaces or ()):
            (self.joined if one.path else self.new).append((index, one))
        self.made = {one.type for _, one in self.new}
        self.user_namespace = any(one.type == "user" for _, one in (*self.new, *self.joined))
        # mounts of a namespace like that are locked, and devices cannot be made
        self.restricted = self.user_namespace or host.in_user_namespace
        self.own_mounts = "mount" in self.made
        self.agent = agent_path(self.linux)
        # what the child itself could not do, from where it is, its parent does before it goes on;
        # and the agent, and a class of service, is told a number known only when there is a child
        self.attended = self.user_namespace or not self.own_mounts
        self.attended |= bool(self.agent or self.linux.intel_rdt)
        self.groups: dict[str, str] = {}
        self.unit: Unit | None = None
        joined = next((one.path for _, one in self.joined if one.type == "user"), None)
        early = self.user_namespace and self.own_mounts and host.privileged
        chosen = choose_trees(
            spec, bundle, self.rootfs, early=early, joined=joined, kernel=host.kernel
        )
        self.joined_user, self.trees = joined, {tree.source: tree for tree in chosen}

    def plan(self) -> Plan:
        refuse(self.spec, self.host)
        early, late = self._early(), self._late()
        becoming, executing = self._exec(Status.CREATING) if self.spec.process else ([], [])
        kept = self._kept(len(self.trees))
        flags = 0
        for kind in self.made - early - late:
            flags |= namespaces.CLONE_FLAG[kind]
        operations = [
            *self._prepare(),
            *self._score(Phase.JOIN),
            *(self._labels(Phase.JOIN) if self.joined else ()),
            *joining.join(self.joined),
            *([joining.offset_clocks(self.linux.time_offsets or {}, early)] if early else []),
            namespaces.clone([(i, n) for i, n in self.new if n.type not in late], flags),
            *self._attach(),
            *self._score(Phase.ATTACH),
            *(
                namespaces.net_device(name, one.name or name)
                for name, one in (self.linux.net_devices or {}).items()
            ),
            *self._setup(),
            *self._hooks(),
            *self._pivot(),
            *self._hand_over(len(self.trees)),
            *becoming,
            process.ready(bool(self.terminal), kept),
            process.wait_for_start(kept),
            *hooks.planned("startContainer", self.spec, Phase.START),
            *executing,
            *hooks.planned("poststart", self.spec, Phase.START),
        ]
        return Plan(
            id=self.id,
            bundle=self.bundle,
            rootfs=self.rootfs,
            operations=tuple(operations),
            clone_flags=flags,
            cgroups=self.groups,
            terminal=bool(self.terminal),
            agent=self.agent,
            attended=self.attended,
            unit=self.unit.name if self.unit else "",
            resctrl=self.host.resctrl if self.linux.intel_rdt else None,
            notices=tuple(self.notices),
            handed=tuple(tree.cell.name for tree in self.trees.values()),
        )

    def _labels(self, phase: Phase) -> list[Operation]:
        """Of the program: asked for before the child, or right after, has left the host's /proc."""
        asked = usable_labels(self.process, self.host, self.notices)
        return labels.planned(asked, phase, keyring=self.options.keyring)

    def _early(self) -> set[str]:
        """New namespaces that the process before the child makes: clocks can be set only until a
        process is in their namespace, and by whoever owns it."""
        if "time" not in self.made or not self.linux.time_offsets:
            return set()
        return {"time", "user"} & self.made

    def _late(self) -> set[str]:
        """New namespaces that the child makes, of what it is by then: its cgroups are the root of one,
        and as whom it is known inside it owns what is in the other."""
        return {"cgroup", "ipc"} if self.user_namespace else {"cgroup"}

    def _score(self, phase: Phase, *, exec: bool = False) -> list[Operation]:
        """The out-of-memory score, in the phase in which it can be written: before any namespace
        is joined, by the parent for a new user namespace, else by the child itself."""
        value = self.process.oom_score_adj
        writer, when = Actor.CHILD, Phase.SETUP
        if exec or self.joined:
            when = Phase.JOIN
        elif self.user_namespace:
            writer, when = Actor.PARENT, Phase.ATTACH
        return [] if value is None or when is not phase else [
            identity.oom_score(value, writer, phase)
        ]  # fmt: skip

    # the parent's part

    def use_systemd(self) -> None:
        """Have systemd make the cgroups, as a unit that it knows."""
        self.unit, self.groups = groups.as_unit(self.linux, self.host, self.id)
        # the unit is started around the child, which must not go on before
        self.attended = True

    def choose_groups(self, default: str) -> dict[str, str]:
        """Controller → directory of the container's cgroup; empty where none can be made."""
        return groups.choose(self.linux, self.host, default, self.notices)

    def _prepare(self) -> list[Operation]:
        operations = []
        if self.unit is None:
            later = Phase.PREPARE if self.attended else Phase.BESIDE
            operations = groups.prepare(self.linux, self.host, self.groups, self.notices, later)
            operations += delegated(self.spec, self.host, self.groups, Phase.PREPARE)
        operations += resctrl.prepare(self.linux.intel_rdt, self.host.resctrl, self.id)
        if "" in self.groups and not self.attended:
            operations.append(cgroups.born(self.groups[""]))
        if "root.path" in self.trees:
            operations.append(trees.open_start(self.rootfs))
        spread = self.linux.rootfs_propagation
        return operations + [self._open(one, spread) for one in self.trees.values()]

    def _open(self, tree: trees.Tree, propagation: str | None) -> Operation:
        if tree.source == "root.path" and self.options.rootfs is not None:
            return snapshot_root.open_root(self.options.rootfs, tree, self.host.kernel)
        return trees.make_node(tree, tree.node) if tree.node else trees.open_tree(tree, propagation)

    def _attach(self) -> list[Operation]:
        operations = []
        if self.unit is not None:
            operations = groups.attach_unit(
                self.spec, self.host, self.id, self.unit, self.groups, self.notices
            )
            operations += delegated(self.spec, self.host, self.groups, Phase.ATTACH)
        elif self.attended:
            # in another user or mount namespace the child cannot write, or find, these files
            operations = [cgroups.attach_child(*one) for one in together(self.groups).items()]
        operations += resctrl.attach(self.linux.intel_rdt, self.host.resctrl, self.id)
        if "user" in self.made:
            operations += planned_maps(self.linux, self.host)
        return operations

    # the child's part

    def _setup(self) -> list[Operation]:
        linux, made = self.linux, self.made
        operations = [
            process.streams(
                terminal=bool(self.terminal),
                trees=tuple(self.trees.values()),
                kept=self._kept(len(self.trees)),
                agent=bool(self.agent),
            )
        ]
        if self.attended:
            operations.append(
                namespaces.gate(
                    "wait until the runtime has put this process into its cgroups and maps",
                    "Only then do limits hold and ids mean something.",
                    Phase.SETUP,
                )
            )
            if self.user_namespace:
                operations.append(namespaces.become_root_inside())
                operations += [
                    namespaces.unshare_ipc(at) for at, one in self.new if one.type == "ipc"
                ]
        joins = [] if self.attended else entering(self.groups)
        within = [*joins, scheduling.forget_affinity()]
        within += [namespaces.unshare_cgroup(at) for at, one in self.new if one.type == "cgroup"]
        operations += [] if joins else within
        if not self.joined:
            operations += self._labels(Phase.SETUP)
        operations += self._session()
        operations += self._score(Phase.SETUP)
        if self.spec.hostname:
            operations.append(namespaces.host_name(self.spec.hostname))
        if self.spec.domainname:
            operations.append(namespaces.domain_name(self.spec.domainname))
        if "network" in made:
            operations.append(namespaces.loopback())
        operations += namespaces.sysctls(dict(linux.sysctl or {}))
        operations.append(identity.mask_for_setup())
        spread, root = linux.rootfs_propagation, self.trees.get("root.path")
        if self.own_mounts:
            operations.append(roots.isolate(spread, self.rootfs, root))
        if self.options.rootfs is not None and root is None:
            operations.append(
                snapshot_root.mount_root(self.options.rootfs, self.rootfs, spread, self.host.kernel)
            )
        else:
            operations.append(roots.root_filesystem(self.rootfs, spread, root))
        entries = self.spec.mounts or ()
        now = [mounts.open_at_first(one, entries[index:]) for index, one in enumerate(entries)]
        mounted = [self._mount(index, entry) for index, entry in enumerate(now)]
        first = first_to_show(entries, self.host)
        operations += [*mounted[:first], *(within if joins else ()), *mounted[first:]]
        if not any(mounts.binds_dev(entry) for entry in entries):
            operations += devices.planned(linux, self.restricted, self.trees)
        if self.terminal:
            operations.append(consoles.console_file())
        if self.process.cwd.strip("/"):
            operations.append(identity.make_working_directory(self.process.cwd))
        operations += [
            mounts.read_only_at_last(index, entry)
            for index, entry in enumerate(entries) if now[index] is not entry
        ]  # fmt: skip
        return operations + scheduling.planned(self.process, linux)

    def _kept(self, behind: int = 0) -> range:
        """The numbers that the caller's descriptors have in the child, behind those of trees."""
        first = process.NOTHING.start + behind
        return range(first, first + len(self.options.kept))

    def _hand_over(self, behind: int = 0) -> list[Operation]:
        kept = self._kept(behind)
        # before limits and filters, which may forbid it
        terminal, agent = bool(self.terminal), bool(self.agent)
        return [process.hand_over(kept, terminal=terminal, agent=agent)] if kept else []

    def _session(self) -> list[Operation]:
        operations = [namespaces.new_session(self.id, keyring=self.options.keyring)]
        if self.options.owned and not self.terminal:
            operations.append(process.own_streams(self.options.owned, self.process.user.uid))
        return operations

    def _mount(self, index: int, entry: Mount) -> Operation:
        if entry.type == "cgroup" and not {"bind", "rbind"} & set(entry.options or ()):
            return groups.mount(
                index, entry, self.linux, self.host, self.groups, self.bundle, self.notices,
                self.mount_label,
            )  # fmt: skip
        if within := mounts.below(self.rootfs, entry.destination):
            # a path of the host that leads into the rootfs, as some callers write it
            entry = replace(entry, destination=f"/{within}")
        options = parse_options(entry.options or ())
        if options.bind and options.data:
            self.notices.append(
                f"mounts[{index}] {entry.destination}: a bind does not change its file system: "
                f"{', '.join(options.data)} ignored"
            )
        return mounts.mount(
            index, entry, self.bundle, self.trees.get(f"mounts[{index}]"),
            label=self.mount_label, rootfs=self.rootfs, user_namespace=self.restricted,
            ids=mapped(self.spec, entry, self.joined_user),
        )  # fmt: skip

    def _hooks(self) -> list[Operation]:
        planned = [
            *hooks.planned("prestart", self.spec, Phase.HOOKS),
            *hooks.planned("createRuntime", self.spec, Phase.HOOKS),
            *hooks.planned("createContainer", self.spec, Phase.HOOKS),
        ]
        if not planned:
            return []
        return [
            namespaces.gate(
                "wait for the hooks",
                "The namespaces exist, the old root is still in reach: this is where hooks run.",
                Phase.PIVOT,
                tell=b"h",
            ),
            *planned,
        ]

    def _pivot(self) -> list[Operation]:
        linux = self.linux
        operations = hidden.planned(linux, self.mount_label)
        if self.own_mounts and not self.options.pivot:
            operations.append(roots.move_root(self.rootfs, self.options.bare))
        elif self.own_mounts:
            operations.append(roots.pivot(hidden.NOTHING if linux.masked_paths else None))
        else:
            operations.append(joining.chroot())
        if linux.rootfs_propagation:
            operations.append(roots.root_propagation(linux.rootfs_propagation))
        if self.terminal:
            operations += [
                consoles.open_terminal(self.rows, self.columns),
                consoles.console(),
                consoles.control_terminal(self.process.user.uid),
            ]
        else:
            operations.append(null_streams.reopen())
        if self.root.readonly:
            operations.append(roots.read_only_root())
        if self.options.find_program and self.process.args:
            operations.append(process.find(self.process))
        kept, terminal, agent = self._kept(len(self.trees)), bool(self.terminal), bool(self.agent)
        return [*operations, process.undumpable(terminal=terminal, kept=kept, agent=agent)]

    def _exec(self, status: Status) -> tuple[list[Operation], list[Operation]]:
        return execution(
            self.process, self.linux, self.host, self.compile_seccomp, self.notices,
            process_state(self.spec, self.id, self.bundle, status) if self.agent else "",
        )  # fmt: skip
