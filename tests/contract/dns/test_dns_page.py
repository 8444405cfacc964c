"""The page's questions get the page's answers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dns_line import DNSLine, asked
from dns_suite import stack

PAGE = Path(__file__).parents[3] / "docs" / "tiers" / "dns.md"
_EXAMPLE = re.compile(r"^    \$ dig @127\.0\.0\.1 -p 8053 \+short (.+)\n((?:    [^$\n].*\n)+)", re.MULTILINE)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, DNSLine]]:
    lines: dict[str, DNSLine] = {}
    for name in ("powerdns", "bind9"):
        lines[name] = DNSLine(stack("latency"), name)
        lines[name].start()
    yield lines
    for line in lines.values():
        line.close()


EXAMPLES = _EXAMPLE.findall(PAGE.read_text())


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize(("words", "expected"), EXAMPLES)
def test_what_dig_prints(running: dict[str, DNSLine], words: str, expected: str) -> None:
    source = re.search(r"-b (\S+) ?", words)
    subnet = re.search(r"\+subnet=(\S+) ?", words)
    line = running["bind9" if source else "powerdns"]
    name, _, kind = re.sub(r"(-b \S+|\+\S+) ", "", words).partition(" ")
    query = line.query(name, kind or "A", subnet=subnet[1] if subnet else "")
    answer = asked(query, line.host, line.port, tcp="+tcp" in words, source=source[1] if source else None)
    found = [item.to_text() for rrset in answer.answer for item in rrset]
    port = str(line.addresses[(line.plan.entry[0], "https")][1])
    wanted = [each.strip().replace("8443", port) for each in expected.splitlines()]
    assert [each.replace('"', "") for each in found] == [each.replace('"', "") for each in wanted]
