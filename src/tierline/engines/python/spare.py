"""A spare process: it has imported what its predecessor had from elsewhere than the project, and waits.

Most of an application's start is the import of its libraries, which a change of the project doesn't concern. In
development each Python process has a spare beside it, so that a successor only imports the project and starts.
A library that looks at the environment while it is imported sees the variables of the first application that has them.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

from tierline.engines.python import hooks
from tierline.engines.python.config import Config
from tierline.engines.python.environment import environment
from tierline.engines.python.voice import Voice

_FILE = "modules.json"


def note(config: Path, project: str) -> None:
    """Write down what a spare of this process will import: everything that isn't the project's, in order."""
    root = os.path.join(project, "")  # noqa: PTH118
    names = [
        name
        for name, module in list(sys.modules.items())
        if name != "__main__"
        and isinstance(file := getattr(module, "__file__", None), str)
        and (not file.startswith(root) or "site-packages" in file)
    ]
    path = config.with_name(f".{_FILE}.{os.getpid()}")
    try:
        path.write_text(json.dumps(names))
        path.replace(config.with_name(_FILE))
    except OSError:  # a spare that imports less is only slower
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def wait(path: Path, config: Config, voice: Voice) -> bool:
    """Import, then wait to be the successor. False when that never comes: the supervisor is gone."""
    hooks.install(config.resources)
    sys.path.insert(0, config.project)
    variables: dict[str, str] = {}
    for app in config.apps:
        variables = {**app.env, **variables}
    try:
        names = json.loads(path.with_name(_FILE).read_text())
    except (OSError, ValueError):
        names = []
    with environment(variables):
        for name in names:
            # What can't be imported now is imported, or fails, when the application wants it.
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    sys.path.remove(config.project)
    told = voice.wait()
    if told is None:
        return False
    os.environ.update(told)
    return True
