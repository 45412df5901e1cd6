"""The real program in a real terminal (tmux): what a person types, and what they see."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import PROGRAM, Workplace

pytestmark = [pytest.mark.root, pytest.mark.peer]


PATIENCE = 120.0
"""Seconds that a loaded machine may take for anything."""


class Tmux:
    """A terminal of its own server, so that no other session is in the way."""

    def __init__(self, workplace: Workplace, columns: int, rows: int, command: str) -> None:
        self.socket = f"mobyshell-{uuid.uuid4().hex[:8]}"
        self.environment = {**workplace.environment, "TERM": "xterm-256color"}
        # readline, in one of pytest's processes, has put a size there that is no terminal's
        for name in ("TMUX", "COLUMNS", "LINES"):
            self.environment.pop(name, None)
        self._call("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows),
                   "-c", str(workplace.directory), command)  # fmt: skip

    def _call(self, *words: str) -> str:
        done = subprocess.run(["tmux", "-L", self.socket, *words], env=self.environment,
                              capture_output=True, text=True, check=False, timeout=60)  # fmt: skip
        return done.stdout

    def press(self, *keys: str) -> None:
        """Press keys, by tmux's names."""
        self._call("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type text as it is."""
        self._call("send-keys", "-l", text)

    @property
    def screen(self) -> str:
        return self._call("capture-pane", "-p")

    def wait(self, *texts: str, absent: str = "", prompts: int = 0) -> str:
        """The screen, as soon as it shows all of `texts`, not `absent`, and so many REPL prompts."""
        deadline = time.monotonic() + PATIENCE
        while True:
            screen = self.screen
            if (
                all(text in screen for text in texts) and not (absent and absent in screen)
                and screen.count("moby>") >= prompts
            ):  # fmt: skip
                return screen
            assert time.monotonic() < deadline, f"{texts} not on the screen:\n{screen}"
            time.sleep(0.1)

    def ended(self) -> bool:
        """Whether the program in it has ended."""
        return self._call("list-sessions") == ""

    def close(self) -> None:
        self._call("kill-server")


@pytest.fixture
def terminal(workplace: Workplace, request: pytest.FixtureRequest) -> Iterator[Tmux]:
    columns, rows = getattr(request, "param", (120, 40))
    tmux = Tmux(workplace, columns, rows, PROGRAM)
    yield tmux
    tmux.close()


def test_from_nothing_to_exit_137(workplace: Workplace, terminal: Tmux) -> None:
    """Make a bundle, look at its plan, run it, type in its shell, see the answer, kill it."""
    terminal.wait("bundles", "✓ first", "New")
    terminal.press("n")
    terminal.wait("New bundle", "Root filesystem from")
    terminal.type("second")
    terminal.press("Enter")
    terminal.wait("✓ second")
    assert (workplace.directory / "second" / "config.json").exists()

    terminal.press("j")
    terminal.wait("second/config.json · valid", "parent · prepare")
    terminal.press("r")
    terminal.wait("Run second", "with a terminal")
    terminal.press("Enter")
    terminal.wait("tasks", "second", "running", "Logs")

    terminal.press("a")
    terminal.wait("/ #", "^] Leave", absent="Command")  # the keyboard is the shell's
    terminal.type("echo the answer is $((6*7))")
    terminal.press("Enter")
    terminal.wait("the answer is 42")
    terminal.press("C-]")
    terminal.wait("Command", absent="^] Leave")  # and the workbench's again

    terminal.press("y")
    terminal.wait("✓", "cgroup", "parent · prepare")
    terminal.press("K")
    terminal.wait("which signal?", "SIGKILL")
    terminal.press("Down", "Enter")
    terminal.wait("task kill -9 second?", "Type second to confirm")
    terminal.type("second")
    terminal.press("Enter")
    screen = terminal.wait("stopped", "137")
    line = next(line for line in screen.splitlines() if line.strip().startswith("second"))
    assert line.split()[1] == "stopped"
    terminal.press("q")
    deadline = time.monotonic() + PATIENCE
    while not terminal.ended():
        assert time.monotonic() < deadline, terminal.screen
        time.sleep(0.1)


def test_the_shell_takes_the_whole_screen_and_gives_it_back(
    workplace: Workplace, terminal: Tmux
) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    terminal.wait("✓ first")
    terminal.press("F2")
    terminal.wait("UPTIME", "running")
    terminal.press("s")
    terminal.wait("/ #", absent="Logs")
    terminal.type("hostname; exit")
    terminal.press("Enter")
    terminal.wait("UPTIME", "sleep 1000", "Logs")


@pytest.mark.parametrize("terminal", [(80, 24), (200, 60)], indirect=True)
def test_other_sizes(workplace: Workplace, terminal: Tmux) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    terminal.wait("✓ first")
    terminal.press("e")
    terminal.wait('"ociVersion"')
    terminal.press("F2")
    terminal.wait("UPTIME", "running")
    terminal.press("d")
    terminal.wait("SPEC", "KERNEL")


def test_the_repl_completes_runs_and_remembers(workplace: Workplace) -> None:
    terminal = Tmux(workplace, 100, 30, f"{PROGRAM} repl")
    try:
        terminal.wait(prompts=1)
        terminal.type("x = run -d --name web first -- sleep 1000")
        terminal.press("Enter")
        terminal.wait(prompts=2)
        terminal.type("task ls | where status=running | select id")
        terminal.press("Enter")
        terminal.wait("web", "ID", prompts=3)
        terminal.type("task kill we")
        terminal.press("Tab")
        terminal.wait("task kill web")
        terminal.type(" KILL")
        terminal.press("Enter")
        terminal.wait(prompts=4)
        terminal.type("task wait ${x}")
        terminal.press("Enter")
        terminal.wait(prompts=5)
        terminal.type("task ls -a | expect exit=137 |! wc -l")
        terminal.press("Enter")
        terminal.wait("\n1\n", prompts=6)
        terminal.press("C-d")
    finally:
        terminal.close()


def test_stopped_and_continued_it_reads_the_keyboard_once(
    workplace: Workplace, terminal: Tmux
) -> None:
    terminal.wait("✓ first", "parent · prepare")
    pid = int(terminal._call("list-panes", "-F", "#{pane_pid}"))

    def threads() -> int:
        return len(os.listdir(f"/proc/{pid}/task"))

    before = threads()
    for _ in range(4):
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)  # as tmux does, too, when a program of its own is stopped
        terminal.type("?")
        terminal.wait("Keys here")
        terminal.press("Escape")
        terminal.wait("✓ first", absent="Keys here")
    deadline = time.monotonic() + PATIENCE
    while threads() > before + 1:  # and not two more for each time
        assert time.monotonic() < deadline, terminal.screen
        time.sleep(0.1)


def test_the_shell_has_the_terminal_until_it_says_fg(workplace: Workplace) -> None:
    terminal = Tmux(workplace, 100, 30, "PS1='$ ' bash --norc -i")
    try:
        terminal.type(f"{PROGRAM}\n")
        terminal.wait("✓ first", "parent · prepare")
        terminal.press("C-z")
        terminal.wait("Stopped", "$ ", absent="parent · prepare")
        terminal._call("resize-window", "-x", "80", "-y", "24")
        terminal.type("fg\n")
        terminal.wait("✓ first", "? Help", absent="Stopped")
        terminal.type("?")
        terminal.wait("Keys here")
        terminal.press("Escape")
        terminal.wait("✓ first", absent="Keys here")
        terminal.type("q")
        terminal.wait("$ ", absent="? Help")
    finally:
        terminal.close()


def test_without_a_shell_to_go_back_to_it_is_not_stopped(terminal: Tmux) -> None:
    terminal.wait("✓ first")
    terminal.press("C-z")
    terminal.wait("no shell is there")
    terminal.type("?")
    terminal.wait("Keys here")
