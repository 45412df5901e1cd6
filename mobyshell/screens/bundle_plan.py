"""The plan of the bundle that is open, made anew with each valid text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.message import Message

from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import Spec
from mobyshell.core.runtime import Plan, make_plan
from mobyshell.screens.session import Session, said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.plan_view import PlanView

PLANNING = "planning"


class BundlePlan(PlanView):
    """A `PlanView` that makes its plans, in a thread."""

    @dataclass
    class Planned(Message):
        """The plan of a spec, or why there is none."""

        plan: Plan | None
        problem: str

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(**more)
        self._session = session

    @background(PLANNING)
    def make(self, spec: Spec, path: str) -> Message:
        """Plan `spec` of the bundle at `path` for this machine."""
        host = self._session.context.host_or_none()
        if host is None:
            return self.Planned(None, "No plan: this machine cannot be looked at.")
        try:
            plan = make_plan(spec, bundle=path, id=os.path.basename(path), host=host)
        except MobyshellError as error:
            return self.Planned(None, f"No plan: {error}\n\n{error.hint}")
        return self.Planned(plan, "")

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it."""
        if event.plan is None:
            self.say(event.problem)
        else:
            self.show(event.plan)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """A plan that could not be made."""
        if event.what == PLANNING:
            event.stop()
            self.say(f"No plan: {said(self.app, event)}")
