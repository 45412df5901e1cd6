"""The tasks: a live table, and all about the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from mobyshell.core.errors import WrongState
from mobyshell.core.tasks.service import TaskInfo
from mobyshell.screens.base import number_of
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.news import Happened
from mobyshell.screens.session import suspended, tell
from mobyshell.screens.task_details import TABS, TaskDetails
from mobyshell.screens.task_list import TaskList
from mobyshell.widgets.confirm import Choose

POLICIES = [
    ("no", "no"), ("on-failure", "if it failed"), ("on-failure:3", "if it failed, three times"),
    ("always", "always, also when the machine starts"),
    ("unless-stopped", "always, unless somebody has stopped it"),
]  # fmt: skip
SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")


class TasksScreen(ListScreen[TaskInfo]):
    """Tasks."""

    NAME = "tasks"
    NOUN = "task"
    MAKES = ("task run", "task create", "bundle run", "container run", "container create",
             "container start")  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings(
            "task",
            Binding("e", "exec_tab", "Shell in a tab", show=False, id="task.exec-tab"),
            shown=("exec", "logs", "trace", "diff", "kill"),
        )
    ]

    def make_list(self) -> LiveList[TaskInfo]:
        return TaskList(self.session, id="list")

    def make_details(self) -> Widget:
        return TaskDetails(
            self.session.tasks_by_now, self.session.context.host_or_none, id="details"
        )

    def count(self, infos: Sequence[TaskInfo]) -> str:
        running = sum(one.status == "running" for one in infos)
        return f"{number_of(len(infos), 'task')}, {running} running"

    @property
    def details(self) -> TaskDetails:
        """All about one."""
        return self.query_one(TaskDetails)

    # what happens

    @on(Happened)
    def happened(self, event: Happened) -> None:
        """What is shown of this one is old."""
        if event.id == self.table.chosen:
            self.details.refresh_soon()

    @on(TaskList.Measured)
    def measured(self) -> None:
        """What moves on its own has moved."""
        self.details.tick()

    @on(TaskDetails.Left)
    def left_details(self) -> None:
        """Back to the list."""
        self.action_back()

    # verbs that want more than their subject

    def fits(self, verb: str) -> bool:
        """Of pause and resume, the one that the task can."""
        paused = self.live_list.chosen is not None and self.live_list.chosen.status == "paused"
        return paused if verb == "resume" else not paused if verb == "pause" else True

    def tab(self, name: str) -> None:
        """Show a tab of the details."""
        self.details.tab = name
        self.action_details()

    def on_verb(self, verb: str) -> bool:
        """A verb that looks has a tab."""
        if verb in TABS and self.subject is not None:
            self.tab(TABS[verb])
            return True
        return False

    def verb_kill(self) -> None:
        """Choose a signal, and send it."""
        subjects = self.subjects

        def chosen(signal: str | None) -> None:
            if signal is not None:
                self.perform(*(["task", "kill", id, signal] for id in subjects))

        if subjects:
            options = [(one, f"SIG{one}") for one in SIGNALS]
            self.app.push_screen(Choose(f"Send {_some(subjects)} which signal?", options), chosen)

    def verb_policy(self) -> None:
        """Choose when they are started again."""
        subjects = self.subjects

        def chosen(policy: str | None) -> None:
            if policy is not None:
                self.perform(*(["task", "policy", id, policy] for id in subjects))

        if subjects:
            infos = self.live_list.infos
            now = {infos[one].restart or "no" for one in subjects if one in infos}
            ends = "it ends" if len(subjects) == 1 else "they end"
            asked = f"Start {_some(subjects)} again when {ends}? (now: {', '.join(sorted(now))})"
            self.app.push_screen(Choose(asked, POLICIES), chosen)

    def verb_delete(self) -> None:
        """Forget stopped tasks; kill those that run."""
        subjects = self.subjects
        alive = any(self.live_list.infos[one].status != "stopped" for one in subjects)
        if subjects:
            self.perform(["task", "delete", *(["--force"] if alive else []), *subjects])

    def verb_exec(self) -> None:
        """A shell in the task, full screen; in a tab where the terminal cannot be handed over."""
        id = self._alive()
        if id is None:
            return
        if self.moby.can_suspend:
            words = ["task", "exec", "-ti", id, "sh"]
            suspended(self.moby, self.session.command_line(words), f"a shell in {id}")
            self.reread()
        else:
            self.action_exec_tab()

    def _alive(self) -> str | None:
        """The task under the cursor, if it has a place for a shell; otherwise why not is said."""
        chosen = self.live_list.chosen
        if chosen is not None and chosen.status == "stopped":
            hint = f":container start {chosen.id} runs a container again"
            tell(
                self.moby,
                WrongState(f"{chosen.id} is stopped: nothing can be run in it", hint=hint),
            )
            return None
        return chosen.id if chosen is not None else None

    def action_exec_tab(self) -> None:
        """A shell in the task, in the terminal tab."""
        id = self._alive()
        if id is not None and self.permitted("task", "exec"):
            self.tab("terminal")
            self.details.terminal.open_shell(id)

    def verb_attach(self) -> None:
        """The task's own streams, in the terminal tab."""
        if self.table.chosen is not None:
            self.tab("terminal")
            self.details.terminal.open_attach(self.table.chosen)

    def verb_update(self) -> None:
        """What shall change is for the person to say."""
        self.ask_more("update")


def _some(subjects: Sequence[str]) -> str:
    """Names for a question."""
    more = f" and {len(subjects) - 3} more" if len(subjects) > 3 else ""
    return ", ".join(subjects[:3]) + more
