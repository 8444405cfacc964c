"""Programs in Lua that engines share: Envoy has LuaJIT, HAProxy Lua 5.4. Each file is read after those it needs, into
one program: neither engine may load another file at run time."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def library(*names: str) -> str:
    """The text of these files, in this order, as one program."""
    return "\n".join(Path(__file__).with_name(f"{name}.lua").read_text() for name in names)
