"""The stack's own HTTP filters: `raw=` of a role that Envoy plays."""

from __future__ import annotations

import json
from typing import Any

from tierline.errors import EngineError
from tierline.plan.model import Role


def filters(role: Role) -> list[dict[str, Any]]:
    """The filters of `raw=`, none without it. Raises EngineError when it isn't a JSON list of filters with names;
    what is in them is for Envoy's checker to judge."""
    text = role.settings["raw"]
    if not text:
        return []
    try:
        found = json.loads(text)
    except ValueError as error:
        why = str(error)
    else:
        if isinstance(found, list) and all(isinstance(each, dict) and "name" in each for each in found):
            return found
        why = "it is none"
    raise EngineError(
        f"{role.id}: {role.settings['raw_at']}: for {role.slot}=envoy it must be a JSON list of HTTP filters, such as "
        f'[{{"name": "…", "typed_config": {{"@type": "…"}}}}]: {why}'
    )
