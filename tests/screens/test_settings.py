"""Keys and themes of the user's own: what is good is used, what is not is said, nothing stops."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.oci import default_spec, dump_spec
from mobyshell.screens.settings import is_key, read_keymap, read_theme_name, read_themes
from mobyshell.screens.tasks import TasksScreen
from mobyshell.styles.themes import default_theme
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, settle, told, until

ACTIONS = ["task.pause", "task.kill", "help"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    directory = tmp_path / "config" / "mobyshell"
    directory.mkdir(parents=True)
    return directory


@pytest.mark.parametrize(
    ("content", "keymap", "complaint"),
    [
        (b'"task.pause" = "f7"', {"task.pause": "f7"}, ""),
        (b'"task.pause" = "f7, ctrl+x ,?"', {"task.pause": "f7,ctrl+x,?"}, ""),
        (b"not toml at all [", {}, "not TOML"),
        (b'"task.pause" = "\xff\xfe"', {}, "not UTF-8 (at byte 16)"),
        (b'"task.paus" = "f7"\nhelp = "f9"', {"help": "f9"}, "did you mean 'task.pause'?"),
        (b'"task.pause" = "ctlr+x"', {}, "no key 'ctlr+x'"),
        (b'"task.pause" = "spcae"', {}, "did you mean 'space'?"),
        (b'"task.pause" = ""', {}, "no key ''"),
        (b'"task.pause" = 7', {}, "keys are a text"),
        (b'[task]\npause = "f7"', {}, "no action 'task'"),
        (b"a = " + b"[" * 50_000, {}, "not TOML"),
        (b"#" * 300_000, {}, "larger than"),
        (b"", {}, ""),
    ],
)  # fmt: skip
def test_keymaps(tmp_path: Path, content: bytes, keymap: dict[str, str], complaint: str) -> None:
    path = tmp_path / "keymap.toml"
    path.write_bytes(content)
    found, complaints = read_keymap(path, ACTIONS)
    assert found == keymap
    assert complaint in "\n".join(complaints)
    assert bool(complaint) == bool(complaints)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    assert read_keymap(tmp_path / "none", ACTIONS) == ({}, [])
    assert read_keymap(tmp_path / "fifo", ACTIONS) == ({}, [])
    assert "directory" in read_keymap(tmp_path / "directory", ACTIONS)[1][0]
    assert "symbolic links" in read_keymap(tmp_path / "loop", ACTIONS)[1][0]


@pytest.mark.parametrize("key", ["x", "?", "G", "+", "f7", "ctrl+x", "shift+tab", "question_mark"])
def test_keys(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "ctrl+", "F7", "nokey", "contrl+x", "x y"])
def test_no_keys(key: str) -> None:
    assert not is_key(key)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'primary = "#0077aa"', ""),
        (b'primary = "red"\ndark = false\n[variables]\nfooter-key-foreground = "#fff 50%"', ""),
        (b'primary = "ansi_blue"\nansi = true', ""),
        (b'secondary = "red"', "must set primary"),
        (b'primary = "nocolour"', "'nocolour' is not a colour"),
        (b"primary = 7", "is not a colour"),
        (b'primary = "red"\nprimry = "red"', "did you mean 'primary'?"),
        (b'primary = "red"\ndark = "yes"', "dark: true or false"),
        (b'primary = "red"\ntext_alpha = true', "text_alpha: a number"),
        (b'primary = "red"\nvariables = 3', "variables: a table"),
        (b'primary = "red"\n[variables]\nfooter-key-forground = "red"', "'footer-key-foreground'?"),
        (b'primary = "red"\n[variables]\nfooter-key-foreground = "}"', "is not a colour"),
        (b'primary = "red"\n[variables]\nlink-style = "}"', "link-style: words"),
        (b"\xff", "not UTF-8"),
    ],
)  # fmt: skip
def test_themes(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "sea.toml").write_bytes(content)
    themes, complaints = read_themes(tmp_path)
    assert [one.name for one in themes] == ([] if complaint else ["sea"])
    assert complaint in "\n".join(complaints.get(tmp_path / "sea.toml", []))


def test_the_chosen_theme_may_have_gone(tmp_path: Path) -> None:
    (tmp_path / "theme").write_text("nrod\n")
    assert read_theme_name(tmp_path / "theme", ["nord"]) == (
        "", ["no theme 'nrod' (did you mean 'nord'?)"],
    )  # fmt: skip


async def test_keys_and_themes_are_the_users(opened: Open, tasks: FakeTasks, config: Path) -> None:
    (config / "keymap.toml").write_text('"task.pause" = "f7"\n')
    (config / "themes").mkdir()
    (config / "themes" / "sea.toml").write_text('primary = "#0077aa"\ndark = false\n')
    (config / "theme").write_text("sea\n")
    async with opened("tasks") as pilot:
        assert pilot.app.theme == "sea"
        await pilot.press("j", "f7")
        await settle(pilot)
        assert ("pause", "web") in tasks.calls
        pilot.app.theme = "moby-contrast"
        await until(pilot, lambda: (config / "theme").read_text() == "moby-contrast\n")
        assert told(pilot).count("pause") == 1  # nothing but the answer of the verb


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("keymap.toml", b"not toml at all [", "not TOML"),
        ("keymap.toml", b"\xff\xfe\x00", "not UTF-8"),
        ("keymap.toml", b'"task.fly" = "f7"', "no action 'task.fly'"),
        ("theme", b"\xff\xfe\x00", "not UTF-8"),
        ("theme", b"no-such-theme", "no theme 'no-such-theme'"),
        ("themes/sea.toml", b'primary = "nocolour"', "not a colour"),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_told_and_not_fatal(
    opened: Open, config: Path, name: str, content: bytes, words: str
) -> None:
    (config / "themes").mkdir()
    (config / name).write_bytes(content)
    async with opened("tasks") as pilot:
        assert isinstance(pilot.app.screen, TasksScreen)
        assert pilot.app.theme == "moby-dark"
        assert words in told(pilot)
        assert f"{config / name}: not used" in told(pilot)


SIXTEEN = {
    *(f"color({n})" for n in range(16)), "default", "None", "black", "red", "green", "yellow",
    "blue", "magenta", "cyan", "white",
}  # fmt: skip


@pytest.mark.parametrize("screen", ["tasks", "bundles"])
async def test_the_ansi_theme_has_the_terminals_sixteen_colours(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, screen: str
) -> None:
    bundle = tmp_path / "bundles" / "first"
    bundle.mkdir(parents=True)
    (bundle / "config.json").write_text(dump_spec(default_spec()))
    monkeypatch.chdir(tmp_path / "bundles")
    async with opened(screen) as pilot:
        pilot.app.theme = "moby-ansi"
        await settle(pilot)
        await pilot.press("j")
        await settle(pilot)
        colours, reversed = set(), 0
        for strip in pilot.app.screen._compositor.render_strips():
            for segment in strip:
                style = segment.style
                if style is not None:
                    colours |= {str(one and one.name) for one in (style.color, style.bgcolor)}
                    reversed += str(style.bgcolor and style.bgcolor.name) not in ("default", "None")
        assert {one for one in colours if one.removeprefix("bright_") not in SIXTEEN} == set()
        assert reversed, "the cursor cannot be seen"


@pytest.mark.parametrize(
    ("colours", "theme"), [("standard", "moby-ansi"), ("256", "moby-dark"), ("truecolor", "moby-dark")]
)  # fmt: skip
def test_a_terminal_with_few_colours_is_left_its_own(colours: str, theme: str) -> None:
    assert default_theme(colours) == theme
