"""The pages of the edge tiers say what their systems do, from the systems themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tierline.tiers.base import available, system
from tierline.tiers.cdn.tier import FEATURES as CDN
from tierline.tiers.dns.tier import FEATURES as DNS
from tierline.tiers.gateway.tier import FEATURES as GATEWAY
from tierline.tiers.lb.tier import FEATURES as LB

DOCS = Path(__file__).parents[2] / "docs" / "tiers"


def features(tier: str, known: dict[str, str]) -> str:
    """A row per feature, a column per system that runs here, and why something is lacking."""
    runs = [name for name in available(tier) if "runs" in system(tier, name).levels]
    lines = [f"| feature | | {' | '.join(runs)} |", f"|---|---|{'---|' * len(runs)}"]
    for feature, text in known.items():
        marks = ["yes" if feature in system(tier, name).supports else "no" for name in runs]
        lines.append(f"| `{feature}` | {text} | {' | '.join(marks)} |")
    lines.append("")
    for name in runs:
        lines += [
            f"- `{tier}.{name}` lacks `{lack}`: {why}." for lack, why in system(tier, name).lacks.items()
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("tier", "known"), [("cdn", CDN), ("dns", DNS), ("gateway", GATEWAY), ("lb", LB)])
def test_the_page_has_every_feature(tier: str, known: dict[str, str], regenerate: bool) -> None:
    path = DOCS / f"{tier}.md"
    text = path.read_text()
    before, _, rest = text.partition("<!-- features -->\n")
    expected = f"{before}<!-- features -->\n{features(tier, known)}<!-- /features -->{rest.partition('<!-- /features -->')[2]}"
    if regenerate:
        path.write_text(expected)
    assert path.read_text() == expected, "pytest --regenerate tests/contract/test_tier_pages.py"


@pytest.mark.parametrize(("tier", "known"), [("cdn", CDN), ("dns", DNS), ("gateway", GATEWAY), ("lb", LB)])
def test_every_system_says_of_every_feature_whether_it_has_it(tier: str, known: dict[str, str]) -> None:
    for name in available(tier):
        provider = system(tier, name)
        if "runs" in provider.levels:
            # Names with a dash are behaviours of the suites, of a feature that it has otherwise.
            told = provider.supports | {lack for lack in provider.lacks if "-" not in lack}
            assert set(known) == told, name
            assert not re.search(r"\s$", "".join(provider.lacks.values()))
