"""The keys that images are signed with, where nobody sits at a terminal."""

from __future__ import annotations

from tests.conftest import Workplace


def test_no_key_is_left_open_because_nobody_could_be_asked(workplace: Workplace) -> None:
    done = workplace.run("image", "keygen", "mine")
    assert done.returncode == 2
    assert "MOBYSHELL_PASSWORD" in done.stderr
    assert not (workplace.directory / "mine.key").exists()
    for password, sealed in (("", False), ("secret", True)):
        workplace.environment["MOBYSHELL_PASSWORD"] = password
        done = workplace.run("image", "keygen", f"key{password}")
        assert done.returncode == 0, done.stderr
        text = (workplace.directory / f"key{password}.key").read_text()
        assert ("ENCRYPTED" in text) is sealed
