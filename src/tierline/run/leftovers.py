"""What killed engines left outside the state folder, removed with it: `engines/<engine>/leftovers.py` knows what."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path

import tierline.engines


def remove(data: Path) -> None:
    """Before a line's data is removed: what only this data could have said is a leftover of the line."""
    for module in pkgutil.iter_modules(tierline.engines.__path__):
        name = f"tierline.engines.{module.name}.leftovers"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            importlib.import_module(name).remove(data)
