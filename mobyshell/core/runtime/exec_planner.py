"""The plan of one more process in a container: what of `planner` it takes, in an order of its own. Pure."""

from __future__ import annotations

from mobyshell.core.oci import Process, Spec
from mobyshell.core.runtime.execution import CompileSeccomp
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations import cgroups as group_operations
from mobyshell.core.runtime.operations import (
    consoles,
    identity,
    joining,
    namespaces,
    null_streams,
    resctrl,
    scheduling,
)
from mobyshell.core.runtime.operations import process as processes
from mobyshell.core.runtime.plan import INNER, Operation, Phase, Plan, Vector
from mobyshell.core.runtime.planner import Planner
from mobyshell.core.runtime.values import PLAIN, Options, Status
from mobyshell.core.values import replace


def make_exec_plan(
    spec: Spec,
    process: Process,
    *,
    id: str,
    bundle: str,
    host: Host,
    cgroups: dict[str, str],
    rows: int = 0,
    columns: int = 0,
    compile_seccomp: CompileSeccomp | None = None,
    options: Options = PLAIN,
) -> Plan:
    """The plan that runs `process` in the container `id`, which was made from `spec`.

    What `process` leaves open (capabilities, labels, limits, scheduling) is as in the container's own.
    """
    own = spec.process or process
    inherited = replace(
        process,
        capabilities=process.capabilities or own.capabilities,
        apparmor_profile=process.apparmor_profile or own.apparmor_profile,
        selinux_label=process.selinux_label or own.selinux_label,
        rlimits=own.rlimits if process.rlimits is None else process.rlimits,
        scheduler=process.scheduler or own.scheduler,
        io_priority=process.io_priority or own.io_priority,
        exec_cpu_affinity=process.exec_cpu_affinity or own.exec_cpu_affinity,
    )
    merged = replace(spec, process=inherited)
    planner = _ExecPlanner(merged, bundle, id, host, None, rows, columns, compile_seccomp)
    planner.options = options
    planner.groups = cgroups
    return planner.plan()


class _ExecPlanner(Planner):
    def plan(self) -> Plan:
        kinds = tuple(one.type for _, one in (*self.new, *self.joined))
        own, attached = self._entered()
        classes = resctrl.attach(self.linux.intel_rdt, self.host.resctrl, self.id)
        early, rest = self._bounded(self._rest())
        # else there is nothing that somebody else has to do, or to tell it, meanwhile
        attended = bool(attached or classes or self.agent or _mentions(rest, INNER))
        operations = [
            *(group_operations.open_entrance(name, self.groups[name]) for name in own if name),
            *(group_operations.born(self.groups[name]) for name in own if not name),
            *self._score(Phase.JOIN, exec=True),
            *self._affinity("initial", Phase.JOIN),
            *self._labels(Phase.JOIN),
            joining.undumpable(),
            *([] if self.own_mounts else [joining.hold_root()]),
            *([namespaces.enter(kinds)] if kinds else []),
            *([] if self.own_mounts else [joining.chroot(Phase.JOIN)]),
            *([namespaces.new_keyring(self.id)] if self._keyring_before() else []),
            *early,
            *(group_operations.attach_child(name, self.groups[name]) for name in attached),
            *classes,
            *([group_operations.enter([name for name in own if name])] if any(own) else []),
            processes.streams(
                fifo=False, terminal=bool(self.terminal), kept=self._kept(), agent=bool(self.agent)
            ),
            *([_gate()] if attended else []),
            *rest,
        ]
        return Plan(
            id=self.id,
            bundle=self.bundle,
            rootfs=self.rootfs,
            operations=tuple(operations),
            cgroups=self.groups,
            terminal=bool(self.terminal),
            agent=self.agent,
            attended=attended,
            notices=tuple(self.notices),
            handed=tuple(group_operations.entrance(name).name for name in own if name),
        )

    def _rest(self) -> list[Operation]:
        """What it does once it is in the container's namespaces and cgroups."""
        operations = self._affinity("final", Phase.SETUP)
        operations += scheduling.planned(self.process, self.linux)
        if self.user_namespace:
            operations.append(namespaces.become_root_inside())
        operations += self._session()
        if self.terminal:
            operations += [
                consoles.open_terminal(self.rows, self.columns),
                consoles.control_terminal(self.process.user.uid),
            ]
        else:
            operations.append(null_streams.reopen())
        if self.options.find_program:
            operations.append(processes.find(self.process))
        becoming, executing = self._exec(Status.RUNNING)
        return [
            *operations,
            processes.undumpable(
                fifo=False, terminal=bool(self.terminal), kept=self._kept(), agent=bool(self.agent)
            ),
            processes.ready(bool(self.terminal), last=False),
            *self._hand_over(),
            *becoming,
            *executing,
        ]

    def _keyring_before(self) -> bool:
        """Whether whoever makes the process joins the session keyring, which is inherited: not for a
        user namespace, whose keyrings are its own."""
        return self.options.keyring and not self.user_namespace

    def _session(self) -> list[Operation]:
        first, *others = super()._session()
        if self._keyring_before():
            first = namespaces.new_session(self.id, inherited=True)
        return [first, *others]

    def _bounded(self, rest: list[Operation]) -> tuple[list[Operation], list[Operation]]:
        """What of `rest` whoever makes the process can have done before, for it and for others: the
        bounding set is inherited. But one that enters a user namespace has a full one again."""
        if self.user_namespace:
            return [], rest
        early = [one for one in rest if one.source == identity.BOUNDING]
        return [replace(one, phase=Phase.JOIN) for one in early], [
            one for one in rest if one not in early
        ]

    def _entered(self) -> tuple[list[str], list[str]]:
        """The cgroups that the process goes into by itself, and those that it is put into.

        The kernel stops forks all over the machine while somebody moves another process, and not
        while a single thread moves itself on v1, or is born somewhere on v2. But whoever is root in
        the container's user namespace only may not go there; and where processes are counted on
        v2, one that is born there may be one too many.
        """
        names = list(self.groups)
        counted = "pids" in self.host.cgroup_v2_controllers
        if self.user_namespace:
            return [], names
        attached = [one for one in names if counted and one == ""]
        return [one for one in names if one not in attached], attached

    def _affinity(self, which: str, phase: Phase) -> list[Operation]:
        """CPUs of an exec. Without any wish, those its caller was bound to are forgotten."""
        asked = self.process.exec_cpu_affinity
        if asked is None:
            return [scheduling.forget_affinity()] if which == "final" else []
        cpus = asked.initial if which == "initial" else asked.final
        return [scheduling.affinity(cpus, which, phase)] if cpus else []


def _gate() -> Operation:
    return namespaces.gate(
        "wait until the runtime has put this process into the container's cgroups",
        "Its limits hold for this process too.",
        Phase.SETUP,
    )


def _mentions(operations: list[Operation], placeholder: str) -> bool:
    """Whether a text has `placeholder` in it."""
    texts = [
        text
        for operation in operations
        for call in operation.calls
        for arg in call.args
        for text in (arg.values if isinstance(arg, Vector) else (getattr(arg, "value", ""),))
    ]
    return any(isinstance(text, str) and placeholder in text for text in texts)
