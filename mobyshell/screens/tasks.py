"""The tasks: a live table, and all about the one under the cursor."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from mobyshell.commands.registry import verbs_of
from mobyshell.screens.base import MobyScreen, number_of
from mobyshell.screens.session import suspended
from mobyshell.screens.task_details import TABS, TaskDetails
from mobyshell.screens.task_list import TaskList
from mobyshell.screens.verb_keys import verb_bindings
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.resource_table import ResourceTable

SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")


class TasksScreen(MobyScreen):
    """Tasks."""

    NAME = "tasks"
    NOUN = "task"
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_bindings("task", shown=("exec", "logs", "trace", "diff", "kill")),
        Binding("enter", "details", "Details", show=False, id="task.details"),
        Binding("e", "exec_tab", "Shell in a tab", show=False, id="task.exec-tab"),
        Binding("x", "menu", "Actions", id="task.menu"),
        Binding("c", "copy", "Copy the id", show=False, id="task.copy"),
        Binding("escape", "back", "Back", show=False, id="task.back"),
    ]

    _count = ""

    def body(self) -> ComposeResult:
        with Container(id="tasks-body"):
            yield TaskList(self.session, id="list")
            yield TaskDetails(self.session.tasks, self.session.context.host_or_none, id="details")

    def on_mount(self) -> None:
        super().on_mount()
        self.table.focus()

    def on_screen_resume(self) -> None:
        """Seen again: what happened meanwhile?"""
        self.task_list.refresh_list()
        self.task_list.tick()

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is measured."""
        self.task_list.tick()

    @property
    def task_list(self) -> TaskList:
        """The list."""
        return self.query_one(TaskList)

    @property
    def table(self) -> ResourceTable:
        """The table in it."""
        return self.task_list.table

    @property
    def details(self) -> TaskDetails:
        """All about one."""
        return self.query_one(TaskDetails)

    @property
    def subjects(self) -> list[str]:
        return self.table.subjects

    @property
    def subject(self) -> tuple[str, str] | None:
        return (self.NOUN, self.table.chosen) if self.table.chosen else None

    def choose(self, id: str) -> None:
        """Put the cursor on a task, as soon as it is there."""
        self.task_list.choose(id)

    def reread(self) -> None:
        self.task_list.refresh_list()

    # what happens

    @on(TaskList.Changed)
    def listed(self, event: TaskList.Changed) -> None:
        """News of some tasks."""
        running = sum(one.status == "running" for one in event.tasks)
        self._count = f"{number_of(len(event.tasks), 'task')}, {running} running"
        self._say_where()
        self.details.update_task(self.task_list.chosen)

    def _say_where(self) -> None:
        """In the crumbs: how many there are, and whose details are looked at."""
        inside = [self.table.chosen or ""] if self.has_class("detailed") else []
        self.crumb(self._count, *inside)

    @on(TaskList.Happened)
    def happened(self, event: TaskList.Happened) -> None:
        """What is shown of this one is old."""
        if event.id == self.table.chosen:
            self.details.refresh_soon()

    @on(TaskList.Measured)
    def measured(self) -> None:
        """What moves on its own has moved."""
        self.details.tick()

    @on(ResourceTable.Chosen, "#tasks")
    def chosen(self) -> None:
        """All about another one."""
        self.details.show_task(self.task_list.chosen)
        self._say_where()

    @on(ResourceTable.RowSelected, "#tasks")
    def action_details(self) -> None:
        """Into the details."""
        self.add_class("detailed")
        self._say_where()
        self.details.focus_content()

    @on(TaskDetails.Left)
    def action_back(self) -> None:
        """Out of the details."""
        self.remove_class("detailed")
        self._say_where()
        self.table.focus()

    # the filter

    @property
    def filter_text(self) -> str:
        return self.table.query_text

    def set_filter(self, text: str) -> None:
        self.task_list.filter(text)

    # verbs that want more than their subject

    def fits(self, verb: str) -> bool:
        """Of pause and resume, the one that the task can."""
        paused = self.task_list.chosen is not None and self.task_list.chosen.status == "paused"
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
            names = " ".join(subjects[:3]) + (
                f" and {len(subjects) - 3} more" if len(subjects) > 3 else ""
            )
            options = [(one, f"SIG{one}") for one in SIGNALS]
            self.app.push_screen(Choose(f"Send {names} which signal?", options), chosen)

    def verb_delete(self) -> None:
        """Forget stopped tasks; kill those that run."""
        subjects = self.subjects
        alive = any(self.task_list.infos[one].status != "stopped" for one in subjects)
        if subjects:
            self.perform(["task", "delete", *(["--force"] if alive else []), *subjects])

    def verb_exec(self) -> None:
        """A shell in the task, full screen; in a tab where the terminal cannot be handed over."""
        id = self.table.chosen
        if id is None:
            return
        if self.moby.can_suspend:
            suspended(self.moby, self.session.command_line(["task", "exec", "-ti", id, "sh"]))
            self.reread()
        else:
            self.action_exec_tab()

    def action_exec_tab(self) -> None:
        """A shell in the task, in the terminal tab."""
        if self.table.chosen is not None and self.permitted("task", "exec"):
            self.tab("terminal")
            self.details.terminal.open_shell(self.table.chosen)

    def verb_attach(self) -> None:
        """The task's own streams, in the terminal tab."""
        if self.table.chosen is not None:
            self.tab("terminal")
            self.details.terminal.open_attach(self.table.chosen)

    def verb_update(self) -> None:
        """What shall change is for the person to say."""
        if self.table.chosen is not None:
            self.ask(f"task update {self.table.chosen} --")

    def action_menu(self) -> None:
        """Every verb for a task."""
        if self.table.chosen is None:
            return

        def chosen(verb: str | None) -> None:
            if verb is not None:
                self.action_verb(verb)

        fitting = [one for one in verbs_of("task").values()
                   if one.subject == "task" and self.fits(one.verb)]  # fmt: skip
        options = [(one.verb, f"{one.verb:9} {one.key:2} {one.summary}") for one in fitting]
        self.app.push_screen(Choose(", ".join(self.subjects), options), chosen)

    def action_copy(self) -> None:
        """The id, to the clipboard."""
        if self.table.chosen is not None:
            self.app.copy_to_clipboard(self.table.chosen)
            self.notify(f"copied {self.table.chosen}", markup=False)
