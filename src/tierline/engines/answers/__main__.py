"""`python -m tierline.engines.answers [--check] CONFIG.json`: serve it, or only say whether it could be."""

from __future__ import annotations

import sys

from tierline.engines import steady
from tierline.engines.answers.config import ConfigError, load
from tierline.engines.answers.server import Server, check


def main(arguments: list[str]) -> int:
    """Exit code 0 after a clean stop, 1 for a configuration that can't be used, 2 for wrong arguments."""
    steady.begin()
    only_check = arguments[:1] == ["--check"]
    paths = arguments[only_check:]
    if len(paths) != 1:
        print("usage: python -m tierline.engines.answers [--check] CONFIG.json", file=sys.stderr)
        return 2
    try:
        if only_check:
            check(load(paths[0]))
            return 0
        server = Server(paths[0])
    except (ConfigError, OSError) as error:
        print(f"configuration refused: {error}", file=sys.stderr)
        return 1
    server.run()
    return 0


sys.exit(main(sys.argv[1:]))
