"""What services say about themselves: an application with a method `openapi()` (FastAPI and its like) is imported
in a process of its own, so that nothing of it stays here, and asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tierline.tiers.feature.tier import Service

_PATIENCE = 20.0
_MOST = 8 << 20
_ASK = """
import importlib, json, os, sys
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the application prints while it is imported is none of the document
module, _, path = sys.argv[1].partition(":")
app = importlib.import_module(module)
for name in path.split("."):
    app = getattr(app, name)
told = getattr(app, "openapi", None)
json.dump(told() if callable(told) else None, out)
"""


def documents(services: Iterable[Service], folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Service → its document, of those that have one; and notes on those that could not be asked."""
    asked = [service for service in services if service.app is not None and service.interface == "asgi"]
    if not asked:
        return {}, []
    with ThreadPoolExecutor(min(4, len(asked))) as pool:
        answers = list(pool.map(lambda service: _document(service, folder), asked))
    found = {s.name: said for s, said in zip(asked, answers, strict=True) if isinstance(said, dict)}
    notes = [
        f"openapi: {s.name} could not be asked: {said}"
        for s, said in zip(asked, answers, strict=True)
        if isinstance(said, str)
    ]
    return found, notes


def _document(service: Service, folder: Path) -> dict[str, Any] | str | None:
    """The document, None when it has none, or why it could not be asked."""
    env = {**os.environ, **service.env, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    argv = [sys.executable, "-c", _ASK, str(service.app)]
    try:
        done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"its import takes longer than {_PATIENCE:g} s"
    if done.returncode != 0:
        return (done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
    if len(done.stdout) > _MOST:
        return f"its document is larger than {_MOST >> 20} MiB"
    try:
        said = msgspec.json.decode(done.stdout)
    except msgspec.DecodeError as error:
        return f"its document is no JSON: {error}"
    if said is None:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("paths"), dict):
        return "its openapi() gives no OpenAPI document"
    return said
