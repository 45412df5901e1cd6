"""A pytest plugin that tells how each test went, a JSON object a line, to whoever booted the machine."""

from __future__ import annotations

import json
import os

import pytest

_WHERE = os.environ.get("MOBYSHELL_RESULTS", "/dev/stdout")


def _tell(**values: object) -> None:
    with open(_WHERE, "w") as file:
        file.write(json.dumps(values) + "\n")


def pytest_runtest_logstart(nodeid: str) -> None:
    _tell(begun=nodeid.rpartition("::")[2])


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.rpartition("::")[2]
    if report.when == "call" or report.failed:
        _tell(test=name, phase=report.when, outcome=report.outcome, text=str(report.longrepr or ""),
              seconds=round(report.duration, 3))  # fmt: skip


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _tell(test="", phase="collect", outcome="failed", text=str(report.longrepr))


def pytest_sessionfinish(exitstatus: int) -> None:
    _tell(exit=int(exitstatus))
