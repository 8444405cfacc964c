"""docs/deploy.md says what the lineup says."""

from __future__ import annotations

import re

from stack_files import ROOT

from tierline.deploy.template import LAYERS
from tierline.lineups import AWS
from tierline.tiers.base import available, system, tier_of

TEXT = (ROOT / "docs" / "deploy.md").read_text()


def test_the_table_of_systems_is_the_lineup() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    assert {slot: name for slots, name in rows for slot in re.findall(r"`([\w.]+)`", slots)} == dict(AWS)


def test_the_table_of_layers_is_the_order() -> None:
    assert re.findall(r"^\| `(\w+)` \| (?:us-east-1|the stack's)", TEXT, re.MULTILINE) == list(LAYERS)


def test_each_system_of_the_lineup_deploys_and_names_its_stand_in() -> None:
    for slot, name in AWS.items():
        if name in available(tier_of(slot)):
            plays = system(slot, name)
            assert plays.levels == {"deploys"}, name
            assert system(slot, plays.stand_in).levels >= {"runs"}, name
