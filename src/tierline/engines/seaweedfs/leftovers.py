"""What a server that was killed leaves outside its folders: sockets in /tmp, whose names it fixes."""

from __future__ import annotations

import json
from pathlib import Path

from tierline.engines.seaweedfs.provision import NOTE, unlink


def remove(data: Path) -> None:
    """Remove the sockets that servers with data below a folder noted, unless somebody listens there."""
    for note in data.glob(f"*/{NOTE}"):
        for path in json.loads(note.read_text()):
            unlink(path)
