"""What an answer says of who asked: nginx's script names the same fields as the other caches."""

from __future__ import annotations

import re
from importlib import resources

from tierline.engines import percaller


def test_nginxs_script_names_every_field() -> None:
    text = (resources.files("tierline.engines.nginx") / "cache.js").read_text()
    listed = re.search(r"PER_CALLER = \[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    assert {name.lower() for name in re.findall(r"'([^']+)'", listed[1])} == set(percaller.FIELDS)
