"""The keys that images are signed with, where nobody sits at a terminal."""

from __future__ import annotations

import pytest

from tests.commands.stored import ALPINE, real_image
from tests.conftest import Workplace
from tests.core.registry.distribution import distribution


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


@pytest.mark.root
@pytest.mark.peer
def test_signatures_are_fetched_by_who_wants_to_see_them(workplace: Workplace) -> None:
    """No trust policy asks for them; whoever pulled the image can, afterwards."""
    workplace.environment["MOBYSHELL_PASSWORD"] = ""
    workplace.ok("image", "keygen", "mine")
    real_image(workplace.directory / "store")
    with distribution() as registry:
        name = f"{registry.host}/team/app:1"
        workplace.ok("image", "tag", ALPINE, name)
        workplace.ok("image", "sign", "--key", "mine.key", name)
        workplace.ok("image", "push", name)
        there = ("--namespace", "other")
        workplace.ok(*there, "image", "pull", name)
        verify = (*there, "image", "verify", "--key", "mine.pub")
        done = workplace.run(*verify, name)
        assert (done.returncode, "--fetch asks its registry" in done.stderr) == (5, True), (
            done.stderr
        )
        assert workplace.run("--readonly", *verify, "--fetch", name).returncode == 5
        assert '"key":"mine.pub"' in workplace.ok(*verify, "--fetch", name)
        assert '"key":"mine.pub"' in workplace.ok(*verify, name)  # they are here now
