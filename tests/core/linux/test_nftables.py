"""Rules as we send them to the kernel, as nft(8) reads them back, and as it makes them of our words."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mobyshell.core.linux.nftables import Rule, script
from tests.netns import Netns

pytestmark = [pytest.mark.root, pytest.mark.peer]

RULES = (
    Rule("prerouting", "dnat", protocol="tcp", port=8080, local=True, to=("10.1.0.2", 80)),
    Rule("output", "dnat", destination="127.0.0.1", protocol="udp", port=53, local=True,
         to=("10.1.0.2", 53)),
    Rule("output", "dnat", protocol="sctp", port=9, local=True, to=("fd00::2", 9)),
    Rule("postrouting", "masquerade", source="10.1.0.2", not_destination="10.1.0.0/16"),
    Rule("postrouting", "masquerade", source="10.1.0.0/16", destination="10.1.0.2", mapped=True),
    Rule("postrouting", "masquerade", source="fd00::/60", not_destination="fd00::/60"),
    Rule("guard", "drop", input="br0", destination="127.0.0.0/8"),
    Rule("forward", "drop", output="br0", not_input="br0"),
    Rule("forward", "jump", input="br0", not_output="br0", jump="isolation"),
    Rule("isolation", "drop", output="br0"),
)  # fmt: skip


@pytest.fixture
def host() -> Iterator[Netns]:
    with Netns() as made:
        yield made


def _do(host: Netns, lines: str) -> str:
    return host.python(
        "from mobyshell.core.linux.nftables import Rule, Ruleset\n"
        f"RULES = {RULES!r}\n"
        f"rules = Ruleset()\n{lines}\n"
    )


def _rules(host: Netns) -> str:
    return host.run("nft", "list", "ruleset").stdout


def test_the_kernel_has_what_the_words_say(host: Netns) -> None:
    _do(host, "rules.add(RULES, 'whose')")
    ours = _rules(host)
    for rule in RULES:
        assert f'{rule.words()} comment "whose"' in ours
    with Netns() as other:
        done = subprocess.run(other.words("sh", "-c", script(RULES, "whose")), check=True)
        assert done.returncode == 0
        assert _rules(other) == ours


def test_rules_of_one_owner_go_and_the_table_with_the_last(host: Netns) -> None:
    _do(host, "rules.add(RULES, 'one'); rules.add(RULES[:2], 'other'); rules.add(RULES, 'one')")
    assert len(re.findall('comment "one"', _rules(host))) == len(RULES)
    assert _do(host, "print(rules.drop('one'))").strip() == str(len(RULES))
    assert len(re.findall("comment", _rules(host))) == 2
    assert _do(host, "print(rules.drop('other'), rules.drop('other'))").split() == ["2", "0"]
    assert _rules(host) == ""


def test_all_or_none(host: Netns) -> None:
    said = _do(
        host,
        "from mobyshell.core.errors import MobyshellError\n"
        "bad = Rule('forward', 'masquerade', source='10.0.0.1')\n"
        "try: rules.add((*RULES, bad), 'one')\n"
        "except MobyshellError as error: print(type(error).__name__, error)",
    )
    assert "adding the rule ip saddr 10.0.0.1 masquerade" in said
    assert _rules(host) == ""


def test_rules_of_others_stay(host: Netns) -> None:
    host.run(
        "nft", "add table inet other; add chain inet other one; add rule inet other one accept"
    )
    before = _rules(host)
    _do(host, "rules.add(RULES, 'one'); rules.drop('one')")
    assert _rules(host) == before


def test_many_processes_at_once_lose_nothing(host: Netns) -> None:
    code = (
        "import sys\n"
        "from mobyshell.core.linux.nftables import Rule, Ruleset\n"
        f"RULES = {RULES!r}\n"
        "rules = Ruleset()\n"
        "for turn in range(5):\n"
        "    rules.add(RULES, sys.argv[1])\n"
        "    assert rules.drop(sys.argv[1]) == len(RULES)\n"
        "rules.add(RULES[:1], sys.argv[1])\n"
    )
    started = [host.start(sys.executable, "-c", code, str(n)) for n in range(4)]
    assert [one.wait(60) for one in started] == [0] * 4
    assert len(re.findall("comment", _rules(host))) == 4
