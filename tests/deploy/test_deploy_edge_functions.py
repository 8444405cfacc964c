"""What CloudFront runs at its edge, run by Node here."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tierline.tiers.cdn.common.edge_functions import UNSAID


def answered(status: int, **fields: str) -> set[str]:
    """The names of the fields that a client is given."""
    headers = {name.replace("_", "-"): {"value": value} for name, value in fields.items()}
    event: dict[str, Any] = {"response": {"statusCode": status, "headers": headers}}
    code = f"{UNSAID}\nconsole.log(JSON.stringify(handler({json.dumps(event)})))"
    done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True, timeout=20)
    return set(json.loads(done.stdout)["headers"])


TOLD = {"ratelimit": '"a";r=9;t=60', "ratelimit_remaining": "9", "retry_after": "3"}


@pytest.mark.parametrize("control", ["max-age=60", "public, S-MaxAge=5", "no-cache, max-age=0"])
def test_what_is_kept_tells_no_one_what_another_has_left(control: str) -> None:
    assert answered(200, cache_control=control, etag='"1"', **TOLD) == {"cache-control", "etag"}


@pytest.mark.parametrize("control", ["no-store", "private, max-age=60", "x-max-age=1"])
def test_what_is_not_kept_is_told_who_asked(control: str) -> None:
    assert {"ratelimit", "ratelimit-remaining", "retry-after"} <= answered(200, cache_control=control, **TOLD)
